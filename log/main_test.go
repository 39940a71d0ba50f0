package log

import (
	"flag"
	"os"
	"testing"

	"k8s.io/klog/v2"
)

// TestMain quietens Tessera, which has no other way to be told.
func TestMain(m *testing.M) {
	f := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(f)
	f.Set("logtostderr", "false")
	f.Set("stderrthreshold", "FATAL")
	klog.SetOutput(discard{})
	os.Exit(m.Run())
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
