// Package git reads commits and trees out of a git repository, and trusts
// nothing that it reads: every object is hashed again, with SHA-1 and detection
// of its known collision attacks, and compared with the id it was asked for.
//
// It reads through one process of "git cat-file --batch", so every kind of
// repository works: bare, with a work tree, with alternates, packed. Of a
// shallow clone only the one commit is needed. In a partial clone the objects
// that are missing are named in a *MissingError; they are never fetched behind
// the caller's back. No hook, pager or prompt is run; replacement objects
// are not followed.
package git

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"cratelog/internal/gitobject"
)

// Largest objects that are read, in bytes of content.
const (
	MaxCommit = 1 << 20
	MaxTree   = 16 << 20
)

const (
	// emptyTree is an object that every SHA-1 repository has, even an empty one.
	emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	// maxRev bounds what may be asked for, maxHeader git's answer before the content.
	maxRev    = 1024
	maxHeader = 4096
	// stopAfter is how long git may take to end once its input is closed.
	stopAfter = 5 * time.Second
)

// A MissingError says that an object is not in the repository.
type MissingError struct {
	Dir  string // the repository
	What string // "commit", "tree", "blob", or "revision"
	ID   string // the object's id, or the revision as asked for
	Path string // where in the commit's tree the object stands; "" if it is the root or not known
}

func (e *MissingError) Error() string {
	switch e.What {
	case "revision":
		return fmt.Sprintf("the repository %s has no commit %q; check the name, or fetch it: "+
			"git -C %s fetch --depth=1 REMOTE %s", e.Dir, e.ID, e.Dir, e.ID)
	case TypeCommit:
		return fmt.Sprintf("the commit %s is not in the repository %s; fetch it: git -C %s fetch --depth=1 REMOTE %s",
			e.ID, e.Dir, e.Dir, e.ID)
	}
	at := ""
	if e.Path != "" {
		at = fmt.Sprintf(" at %q", e.Path)
	}
	return fmt.Sprintf("the %s %s%s is not in the repository %s; in a partial clone this fetches it: "+
		"git -C %s cat-file -e %s", e.What, e.ID, at, e.Dir, e.Dir, e.ID)
}

// A SizeError says that an object is larger than its reader allows.
type SizeError struct {
	Kind      string // "commit", "tree" or "blob"
	ID        [20]byte
	Size, Max int64 // in bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("the %s %x is %d bytes long, more than the limit of %d", e.Kind, e.ID, e.Size, e.Max)
}

// A Repo reads objects of one repository. Its methods may be used from several
// goroutines; they take turns. After an object that was too large, or missing from a
// partial clone, git is started again. After another error of the process itself (it
// ended, a context was cancelled) every call fails: close it and open another.
type Repo struct {
	dir string
	ctx context.Context // Open's: the process ends with it

	mu     sync.Mutex // held for one request and its answer; protects what follows
	cmd    *exec.Cmd
	stderr *tail
	in     io.WriteCloser
	out    *bufio.Reader
	broken error // why the process can no longer be used
	ended  bool  // the process has ended and was waited for
	status error // of the process, once it has ended
}

// Open starts git for the repository that dir is, or lies in. The process ends
// with Close, or when ctx does.
func Open(ctx context.Context, dir string) (*Repo, error) {
	r := &Repo{dir: dir, ctx: ctx}
	if err := r.start(); err != nil {
		return nil, err
	}
	if err := r.probe(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// start starts git.
func (r *Repo) start() error {
	cmd := exec.CommandContext(r.ctx, "git", "-C", r.dir,
		"-c", "core.hooksPath="+os.DevNull,
		"cat-file", "--batch")
	cmd.Env = Environment(os.Environ())
	cmd.WaitDelay = stopAfter
	stderr := &tail{}
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("starting git: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("starting git: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting git, which must be installed: %w", err)
	}
	r.cmd, r.stderr, r.in, r.out = cmd, stderr, in, bufio.NewReaderSize(out, maxHeader)
	r.ended, r.status = false, nil
	return nil
}

// probe asks for an object that every repository has, to see whether there is
// one, and whether its ids are SHA-1.
func (r *Repo) probe(ctx context.Context) error {
	_, _, err := r.request(ctx, emptyTree, 0)
	var missing *MissingError
	if errors.As(err, &missing) {
		return fmt.Errorf("the repository %s does not use SHA-1 object ids; only those can be proven", r.dir)
	}
	return err
}

// Environment is what git is run with: it removes what could turn git to another repository or
// configuration, and forbids it to go anywhere. Of the settings that it removes one is kept,
// safe.directory: which repositories of other users git may read.
func Environment(env []string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "GIT_") && !strings.HasPrefix(kv, "LC_ALL=") {
			out = append(out, kv)
		}
	}
	return append(append(out, safeDirectories(env)...),
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_NO_LAZY_FETCH=1",
		"GIT_ALLOW_PROTOCOL=none", // for a git that does not know the line above
		"GIT_TERMINAL_PROMPT=0",
		"GIT_OPTIONAL_LOCKS=0",
	)
}

