package registrytest

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// maxEvidence bounds a file that is handed in, in bytes.
const maxEvidence = 16 << 20

// TakeEvidence makes the registry take evidence, below /evidence/, hand it out, and announce that in its
// config.json.
func (r *Registry) TakeEvidence() {
	at := r.URL + "/evidence/"
	r.Announce(map[string]any{"evidence": at, "put": at})
}

// Announce makes config.json say something about evidence, which may be nonsense. nil is nothing.
func (r *Registry) Announce(cratelog any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announced = cratelog
	if r.evidence == nil {
		r.evidence = map[string][]byte{}
	}
}

// Evidence returns the files of evidence, by their paths.
func (r *Registry) Evidence() map[string][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.evidence)
}

// SetEvidence puts a file of evidence there, or with nil takes it away.
func (r *Registry) SetEvidence(path string, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b == nil {
		delete(r.evidence, path)
	} else {
		r.evidence[path] = b
	}
}

// LoadEvidence takes all files below a directory for evidence, instead of what it had.
func (r *Registry) LoadEvidence(dir string) {
	r.t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if rel, relErr := filepath.Rel(dir, path); relErr == nil {
			all[filepath.ToSlash(rel)] = b
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evidence = all
}

func (r *Registry) serveEvidence(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.allowed(w, q) {
		return
	}
	b, ok := r.evidence[q.PathValue("path")]
	if !ok {
		http.NotFound(w, q)
		return
	}
	w.Write(b)
}

// takeEvidence takes files about releases that it has, of who has the token.
func (r *Registry) takeEvidence(w http.ResponseWriter, q *http.Request) {
	b, err := io.ReadAll(io.LimitReader(q.Body, maxEvidence+1))
	r.mu.Lock()
	defer r.mu.Unlock()
	parts := strings.Split(q.PathValue("path"), "/")
	switch {
	case r.token != "" && q.Header.Get("Authorization") != r.token:
		refuse(w, http.StatusForbidden, "the token is not known")
	case err != nil || len(b) > maxEvidence:
		refuse(w, http.StatusRequestEntityTooLarge, "the evidence is too large")
	case r.evidence == nil || len(parts) != 4 || r.find(parts[1], parts[2]) == nil:
		refuse(w, http.StatusNotFound, "there is no such release")
	default:
		r.evidence[q.PathValue("path")] = b
		w.WriteHeader(http.StatusNoContent)
	}
}
