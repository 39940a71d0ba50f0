package ceremony

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	groth16 "github.com/consensys/gnark/backend/groth16/bn254"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	cs "github.com/consensys/gnark/constraint/bn254"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"

	"cratelog/circuit/setup"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// A kind of circuit has ceremonies like any other. Tests that each has hold in both run in each.
type kind struct {
	circuit  Circuit
	compile  func(extra bool) func(Circuit) (*cs.R1CS, error)
	finished func() (string, error) // a three-party ceremony, made once; tests alter copies of it
}

var kinds = map[string]*kind{"source": newKind(Source(4), compileRoot), "build": newKind(Build(), compileDoor)}

// current is the kind that a test is about.
var current = kinds["source"]

// each runs a test with every kind of circuit.
func each(t *testing.T, f func(t *testing.T)) {
	defer func(was *kind) { current = was }(current)
	for name, k := range kinds {
		current = k
		t.Run(name, f)
	}
}

// door is a circuit with the door of a build claim, five public inputs and no commitment, and hardly
// anything behind it. A test in build_test.go has the whole one.
type door struct {
	In     [5]frontend.Variable `gnark:",public"`
	Secret frontend.Variable
	extra  bool
}

func (c *door) Define(api frontend.API) error {
	sum := frontend.Variable(0)
	for i, x := range c.In {
		sum = api.Add(sum, api.Mul(api.Add(api.Mul(x, x), i), c.Secret))
	}
	api.AssertIsEqual(api.Mul(sum, sum), c.In[0])
	if c.extra {
		api.AssertIsDifferent(c.Secret, 0)
	}
	return nil
}

func compileDoor(extra bool) func(Circuit) (*cs.R1CS, error) {
	return func(Circuit) (*cs.R1CS, error) { return compile(&door{extra: extra}) }
}

// root is a circuit with the door of a segment, three public inputs and one commitment over
// all of them, and hardly anything behind it: a contribution to the smallest segment takes
// half a minute. A benchmark in source_test.go runs that one.
type root struct {
	In    frontend.Variable `gnark:",public"`
	Out   frontend.Variable `gnark:",public"`
	Rho   frontend.Variable `gnark:",public"`
	Root  frontend.Variable
	extra bool
}

func (c *root) Define(api frontend.API) error {
	r, err := api.(frontend.Committer).Commit(c.In, c.Out, c.Rho, c.Root)
	if err != nil {
		return err
	}
	api.AssertIsEqual(api.Mul(c.Root, c.Root), c.Out)
	api.Mul(c.In, c.In)
	api.Mul(c.Rho, c.Rho)
	api.AssertIsDifferent(r, c.Root)
	if c.extra {
		api.AssertIsDifferent(c.Root, 0)
	}
	return nil
}

func compileRoot(extra bool) func(Circuit) (*cs.R1CS, error) {
	return func(Circuit) (*cs.R1CS, error) { return compile(&root{extra: extra}) }
}

func compile(c frontend.Circuit) (*cs.R1CS, error) {
	quiet()
	system, err := frontend.Compile(ecc.BN254.ScalarField(), r1cs.NewBuilder, c)
	if err != nil {
		return nil, err
	}
	return system.(*cs.R1CS), nil
}

var beacons = [2][]byte{bytes.Repeat([]byte{0xb1}, 32), bytes.Repeat([]byte{0xb2}, 32)}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	fatalIf(t, err)
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	fatalIf(t, os.WriteFile(path, b, 0o644))
}

// accept offers a contribution with the given bytes to a folder.
func accept(t testing.TB, f *Folder, b []byte) error {
	t.Helper()
	sent := filepath.Join(t.TempDir(), "sent.bin")
	write(t, sent, b)
	_, err := f.Accept(t.Context(), sent, nil)
	return err
}

func open(t testing.TB, dir string) *Folder {
	t.Helper()
	f, err := openWith(dir, current.compile(false))
	fatalIf(t, err)
	return f
}

