// Package backlog proves in bulk: the crates of a lock file that nobody has proven yet. It is what
// "cargo zkp prove --lock" does, and the report that it leaves.
//
// What a crate, its manifest, a repository, a registry or a log says is hostile: it decides, within
// bounds, what is fetched from where, and never what is true. No reader believes anything of this.
package backlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/entry"
	"cratelog/internal/durable"
)

// Format is the label of a report.
const Format = "cratelog/prove-lock/v1"

// ReportName is the name of the report in a work directory.
const ReportName = "prove-lock.json"

const (
	maxReport = 32 << 20 // bytes
	maxCrates = 1 << 16
	maxText   = 4096 // bytes of a sentence or a URL
)

// Report is what became of the crates of a lock file, in its order.
type Report struct {
	Format string  `json:"format"` // Format
	Lock   string  `json:"lock"`   // SHA-256 of Cargo.lock, in hex
	Crates []Crate `json:"crates"`
}

// Crate is what became of one crate of a registry.
type Crate struct {
	Name     string  `json:"name"`
	Version  string  `json:"version"`
	Registry string  `json:"registry"` // as entry.Registry spells it
	SHA256   string  `json:"sha256"`   // of the .crate, in hex
	Outcome  Outcome `json:"outcome"`

	Cause  Cause  `json:"cause,omitempty"`  // where it is Refused
	Detail string `json:"detail,omitempty"` // more of why, in sentences; may quote strangers

	Repository string `json:"repository,omitempty"` // that was, or would be, read: a URL or a path
	Commit     string `json:"commit,omitempty"`     // in hex
	Path       string `json:"path,omitempty"`       // of the package in the repository
	Next       string `json:"next,omitempty"`       // what can be done about it, a sentence
}

// Outcome says what became of a crate.
type Outcome string

// Outcomes.
const (
	Proven  Outcome = "proven"  // there is an entry in the work directory, which was verified
	Logged  Outcome = "logged"  // the log has a bundle of it
	Refused Outcome = "refused" // it cannot be proven
	Failed  Outcome = "failed"  // it could not be tried
	Left    Outcome = "left"    // it was not come to
)

var outcomes = []Outcome{Proven, Logged, Refused, Failed, Left}

// Cause is why a crate cannot be proven.
type Cause string

// Causes.
const (
	Dirty          Cause = "dirty"
	NoCommit       Cause = "no-commit"
	NoRepository   Cause = "no-repository"
	RepositoryGone Cause = "repository-gone"
	CommitGone     Cause = "commit-gone"
	Differs        Cause = "differs"
	LineEnds       Cause = "line-ends"
	TooLarge       Cause = "too-large"
	Submodule      Cause = "submodule"
	OtherRegistry  Cause = "other-registry"
	NotListed      Cause = "not-listed"
	Other          Cause = "other"
)

// Causes are all causes, those that are mended at least cost first.
var Causes = []Cause{NoRepository, RepositoryGone, Submodule, NoCommit, CommitGone, OtherRegistry, LineEnds, Dirty,
	Differs, TooLarge, NotListed, Other}

var sentences = map[Cause]string{
	Dirty:          "packaged with uncommitted changes",
	NoCommit:       "names no commit, and no tag has its files",
	NoRepository:   "names no repository that anybody can fetch",
	RepositoryGone: "its repository is gone, or not public",
	CommitGone:     "its commit is not in the repository",
	Differs:        "its files differ from its commit's",
	LineEnds:       "its line ends differ from its commit's in a way that no claim can carry",
	TooLarge:       "too large for a proof",
	Submodule:      "a submodule of its commit cannot be fetched",
	OtherRegistry:  "from a registry that cannot be asked",
	NotListed:      "not what the log's registry lists",
	Other:          "cannot be proven",
}

// Sentence says what the cause is, in one short clause about the crate; "" for none.
func (c Cause) Sentence() string { return sentences[c] }

// Marshal returns the report's file: JSON with an indent of two spaces.
func (r *Report) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(r)
	return b.Bytes(), err
}

// With returns the report, and with it what another one has of crates that are not in it.
func (r *Report) With(other *Report) *Report {
	all := &Report{Format: r.Format, Lock: r.Lock, Crates: slices.Clone(r.Crates)}
	seen := map[[3]string]bool{}
	for _, c := range r.Crates {
		seen[[3]string{c.Registry, c.Name, c.Version}] = true
	}
	for _, c := range other.Crates {
		if !seen[[3]string{c.Registry, c.Name, c.Version}] {
			all.Crates = append(all.Crates, c)
		}
	}
	return all
}

