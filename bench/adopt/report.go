package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo/registry"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/log"
)

// measureReport measures "cargo zkp report" on the lock file of which everything is logged: the first time,
// when each bundle and .crate is looked at, and the second.
func measureReport(ctx context.Context, p *place) (err error) {
	at, err := p.serveRegistry(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(p.dir, "log")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	const origin = "bench.example/log"
	w, err := loopback.Start(ctx, loopback.Config{Origin: origin, Dir: dir,
		Limits: log.Limits{Waiting: 1024}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for file, text := range map[string]string{
		filepath.Join(p.home, "config.toml"): fmt.Sprintf("[source.bench]\nregistry = %q\nreplace-with = \"here\"\n"+
			"[source.here]\nregistry = %q\n", index, "sparse+"+at),
		filepath.Join(p.project, "zkp.toml"): fmt.Sprintf("version = 1\nrequire = \"all\"\ndevelopment = true\n"+
			"trust = [%q]\n[registry.%q]\nlogs = [%q]\n",
			filepath.ToSlash(w.File), index, origin),
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, "cargo", "fetch", "--locked") // as it was when the lock file was made
	cmd.Dir, cmd.Env = p.project, p.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cargo fetch: %w\n%s", err, out)
	}
	say("logging %d entries", len(p.crates))
	if err := p.submit(ctx, w); err != nil {
		return err
	}
	for _, name := range []string{"report_first", "report"} {
		begin := time.Now()
		cmd := exec.CommandContext(ctx, p.program, "report", "--message-format", "json", "-q")
		var answer, said bytes.Buffer
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.project, p.environment(), &answer, &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("report: %w\n%s%.2000s", err, &said, &answer)
		}
		took := time.Since(begin)
		var r struct{ Total, Proven struct{ Crates int } }
		if err := json.Unmarshal(answer.Bytes(), &r); err != nil ||
			r.Proven.Crates != len(p.crates) || r.Total.Crates != len(p.crates) {
			return fmt.Errorf("report: %d of %d crates proven, and not %d: %w\n%s", r.Proven.Crates, r.Total.Crates,
				len(p.crates), err, &said)
		}
		fmt.Printf("%s %.2f s\n", name, took.Seconds())
	}
	return nil
}

// submit forges the entries of all crates, and has the log take them.
func (p *place) submit(ctx context.Context, w *loopback.World) error {
	f, err := forge.Default()
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, c := range p.crates {
		g.Go(func() error {
			e, err := forge.Claim(c.raw, c.name, version, &entry.Source{Commit: c.commit, Path: "crates/" + c.name})
			if err != nil {
				return err
			}
			e.Subject.Registry = entry.Registry(index)
			list, err := forge.List(c.raw, e)
			if err == nil {
				err = f.Prove(e, list)
			}
			if err != nil {
				return err
			}
			b, err := e.Marshal()
			if err == nil {
				_, err = w.Log.Submit(ctx, b, bytes.NewReader(c.raw), nil)
			}
			return err
		})
	}
	return g.Wait()
}

// serveRegistry serves the crates of the lock file as their registry does, until ctx ends.
func (p *place) serveRegistry(ctx context.Context) (at string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	at = "http://" + l.Addr().String() + "/"
	files := map[string][]byte{"/config.json": fmt.Appendf(nil, `{"dl":"%sdl/{crate}"}`, at)}
	for _, c := range p.crates {
		files["/dl/"+c.name] = c.raw
		files["/"+registry.Path(c.name)] = fmt.Appendf(nil,
			`{"name":%q,"vers":%q,"deps":[],"cksum":"%x","features":{},"yanked":false}`+"\n",
			c.name, version, sha256.Sum256(c.raw))
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(body)
	})}
	go s.Serve(l)
	context.AfterFunc(ctx, func() { s.Close() })
	return at, nil
}
