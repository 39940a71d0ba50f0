package web

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/monitor/store"
)

// The names of files under an entry's, a checkpoint's or an evidence's address.
const (
	rawSuffix      = ".entry"
	bundleSuffix   = ".tlog-proof"
	noteSuffix     = ".checkpoint"
	evidenceSuffix = ".evidence"
)

// logs is the followed logs with what is needed to speak of them.
type logs struct {
	all    []store.Log
	pos    map[int64]store.Position
	forked map[int64]map[int64]bool // sizes of which a log signed another tree than ours
}

func (s *Server) logs(ctx context.Context) (*logs, error) {
	all, err := s.cfg.Store.Logs(ctx)
	if err != nil {
		return nil, err
	}
	out := &logs{all: all, pos: make(map[int64]store.Position), forked: make(map[int64]map[int64]bool)}
	for _, l := range all {
		if out.pos[l.ID], err = s.cfg.Store.Position(ctx, l.ID); err != nil {
			return nil, err
		}
		sizes, err := s.cfg.Store.Contradicted(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		out.forked[l.ID] = make(map[int64]bool)
		for _, size := range sizes {
			out.forked[l.ID][size] = true
		}
	}
	return out, nil
}

func (l *logs) origin(id int64) string {
	for _, log := range l.all {
		if log.ID == id {
			return log.Origin
		}
	}
	return ""
}

// at completes an address that is about one log. The log that is followed longest
// needs no mention; see oneLog.
func (l *logs) at(path string, log int64) string {
	if len(l.all) > 0 && l.all[0].ID == log {
		return path
	}
	return path + "?log=" + url.QueryEscape(l.origin(log))
}

// heads says what lists are complete up to; of one log if only is not 0.
func (l *logs) heads(only int64) []headJSON {
	out := []headJSON{}
	for _, log := range l.all {
		p := l.pos[log.ID]
		if only == 0 || only == log.ID {
			out = append(out, headJSON{log.Origin, uint64(p.Downloaded), uint64(p.Verified),
				hex.EncodeToString(p.Root[:]), l.at("/log", log.ID)})
		}
	}
	return out
}

func crateURL(name string) string { return "/c/" + url.PathEscape(name) }

// versionURL is the address of a version's page. A version may end in ".json", which
// would be read as the twin of another one, so such an address ends in a slash.
func versionURL(name, version string) string {
	u := crateURL(name) + "/" + url.PathEscape(version)
	if strings.HasSuffix(version, jsonSuffix) {
		u += "/"
	}
	return u
}

// entryView is an entry as it is shown.
func (s *Server) entryView(l *logs, e store.Entry) entryJSON {
	base := "/e/" + strconv.FormatInt(e.Index, 10)
	v := entryJSON{
		Log: l.origin(e.Log), Index: uint64(e.Index), Leaf: hex.EncodeToString(e.LeafHash[:]),
		Seen: e.FirstSeen, Logged: timeOrNull(e.Logged), Bytes: len(e.Data),
		Page: l.at(base, e.Log), LogPage: l.at("/log", e.Log), Raw: l.at(base+rawSuffix, e.Log),
		Verification: verification(e, l.pos[e.Log]),
	}
	if e.Covered > 0 || e.Index < l.pos[e.Log].Verified {
		v.Bundle = l.at(base+bundleSuffix, e.Log)
	}
	leaf, err := entry.ParseLeaf(e.Data)
	if v.Kind = e.Kind; err == nil {
		switch x := leaf.(type) {
		case *entry.Seal:
			v.Seal = &sealJSON{x.Rules, x.Size, hex.EncodeToString(x.Root[:])}
		case *entry.Start:
			v.Start = &startJSON{x.Origin, x.Size, hex.EncodeToString(x.Tree[:]), hex.EncodeToString(x.Root[:])}
		}
	}
	parsed, ok := leaf.(*entry.Entry)
	if !ok || err != nil {
		v.Bundle = ""
		v.Coverage = noFiles("It is no entry about a crate.")
		if err == nil {
			return v
		}
		v.Kind, v.Coverage.Summary = "", "Nothing can be read."
		v.Malformed = "The log holds bytes here that are no entry: " + err.Error() + "."
		if e.Unchecked() {
			v.Malformed = "This monitor cannot read it: " + err.Error() + "."
		}
		return v
	}
	v.Kind = "entry"
	v.Registry = parsed.Subject.Registry
	v.Crate, v.Version, v.Checksum = parsed.Subject.Name, parsed.Subject.Version, hex.EncodeToString(parsed.Subject.SHA256[:])
	v.Program = s.programView(parsed.Proof.Program)
	v.Claim = parsed.Claim.Kind()
	if src, ok := parsed.Claim.(*entry.Source); ok {
		v.Commit, v.Path, v.Files = hex.EncodeToString(src.Commit[:]), src.Path, hex.EncodeToString(src.Files[:])
		v.CommitURL = commitURL(s.cfg.Repositories[v.Crate], v.Commit)
		v.Coverage = coverage(src)
	}
	if b, ok := parsed.Claim.(*entry.Build); ok {
		v.Build = s.buildView(parsed, b)
		v.Coverage = noFiles(fmt.Sprintf("It is about the binary %s: %s says that it has the SHA-256 %s.", b.Binary, v.Build.Who,
			v.Build.Artifact))
	}
	return v
}

// noFiles is the coverage of what is not about files.
func noFiles(summary string) coverageJSON {
	c := coverage(&entry.Source{})
	c.Derived, c.Manifest, c.Summary = []string{}, false, summary
	return c
}

// buildView is a claim about a build as it is shown.
func (s *Server) buildView(e *entry.Entry, b *entry.Build) *buildJSON {
	v := &buildJSON{Binary: b.Binary, Target: b.Target, Recipe: b.Recipe}
	request, err := b.Request(e.Subject)
	if err == nil { // Parse has checked it
		v.Request = hex.EncodeToString(request[:])
	}
	result := b.Result()
	for to, from := range map[*string]*[32]byte{
		&v.Artifact: &b.Artifact, &v.Toolchain: &b.Toolchain, &v.Environment: &b.Environment, &v.Lock: &b.Lock,
		&v.Compiled: &b.Compiled, &v.Result: &result, &v.Root: &b.Root, &v.Tag: &b.Tag,
	} {
		*to = hex.EncodeToString(from[:])
	}
	of := "a set of builders that this monitor does not know"
	for _, set := range s.cfg.Sets {
		if set.Root() == b.Root {
			v.Set, v.Members = set.Name, set.Size()
			of = fmt.Sprintf("the set of builders %s, which has %d", set.Name, v.Members)
		}
	}
	v.Who = "a member of " + of
	if name, err := build.VerifyNamed(e); err == nil {
		v.Builder, v.Who = name, name+", a member of "+of
	}
	return v
}

// entryViews are entries as lists and pages show them.
func (s *Server) entryViews(ctx context.Context, l *logs, entries []store.Entry) ([]entryJSON, error) {
	out := make([]entryJSON, len(entries))
	view := s.viewer(ctx, l)
	for i, e := range entries {
		var err error
		if out[i], err = view(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// viewer returns what makes views of entries, with what the registry says of them, and whether
// security findings are about them.
func (s *Server) viewer(ctx context.Context, l *logs) func(store.Entry) (entryJSON, error) {
	accused := map[int64]map[int64]bool{} // by log, and by index
	return func(e store.Entry) (entryJSON, error) {
		if accused[e.Log] == nil {
			found, err := s.cfg.Store.Accused(ctx, e.Log)
			if err != nil {
				return entryJSON{}, err
			}
			accused[e.Log] = map[int64]bool{}
			for _, index := range found {
				accused[e.Log][index] = true
			}
		}
		v := s.entryView(l, e)
		r, err := s.cfg.Store.Release(ctx, e.Log, e.Index)
		if err != nil {
			return v, err
		}
		v.Yanked, v.Accused = r.Yanked, accused[e.Log][e.Index]
		void, is, err := s.cfg.Store.Void(ctx, e.Log, e.Index)
		if is {
			v.Bundle, v.Void = "", &voidJSON{Checksum: hex.EncodeToString(void.SHA256[:])}
			if void.First >= 0 {
				v.Void.First = new(uint64(void.First))
			}
			v.Verification.Statement += " But it is void: this version has another checksum in the log, and no reader takes this one."
		}
		return v, err
	}
}

// notEntries are the kinds of leaves that say nothing of crates.
var notEntries = []string{store.KindSeal, store.KindVoidSeal, store.KindStart, store.KindVoidStart}

// verification says in which of the three states an entry is.
func verification(e store.Entry, p store.Position) verificationJSON {
	v := verificationJSON{Reason: e.Reason, Detail: e.Detail}
	isEntry := !slices.Contains(notEntries, e.Kind)
	switch {
	case e.Unchecked():
		v.State = "pending"
		v.Statement = "This monitor does not know its program, or its kind of claim, and did not check it: it may be as good as any."
		return v
	case e.Verdict != store.OK:
		v.State = "failed"
		v.Statement = "This monitor checked the entry, and it does not hold. A log must never have accepted it."
	case e.Index >= p.Verified:
		v.State = "pending"
		v.Statement = "This monitor holds the entry and its proof holds, but the tree with it has not yet given a " +
			"root that the log signed."
	case !isEntry:
		v.State = "verified"
		v.Statement = "This monitor hashed it, with all that stands before it, to a root that the log signed."
		if e.Kind == store.KindSeal && e.Index < p.Sealed {
			v.Statement += " It has compared what it says with the index that those entries make here."
		}
	default:
		v.State = "verified"
		v.Statement = "This monitor checked its form and its proof, and hashed it, with all entries before it, to a " +
			"root that the log signed."
	}
	if e.Reason != "" && v.State != "failed" {
		v.Statement += " Something else is wrong with it."
	}
	return v
}

// coverage says which files a claim covers. That Cargo.toml is derived follows from
// the rules for every source claim (package crate), unless it is listed as unproven.
func coverage(src *entry.Source) coverageJSON {
	c := coverageJSON{Derived: []string{}, Unproven: list(src.Unproven), Outside: list(src.Outside),
		Submodules: list(src.Submodules), Executable: list(src.Executable), Links: len(src.Links),
		CRLF: list(src.CRLF), Attributes: []string{}}
	for _, a := range src.Attributes {
		c.Attributes = append(c.Attributes, path.Join(a.Path, ".gitattributes"))
	}
	unproven := make(map[string]bool)
	for _, p := range src.Unproven {
		unproven[p] = true
	}
	for _, p := range []string{".cargo_vcs_info.json", "Cargo.toml"} {
		if !unproven[p] {
			c.Derived = append(c.Derived, p)
		}
	}
	c.Manifest = slices.Contains(c.Derived, "Cargo.toml")
	if src.Workspace != nil {
		c.Workspace = &src.Workspace.Path
	}
	c.Summary = "Every file is proven or derived."
	if n := len(c.Unproven); n > 0 {
		c.Summary = fmt.Sprintf("Every file is proven or derived, but for %d.", n)
	}
	if !c.Manifest {
		c.Summary += " The manifest is not proven."
	}
	return c
}

func list(paths []string) []string {
	if paths == nil {
		return []string{}
	}
	return paths
}

// commitURL is where a commit of a repository can be looked at. It is "" for addresses that are not
// plain https.
func commitURL(repository, commit string) string {
	u, err := url.Parse(repository)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return ""
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), ".git")
	return u.JoinPath("commit", commit).String()
}

func (s *Server) programView(id [32]byte) programJSON {
	v := programJSON{ID: hex.EncodeToString(id[:])}
	if p, ok := s.cfg.Proofs.Program(id); ok {
		v.Known, v.System, v.Claim, v.Blocks = true, p.System, p.Claim, p.Blocks
		v.Parameter, v.Origin, v.Trust, v.Development = p.Parameter(), p.Origin, p.Trust(), p.Development()
	}
	if id == build.NamedProgram {
		v.Known, v.System, v.Claim, v.Trust = true, "note", "build/1", "no key: builders sign with their own"
	}
	return v
}

// checkpointView is a checkpoint as it is shown.
func checkpointView(l *logs, c store.Checkpoint) checkpointJSON {
	v := checkpointJSON{
		Log: l.origin(c.Log), Size: uint64(c.Size), Root: hex.EncodeToString(c.Root[:]),
		Verdict: c.Verdict, Quorum: c.Accepted, Witnessed: timeOrNull(c.Witnessed),
		Cosignatures: []cosignatureJSON{}, Source: c.Source, Seen: c.FirstSeen, Note: string(c.Signed),
		Page: l.at("/cp/"+strconv.FormatInt(c.Size, 10), c.Log),
		Fork: c.Verdict == store.Inconsistent || l.forked[c.Log][c.Size],
	}
	v.File = l.at("/cp/"+strconv.FormatInt(c.Size, 10)+noteSuffix, c.Log)
	if mark := "?"; strings.Contains(v.File, mark) {
		v.File += "&root=" + v.Root
	} else {
		v.File += mark + "root=" + v.Root
	}
	for _, g := range c.Cosignatures {
		v.Cosignatures = append(v.Cosignatures, cosignatureJSON{g.Witness, g.KeyName, g.Time})
	}
	switch {
	case c.Verdict == store.Consistent && v.Fork:
		v.Statement = "Its root is that of the entries which this monitor holds, but the log signed another tree of this " +
			"size as well: others may have been shown that one."
	case c.Verdict == store.Consistent:
		v.Statement = "Its root is that of the entries which this monitor holds."
	case c.Verdict == store.Inconsistent:
		v.Statement = "The log signed it, and its root is not that of the entries which this monitor holds."
	default:
		v.Statement = "This monitor does not yet hold as many entries, so it cannot compare."
	}
	v.Statement += " " + v.quorumWords()
	return v
}

func (c checkpointJSON) quorumWords() string {
	switch {
	case !c.Quorum:
		return "It lacks the quorum of the witnesses."
	case len(c.Cosignatures) == 0:
		return "This monitor's trust file asks for no witness."
	}
	return "The witnesses' quorum cosigned it."
}

func checkpointViews(l *logs, heads []store.Checkpoint) []checkpointJSON {
	out := make([]checkpointJSON, len(heads))
	for i, c := range heads {
		out[i] = checkpointView(l, c)
	}
	return out
}

func findingView(f store.Finding, l *logs) findingJSON {
	v := findingJSON{
		ID: f.ID, Log: f.Origin, Kind: f.Kind, Class: f.Class, Summary: f.Summary, Detail: f.Detail,
		Found: f.FirstSeen, Last: f.LastSeen, Count: f.Count, Resolved: timeOrNull(f.Resolved),
		Acknowledged: timeOrNull(f.Acked), Reason: f.AckWhy, Crate: f.Name, Version: f.Version,
	}
	if f.Index >= 0 && f.Log != 0 {
		v.Entry = l.at("/e/"+strconv.FormatInt(f.Index, 10), f.Log)
	}
	if f.Evidence != "" {
		v.Evidence = "/evidence/" + f.Evidence
		v.File = v.Evidence + evidenceSuffix
	}
	return v
}

func findingViews(findings []store.Finding, l *logs) []findingJSON {
	out := make([]findingJSON, len(findings))
	for i, f := range findings {
		out[i] = findingView(f, l)
	}
	return out
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// programCache counts the programs of verified entries, which never change.
type programCache struct {
	mu     sync.Mutex
	counts map[int64]map[[32]byte]int64 // by log
	upTo   map[int64]int64
}

func (c *programCache) count(ctx context.Context, r *store.Reader, log, verified int64) (map[[32]byte]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts, c.upTo = make(map[int64]map[[32]byte]int64), make(map[int64]int64)
	}
	if c.counts[log] == nil {
		c.counts[log] = make(map[[32]byte]int64)
	}
	if c.upTo[log] < verified {
		more, err := r.Programs(ctx, log, c.upTo[log], verified)
		if err != nil {
			return nil, err
		}
		for id, n := range more {
			c.counts[log][id] += n
		}
		c.upTo[log] = verified
	}
	return maps.Clone(c.counts[log]), nil
}