func newKind(of Circuit, compile func(extra bool) func(Circuit) (*cs.R1CS, error)) *kind {
	return &kind{of, compile, sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "ceremony-*")
		if err != nil {
			return "", err
		}
		return dir, threeParties(filepath.Join(dir, "c"), of, compile(false), nil)
	})}
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, k := range kinds {
		if dir, err := k.finished(); err == nil {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// threeParties holds a ceremony as it is meant to be: each party contributes on a copy
// of its own and sends the file, which the coordinator accepts.
func threeParties(dir string, of Circuit, compile func(Circuit) (*cs.R1CS, error), progress Progress) error {
	f, err := create(dir, of, compile, "")
	if err != nil {
		return err
	}
	return threePartiesIn(f, dir, func(int, int, string) {}, progress)
}

// threePartiesIn does so in a folder that was made. before gets each
// contribution that was sent, before it is accepted.
func threePartiesIn(f *Folder, dir string, before func(phase, party int, sent string), progress Progress) error {
	ctx := context.Background()
	same := func(Circuit) (*cs.R1CS, error) { return f.shape.system, nil }
	for phase := 1; phase <= 2; phase++ {
		for party := range 3 {
			own := fmt.Sprintf("%s-%d-%d", dir, phase, party)
			if err := os.CopyFS(own, os.DirFS(dir)); err != nil {
				return err
			}
			theirs, err := openWith(own, same)
			if err != nil {
				return err
			}
			c, err := theirs.Contribute(ctx, progress)
			if err != nil {
				return err
			}
			sent := filepath.Join(own, c.Name)
			before(phase, party, sent)
			if _, err := f.Accept(ctx, sent, progress); err != nil {
				return err
			}
		}
		if err := f.Seal(ctx, phase, beacons[phase-1], progress); err != nil {
			return err
		}
	}
	return nil
}

// copyOf returns a copy of the finished ceremony without the files that drop names by
// prefix.
func copyOf(t testing.TB, drop ...string) string {
	t.Helper()
	from, err := current.finished()
	fatalIf(t, err)
	dir := filepath.Join(t.TempDir(), "c")
	fatalIf(t, os.CopyFS(dir, os.DirFS(filepath.Join(from, "c"))))
	for _, prefix := range drop {
		for _, name := range glob(t, dir, prefix+"*") {
			fatalIf(t, os.Remove(name))
		}
	}
	return dir
}

func glob(t testing.TB, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	fatalIf(t, err)
	if len(names) == 0 {
		t.Fatalf("no %s", pattern)
	}
	return names
}

// refused checks that err is the wanted one and says all of what.
func refused(t testing.TB, err, want error, what ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("want %v, got %v", want, err)
	}
	for _, w := range what {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not say %q: %v", w, err)
		}
	}
}

// unverified checks that the folder's verification has the wanted error.
func unverified(t testing.TB, dir string, want error, what ...string) {
	t.Helper()
	_, err := verify(t, dir)
	refused(t, err, want, what...)
}

func verify(t testing.TB, dir string) (*Result, error) {
	t.Helper()
	return open(t, dir).Verify(context.Background(), nil)
}

func TestThreePartiesMakeKeysWhoseProofsHold(t *testing.T) {
	each(t, threePartiesMakeKeysWhoseProofsHold)
}

func threePartiesMakeKeysWhoseProofsHold(t *testing.T) {
	dir := copyOf(t)
	r, err := verify(t, dir)
	fatalIf(t, err)
	if len(r.Contributions) != 6 || !bytes.Equal(r.Beacons[0], beacons[0]) || !bytes.Equal(r.Beacons[1], beacons[1]) {
		t.Errorf("the result shows %d contributions and beacons %x", len(r.Contributions), r.Beacons)
	}
	var program, key bytes.Buffer
	fatalIf(t, r.Export(t.Context(), &program, &key, nil))
	if p := checkExport(t, program.Bytes(), key.Bytes()); p.Origin != fmt.Sprintf("ceremony:%x", r.Transcript) || p.Development() {
		t.Errorf("the program's origin is %q", p.Origin)
	}
}

