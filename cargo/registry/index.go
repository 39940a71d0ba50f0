package registry

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cratelog/entry"
)

// Config is what config.json says.
type Config struct {
	Download string // "dl": where .crate files are, perhaps with markers
	API      string // "api": base URL of the web API, "" if there is none
	Auth     bool   // "auth-required": every request needs a token
	Raw      []byte // the file
}

// Config fetches config.json, or returns what it said not long ago.
func (x *Index) Config(ctx context.Context) (Config, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.config != nil && time.Since(x.fetched) < configAge {
		return *x.config, nil
	}
	f, err := x.file(ctx, "config.json", MaxConfigSize, nil)
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusUnauthorized && x.Token != "" && x.token() == "" {
		x.asked.Store(true)
		f, err = x.file(ctx, "config.json", MaxConfigSize, nil)
	}
	if err != nil {
		return Config{}, fmt.Errorf("the registry's config.json: %w", err)
	}
	c, err := parseConfig(f.Body)
	if err != nil {
		return Config{}, fmt.Errorf("the registry's config.json: %w", err)
	}
	if c.Auth {
		x.asked.Store(true)
	}
	x.config, x.fetched = &c, time.Now()
	return c, nil
}

// token is what the index is told.
func (x *Index) token() string {
	if x.TokenIfAsked && !x.asked.Load() {
		return ""
	}
	return x.Token
}

func parseConfig(b []byte) (Config, error) {
	fields, err := object(b)
	if err != nil {
		return Config{}, err
	}
	c := Config{Raw: b}
	api := new(string) // null stands for none
	err = errors.Join(
		field(fields, "dl", &c.Download, true),
		field(fields, "api", &api, false),
		field(fields, "auth-required", &c.Auth, false))
	if err != nil {
		return Config{}, err
	}
	if api != nil {
		c.API = *api
	}
	if c.Download == "" {
		return Config{}, errors.New(`"dl" is empty`)
	}
	return c, nil
}

// Releases fetches a crate's index file and returns its lines, in the file's order.
// A crate that the registry does not know is ErrNotFound.
func (x *Index) Releases(ctx context.Context, name string) ([]Release, error) {
	f, err := x.File(ctx, name)
	if err != nil {
		return nil, err
	}
	releases, err := ParseReleases(name, f.Body)
	if err != nil {
		return nil, fmt.Errorf("the registry's index file of %s: %w", name, err)
	}
	return releases, nil
}

// File fetches a crate's index file as it is, with the validators that it was
// served with. An error is ErrNotFound, a *StatusError, or one of the network.
func (x *Index) File(ctx context.Context, name string) (Cached, error) {
	if err := entry.CheckName(name); err != nil {
		return Cached{}, err
	}
	if x.Token != x.token() {
		if _, err := x.Config(ctx); err != nil { // which says whether it is wanted
			return Cached{}, err
		}
	}
	f, err := x.file(ctx, Path(name), MaxIndexSize, x.Cache)
	if err != nil {
		return Cached{}, fmt.Errorf("the index file of %s: %w", name, err)
	}
	return f, nil
}

// ParseReleases reads a crate's index file. As cargo, it leaves out a line that it cannot
// read, and one about another crate; only a file of nothing but such lines is an error. The
// name's case is not compared, since one file is for all: see Release.Name.
func ParseReleases(name string, b []byte) ([]Release, error) {
	var releases []Release
	var first error
	n := 0
	for line := range bytes.Lines(b) {
		n++
		line = bytes.TrimRight(line, "\r\n")
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		r, err := ParseRelease(line)
		if err == nil && !strings.EqualFold(r.Name, name) {
			err = fmt.Errorf("it is about %s", quote(r.Name))
		}
		if err == nil {
			releases = append(releases, r)
		} else if first == nil {
			first = fmt.Errorf("line %d: %w", n, err)
		}
	}
	if len(releases) == 0 {
		return nil, first
	}
	return releases, nil
}

// ParseRelease reads one line of an index file. Fields that it does not need it does not
// look at; a line without a name, a version and a checksum is an error.
func ParseRelease(line []byte) (Release, error) {
	r := Release{Line: line}
	fields, err := object(line)
	if err != nil {
		return r, err
	}
	var sum string
	err = errors.Join(
		field(fields, "name", &r.Name, true),
		field(fields, "vers", &r.Version, true),
		field(fields, "cksum", &sum, true),
		field(fields, "yanked", &r.Yanked, false))
	if err != nil {
		return r, err
	}
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != len(r.Checksum) {
		return r, fmt.Errorf("cksum %s is not a SHA-256 in hex", quote(sum))
	}
	r.Checksum = [32]byte(b)
	return r, checkRelease(r.Name, r.Version)
}

// object reads a JSON object's fields by their exact names. (encoding/json takes
// "CKSUM" for "cksum" as well, which cargo does not.)
func object(b []byte) (map[string]json.RawMessage, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(shallow(b), &fields); err != nil {
		return nil, fmt.Errorf("it is not a JSON object: %w", err)
	}
	if fields == nil {
		return nil, errors.New("it is not a JSON object")
	}
	return fields, nil
}

// maxDepth is deeper than anything that a line or config.json says.
const maxDepth = 64

// shallow puts null for what is nested deeper than maxDepth. cargo reads as deep as it will in
// fields that it does not know, and encoding/json does not.
func shallow(b []byte) []byte {
	if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) <= maxDepth {
		return b
	}
	out := make([]byte, 0, len(b))
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		from := i
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '[' || c == '{'):
			if depth++; depth == maxDepth+1 {
				out = append(out, "null"...)
			}
		case !quoted && (c == ']' || c == '}'):
			if depth--; depth == maxDepth {
				continue
			}
		}
		if depth <= maxDepth {
			out = append(out, b[from:min(i+1, len(b))]...)
		}
	}
	return out
}

func field(fields map[string]json.RawMessage, name string, to any, required bool) error {
	raw, ok := fields[name]
	switch {
	case !ok && required, required && string(raw) == "null":
		return fmt.Errorf("it has no %q", name)
	case !ok:
		return nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}
