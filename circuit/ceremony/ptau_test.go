package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
)

// ptauWriter writes a .ptau file of known secrets.
type ptauWriter struct {
	power    uint32
	whole    uint32
	modulus  []byte // little-endian
	srs      mpcsetup.SrsCommons
	record   []byte // of the one contribution, without parameters
	params   []byte
	count    uint32
	extra    map[uint32][]byte
	omit     uint32
	trailing []byte
}

const testPower = 8

var testSecrets = [3]uint64{5_000_000_007, 6_000_000_011, 7_000_000_001}

func newPtau(t testing.TB) *ptauWriter {
	t.Helper()
	w := &ptauWriter{power: testPower, whole: 28, count: 1, extra: map[uint32][]byte{}}
	w.modulus = fp.Modulus().FillBytes(make([]byte, fp.Bytes))
	slices.Reverse(w.modulus)
	s := testPowers()
	w.srs = s
	w.srs.G1.Tau, w.srs.G2.Tau = slices.Clone(s.G1.Tau), slices.Clone(s.G2.Tau)
	w.srs.G1.AlphaTau, w.srs.G1.BetaTau = slices.Clone(s.G1.AlphaTau), slices.Clone(s.G1.BetaTau)
	w.lastRecord()
	return w
}

func (w *ptauWriter) secrets(secret [3]uint64) {
	w.srs = powers(1<<w.power, secret)
	w.lastRecord()
}

var testPowers = sync.OnceValue(func() mpcsetup.SrsCommons { return powers(1<<testPower, testSecrets) })

// powers are the parameters of phase 1 with known secrets.
func powers(n uint64, secrets [3]uint64) (srs mpcsetup.SrsCommons) {
	_, _, gen1, gen2 := curve.Generators()
	var secret [3]fr.Element
	for i := range secret {
		secret[i].SetUint64(secrets[i])
	}
	times := func(x fr.Element, n uint64) fr.Vector {
		v := make(fr.Vector, n)
		for i := range v {
			v[i] = x
			x.Mul(&x, &secret[0])
		}
		return v
	}
	srs.G1.Tau = curve.BatchScalarMultiplicationG1(&gen1, times(fr.One(), 2*n-1))
	srs.G1.AlphaTau = curve.BatchScalarMultiplicationG1(&gen1, times(secret[1], n))
	srs.G1.BetaTau = curve.BatchScalarMultiplicationG1(&gen1, times(secret[2], n))
	srs.G2.Tau = curve.BatchScalarMultiplicationG2(&gen2, times(fr.One(), n))
	srs.G2.Beta = curve.BatchScalarMultiplicationG2(&gen2, secret[2:])[0]
	return srs
}

// lastRecord makes the record that leads to the parameters; its proofs are zeros.
func (w *ptauWriter) lastRecord() {
	w.record = append(recordOf(&w.srs), make([]byte, recordSize-len(recordOf(&w.srs))-4)...)
}

func (w *ptauWriter) bytes() []byte {
	le := binary.LittleEndian
	header := le.AppendUint32(nil, fp.Bytes)
	header = le.AppendUint32(le.AppendUint32(append(header, w.modulus...), w.power), w.whole)
	records := le.AppendUint32(nil, w.count)
	if w.count > 0 {
		records = append(le.AppendUint32(append(records, w.record...), uint32(len(w.params))), w.params...)
	}
	sections := map[uint32][]byte{1: header, 2: rawOf1(w.srs.G1.Tau...), 3: rawOf2(w.srs.G2.Tau...), 4: rawOf1(w.srs.G1.AlphaTau...),
		5: rawOf1(w.srs.G1.BetaTau...), 6: rawOf2(w.srs.G2.Beta), 7: records}
	for kind, b := range w.extra {
		sections[kind] = b
	}
	delete(sections, w.omit)
	out := le.AppendUint32(le.AppendUint32([]byte("ptau"), 1), uint32(len(sections)))
	for kind := range uint32(100) {
		if b, ok := sections[kind]; ok {
			out = append(le.AppendUint64(le.AppendUint32(out, kind), uint64(len(b))), b...)
		}
	}
	return append(out, w.trailing...)
}

