package log

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
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
	l.keyFiles = map[string]bool{}
	for _, f := range files {
		if err := l.checkKey(ctx, f.Name()); err != nil {
			return fmt.Errorf("the directory of proving keys holds %q: %w", f.Name(), err)
		}
		l.keyFiles[f.Name()] = true
	}
	for _, p := range l.cfg.Proofs.Programs() {
		if name := hex.EncodeToString(p.ProvingKey[:]); p.ProvingKey != [32]byte{} && !l.keyFiles[name] {
			l.log.Warn("the proving key of a program is not served: put it into the directory under its SHA-256",
				"program", fmt.Sprintf("%x", p.ID()), "sha256", name)
		}
	}
	return nil
}

func (l *Log) checkKey(ctx context.Context, name string) error {
	if want, err := hex.DecodeString(name); err != nil || len(want) != sha256.Size || hex.EncodeToString(want) != name {
		return errors.New("a proving key is named for its SHA-256 in lower-case hex; remove or rename the file")
	}
	f, err := l.openKey(name)
	if err != nil {
		return err
	}
	defer f.Close()
	defer context.AfterFunc(ctx, func() { f.Close() })() // it may be large
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != name {
		return fmt.Errorf("its SHA-256 is %s; get it again", got)
	}
	return nil
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

// provingKey serves a proving key by its SHA-256. It never changes.
func (l *Log) provingKey(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("hash")
	if !l.keyFiles[name] {
		return refuse(NotFound, nil,
			"This log serves no proving key with this SHA-256; /v1/log says which keys its programs have.")
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