// truth is a true statement, and its public inputs.
func (k *kind) truth() (frontend.Circuit, fr.Vector) {
	if k == kinds["build"] {
		in := fr.Vector{fr.NewElement(9), fr.NewElement(4), fr.NewElement(3), fr.NewElement(5), fr.NewElement(7)}
		// The secret times 81 + 16+1 + 9+2 + 25+3 + 49+4 is 3, a root of the first input.
		secret, divisor := fr.NewElement(3), fr.NewElement(81+16+1+9+2+25+3+49+4)
		secret.Div(&secret, &divisor)
		c := &door{Secret: secret}
		for i := range in {
			c.In[i] = in[i]
		}
		return c, in
	}
	in, rho, secret := fr.NewElement(3), fr.NewElement(5), fr.NewElement(1<<60)
	var out fr.Element
	out.Square(&secret)
	return &root{In: in, Out: out, Rho: rho, Root: secret}, fr.Vector{in, out, rho}
}

// checkExport checks exported keys of a test's circuit against it, and that with them true
// statements can be proven and no others.
func checkExport(t *testing.T, program, key []byte) proofcheck.Program {
	t.Helper()
	p, err := proofcheck.ParseProgram(program)
	fatalIf(t, err)
	if p.ProvingKey != sha256.Sum256(key) || p.Claim != current.circuit.Claim || p.Parameter() != current.circuit.String() {
		t.Errorf("the program is %v, and says that its proving key is %x", p, p.ProvingKey)
	}
	system, err := current.compile(false)(current.circuit)
	fatalIf(t, err)
	pk, raw, err := setup.ReadProving(key, system)
	fatalIf(t, err)
	powers, err := raw.Decode()
	fatalIf(t, err)
	vk := new(groth16.VerifyingKey)
	_, err = vk.ReadFrom(bytes.NewReader(p.Key))
	fatalIf(t, err)
	fatalIf(t, setup.Check(system, pk, vk, powers))

	assigned, inputs := current.truth()
	w, err := frontend.NewWitness(assigned, ecc.BN254.ScalarField())
	fatalIf(t, err)
	proof, err := groth16.Prove(system, pk, w)
	fatalIf(t, err)
	if err := groth16.Verify(proof, vk, inputs); err != nil {
		t.Fatalf("a true proof is refused: %v", err)
	}
	for i := range inputs {
		other := slices.Clone(inputs)
		other[i].Double(&other[i])
		if groth16.Verify(proof, vk, other) == nil {
			t.Errorf("a proof holds for another input %d", i)
		}
	}
	return p
}

func TestTranscriptHashIsThatOfSha256sum(t *testing.T) { each(t, transcriptHashIsThatOfSha256sum) }

func transcriptHashIsThatOfSha256sum(t *testing.T) {
	dir := copyOf(t)
	r, err := verify(t, dir)
	fatalIf(t, err)
	if want := transcriptBySha256sum(t, dir); r.Transcript != want {
		t.Errorf("the transcript hash is %x, want %x", r.Transcript, want)
	}
}

func transcriptBySha256sum(t *testing.T, dir string) [32]byte {
	t.Helper()
	var out strings.Builder
	names := glob(t, dir, "*")
	slices.Sort(names)
	for _, name := range names {
		b := read(t, name)
		fmt.Fprintf(&out, "%x  %s\n", sha256.Sum256(b), filepath.Base(name))
	}
	return sha256.Sum256([]byte(out.String()))
}

func TestEveryPhaseStartsAndGoesOnInOrder(t *testing.T) { each(t, everyPhaseStartsAndGoesOnInOrder) }

