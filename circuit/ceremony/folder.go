package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/consensys/gnark"
	"github.com/consensys/gnark/backend/groth16/bn254/mpcsetup"
	cs "github.com/consensys/gnark/constraint/bn254"

	"cratelog/internal/durable"
)

const (
	format       = "cratelog/ceremony/v3"
	manifestName = "manifest.json"
	maxJSON      = 4096 // bytes of a manifest or a beacon
	maxFiles     = 4096 // contributions of a phase, with the start
)

// manifest is manifest.json.
type manifest struct {
	Format string `json:"format"`
	Circuit
	System      string `json:"constraint_system"` // SHA-256 in hex, see hashSystem
	Constraints int    `json:"constraints"`
	Domain      uint64 `json:"domain"`
	Gnark       string `json:"gnark"`
}

func newManifest(of Circuit, s *shape) manifest {
	return manifest{format, of, hex.EncodeToString(s.hash[:]),
		s.system.GetNbConstraints(), s.domain, gnark.Version.String()}
}

// beacon is phase1-beacon.json or phase2-beacon.json.
type beacon struct {
	Phase  int    `json:"phase"`
	Value  string `json:"value"`  // hex
	After  string `json:"after"`  // SHA-256 of the last contribution
	Yields string `json:"yields"` // phase 1: SHA-256 of phase 2's start; phase 2: the program id
}

func marshalJSON(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // our own structs of strings and numbers
	}
	return append(b, '\n')
}

// readJSON reads a small file that must be what marshalJSON writes.
func readJSON(path string, v any) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := durable.ReadAll(f, maxJSON)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if !bytes.Equal(marshalJSON(v), text) {
		return nil, fmt.Errorf("%s is not as this program writes it: a field is missing, twice "+
			"there or written differently", filepath.Base(path))
	}
	return text, nil
}

// openRegular opens a file that is neither a link nor a device.
func openRegular(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file; put the file itself there", ErrFolder,
			filepath.Base(path))
	}
	return os.Open(path)
}

// A Folder is a ceremony's transcript whose circuit has been compiled and is the
// manifest's. Its methods must not be called concurrently, nor after one whose context
// was cancelled.
type Folder struct {
	dir      string
	circuit  Circuit
	shape    *shape
	manifest [32]byte // SHA-256 of the file
	known    known
}

// Init starts a ceremony for a circuit in a folder that is empty or does not exist. With the path of a
// .ptau file, phase 1 starts from the powers of tau in it; see Import.
func Init(dir string, of Circuit, ptau string) (*Folder, error) {
	return create(dir, of, Circuit.compile, ptau)
}

func create(dir string, of Circuit, compile func(Circuit) (*cs.R1CS, error), ptau string) (*Folder, error) {
	if err := of.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if there, err := os.ReadDir(dir); err != nil {
		return nil, err
	} else if len(there) > 0 {
		return nil, fmt.Errorf("%w: %s is not empty; a ceremony begins in a new folder", ErrFolder, dir)
	}
	system, err := compile(of)
	if err != nil {
		return nil, err
	}
	s, err := newShape(system)
	if err != nil {
		return nil, err
	}
	f := &Folder{dir: dir, circuit: of, shape: s}
	var start io.WriterTo
	if err = guard(func() (err error) {
		start, err = f.firstStart(ptau)
		return err
	}); err != nil {
		return nil, err
	}
	if _, err := f.add(1, 0, start); err != nil {
		return nil, err
	}
	// The manifest last: a folder without one is not taken for a ceremony.
	if err := f.write(manifestName, newManifest(of, s)); err != nil {
		return nil, err
	}
	return openWith(dir, func(Circuit) (*cs.R1CS, error) { return system, nil })
}

// firstStart returns the start of phase 1. If it comes from a powers-of-tau file, import.json
// says so.
func (f *Folder) firstStart(ptau string) (io.WriterTo, error) {
	if ptau == "" {
		return mpcsetup.NewPhase1(f.shape.domain), nil
	}
	start, from, err := readPtau(ptau, f.shape.domain)
	if err != nil {
		return nil, err
	}
	return start, f.write(importName, from)
}

// Open reads a folder's manifest, compiles its circuit and compares the two. It looks at no contribution.
func Open(dir string) (*Folder, error) { return openWith(dir, Circuit.compile) }

func openWith(dir string, compile func(Circuit) (*cs.R1CS, error)) (*Folder, error) {
	var m manifest
	text, err := readJSON(filepath.Join(dir, manifestName), &m)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no ceremony: %w; begin one with `ceremony init`", dir, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w; get the folder anew from the coordinator", ErrManifest, err)
	}
	if m.Format != format {
		return nil, fmt.Errorf("%w: its format is %q and this version reads %q; use the version "+
			"that began the ceremony", ErrManifest, m.Format, format)
	}
	if err := m.Circuit.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	system, err := compile(m.Circuit)
	if err != nil {
		return nil, err
	}
	s, err := newShape(system)
	if err != nil {
		return nil, err
	}
	if want := newManifest(m.Circuit, s); m.System != want.System {
		return nil, fmt.Errorf("%w: its constraint system has the SHA-256 %s, and this version's "+
			"circuit for %v has %s; use the version of cratelog that began the ceremony, or begin a new one",
			ErrWrongCircuit, m.System, m.Circuit, want.System)
	} else if m != want {
		return nil, fmt.Errorf("%w: the manifest says %d constraints, domain %d and gnark %s, and "+
			"this version has %d, %d and %s; use the version of cratelog that began the ceremony",
			ErrWrongCircuit, m.Constraints, m.Domain, m.Gnark, want.Constraints, want.Domain, want.Gnark)
	}
	return &Folder{dir: dir, circuit: m.Circuit, shape: s, manifest: sha256.Sum256(text)}, nil
}

