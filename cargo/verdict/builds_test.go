package verdict

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/testlog"
)

func TestABinaryOfThreeBuildersIsVerifiedOffline(t *testing.T) {
	w := newWorkshop(t, options{})
	b := w.says("3 of 5 of set rebuilders say so: b0, b1, b2", "this log, as of 2026-09-01T12:00:00Z, shows no other result",
		"2 crates compiled, 2 proven", "!not:", "versions chosen by whoever packaged, not proven")
	if len(b.Agree) != 3 || b.Claim.Artifact != w.binary || b.Subject != w.app || b.Facts == nil ||
		!b.Compiled[1].Proven ||
		b.Claim.Tag != [32]byte{} || b.Commit != b.Facts.Commit || w.log.asked() != 0 {
		t.Errorf("%+v", b)
	}
	again := newWorkshop(t, options{proven: true})
	if b := again.says("versions chosen by the commit", "!not proven;"); !b.ByCommit {
		t.Errorf("%+v", b)
	}
}

func TestOneByteOfTheBinaryIsAnotherBinary(t *testing.T) {
	w := newWorkshop(t, options{})
	sum := w.binary
	sum[31] ^= 1
	_, err := w.decide(w.file(), sum, true)
	notBuilt(t, err, Violation, "another-binary", fmt.Sprintf("this binary has the SHA-256 %x, and no builder "+
		"made that of app of app 1.0.0 for "+target, sum),
		fmt.Sprintf("they made %x", w.binary), "Do not run it")
}

func TestTooFewBuildersAreTooFew(t *testing.T) {
	w := newWorkshop(t, options{})
	w.policy("need = 4\n")
	w.refuses(Violation, "too-few", "3 of 5 of set rebuilders say that this is app of app 1.0.0 for "+target+", "+
		"and the policy needs 4")
	w.policy("need = 3\nwithout = [\"b1\"]\n")
	w.refuses(Violation, "too-few", "2 of 4 of set rebuilders")
}

// One member counts once, however often his entry is shown.
func TestTwoEntriesOfOneMemberCountOnce(t *testing.T) {
	w := newWorkshop(t, options{})
	w.policy("need = 4\n")
	w.builds = append(w.builds, w.add(testlog.Must(entry.Parse(w.log.Tree.Leaves[w.builds[0]]))))
	w.refuses(Violation, "too-few", "3 of 5 of set rebuilders")
}

func TestASetThatThePolicyDoesNotListIsNobody(t *testing.T) {
	w := newWorkshop(t, options{})
	w.policyOf(namedSet(t, "others", 4), "", "need = 3\n") // with the same keys, but one
	w.refuses(Violation, "builders", "only as members of sets say that the policy does not list: of the set "+
		"others nobody does")
	// And it does not count beside one that is.
	w = newWorkshop(t, options{})
	w.policy("need = 4\n")
	w.builds = append(w.builds, w.add(w.sign(namedSet(t, "more", 6), 5, nil)))
	w.refuses(Violation, "too-few", "3 of 5")
	w.policy("need = 3\n")
	w.says("1 entry is of sets that the policy does not list: they do not count", "shows no other result")
	// If it says otherwise the log does not hold "no other result".
	w.builds = append(w.builds, w.add(w.sign(namedSet(t, "more", 6), 4, func(b *entry.Build) { b.Artifact = [32]byte{0xab} })))
	b := w.says("this log, as of 2026-09-01T12:00:00Z, shows another result only of those who do not count",
		"the same build makes ab0000", "as 1 entry says of those who do not count")
	if len(b.Others) != 1 || !b.Others[0].Same || b.Others[0].Listed || len(b.Dissent) > 0 {
		t.Errorf("%+v", b.Others)
	}
}