func everyPhaseStartsAndGoesOnInOrder(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "c")
	f, err := create(dir, current.circuit, current.compile(false), "")
	fatalIf(t, err)
	_, err = create(dir, current.circuit, current.compile(false), "")
	refused(t, err, ErrFolder, "not empty")
	refused(t, f.Seal(ctx, 1, beacons[0], nil), ErrUnfinished, "phase 1 has no contribution", "ceremony contribute")
	refused(t, f.Seal(ctx, 2, beacons[0], nil), ErrUnfinished, "phase 1 is not sealed")
	refused(t, f.Seal(ctx, 1, []byte("short"), nil), ErrBeacon, "16 to 256 bytes")
	_, err = f.Verify(ctx, nil)
	refused(t, err, ErrUnfinished, "phase 1 is open, with 0 contributions")

	sealed := open(t, copyOf(t))
	refused(t, sealed.Seal(ctx, 1, beacons[0], nil), ErrSealed, "phase 1 has its beacon")
	refused(t, sealed.Seal(ctx, 2, beacons[0], nil), ErrSealed, "phase 2 has its beacon")
	_, err = sealed.Contribute(ctx, nil)
	refused(t, err, ErrSealed, "nothing more to contribute")
	_, err = sealed.Accept(ctx, os.DevNull, nil)
	refused(t, err, ErrSealed)
	unverified(t, copyOf(t, "phase2-beacon"), ErrUnfinished, "phase 2 is open, with 3 contributions")
}

func TestAnAlteredContributionIsRefusedWhereverItIsAltered(t *testing.T) {
	each(t, anAlteredContributionIsRefusedWhereverItIsAltered)
}

func anAlteredContributionIsRefusedWhereverItIsAltered(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes and checks many contributions")
	}
	for phase := 1; phase <= 2; phase++ {
		dir := copyOf(t)
		f := open(t, dir)
		name := glob(t, dir, fmt.Sprintf("phase%d-0002-*", phase))[0]
		good := read(t, name)
		if int64(len(good)) != f.shape.size(phase, 2) {
			t.Fatalf("phase %d: %d bytes, the shape says %d", phase, len(good), f.shape.size(phase, 2))
		}
		earlier := before(t, phase, 2)
		for _, at := range offsets(phase, len(good)) {
			bad := slices.Clone(good)
			bad[at] ^= 0x01
			write(t, name, bad)
			unverified(t, dir, ErrTampered, filepath.Base(name), "it was altered")

			// And as a file that a stranger sends.
			err := accept(t, open(t, earlier), bad)
			if !errors.Is(err, ErrTampered) && !errors.Is(err, ErrOrder) {
				t.Errorf("phase %d, altered at byte %d: %v", phase, at, err)
			}
		}
		if _, err := open(t, earlier).Accept(context.Background(), second(t, phase), nil); err != nil {
			t.Errorf("phase %d: the contribution itself is refused: %v", phase, err)
		}
	}
}

// A file is read only if it says to hold what the circuit has, and to its last byte.
func TestAFileSaysWhatItHoldsInOneWay(t *testing.T) { each(t, aFileSaysWhatItHoldsInOneWay) }

func aFileSaysWhatItHoldsInOneWay(t *testing.T) {
	for phase := 1; phase <= 2; phase++ {
		good := read(t, second(t, phase))
		f := open(t, before(t, phase, 2))
		send := func(at int64, b byte) error {
			bad := slices.Clone(good)
			bad[at] = b
			return accept(t, f, bad)
		}
		at := int64(0)
		for _, p := range f.shape.parts(phase) {
			if p.what == "" {
				refused(t, send(at, 1), ErrTampered, "points at byte", "get it again")
			} else { // longer than it should be, it would have gnark find counts elsewhere
				refused(t, send(at, 0), ErrTampered, "a point at byte", "not compressed")
			}
			at += int64(p.size) * int64(p.n)
		}
		// A hash of 31 bytes, and one byte that is not read.
		refused(t, send(int64(len(good))-hashSize-1, hashSize-1), ErrTampered, "not in its canonical encoding")
	}
}

