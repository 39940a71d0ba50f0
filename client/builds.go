package client

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"cratelog/entry"
)

// Bounds of what a log may answer about builds.
const (
	maxBuildsBody = 1 << 20 // of one page
	maxBuildPages = 128
	maxArtifacts  = 4096
	maxListBytes  = 512 << 10
)

// BuildRow is what a log says of one published build claim about a crate version. It is the log's word:
// the entry at Index, and its proof, say what is so.
type BuildRow struct {
	Index           uint64 // of the entry in the log
	Program         [32]byte
	Binary, Target  string
	Artifact        [32]byte // SHA-256 of the binary
	Compiled        [32]byte // SHA-256 of the list of compiled crates
	Request, Result [32]byte // as entry.Build computes them
	Root, Tag       [32]byte
}

// ArtifactRow is what a log says of one crate and binary of which builders made a file. It is the log's
// word.
type ArtifactRow struct {
	Subject        entry.Subject
	Binary, Target string
	Index          uint64 // of the first entry that says so
}

// SubmitBuild hands an entry with a build claim to the log, with the bytes of its list of compiled crates,
// and returns the bundle, which the caller must verify. source is a bundle of a source claim about the
// same .crate of another log, or nil if such a claim stands in this one. It is safe to try again. The error
// is *SubmitError if the log refused: with the reason builder-contradiction, Index and Bundle are those
// of the entry in which the same builder said something else.
func (l *Log) SubmitBuild(ctx context.Context, entryBytes, list, source []byte) ([]byte, error) {
	switch {
	case len(entryBytes) > entry.MaxSize:
		return nil, fmt.Errorf("the entry has %d bytes, a log takes %d at most", len(entryBytes), entry.MaxSize)
	case len(list) > maxListBytes:
		return nil, fmt.Errorf("the list of compiled crates has %d bytes, a log takes %d at most", len(list), maxListBytes)
	}
	parts := []part{{"entry", entryBytes}, {"list", list}}
	if source != nil {
		parts = append(parts, part{"source", source})
	}
	return l.post(ctx, entryBytes, parts)
}

// Builds returns the published build claims about a crate version, of all binaries and targets, in the
// order of the log. It is the log's word: what is all, only its index shows; see Everything.
func (l *Log) Builds(ctx context.Context, s entry.Subject) (rows []BuildRow, err error) {
	if err := errors.Join(entry.CheckName(s.Name), entry.CheckVersion(s.Version)); err != nil {
		return nil, err
	}
	list := fmt.Sprintf("the log's list of builds of %s %s", s.Name, s.Version)
	query := registryQuery(s.Registry)
	for range maxBuildPages {
		raw, err := l.get(ctx, maxBuildsBody, query.Encode(), "v1", "crates", s.Name, s.Version, "builds")
		if err != nil {
			return nil, err
		}
		page, next, err := parseBuilds(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", list, err)
		}
		for _, row := range page {
			if len(rows) > 0 && row.Index <= rows[len(rows)-1].Index {
				return nil, fmt.Errorf("%s is not in the order of the log", list)
			}
			rows = append(rows, row)
		}
		if next == nil {
			return rows, nil
		}
		if len(page) == 0 || *next <= rows[len(rows)-1].Index {
			return nil, fmt.Errorf("%s does not go on", list)
		}
		query.Set("from", strconv.FormatUint(*next, 10))
	}
	return nil, fmt.Errorf("the log lists more than %d builds of %s %s", len(rows), s.Name, s.Version)
}

// Artifact returns of which crates and binaries published build claims make the file with a SHA-256.
func (l *Log) Artifact(ctx context.Context, sum [32]byte) ([]ArtifactRow, error) {
	raw, err := l.get(ctx, maxBuildsBody, "", "v1", "artifacts", hex.EncodeToString(sum[:]))
	if err != nil {
		return nil, err
	}
	rows, err := parseArtifacts(raw)
	if err != nil {
		return nil, fmt.Errorf("the log's answer about the binary %x: %w", sum, err)
	}
	return rows, nil
}

// CompiledList fetches the list of compiled crates with a SHA-256, which the caller must check, as
// build.ParseList does not. The error is ErrNotLogged if the log does not hold it.
func (l *Log) CompiledList(ctx context.Context, sum [32]byte) ([]byte, error) {
	return l.get(ctx, maxListBytes, "", "v1", "lists", hex.EncodeToString(sum[:]))
}

// A Contradiction is a file of evidence that a log shows against a builder: to be parsed and verified with
// package evidence.
type Contradiction struct {
	Number int64
	File   []byte
}