// Close ends the process and waits for it. It may be called more than once, and
// must be called at least once, also after an error and after the end of the
// context. How the process ends does not matter: all that was read was verified.
func (r *Repo) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken == nil {
		r.broken = errors.New("the repository is closed")
	}
	r.end()
	if errors.Is(r.status, exec.ErrWaitDelay) {
		return fmt.Errorf("git cat-file in %s: %w", r.dir, r.status)
	}
	return nil
}

// end closes git's input and waits for it; if it does not end by itself, it is
// killed. All of its standard error is known afterwards.
func (r *Repo) end() {
	if r.ended {
		return
	}
	r.ended = true
	r.in.Close()
	stop := time.AfterFunc(stopAfter, killer(r.cmd))
	defer stop.Stop()
	r.status = r.cmd.Wait()
}

// unusable says whether every further call fails.
func (r *Repo) unusable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken != nil
}

// killer returns what kills this process only; an error means that it has ended.
func killer(cmd *exec.Cmd) func() { return func() { cmd.Process.Kill() } }

// ResolveCommit returns the id of the commit that a revision (an id, a branch,
// a tag, HEAD~2) names. It fails with a *MissingError if there is none.
func (r *Repo) ResolveCommit(ctx context.Context, rev string) ([20]byte, error) {
	if rev == "" || len(rev) > maxRev || strings.ContainsFunc(rev, unicode.IsControl) {
		return [20]byte{}, fmt.Errorf("%q is not a git revision", rev)
	}
	id, o, err := r.request(ctx, rev+"^{commit}", MaxCommit)
	if err != nil {
		var missing *MissingError
		if errors.As(err, &missing) {
			missing.What, missing.ID = "revision", rev
		}
		return [20]byte{}, err
	}
	return id, verify(o, TypeCommit, id)
}

// Commit reads a commit.
func (r *Repo) Commit(ctx context.Context, id [20]byte) (*Commit, error) {
	o, err := r.object(ctx, id, TypeCommit, MaxCommit)
	if err != nil {
		return nil, err
	}
	tree, err := gitobject.ParseCommit(o.Content)
	if err != nil {
		return nil, fmt.Errorf("commit %x: %w", id, err)
	}
	return &Commit{ID: id, Tree: tree, Object: o}, nil
}

// Tree reads a tree.
func (r *Repo) Tree(ctx context.Context, id [20]byte) (*Tree, error) {
	o, err := r.object(ctx, id, TypeTree, MaxTree)
	if err != nil {
		return nil, err
	}
	entries, err := gitobject.ParseTree(o.Content)
	if err != nil {
		return nil, fmt.Errorf("tree %x: %w", id, err)
	}
	return &Tree{ID: id, Entries: entries, Object: o}, nil
}

// Blob reads the content of a blob of at most max bytes.
func (r *Repo) Blob(ctx context.Context, id [20]byte, max int64) ([]byte, error) {
	o, err := r.object(ctx, id, TypeBlob, max)
	return o.Content, err
}

// object reads an object and checks that it is what was asked for.
func (r *Repo) object(ctx context.Context, id [20]byte, kind string, max int64) (Object, error) {
	got, o, err := r.request(ctx, hex.EncodeToString(id[:]), max)
	if err != nil {
		var missing *MissingError
		if errors.As(err, &missing) {
			missing.What = kind
		}
		return Object{}, err
	}
	if got != id {
		return Object{}, fmt.Errorf("git answered with the object %x when it was asked for %x", got, id)
	}
	return o, verify(o, kind, id)
}

// verify hashes an object again, whatever git says of it.
func verify(o Object, kind string, id [20]byte) error {
	if o.Type != kind {
		return fmt.Errorf("the object %x is a %s, not a %s", id, o.Type, kind)
	}
	sum, err := o.ID()
	if err != nil {
		return fmt.Errorf("%s %x: %w", kind, id, err)
	}
	if sum != id {
		return fmt.Errorf("%s %x: its content hashes to %x; the repository is damaged, run git fsck", kind, id, sum)
	}
	return nil
}