// Every point of a contribution is checked by gnark: when it is decoded, to be of its
// group, and by Phase1.Verify and Phase2.Verify, to follow from the one before. Nor may a
// secret be zero, with its proof.
func TestEveryPointOfAContributionIsChecked(t *testing.T) {
	each(t, everyPointOfAContributionIsChecked)
}

func everyPointOfAContributionIsChecked(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes and checks many contributions")
	}
	_, _, gen1, gen2 := curve.Generators()
	var outside curve.G2Affine
	wrong := stray(t)
	outside.Add(&gen2, &wrong)
	one, two, bad := gen1.Bytes(), gen2.Bytes(), outside.Bytes()
	secretsOf := map[int][]string{1: {"tau", "alpha", "beta"}, 2: {"delta", "sigma"}}
	if current == kinds["build"] {
		secretsOf[2] = []string{"delta"}
	}
	for phase, secrets := range secretsOf {
		good := read(t, second(t, phase))
		f := open(t, before(t, phase, 2))
		refuse := func(what string, b []byte, want string) {
			err := accept(t, f, b)
			if !errors.Is(err, ErrTampered) || !strings.Contains(err.Error(), want) {
				t.Errorf("phase %d, %s: %v", phase, what, err)
			}
		}
		zero := make(map[string][]byte)
		for _, secret := range secrets {
			zero[secret] = slices.Clone(good)
		}
		at := 0
		for _, p := range f.shape.parts(phase) {
			for i := range p.n {
				spoilt := func(point []byte) []byte { return slices.Concat(good[:at], point, good[at+p.size:]) }
				name := fmt.Sprintf("%s, number %d", p.what, i)
				switch {
				case p.what == "":
				case p.size == g1Size:
					refuse(name, spoilt(one[:]), "does not follow")
				default:
					refuse(name, spoilt(two[:]), "does not follow")
					refuse(name+", outside of the subgroup", spoilt(bad[:]), "cannot be decoded")
				}
				for secret, b := range zero {
					if strings.Contains(p.what, secret) {
						clear(b[at : at+p.size])
						b[at] = 0x40 // the point at infinity
					}
				}
				at += p.size
			}
		}
		if at != len(good)-1-hashSize {
			t.Fatalf("phase %d has %d bytes of points, not %d", phase, len(good)-1-hashSize, at)
		}
		for secret, b := range zero {
			refuse(secret+" is zero", b, "does not follow")
		}
	}
}

// offsets are bytes in every part of a contribution.
func offsets(phase, size int) []int {
	at := []int{0, 1, 31, 40, 100, size / 3, size / 2, size - 34, size - 33, size - 32, size - 1}
	if phase == 1 {
		at = append(at, 3*proofSize, 3*proofSize+7, 3*proofSize+8) // the count, beta
	} else {
		at = append(at, 2+g1Size, 2+g1Size+3)
	}
	for i := 1; i < 10; i++ {
		at = append(at, i*size/10)
	}
	return at
}

// second is the file of contribution 2 of a phase.
func second(t *testing.T, phase int) string {
	from, err := current.finished()
	fatalIf(t, err)
	return glob(t, filepath.Join(from, "c"), fmt.Sprintf("phase%d-0002-*", phase))[0]
}

// before is a copy of the ceremony as it was before a contribution.
func before(t testing.TB, phase, number int) string {
	t.Helper()
	drop := []string{fmt.Sprintf("phase%d-beacon", phase)}
	for n := number; n <= 3; n++ {
		drop = append(drop, fmt.Sprintf("phase%d-%04d", phase, n))
	}
	if phase == 1 {
		drop = append(drop, "phase2-")
	}
	return copyOf(t, drop...)
}

// rename gives the file of a phase with a number another number, keeping its hash, or
// the hash of its content.
func rename(t *testing.T, dir string, phase, from, to int) {
	t.Helper()
	old := glob(t, dir, fmt.Sprintf("phase%d-%04d-*", phase, from))[0]
	b := read(t, old)
	fatalIf(t, os.Remove(old))
	write(t, filepath.Join(dir, nameOf(phase, to, sha256.Sum256(b))), b)
}