// Contradictions fetches the evidence against builders whose numbers are from at least, in the order of
// their numbers: at most so many, and no more than fill some memory or than came before an error, but one at
// least. None says that the log has no more.
func (l *Log) Contradictions(ctx context.Context, from int64, most int) ([]Contradiction, error) {
	raw, err := l.get(ctx, maxBuildsBody, "from="+strconv.FormatInt(from, 10), "v1", "contradictions")
	if err != nil {
		return nil, err
	}
	var body struct {
		Contradictions []struct{ Number int64 }
	}
	if err := decodeOne(raw, &body); err != nil {
		return nil, fmt.Errorf("the log's list of contradictions: %w", err)
	}
	var out []Contradiction
	room := maxContradictionBytes
	for _, c := range body.Contradictions {
		if len(out) == 0 && c.Number < from {
			continue // an export of a log, in files, gives all whatever is asked
		}
		if len(out) == most {
			break
		}
		if c.Number < from || c.Number == math.MaxInt64 {
			return nil, errors.New("the log's list of contradictions is not in order, or holds what it was not asked for")
		}
		file, err := l.get(ctx, maxContradiction, "", "v1", "contradictions", strconv.FormatInt(c.Number, 10))
		if err != nil && len(out) > 0 {
			break // who asks again gets the error
		} else if err != nil {
			return nil, err
		}
		out, from = append(out, Contradiction{c.Number, file}), c.Number+1
		if room -= len(file); room <= 0 {
			break
		}
	}
	return out, nil
}

const (
	maxContradiction      = 16 << 20 // an evidence file: evidence.MaxSize
	maxContradictionBytes = 32 << 20 // in one answer; the last file may go beyond
)

func parseBuilds(raw []byte) (rows []BuildRow, next *uint64, err error) {
	var body struct {
		Builds []struct {
			Index                                                                   uint64
			Program, Binary, Target, Artifact, Compiled, Request, Result, Root, Tag string
		} `json:"builds"`
		Next *uint64 `json:"next"`
	}
	if err := decodeOne(raw, &body); err != nil {
		return nil, nil, err
	}
	for _, b := range body.Builds {
		row := BuildRow{Index: b.Index, Binary: b.Binary, Target: b.Target}
		for _, h := range []struct {
			to   *[32]byte
			from string
		}{
			{&row.Program, b.Program}, {&row.Artifact, b.Artifact}, {&row.Compiled, b.Compiled}, {&row.Request, b.Request},
			{&row.Result, b.Result}, {&row.Root, b.Root}, {&row.Tag, b.Tag},
		} {
			if *h.to, err = parseHash(h.from); err != nil {
				return nil, nil, fmt.Errorf("entry %d: %w", b.Index, err)
			}
		}
		if err := errors.Join(entry.CheckBinary(b.Binary), entry.CheckTarget(b.Target)); err != nil {
			return nil, nil, fmt.Errorf("entry %d: %w", b.Index, err)
		}
		rows = append(rows, row)
	}
	return rows, body.Next, nil
}

func parseArtifacts(raw []byte) ([]ArtifactRow, error) {
	var body struct {
		Artifacts []struct {
			Registry, Name, Version, SHA256, Binary, Target string
			Index                                           uint64
		} `json:"artifacts"`
	}
	if err := decodeOne(raw, &body); err != nil {
		return nil, err
	}
	if len(body.Artifacts) > maxArtifacts {
		return nil, fmt.Errorf("it has %d rows", len(body.Artifacts))
	}
	var rows []ArtifactRow
	for _, a := range body.Artifacts {
		sum, err := parseHash(a.SHA256)
		if err := errors.Join(err, entry.CheckRegistry(a.Registry), entry.CheckName(a.Name), entry.CheckVersion(a.Version),
			entry.CheckBinary(a.Binary), entry.CheckTarget(a.Target)); err != nil {
			return nil, err
		}
		rows = append(rows, ArtifactRow{entry.Subject{Registry: a.Registry, Name: a.Name, Version: a.Version, SHA256: sum},
			a.Binary, a.Target, a.Index})
	}
	return rows, nil
}

func decodeOne(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(into); err != nil {
		return errors.New("it is not the JSON that it should be")
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows its JSON")
	}
	return nil
}

func parseHash(text string) ([32]byte, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 32 || hex.EncodeToString(b) != text {
		return [32]byte{}, fmt.Errorf("%.100q is no SHA-256 in lower-case hex", text)
	}
	return [32]byte(b), nil
}