func (w *ptauWriter) file(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pot.ptau")
	write(t, name, w.bytes())
	return name
}

func TestAPtauFileIsReadAsWritten(t *testing.T) {
	w := newPtau(t)
	w.params = []byte{1, 2, 'm', 'e'}
	w.extra[12] = []byte("what others derive")
	for _, n := range []uint64{2, 64, 1 << testPower} {
		p, from, err := readPtau(w.file(t), n)
		fatalIf(t, err)
		want := &bare{powers(n, testSecrets)}
		if !bytes.Equal(encoded(t, p), encoded(t, want)) || from.Power != testPower || from.Contributions != 1 {
			t.Errorf("%d points: %+v", n, from)
		}
		// gnark begins there as well.
		next := asPhase1(t, p)
		next.Contribute()
		fatalIf(t, asPhase1(t, p).Verify(next))
	}
}

// stray is a point of G2's curve, of the order 10069: the least that is not of the subgroup.
func stray(t testing.TB) curve.G2Affine {
	t.Helper()
	// The curve's order is r (2p - r).
	rest := new(big.Int).Lsh(fp.Modulus(), 1)
	rest.Sub(rest, fr.Modulus())
	rest.Div(rest, big.NewInt(10069))
	for i := uint64(1); ; i++ {
		var b [g2Size]byte
		b[0], b[g2Size-1] = 0x80, byte(i) // compressed, x = i
		var p curve.G2Affine
		if curve.NewDecoder(bytes.NewReader(b[:]), curve.NoSubgroupChecks()).Decode(&p) != nil {
			continue
		}
		// Not ScalarMultiplication: it is for points of the subgroup.
		times := func(p curve.G2Affine, k *big.Int) (out curve.G2Affine) {
			for j := k.BitLen() - 1; j >= 0; j-- {
				out.Double(&out)
				if k.Bit(j) == 1 {
					out.Add(&out, &p)
				}
			}
			return out
		}
		if p = times(times(p, fr.Modulus()), rest); !p.IsInfinity() {
			if q := times(p, big.NewInt(10069)); !q.IsInfinity() || p.IsInSubGroup() {
				t.Fatal("the order of the curve is another")
			}
			return p
		}
	}
}

