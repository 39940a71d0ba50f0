// Package verify is what a reader's browser computes about one entry: the same checks as "cargo zkp verify",
// of files that the page hands over, without asking anybody. Its program for browsers is wasm/, which
// pack/ builds into the file that a monitor serves.
//
// Nothing here knows where a file came from. A trust file or program that a monitor served says whom
// that monitor believes: it is the page that must tell whose they were.
package verify

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/opening"
	"cratelog/proofcheck"
)

// MaxPrograms is the most programs that a question may name.
const MaxPrograms = 16

// Question is what a page asks. Bundle and Trust are required.
type Question struct {
	Bundle  []byte `json:"-"` // of the entry; see client.Bundle
	Crate   []byte `json:"-"` // the .crate; nil if there is none at hand
	Opening []byte `json:"-"` // of the claim; nil if there is none at hand; only looked at with the .crate

	Trust    string `json:"trust"`    // c2sp.org/tlog-policy
	Programs string `json:"programs"` // program files, one after the other, beside those that ship
	// Development accepts development keys, with which anybody forges, and trust files without witnesses.
	Development bool `json:"development"`

	// What the reader believes to look at: the entry must be about it.
	Registry string `json:"registry"`
	Name     string `json:"name"`
	Version  string `json:"version"`
}

// The states of an answer.
const (
	Verified = "verified" // with the .crate: all was checked
	Logged   = "logged"   // the bundle alone: no file was checked
	Refused  = "refused"
)

// Answer is what came out.
type Answer struct {
	State  string `json:"state"`
	Unsafe bool   `json:"unsafe"` // it rests on a key with which anybody can forge, or on no witness
	Title  string `json:"title"`
	Text   string `json:"text"` // sentences: of a refusal what is wrong, and what to do
	Steps  []Step `json:"steps"`
	Facts  []Fact `json:"facts"` // about what was accepted; none of a refusal
}

// Step is one check, in the order in which they are made.
type Step struct {
	What  string `json:"what"`
	State string `json:"state"` // "ok", "failed", or "not checked"
	Why   string `json:"why"`   // what else to say, or ""
}

// Fact is one thing to know, for people.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// The steps, by number.
const (
	stepTrust = iota
	stepBundle
	stepCheckpoint
	stepEntry
	stepInclusion
	stepSealed
	stepSubject
	stepProgram
	stepProof
	stepFiles
	stepAllowed
	stepOpening
	steps
)

var stepWords = [steps]string{
	stepTrust:      "The trust file and the programs can be used",
	stepBundle:     "The bundle is well formed",
	stepCheckpoint: "The log signed the checkpoint, and the witnesses' quorum cosigned it",
	stepEntry:      "The entry is well formed",
	stepInclusion:  "The tree that was signed holds the entry",
	stepSealed:     "The tree ends in a seal, whose index gives the version this one checksum",
	stepSubject:    "The entry is about this crate",
	stepProgram:    "The proof is of a program that is accepted",
	stepProof:      "The proof holds",
	stepFiles:      "The .crate's files are those of the claim and of the proof",
	stepAllowed:    "Nothing is left unproven that you do not allow",
	stepOpening:    "Git's own objects show the claim too",
}

// stepOf is where a refusal happened.
var stepOf = []struct {
	reason error
	step   int
}{
	{client.ErrPolicy, stepTrust}, {client.ErrBundle, stepBundle}, {client.ErrCheckpoint, stepCheckpoint},
	{client.ErrLog, stepCheckpoint}, {client.ErrLogSignature, stepCheckpoint}, {client.ErrCosignature, stepCheckpoint},
	{client.ErrQuorum, stepCheckpoint}, {client.ErrNoWitnesses, stepCheckpoint}, {client.ErrStale, stepCheckpoint},
	{client.ErrEntry, stepEntry}, {client.ErrInclusion, stepInclusion}, {client.ErrSeal, stepSealed},
	{client.ErrVoid, stepSealed}, {client.ErrSubject, stepSubject},
	{client.ErrProgram, stepProgram}, {client.ErrProof, stepProof}, {client.ErrFiles, stepFiles},
	{client.ErrCRLF, stepAllowed}, {client.ErrUnproven, stepAllowed},
}

