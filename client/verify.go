package client

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/index"
)

// Rules are what a reader demands beyond the policy. The zero value is the
// strictest but for age: every file proven, witnesses asked for, any age.
type Rules struct {
	// Name and Version are those of the package that the caller wants. If they
	// are not empty, an entry about another package is refused. Whoever gets the
	// .crate and the bundle from the same place must set them, or compare with
	// Result themselves: another, honestly proven crate is a valid answer otherwise.
	Name, Version string

	// Registry is where the caller has the package from, as entry.Registry returns it. If it
	// is not empty, an entry about a package of another one is refused.
	Registry string

	// AllowUnproven are the paths that a claim may leave out. A file that is
	// left out can hold anything.
	AllowUnproven []string

	// AllowCRLF says which files may have CRLF line ends where the commit has LF.
	AllowCRLF CRLF

	// MaxAge bounds how long ago the quorum cosigned the checkpoint; 0 for any
	// age. A bundle stays true as it ages: this is for those who want to know
	// that they are shown the log as it is today.
	MaxAge time.Duration

	// Now is the time to measure MaxAge at; zero for the clock's.
	Now time.Time

	// AllowNoWitnesses accepts a policy that says "quorum none". The log can
	// then show each reader another tree. For development only.
	AllowNoWitnesses bool

	// Limits bound the .crate; the zero value stands for crate.DefaultLimits.
	Limits crate.Limits
}

// CRLF says which files of a .crate a reader accepts that have CRLF line ends where the commit
// has LF, and are the same else. rustc reads both alike, but include_str and include_bytes do not.
type CRLF int

// What a reader accepts.
const (
	NoCRLF         CRLF = iota // none
	AttributedCRLF             // those of which a .gitattributes of the commit says so that the claim lists
	AnyCRLF                    // all, as from a checkout on Windows
)

// DefaultRules returns the rules of a reader without rules of their own: only
// Cargo.lock may be unproven, which cargo ignores when a crate is used as a
// dependency. (It obeys it in cargo install --locked.) Files may have CRLF line ends if the
// commit's .gitattributes say so. The crate must be of cargo's default registry.
//
// A claim may leave out Cargo.toml too, if it does not follow from Cargo.toml.orig, or both.
// Then THE DEPENDENCIES AND THE BUILD SCRIPT THAT IT NAMES ARE NOT PROVEN, and only
// rules that allow it by name accept the crate.
func DefaultRules() Rules {
	return Rules{Registry: entry.DefaultRegistry, AllowUnproven: []string{"Cargo.lock"}, AllowCRLF: AttributedCRLF}
}

func (r Rules) now() time.Time {
	if r.Now.IsZero() {
		return time.Now()
	}
	return r.Now
}

// Result is what was verified, in the words of people.
type Result struct {
	Entry      *entry.Entry
	EntryBytes []byte // the leaf

	Registry      string // entry.DefaultRegistry, or the index of another one
	Name, Version string
	SHA256        [sha256.Size]byte // of the .crate
	Commit        [20]byte          // git commit id
	Path          string            // of the package in the repository, "" for its root
	Unproven      []string          // files that the claim leaves out, allowed by the rules
	Executable    []string          // proven files that are executable in the commit, and not in the .crate
	CRLF          []string          // proven files with CRLF line ends where the commit has LF
	Program       [32]byte          // id of the program whose proof it is

	Index      uint64     // of the entry in the log
	Checkpoint Checkpoint // of the log: origin, size, root, cosignatures with their times

	// First says which entry gave the version its one checksum in this log, which is SHA256.
	First index.Version

	// What only Verify sets; VerifyBundle sees no .crate.
	Proven  []string // files that stand in the commit
	Derived []string // files that follow from proven ones: Cargo.toml, .cargo_vcs_info.json
	LeftOut []string // files that the author's manifest names, and the .crate lacks
	// Attributed are those of CRLF of which a .gitattributes of the commit says so.
	Attributed []string
	// NamesCommit says that the .crate itself names the commit. If it does not, all that is
	// known is that its files are in the commit: whoever made the claim chose it.
	NamesCommit bool
	// Repository is what the .crate's Cargo.toml says: claimed, not proven. "" if nothing.
	Repository string
	Trailing   int // bytes after the .crate's archive, which no tool reads
}

// Verify decides whether raw, the bytes of a .crate, is what the bundle's entry
// says it is, for a reader with this policy and these rules. The package comment
// tells the order of the checks; each fails with an *Error of its own reason. A
// Result comes only without an error.
func Verify(raw, bundle []byte, policy *Policy, pv entry.Verifier, rules Rules) (*Result, error) {
	lim := cmp.Or(rules.Limits, crate.DefaultLimits)
	if int64(len(raw)) > lim.Compressed {
		return nil, refuse(ErrFiles, "the .crate has %d bytes, at most %d are read", len(raw), lim.Compressed)
	}
	sum := sha256.Sum256(raw)
	read := func(name, version string) (*crate.Crate, error) {
		return crate.ReadHashed(raw, sum, name, version, lim)
	}
	return VerifyCrate(sum, read, bundle, policy, pv, rules)
}

