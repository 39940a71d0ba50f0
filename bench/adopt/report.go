package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/registry"
	"cratelog/internal/loopback"
)

func init() { measures = append(measures, measureReport) }

// measureReport measures "cargo zkp report" on the lock file of which everything is proven and logged: the
// first time, when each bundle and .crate is looked at, and the second.
func measureReport(ctx context.Context, p *place) (err error) {
	at, err := p.serveIndex(ctx)
	if err != nil {
		return err
	}
	dir := filepath.Join(p.dir, "log")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	const origin = "bench.example/log"
	w, err := loopback.Start(ctx, loopback.Config{Origin: origin, Dir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for file, text := range map[string]string{
		filepath.Join(p.home, "config.toml"): fmt.Sprintf("[source.bench]\nregistry = %q\nreplace-with = \"here\"\n[source.here]\nregistry = %q\n", index, "sparse+"+at),
		filepath.Join(p.project, "zkp.toml"): fmt.Sprintf("version = 1\nrequire = \"all\"\ndevelopment = true\ntrust = [%q]\n[registry.%q]\nlogs = [%q]\n",
			filepath.ToSlash(w.File), index, origin),
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	if err := p.prove(ctx, &out, "--submit", "--log", w.URL).Run(); err != nil {
		return fmt.Errorf("prove --lock --submit: %w\n%s", err, &out)
	}
	for _, name := range []string{"report_first", "report"} {
		begin := time.Now()
		cmd := exec.CommandContext(ctx, p.program, "report", "--message-format", "json", "-q")
		var answer, said bytes.Buffer
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.project, p.environment(), &answer, &said
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("report: %w\n%s", err, &said)
		}
		took := time.Since(begin)
		var r struct{ Total, Proven struct{ Crates int } }
		if err := json.Unmarshal(answer.Bytes(), &r); err != nil || r.Proven.Crates != len(p.crates) || r.Total.Crates != len(p.crates) {
			return fmt.Errorf("report: %d of %d crates proven, and not %d: %w\n%s", r.Proven.Crates, r.Total.Crates, len(p.crates), err, &said)
		}
		fmt.Printf("%s %.2f s\n", name, took.Seconds())
	}
	return nil
}

// serveIndex serves an index in which the crates of the lock file stand, until ctx ends.
func (p *place) serveIndex(ctx context.Context) (at string, err error) {
	lock, err := cargo.ReadLock(filepath.Join(p.project, "Cargo.lock"))
	if err != nil {
		return "", err
	}
	files := map[string]string{"/config.json": `{"dl":"http://127.0.0.1:9/dl"}`}
	for _, c := range lock.Packages {
		if c.Checksum != nil {
			files["/"+registry.Path(c.Name)] = fmt.Sprintf(`{"name":%q,"vers":%q,"deps":[],"cksum":"%x","features":{},"yanked":false}`+"\n",
				c.Name, c.Version, *c.Checksum)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, text)
	})}
	go s.Serve(l)
	context.AfterFunc(ctx, func() { s.Close() })
	return "http://" + l.Addr().String() + "/", nil
}
