package log

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"filippo.io/torchwood"
	"github.com/transparency-dev/tessera/api/layout"
	"golang.org/x/mod/sumdb/tlog"
	"golang.org/x/sync/errgroup"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/durable"
	"cratelog/internal/web"
)

const (
	exportMark   = ".cratelog-export" // what an export says of itself
	exportFormat = "cratelog/export/v1"
	exportBatch  = 512              // entries between two looks at the clock
	exportEvery  = 10 * time.Second // between two syncs, and two messages
	maxExported  = 8192             // rows of a list, which has one page
)

// exported is the JSON of exportMark.
type exported struct {
	Format     string `json:"format"`
	Origin     string `json:"origin"`
	VKey       string `json:"vkey"`
	Size       uint64 `json:"size"`
	Checkpoint string `json:"checkpoint"` // SHA-256 of the note under which all bundles are
	Next       uint64 `json:"next"`       // what stands below is on the disk
	Done       bool   `json:"done"`
}

// Export writes what the log serves as files, all under its latest checkpoint, so that any web server that
// knows index.html and passes over queries can serve it to this module's clients: package client follows the
// server to NAME/ where NAME is a directory. What needs a program is missing: proofs of a size of one's
// choice, the state of submissions, health and metrics.
//
// cfg is opened with ReadOnly, so no server may have its state. The directory must be missing, empty, or hold an
// export of this log, with which it goes on: at the entry where it stopped, or from the first one if there is a
// newer checkpoint.
func Export(ctx context.Context, cfg Config, dir string) (err error) {
	cfg.ReadOnly = true
	l, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close(context.WithoutCancel(ctx))) }()
	x := &export{l: l, dir: dir, head: l.published.head(), handler: l.Handler()}
	if err := x.begin(); err != nil {
		return fmt.Errorf("log: export to %s: %w", dir, err)
	}
	for _, step := range []func(context.Context) error{x.tiles, x.entries, x.pages, x.rest, x.finish} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("log: export to %s, which can be run again to go on: %w", dir, err)
		}
	}
	return nil
}

type export struct {
	l       *Log
	dir     string
	head    published
	handler http.Handler
	mark    exported
	hidden  int // versions of other registries whose place another has
}

// begin looks whether the directory may be written to.
func (x *export) begin() error {
	if x.head.raw == nil {
		return errors.New("nothing is published yet")
	}
	if err := os.MkdirAll(x.dir, 0o755); err != nil {
		return err
	}
	sum := sha256.Sum256(x.head.raw)
	x.mark = exported{Format: exportFormat, Origin: x.l.cfg.Origin, VKey: x.l.cfg.VKey, Size: x.head.size,
		Checkpoint: hex.EncodeToString(sum[:])}
	raw, err := durable.Read(filepath.Join(x.dir, exportMark), 64<<10)
	if errors.Is(err, fs.ErrNotExist) {
		files, err := os.ReadDir(x.dir)
		if err == nil && len(files) > 0 {
			err = errors.New("it holds files, and no export of a log: choose a new directory")
		}
		if err != nil {
			return err
		}
		return x.save()
	}
	if err != nil {
		return err
	}
	var old exported
	switch err := json.Unmarshal(raw, &old); {
	case err != nil || old.Format != exportFormat:
		return fmt.Errorf("%s is none of this format: choose a new directory", exportMark)
	case old.Origin != x.mark.Origin || old.VKey != x.mark.VKey:
		return fmt.Errorf("it is an export of the log %q: choose a new directory", old.Origin)
	case old.Size > x.mark.Size:
		return fmt.Errorf("it has %d entries, and this copy of the log %d: export the newer one", old.Size, x.mark.Size)
	case old.Checkpoint == x.mark.Checkpoint:
		x.mark.Next = min(old.Next, x.head.size)
	}
	if !old.Done {
		if err := x.sweep(); err != nil {
			return err
		}
	}
	return x.save()
}

