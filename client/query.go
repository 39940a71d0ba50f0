package client

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"cratelog/entry"
)

// MaxQuery bounds the programs and the commits of a Query.
const MaxQuery = 64

// Query says which claim a reader wants of a log. A crate version may have several: of other
// commits, with fewer files proven, and each with a proof of every program that the log
// accepts. A log answers with the fullest of those that the query names: the one that leaves
// the fewest files unproven, of those the one with the fewest whose line ends are not the
// commit's, of those the earliest.
type Query struct {
	Registry string // as in entry.Subject; "" is entry.DefaultRegistry
	Name     string
	Version  string

	Programs [][32]byte // ids of the programs whose proofs the reader accepts, at most MaxQuery; empty: any
	Commits  [][20]byte // git commits, at most MaxQuery; empty: any
	Path     *string    // of the package in the repository; nil: any
}

// Encode returns what stands after the '?' of a request for the query: no more than it
// says, in one spelling.
func (q Query) Encode() (string, error) {
	v := registryQuery(q.Registry)
	setIDs(v, "programs", q.Programs, func(id [32]byte) []byte { return id[:] })
	setIDs(v, "commits", q.Commits, func(id [20]byte) []byte { return id[:] })
	if q.Path != nil {
		v.Set("path", *q.Path)
	}
	text := v.Encode()
	if _, err := ParseQuery(q.Name, q.Version, text); err != nil {
		return "", err
	}
	return text, nil
}

// registryQuery names a registry that is not the default one, which is "" too.
func registryQuery(registry string) url.Values {
	q := url.Values{}
	if registry = cmp.Or(registry, entry.DefaultRegistry); registry != entry.DefaultRegistry {
		q.Set("registry", registry)
	}
	return q
}

func setIDs[T any](v url.Values, key string, ids []T, raw func(T) []byte) {
	if len(ids) == 0 {
		return
	}
	hexes := make([]string, len(ids))
	for i, id := range ids {
		hexes[i] = hex.EncodeToString(raw(id))
	}
	v.Set(key, strings.Join(hexes, ","))
}

// ParseQuery reads a request's query about a crate version, strictly: an unknown, repeated
// or malformed parameter is an error.
func ParseQuery(name, version, text string) (Query, error) {
	q := Query{Registry: entry.DefaultRegistry, Name: name, Version: version}
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return Query{}, err
	}
	v, err := url.ParseQuery(text)
	if err != nil {
		return Query{}, errors.New("the query is not URL-encoded")
	}
	for key, values := range v {
		if len(values) != 1 {
			return Query{}, fmt.Errorf("the query gives %q more than once", key)
		}
		value := values[0]
		switch key {
		case "registry":
			q.Registry, err = value, entry.CheckRegistry(value)
		case "programs":
			q.Programs, err = parseIDs[[32]byte](key, value)
		case "commits":
			q.Commits, err = parseIDs[[20]byte](key, value)
		case "path":
			if q.Path = &value; value != "" {
				err = entry.CheckPath(value)
			}
		default:
			err = fmt.Errorf("the query has no parameter %q; it takes registry, programs, commits and path", key)
		}
		if err != nil {
			return Query{}, err
		}
	}
	return q, nil
}

// parseIDs reads ids in lower-case hex with commas between them.
func parseIDs[T [20]byte | [32]byte](key, text string) ([]T, error) {
	var ids []T
	if strings.Count(text, ",") >= MaxQuery {
		return nil, fmt.Errorf("the query names more than %d %s", MaxQuery, key)
	}
	for s := range strings.SplitSeq(text, ",") {
		id, err := hex.DecodeString(s)
		var fixed T
		if err != nil || len(id) != len(fixed) || hex.EncodeToString(id) != s {
			return nil, fmt.Errorf("the query's %s are not ids of %d bytes in lower-case hex, with commas between them",
				key, len(fixed))
		}
		ids = append(ids, T(id))
	}
	return ids, nil
}
