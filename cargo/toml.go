package cargo

import (
	"fmt"

	"cratelog/internal/durable"
	"cratelog/internal/toml"
)

// A table is a decoded TOML table. Files are decoded into tables and not into structs:
// struct fields would also match keys in other upper and lower case, cargo's do not.
type table = map[string]any

const maxManifest = 8 << 20 // bytes of a Cargo.toml or config.toml

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

// parseTOML decodes a TOML document.
func parseTOML(file string, b []byte) (table, error) {
	doc, err := toml.Parse(b)
	if err != nil {
		return nil, wrong(file, "", "%v", err)
	}
	return doc, nil
}

func join(prefix, key string) string { return toml.Join(prefix, key) }

func stringList(v any) ([]string, error) { return toml.Strings(v) }
