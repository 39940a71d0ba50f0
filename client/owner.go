package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"

	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/index"
)

// Crate fetches all that a log holds of a crate, as Everything does: every entry about it, of whatever spelling of the
// name and version, source claims and builds, void ones too. "" is the default registry. What the log leaves out of its
// index is not there; see Omission.
func (l *Log) Crate(ctx context.Context, policy *Policy, rules Rules, registry, name string) (*Everything, error) {
	if err := entry.CheckName(name); err != nil {
		return nil, err
	}
	registry = cmp.Or(registry, entry.DefaultRegistry)
	crate := index.NamePrefix(registry, name)
	return l.everything(ctx, policy, rules, crate, func(ctx context.Context, under index.Prefix) ([]byte, error) {
		if under == crate {
			raw, err := l.CratePage(ctx, registry, name) // which a log in files has too
			if status := new(StatusError); !errors.As(err, &status) || status.Status != http.StatusNotFound {
				return raw, err
			}
		}
		return l.Page(ctx, under)
	})
}

// Fixed returns which checksum the version of an entry of e has in the log. The entry is void if it is another.
func (e *Everything) Fixed(s entry.Subject) (v index.Version, void bool) {
	i, there := slices.BinarySearchFunc(e.Rows, index.VersionKey(s.Registry, s.Name, s.Version),
		func(r index.Row, k index.Key) int { return bytes.Compare(r.Key[:], k[:]) })
	if !there {
		return v, false // of an entry of e it is there, and has its form: fetch has made these rows
	}
	v, _ = index.ParseVersion(e.Rows[i].Value)
	return v, v.SHA256 != s.SHA256
}

// Inherited returns the versions that were fixed in a log before this one. It has no other sign of them than their
// checksums.
func (e *Everything) Inherited() (all []index.Version) {
	for _, r := range e.Rows {
		if v, err := index.ParseVersion(r.Value); err == nil && r.Key.IsVersion() && v.Inherited {
			all = append(all, v)
		}
	}
	return all
}

// Omission looks for an entry about the crate that the log shows elsewhere, and leaves out of its index: its list of
// the crate's versions is asked, which nothing proves. Evidence is returned if the tree holds the entry, and the index
// under the same tree lacks it, or names a later one: it convicts the log. An error says that it could not be found
// out. What is logged meanwhile is no omission.
func (l *Log) Omission(ctx context.Context, policy *Policy, rules Rules, e *Everything, registry, name string) (
	*evidence.Evidence, error) {
	registry = cmp.Or(registry, entry.DefaultRegistry)
	rows, err := l.Versions(ctx, registry, name)
	if err != nil && !errors.Is(err, ErrNotLogged) {
		return nil, err
	}
	for _, r := range rows {
		s := entry.Subject{Registry: registry, Name: r.Name, Version: r.Version, SHA256: r.SHA256}
		v, void := e.Fixed(s)
		if r.Index >= uint64(e.Checkpoint.Size-1) || !void && v.SHA256 == r.SHA256 && (v.Inherited || v.First <= r.Index) {
			continue
		}
		found, err := l.omitted(ctx, policy, rules, s, r.Index)
		if errors.Is(err, evidence.ErrNotProven) {
			continue // the list is wrong, and nobody promised that it is not
		}
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// omitted returns evidence if an entry is the first about a version, and the index says otherwise.
func (l *Log) omitted(ctx context.Context, policy *Policy, rules Rules, s entry.Subject, i uint64) (
	*evidence.Evidence, error) {
	raw, err := l.Lookup(ctx, s.Registry, s.Name, s.Version)
	if err != nil {
		return nil, err
	}
	look, err := ParseLookup(raw)
	if err != nil {
		return nil, err
	}
	held, err := look.Check(policy, rules, s.Registry, s.Name, s.Version)
	if err != nil {
		return nil, err
	}
	if held.Logged && (held.Inherited || held.First <= i) {
		return nil, nil // likewise
	}
	p, err := l.Tiles(held.Checkpoint).Part(ctx, i)
	if err != nil {
		return nil, err
	}
	return evidence.NewIndexOmission(look.sealed(index.VersionKey(s.Registry, s.Name, s.Version)), evidence.LeafAt(i, p.Entry, p.Hashes), rules.meta())
}

// Phantom looks for a row that the log's index holds and no leaf makes, if Crate has returned e and ErrSeal. The
// evidence of it convicts the log; it is nil if there is none.
func (l *Log) Phantom(ctx context.Context, policy *Policy, rules Rules, e *Everything) (*evidence.Evidence, error) {
	var made index.Map
	for _, x := range e.Entries {
		if err := made.AddLeaf(x.Index, x.Entry); err != nil {
			return nil, err
		}
	}
	for _, r := range e.Rows {
		if v, _ := made.Get(r.Key); bytes.Equal(v, r.Value) {
			continue
		}
		look, err := l.lookupOf(ctx, r.Key)
		if err != nil {
			return nil, err
		}
		head, _, err := look.Head.Check(policy, rules)
		if err != nil {
			return nil, err
		}
		i, inherited, err := index.Row{Key: r.Key, Value: look.Version.Value}.Names()
		var named *evidence.Leaf
		if err == nil && (inherited || i < uint64(head.Size-1)) {
			if inherited {
				i = 0 // where the start must be
			}
			p, err := l.Tiles(head).Part(ctx, i)
			if err != nil {
				return nil, err
			}
			leaf := evidence.LeafAt(i, p.Entry, p.Hashes)
			named = &leaf
		}
		found, err := evidence.NewIndexPhantom(look.sealed(r.Key), named, rules.meta())
		if !errors.Is(err, evidence.ErrNotProven) && !errors.Is(err, evidence.ErrUndecided) {
			return found, err
		}
	}
	return nil, nil
}

// sealed is what evidence says of a key that was looked up.
func (s *SealedLookup) sealed(k index.Key) evidence.Sealed {
	return evidence.Sealed{Note: s.Checkpoint, Seal: evidence.LeafAt(s.Index, s.Seal.Leaf, s.Seal.Hashes),
		Index: evidence.Lookup{Key: k, Value: s.Version.Value, Proof: s.Version.Proof}}
}

func (r Rules) meta() evidence.Meta {
	return evidence.Meta{Observed: r.now(), Sources: []string{"cratelog client"}}
}
