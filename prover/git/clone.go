package git

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"cratelog/internal/durable"
	"cratelog/internal/gitobject"
	"cratelog/internal/group"
	"cratelog/internal/outcome"
)

// fetchTimeout bounds one fetch of a repository.
const fetchTimeout = 15 * time.Minute

// maxOutput bounds stdout of a command, and stderr, in bytes.
const maxOutput = 64 << 20

// scpLike is git's short form of an ssh URL, user@host:path.
var scpLike = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^-].*$`)

// IsURL says whether a repository is named by a URL, and not by a directory.
func IsURL(repository string) bool {
	return strings.Contains(repository, "://") || scpLike.MatchString(repository)
}

// checkURL allows https, ssh and files, and nothing that git takes for an option.
func checkURL(address string) error {
	if scpLike.MatchString(address) {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the repository's URL: %w", err)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "ssh" && u.Scheme != "file":
		return fmt.Errorf("the repository's URL %q is not of https, ssh or file", u.Redacted())
	case strings.HasPrefix(u.Host, "-") || strings.HasPrefix(u.User.Username(), "-"):
		return fmt.Errorf("the repository's URL %q names no host", u.Redacted())
	}
	return nil
}

// Clones is a directory of bare, partial clones: each has of a repository the
// commits that were asked for, their trees, and the few blobs that a proof can need.
type Clones string

// DefaultClones returns the directory for clones below the user's cache.
func DefaultClones() (Clones, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory for repositories: %w", err)
	}
	return Clones(filepath.Join(dir, "cratelog", "repositories")), nil
}

// Fetch returns the directory of a clone that has a commit, fetching what is not
// there. The URL is of https, ssh or file. git asks for no password, and runs nothing
// of the repository's.
//
// Nothing that is fetched is trusted: package git hashes what it reads.
func (c Clones) Fetch(ctx context.Context, address string, commit [20]byte) (string, error) {
	if err := checkURL(address); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	id := hex.EncodeToString(commit[:])
	dir, err := c.clone(ctx, address)
	if err != nil {
		return "", err
	}
	if have, err := hasAll(ctx, dir, id); err == nil && have {
		return dir, nil
	}
	t := asUser()
	// Most servers hand out any commit by its id, and only that one is needed.
	if err := t.fetch(ctx, dir, "", noBlobs, "--depth=1", "--", "origin", id); err != nil || !has(ctx, dir, id) {
		if err := t.fetchRefs(ctx, dir, noBlobs); err != nil {
			return "", err
		}
	}
	if !has(ctx, dir, id) {
		return "", outcome.Refuse(&NoCommitError{Redact(address), id})
	}
	return dir, t.fetchBlobs(ctx, dir, id)
}

// A NoCommitError says that a repository was asked, and does not hand a commit out.
type NoCommitError struct{ Repository, Commit string }

func (e *NoCommitError) Error() string {
	return fmt.Sprintf("the repository at %s has no commit %s in its branches and tags, and does not hand it "+
		"out\nthe crate's commit was never pushed there, or was taken back: the crate cannot be proved from this "+
		"repository", e.Repository, e.Commit)
}

// has says whether a clone has a commit.
func has(ctx context.Context, dir, id string) bool {
	_, err := Run(ctx, dir, "cat-file", "-e", id+"^{commit}")
	return err == nil
}

// FetchAll returns the directory of a clone that has all branches and tags, with the
// blobs that are small enough to be links. It is for submodules, of which it is only
// known later which commit is needed.
func (c Clones) FetchAll(ctx context.Context, address string) (string, error) {
	if err := checkURL(address); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	dir, err := c.clone(ctx, address)
	if err != nil {
		return "", err
	}
	return dir, asUser().fetchRefs(ctx, dir, "--filter=blob:limit=2k")
}

// ResolveRemote returns the commit that a branch or tag of the repository at a URL names.
func ResolveRemote(ctx context.Context, address, name string) (commit [20]byte, err error) {
	if err := checkURL(address); err != nil {
		return commit, err
	}
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsAny(name, "*?[\\ ") ||
		strings.ContainsFunc(name, unicode.IsControl) {
		return commit, outcome.Usagef("--commit takes a commit id, a branch or a tag, not %q", name)
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	out, err := runWith(ctx, os.TempDir(), remoteEnvironment(), "", "ls-remote", "--", address, name, name+"^{}")
	if err != nil {
		return commit, fmt.Errorf("the repository cannot be asked: %w", err)
	}
	refs := map[string]string{}
	for line := range strings.Lines(out) {
		id, ref, _ := strings.Cut(strings.TrimSpace(line), "\t")
		refs[ref] = id
	}
	for _, ref := range []string{name, "refs/tags/" + name, "refs/heads/" + name} {
		if id, ok := gitobject.ParseID(cmp.Or(refs[ref+"^{}"], refs[ref])); ok {
			return id, nil
		}
	}
	return commit, outcome.Usagef("the repository at %s has no branch or tag %q; --commit takes one, or a whole commit "+
		"id of 40 digits", Redact(address), name)
}

// noBlobs leaves out all blobs. A server that cannot do that sends them.
const noBlobs = "--filter=blob:none"

func (t *transport) fetchRefs(ctx context.Context, dir, filter string) error {
	if err := t.fetch(ctx, dir, "", filter, "--", "origin", "+refs/heads/*:refs/heads/*",
		"+refs/tags/*:refs/tags/*"); err != nil {
		return fmt.Errorf("the repository cannot be fetched: %w", err)
	}
	return nil
}

// dir is where the clone of an address is: in a folder of its name, as settings may forbid git to find a
// repository that is bare (safe.bareRepository).
func (c Clones) dir(address string) string {
	h := sha256.Sum256([]byte(address))
	return filepath.Join(string(c), hex.EncodeToString(h[:16]))
}

// clone makes an empty clone for an address, if there is none.
func (c Clones) clone(ctx context.Context, address string) (string, error) {
	dir := c.dir(address)
	if _, err := os.Stat(filepath.Join(dir, ".git", "HEAD")); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(string(c), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(string(c), ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh) // after the rename there is none
	if _, err := Run(ctx, fresh, "init", "--quiet", "--template=", "--object-format=sha1", "."); err != nil {
		return "", err
	}
	// What makes git take a missing blob for one that was left out on purpose.
	for _, kv := range [][2]string{{"core.bare", "true"},
		{"core.repositoryFormatVersion", "1"}, {"extensions.partialClone", "origin"},
		{"remote.origin.url", address}, {"remote.origin.promisor", "true"}} {
		if _, err := Run(ctx, fresh, "config", kv[0], kv[1]); err != nil {
			return "", err
		}
	}
	if err := os.Rename(fresh, dir); err != nil {
		if _, statErr := os.Stat(filepath.Join(dir, ".git", "HEAD")); statErr == nil {
			return dir, nil // another process was faster
		}
		return "", err
	}
	return dir, nil
}

// fetchBlobs fetches the blobs that a proof can need the content of: links, manifests and lock files,
// which are only those of the package and of its workspace, but small, attributes, and where submodules are.
func (t *transport) fetchBlobs(ctx context.Context, dir, commit string) error {
	ids, err := needed(ctx, dir, commit)
	if err != nil {
		return err
	}
	missing, err := missing(ctx, dir, commit, ids)
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := t.fetch(ctx, dir, strings.Join(missing, "\n")+"\n", noBlobs, "--stdin", "--", "origin"); err != nil {
		return fmt.Errorf("the repository's links, manifests, lock files and attributes cannot be fetched: %w", err)
	}
	return nil
}

// needed lists the blobs of fetchBlobs in a commit.
func needed(ctx context.Context, dir, commit string) (map[string]bool, error) {
	id, ok := gitobject.ParseID(commit)
	if !ok {
		return nil, fmt.Errorf("%q is not a commit id", commit)
	}
	repo, err := Open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer repo.Close()
	s, err := repo.At(ctx, id)
	if err != nil {
		return nil, err
	}
	ids := map[string]bool{}
	_, _, err = s.Find(ctx, func(t *Tree) bool {
		for _, e := range t.Entries {
			content := slices.Contains([]string{"Cargo.toml", "Cargo.lock", ".gitattributes", ".gitmodules"}, e.Name)
			if e.Mode == ModeSymlink || content && e.Mode != ModeDirectory && e.Mode != ModeSubmodule {
				ids[hex.EncodeToString(e.ID[:])] = true
			}
		}
		return false
	})
	if errors.Is(err, ErrTooManyTrees) {
		err = outcome.Refusef("%w\nclone the repository, and name the clone's directory with --repository and the package's "+
			"with --path", err)
	}
	return ids, err
}

// missing returns those of a commit's objects that are not in the clone. (git cat-file
// gives up at the first object that was left out.)
func missing(ctx context.Context, dir, commit string, ids map[string]bool) (lost []string, err error) {
	each := &lines{visit: func(line string) {
		if id, ok := strings.CutPrefix(line, "?"); ok && ids[id] {
			lost = append(lost, id)
		}
	}}
	err = (&transport{env: Environment(os.Environ())}).runTo(ctx, dir, "", each,
		"rev-list", "--objects", "--missing=print", "--max-count=1", commit)
	return lost, err
}

// lines hands what is written to it on, line by line, without what a line has beyond maxRev
// bytes. There is no end to how much that may be.
type lines struct {
	visit func(line string)
	line  []byte
}

func (l *lines) Write(p []byte) (int, error) {
	for _, c := range p {
		switch {
		case c == '\n':
			l.visit(string(l.line))
			l.line = l.line[:0]
		case len(l.line) < maxRev:
			l.line = append(l.line, c)
		}
	}
	return len(p), nil
}

// hasAll says whether a clone has all that the proof of a commit can need.
func hasAll(ctx context.Context, dir, commit string) (bool, error) {
	ids, err := needed(ctx, dir, commit) // fails if a tree is missing
	if err != nil {
		return false, err
	}
	lost, err := missing(ctx, dir, commit, ids)
	return len(lost) == 0, err
}

// A transport is how git fetches.
type transport struct {
	env      []string
	settings []string // more options, "-c" and "KEY=VALUE" by turns
	maxBytes int64    // of the repository that is fetched into, about; 0 for no bound
	alone    bool     // git and what it starts have no terminal, and end together
}

// asUser fetches with the settings, keys and passwords of the user.
func asUser() *transport { return &transport{env: remoteEnvironment()} }

// ErrTooMuch says that a repository sent more than is taken.
var ErrTooMuch = errors.New("the repository sends more than is taken of one")

// fetch runs git fetch.
func (t *transport) fetch(ctx context.Context, dir, input string, args ...string) error {
	all := append([]string{"-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60", "-c", "gc.auto=0",
		"-c", "maintenance.auto=false"}, t.settings...)
	all = append(append(all, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--recurse-submodules=no"), args...)
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if t.maxBytes > 0 {
		go watch(bounded, dir, t.maxBytes, cancel)
	}
	_, err := t.run(bounded, dir, input, all...)
	if cause := context.Cause(bounded); errors.Is(cause, ErrTooMuch) {
		return cause
	}
	return err
}

// watch cancels what fetches into a repository once its packs take more than so many bytes.
func watch(ctx context.Context, dir string, most int64, cancel context.CancelCauseFunc) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		size := int64(0)
		for _, objects := range []string{"objects", filepath.Join(".git", "objects")} {
			packs, _ := os.ReadDir(filepath.Join(dir, objects, "pack")) // which appears with the first
			for _, p := range packs {
				if info, err := p.Info(); err == nil {
					size += info.Size()
				}
			}
		}
		if size > most {
			cancel(fmt.Errorf("%w: %d MB", ErrTooMuch, most>>20))
			return
		}
	}
}

// remoteEnvironment is Environment for a git that may connect.
func remoteEnvironment() []string {
	env := []string{"GIT_ALLOW_PROTOCOL=https:ssh:file", "GIT_SSH_COMMAND=ssh -oBatchMode=yes"}
	for _, kv := range Environment(os.Environ()) {
		if !strings.HasPrefix(kv, "GIT_ALLOW_PROTOCOL=") {
			env = append(env, kv)
		}
	}
	return env
}

// Run returns what a git command prints. Its environment cannot turn it to another
// repository; it connects to no other machine and runs no hook.
func Run(ctx context.Context, dir string, args ...string) (string, error) {
	return runWith(ctx, dir, Environment(os.Environ()), "", args...)
}

func runWith(ctx context.Context, dir string, env []string, input string, args ...string) (string, error) {
	return (&transport{env: env}).run(ctx, dir, input, args...)
}

// run returns what a git command prints.
func (t *transport) run(ctx context.Context, dir, input string, args ...string) (string, error) {
	out := &durable.Buffer{Limit: maxOutput}
	err := t.runTo(ctx, dir, input, out, args...)
	if err != nil {
		return "", err
	}
	return out.String(), nil
}

// runTo writes what a git command prints to out; an error of out ends the command.
func (t *transport) runTo(ctx context.Context, dir, input string, out io.Writer, args ...string) error {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.hooksPath=" + os.DevNull}, args...)...)
	cmd.Env, cmd.Stdin, cmd.WaitDelay = t.env, strings.NewReader(input), time.Second
	if t.alone {
		group.Own(cmd) // git leaves it to others to connect
	}
	said, to := &durable.Buffer{Limit: maxOutput}, &sink{w: out}
	cmd.Stdout, cmd.Stderr = to, said
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("git is needed: %w", err)
	case to.err != nil:
		return fmt.Errorf("what git %s prints: %w", verb(args), to.err)
	case err != nil:
		return fmt.Errorf("git %s: %w: %s", verb(args), err, strings.TrimSpace(said.String()))
	}
	return nil
}

// sink remembers the error of a writer: all that is known of it else is that git got a signal.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.err = cmp.Or(s.err, err)
	return n, err
}

// verb is the first of git's arguments that is no option.
func verb(args []string) string {
	for i := 0; i < len(args); i++ {
		if args[i] == "-c" {
			i++
		} else if !strings.HasPrefix(args[i], "-") {
			return args[i]
		}
	}
	return ""
}

// Redact hides a password in a URL.
func Redact(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Redacted()
	}
	return address
}
