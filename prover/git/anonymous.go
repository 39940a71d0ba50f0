package git

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/internal/flock"
	"cratelog/internal/gitobject"
)

// Anonymous fetches as anybody can: without any setting, cookie, certificate or password of the user's, and
// without being sent to another host. Its clones are apart from those that were made with credentials: what
// is in them is public, or was when it was fetched.
//
// It is safe for concurrent use, and beside other processes: they take turns at a repository. Which addresses
// may be asked is for the caller to say: those of https, and of http on this machine, are.
type Anonymous struct {
	Clones   Clones
	MaxBytes int64         // of one repository; 0 for DefaultMaxBytes
	Timeout  time.Duration // of one repository's fetch; 0 for 15 minutes
}

// DefaultMaxBytes is how much is taken of a repository. Without blobs, commits of the largest
// have a few megabytes.
const DefaultMaxBytes = 1 << 30

// checkAnonymous refuses what has an account, or is neither of https nor on this machine.
func checkAnonymous(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && !strings.HasPrefix(u.Host, "-") && u.Opaque == "" && u.User == nil &&
		u.RawQuery == "" && u.Fragment == "" && (u.Scheme == "https" || u.Scheme == "http" && OnThisMachine(u.Hostname())) {
		return nil
	}
	return fmt.Errorf("the repository's URL %q is not one of https without a user and a query", Redact(address))
}

// OnThisMachine says whether a host is this machine by its name alone.
func OnThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Fetch returns the directory of a clone that has a commit, as Clones.Fetch does. Others that will be
// wanted are asked for in the same request, if there is one.
//
// Errors: *NoCommitError and ErrTooMuch are answers; with others it could not be tried.
func (a *Anonymous) Fetch(ctx context.Context, from Remote, commit [20]byte, others ...[20]byte) (string, error) {
	address := from.URL
	if err := checkAnonymous(address); err != nil {
		return "", err
	}
	id := hex.EncodeToString(commit[:])
	if dir, ok := a.Known(ctx, address, commit); ok {
		return dir, nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.Timeout, fetchTimeout))
	defer cancel()
	dir, err := a.Clones.clone(ctx, address)
	if err != nil {
		return "", err
	}
	unlock, err := lockClone(ctx, dir)
	if err != nil {
		return "", err
	}
	defer unlock()
	t, err := a.transport(from)
	if err != nil {
		return "", err
	}
	if _, err := needed(ctx, dir, id); err != nil { // trees are missing, or all of it
		if err := t.fetchCommit(ctx, dir, id, others); err != nil {
			return "", err
		}
	}
	if !has(ctx, dir, id) {
		return "", &NoCommitError{Redact(address), id}
	}
	return dir, t.fetchBlobs(ctx, dir, id)
}

// lockClone keeps other fetches away from a clone, and removes what one that was killed has left.
func lockClone(ctx context.Context, dir string) (unlock func(), err error) {
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		held, err := flock.Try(f)
		if err == nil && !held {
			break
		} else if err == nil {
			select {
			case <-time.After(50 * time.Millisecond):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		f.Close()
		return nil, err
	}
	if err := removeLeft(filepath.Join(dir, ".git")); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// removeLeft removes what a git that was killed has left in a repository that no other is at: parts of packs,
// and locks, of which one on a reference would stop every other fetch.
func removeLeft(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch parent := filepath.Base(filepath.Dir(path)); {
		case err != nil:
			return err
		case d.IsDir() && parent == "objects" && d.Name() != "pack":
			return fs.SkipDir // there are no packs
		case d.IsDir() || !strings.HasSuffix(path, ".lock") && !(parent == "pack" && strings.HasPrefix(d.Name(), "tmp_")):
			return nil
		}
		return os.Remove(path)
	})
}

