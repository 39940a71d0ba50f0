// Command pack builds the checker that browsers load (package verify, as WebAssembly), with the go
// command, and packs it with that toolchain's wasm_exec.js into the file that a monitor serves:
//
//	go run ./monitor/web/verify/pack -o verify.tar    # in a clone
//
// It prints the SHA-256 of the WebAssembly, which the monitor's pages show, and sizes. The same source and
// the same Go make the same bytes.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"

	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/monitor/web"
)

func main() {
	out := flag.String("o", "verify.tar", "file to write")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(outcome.Exit("pack", pack(ctx, *out, os.Stdout), os.Stderr))
}

const (
	program = "./monitor/web/verify/wasm" // from the clone
	maxExec = 1 << 20
	maxWasm = 128 << 20
)

func pack(ctx context.Context, out string, stdout io.Writer) error {
	dir, err := os.MkdirTemp("", "cratelog-pack-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "verify.wasm")
	// Neither paths nor the state of the repository are in it, so that others get these bytes.
	if _, err := goRun(ctx, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", file, program); err != nil {
		return err
	}
	wasm, err := durable.Read(file, maxWasm)
	if err != nil {
		return err
	}
	said, err := goRun(ctx, "env", "GOROOT", "GOVERSION")
	if err != nil {
		return err
	}
	root, version, ok := strings.Cut(strings.TrimSpace(said), "\n")
	if !ok {
		return fmt.Errorf("go env says %q", said)
	}
	script, err := durable.Read(filepath.Join(root, "lib", "wasm", "wasm_exec.js"), maxExec)
	if err != nil {
		return err
	}
	packed, err := web.PackChecker(version, script, wasm)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, packed, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%x  verify.wasm\n%s: %d bytes, %d as a browser runs it\n", sha256.Sum256(wasm), out,
		len(packed), len(wasm))
	return nil
}

func goRun(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "GOFLAGS=", "GOWASM=", "GOEXPERIMENT=", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return string(out), nil
}
