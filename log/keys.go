package log

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"cratelog/internal/web"
)

// keyDownload bounds how long one request for a proving key may take; another may ask
// for the rest of it.
const keyDownload = time.Hour

// openKeys looks at the directory of proving keys: each file is named for its SHA-256 in
// hex, and has it. Its reader compares it with a program file all the same.
func (l *Log) openKeys(ctx context.Context) error {
	if l.cfg.KeysDir == "" {
		return nil
	}
	var err error
	if l.keys, err = os.OpenRoot(l.cfg.KeysDir); err != nil {
		return fmt.Errorf("the directory of proving keys: %w", err)
	}
	files, err := os.ReadDir(l.cfg.KeysDir)
	if err != nil {
		return fmt.Errorf("the directory of proving keys: %w", err)
	}
	l.keyFiles = map[string]int64{}
	for _, f := range files {
		if l.keyFiles[f.Name()], err = l.checkKey(ctx, f.Name()); err != nil {
			return fmt.Errorf("the directory of proving keys holds %q: %w", f.Name(), err)
		}
	}
	for _, p := range l.cfg.Proofs.Programs() {
		name := hex.EncodeToString(p.ProvingKey[:])
		if _, served := l.keyFiles[name]; !served && l.programs[p.ID()] && p.ProvingKey != [32]byte{} {
			l.log.Warn("the proving key of a program is not served: put it into the directory under its SHA-256",
				"program", fmt.Sprintf("%x", p.ID()), "sha256", name)
		}
	}
	return nil
}

// checkKey returns a key's size.
func (l *Log) checkKey(ctx context.Context, name string) (int64, error) {
	if want, err := hex.DecodeString(name); err != nil || len(want) != sha256.Size || hex.EncodeToString(want) != name {
		return 0, errors.New("a proving key is named for its SHA-256 in lower-case hex; remove or rename the file")
	}
	f, err := l.openKey(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })() // it may be large
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return 0, errors.Join(ctx.Err(), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != name {
		return 0, fmt.Errorf("its SHA-256 is %s; get it again", got)
	}
	return size, nil
}

// openKey opens a regular file of the directory.
func (l *Log) openKey(name string) (*os.File, error) {
	info, err := l.keys.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	return l.keys.Open(name)
}

// keysBody is the JSON of /v1/keys.
type keysBody struct {
	Keys []keyBody `json:"keys"`
}

// keyBody is a program under which entries are accepted, and its proving key.
type keyBody struct {
	Program string          `json:"program"` // id
	Origin  string          `json:"origin"`
	Blocks  int             `json:"blocks"`           // of a segment; of source claims
	Depth   int             `json:"depth,omitempty"`  // of a set's tree; of build claims
	SHA256  string          `json:"sha256,omitempty"` // of the proving key, if the program says
	Size    int64           `json:"size,omitempty"`   // of the proving key in bytes, if this log serves it
	File    json.RawMessage `json:"file"`             // the program file
}

// listKeys lists what provers for this log need. They believe none of it: they compare the
// program with what they accept, and the key with the program.
func (l *Log) listKeys(w http.ResponseWriter, r *http.Request) error {
	b := keysBody{Keys: []keyBody{}}
	for _, p := range l.cfg.Proofs.Programs() {
		if !l.programs[p.ID()] {
			continue
		}
		file, err := p.Marshal()
		if err != nil {
			return err
		}
		k := keyBody{Program: fmt.Sprintf("%x", p.ID()), Origin: p.Origin, Blocks: p.Blocks, Depth: p.Depth, File: file}
		if p.ProvingKey != [32]byte{} {
			k.SHA256 = hex.EncodeToString(p.ProvingKey[:])
			k.Size = l.keyFiles[k.SHA256]
		}
		b.Keys = append(b.Keys, k)
	}
	return web.SendJSON(w, r, b)
}

// provingKey serves a proving key by its SHA-256. It never changes.
func (l *Log) provingKey(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("hash")
	if _, served := l.keyFiles[name]; !served {
		return refuse(NotFound, nil,
			"This log serves no proving key with this SHA-256; /v1/keys says which keys its programs have.")
	}
	f, err := l.openKey(name)
	if err != nil {
		return err
	}
	defer f.Close()
	// A key is larger than all else, and lines are slow. A server without deadlines
	// (httptest) needs no other.
	err = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(keyDownload))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+name+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
	return nil
}
