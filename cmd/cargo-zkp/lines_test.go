package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a writer that a test reads while others write.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// wait waits until something was written, for at most 30 seconds.
func (l *lines) wait(t *testing.T, s string) bool {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && t.Context().Err() == nil; {
		if strings.Contains(l.String(), s) {
			return true
		}
		time.Sleep(time.Millisecond) // polls; nothing rests on how long
	}
	return false
}
