package registrytest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"cratelog/cargo/registry"
)

// Warn makes the registry answer a publication with warnings, which cargo prints.
func (r *Registry) Warn(warnings ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = warnings
}

// Refuse makes the registry refuse every publication with a sentence; "" ends it.
func (r *Registry) Refuse(detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusal = detail
}

// Published returns what has arrived through the publish API since the last call,
// oldest first. What was refused is not among it.
func (r *Registry) Published() []Published {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.published
	r.published = nil
	return all
}

// servePublish is the web API's publish (cargo's reference, "Publish"): two parts,
// each behind its length as 32 bits, little-endian: JSON, then the .crate.
func (r *Registry) servePublish(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	token, refusal, warnings := r.token, r.refusal, r.warnings
	r.mu.Unlock()
	if token != "" && q.Header.Get("Authorization") != token {
		refuse(w, http.StatusForbidden, "the token is not known")
		return
	}
	if refusal != "" {
		refuse(w, http.StatusForbidden, refusal)
		return
	}
	p, err := readPublished(q.Body)
	if err == nil {
		err = r.add(p.Raw)
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	r.mu.Lock()
	r.published = append(r.published, p)
	r.mu.Unlock()
	reply := map[string]any{"warnings": map[string]any{
		"invalid_categories": []string{}, "invalid_badges": []string{}, "other": append([]string{}, warnings...),
	}}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(reply)
}

// readPublished reads the body, and checks that JSON and .crate name one release.
func readPublished(body io.Reader) (Published, error) {
	var p Published
	meta, err := readPart(body, 1<<20)
	if err == nil {
		p.Raw, err = readPart(body, registry.MaxCrateSize)
	}
	if err != nil {
		return p, err
	}
	if n, _ := io.ReadFull(body, make([]byte, 1)); n != 0 {
		return p, errors.New("bytes follow the .crate")
	}
	var says struct{ Name, Vers string }
	if err := json.Unmarshal(meta, &says); err != nil {
		return p, fmt.Errorf("the metadata: %w", err)
	}
	line, err := lineOf(p.Raw)
	if err != nil {
		return p, err
	}
	if line["name"] != says.Name || line["vers"] != says.Vers {
		return p, fmt.Errorf("the metadata is about %s v%s, the .crate about %s v%s", says.Name, says.Vers, line["name"],
			line["vers"])
	}
	p.Name, p.Version, p.Metadata = says.Name, says.Vers, meta
	return p, nil
}

func readPart(r io.Reader, limit uint32) ([]byte, error) {
	var n uint32
	if err := binary.Read(r, binary.LittleEndian, &n); err != nil {
		return nil, fmt.Errorf("the length of a part: %w", err)
	}
	if n > limit {
		return nil, fmt.Errorf("a part of %d bytes is more than %d", n, limit)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("a part of %d bytes: %w", n, err)
	}
	return b, nil
}

// refuse answers as the web API does.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"detail": detail}}})
}

// pass answers as the upstream did.
func pass(w http.ResponseWriter, err error) {
	var status *registry.StatusError
	switch {
	case errors.Is(err, registry.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.As(err, &status):
		http.Error(w, err.Error(), status.Status)
	default:
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}
