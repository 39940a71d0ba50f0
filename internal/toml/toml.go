// Package toml decodes TOML documents of strangers: go-toml reads what stands there, and this
// package puts it together, in time and memory linear in the document. go-toml's own decoder looks
// for each key among all those before it, so that 90,000 keys cost it half a minute.
//
// A document means what it means to cargo: a byte order mark at its start is skipped, and a time
// may have the second 60.
package toml

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// BOM is the byte order mark that a document may start with.
const BOM = "\xef\xbb\xbf"

const (
	// MaxDepth is how deep tables, arrays and dotted keys may be nested; cargo reads less.
	MaxDepth = 100
	// MaxTables is how many tables a document may have, those that a dotted key makes included.
	MaxTables = 1 << 16
)

// An Error says what is wrong with a document, as the end of a sentence that begins with its name.
type Error struct {
	Line  int // the first is 1
	Why   string
	Limit bool // it may be TOML, but has too much of something
}

func (e *Error) Error() string {
	if e.Limit {
		return fmt.Sprintf("%s (line %d)", e.Why, e.Line)
	}
	return fmt.Sprintf("is not TOML: line %d: %s", e.Line, e.Why)
}

// A LeapSecond is a date or time with the second 60.
type LeapSecond struct{ Before any } // the value with the second 59

// Parse decodes a document into tables (map[string]any), lists ([]any) and values, of the types
// that go-toml gives them, and LeapSecond. The error is an *Error.
func Parse(b []byte) (map[string]any, error) { return ParseKeys(b, len(b)) }

// CheckKeys checks that a document is TOML and has at most so many keys. Then go-toml can
// decode it in reasonable time: into a struct, say.
func CheckKeys(b []byte, most int) error {
	_, err := ParseKeys(b, most)
	return err
}

// A table is a table of the document that its later lines may add to.
type table struct {
	made   maker
	header bool // its own header has been seen
	values map[string]any
	tables map[string]*table // those of values that are not yet closed, by their keys
}

// A maker is what made a table. A dotted key may add only to what dotted keys made.
type maker int

const (
	byHeader maker = iota
	byArray        // [[key]]: the table is the last of the list
	byKey
)

type decoder struct {
	parser       unstable.Parser
	tables, keys int // that may still come
	mostKeys     int
}

// ParseKeys is Parse of a document with at most so many keys.
func ParseKeys(b []byte, mostKeys int) (map[string]any, error) {
	b = bytes.TrimPrefix(b, []byte(BOM))
	d := decoder{tables: MaxTables, keys: mostKeys, mostKeys: mostKeys}
	d.parser.Reset(b)
	root := &table{values: map[string]any{}}
	current, depth := root, 0
	for d.parser.NextExpression() {
		var err error
		if e := d.parser.Expression(); e.Kind == unstable.KeyValue {
			err = d.set(current, e, depth)
		} else {
			current, depth, err = d.open(root, e)
		}
		if err != nil {
			return nil, err
		}
	}
	var at *unstable.ParserError
	if err := d.parser.Error(); errors.As(err, &at) {
		return nil, &Error{Line: line(b, cap(b)-cap(at.Highlight)), Why: at.Message}
	} else if err != nil {
		return nil, &Error{Line: 1, Why: err.Error()}
	}
	return root.values, nil
}

func line(b []byte, offset int) int {
	return 1 + bytes.Count(b[:min(max(offset, 0), len(b))], []byte("\n"))
}

// fail blames a key or value.
func (d *decoder) fail(n *unstable.Node, limit bool, why string, args ...any) error {
	return &Error{line(d.parser.Data(), int(n.Raw.Offset)), fmt.Sprintf(why, args...), limit}
}

// child makes a table in another, at a key that is free.
func (d *decoder) child(t *table, key *unstable.Node, made maker, depth int) (*table, error) {
	values, err := d.newTable(key, depth)
	if err != nil {
		return nil, err
	}
	name := string(key.Data)
	if t.tables == nil {
		t.tables = map[string]*table{}
	}
	next := &table{made: made, values: values}
	t.tables[name] = next
	t.values[name] = values
	if made == byArray {
		t.values[name] = []any{values}
	}
	return next, nil
}

func (d *decoder) newTable(at *unstable.Node, depth int) (map[string]any, error) {
	if d.tables--; d.tables < 0 {
		return nil, d.fail(at, true, "has more than %d tables", MaxTables)
	}
	return map[string]any{}, d.checkDepth(at, depth)
}

