package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"cratelog/entry"
	"cratelog/index"
)

// Everything is all that a log holds of a part of its index: of a crate, a version or a binary. No entry is left
// out that the index names.
type Everything struct {
	Checkpoint Checkpoint    // as of which
	Rows       []index.Row   // of the index, in the order of their keys
	Entries    []LoggedEntry // that the rows name, in the order of the log; void ones too
}

// LoggedEntry is an entry that a log holds. Its proof was not looked at.
type LoggedEntry struct {
	Index uint64
	Entry *entry.Entry
}

const (
	maxTurns      = 8         // that the pages of one prefix are asked for, while the log publishes
	maxEverything = 1 << 16   // rows
	maxEntries    = 256 << 20 // bytes that the entries take that they name
	maxPages      = 2048      // a version with more rows than a page has takes two for each bit of its hash
)

// errMoved: the log has published another checkpoint between two pages.
var errMoved = errors.New("the log publishes faster than it hands out what its index has: try again")

// Everything fetches all rows under a prefix, in as many pages as it takes, under one checkpoint, and the entries that
// they name out of the log's tiles. It verifies that the rows are all, under any root that the log may have sealed, and
// those that these entries make. A log that holds nothing has no index, and its checkpoint shows that. Errors are those
// of Page.Check and Tiles.Part, ErrSeal if the rows say what the entries do not, ErrWithheld if the log does not hand
// out its index, else of the network.
func (l *Log) Everything(ctx context.Context, policy *Policy, rules Rules, under index.Prefix) (*Everything, error) {
	return l.everything(ctx, policy, rules, under, l.Page)
}

// everything is Everything with what asks for a page.
func (l *Log) everything(ctx context.Context, policy *Policy, rules Rules, under index.Prefix,
	ask func(context.Context, index.Prefix) ([]byte, error)) (*Everything, error) {
	for range maxTurns {
		p := &pages{policy: policy, rules: rules, ask: ask}
		rows, err := p.all(ctx, under)
		switch {
		case errors.Is(err, errMoved):
			continue
		case errors.Is(err, ErrWithheld) && p.head.Size == 0:
			if c, empty := l.empty(ctx, policy, rules); empty {
				return &Everything{Checkpoint: c}, nil
			}
			return nil, err
		case err != nil:
			return nil, err
		}
		e := &Everything{Checkpoint: p.head, Rows: rows}
		return e, e.fetch(ctx, l, under, maxEntries)
	}
	return nil, errMoved
}

// pages are fetched under one checkpoint.
type pages struct {
	policy *Policy
	rules  Rules
	ask    func(context.Context, index.Prefix) ([]byte, error)

	head  Checkpoint // of the first page
	root  index.Hash // that it seals
	asked int
}

// all fetches the rows under a prefix. A page without rows shows less than one with rows (package index): the rows
// around are asked for too then.
func (p *pages) all(ctx context.Context, under index.Prefix) ([]index.Row, error) {
	rows, proof, err := p.under(ctx, under)
	switch {
	case err != nil || len(rows) > 0:
		return rows, err
	case proof == nil:
		return nil, refuse(ErrSeal, "the log says that it has more rows of its index than a page holds, and shows none")
	case len(proof) == 0:
		return nil, nil // the map is empty
	}
	around, err := under.Around(proof)
	if err != nil {
		return nil, err
	}
	beside, _, err := p.under(ctx, around)
	switch {
	case err != nil:
		return nil, err
	case len(beside) == 0 || slices.ContainsFunc(beside, func(r index.Row) bool { return under.Covers(r.Key) }):
		return nil, refuse(ErrSeal, "the log's index shows no row under a prefix of %d bits, and then otherwise", under.Bits())
	}
	return nil, nil
}

// under fetches the rows under a prefix, and the proof of one page: of one with rows if there are any, else of the
// only one, else nil.
func (p *pages) under(ctx context.Context, under index.Prefix) (rows []index.Row, proof []byte, err error) {
	before := p.asked
	if proof, err = p.gather(ctx, under, &rows); err != nil {
		return nil, nil, err
	}
	if len(rows) > 0 && p.asked > before+1 {
		if err := index.VerifyParts(p.root, under, rows, proof); err != nil {
			return nil, nil, refuseErr(ErrSeal, err, "the pages of the log's index do not make a whole")
		}
	}
	return rows, proof, nil
}