// ReadReport reads a report that prove --lock has written. The error of a file that is not there is
// fs.ErrNotExist.
func ReadReport(path string) (*Report, error) {
	b, err := durable.Read(path, maxReport)
	if err != nil {
		return nil, err
	}
	r, err := ParseReport(b)
	if err != nil {
		return nil, fmt.Errorf("%s is no report of cargo zkp prove --lock: %w", path, err)
	}
	return r, nil
}

// ParseReport is ReadReport of a file's content. What it returns has no text that does something to
// a terminal.
func ParseReport(b []byte) (*Report, error) {
	if len(b) > maxReport {
		return nil, fmt.Errorf("it has more than %d bytes", maxReport)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	r := &Report{}
	if err := d.Decode(r); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows it")
	}
	switch {
	case r.Format != Format:
		return nil, fmt.Errorf("its format is %.99q, and not %q", r.Format, Format)
	case !isHex(r.Lock, sha256.Size):
		return nil, fmt.Errorf("its lock is %.99q, and no SHA-256", r.Lock)
	case len(r.Crates) > maxCrates:
		return nil, fmt.Errorf("it has %d crates, and at most %d are read", len(r.Crates), maxCrates)
	}
	seen := map[[3]string]bool{}
	for i := range r.Crates {
		c := &r.Crates[i]
		id := [3]string{c.Registry, c.Name, c.Version}
		err := c.check()
		if seen[id] {
			err = errors.New("it is there twice")
		}
		if err != nil {
			return nil, fmt.Errorf("crate number %d: %w", i+1, err)
		}
		seen[id] = true
	}
	return r, nil
}

func (c *Crate) check() error {
	err := errors.Join(entry.CheckName(c.Name), entry.CheckVersion(c.Version))
	if err == nil && c.Cause != OtherRegistry { // which may be one that no entry can name
		err = entry.CheckRegistry(c.Registry)
	}
	if err == nil && c.Path != "" {
		err = entry.CheckPath(c.Path)
	}
	switch {
	case err != nil:
		return err
	case !isHex(c.SHA256, sha256.Size):
		return fmt.Errorf("its sha256 is %.99q", c.SHA256)
	case c.Commit != "" && !isHex(c.Commit, 20):
		return fmt.Errorf("its commit is %.99q", c.Commit)
	case !slices.Contains(outcomes, c.Outcome):
		return fmt.Errorf("its outcome is %.99q", c.Outcome)
	case (c.Outcome == Refused) != (c.Cause != "") || c.Cause != "" && c.Cause.Sentence() == "":
		return fmt.Errorf("its outcome is %q, and its cause %.99q", c.Outcome, c.Cause)
	}
	for _, s := range []string{c.Registry, c.Detail, c.Repository, c.Next} {
		if len(s) > maxText || s != clean(s) {
			return fmt.Errorf("a text of it is longer than %d bytes, or has characters that cannot be printed", maxText)
		}
	}
	return nil
}

func isHex(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size && hex.EncodeToString(b) == s
}

// Count returns how many crates have an outcome.
func (r *Report) Count(o Outcome) (n int) {
	for _, c := range r.Crates {
		if c.Outcome == o {
			n++
		}
	}
	return n
}

// Dir returns the work directory of a workspace in the user's cache: where entries, openings, bundles
// and the report are kept, so that no proof is made twice. It need not be there.
func Dir(workspaceRoot string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory for proofs; name a directory with --dir: %w", err)
	}
	root, err := filepath.Abs(workspaceRoot)
	if err != nil {
		return "", err
	}
	name := sha256.Sum256([]byte(filepath.ToSlash(root)))
	return filepath.Join(cache, "cratelog", "prove-lock", hex.EncodeToString(name[:8])), nil
}

// clean returns a text with what is not printable written as Go does, but for line ends, and cut to
// what a report holds.
func clean(s string) string {
	const more = " ..."
	if len(s) > maxText {
		s = s[:maxText-len(more)] + more
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "?") {
		if r == '\n' || printable(r) {
			b.WriteRune(r)
		} else {
			b.WriteByte('?')
		}
	}
	return b.String()
}
