package rebuild

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/internal/durable"
)

const (
	reportFile    = "report.json"
	reportVersion = 1

	// SecondExt ends the name of the second binary in a report's directory, if it is another.
	SecondExt = ".second"

	// maxReport bounds report.json, in bytes: a list, twice as long in JSON, and little else.
	maxReport = 4 * build.MaxList

	// MaxBinary bounds a binary, in bytes.
	MaxBinary = 512 << 20
)

// A Report says what two runs made of a crate. It is what a builder attests, if both made the same.
type Report struct {
	Subject  entry.Subject
	Claim    entry.Build // of the first run; Root and Tag are zero
	Artifact []byte      // the binary of the first run
	List     build.List  // of the crates that were compiled, but for the subject

	Same       bool
	Second     []byte // the binary of the second run, if it is another; else nil
	Difference string // if so, the first section that differs, or place; else ""

	SameUser bool   // both ran as one user of the host: whoever is not root cannot do otherwise
	Limits   string // how the sandbox bounded both: sandbox.Used
	Took     [2]time.Duration
}

// A wireReport is report.json. Its one encoding is that of MarshalIndent with a line feed.
type wireReport struct {
	Version     int      `json:"version"`
	Registry    string   `json:"registry"`
	Name        string   `json:"name"`
	Crate       string   `json:"crate_version"`
	SHA256      string   `json:"crate_sha256"`
	Binary      string   `json:"binary"`
	Target      string   `json:"target"`
	Artifact    string   `json:"artifact"`
	Toolchain   string   `json:"toolchain"`
	Environment string   `json:"environment"`
	Recipe      uint64   `json:"recipe"`
	Lock        string   `json:"lock"`
	Compiled    string   `json:"compiled"`
	List        []string `json:"compiled_list"`
	Same        bool     `json:"same"`
	Second      string   `json:"second_artifact"`
	Difference  string   `json:"difference"`
	SameUser    bool     `json:"same_user"`
	Limits      string   `json:"limits"`
	Took        [2]int64 `json:"took_ms"`
}

// Check returns nil if a report does not contradict itself.
func (r *Report) Check() error {
	if _, err := r.Claim.Request(r.Subject); err != nil {
		return err
	}
	switch {
	case r.Claim.Root != [32]byte{} || r.Claim.Tag != [32]byte{}:
		return errors.New("a report is of no set of builders: root and tag are not its affair")
	case sha256.Sum256(r.Artifact) != r.Claim.Artifact:
		return fmt.Errorf("the binary has SHA-256 %x, not that of the report, %x", sha256.Sum256(r.Artifact),
			r.Claim.Artifact)
	case r.List.Digest() != r.Claim.Compiled:
		return errors.New("the list of compiled crates is not that of the report's hash")
	case r.Same != (r.Second == nil) || r.Same != (r.Difference == "") || !r.Same && bytes.Equal(r.Second, r.Artifact):
		return errors.New("the report does not know whether both runs made the same")
	case len(r.Difference) > 1000 || len(r.Limits) > 100:
		return errors.New("the report has sentences that are too long")
	}
	return r.List.Check()
}

// Write writes a report into a directory, which it makes: the binary under its name, executable, the second
// one, if it is another, beside it with SecondExt, and report.json at last. Files that are there are replaced.
func (r *Report) Write(dir string) error {
	if err := r.Check(); err != nil {
		return err
	}
	if r.Claim.Binary == reportFile || r.Claim.Binary+SecondExt == reportFile {
		return fmt.Errorf("a binary with the name %s has no place beside the report", r.Claim.Binary)
	}
	text, err := r.marshal()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, reportFile)); err != nil { // it is not that of what is written next
		return err
	}
	if err := durable.Write(filepath.Join(dir, r.Claim.Binary), r.Artifact, 0o755); err != nil {
		return err
	}
	if r.Second != nil {
		if err := durable.Write(filepath.Join(dir, r.Claim.Binary+SecondExt), r.Second, 0o755); err != nil {
			return err
		}
	}
	return durable.Write(filepath.Join(dir, reportFile), text, 0o644)
}

func (r *Report) marshal() ([]byte, error) {
	w := wireReport{
		Version: reportVersion, Registry: r.Subject.Registry, Name: r.Subject.Name, Crate: r.Subject.Version,
		SHA256: hex.EncodeToString(r.Subject.SHA256[:]), Binary: r.Claim.Binary, Target: r.Claim.Target,
		Artifact: hex.EncodeToString(r.Claim.Artifact[:]), Toolchain: hex.EncodeToString(r.Claim.Toolchain[:]),
		Environment: hex.EncodeToString(r.Claim.Environment[:]), Recipe: r.Claim.Recipe,
		Lock: hex.EncodeToString(r.Claim.Lock[:]), Compiled: hex.EncodeToString(r.Claim.Compiled[:]), List: []string{},
		Same: r.Same, Difference: r.Difference, SameUser: r.SameUser, Limits: r.Limits,
		Took: [2]int64{r.Took[0].Milliseconds(), r.Took[1].Milliseconds()},
	}
	for line := range strings.Lines(string(r.List.Marshal())) {
		w.List = append(w.List, strings.TrimSuffix(line, "\n"))
	}
	if r.Second != nil {
		sum := sha256.Sum256(r.Second)
		w.Second = hex.EncodeToString(sum[:])
	}
	b, err := json.MarshalIndent(w, "", "  ")
	return append(b, '\n'), err
}

