package cargo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// A table is a decoded TOML table. Files are decoded into tables and not into structs:
// struct fields would also match keys in other upper and lower case, cargo's do not.
type table = map[string]any

const (
	maxManifest = 8 << 20 // bytes of a Cargo.toml or config.toml
	maxBrackets = 500     // open brackets in a TOML file at one place, also in strings
	maxDots     = 200     // dots in one line's key
)

// A FileError says what is wrong with a file, at which key, and what to do.
type FileError struct {
	File string // path, "" if the caller knows it
	Key  string // dotted key, "" for the whole file
	Why  string // the rest of the sentence
}

func (e *FileError) Error() string {
	at := e.File
	if e.Key != "" {
		if at != "" {
			at += ", "
		}
		at += e.Key
	}
	if at == "" {
		return e.Why
	}
	return at + ": " + e.Why
}

func wrong(file, key, why string, args ...any) error {
	return &FileError{file, key, fmt.Sprintf(why, args...)}
}

// readBounded reads a regular file of at most limit bytes. A symbolic link to one is
// followed, as cargo does.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(b)) > limit {
		return nil, wrong(path, "", "is larger than the %d bytes that are read of such a file", limit)
	}
	return b, nil
}

// openRegular opens a regular file, and nothing that would block or act on being opened.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, wrong(path, "", "is not a regular file")
	}
	return os.Open(path)
}

// parseTOML decodes a TOML document. Its depth is bounded before the parser sees it,
// because the parser recurses.
func parseTOML(file string, b []byte) (table, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // cargo skips a byte order mark
	if tooDeep(b) {
		return nil, wrong(file, "", "nests brackets or dotted keys deeper than is read (%d, %d)", maxBrackets, maxDots)
	}
	doc := table{}
	err := toml.Unmarshal(b, &doc)
	var at *toml.DecodeError
	if errors.As(err, &at) {
		row, _ := at.Position()
		return nil, wrong(file, "", "is not TOML: line %d: %s", row, strings.TrimPrefix(at.Error(), "toml: "))
	}
	if err != nil {
		return nil, wrong(file, "", "is not TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	return doc, nil
}

func tooDeep(b []byte) bool {
	open, dots := 0, 0
	for _, c := range b {
		switch c {
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		case '.':
			dots++
		case '\n', '=', ' ', '"', '\'', ',':
			dots = 0
		}
		if open > maxBrackets || dots > maxDots {
			return true
		}
	}
	return false
}

// join appends a key to a dotted key, quoted where TOML needs it.
func join(prefix, key string) string {
	if strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" || key == "" {
		if !strings.ContainsAny(key, "'\n\r") {
			key = "'" + key + "'"
		} else {
			key = fmt.Sprintf("%q", key)
		}
	}
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

// quoted writes a value for an error: a string in quotes, so that it is seen for one.
func quoted(v any) string {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprint(v)
}
