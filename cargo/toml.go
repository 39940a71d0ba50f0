package cargo

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"cratelog/internal/durable"
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

// readTOML reads a regular file, also behind a symbolic link, as cargo does.
func readTOML(path string) (table, error) {
	b, err := durable.Read(path, maxManifest)
	if err != nil {
		return nil, err
	}
	return parseTOML(path, b)
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
