package verdict

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cratelog/client"
)

// Facts are what was verified about a crate. Lists are sorted as in the .crate, and
// not nil.
type Facts struct {
	Commit      string   `json:"commit"` // git commit id, hex
	Path        string   `json:"path"`   // of the package in the repository, "" for its root
	Coverage    Coverage `json:"coverage"`
	Program     string   `json:"program"`     // id, hex
	Development bool     `json:"development"` // its key is UNSAFE: anyone can forge
	Origin      string   `json:"origin"`      // of the program's key; see proofcheck.Program
	Trailing    int      `json:"trailing"`    // bytes after the archive, which nothing reads
	Log         Logged   `json:"log"`

	// NamesCommit: the .crate itself names the commit. If not, its files are in the commit, which
	// whoever made the claim chose. Repository is what its Cargo.toml says: claimed, not proven.
	NamesCommit bool   `json:"names_commit"`
	Repository  string `json:"repository_claimed"`

	Opening *Opening `json:"opening"` // what the claim's opening showed; null without one

	// Versions says who chose the versions in the .crate's Cargo.lock, as crate.Chooser does; "" if it
	// has none. VersionsWhy says why it is not the commit, as far as that was looked at.
	Versions    string `json:"versions_chosen_by"`
	VersionsWhy string `json:"versions_why"`

	// Summary is the digest, in hex, of what the registry's index must say of the crate,
	// by its Cargo.toml (registry.Summary); "" if that cannot be told.
	Summary string `json:"summary"`
}

// Coverage says what the proof covers, by path in the .crate.
type Coverage struct {
	Proven   []string `json:"proven"`   // stands in the commit
	Derived  []string `json:"derived"`  // follows from what does
	Unproven []string `json:"unproven"` // can be anything; the rules allow it

	Executable []string `json:"executable"` // of those proven: executable in the commit, and not in the .crate
	CRLF       []string `json:"crlf"`       // of those proven: with CRLF where the commit has LF
	LeftOut    []string `json:"left_out"`   // not in the .crate, though its author's manifest names them
}

// Logged says where the entry is, and that the log holds no other checksum for the version.
type Logged struct {
	Origin       string        `json:"origin"`
	Index        uint64        `json:"index"`
	First        uint64        `json:"first"`     // index of the entry that gave the version its one checksum
	Inherited    bool          `json:"inherited"` // that is an entry of the log before this one
	Size         int64         `json:"size"`      // of the checkpoint
	Root         string        `json:"root"`      // hex
	AsOf         time.Time     `json:"as_of"`     // when the quorum cosigned it; zero without one
	Cosignatures []Cosignature `json:"cosignatures"`
}

// Heard is what a log shows about several versions.
type Heard struct {
	Origin   string    `json:"origin"`
	Versions int       `json:"versions"` // the log holds one checksum for each of so many
	Size     int64     `json:"size"`     // of the oldest checkpoint that was shown
	AsOf     time.Time `json:"as_of"`    // when the quorum cosigned that; zero without one
}

// HeardOf sums up what each log shows about the crates that are verified, in the order of the logs' names.
func HeardOf(vs []Verdict) []Heard {
	all := []Heard{}
	for _, v := range vs {
		if v.Status != Verified {
			continue
		}
		l := v.Facts.Log
		i, known := slices.BinarySearchFunc(all, l.Origin, func(h Heard, o string) int { return strings.Compare(h.Origin, o) })
		if !known {
			all = slices.Insert(all, i, Heard{Origin: l.Origin, Size: l.Size, AsOf: l.AsOf})
		}
		if h := &all[i]; l.Size < h.Size {
			h.Size, h.AsOf = l.Size, l.AsOf
		}
		all[i].Versions++
	}
	return all
}

// String is a phrase.
func (h Heard) String() string {
	what := fmt.Sprintf("each of %d versions", h.Versions)
	if h.Versions == 1 {
		what = "the version"
	}
	return OneChecksum(client.Checkpoint{Origin: h.Origin, Size: h.Size, Witnessed: h.AsOf}, what)
}

// OneChecksum says what a log that was verified shows about a version.
func OneChecksum(c client.Checkpoint, version string) string {
	return fmt.Sprintf("%s holds one checksum for %s, %s", c.Origin, version, c.AsOf())
}

// Cosignature is a witness's, verified.
type Cosignature struct {
	Witness string    `json:"witness"` // name in the trust file
	Key     string    `json:"key"`
	Time    time.Time `json:"time"`
}

