package manifest

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"cratelog/internal/toml"
)

// A table is a TOML table. Manifests are decoded into tables and not into structs, because
// struct fields would also match keys in other upper and lower case.
type table = map[string]any

// maxDepth is how deep tables and arrays may be nested; the deepest key of a manifest that
// matters to cargo has depth 5.
const maxDepth = 32

// parse reads a manifest. TOML forbids a key given twice, and so does the parser.
func parse(file string, b []byte) (table, error) {
	if len(b) > MaxSize {
		return nil, &SyntaxError{File: file, Why: fmt.Sprintf("has %d bytes; at most %d are read", len(b), MaxSize)}
	}
	doc, err := toml.Parse(b)
	if err != nil {
		return nil, &SyntaxError{File: file, Why: err.Error()}
	}
	if d := depth(doc, 0); d > maxDepth {
		return nil, &SyntaxError{File: file, Why: fmt.Sprintf("nests tables deeper than %d", maxDepth)}
	}
	return newlines(doc).(table), nil
}

// newlines replaces each CR LF in a value's strings by LF: TOML lets a parser do so, some
// versions of cargo did, and a manifest written on Windows then differs from what they made of it.
func newlines(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, "\r\n", "\n")
	case []any:
		for i := range v {
			v[i] = newlines(v[i])
		}
	case table:
		for k := range v {
			v[k] = newlines(v[k])
		}
	}
	return v
}

// depth returns how deep v is nested below depth d, and stops once it is too deep.
func depth(v any, d int) int {
	if d > maxDepth {
		return d
	}
	deepest := d
	switch v := v.(type) {
	case table:
		for _, e := range v {
			deepest = max(deepest, depth(e, d+1))
		}
	case []any:
		for _, e := range v {
			deepest = max(deepest, depth(e, d+1))
		}
	}
	return deepest
}

// render writes a value in one way only, in TOML's manner.
func render(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case int64, bool:
		return fmt.Sprint(v)
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".eIN") {
			s += ".0"
		}
		return s
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = render(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case table:
		parts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, quoteKey(k)+" = "+render(v[k]))
		}
		if len(parts) == 0 {
			return "{}"
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	}
	return fmt.Sprintf("%T(%v)", v, v) // a date or time
}

// join appends a key to the path of a table, quoted if need be: no two paths look the same.
func join(prefix, key string) string {
	if prefix == "" {
		return quoteKey(key)
	}
	return prefix + "." + quoteKey(key)
}

func quoteKey(k string) string {
	const bare = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
	if k == "" || strings.Trim(k, bare) != "" {
		return strconv.Quote(k)
	}
	return k
}

// A fileSet holds the paths of a .crate's files.
type fileSet struct {
	all    map[string]bool
	sorted []string
}

func newFileSet(files []string) (*fileSet, error) {
	s := &fileSet{all: make(map[string]bool, len(files)), sorted: slices.Sorted(slices.Values(files))}
	for _, f := range files {
		if !fs.ValidPath(f) || f == "." {
			return nil, fmt.Errorf("the .crate's file path %q is not a plain relative path", f)
		}
		s.all[f] = true
	}
	return s, nil
}

// below returns the paths below a directory, without the directory's own.
func (s *fileSet) below(dir string) []string {
	dir += "/"
	i, _ := slices.BinarySearch(s.sorted, dir)
	j := i
	for j < len(s.sorted) && strings.HasPrefix(s.sorted[j], dir) {
		j++
	}
	out := make([]string, 0, j-i)
	for _, f := range s.sorted[i:j] {
		out = append(out, f[len(dir):])
	}
	return out
}

// cleanPath returns a path of a manifest as cargo normalizes it: a publisher on Windows may have
// written backslashes, which cargo there replaces (a .crate has no file with one in its name).
func cleanPath(p string) string {
	return path.Clean(strings.ReplaceAll(p, `\`, "/"))
}

// leaves reports whether a cleaned path may point outside the package, on any system.
func leaves(p string) bool {
	return p == ".." || strings.HasPrefix(p, "../") || strings.HasPrefix(p, "/") || strings.Contains(p, ":")
}