// gather appends the rows under a prefix, and returns the proof as under does. What it takes of several pages is
// verified once, by under.
func (p *pages) gather(ctx context.Context, under index.Prefix, rows *[]index.Row) (proof []byte, err error) {
	if p.asked++; p.asked > maxPages {
		return nil, refuse(ErrWithheld, "after %d pages the log has not handed out what its index has", maxPages)
	}
	page, err := p.page(ctx, under)
	if !errors.Is(err, ErrManyRows) {
		if err != nil {
			return nil, err
		}
		*rows = append(*rows, page.Rows...)
		return append([]byte{}, page.Proof...), nil
	}
	zero, one, err := under.Halves()
	if err != nil {
		return nil, err
	}
	for _, half := range []index.Prefix{zero, one} {
		had := len(*rows)
		of, err := p.gather(ctx, half, rows)
		if err != nil {
			return nil, err
		}
		if len(*rows) > maxEverything {
			return nil, fmt.Errorf("the log's index has more than %d rows there", maxEverything)
		}
		if len(*rows) > had {
			proof = of
		}
	}
	return proof, nil
}

// page fetches one page, and verifies it.
func (p *pages) page(ctx context.Context, under index.Prefix) (*Page, error) {
	raw, err := p.ask(ctx, under)
	var status *StatusError
	switch {
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		return nil, refuse(ErrWithheld, "the log does not hand out what its index has: %v", err)
	case err != nil:
		return nil, err
	}
	page, err := ParsePage(raw)
	if err != nil {
		return nil, err
	}
	c, seal, err := page.sealed(p.policy, p.rules, under)
	switch {
	case err != nil:
		return nil, err
	case p.head.Size == 0:
		p.head, p.root = c, seal.Root
	case c.Origin != p.head.Origin || c.Size != p.head.Size || c.Root != p.head.Root:
		return nil, errMoved
	}
	return page, nil
}

// fetch gets the entries that the rows name, which take so many bytes at most, and verifies that they make these rows.
// What counts in a log before this one, this one cannot show; but it must have begun as a log that goes on for another.
func (e *Everything) fetch(ctx context.Context, l *Log, under index.Prefix, most int) error {
	named, before := map[uint64]bool{}, false
	var made index.Map
	for _, r := range e.Rows {
		i, inherited, err := r.Names()
		switch {
		case err != nil:
			return refuseErr(ErrSeal, err, "a row of the log's index")
		case inherited:
			before = true
			made.Insert(r.Key, r.Value) // by an entry of another log
		case i >= uint64(e.Checkpoint.Size-1):
			return refuse(ErrSeal, "the log's index names the entry %d, and it is of %d entries", i, e.Checkpoint.Size-1)
		default:
			named[i] = true
		}
	}
	tiles := l.Tiles(e.Checkpoint)
	if before {
		p, err := tiles.Part(ctx, 0)
		if err != nil {
			return err
		}
		leaf, _ := entry.ParseLeaf(p.Entry)
		if _, is := leaf.(*entry.Start); !is {
			return refuse(ErrSeal, "the log's index has what counts in a log before it, and its first leaf names no such log")
		}
	}
	size := 0
	for _, i := range slices.Sorted(maps.Keys(named)) {
		p, err := tiles.Part(ctx, i)
		if err != nil {
			return err
		}
		one, err := entry.Parse(p.Entry)
		if err != nil {
			return refuseErr(ErrSeal, err, "the log's index names the leaf %d, which is no entry", i)
		}
		if size += len(p.Entry) + one.Inflated(); size > most {
			return fmt.Errorf("the entries that the log's index has there take more than %d bytes", most)
		}
		if err := made.AddLeaf(i, one); err != nil {
			return refuseErr(ErrSeal, err, "entry %d", i)
		}
		e.Entries = append(e.Entries, LoggedEntry{i, one})
	}
	n := 0
	for r := range made.Snapshot().Rows(under) {
		if n == len(e.Rows) || r.Key != e.Rows[n].Key || string(r.Value) != string(e.Rows[n].Value) {
			return e.phantom(n)
		}
		n++
	}
	if n < len(e.Rows) {
		return e.phantom(n)
	}
	return nil
}

// phantom says that the entries make other rows, from a place on.
func (e *Everything) phantom(n int) error {
	if n == len(e.Rows) {
		return refuse(ErrSeal, "the log's index of %d entries lacks a row that the entries make which it names",
			e.Checkpoint.Size-1)
	}
	i, _, _ := e.Rows[n].Names()
	return refuse(ErrSeal, "the log's index of %d entries has a row that names entry %d, and that entry does not make it",
		e.Checkpoint.Size-1, i)
}
