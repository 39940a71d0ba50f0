package main

import (
	"os"
	"testing"

	"cratelog/internal/fixture"
)

// TestMain keeps the user's settings and caches out of the tests.
func TestMain(m *testing.M) { os.Exit(fixture.Main(m)) }
