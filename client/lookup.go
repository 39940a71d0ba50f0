package client

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"cratelog/entry"
)

const (
	maxVersionPages = 64
	maxAboutBody    = 1 << 20
	maxListed       = 1000 // programs, witnesses, shards
)

// VersionRow is what a log says of a crate version. Its bundle shows it.
type VersionRow struct {
	Name, Version string // as its entries write them
	SHA256        [32]byte
	Index         uint64 // of its first entry
}

// Versions returns all versions of a crate that the log has published entries about, in the order of their names
// and texts; case, '-' and '_' in the name do not matter. "" is the default registry. The error is ErrNotLogged if
// there are none.
func (l *Log) Versions(ctx context.Context, registry, name string) ([]VersionRow, error) {
	if err := entry.CheckName(name); err != nil {
		return nil, err
	}
	registry, query := cmp.Or(registry, entry.DefaultRegistry), registryQuery(registry)
	var rows []VersionRow
	for range maxVersionPages {
		raw, err := l.get(ctx, maxBuildsBody, query.Encode(), "v1", "crates", name)
		if err != nil {
			return nil, err
		}
		var page struct {
			Registry string `json:"registry"`
			Versions []struct {
				Name, Version, SHA256 string
				Index                 uint64
			} `json:"versions"`
			Next string `json:"next"`
		}
		if err := decodeOne(raw, &page); err != nil {
			return nil, fmt.Errorf("the log's list of versions of %s: %w", name, err)
		}
		if page.Registry != registry {
			return nil, fmt.Errorf("the log's list of versions of %s is one of another registry", name)
		}
		for _, v := range page.Versions {
			row := VersionRow{Name: v.Name, Version: v.Version, Index: v.Index}
			sum, err := parseHash(v.SHA256)
			if err := errors.Join(err, entry.CheckName(v.Name), entry.CheckVersion(v.Version)); err != nil {
				return nil, fmt.Errorf("the log's list of versions of %s: %w", name, err)
			}
			row.SHA256 = sum
			if n := len(rows); n > 0 && (rows[n-1].Name > row.Name || rows[n-1].Name == row.Name &&
				rows[n-1].Version >= row.Version) {
				return nil, fmt.Errorf("the log's list of versions of %s is not in order", name)
			}
			rows = append(rows, row)
		}
		if page.Next == "" {
			return rows, nil
		}
		if len(page.Versions) == 0 {
			return nil, fmt.Errorf("the log's list of versions of %s does not go on", name)
		}
		query.Set("after", page.Next)
	}
	return nil, fmt.Errorf("the log lists more than %d versions of %s", len(rows), name)
}

// SubmissionState is what became of an entry that was submitted.
type SubmissionState string

// The states, in the order in which a submission has them.
const (
	SubmissionUnknown   SubmissionState = "unknown"   // not accepted, or still being checked
	SubmissionAccepted  SubmissionState = "accepted"  // on its way into the tree
	SubmissionSequenced SubmissionState = "sequenced" // in the tree; no checkpoint of the quorum covers it yet
	SubmissionPublished SubmissionState = "published"
)

// Submission asks what became of the entry with a claim's identity and a proof of a program. The index is that
// of the entry once it is sequenced or published.
func (l *Log) Submission(ctx context.Context, identity, program [32]byte) (state SubmissionState, index uint64,
	err error) {
	raw, err := l.get(ctx, maxAboutBody, "program="+hex.EncodeToString(program[:]), "v1", "submissions",
		hex.EncodeToString(identity[:]))
	if err != nil {
		return "", 0, err
	}
	var body struct {
		State SubmissionState `json:"state"`
		Index *uint64         `json:"index"`
	}
	if err := decodeOne(raw, &body); err != nil {
		return "", 0, fmt.Errorf("the log's answer about a submission: %w", err)
	}
	switch body.State {
	case SubmissionUnknown, SubmissionAccepted:
		return body.State, 0, nil
	case SubmissionSequenced, SubmissionPublished:
		if body.Index != nil {
			return body.State, *body.Index, nil
		}
	}
	return "", 0, errors.New("the log's answer about a submission says nothing that is known")
}

// EntryBundle fetches the bundle of an entry. The error is ErrNotLogged if it is not published.
func (l *Log) EntryBundle(ctx context.Context, index uint64) ([]byte, error) {
	return l.get(ctx, MaxBundleSize, "", "v1", "entries", strconv.FormatUint(index, 10))
}

// published fetches the bundle of a submission that the log has accepted, if it is published by now. It is not
// known if the log says so, or nothing that can be used: then the entry is to be submitted again.
func (l *Log) published(ctx context.Context, e *entry.Entry) (bundle []byte, known bool) {
	identity, err := e.Identity()
	if err != nil {
		return nil, false
	}
	once := &Log{URL: l.URL, HTTP: l.HTTP, UserAgent: l.UserAgent, AllowHTTP: l.AllowHTTP,
		impatient: true} // the caller waits
	state, index, err := once.Submission(ctx, identity, e.Proof.Program)
	switch {
	case err != nil || state == SubmissionUnknown:
		return nil, false
	case state == SubmissionPublished:
		bundle, err = once.EntryBundle(ctx, index)
		return bundle, err == nil
	}
	return nil, true
}

// Shard is another log that a log's operator names. It is a hint where to look: believed are the logs of a
// trust file only.
type Shard struct {
	Origin, VKey, URL string
	From, Until       string // days, as 2026-01-01; "" if that is not said
	Frozen            bool
}

// About is what a log says of itself. Nobody has verified any of it.
type About struct {
	Origin, VKey string
	Size         int64
	ReadOnly     bool // a copy for readers
	Frozen       bool // see Log.Frozen
	Shards       []Shard
}

// About asks the log what it is.
func (l *Log) About(ctx context.Context) (a About, err error) {
	raw, err := l.get(ctx, maxAboutBody, "", "v1", "log")
	if err != nil {
		return a, err
	}
	var body struct {
		Origin, VKey string
		Size         int64
		ReadOnly     bool      `json:"read_only"`
		Frozen       *struct{} `json:"frozen"`
		Shards       []Shard
	}
	if err := decodeOne(raw, &body); err != nil {
		return a, fmt.Errorf("what the log says of itself: %w", err)
	}
	if len(body.Shards) > maxListed {
		return a, fmt.Errorf("the log names %d shards", len(body.Shards))
	}
	return About{body.Origin, body.VKey, body.Size, body.ReadOnly, body.Frozen != nil, body.Shards}, nil
}