func TestABadPtauFileIsRefused(t *testing.T) {
	_, _, gen1, gen2 := curve.Generators()
	bad2 := stray(t)
	other := powers(1<<testPower, [3]uint64{99, testSecrets[1], testSecrets[2]})
	set := func(f func(s *mpcsetup.SrsCommons)) func(w *ptauWriter) {
		return func(w *ptauWriter) {
			f(&w.srs)
			w.lastRecord()
		}
	}
	for name, c := range map[string]struct {
		want   string
		change func(w *ptauWriter)
	}{
		"another curve":                   {"another curve", func(w *ptauWriter) { w.modulus[0] ^= 2 }},
		"power of zero":                   {"has the power", func(w *ptauWriter) { w.power = 0 }},
		"a huge power":                    {"has the power", func(w *ptauWriter) { w.power = 60 }},
		"a power above the whole":         {"has the power", func(w *ptauWriter) { w.whole = 7 }},
		"a power above its points":        {"bytes in section", func(w *ptauWriter) { w.power = 9 }},
		"too small for the circuit":       {"get one of a larger power", func(w *ptauWriter) { w.power = 5; w.secrets(testSecrets) }},
		"a missing section":               {"bytes in section 4", func(w *ptauWriter) { w.omit = 4 }},
		"no records":                      {"section 7", func(w *ptauWriter) { w.omit = 7 }},
		"no header":                       {"no header", func(w *ptauWriter) { w.omit = 1 }},
		"an unknown section":              {"unknown type 9", func(w *ptauWriter) { w.extra[9] = nil }},
		"a section of type 99":            {"unknown type 99", func(w *ptauWriter) { w.extra[99] = nil }},
		"something behind it":             {"after its last section", func(w *ptauWriter) { w.trailing = []byte{0} }},
		"a point short":                   {"bytes in section 2", func(w *ptauWriter) { w.srs.G1.Tau = w.srs.G1.Tau[1:] }},
		"a power of tau too many":         {"bytes in section 3", func(w *ptauWriter) { w.srs.G2.Tau = append(w.srs.G2.Tau, gen2) }},
		"no contribution":                 {"has no contribution", func(w *ptauWriter) { w.count = 0 }},
		"more contributions":              {"cut off in contribution 2", func(w *ptauWriter) { w.count = 2 }},
		"huge parameters":                 {"bytes of parameters", func(w *ptauWriter) { w.params = make([]byte, maxRecord+1) }},
		"records of other powers":         {"its last contribution made", func(w *ptauWriter) { w.record[70] ^= 1 }},
		"a first power that is not one":   {"generators", set(func(s *mpcsetup.SrsCommons) { s.G1.Tau[0].Double(&gen1) })},
		"the same in G2":                  {"generators", set(func(s *mpcsetup.SrsCommons) { s.G2.Tau[0].Double(&gen2) })},
		"a wrong power":                   {"its powers", set(func(s *mpcsetup.SrsCommons) { s.G1.Tau[17].Double(&gen1) })},
		"a wrong last power":              {"its powers", set(func(s *mpcsetup.SrsCommons) { s.G1.Tau[126].Double(&gen1) })},
		"a wrong power in G2":             {"its powers", set(func(s *mpcsetup.SrsCommons) { s.G2.Tau[63].Double(&gen2) })},
		"a wrong power with alpha":        {"its powers", set(func(s *mpcsetup.SrsCommons) { s.G1.AlphaTau[63] = gen1 })},
		"a wrong power with beta":         {"its powers", set(func(s *mpcsetup.SrsCommons) { s.G1.BetaTau[1] = gen1 })},
		"two powers exchanged":            {"its powers", set(func(s *mpcsetup.SrsCommons) { v := s.G1.Tau; v[3], v[4] = v[4], v[3] })},
		"another tau in G2":               {"its powers", set(func(s *mpcsetup.SrsCommons) { s.G2.Tau = other.G2.Tau })},
		"another tau with alpha":          {"its powers", set(func(s *mpcsetup.SrsCommons) { s.G1.AlphaTau = other.G1.AlphaTau })},
		"another beta in G2":              {"beta in G2 is another", set(func(s *mpcsetup.SrsCommons) { s.G2.Beta = gen2 })},
		"a tau of one":                    {"tau is one", func(w *ptauWriter) { w.secrets([3]uint64{1, 2, 3}) }},
		"an alpha of one":                 {"alpha is one", func(w *ptauWriter) { w.secrets([3]uint64{2, 1, 3}) }},
		"a beta of one":                   {"beta is one", func(w *ptauWriter) { w.secrets([3]uint64{2, 3, 1}) }},
		"a tau of zero":                   {"at infinity", func(w *ptauWriter) { w.secrets([3]uint64{0, 2, 3}) }},
		"an alpha of zero":                {"at infinity", func(w *ptauWriter) { w.secrets([3]uint64{2, 0, 3}) }},
		"a point off the curve":           {"not on the curve", set(func(s *mpcsetup.SrsCommons) { s.G1.Tau[5].X.SetOne() })},
		"a point of G2 off the curve":     {"not on the curve", set(func(s *mpcsetup.SrsCommons) { s.G2.Tau[5].X.SetOne() })},
		"a point outside of the subgroup": {"subgroup", set(func(s *mpcsetup.SrsCommons) { s.G2.Tau[5].Add(&s.G2.Tau[5], &bad2) })},
		"beta outside of the subgroup":    {"subgroup", set(func(s *mpcsetup.SrsCommons) { s.G2.Beta.Add(&s.G2.Beta, &bad2) })},
		"a coordinate above the modulus": {"not below", set(func(s *mpcsetup.SrsCommons) {
			s.G1.Tau[5].X = fp.Element{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
		})},
		"the modulus itself": {"not below", set(func(s *mpcsetup.SrsCommons) {
			for i, limb := range fp.Modulus().Bits() {
				s.G1.Tau[5].X[i] = uint64(limb)
			}
		})},
	} {
		w := newPtau(t)
		c.change(w)
		if _, _, err := readPtau(w.file(t), 64); !errors.Is(err, ErrPtau) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a word on %q", name, err, c.want)
		}
	}
	good := newPtau(t).bytes()
	for name, b := range map[string][]byte{
		"empty": nil, "another magic": append([]byte("zkey"), good[4:]...), "cut short": good[:len(good)-1], "a header only": good[:30],
		"another version": slices.Concat(good[:4], []byte{2}, good[5:]), "many sections": slices.Concat(good[:8], []byte{0xff}, good[9:]),
		"a section of more than all": slices.Concat(good[:19], []byte{0xff}, good[20:]),
	} {
		file := filepath.Join(t.TempDir(), "bad.ptau")
		write(t, file, b)
		if _, _, err := readPtau(file, 64); !errors.Is(err, ErrPtau) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A ceremony may start from a powers-of-tau file, with or without contributors of its
// own in phase 1.
func TestACeremonyStartsFromAPtauFile(t *testing.T) {
	ctx := t.Context()
	w := newPtau(t)
	file := w.file(t)
	for _, own := range []int{0, 1} {
		dir := filepath.Join(t.TempDir(), "c")
		f, err := create(dir, current.circuit, current.compile(false), file)
		fatalIf(t, err)
		for range own {
			_, err = f.Contribute(ctx, nil)
			fatalIf(t, err)
		}
		fatalIf(t, f.Seal(ctx, 1, beacons[0], nil))
		refused(t, f.Seal(ctx, 2, beacons[1], nil), ErrUnfinished, "phase 2 has no contribution")
		_, err = f.Contribute(ctx, nil)
		fatalIf(t, err)
		fatalIf(t, f.Seal(ctx, 2, beacons[1], nil))
		r, err := verify(t, dir)
		fatalIf(t, err)
		if r.Import == nil || r.Import.Contributions != 1 || len(r.Contributions) != own+1 ||
			r.Program.Origin != fmt.Sprintf("ceremony:%x ptau:%s", r.Transcript, r.Import.SHA256) {
			t.Fatalf("%+v, %s", r.Import, r.Program.Origin)
		}
		if transcriptBySha256sum(t, dir) != r.Transcript {
			t.Error("the transcript hash is not that of sha256sum")
		}
		var program, key bytes.Buffer
		fatalIf(t, r.Export(ctx, &program, &key, nil))
		checkExport(t, program.Bytes(), key.Bytes())
		fatalIf(t, open(t, dir).CompareImport(ctx, file, nil))
		attackImport(t, dir)
	}
}

func attackImport(t *testing.T, dir string) {
	t.Helper()
	other := newPtau(t)
	other.params = []byte{1, 1, 'x'}
	err := open(t, dir).CompareImport(t.Context(), other.file(t), nil)
	refused(t, err, ErrImport, "compare with the file")

	name := filepath.Join(dir, importName)
	text := read(t, name)
	for change, want := range map[[2]string]string{
		{`"yields": "`, `"yields": "0`}: "a hash of 32 bytes",
		{`"sha256": "`, `"sha256": "A`}: "a hash of 32 bytes",
		{`"power"`, `"prower"`}:         "unknown field",
		{"{", "{ "}:                     "is not as this program writes it",
	} {
		write(t, name, bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1))
		unverified(t, dir, ErrImport, want)
	}
	var from Import
	write(t, name, text)
	_, err = readJSON(name, &from)
	fatalIf(t, err)
	from.Yields = hex.EncodeToString(make([]byte, 32))
	write(t, name, marshalJSON(from))
	unverified(t, dir, ErrImport, "get both from another copy")
	fatalIf(t, os.Remove(name))
	_, err = verify(t, dir)
	if len(glob(t, dir, "phase1-*.bin")) == 1 {
		refused(t, err, ErrBeacon, "seals a phase without a contribution")
	} else {
		refused(t, err, ErrTampered, "phase 1 starts from SHA-256")
	}
}

// asPhase1 is a start as gnark reads it.
func asPhase1(t *testing.T, start *bare) *mpcsetup.Phase1 {
	t.Helper()
	p := new(mpcsetup.Phase1)
	_, err := p.ReadFrom(fullReader{bytes.NewReader(encoded(t, start))})
	fatalIf(t, err)
	return p
}

// Invented powers must still be powers of one tau.
func TestAnInventedImportIsRefused(t *testing.T) {
	_, _, gen1, _ := curve.Generators()
	outside := stray(t)
	system, err := current.compile(false)(current.circuit)
	fatalIf(t, err)
	shape, err := newShape(system)
	fatalIf(t, err)
	n := shape.domain
	good, _, err := readPtau(newPtau(t).file(t), n)
	fatalIf(t, err)
	contributed := asPhase1(t, good)
	contributed.Contribute()
	spoil := func(f func(s *mpcsetup.SrsCommons)) io.WriterTo {
		again := new(bare)
		_, err := again.SrsCommons.ReadFrom(bytes.NewReader(encoded(t, good)[3*proofSize:]))
		fatalIf(t, err)
		f(&again.SrsCommons)
		return again
	}
	for want, start := range map[string]io.WriterTo{
		"the powers of one tau":     spoil(func(s *mpcsetup.SrsCommons) { s.G1.Tau[3] = gen1 }),
		"beta in G2 is another":     spoil(func(s *mpcsetup.SrsCommons) { s.G2.Beta.Double(&s.G2.Beta) }),
		"there was no contribution": mpcsetup.NewPhase1(n),
		"alpha is zero":             spoil(func(s *mpcsetup.SrsCommons) { clear(s.G1.AlphaTau) }),
		"holds a contribution":      bytes.NewBuffer(slices.Concat(encoded(t, contributed)[:3*proofSize], encoded(t, good)[3*proofSize:])),
		"cannot be decoded":         spoil(func(s *mpcsetup.SrsCommons) { s.G2.Tau[1].Add(&s.G2.Tau[1], &outside) }),
	} {
		kind := ErrImport
		if want == "cannot be decoded" {
			kind = ErrTampered
		}
		dir := filepath.Join(t.TempDir(), "c")
		f, err := create(dir, current.circuit, current.compile(false), "")
		fatalIf(t, err)
		fatalIf(t, os.Remove(glob(t, dir, "phase1-0000-*")[0]))
		b := encoded(t, start)
		h := sha256.Sum256(b)
		zeros := strings.Repeat("00", 32)
		fatalIf(t, f.write(importName, Import{zeros, zeros + zeros, 8, 1, zeros, hex.EncodeToString(h[:])}))
		_, err = f.add(1, 0, bytes.NewBuffer(b))
		fatalIf(t, err)
		unverified(t, dir, kind, want)
	}
}

func FuzzPtau(f *testing.F) {
	w := newPtau(f)
	w.power = 2
	w.secrets(testSecrets)
	good := w.bytes()
	f.Add(good, uint16(0), byte(0))
	f.Add(good, uint16(8), byte(0xff))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, with byte) {
		if len(b) > 0 {
			b = slices.Clone(b)
			b[int(at)%len(b)] ^= with
		}
		name := filepath.Join(t.TempDir(), "f.ptau")
		write(t, name, b)
		p, _, err := readPtau(name, 4)
		if err != nil {
			if !errors.Is(err, ErrPtau) {
				t.Error(err)
			}
			return
		}
		fatalIf(t, checkImported(&p.SrsCommons))
	})
}

// testdata/snarkjs-3.ptau was made with snarkjs 0.7.6: powersoftau new bn128 10, two
// contributions, a beacon, prepare phase2, truncate.
func TestAPtauFileOfSnarkjsIsRead(t *testing.T) {
	_, from, err := readPtau(filepath.Join("testdata", "snarkjs-3.ptau"), 8)
	fatalIf(t, err)
	if from.Power != 3 || from.Contributions != 3 {
		t.Errorf("%+v", from)
	}
	// b2sum says the same.
	if want := "b489ed414ade576c"; !strings.HasPrefix(from.BLAKE2b, want) {
		t.Errorf("its BLAKE2b-512 is %s", from.BLAKE2b)
	}
}
