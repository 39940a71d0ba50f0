package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"cratelog/cargo/registry"
	"cratelog/internal/h2c"
)

// fetches is how often each fetch is measured; the median counts.
const fetches = 5

// latency is how long the registry takes to begin an answer in the second measurement:
// as one does that is not on the same machine.
const latency = 20 * time.Millisecond

// measureProxy lets cargo fetch n crates into an empty home, directly and through the
// proxy, in turns: from a registry that answers at once, and from one that does not.
func (p *place) measureProxy(ctx context.Context, n int) error {
	if _, err := exec.LookPath("cargo"); err != nil {
		fmt.Fprintln(os.Stderr, "bench/lockfile: there is no cargo here, so the proxy is not measured")
		return nil
	}
	var delay atomic.Int64
	base, err := p.serveRegistry(n, &delay)
	if err != nil {
		return err
	}
	if err := writeProject(filepath.Join(p.dir, "fetching"), dependencies(p.crates[:n])); err != nil {
		return err
	}
	if err := p.compare(ctx, base, "_loopback"); err != nil {
		return err
	}
	delay.Store(int64(latency))
	return p.compare(ctx, base, "")
}

// compare measures all three ways in turns and prints the medians.
func (p *place) compare(ctx context.Context, base, suffix string) error {
	var direct, first, again []float64
	for i := range fetches {
		s, err := p.fetch(ctx, fmt.Sprintf("direct%s-%d", suffix, i), base+"/index/")
		if err != nil {
			return err
		}
		direct = append(direct, s)
		if err := os.RemoveAll(filepath.Join(p.dir, "cache")); err != nil {
			return err
		}
		for _, times := range []*[]float64{&first, &again} {
			if s, err = p.fetchThrough(ctx, fmt.Sprintf("%s-%d-%d", suffix, i, len(again)), base); err != nil {
				return err
			}
			*times = append(*times, s)
		}
	}
	for _, times := range [][]float64{direct, first, again} {
		slices.Sort(times)
	}
	d, f, a := direct[fetches/2], first[fetches/2], again[fetches/2]
	fmt.Printf("cargo_fetch%[1]s %.2[2]f s\nproxy_fetch_first%[1]s %.2[3]f s\nproxy_fetch%[1]s %.2[4]f s\n",
		suffix, d, f, a)
	fmt.Printf("proxy_overhead_first%[1]s %.0[2]f percent\nproxy_overhead%[1]s %.0[3]f percent\n", suffix,
		100*(f/d-1), 100*(a/d-1))
	return nil
}

// serveRegistry serves a sparse registry of files, each after a delay, and returns its
// address. Like a real registry it speaks HTTP/2, in which cargo asks for everything at
// once.
func (p *place) serveRegistry(n int, delay *atomic.Int64) (string, error) {
	dir := filepath.Join(p.dir, "registry")
	files := http.FileServer(http.Dir(dir))
	up := h2c.New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Duration(delay.Load()))
		files.ServeHTTP(w, r)
	}), time.Minute)
	go up.Serve() // until the program ends
	base, err := p.world.Serve(up)
	if err != nil {
		return "", err
	}
	if err := write(filepath.Join(dir, "index", "config.json"),
		fmt.Appendf(nil, `{"dl":"%s/dl/{crate}-{version}.crate","api":null}`, base)); err != nil {
		return "", err
	}
	for _, r := range p.crates[:n] {
		line, err := r.line()
		if err != nil {
			return "", err
		}
		if err := errors.Join(write(filepath.Join(dir, "index", filepath.FromSlash(registry.Path(r.name))),
			append(line, '\n')),
			write(filepath.Join(dir, "dl", r.name+"-"+version+".crate"), r.raw)); err != nil {
			return "", err
		}
	}
	return base, nil
}

// line is the crate's line in the registry's index.
func (r release) line() ([]byte, error) {
	return json.Marshal(map[string]any{"name": r.name, "vers": version, "deps": []int{}, "features": struct{}{},
		"cksum": hex.EncodeToString(r.entry.Subject.SHA256[:]), "yanked": false})
}

// fetch runs cargo fetch with an empty home against an index.
func (p *place) fetch(ctx context.Context, home, index string) (float64, error) {
	dir := filepath.Join(p.dir, "fetching")
	if err := configure(dir, index); err != nil {
		return 0, err
	}
	if err := os.RemoveAll(filepath.Join(dir, "Cargo.lock")); err != nil {
		return 0, err
	}
	took, err := p.timed(ctx, dir, filepath.Join(p.dir, home), "cargo", "fetch")
	return took.Seconds(), err
}

// fetchThrough starts a proxy, fetches through it, and stops it.
func (p *place) fetchThrough(ctx context.Context, run, base string) (float64, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, p.program, "proxy", "--listen", address, "--index", base+"/index/")
	cmd.Dir, cmd.Env = filepath.Join(p.dir, "fetching"), p.environment(filepath.Join(p.dir, "proxy-home"+run))
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer func() {
		stop()
		_ = cmd.Wait() // it was killed
	}()
	for range 1000 {
		if r, err := http.Get("http://" + address + "/"); err == nil {
			r.Body.Close()
			return p.fetch(ctx, "through"+run, "http://"+address+"/index/")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return 0, errors.New("the proxy does not answer")
}