// A contribution that is well formed and in its place in the chain, but does not follow
// from the one before.
func TestAContributionThatStartsAfreshIsRefused(t *testing.T) {
	each(t, aContributionThatStartsAfreshIsRefused)
}

func aContributionThatStartsAfreshIsRefused(t *testing.T) {
	for phase := 1; phase <= 2; phase++ {
		dir := before(t, phase, 2)
		f := open(t, dir)
		s, err := f.scan()
		fatalIf(t, err)
		// The attacker takes the start, which has no secrets but theirs, and says that
		// they went on from contribution 1.
		l, err := f.fresh(s.files[phase-1][0])
		fatalIf(t, err)
		l.Contribute()
		last := s.last(phase).SHA256
		switch l := l.(type) {
		case *mpcsetup.Phase1:
			l.Challenge = last[:]
		case *mpcsetup.Phase2:
			l.Challenge = last[:]
		}
		made, err := f.add(phase, 2, l)
		fatalIf(t, err)
		unverified(t, dir, ErrTampered, made.Name, "does not follow from", "ask for a new one")

		name := filepath.Join(dir, made.Name)
		b := read(t, name)
		fatalIf(t, os.Remove(name))
		refused(t, accept(t, f, b), ErrTampered, "sent.bin", "does not follow from")
	}
}

func TestAReplayedContributionIsRefused(t *testing.T) { each(t, aReplayedContributionIsRefused) }

func aReplayedContributionIsRefused(t *testing.T) {
	ctx := context.Background()
	for phase := 1; phase <= 2; phase++ {
		dir := before(t, phase, 3)
		for n := 1; n <= 2; n++ {
			_, err := open(t, dir).Accept(ctx, glob(t, dir, fmt.Sprintf("phase%d-%04d-*", phase, n))[0], nil)
			refused(t, err, ErrReplayed, "a contribution counts once")
		}
		b := read(t, second(t, phase))
		write(t, filepath.Join(dir, nameOf(phase, 3, sha256.Sum256(b))), b)
		unverified(t, dir, ErrReplayed, "are the same file", "take the copy away")
	}
}

func TestContributionsStayInTheirOrder(t *testing.T) { each(t, contributionsStayInTheirOrder) }

func contributionsStayInTheirOrder(t *testing.T) {
	for phase := 1; phase <= 2; phase++ {
		swapped := copyOf(t)
		rename(t, swapped, phase, 1, 9)
		rename(t, swapped, phase, 2, 1)
		rename(t, swapped, phase, 9, 2)
		unverified(t, swapped, ErrOrder, "put the files in their order")

		unverified(t, copyOf(t, fmt.Sprintf("phase%d-0002", phase)), ErrMissing, fmt.Sprintf("phase %d has number 3 and no number 2", phase))

		closed := copyOf(t, fmt.Sprintf("phase%d-0002", phase))
		rename(t, closed, phase, 3, 2)
		unverified(t, closed, ErrOrder, "a contribution between them is missing")

		unverified(t, copyOf(t, fmt.Sprintf("phase%d-0003", phase)), ErrBeacon, "a contribution is missing")
		unverified(t, copyOf(t, fmt.Sprintf("phase%d-0000", phase)), ErrMissing)

		// Two parties contributed on top of the same one.
		dir := before(t, phase, 2)
		late, err := open(t, dir).Contribute(context.Background(), nil)
		fatalIf(t, err)
		_, err = open(t, before(t, phase, 3)).Accept(context.Background(), filepath.Join(dir, late.Name), nil)
		refused(t, err, ErrOrder, "must contribute again on top of the newest")
		b := read(t, second(t, phase))
		write(t, filepath.Join(dir, filepath.Base(second(t, phase))), b)
		unverified(t, dir, ErrOrder, "have the same number")
	}
	unverified(t, copyOf(t, "phase1-beacon"), ErrMissing, "there is phase2-beacon.json and no phase1-beacon.json")
	unverified(t, copyOf(t, "phase1-beacon", "phase2-beacon"), ErrMissing, "run `ceremony beacon -phase 1` again")
}

