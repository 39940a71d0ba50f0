package evidence

import (
	"bytes"
	"errors"
	"fmt"

	"cratelog/build"
	"cratelog/entry"
)

// Origins is what a verifier of proofs may know beside: who can make false ones. Without it no hidden
// builder is convicted.
type Origins interface {
	// Forgers says who can make false proofs of an accepted program: "" if that takes all who
	// contributed to a phase of the ceremony of its keys, together.
	Forgers(program [32]byte) string
}

// NewBuilderContradiction arranges evidence that one builder says two things of one build: in two
// entries, in any order, whose proofs hold, and of which a log can only include one. sets are the files
// of the sets that their roots are of, in any order; one that both are of stands there once. program is
// the file of the program of hidden builders; nil for builders by name, and for one that ships.
func NewBuilderContradiction(a, b []byte, sets [][]byte, program []byte, m Meta) (*Evidence, error) {
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	e := &Evidence{Kind: BuilderContradiction, Statements: [][]byte{bytes.Clone(a), bytes.Clone(b)}, Program: program}
	all, err := e.statements()
	if err != nil {
		return nil, err
	}
	for i, s := range all {
		if i > 0 && s.claim.Root == all[0].claim.Root {
			continue
		}
		for _, text := range sets {
			if set, err := build.ParseSet(text); err == nil && set.Root() == s.claim.Root {
				e.Sets = append(e.Sets, bytes.Clone(text))
				break
			}
		}
	}
	return e.finish(m)
}

// statement is one of the two entries of a contradiction.
type statement struct {
	entry   *entry.Entry
	claim   *entry.Build
	request [32]byte
}

// Statement is what both statements of a contradiction are about.
type Statement struct {
	Subject entry.Subject
	Claim   *entry.Build // the first one's
	Request [32]byte
}

// Statement returns what a BuilderContradiction is about.
func (e *Evidence) Statement() (Statement, error) {
	two, err := e.statements()
	if err != nil {
		return Statement{}, err
	}
	return Statement{two[0].entry.Subject, two[0].claim, two[0].request}, nil
}

// hidden says whether the statement does not name its builder.
func (s statement) hidden() bool { return s.entry.Proof.Program != build.NamedProgram }

// statements parses the two entries, which must be of builds. It checks nothing between them.
func (e *Evidence) statements() (out [2]statement, err error) {
	if len(e.Statements) != 2 {
		return out, malformed("it holds %d statements, not two", len(e.Statements))
	}
	for i, b := range e.Statements {
		x, err := entry.Parse(b)
		if err != nil {
			return out, malformed("statement %d is no entry: %w", i+1, err)
		}
		claim, ok := x.Claim.(*entry.Build)
		if !ok {
			return out, malformed("statement %d is of the kind %q, and not about a build", i+1, x.Claim.Kind())
		}
		request, err := claim.Request(x.Subject)
		if err != nil {
			return out, malformed("statement %d: %w", i+1, err)
		}
		out[i] = statement{x, claim, request}
	}
	return out, nil
}

// checkStatements checks the form of a contradiction.
func (e *Evidence) checkStatements() error {
	if len(e.Statements) != 2 || bytes.Compare(e.Statements[0], e.Statements[1]) >= 0 {
		return malformed("its statements are not two that differ, the one that is smaller as bytes first")
	}
	for _, b := range e.Statements {
		if len(b) > entry.MaxSize {
			return malformed("a statement has %d bytes, an entry has at most %d", len(b), entry.MaxSize)
		}
	}
	if n := len(e.Sets); n < 1 || n > 2 {
		return malformed("it holds %d set files, not one or two", n)
	}
	for _, b := range e.Sets {
		if len(b) > build.MaxSet || !isText(b) {
			return malformed("a set file has more than %d bytes, or is not text that ends in a newline", build.MaxSet)
		}
	}
	two, err := e.statements()
	if err == nil && e.Program != nil && !two[0].hidden() && !two[1].hidden() {
		err = malformed("builders who sign with their names need no program")
	}
	return err
}