// ReadReport reads the directory that Write wrote. The binaries in it have the hashes of the report, and the
// list too. A report of two runs that differ can be read; whoever attests must look at Same.
func ReadReport(dir string) (*Report, error) {
	path := filepath.Join(dir, reportFile)
	text, err := durable.Read(path, maxReport)
	if err != nil {
		return nil, err
	}
	r, second, err := parseReport(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; rebuild, and write it again", path, err)
	}
	if r.Artifact, err = durable.Read(filepath.Join(dir, r.Claim.Binary), MaxBinary); err != nil {
		return nil, err
	}
	if !r.Same {
		at := filepath.Join(dir, r.Claim.Binary+SecondExt)
		if r.Second, err = durable.Read(at, MaxBinary); err != nil {
			return nil, err
		}
		if sha256.Sum256(r.Second) != second {
			return nil, fmt.Errorf("%s is not the binary of the report; rebuild, and write it again", at)
		}
	}
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w; rebuild, and write it again", path, err)
	}
	return r, nil
}

// parseReport reads report.json in its one encoding; second is the hash of the second binary. The
// binaries are missing, so Check is still to be called.
func parseReport(text []byte) (r *Report, second [32]byte, err error) {
	if len(text) > maxReport {
		return nil, second, fmt.Errorf("the report has %d bytes, more than %d", len(text), maxReport)
	}
	var w wireReport
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return nil, second, err
	}
	if w.Version != reportVersion {
		return nil, second, fmt.Errorf("version %d of a report is not known here; only version %d is", w.Version,
			reportVersion)
	}
	if again, err := json.MarshalIndent(w, "", "  "); err != nil || !bytes.Equal(append(again, '\n'), text) {
		return nil, second, errors.New("the report is not in its one encoding")
	}
	r = &Report{
		Subject:    entry.Subject{Registry: w.Registry, Name: w.Name, Version: w.Crate},
		Claim:      entry.Build{Binary: w.Binary, Target: w.Target, Recipe: w.Recipe},
		Same:       w.Same,
		Difference: w.Difference, SameUser: w.SameUser, Limits: w.Limits,
		Took: [2]time.Duration{time.Duration(w.Took[0]) * time.Millisecond, time.Duration(w.Took[1]) * time.Millisecond},
	}
	for _, f := range []struct {
		to        *[32]byte
		key, from string
		none      bool // it may be missing
	}{
		{&r.Subject.SHA256, "crate_sha256", w.SHA256, false}, {&r.Claim.Artifact, "artifact", w.Artifact, false},
		{&r.Claim.Toolchain, "toolchain", w.Toolchain, false}, {&r.Claim.Environment, "environment", w.Environment, false},
		{&r.Claim.Lock, "lock", w.Lock, false}, {&r.Claim.Compiled, "compiled", w.Compiled, false},
		{&second, "second_artifact", w.Second, w.Same},
	} {
		if f.none && f.from == "" {
			continue
		}
		b, err := hex.DecodeString(f.from)
		if err != nil || len(b) != len(f.to) || f.none || hex.EncodeToString(b) != f.from {
			return nil, second, fmt.Errorf("%s must be 64 lower-case hex digits, and empty only of a second binary "+
				"that is the first: %.100q", f.key, f.from)
		}
		*f.to = [32]byte(b)
	}
	if w.Same != (w.Difference == "") {
		return nil, second, errors.New("the report does not know whether both runs made the same")
	}
	for _, took := range w.Took {
		if took < 0 || took > time.Hour.Milliseconds()*1000 {
			return nil, second, fmt.Errorf("took_ms must be 0 to 3,600,000,000, and has %d", took)
		}
	}
	list := strings.Join(w.List, "\n")
	if len(w.List) > 0 {
		list += "\n"
	}
	if r.List, err = build.ParseList([]byte(list)); err != nil {
		return nil, second, err
	}
	if len(r.List) != len(w.List) {
		return nil, second, errors.New("compiled_list has an element that is not one line")
	}
	if _, err := r.Claim.Request(r.Subject); err != nil {
		return nil, second, err
	}
	return r, second, nil
}
