package log_test

import (
	"os"
	"testing"

	"cratelog/internal/clustertest"
	"cratelog/internal/loopback"
)

func TestMain(m *testing.M) {
	loopback.Quiet() // before Tessera's goroutines read what it sets
	os.Exit(clustertest.Main(m))
}
