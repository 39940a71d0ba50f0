package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"cratelog/internal/durable"
)

// A Workspace names what crates are judged by, and where they come from: files and options,
// not what the files say. So its ID, and with it the URL by which cargo keeps what it
// downloads and compiles, stays when a policy changes.
type Workspace struct {
	Manifest    string   `json:"manifest"` // path of the root's Cargo.toml; "" for no workspace: the user's policy
	Policy      string   `json:"policy"`   // path of the policy; "" for the one that counts for the workspace
	Trust       []string `json:"trust"`    // paths of trust files, instead of the policy's
	Programs    []string `json:"programs"` // paths of program files, instead of the policy's
	Development bool     `json:"development"`
	Offline     bool     `json:"offline"`
	Index       string   `json:"index"` // URL of the real registry's sparse index; "" for what cargo is configured to use
}

// idSize is the length of an ID in hex.
const idSize = 16

var isID = regexp.MustCompile(fmt.Sprintf(`^[0-9a-f]{%d}$`, idSize)).MatchString

// maxWorkspace bounds the file of a workspace.
const maxWorkspace = 1 << 20

// ID returns the name under which a proxy serves a workspace: the beginning of a SHA-256 over
// all that names it.
func (w Workspace) ID() string {
	sum := sha256.Sum256(append([]byte("cratelog/proxy-workspace/v1\n"), w.text()...))
	return hex.EncodeToString(sum[:])[:idSize]
}

// text is the one form of a workspace as bytes.
func (w Workspace) text() []byte {
	w.Trust, w.Programs = append([]string{}, w.Trust...), append([]string{}, w.Programs...) // never null
	b, err := json.MarshalIndent(w, "", "\t")
	if err != nil {
		panic(err) // strings and bools can always be written
	}
	return append(b, '\n')
}

// Gone returns why there is nothing to serve any more, or nil: a file that names the workspace
// is not there.
func (w Workspace) Gone() error {
	for _, path := range slices.Concat([]string{w.Manifest, w.Policy}, w.Trust, w.Programs) {
		if path == "" {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			return err
		}
	}
	return nil
}

// Workspaces is a directory with one file for each workspace that is served.
type Workspaces string

// ErrNotInstalled: no workspace has this ID.
var ErrNotInstalled = errors.New("no workspace was installed with this ID")

func (d Workspaces) file(id string) string { return filepath.Join(string(d), id+".json") }

// Add has a workspace served.
func (d Workspaces) Add(w Workspace) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	return durable.Write(d.file(w.ID()), w.text(), 0o600)
}

// Remove has a workspace not served any more.
func (d Workspaces) Remove(id string) error {
	if !isID(id) {
		return ErrNotInstalled
	}
	if err := os.Remove(d.file(id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Get returns the workspace with an ID, or ErrNotInstalled. A file that does not say exactly
// what has this ID is an error.
func (d Workspaces) Get(id string) (Workspace, error) {
	if !isID(id) {
		return Workspace{}, ErrNotInstalled
	}
	b, err := durable.Read(d.file(id), maxWorkspace)
	if errors.Is(err, fs.ErrNotExist) {
		return Workspace{}, ErrNotInstalled
	} else if err != nil {
		return Workspace{}, err
	}
	var w Workspace
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil || !bytes.Equal(w.text(), b) || w.ID() != id {
		return Workspace{}, fmt.Errorf("%s is not as \"cargo zkp proxy --install\" writes it", d.file(id))
	}
	return w, nil
}

// IDs returns those of all workspaces.
func (d Workspaces) IDs() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if id := e.Name()[:min(idSize, len(e.Name()))]; e.Name() == id+".json" && isID(id) {
			ids = append(ids, id)
		}
	}
	return ids, err
}