// Who was expelled can still sign under the root of the set that he was in.
func TestAnExpelledMemberUnderTheOldRootDoesNotCount(t *testing.T) {
	w := newWorkshop(t, options{})
	next := namedSet(t, "rebuilders", 5)
	next.Members = next.Members[:4]
	w.policyOf(next, "", "need = 1\n")
	w.refuses(Violation, "builders", "only as members of sets say that the policy does not list")
	w.builds = append(w.builds, w.add(w.sign(next, 3, nil)))
	w.says("1 of 4 of set rebuilders say so: b3", "3 entries are of sets that the policy does not list")
}

func TestAWithdrawnSetEndsAtItsIndex(t *testing.T) {
	w := newWorkshop(t, options{})
	w.policy(fmt.Sprintf("need = 3\nuntil = %d\n", w.builds[2]+1))
	w.says("3 of 5")
	w.policy(fmt.Sprintf("need = 3\nuntil = %d\n", w.builds[2]))
	w.refuses(Violation, "too-few", "2 of 5")
	w.policy(fmt.Sprintf("need = 1\nuntil = %d\n", w.builds[0]))
	w.refuses(Violation, "builders", "at or behind the index where the policy ends the set rebuilders")
	// A thief of the secret cannot dissent either.
	w.policy(fmt.Sprintf("need = 3\nuntil = %d\n", w.builds[2]+1))
	w.say(4, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	w.says("3 of 5", fmt.Sprintf("1 entry stands at or behind the index %d, where the policy ends the set",
		w.builds[2]+1))
}

func TestAMemberWhoNoLongerCountsDoesNotSpeakAtAll(t *testing.T) {
	w := newWorkshop(t, options{})
	w.say(3, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	w.policy("need = 3\nwithout = [\"b3\"]\n")
	w.says("3 of 4", "b3 speaks of it, and does not count any more")
	w.policy("need = 1\nwithout = [\"b0\", \"b1\", \"b2\"]\n")
	w.refuses(Violation, "builders", "only members who do not count any more")
}

func TestADissentStops(t *testing.T) {
	w := newWorkshop(t, options{})
	w.say(3, func(b *entry.Build) { b.Artifact = [32]byte{0xab} })
	w.refuses(Violation, "dissent", "3 of 5 of set rebuilders say that this is app of app 1.0.0", "1 say that the "+
		"same build makes another result: ab0000",
		", by b3; the policy tolerates 0", "cargo zkp install does that by itself")
	// Who made the same binary of other crates says otherwise as well.
	w.unsay(3)
	w.policy("need = 3\n")
	w.say(4, func(b *entry.Build) { b.Compiled[0] ^= 1 })
	w.refuses(Violation, "dissent", "another result: the same binary, of other crates")
}

// A file from before the dissent does not show it: that is what its age is for.
func TestAFileFromBeforeTheDissentGrowsOld(t *testing.T) {
	w := newWorkshop(t, options{})
	before := w.file()
	w.say(3, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	w.place.at = now.AddDate(0, 0, 8)
	_, err := w.decide(before, w.binary, false)
	notBuilt(t, err, Violation, "stale", "ago; the rules allow 168h0m0s", "members may have said otherwise")
	w.checker = nil
	w.place.at = now.AddDate(0, 0, 6)
	if _, err := w.decide(before, w.binary, false); err != nil {
		t.Error(err)
	}
	w.checker, w.place.at = nil, now.AddDate(1, 0, 0)
	b, err := w.decide(before, w.binary, true)
	if err != nil || !b.Offline || !b.AsOf.Equal(now) {
		t.Errorf("offline: %+v, %v", b, err)
	}
}

func TestAnotherToolchainOrEnvironmentIsAnotherBuild(t *testing.T) {
	w := newWorkshop(t, options{})
	w.policy(fmt.Sprintf("need = 3\ntoolchains = [\"%x\"]\n", [32]byte{9}))
	w.refuses(Violation, "toolchain", "it was built with the toolchain 0100", "does not list", "cargo zkp toolchain")
	w.policy(fmt.Sprintf("need = 3\nenvironments = [\"%x\"]\n", [32]byte{9}))
	w.refuses(Violation, "environment", "it was built in the environment 0200", "cargo zkp environment")
	// Of another build nobody can disagree with this one. It is printed.
	w.policy("need = 3\n")
	w.say(3, func(b *entry.Build) { b.Toolchain, b.Artifact = [32]byte{7}, [32]byte{0xcd} })
	w.say(4, func(b *entry.Build) { b.Toolchain, b.Artifact = [32]byte{7}, [32]byte{0xcd} })
	b := w.says("3 of 5", "another build (toolchain 07000000, environment 02000000) makes cd00", "as 2 entries "+
		"say of another set, toolchain or environment")
	if len(b.Others) != 1 || b.Others[0].Entries != 2 || b.Others[0].Listed {
		t.Errorf("%+v", b.Others)
	}
	// Nor do builds with different toolchains add up.
	w.policy(fmt.Sprintf("need = 4\ntoolchains = [\"%x\", \"%x\"]\n", [32]byte{1}, [32]byte{7}))
	w.unsay(3)
	w.say(3, func(b *entry.Build) { b.Toolchain = [32]byte{7} })
	w.refuses(Violation, "too-few", "3 of 5")
}

func TestARecipeHasOneSpelling(t *testing.T) {
	w := newWorkshop(t, options{})
	e := w.sign(w.set, 0, nil)
	good := testlog.Must(e.Marshal())
	at := bytes.Index(good, []byte{0x08, 0x01, 0x09, 0x58, 0x20}) // 8: 1, 9: h'..32
	if at < 0 {
		t.Fatal("the claim has no recipe 1 where it is looked for")
	}
	for name, other := range map[string][]byte{
		"a longer number": slices.Concat(good[:at], []byte{0x08, 0x18, 0x01}, good[at+2:]),
		"a text":          slices.Concat(good[:at], []byte{0x08, 0x61, '1'}, good[at+2:]),
		"recipe 2":        slices.Concat(good[:at], []byte{0x08, 0x02}, good[at+2:]),
	} {
		w.log.Tree.Append(other)
		j := w.file()
		p := testlog.Must(client.ParseBundle(w.log.Tree.Bundle(w.log.Tree.Size()-1, w.log.Tree.Size(), j.Checkpoint)))
		j.Builds = append(j.Builds, client.Part{Index: p.Index, Entry: p.Entry, Hashes: p.Hashes})
		_, err := w.decide(j, w.binary, true)
		notBuilt(t, err, Violation, "malformed-entry", fmt.Sprintf("entry %d", p.Index))
		if err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// The sources are honest, and whoever packaged chose a hostile version of one of them.
func TestAHostileLockFileUnderHonestSourcesIsRefused(t *testing.T) {
	w := newWorkshop(t, options{hostile: true})
	w.refuses(Violation, "sources", "2 crates were compiled into it, of which 1 are not proven", "the versions "+
		"were chosen by whoever packaged it, not by the commit",
		"dep-b 1.0.0 (not logged, as the file of builds has it)", `require-source = "crate"`)
	w.policy("need = 3\nrequire-source = \"crate\"\n")
	w.says("2 crates compiled, 1 proven, 1 not: dep-b 1.0.0 (not logged, as the file of builds has it)",
		"versions chosen by whoever packaged, not proven")
	w.policyOf(w.set, "[[exception]]\ncrate = \"dep-b\"\nreason = \"read\"\nexpires = \"2026-12-31\"\n", "need = 3\n")
	w.says("2 crates compiled, 1 proven, 1 excepted")
	// The commit's own lock file may name what is not proven, unless the policy wants all.
	w = newWorkshop(t, options{hostile: true, proven: true})
	w.says("1 not: dep-b", "versions chosen by the commit")
	w.policy("need = 3\nrequire-source = \"all\"\n")
	w.refuses(Violation, "sources", `says require-source = "all"`)
}

// Without the .crate the log's word is all that there is.
func TestWhatIsNotAtHandIsNotProven(t *testing.T) {
	w := newWorkshop(t, options{proven: true})
	delete(w.crates, w.list[0].SHA256)
	w.says("2 crates compiled, 1 proven, 1 not: dep-a 1.0.0 (logged, its files not checked here)")
	w.policy("need = 3\nrequire-source = \"all\"\n")
	w.refuses(Violation, "sources", "dep-a 1.0.0 (logged, its files not checked here)")
	w.policy("need = 3\n")
	w.sources = w.sources[1:]
	w.says("1 not: dep-a 1.0.0 (its .crate is not at hand)")
	delete(w.crates, w.app.SHA256)
	w.refuses(Unchecked, "not-downloaded", "the .crate of app 1.0.0 with the SHA-256", "nothing shows what its "+
		"source is", "--crates")
}

func TestTheSourceOfTheCrateItselfIsAlwaysVerified(t *testing.T) {
	w := newWorkshop(t, options{})
	w.policy("need = 3\nrequire-source = \"crate\"\n")
	w.sources = w.sources[:2] // without app
	w.refuses(Unchecked, "not-cached", "no bundle of app 1.0.0 is in the cache")
	// A true claim about another .crate of that name is void.
	w = newWorkshop(t, options{})
	_, e := forged(t, "app", "1.0.0")
	w.sources[2] = w.add(e)
	w.refuses(Violation, "void", "gives app 1.0.0 the SHA-256 ", "but in this log it has ", "which was first")
}

func TestAFalseSourceClaimIsNoProof(t *testing.T) {
	w := newWorkshop(t, options{})
	for i, l := range w.log.Tree.Leaves {
		e := testlog.Must(entry.Parse(l))
		if src, ok := e.Claim.(*entry.Source); ok && e.Subject.Name == "app" {
			src.Commit[0] ^= 1
			w.log.Tree = w.log.Tree.With(int64(i), testlog.Must(e.Marshal()))
		}
	}
	w.refuses(Violation, "proof", "proof does not hold")
}

func TestTheListIsTheBuildersAndTheLockFiles(t *testing.T) {
	w := newWorkshop(t, options{})
	j := w.file()
	j.List = j.List[:bytes.IndexByte(j.List, '\n')+1]
	_, err := w.decide(j, w.binary, true)
	notBuilt(t, err, Violation, "malformed-builds", "its list of compiled crates has the SHA-256")
	for name, listed := range map[string]func(build.List) build.List{
		"another checksum": func(l build.List) build.List { l[0].SHA256[0] ^= 1; return l },
		"another version":  func(l build.List) build.List { l[0].Version = "1.0.1"; return l },
		"another registry": func(l build.List) build.List { l[0].Registry = "https://registry.example.com"; return l },
		"one more": func(l build.List) build.List {
			return append(l, build.Crate{Registry: entry.DefaultRegistry, Name: "x", Version: "1.0.0"})
		},
	} {
		w := newWorkshop(t, options{listed: listed})
		_, err := w.ask()
		notBuilt(t, err, Violation, "lock", "was compiled, and it does not stand so in the crate's Cargo.lock")
		if err == nil {
			t.Errorf("%s is believed", name)
		}
	}
	// A part of it is what a lock file may hold.
	w = newWorkshop(t, options{listed: func(l build.List) build.List { return l[:1] }})
	w.says("1 crate compiled, 1 proven")
	w = newWorkshop(t, options{listed: func(build.List) build.List { return nil }})
	w.says("0 crates compiled, 0 proven")
}

func TestTheBuildersBuiltWithTheLockFileInTheCrate(t *testing.T) {
	w := newWorkshop(t, options{})
	w.unsay(0)
	for i := range 3 {
		w.say(i, func(b *entry.Build) { b.Lock[0] ^= 1 })
	}
	w.refuses(Violation, "lock", "the Cargo.lock in the .crate has the SHA-256", "and the builders built with",
		"other versions than the crate names")
	w = newWorkshop(t, options{lock: "version = 4\n[[package]]\n"})
	w.refuses(Violation, "lock", "the Cargo.lock in the .crate of app cannot be read")
}

// A proof that is copied, or of another claim, is false, and a log that holds it lies.
func TestACopiedSignatureIsFalse(t *testing.T) {
	for name, change := range map[string]func(w *workshop, e *entry.Entry){
		"of another member": func(w *workshop, e *entry.Entry) { e.Proof = w.sign(w.set, 4, nil).Proof },
		"of another result": func(_ *workshop, e *entry.Entry) { e.Claim.(*entry.Build).Artifact[0] ^= 1 },
		"with another tag":  func(_ *workshop, e *entry.Entry) { e.Claim.(*entry.Build).Tag[0] ^= 1 },
		"of another crate":  func(_ *workshop, e *entry.Entry) { e.Claim.(*entry.Build).Lock[0] ^= 1 },
		"of another set": func(w *workshop, e *entry.Entry) {
			other := w.sign(namedSet(w.t, "x", 6), 3, nil)
			root := e.Claim.(*entry.Build).Root
			*e = *other
			e.Claim.(*entry.Build).Root = root
		},
	} {
		w := newWorkshop(t, options{})
		e := w.sign(w.set, 3, nil)
		change(w, e)
		w.builds = append(w.builds, w.add(e))
		_, err := w.ask()
		notBuilt(t, err, Violation, "proof", "proof does not hold", fmt.Sprintf("entry %d of log.example/builds",
			w.builds[3]))
		if err == nil {
			t.Errorf("%s: believed", name)
		}
	}
}

func TestAnEntryOfAnUnknownProgramDoesNotCount(t *testing.T) {
	w := newWorkshop(t, options{})
	e := w.sign(w.set, 3, func(b *entry.Build) { b.Artifact[0] ^= 1 })
	e.Proof.Program[0] ^= 1
	w.builds = append(w.builds, w.add(e))
	w.says("3 of 5", "1 entry stands under a program that the policy does not accept")
}

func TestTheReaderSaysWhatHeWants(t *testing.T) {
	w := newWorkshop(t, options{})
	for _, want := range []struct{ name, version, registry, binary string }{
		{"app2", "1.0.0", "", ""}, {"app", "1.0.1", "", ""}, {"app", "1.0.0",
			"sparse+https://registry.example.com/index/", ""}, {"app", "1.0.0", "", "app2"},
	} {
		_, err := w.place.checker(true).Build(t.Context(), Binary{SHA256: w.binary,
			Joined: testlog.Must(w.file().Marshal()), Crate: w.find,
			Package: policy.Package{Name: want.name, Version: want.version, Registry: want.registry},
			Name:    want.binary})
		notBuilt(t, err, Violation, "another-crate")
	}
	w.says("3 of 5")
	b, err := w.checker.Build(t.Context(), Binary{SHA256: w.binary, Joined: testlog.Must(w.file().Marshal()),
		Crate: w.find})
	if err != nil || b.Subject != w.app {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestNobodyIsBelievedWithoutASet(t *testing.T) {
	w := newWorkshop(t, options{})
	w.place.settings(dev, w.log)
	w.refuses(Unchecked, "no-builders", "the policy names no set of builders", "Write [builds] into")
	w.place.settings(dev)
	w.place.policy.Builds = &policy.Builds{Set: w.set}
	w.checker = nil
	w.refuses(Unchecked, "no-log")
	w.policy("need = 3\nlog = \"log.example/builds\"\n")
	w.says("3 of 5")
	w.place.policy.Builds.Log = "log.example/other"
	w.refuses(Violation, "unknown-log", `only the log "log.example/other" counts`)
}

// What the log showed before counts for a file of builds, too.
func TestAFileOfAForkIsRefused(t *testing.T) {
	w := newWorkshop(t, options{})
	w.says("3 of 5")
	size := w.log.Tree.Size()
	w.unsay(0)
	w.log.Tree.Grow(size-2, "other")
	w.say(0, nil)
	w.policy2("need = 1\n")
	w.refuses(Violation, "fork")
}

// policy2 is policy on the same machine.
func (w *workshop) policy2(lines string) {
	w.t.Helper()
	dir := w.place.dir
	at := w.place
	w.policy(lines)
	fresh := w.place
	*at = place{t: w.t, dir: dir, at: now, policy: fresh.policy}
	w.place = at
}

func TestTagsOfAHiddenSetAreCountedAndOneIsTolerated(t *testing.T) {
	w := newWorkshop(t, options{})
	w.set = &build.Set{Kind: build.Hidden, Name: "quiet"}
	for i := range 50 {
		w.set.Members = append(w.set.Members, build.Member{Name: fmt.Sprintf("h%d", i), Contact: "x",
			Public: [32]byte{31: byte(i + 1)}})
	}
	program := [32]byte{0xaa}
	hide := func(tag byte, change func(*entry.Build)) {
		claim := w.claim
		claim.Root, claim.Tag = w.set.Root(), [32]byte{31: tag}
		if change != nil {
			change(&claim)
		}
		w.builds = append(w.builds, w.add(&entry.Entry{Subject: w.app, Claim: &claim,
			Proof: entry.Proof{Program: program, Parts: [][]byte{{1}}}}))
	}
	other := func(b *entry.Build) { b.Artifact = [32]byte{0xcd} }
	ask := func(lines string) (*Built, error) {
		w.policy(lines)
		w.checker = w.place.checker(true)
		w.checker.builds = believes{program}
		return w.ask()
	}
	w.unsay(0)
	for tag := range 3 {
		hide(byte(tag), nil)
	}
	hide(2, nil) // again
	b, err := ask("need = 3\n")
	fatalIf(t, err)
	saysAll(t, b, "3 of 50 of set quiet say so\n", "shows no other result")
	if !b.Hidden || b.Agree[0].Member != "" {
		t.Errorf("%+v", b)
	}
	hide(3, other)
	_, err = ask("need = 3\n")
	notBuilt(t, err, Violation, "dissent", "1 say that the same build makes another result: cd00", "); the policy "+
		"tolerates 0")
	b, err = ask("need = 3\ntolerate = 1\n")
	fatalIf(t, err)
	saysAll(t, b, "3 of 50", "1 say otherwise, which the policy tolerates, as of 2026-09-01T12:00:00Z: cd00")
	// Who says both counts as one who says otherwise, and no log admits it.
	hide(1, other)
	_, err = ask("need = 3\ntolerate = 1\n")
	notBuilt(t, err, Violation, "dissent", "2 of 50", "and 2 say")
	w.unsay(4)
	hide(1, other)
	_, err = ask("need = 3\ntolerate = 1\n")
	notBuilt(t, err, Violation, "too-few", "2 of 50")
	// A signature with a name is none of a hidden set, whatever a verifier thinks of it.
	program = build.NamedProgram
	w.unsay(0)
	hide(0, nil)
	_, err = ask("need = 1\n")
	notBuilt(t, err, Violation, "proof", "is not signed as members of the hidden set quiet sign")
}

// believes is a verifier that believes all proofs of one program.
type believes struct{ program [32]byte }

func (b believes) Chain(e *entry.Entry) (entry.Chain, error) {
	if e.Proof.Program != b.program {
		return nil, entry.ErrUnknownProgram
	}
	return testlog.ChainOf(e, nil)
}

func (b believes) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	return testlog.Chains(b, entries)
}

func TestAnInterruptedQuestionHasNoAnswer(t *testing.T) {
	w := newWorkshop(t, options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := w.place.checker(true).Build(ctx, Binary{SHA256: w.binary, Joined: testlog.Must(w.file().Marshal()),
		Crate: w.find})
	notBuilt(t, err, Unchecked, "interrupted")
	if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "say so") {
		t.Error(err)
	}
}

// The crate's lock file is not the commit's, and chooses nothing that the commit's does not.
func TestADerivedLockFileIsTheCommitsChoice(t *testing.T) {
	w := newWorkshop(t, options{derived: true})
	if b := w.says("versions chosen by the commit", "!who chose the versions"); !b.ByCommit {
		t.Errorf("%+v", b)
	}
	// Without the bytes, or with others, it is not known.
	other := bytes.Replace(w.commitLock, []byte("more"), []byte("less"), 1)
	for what, lock := range map[string][]byte{"whose bytes are not at hand": nil, "and these bytes are": other} {
		w.commitLock = lock
		w.says("versions chosen by whoever packaged, not proven", "who chose the versions: ", what)
	}
	w = newWorkshop(t, options{derived: true, hostile: true})
	w.says("1 not: dep-b", "versions chosen by the commit")
	w.commitLock = nil
	w.refuses(Violation, "sources", "the versions were chosen by whoever packaged it")
}

// Silence of a log is no answer about what was compiled.
func TestALogThatDoesNotAnswerLeavesItOpen(t *testing.T) {
	w := newWorkshop(t, options{})
	w.sources = w.sources[1:]
	w.log.down()
	_, err := w.decide(w.file(), w.binary, false)
	notBuilt(t, err, Unchecked, "sources", "the log log.example/builds did not say whether it holds dep-a 1.0.0")
}

// counting is a verifier that counts how often it is asked.
type counting struct {
	believes
	asked *int
}

func (c counting) Chains(entries []*entry.Entry) ([]entry.Chain, []error) {
	*c.asked++
	return c.believes.Chains(entries)
}

func TestProofsOfBuildsAreCheckedTogether(t *testing.T) {
	w := newWorkshop(t, options{})
	w.checker = w.place.checker(true)
	asked := 0
	w.checker.builds = counting{believes{build.NamedProgram}, &asked}
	if w.says("3 of 5 of set rebuilders"); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

func TestCompiledCratesAreFetchedTogether(t *testing.T) {
	w := newWorkshop(t, options{})
	w.checker = w.place.checker(true)
	var both sync.WaitGroup
	both.Add(2)
	b, err := w.checker.Build(t.Context(), Binary{SHA256: w.binary, Joined: testlog.Must(w.file().Marshal()),
		Package: policy.Package{Name: "app", Version: "1.0.0"},
		Crate: func(ctx context.Context, c build.Crate) ([]byte, error) {
			if c.Name != "app" { // waits for the other one
				both.Done()
				there := make(chan struct{})
				go func() { both.Wait(); close(there) }()
				select {
				case <-there:
				case <-time.After(20 * time.Second):
					t.Errorf("%s was asked for alone", c.Name)
					both.Done()
				}
			}
			return w.find(ctx, c)
		}})
	fatalIf(t, err)
	saysAll(t, b, "2 crates compiled, 2 proven")
	if b.Compiled[0].Name != "dep-a" || b.Compiled[1].Name != "dep-b" {
		t.Errorf("%+v", b.Compiled)
	}
}

// TestStrangersDoNotDrownWhatTheSetSays: anybody's set may say what it likes about a binary.
func TestStrangersDoNotDrownWhatTheSetSays(t *testing.T) {
	w := newWorkshop(t, options{})
	strangers := namedSet(t, "strangers", 1)
	for i := range 12 {
		w.builds = append(w.builds, w.add(w.sign(strangers, 0, func(b *entry.Build) { b.Environment[31] = byte(i + 1) })))
	}
	w.policy(fmt.Sprintf("need = 3\nenvironments = [\"%x\", \"%x\"]\n", [32]byte{2}, [32]byte{3}))
	w.say(3, func(b *entry.Build) { b.Environment, b.Artifact = [32]byte{3}, [32]byte{0xee} })
	b := w.says("makes ee00", "1 entry says of the policy's set", "3 other builds make something else")
	if n := strings.Count(strings.Join(b.Says(), "\n"), "another build ("); n != 10 || len(b.Others) != 13 {
		t.Errorf("%d lines about %d others", n, len(b.Others))
	}
}
