package log_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"os"

	"cratelog/client"
	"cratelog/internal/loopback"
	"cratelog/testdata"
)

// A publisher submits an entry with its .crate, and gets the bundle that readers verify.
func ExampleLog_Submit() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cratelog-example-")
	if err != nil {
		stdlog.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// A log for development with three witnesses; logd opens one with log.Open.
	site, err := loopback.Start(ctx, loopback.Config{Origin: "log.example", Dir: dir})
	if err != nil {
		stdlog.Fatal(err)
	}
	defer site.Close()

	entry, err1 := testdata.Files.ReadFile("hello-proof-0.1.0.entry")
	crate, err2 := testdata.Files.ReadFile("hello-proof-0.1.0.crate")
	if err := errors.Join(err1, err2); err != nil {
		stdlog.Fatal(err)
	}
	bundle, err := site.Log.Submit(ctx, entry, bytes.NewReader(crate), nil)
	if err != nil {
		stdlog.Fatal(err) // a *log.Refusal says what is wrong, and what to do
	}
	result, err := client.Verify(crate, bundle, site.Policy, site.Proofs, client.DefaultRules())
	if err != nil {
		stdlog.Fatal(err)
	}
	fmt.Printf("%s %s is entry %d of %s\n", result.Name, result.Version, result.Index, result.Checkpoint.Origin)
	// Output: hello-proof 0.1.0 is entry 0 of log.example
}