// Check answers a question. It panics on nothing that the question holds.
func Check(q *Question) *Answer {
	c := &check{q: q}
	for i, words := range stepWords {
		c.steps[i] = Step{What: words, State: "not checked"}
	}
	a, err := c.run()
	if err != nil {
		return c.refuse(err)
	}
	return a
}

// check is one question on its way.
type check struct {
	q      *Question
	steps  [steps]Step
	policy *client.Policy
	proofs *proofcheck.Verifier
	rules  client.Rules
	crate  *crate.Crate // once it was read
}

// failure is an error at a step that is not client's.
type failure struct {
	step int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }

// refuse makes the answer of an error: what was checked before it held.
func (c *check) refuse(err error) *Answer {
	at := stepTrust
	var f *failure
	if errors.As(err, &f) {
		at = f.step
	}
	for _, s := range stepOf {
		if errors.Is(err, s.reason) {
			at = s.step
			break
		}
	}
	c.passed(at)
	c.steps[at].State, c.steps[at].Why = "failed", err.Error()
	return &Answer{State: Refused, Title: "Refused", Text: err.Error(), Steps: c.steps[:], Facts: []Fact{}}
}

// passed notes that all steps before one held; those about files only if there was a .crate.
func (c *check) passed(before int) {
	for i := range before {
		if (i == stepFiles || i == stepOpening) && c.crate == nil {
			continue
		}
		c.steps[i].State = "ok"
	}
}

func (c *check) run() (*Answer, error) {
	q := c.q
	var err error
	if c.policy, err = client.ParsePolicy([]byte(q.Trust)); err != nil {
		return nil, err
	}
	if c.proofs, err = programs(q.Programs, q.Development); err != nil {
		return nil, &failure{stepTrust, err}
	}
	c.rules = client.DefaultRules()
	c.rules.Registry, c.rules.Name, c.rules.Version = q.Registry, q.Name, q.Version
	c.rules.AllowNoWitnesses = q.Development
	if e := claimOf(q.Bundle); e != nil {
		if claim, ok := e.Claim.(*entry.Build); ok {
			return c.build(claim)
		}
	}
	if q.Crate == nil {
		r, err := client.VerifyBundle(q.Bundle, c.policy, c.proofs, c.rules)
		if err != nil {
			return nil, err
		}
		return c.answer(r), nil
	}
	if n := int64(len(q.Crate)); n > crate.DefaultLimits.Compressed {
		return nil, &failure{stepFiles, fmt.Errorf("the .crate has %d bytes, at most %d are read", n,
			crate.DefaultLimits.Compressed)}
	}
	sum := sha256.Sum256(q.Crate)
	read := func(name, version string) (*crate.Crate, error) {
		got, err := crate.ReadHashed(q.Crate, sum, name, version, crate.DefaultLimits)
		c.crate = got
		return got, err
	}
	r, err := client.VerifyCrate(sum, read, q.Bundle, c.policy, c.proofs, c.rules)
	if err != nil {
		return nil, err
	}
	if err := c.open(r); err != nil {
		return nil, err
	}
	return c.answer(r), nil
}