func (c *Checker) newFacts(r *client.Result) *Facts {
	prog, _ := c.proofs.Program(r.Program)
	return &Facts{
		Commit: hex.EncodeToString(r.Commit[:]), Path: r.Path,
		Coverage: CoverageOf(r),
		Program:  hex.EncodeToString(r.Program[:]), Development: prog.Development(), Origin: prog.Origin, Trailing: r.Trailing,
		NamesCommit: r.NamesCommit, Repository: r.Repository,
		Log: LoggedAt(r),
	}
}

// LoggedAt says where a verified entry is.
func LoggedAt(r *client.Result) Logged {
	l := Logged{Origin: r.Checkpoint.Origin, Index: r.Index, First: r.First.First, Inherited: r.First.Inherited,
		Size: r.Checkpoint.Size, Root: hex.EncodeToString(r.Checkpoint.Root[:]), AsOf: r.Checkpoint.Witnessed,
		Cosignatures: []Cosignature{}}
	for _, s := range r.Checkpoint.Cosignatures {
		l.Cosignatures = append(l.Cosignatures, Cosignature{s.Witness, s.KeyName, s.Time})
	}
	return l
}

// CoverageOf says what the proof of a verified crate covers.
func CoverageOf(r *client.Result) Coverage {
	return Coverage{list(r.Proven), list(r.Derived), list(r.Unproven), list(r.Executable), list(r.CRLF), list(r.LeftOut)}
}

func list(s []string) []string { return append([]string{}, s...) }

// verdictJSON is a verdict for machines. Keys are added to it, never changed.
type verdictJSON struct {
	Name      string         `json:"name"`
	Version   string         `json:"version"`
	Checksum  string         `json:"checksum,omitempty"`
	Status    string         `json:"status"`
	Demand    string         `json:"demand"`
	Because   []string       `json:"because"`
	Exception *exceptionJSON `json:"exception,omitempty"`
	Reason    string         `json:"reason,omitempty"`
	Message   string         `json:"message,omitempty"`
	Remedy    string         `json:"remedy,omitempty"`
	Cause     string         `json:"cause,omitempty"`
	By        []string       `json:"pulled_in_by,omitempty"`
	Notes     []string       `json:"notes,omitempty"`
	Registry  string         `json:"registry,omitempty"`
	Hashed    bool           `json:"hashed"`

	Trusted *TrustedPublishing `json:"trusted_publishing,omitempty"`
	*Facts
}

type exceptionJSON struct {
	Reason  string `json:"reason"`
	Expires string `json:"expires"`
}

// MarshalJSON returns one object: name, version, checksum (hex, absent if the lock
// file has none), status, demand, because; exception with reason and expires, if
// one counts; reason, message, remedy if the status is violation, unchecked or warned; cause and
// pulled_in_by, if anybody looked;
// notes, if any; registry, the index of any but cargo's default one; hashed; and if it is
// verified the keys of Facts.
func (v Verdict) MarshalJSON() ([]byte, error) {
	j := verdictJSON{Name: v.Name, Version: v.Version, Status: v.Status.String(), Demand: strings.ReplaceAll(v.Demand.Status.String(), " ", "-"),
		Because: list(v.Demand.Because), Notes: v.Notes, Facts: v.Facts, Cause: v.Cause, By: v.By,
		Registry: v.Demand.Registry, Hashed: v.Hashed(), Trusted: v.Trusted}
	if v.Checksum != ([32]byte{}) {
		j.Checksum = hex.EncodeToString(v.Checksum[:])
	}
	if e := v.Demand.Except; e != nil && v.Status == Excepted {
		j.Exception = &exceptionJSON{e.Reason, e.Expires.String()}
	}
	if e := Explain(v.Err); e != nil {
		j.Reason, j.Message, j.Remedy = e.Reason, e.Message, e.Remedy
	}
	return json.Marshal(j)
}

// Hashed says whether there was a .crate to compare with the lock file's checksum.
func (v Verdict) Hashed() bool { return v.Raw != nil || v.Path != "" }

// Counts sums up verdicts, by status.
func Counts(vs []Verdict) map[Status]int {
	m := map[Status]int{}
	for _, v := range vs {
		m[v.Status]++
	}
	return m
}

// Worst returns Violation if any verdict is one, else Unchecked if any is, else
// Verified.
func Worst(vs []Verdict) Status {
	for _, s := range []Status{Violation, Unchecked} {
		if slices.ContainsFunc(vs, func(v Verdict) bool { return v.Status == s }) {
			return s
		}
	}
	return Verified
}