func (d *decoder) checkDepth(at *unstable.Node, depth int) error {
	if depth > MaxDepth {
		return d.fail(at, true, "nests tables, lists or dotted keys deeper than %d", MaxDepth)
	}
	return nil
}

// open returns the table that the header e opens, and its depth.
func (d *decoder) open(root *table, e *unstable.Node) (*table, int, error) {
	t, depth := root, 0
	for it := e.Key(); it.Next(); {
		key := it.Node()
		if err := d.countKey(key); err != nil {
			return nil, 0, err
		}
		depth++
		last, name := it.IsLast(), string(key.Data)
		next := t.tables[name]
		_, taken := t.values[name]
		var err error
		switch {
		case next == nil && taken:
			err = d.fail(key, false, "key %s already exists as a value", name)
		case next == nil && last && e.Kind == unstable.ArrayTable:
			next, err = d.child(t, key, byArray, depth)
		case next == nil:
			next, err = d.child(t, key, byHeader, depth)
		case !last:
		case e.Kind == unstable.ArrayTable && next.made == byArray:
			next.tables = nil
			next.values, err = d.newTable(key, depth)
			t.values[name] = append(t.values[name].([]any), next.values)
		case e.Kind == unstable.ArrayTable || next.made != byHeader || next.header:
			err = d.fail(key, false, "table %s already exists", name)
		}
		if err != nil {
			return nil, 0, err
		}
		next.header = next.header || last
		t = next
	}
	return t, depth, nil
}

// set puts a key and its value into a table.
func (d *decoder) set(t *table, e *unstable.Node, depth int) error {
	for it := e.Key(); it.Next(); {
		key := it.Node()
		if err := d.countKey(key); err != nil {
			return err
		}
		depth++
		name := string(key.Data)
		next, last := t.tables[name], it.IsLast()
		_, taken := t.values[name]
		var err error
		switch {
		case taken && (last || next == nil || next.made != byKey):
			err = d.fail(key, false, "key %s is already defined", name)
		case last:
			t.values[name], err = d.value(e.Value(), key, depth)
		case next == nil:
			next, err = d.child(t, key, byKey, depth)
		}
		if err != nil {
			return err
		}
		t = next
	}
	return nil
}

func (d *decoder) countKey(key *unstable.Node) error {
	if d.keys--; d.keys < 0 {
		return d.fail(key, true, "has more than %d keys", d.mostKeys)
	}
	return nil
}

// value decodes a value, which stands at a depth under a key.
func (d *decoder) value(n, key *unstable.Node, depth int) (any, error) {
	switch n.Kind {
	case unstable.Array:
		list := []any{}
		if err := d.checkDepth(key, depth); err != nil {
			return nil, err
		}
		for it := n.Children(); it.Next(); {
			v, err := d.value(it.Node(), key, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case unstable.InlineTable:
		values, err := d.newTable(key, depth)
		t := &table{values: values}
		for it := n.Children(); err == nil && it.Next(); {
			err = d.set(t, it.Node(), depth)
		}
		return values, err
	case unstable.String:
		return string(n.Data), nil
	case unstable.Bool:
		return string(n.Data) == "true", nil
	case unstable.Integer:
		if v, err := strconv.ParseInt(string(n.Data), 10, 64); err == nil {
			return v, nil
		}
	}
	v, err := library(string(n.Data))
	if before := leapSecond.ReplaceAllString(string(n.Data), "${1}59"); err != nil && before != string(n.Data) {
		if v, err = library(before); err == nil {
			return LeapSecond{v}, nil
		}
	}
	if err != nil {
		return nil, d.fail(n, false, "%s", strings.TrimPrefix(err.Error(), "toml: "))
	}
	return v, nil
}

var leapSecond = regexp.MustCompile(`(\d\d:\d\d:)60`)

// library has go-toml decode a number, date or time.
func library(text string) (any, error) {
	var doc map[string]any
	err := toml.Unmarshal([]byte("k="+text), &doc)
	return doc["k"], err
}

// Strings returns a value that is an array of strings, nil of one that is not there. The error is
// the end of a sentence that begins with the key.
func Strings(v any) ([]string, error) {
	list, ok := v.([]any)
	if v != nil && !ok {
		return nil, fmt.Errorf("is not an array of strings")
	}
	var all []string
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("has something that is not a string")
		}
		all = append(all, s)
	}
	return all, nil
}

// Join appends a key to a dotted key, quoted where TOML needs it.
func Join(prefix, key string) string {
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
