package cargo

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lockKeys are the keys of a [[package]] that are read.
var lockKeys = []string{"name", "version", "source", "checksum", "dependencies", "replace"}

// A lockReader collects what is read of a Cargo.lock, expression by expression: the time that
// it takes is proportional to the file's size, whatever stands in there, which a decoder that
// remembers every key does not promise.
type lockReader struct {
	doc  table // "version", "package", "root", "metadata", as a decoder would have them
	into table // the open table; nil if nothing in it is read
	in   string
}

// decodeLockTOML returns the tables and keys of a Cargo.lock that are read.
func decodeLockTOML(b []byte) (table, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // cargo skips a byte order mark
	var p unstable.Parser
	p.Reset(b)
	r := &lockReader{doc: table{}}
	r.into = r.doc
	for p.NextExpression() {
		e := p.Expression()
		var key []string
		for it := e.Key(); it.Next(); {
			key = append(key, string(it.Node().Data))
		}
		var err error
		if e.Kind == unstable.KeyValue {
			err = r.set(key, e.Value())
		} else {
			err = r.open(key, e.Kind == unstable.ArrayTable)
		}
		if err != nil {
			return nil, err
		}
	}
	return r.doc, notTOML(b, p.Error())
}

// notTOML says where a document is not TOML; nil if err is.
func notTOML(b []byte, err error) error {
	var at *unstable.ParserError
	if !errors.As(err, &at) {
		return err
	}
	line := 1
	if n := cap(b) - cap(at.Highlight); n >= 0 && n <= len(b) { // it is a part of b
		line += bytes.Count(b[:n], []byte("\n"))
	}
	return wrong("", "", "is not TOML: line %d: %s", line, at.Message)
}

// open begins [key] or [[key]].
func (r *lockReader) open(key []string, array bool) error {
	r.in, r.into = key[0], nil
	inner := len(key) > 1
	_, said := r.doc[r.in]
	switch r.in {
	case "version":
		return wrong("", "version", "is a table")
	case "package":
		list, isList := r.doc["package"].([]any)
		switch {
		case inner && isList && !slices.Contains(lockKeys, key[1]):
			return nil
		case inner || !array || said && !isList:
			return wrong("", "package", "is not an array of tables with the keys that cargo writes")
		}
		r.into = table{}
		r.doc["package"] = append(list, r.into)
	case "root", "metadata":
		switch {
		case array:
			return wrong("", r.in, "is not a table")
		case inner:
			return nil
		case said:
			return wrong("", r.in, "is there twice")
		}
		r.into = table{}
		r.doc[r.in] = r.into
	}
	return nil
}

// set reads a key of the open table.
func (r *lockReader) set(key []string, v *unstable.Node) error {
	read := r.in == "metadata" && len(key) == 1
	switch r.in {
	case "":
		switch key[0] {
		case "package":
			return wrong("", "package", "is not an array of tables")
		case "root", "metadata":
			return wrong("", key[0], "is not a table")
		}
		read = key[0] == "version"
	case "package", "root":
		read = slices.Contains(lockKeys, key[0])
	}
	if r.into == nil || !read {
		return nil // as cargo, past what is not known
	}
	at := key[0]
	if r.in != "" {
		at = join(r.in, at)
	}
	if _, said := r.into[key[0]]; said {
		return wrong("", at, "is there twice")
	}
	if len(key) > 1 {
		return wrong("", at, "is a table")
	}
	r.into[key[0]] = lockValue(v)
	return nil
}

// An unread is the text of a value that no key of a Cargo.lock has.
type unread string

func lockValue(v *unstable.Node) any {
	switch v.Kind {
	case unstable.String:
		return string(v.Data)
	case unstable.Integer:
		if n, err := strconv.ParseInt(string(v.Data), 10, 64); err == nil {
			return n
		}
	case unstable.Array:
		list := []any{}
		for it := v.Children(); it.Next(); {
			item := any(unread(it.Node().Data))
			if it.Node().Kind == unstable.String {
				item = string(it.Node().Data)
			}
			list = append(list, item)
		}
		return list
	}
	return unread(v.Data)
}