func TestAnotherCircuitIsRefused(t *testing.T) { each(t, anotherCircuitIsRefused) }

func anotherCircuitIsRefused(t *testing.T) {
	dir := copyOf(t)
	_, err := openWith(dir, current.compile(true))
	refused(t, err, ErrWrongCircuit, "its constraint system has the SHA-256", "use the version of cratelog that began the ceremony")
	// A manifest that was edited to fit the other circuit: the sizes or the start of
	// phase 2 do not.
	system, err := current.compile(true)(current.circuit)
	fatalIf(t, err)
	s, err := newShape(system)
	fatalIf(t, err)
	write(t, filepath.Join(dir, manifestName), marshalJSON(newManifest(current.circuit, s)))
	f, err := openWith(dir, current.compile(true))
	fatalIf(t, err)
	if _, err := f.Verify(context.Background(), nil); !errors.Is(err, ErrSize) && !errors.Is(err, ErrBeacon) {
		t.Errorf("a transcript of another circuit: %v", err)
	}
}

func TestAnotherBeaconIsRefused(t *testing.T) { each(t, anotherBeaconIsRefused) }

func anotherBeaconIsRefused(t *testing.T) {
	for phase, want := range map[int]string{1: "to which phase 1's contributions and beacon lead", 2: "yield the program"} {
		dir := copyOf(t)
		name := filepath.Join(dir, beaconName(phase))
		text := read(t, name)
		other := bytes.Replace(text, []byte(hex.EncodeToString(beacons[phase-1])), bytes.Repeat([]byte("c3"), 32), 1)
		write(t, name, other)
		unverified(t, dir, ErrBeacon, want, "compare the beacon")

		for what, change := range map[string][2]string{
			"lower-case hex":                {"b" + fmt.Sprint(phase), "zz"},
			"phase2-beacon.json says":       {`"phase": `, `"phase": 7`},
			"is not as this program writes": {"{", "{ "},
			"unknown field":                 {`"value"`, `"valve"`},
			"was set after":                 {`"after": "`, `"after": "0`},
		} {
			bad := bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
			write(t, name, bad)
			unverified(t, dir, ErrBeacon, strings.Replace(what, "phase2", fmt.Sprintf("phase%d", phase), 1))
		}
		write(t, name, bytes.Repeat([]byte(" "), maxJSON+1))
		unverified(t, dir, ErrBeacon, "more than 4096 bytes")
	}
}

func TestFilesOfTheWrongSizeAreRefusedUnread(t *testing.T) {
	each(t, filesOfTheWrongSizeAreRefusedUnread)
}

func filesOfTheWrongSizeAreRefusedUnread(t *testing.T) {
	ctx := context.Background()
	for phase := 1; phase <= 2; phase++ {
		b := read(t, second(t, phase))
		dir := before(t, phase, 2)
		for _, n := range []int{0, 1, 300, len(b) / 2, len(b) - 1} {
			refused(t, accept(t, open(t, dir), b[:n]), ErrSize, fmt.Sprintf("sent.bin has %d bytes and must have %d", n, len(b)), "cut short", "get it again")
		}
		refused(t, accept(t, open(t, dir), append(b, 0)), ErrSize, "something was added")
		fatalIf(t, os.Truncate(glob(t, dir, fmt.Sprintf("phase%d-0001-*", phase))[0], 500))
		unverified(t, dir, ErrSize, "cut short")
		_, err := open(t, dir).Contribute(ctx, nil)
		refused(t, err, ErrSize, "cut short")
	}
	dir := before(t, 1, 2)
	link := filepath.Join(t.TempDir(), "link.bin")
	fatalIf(t, os.Symlink(second(t, 1), link))
	_, err := open(t, dir).Accept(ctx, link, nil)
	refused(t, err, ErrFolder, "not a regular file")
}

