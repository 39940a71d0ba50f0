package web

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/web"
	"cratelog/opening"
	"cratelog/proofcheck"
)

// Checker is the program that readers' browsers load to verify an entry themselves: package verify as
// WebAssembly, and what the Go toolchain needs to run it. Nil where a monitor has none: then no
// page offers it.
//
// Its file is a tar archive of exactly these members:
//
//	go              the Go version that made it, as "go version" says it: "go1.26.8"
//	wasm_exec.js    of that toolchain
//	verify.wasm.gz  the program, compressed by gzip
//
// Whoever serves it could serve another one, so nothing in it is secret or has to be believed by the
// monitor. It is the operator's file, and is trusted as the monitor's own program is.
type Checker struct {
	version string
	exec    []byte
	packed  []byte   // gzip
	size    int64    // unpacked
	sum     [32]byte // SHA-256, unpacked
}

// Bounds of a checker's file, in bytes.
const (
	maxChecker     = 64 << 20
	maxCheckerWasm = 128 << 20
)

// checkerMembers are the names in the archive, in order.
var checkerMembers = []string{"go", "wasm_exec.js", "verify.wasm.gz"}

var goVersion = regexp.MustCompile(`^go1\.[0-9]+(\.[0-9]+)?([a-z0-9.-]{1,40})?$`)