// VerifyCrate is Verify of a .crate that the caller has hashed, so that it is hashed and
// unpacked once, whoever else needs that. read unpacks it; it is called at most once, and
// only if the log holds an entry about these bytes and its proof holds.
func VerifyCrate(sum [sha256.Size]byte, read func(name, version string) (*crate.Crate, error),
	bundle []byte, policy *Policy, pv entry.Verifier, rules Rules) (*Result, error) {
	r, err := OpenBundle(bundle, policy, rules)
	if err != nil {
		return nil, err
	}
	return r.verifyCrate(sum, read, pv, rules)
}

// VerifyUnlogged is Verify of an entry that stands in no log yet. It says that proof and claim hold of
// the .crate, and satisfy the rules; not that anybody else was shown the entry. Index and Checkpoint
// of the result are empty.
func VerifyUnlogged(raw, entryBytes []byte, pv entry.Verifier, rules Rules) (*Result, error) {
	lim := cmp.Or(rules.Limits, crate.DefaultLimits)
	switch {
	case len(entryBytes) > entry.MaxSize:
		return nil, refuse(ErrEntry, "it has %d bytes, at most %d are read", len(entryBytes), entry.MaxSize)
	case int64(len(raw)) > lim.Compressed:
		return nil, refuse(ErrFiles, "the .crate has %d bytes, at most %d are read", len(raw), lim.Compressed)
	}
	e, err := entry.Parse(entryBytes)
	if err != nil {
		return nil, refuseErr(ErrEntry, err, "the entry")
	}
	r, err := about(e, entryBytes, rules)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	read := func(name, version string) (*crate.Crate, error) {
		return crate.ReadHashed(raw, sum, name, version, lim)
	}
	return r.verifyCrate(sum, read, pv, rules)
}

// verifyCrate verifies all but what the log shows.
func (r *Result) verifyCrate(sum [sha256.Size]byte, read func(name, version string) (*crate.Crate, error),
	pv entry.Verifier, rules Rules) (*Result, error) {
	s := r.Entry.Subject
	if sum != s.SHA256 {
		return nil, refuse(ErrSubject, "the entry is about %s %s with SHA-256 %x, this .crate has %x", s.Name,
			s.Version, s.SHA256, sum)
	}
	src, chain, err := r.checkProof(pv)
	if err != nil {
		return nil, err
	}
	c, err := readSubject(read, s)
	if err != nil {
		return nil, err
	}
	r.Trailing = c.Trailing
	list, err := c.Check(r.Entry.Subject, src)
	switch {
	case errors.Is(err, crate.ErrSubject):
		return nil, refuseErr(ErrSubject, err, "entry %d", r.Index)
	case err != nil:
		return nil, refuseErr(ErrFiles, err, "%s %s", r.Name, r.Version)
	}
	if err := chain.Check(list.Bytes); err != nil {
		return nil, refuseErr(ErrProof, err, "%s %s", r.Name, r.Version)
	}
	r.sort(c.Files)
	if r.Attributed, err = c.Attributed(src); err != nil {
		return nil, refuseErr(ErrFiles, err, "%s %s", r.Name, r.Version)
	}
	r.LeftOut, r.NamesCommit, r.Repository = c.LeftOut(), c.NamesCommit(), c.Repository()
	if err := r.allowCRLF(rules.AllowCRLF); err != nil {
		return nil, err
	}
	return r.allow(rules)
}

// allowCRLF applies the reader's rule about line ends.
func (r *Result) allowCRLF(rule CRLF) error {
	refused := slices.DeleteFunc(slices.Clone(r.CRLF), func(f string) bool {
		return rule == AnyCRLF || rule == AttributedCRLF && slices.Contains(r.Attributed, f)
	})
	if len(refused) == 0 {
		return nil
	}
	why := "which the rules do not allow"
	if rule == AttributedCRLF {
		why = "and no .gitattributes of the commit that the claim lists says so; the rules allow only that"
	}
	return refuse(ErrCRLF, "%d files of %s %s have CRLF line ends where the commit has LF (the first is %s), %s",
		len(refused), r.Name, r.Version, refused[0], why)
}

// sort tells proven from derived files. Check has accepted them all, so what is
// derived is known by name: a manifest is if there is the original beside it.
func (r *Result) sort(files []crate.File) {
	orig := slices.ContainsFunc(files, func(f crate.File) bool { return f.Path == "Cargo.toml.orig" })
	for _, f := range files {
		switch {
		case slices.Contains(r.Unproven, f.Path):
		case f.Path == ".cargo_vcs_info.json", f.Path == "Cargo.toml" && orig:
			r.Derived = append(r.Derived, f.Path)
		default:
			r.Proven = append(r.Proven, f.Path)
		}
	}
}