// Circuit is what the ceremony makes keys of.
func (f *Folder) Circuit() Circuit { return f.circuit }

// Estimate says what the ceremony takes, roughly.
func (f *Folder) Estimate() Estimate { return f.shape.estimate() }

var fileName = regexp.MustCompile(`^phase([12])-([0-9]{4})-([0-9a-f]{64})\.bin$`)

func nameOf(phase, number int, hash [32]byte) string {
	return fmt.Sprintf("phase%d-%04d-%x.bin", phase, number, hash)
}

func beaconName(phase int) string { return fmt.Sprintf("phase%d-beacon.json", phase) }

// state is what the folder's names say.
type state struct {
	files  [2][]Contribution // by phase, in order, from the start on
	beacon [2]bool

	imported bool // phase 1 starts from a powers-of-tau file
}

// sealable says whether the phase has a contributor who may have been honest: its own
// contributors, or in phase 1 those of the powers-of-tau file.
func (s *state) sealable(phase int) bool {
	return len(s.files[phase-1]) > 1 || phase == 1 && s.imported
}

// phase is the phase that takes contributions, or 3.
func (s *state) phase() int {
	switch {
	case s.beacon[1]:
		return 3
	case s.beacon[0]:
		return 2
	}
	return 1
}

func (s *state) last(phase int) Contribution {
	files := s.files[phase-1]
	return files[len(files)-1]
}

// scan reads the folder's names and checks that they are those of a transcript
// without gaps, in which no contribution is there twice.
func (f *Folder) scan() (*state, error) {
	names, err := os.ReadDir(f.dir) // sorted, so by phase and number
	if err != nil {
		return nil, err
	}
	s := new(state)
	seen := map[[32]byte]string{}
	for _, n := range names {
		switch n.Name() {
		case manifestName:
			continue
		case importName:
			s.imported = true
			continue
		case beaconName(1), beaconName(2):
			s.beacon[int(n.Name()[len("phase")]-'1')] = true
			continue
		}
		if strings.HasPrefix(n.Name(), ".") {
			continue
		}
		m := fileName.FindStringSubmatch(n.Name())
		if m == nil {
			return nil, fmt.Errorf("%w: it holds %q, which is not a file of a ceremony; take it "+
				"away, or pass a contribution to `ceremony accept`", ErrFolder, n.Name())
		}
		phase, _ := strconv.Atoi(m[1])
		number, _ := strconv.Atoi(m[2])
		hash, _ := hex.DecodeString(m[3])
		if err := s.place(Contribution{phase, number, [32]byte(hash), n.Name()}, seen); err != nil {
			return nil, err
		}
	}
	return s, s.complete()
}

func (s *state) place(f Contribution, seen map[[32]byte]string) error {
	if old, again := seen[f.SHA256]; again {
		return fmt.Errorf("%w: %s and %s are the same file; take the copy away", ErrReplayed, old, f.Name)
	}
	seen[f.SHA256] = f.Name
	files := &s.files[f.Phase-1]
	switch next := len(*files); {
	case f.Number < next:
		return fmt.Errorf("%w: %s and %s have the same number; keep the one that was announced "+
			"first, and ask for the other to be made again on top of it", ErrOrder, (*files)[f.Number].Name, f.Name)
	case f.Number > next:
		return fmt.Errorf("%w: phase %d has number %d and no number %d; get it from whoever made "+
			"it, or from another copy of the folder", ErrMissing, f.Phase, f.Number, next)
	}
	*files = append(*files, f)
	return nil
}

func (s *state) complete() error {
	switch {
	case len(s.files[0]) == 0:
		return fmt.Errorf("%w: phase 1 has no start, the file with number 0; get it from another "+
			"copy of the folder", ErrMissing)
	case s.beacon[1] && !s.beacon[0]:
		return fmt.Errorf("%w: there is %s and no %s; get it from another copy of the folder", ErrMissing,
			beaconName(2), beaconName(1))
	case s.beacon[0] && len(s.files[1]) == 0:
		return fmt.Errorf("%w: phase 1 is sealed and phase 2 has no start, the file with number "+
			"0; get it from another copy of the folder", ErrMissing)
	case !s.beacon[0] && len(s.files[1]) > 0:
		return fmt.Errorf("%w: there is %s and no %s; get it from another copy of the folder, or "+
			"take phase 2's files away and run `ceremony beacon -phase 1` again", ErrMissing,
			s.files[1][0].Name, beaconName(1))
	case len(s.files[0]) > maxFiles || len(s.files[1]) > maxFiles:
		return fmt.Errorf("%w: a phase has at most %d files", ErrFolder, maxFiles)
	}
	return nil
}

// write makes a file in the folder, never over another.
func (f *Folder) write(name string, v any) error {
	return durable.WriteNew(filepath.Join(f.dir, name), marshalJSON(v), 0o644)
}