// request asks git for one object and reads the answer. An object larger than
// max is not read. Unless the object is missing, an error ends the process; where the
// error is about the object alone, another is started.
func (r *Repo) request(ctx context.Context, name string, max int64) (id [20]byte, o Object, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken != nil {
		return id, o, r.broken
	}
	if err := ctx.Err(); err != nil {
		return id, o, err
	}
	kill := killer(r.cmd)
	stop := context.AfterFunc(ctx, kill)
	id, o, err = r.exchange(name, max)
	if !stop() && err == nil {
		// Killed, but after the answer was complete.
		err = ctx.Err()
	}
	var missing *MissingError
	if err == nil || errors.As(err, &missing) {
		return id, o, err
	}
	if !errors.Is(err, errDied) {
		kill()
	}
	r.end()
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if about := r.aboutObject(name, err); about != nil {
		r.broken = r.start()
		return id, Object{}, about
	}
	r.broken = fmt.Errorf("reading the repository %s: %w%s", r.dir, err, r.stderr.sentence())
	if strings.Contains(r.stderr.sentence(), "not a git repository") {
		r.broken = fmt.Errorf("%w\na proof says that a .crate is what a git commit says: commit the package, or name the "+
			"repository that has the commit", r.broken)
	}
	return [20]byte{}, Object{}, r.broken
}

// aboutObject is the error where it says something of the object only, and nothing of git or the repository.
func (r *Repo) aboutObject(name string, err error) error {
	switch {
	case errors.As(err, new(*SizeError)):
		return err
	case errors.Is(err, errDied) && strings.Contains(r.stderr.sentence(), "promisor remote"):
		// In a partial clone git ends when it may not fetch what is missing.
		return &MissingError{Dir: r.dir, What: "object", ID: name}
	}
	return nil
}

// errDied means that git closed its side: it has ended, or is about to.
var errDied = errors.New("git cat-file ended")

// exchange writes one line to git and reads "ID TYPE SIZE LF content LF", or
// "NAME missing LF".
func (r *Repo) exchange(name string, max int64) (id [20]byte, o Object, err error) {
	if _, err := io.WriteString(r.in, name+"\n"); err != nil {
		return id, o, errDied
	}
	line, err := r.out.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return id, o, errors.New("git gave an answer without an end")
	} else if err != nil {
		return id, o, errDied
	}
	header := strings.TrimSuffix(string(line), "\n")
	if header == name+" missing" || header == name+" ambiguous" {
		return id, o, &MissingError{Dir: r.dir, What: "object", ID: name}
	}
	id, kind, size, err := parseHeader(header, max)
	if err != nil {
		return id, o, err
	}
	content := make([]byte, size+1)
	if _, err := io.ReadFull(r.out, content); err != nil {
		return id, o, errDied
	}
	if content[size] != '\n' {
		return id, o, errors.New("git's answer does not end where it said")
	}
	return id, Object{Type: kind, Content: content[:size:size]}, nil
}

// parseHeader reads "ID TYPE SIZE", with a size of at most max.
func parseHeader(line string, max int64) (id [20]byte, kind string, size int64, err error) {
	fields := strings.Split(line, " ")
	if len(fields) != 3 {
		return id, "", 0, fmt.Errorf("git gave an unexpected answer: %q", line)
	}
	id, ok := gitobject.ParseID(fields[0])
	if !ok {
		return id, "", 0, fmt.Errorf("git answered with the object id %q, which is not a SHA-1 id; only those can be proven",
			fields[0])
	}
	size, err = strconv.ParseInt(fields[2], 10, 64)
	if err != nil || size < 0 {
		return id, "", 0, fmt.Errorf("git gave an unexpected answer: %q", line)
	}
	if size > max {
		return id, "", 0, &SizeError{Kind: fields[1], ID: id, Size: size, Max: max}
	}
	return id, fields[1], size, nil
}

// A tail keeps the first bytes that a process writes to its standard error.
type tail struct{ b []byte }

const maxTail = 2048

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[:min(len(p), maxTail-len(t.b))]...)
	return len(p), nil
}

// sentence may be asked for once the process was waited for.
func (t *tail) sentence() string {
	if s := strings.TrimSpace(string(t.b)); s != "" {
		return ": " + s
	}
	return ""
}
