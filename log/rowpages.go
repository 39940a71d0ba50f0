package log

import (
	"context"
	"fmt"
	"net/http"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/web"
)

// lookup serves what the published map has of a version, if anything.
func (l *Log) lookup(w http.ResponseWriter, r *http.Request) error {
	name, version := r.PathValue("name"), r.PathValue("version")
	registry, err := client.ParseLookupQuery(name, version, r.URL.RawQuery)
	if err != nil {
		return refuse(MalformedRequest, err, "The request is not one for what is logged of a crate version: %v.", err)
	}
	key := index.VersionKey(registry, name, version)
	return l.sendSealed(w, r, "lookup", key[:], func(s sealed, head client.Head) ([]byte, error) {
		value, proof := s.snap.Lookup(key)
		out := client.SealedLookup{Head: head, Version: client.Lookup{Value: value, Proof: proof}}
		return l.checked("a look-up of the index", out.Marshal, func(b []byte) error {
			again, err := client.ParseLookup(b)
			if err == nil {
				_, err = again.Check(l.policy, client.Rules{}, registry, name, version)
			}
			return err
		})
	})
}

// cratePage serves all rows of the published map about a crate, or those under a longer prefix.
func (l *Log) cratePage(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := entry.CheckName(name); err != nil {
		return refuse(MalformedRequest, err, "The request is not one for the rows of a crate: %v.", err)
	}
	return l.sendPage(w, r, name)
}

// anyPage serves all rows of the published map under a prefix.
func (l *Log) anyPage(w http.ResponseWriter, r *http.Request) error { return l.sendPage(w, r, "") }

func (l *Log) sendPage(w http.ResponseWriter, r *http.Request, name string) error {
	under, err := client.ParsePageQuery(name, r.URL.RawQuery)
	if err != nil {
		return refuse(MalformedRequest, err, "The request is not one for rows of the index: %v.", err)
	}
	what := fmt.Appendf(nil, "%d %x", under.Bits(), under.Bytes())
	return l.sendSealed(w, r, "page", what, func(s sealed, head client.Head) ([]byte, error) {
		return l.pageOf(s, head, under)
	})
}

// pageOf makes a page. More rows than one may have are a *Refusal.
func (l *Log) pageOf(s sealed, head client.Head, under index.Prefix) ([]byte, error) {
	out := client.Page{Head: head}
	for r := range s.snap.Rows(under) {
		if len(out.Rows) == client.MaxRows {
			return nil, refuse(TooManyRows, nil, "The index has more than %d rows under these %d bits: ask for the two "+
				"prefixes of one bit more.", client.MaxRows, under.Bits())
		}
		out.Rows = append(out.Rows, r)
	}
	_, out.Proof = s.snap.Prefix(under)
	return l.checked("a page of the index", out.Marshal, func([]byte) error {
		_, err := out.Check(l.policy, client.Rules{}, under) // to parse it too would cost more than all else
		return err
	})
}

// sendSealed answers a GET with something that follows from the published checkpoint and from what was asked.
func (l *Log) sendSealed(w http.ResponseWriter, r *http.Request, kind string, what []byte,
	make func(sealed, client.Head) ([]byte, error)) error {
	head, err := l.head()
	if err != nil {
		return err
	}
	tag := web.Tag([]byte(kind), what, head.raw)
	if web.Has(w, r, tag) {
		return nil
	}
	b, err := l.sealedBytes(r.Context(), tag, head, make)
	if err == nil {
		web.Content(w, r, "text/plain; charset=utf-8", tag, b)
	}
	return err
}

// sealedBytes makes what has a tag, or remembers it: a page is dear, and asked for by many.
func (l *Log) sealedBytes(ctx context.Context, tag string, head published,
	make func(sealed, client.Head) ([]byte, error)) ([]byte, error) {
	if b, made := l.pages.get(tag); made {
		return b, nil
	}
	seal, s, err := l.sealOf(ctx, head)
	if err != nil {
		return nil, err
	}
	b, err := make(s, client.Head{Index: head.size - 1, Checkpoint: head.raw, Seal: seal})
	if err == nil {
		l.pages.put(tag, b)
	}
	return b, err
}
