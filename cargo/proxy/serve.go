package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"cratelog/cargo/registry"
	"cratelog/entry"
)

func (p *Proxy) serveConfig(w http.ResponseWriter, _ *http.Request) {
	// cargo prints this URL twice with an error: it is short.
	says := map[string]any{"dl": p.Base + "/d/{crate}/{version}"}
	if _, ok := p.Judge.(Keeper); ok {
		says["cratelog"] = map[string]string{"evidence": p.Base + "/e/"}
	}
	b, err := json.Marshal(says)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b)
}

// serveIndex passes on the index file of a crate, with the registry's validators.
func (p *Proxy) serveIndex(w http.ResponseWriter, r *http.Request) {
	path := r.PathValue("path")
	name := path[strings.LastIndexByte(path, '/')+1:]
	if entry.CheckName(name) != nil || registry.Path(name) != path {
		refuse(w, http.StatusNotFound, "cratelog: the index of a registry has no such file")
		return
	}
	f, err := p.index(r.Context(), name)
	if err != nil {
		p.fail(w, r, err)
		return
	}
	if f.ETag == "" {
		f.ETag = fmt.Sprintf(`"%x"`, sha256.Sum256(f.Body))
	}
	w.Header().Set("ETag", f.ETag)
	if f.LastModified != "" {
		w.Header().Set("Last-Modified", f.LastModified)
	}
	// SPEC (RFC 9110 13.1.3): If-Modified-Since is ignored with If-None-Match.
	match, since := r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since")
	if match == f.ETag || match == "" && since != "" && since == f.LastModified {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(f.Body)))
	w.Write(f.Body)
}

func (p *Proxy) serveCrate(w http.ResponseWriter, r *http.Request) {
	f, err := p.fly(r.PathValue("name"), r.PathValue("version"))
	if err != nil {
		p.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	sent := p.meanwhile(w, r, f)
	switch {
	case !f.landed(): // the client has gone
	case sent == 0 && f.err != nil:
		p.fail(w, r, f.err)
	case f.err != nil || !f.early.begins(f.raw, sent):
		p.Log.Warn("an answer is cut off, and cargo will ask again", "path", r.URL.Path, "error", f.err)
		p.owe(f)
		panic(http.ErrAbortHandler)
	default:
		if sent == 0 {
			w.Header().Set("Content-Length", strconv.Itoa(len(f.raw)))
		}
		p.Log.Debug("a crate is handed out", "crate", f.name, "version", f.version)
		w.Write(f.raw[sent:])
	}
}

// serveEvidence hands out the evidence about what serveCrate hands out, once that was judged.
func (p *Proxy) serveEvidence(w http.ResponseWriter, r *http.Request) {
	keeper, ok := p.Judge.(Keeper)
	name, version := r.PathValue("name"), r.PathValue("version")
	if !ok || entry.CheckName(name) != nil || entry.CheckVersion(version) != nil || !p.Judge.Requires(name, version) {
		refuse(w, http.StatusNotFound, "cratelog: there is no evidence of that, which needs none here")
		return
	}
	if _, err := p.crate(r.Context(), name, version); err != nil {
		p.fail(w, r, err)
		return
	}
	b, ok := keeper.Kept(name, version, r.PathValue("file"))
	if !ok {
		refuse(w, http.StatusNotFound, "cratelog: there is no such evidence about "+name+" "+version)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b)
}

// serveExplain tells in full what serveCrate would answer, and why.
func (p *Proxy) serveExplain(w http.ResponseWriter, r *http.Request) {
	name, version := r.PathValue("name"), r.PathValue("version")
	raw, err := p.crate(r.Context(), name, version)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	var no *Refusal
	switch {
	case err == nil:
		fmt.Fprintf(w, "%s v%s is handed out.\n\nIts SHA-256 is %x, as the registry's index lists,\n"+
			"and the policy accepts it.\n", name, version, sha256.Sum256(raw))
	case errors.As(err, &no):
		fmt.Fprintf(w, "%s v%s is refused.\n\nSHA-256: %x\nReason:  %s\nRemedy:  %s\n", name, version, no.Sum,
			indent(no.Err.Error()), indent(remedy(no.Err)))
	default:
		w.WriteHeader(status(err))
		fmt.Fprintf(w, "%s v%s cannot be handed out now, and was not judged.\n\n"+
			"Reason:  %s\n", name, version, indent(err.Error()))
	}
}

func indent(s string) string { return strings.ReplaceAll(s, "\n", "\n         ") }

func (p *Proxy) serveFront(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, `This is a cratelog proxy: a registry for cargo that hands out only crates that a policy accepts.

Registry: %s
Policy:   %s

cargo knows it as the registry %s.
%s/explain/NAME/VERSION tells why a crate is handed out or not.
`, p.Upstream.URL, p.Policy, p.Index(), p.Base)
}

// learn remembers the releases of an index file, and begins to fetch what judging
// the newest will need.
func (p *Proxy) learn(name string, releases []registry.Release) {
	wants := make([]Want, len(releases))
	for i, r := range releases {
		// The strings are copied, so that the file is not kept.
		wants[i] = Want{strings.Clone(r.Name), strings.Clone(r.Version), r.Checksum}
	}
	p.known.Add(strings.ToLower(name), wants)
	if w, ok := newest(releases); ok {
		p.prefetch(w)
	}
}

// release returns what the index lists for a version. What the proxy has served
// lately it need not ask for again.
func (p *Proxy) release(ctx context.Context, name, version string) (Want, error) {
	wants, _ := p.known.Get(strings.ToLower(name))
	if w, err := find(wants, name, version); err == nil {
		return w, nil
	}
	if _, err := p.index(ctx, name); err != nil {
		return Want{}, err
	}
	wants, _ = p.known.Get(strings.ToLower(name))
	return find(wants, name, version)
}

// find returns a release. Of two with one version the later counts, as for cargo.
func find(wants []Want, name, version string) (Want, error) {
	for _, w := range slices.Backward(wants) {
		if w.Version == version && w.Name == name {
			return w, nil
		}
	}
	return Want{}, fmt.Errorf("%s v%s: %w", name, version, registry.ErrNotFound)
}