// accused is the builder who says two things.
type accused struct {
	name  string // in the set file of the first statement
	key   string // his vkey, or his public value in hex
	where string // the sets that he is in
}

// contradiction checks everything about a contradiction but the proofs: that, if they hold, one builder
// says two things of one build, and who he is.
func (e *Evidence) contradiction() (two [2]statement, who accused, err error) {
	if two, err = e.statements(); err != nil {
		return two, who, err
	}
	a, b := two[0], two[1]
	switch {
	case a.entry.Subject != b.entry.Subject:
		return two, who, notProven("the statements are about two crates")
	case a.request != b.request:
		return two, who, notProven("the statements are about two builds: another binary, target, toolchain, environment, " +
			"recipe or lock file may well give another result")
	case a.claim.Tag != b.claim.Tag:
		return two, who, notProven("the statements have two tags, which one builder does not have for one build; " +
			"two builders may disagree")
	case a.claim.Result() == b.claim.Result():
		return two, who, notProven("both statements say the same")
	case a.hidden() != b.hidden():
		return two, who, notProven("one statement is by name, and the other one is not")
	}
	sets, err := e.setsOf(two)
	if err != nil {
		return two, who, err
	}
	if a.hidden() {
		who, err = unmask(two, sets)
	} else {
		who, err = signers(two, sets)
	}
	return two, who, err
}

// setsOf returns the set of each statement.
func (e *Evidence) setsOf(two [2]statement) (sets [2]*build.Set, err error) {
	if one := two[0].claim.Root == two[1].claim.Root; one != (len(e.Sets) == 1) {
		return sets, notProven("it does not hold each set of the statements once")
	}
	for i, s := range two {
		text := e.Sets[min(i, len(e.Sets)-1)]
		set, err := build.ParseSet(text)
		if err != nil {
			return sets, notProven("the set file of statement %d cannot be read: %w", i+1, err)
		}
		if set.Root() != s.claim.Root {
			return sets, notProven("the set file %d has not the root that statement %d names", min(i, len(e.Sets)-1)+1, i+1)
		}
		if (set.Kind == build.Hidden) != s.hidden() {
			return sets, notProven("the set of statement %d is %s, and the statement's proof is not", i+1, set.Kind)
		}
		sets[i] = set
	}
	return sets, nil
}

// unmask finds the hidden builder.
func unmask(two [2]statement, sets [2]*build.Set) (accused, error) {
	share1, err1 := build.SharePart(two[0].entry.Proof.Parts)
	share2, err2 := build.SharePart(two[1].entry.Proof.Parts)
	if err := errors.Join(err1, err2); err != nil {
		return accused{}, notProven("no builder can be found: %w", err)
	}
	public, err := build.Unmask(two[0].claim.Result(), share1, two[1].claim.Result(), share2)
	if err != nil {
		return accused{}, notProven("no builder can be found of the two shares: %w", err)
	}
	return find(sets, fmt.Sprintf("%x", public), func(m build.Member) bool { return m.Public == public })
}

// signers checks that both statements name the same builder.
func signers(two [2]statement, sets [2]*build.Set) (accused, error) {
	for i, s := range two {
		// Here already: it needs no program.
		if _, err := build.VerifyNamed(s.entry); err != nil {
			return accused{}, notProven("the signature of statement %d does not hold: %w", i+1, err)
		}
	}
	vkey := string(two[0].entry.Proof.Parts[0])
	if string(two[1].entry.Proof.Parts[0]) != vkey {
		return accused{}, notProven("the statements are signed with two keys")
	}
	return find(sets, vkey, func(m build.Member) bool { return m.VKey == vkey })
}