// sweep removes the half-written files that an export left which was killed.
func (x *export) sweep() error {
	return filepath.WalkDir(x.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasPrefix(d.Name(), durable.Unfinished) {
			err = os.Remove(path)
		}
		return err
	})
}

func (x *export) save() error {
	b, err := json.Marshal(x.mark)
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(x.dir, exportMark), append(b, '\n'), 0o644)
}

// write makes a file, without waiting for the disk: what counts is what the mark says after a sync.
func (x *export) write(name string, b []byte) error {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return fmt.Errorf("%q is no name of a file", name)
	}
	path := filepath.Join(x.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := durable.Create(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer f.Discard()
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// page is an answer of the log's own handler.
type page struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (p *page) Header() http.Header { return p.header }

func (p *page) WriteHeader(code int) {
	if p.code == 0 {
		p.code = code
	}
}

func (p *page) Write(b []byte) (int, error) {
	p.WriteHeader(http.StatusOK)
	return p.body.Write(b)
}

// ask gets what the log answers, and nil if it has no such thing.
func (x *export) ask(ctx context.Context, path string, query url.Values) ([]byte, error) {
	u := url.URL{Path: path, RawQuery: query.Encode()}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	p := &page{header: http.Header{}}
	x.handler.ServeHTTP(p, r)
	switch p.code {
	case http.StatusOK:
		return p.body.Bytes(), nil
	case http.StatusNotFound, http.StatusConflict, http.StatusRequestEntityTooLarge: // also void, or too many rows
		return nil, nil
	}
	return nil, errors.Join(ctx.Err(), fmt.Errorf("the log answers %d to %s: %.300s", p.code, u.String(), p.body.String()))
}

// put writes what the log answers at an address; under another name if the address is a directory as well.
func (x *export) put(ctx context.Context, path string, query url.Values, name string) error {
	b, err := x.ask(ctx, path, query)
	if err != nil || b == nil {
		return err
	}
	if name == "" {
		name = strings.TrimPrefix(path, "/")
	}
	return x.write(name, b)
}

// tiles writes every tile and entry bundle that a reader of this checkpoint asks for.
func (x *export) tiles(ctx context.Context) error {
	for level := -1; level < 8; level++ {
		at := uint64(max(level, 0))
		for n := uint64(0); ; n++ {
			width := widthAt(at, n, x.head.size)
			if width == 0 {
				break
			}
			t := tlog.Tile{H: torchwood.TileHeight, L: level, N: int64(n), W: int(width)}
			if err := x.put(ctx, "/"+torchwood.TilePath(t), nil, ""); err != nil {
				return err
			}
			if width < layout.TileWidth {
				break
			}
		}
	}
	return nil
}

// entries writes all that follows from entries.
func (x *export) entries(ctx context.Context) error {
	said := time.Now()
	for x.mark.Next < x.head.size {
		rows, err := x.l.index.rows(ctx, "WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT ?", int64(x.mark.Next),
			int64(x.head.size), exportBatch)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return errors.New("the index has fewer entries than the tree")
		}
		var g errgroup.Group
		g.SetLimit(x.l.limits.Cores)
		for _, r := range rows {
			g.Go(func() error { return x.entry(ctx, r) })
		}
		// One after the other: several entries may be of one version.
		for _, r := range rows {
			if err = x.version(ctx, r); err != nil {
				break
			}
		}
		if err := errors.Join(err, g.Wait()); err != nil {
			return err
		}
		x.mark.Next = rows[len(rows)-1].idx + 1
		if time.Since(said) > exportEvery {
			said = time.Now()
			syscall.Sync()
			if err := x.save(); err != nil {
				return err
			}
			x.l.log.Info("exporting", "entries", x.mark.Next, "of", x.head.size)
		}
	}
	return nil
}

func (x *export) entry(ctx context.Context, r row) error {
	if !r.isEntry() {
		return nil
	}
	paths := []string{fmt.Sprintf("/v1/entries/%d", r.idx), fmt.Sprintf("/v1/entries/by-leaf/%x", r.leaf),
		fmt.Sprintf("/v1/entries/by-identity/%x", r.identity)}
	if r.kind == kindSource {
		paths = append(paths, fmt.Sprintf("/v1/openings/%x", r.identity))
	} else {
		paths = append(paths, fmt.Sprintf("/v1/lists/%x", r.compiled), fmt.Sprintf("/v1/artifacts/%x", r.artifact))
	}
	for _, path := range paths {
		if err := x.put(ctx, path, nil, ""); err != nil {
			return err
		}
	}
	return nil
}

// version writes what the log says of a crate version, with its first entry, and of a crate, with its first
// version. A file has no query: of other registries than the default one a version, or a crate, has a place
// only if no other has it.
func (x *export) version(ctx context.Context, r row) error {
	if !r.isEntry() {
		return nil
	}
	query, at := url.Values{}, "/v1/crates/"+r.name
	if r.registry != entry.DefaultRegistry {
		query.Set("registry", r.registry)
	}
	first, hidden, err := x.placed(ctx, r, "name = ? AND version = ?", r.name, r.version)
	if err != nil || !first {
		return err
	}
	if hidden {
		x.hidden++
		return nil
	}
	of := at + "/" + r.version
	for path, name := range map[string]string{of: of[1:] + "/index.html", of + "/claims": "",
		"/v1/lookup/" + r.name + "/" + r.version: ""} {
		if err := x.put(ctx, path, query, name); err != nil {
			return err
		}
	}
	if err := x.list(ctx, of+"/builds", query, "from", "builds", of[1:]+"/builds"); err != nil {
		return err
	}
	// What is said of the crate is complete with the first of its versions.
	first, hidden, err = x.placed(ctx, r, "name = ?", r.name)
	if err != nil || !first || hidden {
		return err
	}
	if err := x.put(ctx, "/v1/index/"+r.name, query, ""); err != nil {
		return err
	}
	return x.list(ctx, at, query, "after", "versions", at[1:]+"/index.html")
}

// placed says whether an entry is the first of its registry where something is so, and whether another
// registry has its place.
func (x *export) placed(ctx context.Context, r row, where string, args ...any) (first, hidden bool, err error) {
	known, err := x.l.index.exists(ctx, "WHERE "+where+" AND registry = ? AND idx < ?",
		append(slices.Clone(args), r.registry, int64(r.idx))...)
	if err != nil || known || r.registry == entry.DefaultRegistry {
		return !known, false, err
	}
	hidden, err = x.l.index.exists(ctx, "WHERE "+where+" AND (registry = ? AND idx < ? OR idx < ?)",
		append(slices.Clone(args), entry.DefaultRegistry, int64(x.head.size), int64(r.idx))...)
	return true, hidden, err
}

// maxExportedRows bounds a page of the whole index, of which a reader needs one to see that nothing is there.
const maxExportedRows = 1024

// pages writes all rows of the index, in pages of which none is empty, and the list of these: what is in no
// other file is shown not to be in the log by them.
func (x *export) pages(ctx context.Context) error {
	if x.head.size == 0 {
		return nil
	}
	seal, s, err := x.l.sealOf(ctx, x.head)
	if err == nil {
		err = os.RemoveAll(filepath.Join(x.dir, "v1", "pages")) // those of another checkpoint
	}
	if err != nil {
		return err
	}
	head, list := client.Head{Index: x.head.size - 1, Checkpoint: x.head.raw, Seal: seal}, client.PagesLabel
	var walk func(index.Prefix) error
	walk = func(under index.Prefix) error {
		rows := 0
		for range s.snap.Rows(under) {
			if rows++; rows <= cmp.Or(x.l.cfg.testingOnlyPage, maxExportedRows) {
				continue
			}
			zero, one, err := under.Halves()
			if err == nil {
				err = walk(zero)
			}
			if err == nil {
				err = walk(one)
			}
			return err
		}
		if rows == 0 && s.snap.Len() > 0 {
			return ctx.Err()
		}
		page, err := x.l.pageOf(s, head, under)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("%d/%x", under.Bits(), under.Bytes())
		list += name + "\n"
		return x.write("v1/pages/"+name, page)
	}
	if err := walk(index.Prefix{}); err != nil {
		return err
	}
	return x.write("v1/index/index.html", []byte(list))
}

// list writes the pages of a list as one: the next is asked for with the parameter key.
func (x *export) list(ctx context.Context, path string, query url.Values, key, rows, name string) error {
	var all json.RawMessage
	q := maps.Clone(query)
	for {
		page, err := x.ask(ctx, path, q)
		if err != nil || page == nil {
			return err
		}
		next, err := onePage(page, &all, rows)
		if err != nil {
			return err
		}
		if next == "" {
			break
		}
		q.Set(key, next)
	}
	return x.write(name, append(all, '\n'))
}

// onePage appends the rows of a page of a list to all, and returns where the next one begins.
func onePage(page []byte, all *json.RawMessage, key string) (next string, err error) {
	var p, a map[string]json.RawMessage
	if err := json.Unmarshal(page, &p); err != nil {
		return "", err
	}
	if raw := p["next"]; raw != nil {
		next = strings.Trim(string(raw), `"`)
		delete(p, "next")
	}
	if *all != nil {
		if err := json.Unmarshal(*all, &a); err != nil {
			return "", err
		}
		var rows, more []json.RawMessage
		if err := errors.Join(json.Unmarshal(a[key], &rows), json.Unmarshal(p[key], &more)); err != nil {
			return "", err
		}
		if rows = append(rows, more...); len(rows) > maxExported {
			return "", fmt.Errorf("a list has more than %d rows, and its readers take no more at once", maxExported)
		}
		if p[key], err = json.Marshal(rows); err != nil {
			return "", err
		}
	}
	*all, err = json.Marshal(p)
	return next, err
}

// rest writes what is there once.
func (x *export) rest(ctx context.Context) error {
	style, _ := web.Style()
	for path, name := range map[string]string{
		"/v1/log": "", "/v1/keys": "v1/keys/index.html", "/v1/openapi.json": "", "/trust.policy": "", "/frozen": "",
		"/": "index.html", style: "",
		"/favicon.svg": "",
	} {
		if err := x.put(ctx, path, nil, name); err != nil {
			return err
		}
	}
	for name := range x.l.keyFiles {
		if err := x.put(ctx, "/v1/keys/"+name, nil, ""); err != nil {
			return err
		}
	}
	all, err := x.l.builds.contradictions(ctx, 0, maxExported+1)
	if err != nil {
		return err
	}
	if len(all) > maxExported {
		return fmt.Errorf("there is evidence of more than %d contradictions, and its readers take no more at once",
			maxExported)
	}
	for _, c := range all {
		if err := x.put(ctx, fmt.Sprintf("/v1/contradictions/%d", c.Number), nil, ""); err != nil {
			return err
		}
	}
	list, err := json.Marshal(contradictionsBody{Contradictions: append([]contradictionBody{}, all...)})
	if err != nil {
		return err
	}
	if err := x.write("v1/contradictions/index.html", append(list, '\n')); err != nil {
		return err
	}
	missing, err := json.Marshal(refusalBody{Reason: NotFound,
		Message: "This export of a log has nothing at this address."})
	if err != nil {
		return err
	}
	for _, name := range []string{"404.json", "404.html"} {
		if err := x.write(name, append(missing, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// finish writes the checkpoint, by which readers find all else, when that is on the disk.
func (x *export) finish(context.Context) error {
	syscall.Sync()
	if err := durable.Write(filepath.Join(x.dir, "checkpoint"), x.head.raw, 0o644); err != nil {
		return err
	}
	x.mark.Done = true
	if x.hidden > 0 {
		x.l.log.Warn("versions of other registries have no place of their own beside those of the same name and version; "+
			"their entries are there", "versions", x.hidden)
	}
	x.l.log.Info("exported", "entries", x.head.size, "directory", x.dir)
	return x.save()
}
