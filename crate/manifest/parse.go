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
	doc, err := toml.ParseKeys(b, MaxKeys)
	if err != nil {
		return nil, &SyntaxError{File: file, Why: err.Error()}
	}
	return check(file, doc)
}

// check refuses what is nested too deep, and levels line ends.
func check(file string, doc table) (table, error) {
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
	case nothing:
		return "{}"
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
	for i := range len(k) {
		c := k[i]
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return strconv.Quote(k)
		}
	}
	if k == "" {
		return `""`
	}
	return k
}

// A fileSet holds the paths of a .crate's files.
type fileSet struct {
	all    map[string]bool
	folded map[string]bool
	below  map[string][]string // the files below the directories of targetKinds, without those
}

func newFileSet(files []string) (*fileSet, error) {
	s := &fileSet{all: make(map[string]bool, len(files)), folded: make(map[string]bool, len(files)), below: map[string][]string{}}
	for _, f := range slices.Sorted(slices.Values(files)) {
		if !fs.ValidPath(f) || f == "." {
			return nil, fmt.Errorf("the .crate's file path %q is not a plain relative path", f)
		}
		folded := Fold(f)
		s.all[f], s.folded[folded] = true, true
		for _, kind := range targetKinds {
			if !strings.HasPrefix(folded, kind.dir+"/") {
				continue
			}
			rest := f
			for range 1 + strings.Count(kind.dir, "/") {
				_, rest, _ = strings.Cut(rest, "/")
			}
			s.below[kind.dir] = append(s.below[kind.dir], rest)
		}
	}
	return s, nil
}

// has reports whether a file of this name is there on some system: Build.rs is build.rs where case
// does not matter.
func (s *fileSet) has(path string) bool { return s.all[path] || s.folded[Fold(path)] }

// cleanPath returns a path as the author may have meant it: on Windows with backslashes, which
// cargo there replaces (a .crate has no file with one in its name).
func cleanPath(p string) string {
	return path.Clean(strings.ReplaceAll(p, `\`, "/"))
}

// anySystem returns what a path of the author's may be: one with backslashes is another on Windows
// than elsewhere.
func anySystem(p string) any {
	if !strings.Contains(p, `\`) {
		return path.Clean(p)
	}
	return either{cleanPath(p), path.Clean(p)}
}

// leaves reports whether a cleaned path may point outside the package, on any system.
func leaves(p string) bool {
	return p == ".." || strings.HasPrefix(p, "../") || strings.HasPrefix(p, "/") || strings.Contains(p, ":")
}