// Known returns the clone of an address if it has all that the proof of a commit can need.
func (a *Anonymous) Known(ctx context.Context, address string, commit [20]byte) (string, bool) {
	dir := a.Clones.dir(address)
	if _, err := os.Stat(filepath.Join(dir, ".git", "HEAD")); err != nil {
		return "", false
	}
	have, err := hasAll(ctx, dir, hex.EncodeToString(commit[:]))
	return dir, err == nil && have
}

// fetchCommit fetches a commit and the others by their ids, or what the server hands out instead: first
// that one alone, then all branches and tags.
func (t *transport) fetchCommit(ctx context.Context, dir, id string, others [][20]byte) error {
	one := []string{noBlobs, "--depth=1", "--", "origin", id}
	all := one
	for _, c := range others {
		if other := hex.EncodeToString(c[:]); len(all) < maxAtOnce && !has(ctx, dir, other) {
			all = append(all, other)
		}
	}
	err := t.fetch(ctx, dir, "", all...)
	if err != nil && len(all) > len(one) && answered(err) {
		err = t.fetch(ctx, dir, "", one...) // perhaps another is the one that it lacks
	}
	switch {
	case err == nil || !answered(err):
		return err
	case strings.Contains(err.Error(), "not our ref"): // SPEC: of protocol 2, which hands out all that there is
		return nil
	}
	return t.fetchRefs(ctx, dir, noBlobs)
}

// maxAtOnce bounds the commits of one request, about.
const maxAtOnce = 64

// answered says whether git's error is what the server said to a request for a commit, and not of a
// connection.
func answered(err error) bool {
	text := err.Error()
	return strings.Contains(text, "not our ref") || strings.Contains(text, "unadvertised object") ||
		strings.Contains(text, "remote error:")
}

// transport is git's, to a repository.
func (a *Anonymous) transport(to Remote) (*transport, error) {
	home := filepath.Join(string(a.Clones), ".home") // nothing is ever in it
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	env := append(anonymous(os.Environ(), home), "GIT_NO_REPLACE_OBJECTS=1")
	if strings.HasPrefix(to.URL, "http://") {
		env = append(env, "GIT_ALLOW_PROTOCOL=http")
	}
	return &transport{env: env, alone: true, maxBytes: cmp.Or(a.MaxBytes, DefaultMaxBytes),
		settings: append(append(noTicket(), "-c", "protocol.version=2", "-c", "http.followRedirects=false",
			"-c", "transfer.bundleURI=false", "-c", "fetch.unpackLimit=1", "-c", "core.bigFileThreshold=16m",
			"-c", "pack.threads=1"), to.settings()...)}, nil
}

// Tags returns the commits, or other objects, that the tags of a repository name, by name.
func (a *Anonymous) Tags(ctx context.Context, from Remote) (map[string][20]byte, error) {
	if err := checkAnonymous(from.URL); err != nil {
		return nil, err
	}
	t, err := a.transport(from)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tagsTimeout)
	defer cancel()
	out, err := t.run(ctx, string(a.Clones), "", append(t.settings, "ls-remote", "--tags", "--", from.URL)...)
	if err != nil {
		return nil, fmt.Errorf("the repository cannot be asked for its tags: %w", err)
	}
	return parseTags(out), nil
}

// tagsTimeout bounds how long a repository may take to list its tags.
const tagsTimeout = 2 * time.Minute

// LocalTags is Anonymous.Tags of a repository on this disk.
func LocalTags(ctx context.Context, dir string) (map[string][20]byte, error) {
	out, err := Run(ctx, dir, "for-each-ref", "--format=%(objectname) %(refname)%0a%(*objectname) %(refname)^{}", "refs/tags")
	return parseTags(out), err
}

// parseTags reads "ID refs/tags/NAME" a line. An annotated tag's commit follows it, at NAME^{}.
func parseTags(out string) map[string][20]byte {
	tags := map[string][20]byte{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		name, ok := strings.CutPrefix(fields[1], "refs/tags/")
		if id, valid := gitobject.ParseID(fields[0]); ok && valid {
			tags[strings.TrimSuffix(name, "^{}")] = id
		}
	}
	return tags
}