// VerifyBundle is Verify without the .crate: everything that the bundle can show
// by itself (entry.Chain). It says neither that the commit holds the files of the claim, nor
// that any .crate has them. It is for a log that checks what it is about to hand out.
func VerifyBundle(bundle []byte, policy *Policy, pv entry.Verifier, rules Rules) (*Result, error) {
	r, err := OpenBundle(bundle, policy, rules)
	if err != nil {
		return nil, err
	}
	if _, _, err := r.checkProof(pv); err != nil {
		return nil, err
	}
	return r.allow(rules)
}

// OpenBundle verifies that a log of the policy holds the entry of a bundle, whatever it claims, and that it is
// not void: its version has this checksum in the log. It looks neither at the claim nor at the proof. Of the Result
// it sets what does not come from them.
func OpenBundle(bundle []byte, policy *Policy, rules Rules) (*Result, error) {
	b, err := ParseBundle(bundle)
	if err != nil {
		return nil, err
	}
	c, err := policy.CheckCheckpointRules(b.Checkpoint, rules)
	if err != nil {
		return nil, err
	}
	e, err := b.entry()
	if err != nil {
		return nil, err
	}
	if err := includes(c, b.Index, b.Entry, b.Hashes, ErrInclusion); err != nil {
		return nil, err
	}
	seal, err := b.Seal.Check(c)
	if err != nil {
		return nil, err
	}
	v, err := b.Version.CheckEntry(seal, e.Subject, b.Index)
	if err != nil {
		return nil, err
	}
	r, err := about(e, b.Entry, rules)
	if err != nil {
		return nil, err
	}
	r.Index, r.Checkpoint, r.First = b.Index, c, v
	return r, nil
}

// about begins the result of an entry, which must be about what the reader wants.
func about(e *entry.Entry, entryBytes []byte, rules Rules) (*Result, error) {
	r := &Result{Entry: e, EntryBytes: entryBytes, Registry: e.Subject.Registry, Name: e.Subject.Name,
		Version: e.Subject.Version, SHA256: e.Subject.SHA256, Program: e.Proof.Program}
	if rules.Name != "" && rules.Name != r.Name || rules.Version != "" && rules.Version != r.Version {
		return nil, refuse(ErrSubject, "the entry is about %s %s, wanted is %s", r.Name, r.Version,
			strings.TrimSpace(rules.Name+" "+rules.Version))
	}
	if rules.Registry != "" && rules.Registry != r.Registry {
		return nil, refuse(ErrSubject, "the entry is about %s %s of the registry %q, wanted is that of %q", r.Name,
			r.Version, r.Registry, rules.Registry)
	}
	return r, nil
}

// readSubject reads the .crate that the subject names. Hash and proof come first:
// nothing is inflated that nobody vouched for.
func readSubject(read func(name, version string) (*crate.Crate, error), s entry.Subject) (*crate.Crate, error) {
	c, err := read(s.Name, s.Version)
	if err != nil {
		return nil, refuseErr(ErrFiles, err, "%s %s", s.Name, s.Version)
	}
	if c.Name != s.Name || c.Version != s.Version || c.SHA256 != s.SHA256 {
		return nil, refuse(ErrSubject, "the entry is about %s %s, this .crate is %s %s", s.Name, s.Version, c.Name,
			c.Version)
	}
	return c, nil
}

// checkProof has the proof verified, but for the list of files, and takes the claim apart.
func (r *Result) checkProof(pv entry.Verifier) (*entry.Source, entry.Chain, error) {
	if pv == nil {
		return nil, nil, refuse(ErrProgram, "no proof verifier was given, so no program is accepted")
	}
	src, ok := r.Entry.Claim.(*entry.Source)
	if !ok {
		return nil, nil, refuse(ErrEntry, "the claim is of the kind %q, this version knows \"source\" only",
			r.Entry.Claim.Kind())
	}
	chain, err := pv.Chain(r.Entry)
	switch {
	case errors.Is(err, entry.ErrUnknownProgram):
		return nil, nil, refuseErr(ErrProgram, err, "the proof of %s %s is of the program %x", r.Name, r.Version, r.Program)
	case err != nil:
		return nil, nil, refuseErr(ErrProof, err, "%s %s", r.Name, r.Version)
	}
	r.Commit, r.Path, r.Unproven = src.Commit, src.Path, slices.Clone(src.Unproven)
	r.Executable, r.CRLF = slices.Clone(src.Executable), slices.Clone(src.CRLF)
	return src, chain, nil
}

// allow applies the reader's rule about unproven files.
func (r *Result) allow(rules Rules) (*Result, error) {
	var refused []string
	for _, path := range r.Unproven {
		if !slices.Contains(rules.AllowUnproven, path) {
			refused = append(refused, path)
		}
	}
	if len(refused) > 0 {
		return nil, refuse(ErrUnproven, "the claim about %s %s leaves out %q, which the rules do not allow", r.Name,
			r.Version, refused)
	}
	return r, nil
}
