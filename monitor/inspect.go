package monitor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/entry"
	"cratelog/monitor/store"
)

// maxInflated is how many bytes of workspaces' manifests inspect has in memory, and one more.
const maxInflated = 16 << 20

// inspect checks leaves that follow each other: their form, their programs, their
// proofs, and what they leave unproven. It does not accuse yet: the leaves may not be
// the log's.
func (f *follower) inspect(raw [][]byte, from int64, t store.Checkpoint) []store.Entry {
	now := f.cfg.Now()
	out := make([]store.Entry, len(raw))
	var parsed []*entry.Entry
	var rows []*store.Entry
	inflated := 0
	prove := func() {
		_, errs := f.cfg.Proofs.Chains(parsed)
		for i, err := range errs {
			f.judgeEntry(rows[i], err)
		}
		parsed, rows, inflated = nil, nil, 0
	}
	for i, b := range raw {
		row := &out[i]
		*row = store.Entry{Log: f.id, Index: from + int64(i), LeafHash: tlog.RecordHash(b), Data: b,
			Logged: t.Witnessed, Covered: t.Size, FirstSeen: now, Verdict: store.OK}
		leaf, err := entry.ParseLeaf(b)
		e, ok := leaf.(*entry.Entry)
		if ok && err == nil {
			row.Identity, err = e.Identity()
		}
		if err != nil {
			row.Verdict, row.Reason, row.Detail = store.Bad, kindMalformed, err.Error()
			if errors.Is(err, entry.ErrUnknownClaim) {
				row.Reason = kindUnknownClaim // perhaps this monitor is old
			}
			continue
		}
		if row.Kind = store.KindOf(leaf, row.Index); !ok {
			continue // what a seal says is judged when it is known to be the log's
		}
		describe(row, e)
		parsed, rows = append(parsed, e), append(rows, row)
		if inflated += e.Inflated(); inflated > maxInflated {
			prove()
		}
	}
	prove()
	return out
}

// describe fills a row from its entry.
func describe(row *store.Entry, e *entry.Entry) {
	row.Registry = e.Subject.Registry
	row.Name, row.Version, row.SHA256, row.Program = e.Subject.Name, e.Subject.Version, e.Subject.SHA256, e.Proof.Program
	if b, ok := e.Claim.(*entry.Build); ok {
		if request, err := b.Request(e.Subject); err == nil { // Parse has checked it
			row.Build = &store.Build{Request: request, Result: b.Result(), Root: b.Root, Tag: b.Tag, Binary: b.Binary,
				Target: b.Target}
		}
	}
	if s, ok := e.Claim.(*entry.Source); ok {
		row.Commit, row.Path, row.Unproven = s.Commit, s.Path, s.Unproven
		row.Links, row.Submodules, row.Outside = len(s.Links), len(s.Submodules), len(s.Outside)
		row.Workspace = s.Workspace != nil
	}
}

func (f *follower) judgeEntry(row *store.Entry, err error) {
	switch {
	case errors.Is(err, entry.ErrUnknownProgram):
		row.Verdict, row.Reason, row.Detail = store.Bad, kindUnknownProgram, err.Error()
	case err != nil:
		row.Verdict, row.Reason, row.Detail = store.Bad, kindFalseEntry, err.Error()
	default:
		var more []string
		for _, path := range row.Unproven {
			if !slices.Contains(f.cfg.AllowUnproven, path) {
				more = append(more, path)
			}
		}
		if len(more) > 0 {
			row.Reason, row.Detail = kindUnproven, fmt.Sprintf("Not proven: %s.", strings.Join(more, ", "))
		}
	}
}