// programs is proofcheck.Load of files that are at hand.
func programs(files string, development bool) (*proofcheck.Verifier, error) {
	if len(files) > MaxPrograms*proofcheck.MaxProgramFile {
		return nil, fmt.Errorf("the program files have %d bytes, at most %d are read", len(files),
			MaxPrograms*proofcheck.MaxProgramFile)
	}
	all, err := proofcheck.Embedded()
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(strings.NewReader(files)); ; {
		var text json.RawMessage
		switch err := d.Decode(&text); {
		case err == io.EOF:
			return accepted(all, development)
		case err != nil:
			return nil, fmt.Errorf("program file: %w", err)
		case len(all) > MaxPrograms:
			return nil, fmt.Errorf("there are more than %d program files", MaxPrograms)
		}
		p, err := proofcheck.ParseProgram(text)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

// accepted is the verifier of programs, each taken once.
func accepted(all []proofcheck.Program, development bool) (*proofcheck.Verifier, error) {
	known := map[[32]byte]bool{}
	all = slices.DeleteFunc(all, func(p proofcheck.Program) bool {
		twice := known[p.ID()]
		known[p.ID()] = true
		return twice || p.Development() && !development
	})
	return proofcheck.New(all)
}

// claimOf returns the entry of a bundle, of which nothing was checked, or nil.
func claimOf(bundle []byte) *entry.Entry {
	_, e, _ := client.UnverifiedEntry(bundle)
	return e
}

// open compares git's own objects with the claim, if they are at hand.
func (c *check) open(r *client.Result) error {
	claim, ok := r.Entry.Claim.(*entry.Source)
	if !ok || c.q.Opening == nil {
		return nil
	}
	list, err := c.crate.List(claim)
	if err != nil {
		return &failure{stepFiles, err}
	}
	o, err := opening.Check(c.q.Opening, claim, list)
	switch {
	case errors.Is(err, opening.ErrContradiction):
		return &failure{stepOpening, fmt.Errorf("%w. The proof was forged: do not use the crate, and give "+
			"bundle and opening to a monitor", err)}
	case err != nil:
		return &failure{stepOpening, fmt.Errorf("the opening shows nothing: %w. Get it again from the log, or "+
			"check without one", err)}
	}
	c.steps[stepOpening] = Step{What: stepWords[stepOpening], State: "ok",
		Why: "By SHA-1 alone: for this no key must be believed."}
	if len(o.LeftOut) > 0 {
		c.steps[stepOpening].Why += " The commit's directories also hold, and the .crate does not: " +
			strings.Join(o.LeftOut, ", ")
	}
	return nil
}

// notTold is what no bundle shows.
const notTold = " Not checked: that the log shows everybody the same tree, and that its index is that of all its " +
	"entries. That is what witnesses and monitors are for."

// oneChecksum says what the sealed index shows of the version.
func oneChecksum(r *client.Result) string {
	return fmt.Sprintf("%s holds one checksum for %s %s, %s.", r.Checkpoint.Origin, r.Name, r.Version, r.Checkpoint.AsOf())
}

// answer is that of a result.
func (c *check) answer(r *client.Result) *Answer {
	opened := c.steps[stepOpening]
	c.passed(steps)
	c.steps[stepOpening] = opened
	a := &Answer{State: Logged, Title: "Your browser checked: logged, cosigned, these git objects exist; the crate's " +
		"files were not checked",
		Text: "The proof shows that objects of this commit exist and hold a list of files, which only the " +
			".crate can be compared with. " +
			"Drop the .crate to have it verified. " + oneChecksum(r) + notTold, Steps: c.steps[:]}
	if c.crate != nil {
		a.State, a.Title = Verified, "Verified by your browser"
		a.Text = fmt.Sprintf("Every proven file of this .crate is, byte for byte, the file at the same place of the "+
			"git commit %x. ", r.Commit) + oneChecksum(r) + notTold
	}
	c.trusted(a, r.Program)
	a.Facts = []Fact{
		{"Crate", r.Name + " " + r.Version}, {"Registry", r.Registry}, {"SHA-256 of the .crate", fmt.Sprintf("%x", r.SHA256)},
		{"Git commit", fmt.Sprintf("%x", r.Commit)}, {"Place in the repository", orElse(r.Path, "its root")},
	}
	if c.crate != nil {
		named := "no: whoever made the claim chose it"
		if r.NamesCommit {
			named = "yes"
		}
		a.Facts = append(a.Facts, Fact{"Repository", orElse(r.Repository, "none") + " (claimed by the crate, not proven)"},
			Fact{"The .crate names this commit", named},
			Fact{"Proven files", fmt.Sprint(len(r.Proven))}, Fact{"Derived", listed(r.Derived)})
	}
	a.Facts = append(a.Facts, Fact{"Not proven", listed(r.Unproven)})
	for _, more := range []struct {
		name  string
		files []string
	}{
		{"CRLF line ends where the commit has LF", r.CRLF}, {"Executable in the commit only", r.Executable},
		{"Named by the manifest and not in the .crate", r.LeftOut},
	} {
		if len(more.files) > 0 {
			a.Facts = append(a.Facts, Fact{more.name, listed(more.files)})
		}
	}
	a.Facts = append(a.Facts, c.where(r)...)
	return a
}

// trusted says it if what was accepted shows nothing against a forger.
func (c *check) trusted(a *Answer, program [32]byte) {
	if p, ok := c.proofs.Program(program); ok && p.Development() {
		a.Unsafe = true
		a.Title = "UNSAFE: a development key. " + a.Title
		a.Text = "Anyone can compute this key's secrets and forge such a proof: it shows how things work, and " +
			"proves nothing. " + a.Text
	}
	if !c.policy.NeedsWitnesses() {
		a.Unsafe = true
		a.Title = "UNSAFE: no witnesses. " + a.Title
		a.Text = "The trust file asks for no witness: the log can show each reader another tree. " + a.Text
	}
}

// where says where an entry stands, and who vouches for that.
func (c *check) where(r *client.Result) []Fact {
	at, program := r.Checkpoint, r.Program
	var by []string
	for _, s := range at.Cosignatures {
		t := "at an unknown time"
		if !s.Time.IsZero() {
			t = s.Time.UTC().Format(time.DateTime) + " UTC"
		}
		by = append(by, s.Witness+", "+t)
	}
	facts := []Fact{{"Log", at.Origin}, {"Entry", fmt.Sprintf("%d of %d", r.Index, at.Size)},
		{"First about this version", r.First.By()}, {"Root", fmt.Sprintf("%x", at.Root[:])},
		{"Cosigned by", orElse(strings.Join(by, "; "), "nobody")}, {"Program", fmt.Sprintf("%x", program)}}
	if p, ok := c.proofs.Program(program); ok {
		facts = append(facts, Fact{"Origin of its key", p.Trust()})
	}
	return facts
}

// build answers about a builder's claim, of which a bundle shows less.
func (c *check) build(claim *entry.Build) (*Answer, error) {
	c.steps[stepProof].What = "The builder is a member of the set, and says this"
	r, err := client.OpenBundle(c.q.Bundle, c.policy, c.rules)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(c.q.Crate); c.q.Crate != nil && sum != r.SHA256 {
		return nil, &failure{stepSubject, fmt.Errorf("the entry is about %s %s with SHA-256 %x, this .crate has %x",
			r.Name, r.Version, r.SHA256, sum)}
	}
	if _, err := c.proofs.Chain(r.Entry); err != nil {
		at := stepProof
		if errors.Is(err, entry.ErrUnknownProgram) {
			at = stepProgram
		}
		return nil, &failure{at, err}
	}
	c.passed(stepFiles)
	who := "a hidden member"
	if name, err := build.VerifyNamed(r.Entry); err == nil {
		who = name
	}
	a := &Answer{State: Logged, Title: "Your browser checked: logged, cosigned, and said by a member of " +
		"this set of builders",
		Text: "That the binary was built so is the builder's word, and who is in the set is for you to " +
			"know. Neither the binary, nor the crate's source, nor what was compiled into it was checked: " +
			"cargo zkp verify --binary does all that. " + oneChecksum(r) + notTold, Steps: c.steps[:]}
	c.trusted(a, r.Program)
	a.Facts = append([]Fact{
		{"Crate", r.Name + " " + r.Version}, {"Registry", r.Registry}, {"SHA-256 of the .crate", fmt.Sprintf("%x", r.SHA256)},
		{"Binary", claim.Binary + " for " + claim.Target}, {"SHA-256 of the binary", fmt.Sprintf("%x", claim.Artifact)},
		{"Builder", who}, {"Root of the set", fmt.Sprintf("%x", claim.Root)},
	}, c.where(r)...)
	return a, nil
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func listed(paths []string) string { return orElse(strings.Join(paths, ", "), "nothing") }