// find finds a member who must be in both sets.
func find(sets [2]*build.Set, key string, is func(build.Member) bool) (who accused, err error) {
	for i, set := range sets {
		at := -1
		for j, m := range set.Members {
			if m.Name != "" && is(m) {
				at = j
			}
		}
		if at < 0 {
			return who, notProven("the set %s does not have the builder whom the statements come to", set.Name)
		}
		m, where := set.Members[at], fmt.Sprintf("%s (root %x, set file %x)", set.Name, set.Root(), set.Digest())
		switch {
		case i == 0:
			who = accused{m.Name, key, where}
		case where != who.where:
			who.where += fmt.Sprintf(", and as %s of the set %s", m.Name, where)
		}
	}
	return who, nil
}

// builderText says what a contradiction shows if the proofs hold.
func builderText(two [2]statement, who accused) string {
	a, b := two[0], two[1]
	return fmt.Sprintf("The builder %s of the set %s said two things of one build: that the binary %s of %s %s, with the "+
		"checksum %x, built for %s with the toolchain %x in the environment %x, has the SHA-256 %x, with the list of compiled "+
		"crates %x, and that it has the SHA-256 %x, with the list %x. His key is %s. An honest builder builds twice before he "+
		"says anything, and says one thing of a build.", clip(who.name), who.where, a.claim.Binary, a.entry.Subject.Name,
		a.entry.Subject.Version, a.entry.Subject.SHA256, a.claim.Target, a.claim.Toolchain, a.claim.Environment,
		a.claim.Artifact, a.claim.Compiled, b.claim.Artifact, b.claim.Compiled, who.key)
}

// verifyContradiction decides whether a builder is convicted.
func (e *Evidence) verifyContradiction(pv entry.Verifier) (Conviction, error) {
	if err := e.check(); err != nil {
		return Conviction{}, err
	}
	two, who, err := e.contradiction()
	if err != nil {
		return Conviction{}, err
	}
	c := Conviction{Kind: e.Kind, Transferable: true, Who: fmt.Sprintf("builder %s", who.name), What: builderText(two, who)}
	if !two[0].hidden() {
		c.What += " Both statements bear his signature, and the name is part of his key."
		return c, nil
	}
	if pv == nil {
		return Conviction{}, fmt.Errorf("%w: no proof verifier was given", ErrUndecided)
	}
	for i, s := range two {
		_, err := pv.Chain(s.entry)
		switch {
		case errors.Is(err, entry.ErrUnknownProgram):
			return Conviction{}, fmt.Errorf("%w: the proof of statement %d is of the program %x, which is not accepted here; "+
				"give its program file", ErrUndecided, i+1, s.entry.Proof.Program)
		case err != nil:
			return Conviction{}, notProven("the proof of statement %d does not hold, so anybody can have written it: %w", i+1, err)
		}
	}
	for _, s := range two {
		if by := forgers(pv, s.entry.Proof.Program); by != "" {
			c.Who, c.Transferable = "", false
			c.What = fmt.Sprintf("Two statements about one build of %s %s, of hidden builders, have one tag and two results, and "+
				"their proofs hold. This shows nothing about anybody. Of the keys of the program %x it holds that %s, and who "+
				"forges can write such a pair in the name of any member. Only keys of a ceremony convict a hidden builder.",
				s.entry.Subject.Name, s.entry.Subject.Version, s.entry.Proof.Program, by)
			return c, nil
		}
	}
	c.What += " He was hidden until he contradicted himself: two such statements give his key away. The name is that of the " +
		"set file, whose names the root does not bind: compare its SHA-256 with that of the set file that you know. Only all " +
		"who contributed to one phase of the ceremony of the program's keys, together, could have forged this."
	return c, nil
}

// forgers says who else can have made proofs of a program, "" if nobody but all contributors of a
// phase of a ceremony.
func forgers(pv entry.Verifier, program [32]byte) string {
	o, ok := pv.(Origins)
	if !ok {
		return "it is not known here who made them, and whoever did could forge"
	}
	return o.Forgers(program)
}
