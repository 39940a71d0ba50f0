package ceremony

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	cs "github.com/consensys/gnark/constraint/bn254"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/circuit/setup"
	"cratelog/entry"
	"cratelog/proofcheck"
)

// TestHiddenBuildersProveWithKeysOfACeremony is the whole way: three parties make the keys of
// build/1, attacks on the way are refused, the transcript is verified and exported, and what a
// member proves with these keys holds for a reader who lists the program and for no other.
func TestHiddenBuildersProveWithKeysOfACeremony(t *testing.T) {
	if testing.Short() {
		t.Skip("it holds a ceremony")
	}
	begin, worked := time.Now(), cpuSeconds(t)
	progress := func(what string, _ time.Duration) {
		t.Logf("%5.1f s, %5.1f s of a processor: %s", time.Since(begin).Seconds(), cpuSeconds(t)-worked, what)
	}
	dir := filepath.Join(t.TempDir(), "c")
	f, err := Init(dir, Build(), "")
	fatalIf(t, err)
	if n := f.Estimate().Domain; n != 1<<12 {
		t.Errorf("it takes 2^12 powers, and the domain is %d", n)
	}
	fatalIf(t, threePartiesIn(f, dir, func(phase, party int, sent string) {
		if party == 1 {
			attackBuild(t, f, dir, phase, sent)
		}
	}, progress))
	r, err := f.Verify(t.Context(), progress)
	fatalIf(t, err)
	program, key := filepath.Join(t.TempDir(), "build.json"), filepath.Join(t.TempDir(), "build.pk")
	var programText, keyFile bytes.Buffer
	fatalIf(t, r.Export(t.Context(), &programText, &keyFile, progress))
	write(t, program, programText.Bytes())
	write(t, key, keyFile.Bytes())
	progress("proving", 0)

	k, err := membership.ReadKeys(t.Context(), program, key)
	fatalIf(t, err)
	if k.Program.Origin != proofcheck.CeremonyOrigin(r.Transcript, "") || k.Program.Forgers() != "" || len(r.Contributions) != 6 {
		t.Errorf("the program is %v", k.Program)
	}
	proveBuild(t, k, program)
}

// proveBuild proves with keys, and compares what readers with and without the program say.
func proveBuild(t *testing.T, k *membership.Keys, program string) {
	t.Helper()
	secret, err := build.NewSecret()
	fatalIf(t, err)
	subject := entry.Subject{Registry: entry.DefaultRegistry, Name: "tiny", Version: "1.0.0", SHA256: [32]byte{1}}
	claim := &entry.Build{Binary: "tiny", Target: "x86_64-unknown-linux-gnu", Artifact: [32]byte{2}, Recipe: entry.Recipe1}
	e, err := membership.Prove(t.Context(), k, [][32]byte{secret.Public()}, 0, secret, subject, claim)
	fatalIf(t, err)
	with, err := proofcheck.Load([]string{program}, false)
	fatalIf(t, err)
	if _, err := with.Chain(e); err != nil {
		t.Errorf("a reader with the program: %v", err)
	}
	without, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	if _, err := without.Chain(e); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("a reader without it: %v", err)
	}
	e.Claim.(*entry.Build).Artifact[0] ^= 1
	if _, err := with.Chain(e); !errors.Is(err, proofcheck.ErrProof) {
		t.Errorf("another artifact: %v", err)
	}
}

// attackBuild sends to the coordinator what an attacker might in place of a contribution.
func attackBuild(t *testing.T, f *Folder, dir string, phase int, sent string) {
	t.Helper()
	good := read(t, sent)
	for _, at := range []int{0, len(good) / 3, len(good) - 1} {
		bad := slices.Clone(good)
		bad[at] ^= 1
		if err := accept(t, f, bad); !errors.Is(err, ErrTampered) && !errors.Is(err, ErrOrder) {
			t.Errorf("phase %d: tampered with at %d: %v", phase, at, err)
		}
	}
	refused(t, accept(t, f, good[:len(good)-1]), ErrSize, "cut short")
	replayed := glob(t, dir, nameOf(phase, 1, [32]byte{})[:len("phase1-0001-")]+"*")[0]
	refused(t, accept(t, f, read(t, replayed)), ErrReplayed, "counts once")

	// The circuit of a segment, under the name of this one.
	_, err := openWith(dir, func(Circuit) (*cs.R1CS, error) { return Source(tiny).compile() })
	refused(t, err, ErrWrongCircuit, "circuit for sets of depth 10")
}

func TestOneOperatorMakesKeysOfHiddenBuilders(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys")
	}
	var program, key bytes.Buffer
	p, err := Solo(t.Context(), "Example Org", Build(), &program, &key, nil)
	fatalIf(t, err)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.json"), program.Bytes())
	write(t, filepath.Join(dir, "a.pk"), key.Bytes())
	k, err := membership.ReadKeys(t.Context(), filepath.Join(dir, "a.json"), filepath.Join(dir, "a.pk"))
	fatalIf(t, err)
	if k.Program.ID() != p.ID() || k.Program.Solo() != "Example Org" || k.Program.Claim != proofcheck.ClaimBuild {
		t.Errorf("the program is %v", k.Program)
	}
	proveBuild(t, k, filepath.Join(dir, "a.json"))
	system, err := Build().compile()
	fatalIf(t, err)
	if info, err := os.Stat(filepath.Join(dir, "a.pk")); err != nil || info.Size() > setup.MaxProving(system) {
		t.Errorf("the proving key is larger than is read: %v", err)
	}
}