func TestTheFolderHoldsNothingElse(t *testing.T) { each(t, theFolderHoldsNothingElse) }

func theFolderHoldsNothingElse(t *testing.T) {
	dir := copyOf(t)
	write(t, filepath.Join(dir, ".new-123"), nil) // left by a crash
	_, err := verify(t, dir)
	fatalIf(t, err)
	write(t, filepath.Join(dir, "phase3-0001.bin"), nil)
	unverified(t, dir, ErrFolder, "phase3-0001.bin", "ceremony accept")
}

func TestManifestsAreStrict(t *testing.T) {
	text := read(t, filepath.Join(copyOf(t), manifestName))
	for what, c := range map[string]struct {
		old, new string
		want     error
	}{
		"unknown field":      {`"blocks"`, `"block"`, ErrManifest},
		"its format is":      {"ceremony/v3", "ceremony/v2", ErrManifest},
		"a segment has 1 to": {`"blocks": 4`, `"blocks": 400000`, ErrManifest},
		"has sets of builders of depth 10, not 11": {`"claim": "source/2",
  "blocks": 4`, `"claim": "build/1",
  "depth": 11`, ErrManifest},
		"no circuit for the claim \"source/2\" with 4 blocks and depth 10": {`"blocks": 4`, `"blocks": 4,
  "depth": 10`, ErrManifest},
		"no circuit for the claim \"source/1\"": {`source/2`, `source/1`, ErrManifest},
		"is not as this program":                {"{", "{ ", ErrManifest},
		"constraint system":                     {`"constraint_system": "`, `"constraint_system": "0`, ErrWrongCircuit},
		"the manifest says":                     {`"domain": `, `"domain": 1`, ErrWrongCircuit},
		"and gnark 9":                           {`"gnark": "`, `"gnark": "9`, ErrWrongCircuit},
		"cannot unmarshal":                      {`"blocks": 4`, `"blocks": "4"`, ErrManifest},
		"more than 4096 bytes":                  {"{", strings.Repeat(" ", maxJSON) + "{", ErrManifest},
	} {
		dir := t.TempDir()
		bad := strings.Replace(string(text), c.old, c.new, 1)
		write(t, filepath.Join(dir, manifestName), []byte(bad))
		_, err := openWith(dir, current.compile(false))
		refused(t, err, c.want, what)
	}
	_, err := openWith(t.TempDir(), current.compile(false))
	if err == nil || !strings.Contains(err.Error(), "ceremony init") || outcome.Of(err) == outcome.Refused {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestACancelledStepLeavesTheTranscriptAsItWas(t *testing.T) {
	each(t, aCancelledStepLeavesTheTranscriptAsItWas)
}

func aCancelledStepLeavesTheTranscriptAsItWas(t *testing.T) {
	dir := before(t, 1, 2)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := open(t, dir).Contribute(ctx, nil)
	if !errors.Is(err, context.Canceled) || outcome.Of(err) == outcome.Refused {
		t.Errorf("cancelled: %v", err)
	}
	if n, err := open(t, dir).Status(); err != nil || n.Contributions[0] != 1 {
		t.Errorf("after it: %v, %v", n, err)
	}
}

// What a stranger sends is never a panic.
func FuzzAccept(f *testing.F) {
	dir := before(f, 2, 2)
	folder := open(f, dir)
	good := read(f, glob(f, dir, "phase2-0001-*")[0])
	f.Add([]byte{0}, uint16(0)) // the contribution itself: replayed
	f.Add([]byte{0, 0, 0xff, 0xff}, uint16(2+g1Size))
	f.Fuzz(func(t *testing.T, patch []byte, at uint16) {
		b := slices.Clone(good)
		copy(b[int(at)%len(b):], patch)
		if err := accept(t, folder, b); err == nil {
			t.Error("accepted")
		} else if outcome.Of(err) != outcome.Refused {
			t.Errorf("no refusal: %v", err)
		}
	})
}
