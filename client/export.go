package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"cratelog/index"
)

// PagesLabel is the first line of what a log in files (logd export) has at /v1/index, whatever the query: a list of
// pages. A line BITS/HEX for each page follows: the prefix that it is of, as in a query, and where it stands below
// /v1/pages. Together they hold all rows, each has some, and none covers another.
const PagesLabel = "cratelog/pages/v1\n"

var errNoPages = errors.New("the log's list of pages is none")

// listedPages reads a list of pages.
func listedPages(raw []byte) (all []index.Prefix, err error) {
	list, ok := strings.CutPrefix(string(raw), PagesLabel)
	if !ok || list == "" {
		return nil, errNoPages
	}
	for line := range strings.Lines(list) {
		bits, under, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "/")
		p, err := parsePrefix(bits, under)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoPages, err)
		}
		all = append(all, p)
	}
	return all, nil
}

// pageFor returns the page, of those that a log in files lists, that shows what is under a prefix: the one that has
// it, or, if there is none, the one to which the search for it leads in the map. The error is ErrManyRows if
// several have a part of it.
func pageFor(all []index.Prefix, under index.Prefix) (index.Prefix, error) {
	inside := slices.DeleteFunc(slices.Clone(all), func(p index.Prefix) bool { return !under.Covers(p.Padded()) })
	switch {
	case len(inside) == 1:
		return inside[0], nil
	case len(inside) > 1:
		return index.Prefix{}, ErrManyRows
	}
	k := under.Padded()
	most := 0
	for _, p := range all {
		most = max(most, agree(p, k))
	}
	left := slices.DeleteFunc(slices.Clone(all), func(p index.Prefix) bool { return agree(p, k) < most })
	for len(left) > 1 { // all differ from k in the same bit first, so that the map has no node there
		at := left[0].Bits()
		for _, p := range left[1:] {
			at = min(at, agree(p, left[0].Padded()))
		}
		if at == 8*index.KeySize { // one page, named twice
			return index.Prefix{}, errNoPages
		}
		rest := slices.DeleteFunc(slices.Clone(left), func(p index.Prefix) bool { return bit(p.Padded(), at) != bit(k, at) })
		if len(rest) == 0 || len(rest) == len(left) {
			return index.Prefix{}, errNoPages
		}
		left = rest
	}
	return left[0], nil
}

// agree returns how many of a prefix's bits a key begins with.
func agree(p index.Prefix, k index.Key) int {
	for i, b := range p.Bytes() {
		if x := b ^ k[i]; x != 0 {
			return min(8*i+bits.LeadingZeros8(x), p.Bits())
		}
	}
	return p.Bits()
}

func bit(k index.Key, i int) byte { return k[i/8] >> (7 - i%8) & 1 }

// narrowed returns the page of a prefix that a log in files, which has this list, shows by another page. Nobody has
// verified it. The error is ErrManyRows if it takes several of its pages.
func (l *Log) narrowed(ctx context.Context, list []byte, under index.Prefix) ([]byte, error) {
	all, err := listedPages(list)
	if err != nil {
		return nil, err
	}
	of, err := pageFor(all, under)
	if err != nil {
		return nil, err
	}
	raw, err := l.get(ctx, MaxPageSize, "", "v1", "pages", fmt.Sprint(of.Bits()), fmt.Sprintf("%x", of.Bytes()))
	if err != nil {
		return nil, err
	}
	page, err := ParsePage(raw)
	if err != nil {
		return nil, err
	}
	page.Narrow(under)
	return page.Marshal()
}

// Narrow makes a page one of a prefix whose rows, or the rows around, are all in it.
func (p *Page) Narrow(under index.Prefix) {
	var m index.Map
	for _, r := range p.Rows {
		m.Insert(r.Key, r.Value)
	}
	s := m.Snapshot()
	_, inner := s.Prefix(under)
	p.Rows, p.Proof = slices.Collect(s.Rows(under)), slices.Concat(inner, p.Proof)
}

// inFiles says whether an answer is that of a log in files to every question about its index.
func inFiles(raw []byte) bool { return bytes.HasPrefix(raw, []byte(PagesLabel)) }

// fromFiles is the look-up of a version that a log in files has no file of: its pages show the same. Nobody has
// verified it.
func (l *Log) fromFiles(ctx context.Context, registry, name, version string) (*SealedLookup, error) {
	return l.lookupOf(ctx, index.VersionKey(registry, name, version))
}

// lookupOf asks what the log's index holds of any key. Nobody has verified the answer.
func (l *Log) lookupOf(ctx context.Context, k index.Key) (*SealedLookup, error) {
	under, err := index.NewPrefix(k, 8*index.KeySize)
	if err != nil {
		return nil, err
	}
	raw, err := l.Page(ctx, under)
	if err != nil {
		return nil, err
	}
	page, err := ParsePage(raw)
	if err != nil {
		return nil, err
	}
	look := &SealedLookup{Head: page.Head, Version: Lookup{Proof: page.Proof}}
	for _, r := range page.Rows { // one, or none
		look.Version.Value = r.Value
	}
	return look, nil
}