// PackChecker returns the file of a checker. The same bytes make the same file.
func PackChecker(version string, exec, wasm []byte) ([]byte, error) {
	var packed, out bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(wasm); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	archive := tar.NewWriter(&out)
	for i, content := range [][]byte{[]byte(version), exec, packed.Bytes()} {
		err := archive.WriteHeader(&tar.Header{Name: checkerMembers[i], Mode: 0o644, Size: int64(len(content)),
			Format: tar.FormatUSTAR})
		if err == nil {
			_, err = archive.Write(content)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	_, err = parseChecker(out.Bytes())
	return out.Bytes(), err
}

// ReadChecker reads the file of a checker.
func ReadChecker(path string) (*Checker, error) {
	raw, err := durable.Read(path, maxChecker)
	if err != nil {
		return nil, err
	}
	c, err := parseChecker(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; make it with go run ./monitor/web/verify/pack", path, err)
	}
	return c, nil
}

func parseChecker(raw []byte) (*Checker, error) {
	members := map[string][]byte{}
	archive := tar.NewReader(bytes.NewReader(raw))
	for _, want := range checkerMembers {
		h, err := archive.Next()
		if err != nil {
			return nil, fmt.Errorf("it is no program for browsers: %s is missing: %w", want, err)
		}
		if h.Name != want {
			return nil, fmt.Errorf("it is no program for browsers: it holds %.40q where %s must stand", h.Name, want)
		}
		if members[want], err = io.ReadAll(archive); err != nil {
			return nil, fmt.Errorf("%s: %w", want, err)
		}
	}
	if _, err := archive.Next(); err != io.EOF {
		return nil, errors.New("it is no program for browsers: something follows verify.wasm.gz")
	}
	c := &Checker{version: string(members["go"]), exec: members["wasm_exec.js"], packed: members["verify.wasm.gz"]}
	if !goVersion.MatchString(c.version) {
		return nil, fmt.Errorf("it is no program for browsers: %.40q is no version of Go", c.version)
	}
	z, err := gzip.NewReader(bytes.NewReader(c.packed))
	if err != nil {
		return nil, fmt.Errorf("verify.wasm.gz: %w", err)
	}
	head := make([]byte, 4)
	h := sha256.New()
	unpacked := io.TeeReader(io.LimitReader(z, maxCheckerWasm+1), h)
	if _, err := io.ReadFull(unpacked, head); err != nil || string(head) != "\x00asm" {
		return nil, errors.New("verify.wasm.gz is no WebAssembly")
	}
	rest, err := io.Copy(io.Discard, unpacked)
	if err != nil {
		return nil, fmt.Errorf("verify.wasm.gz: %w", err)
	}
	if c.size = rest + int64(len(head)); c.size > maxCheckerWasm {
		return nil, fmt.Errorf("verify.wasm.gz has more than %d bytes unpacked", maxCheckerWasm)
	}
	h.Sum(c.sum[:0])
	return c, nil
}

//go:embed static/verify.js
var verifyScript []byte

//go:embed static/worker.js
var workerScript []byte

// servedChecker is a Checker as it is served. Every address holds the hash of what stands there.
type servedChecker struct {
	checker                      *Checker
	worker                       []byte // wasm_exec.js, and then what speaks with the page
	scriptSrc, workerSrc, binary string // addresses
	shipped                      map[[32]byte]bool
}

func newBrowser(c *Checker) (*servedChecker, error) {
	programs, err := proofcheck.Embedded()
	if err != nil {
		return nil, err
	}
	b := &servedChecker{checker: c, worker: slices.Concat(c.exec, []byte("\n"), workerScript),
		shipped: map[[32]byte]bool{}}
	for _, p := range programs {
		b.shipped[p.ID()] = true
	}
	at := func(content []byte) string { sum := sha256.Sum256(content); return hex.EncodeToString(sum[:6]) }
	b.scriptSrc = "/verify/page." + at(verifyScript) + ".js"
	b.workerSrc = "/verify/worker." + at(b.worker) + ".js"
	b.binary = "/verify/" + hex.EncodeToString(c.sum[:]) + ".wasm"
	return b, nil
}

// The policies of the page that checks, and of the worker in which it does: the page loads the program
// and the bundle, and the worker, which sees what the reader chose, can reach nobody.
const (
	browserPolicy = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self'; " +
		"img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	workerPolicy = "default-src 'none'; script-src 'wasm-unsafe-eval'"
)

func (b *servedChecker) page(w http.ResponseWriter, r *http.Request) error {
	web.Immutable(w)
	return web.Send(w, r, "text/javascript; charset=utf-8", verifyScript)
}

func (b *servedChecker) work(w http.ResponseWriter, r *http.Request) error {
	web.Immutable(w)
	w.Header().Set("Content-Security-Policy", workerPolicy)
	return web.Send(w, r, "text/javascript; charset=utf-8", b.worker)
}

// program serves the WebAssembly, compressed to those who can unpack it: all browsers can.
func (b *servedChecker) program(w http.ResponseWriter, r *http.Request) error {
	web.Immutable(w)
	w.Header().Set("Vary", "Accept-Encoding")
	if acceptsGzip(r.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		return web.Send(w, r, "application/wasm", b.checker.packed)
	}
	z, err := gzip.NewReader(bytes.NewReader(b.checker.packed))
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/wasm")
	if r.Method != http.MethodHead {
		_, err = io.Copy(w, z)
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the reader left, and must not take it for whole
	}
	return nil
}

func acceptsGzip(accepts string) bool {
	for one := range strings.SplitSeq(accepts, ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(one), ";")
		if name == "gzip" && strings.ReplaceAll(weight, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// verifyDetail is what the page "Check it in your browser" shows.
type verifyDetail struct {
	Entry     entryJSON
	Trust     string // the monitor's trust file of this log
	Program   string // its program file, if that does not ship with the checker
	Opening   string // where the log serves the claim's opening; "" if this monitor knows of none
	MaxCrate  int64
	MaxOpened int

	Script, Worker, Wasm string // addresses
	ScriptIntegrity      template.HTMLAttr
	WasmIntegrity        string
	SHA256, Go           string
	Packed, Size         string // in megabytes
}

func integrity(sum [32]byte) string { return "sha256-" + base64.StdEncoding.EncodeToString(sum[:]) }

// verify shows the page on which a reader's browser checks an entry.
func (s *Server) verify(q *request) error {
	b := s.browser
	if b == nil {
		return notFound("This monitor has no program for browsers. Download the bundle, and verify it with cargo zkp verify.")
	}
	e, err := s.find(q, q.r.PathValue("key"))
	if err != nil {
		return err
	}
	v := s.entryView(q.logs, e)
	if v.Malformed != "" || v.Bundle == "" {
		return refuse(http.StatusConflict, "no-bundle", "There is no bundle of this entry that could be checked.")
	}
	mb := func(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
	d := verifyDetail{Entry: v, Trust: string(s.cfg.Trust[v.Log]),
		MaxCrate: crate.DefaultLimits.Compressed, MaxOpened: opening.MaxSize,
		Script: b.scriptSrc, Worker: b.workerSrc, Wasm: b.binary, Go: b.checker.version,
		ScriptIntegrity: template.HTMLAttr(`integrity="` + integrity(sha256.Sum256(verifyScript)) + `"`),
		WasmIntegrity:   integrity(b.checker.sum),
		SHA256:          hex.EncodeToString(b.checker.sum[:]),
		Packed:          mb(int64(len(b.checker.packed))), Size: mb(b.checker.size)}
	parsed, err := entry.Parse(e.Data)
	if err != nil {
		return err // which entryView has parsed
	}
	if p, ok := s.cfg.Proofs.Program(parsed.Proof.Program); ok && !b.shipped[p.ID()] {
		text, err := p.Marshal()
		if err != nil {
			return err
		}
		d.Program = string(text)
	}
	if d.Opening, err = s.openingURL(q, e.Log, e.Index, parsed); err != nil {
		return err
	}
	page, err := s.render("browser", page{Title: "Check " + v.Crate + " " + v.Version + " in your browser", Data: d})
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Security-Policy", browserPolicy)
	return web.Send(q.w, q.r, "text/html; charset=utf-8", page)
}

// openingURL is where an entry's log says that it has the opening.
func (s *Server) openingURL(q *request, log, index int64, e *entry.Entry) (string, error) {
	o, known, err := s.cfg.Store.Opening(q.ctx(), log, index)
	if err != nil || !known || o.SHA256 == [32]byte{} {
		return "", err
	}
	policy := s.cfg.Policies[q.origin(log)]
	if policy == nil {
		return "", nil
	}
	id, err := e.Identity()
	if err != nil {
		return "", err
	}
	for _, l := range policy.Logs() {
		if l.Origin == q.origin(log) && l.URL != "" {
			return strings.TrimSuffix(l.URL, "/") + "/v1/openings/" + hex.EncodeToString(id[:]), nil
		}
	}
	return "", nil
}
