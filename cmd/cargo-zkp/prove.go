package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/circuit"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/git"
	"cratelog/prover"
)

func prove(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "prove", "FILE.crate", "Make an entry: a proof that the files of a crate stand in its git commit.")
	dir := fs.String("repository", ".", "git repository that has the commit, in any form; no work tree is needed")
	rev := fs.String("commit", "", "commit to prove from (default: the one that the .crate names)")
	path := fs.String("path", "", "the package's path in the repository (default: the one that the .crate names)")
	loose := fs.Bool("unproven-manifest", false, "if Cargo.toml does not follow from its original, list it as unproven instead of refusing the crate; few readers accept that")
	out := fs.String("o", "", "file for the entry (default: FILE.entry for FILE.crate)")
	modules := map[string]string{}
	fs.Func("submodule", "`PATH=DIR`: the repository of the submodule at PATH (default: PATH in the repository's work tree); may be repeated", func(v string) error {
		path, dir, ok := strings.Cut(v, "=")
		if !ok {
			return errors.New("must be PATH=DIR")
		}
		modules[path] = dir
		return nil
	})
	cache := fs.String("keys", "", "directory of proving keys (default: in the user's cache)")
	file, err := parse(fs, args, "FILE.crate")
	if err != nil {
		return err
	}
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if *out == "" {
		*out = sibling(file, ".entry")
	}
	if *cache == "" {
		if *cache, err = prover.DefaultCache(); err != nil {
			return err
		}
	}
	c, err := crate.ReadFile(file, crate.DefaultLimits)
	if err != nil {
		return readError(err)
	}
	if c.Trailing > 0 {
		sh.warn("%s has %d bytes after its archive; cargo ignores them, and so does the proof", file, c.Trailing)
	}
	repo, err := git.Open(ctx, *dir)
	if err != nil {
		return err
	}
	defer repo.Close()
	opener := &submodules{work: workTree(*dir), named: modules}
	defer opener.close()
	src := prover.Source{Submodule: opener.open, UnprovenManifest: *loose}
	if given["path"] {
		if err := checkPath(*path); err != nil {
			return err
		}
		src.Path = path
	}
	if given["commit"] {
		id, err := repo.ResolveCommit(ctx, *rev)
		if err != nil {
			return err
		}
		src.Commit = &id
	}
	to, err := newOutput(*out)
	if err != nil {
		return err
	}
	defer to.discard()
	begin := time.Now()
	e, err := makeEntry(ctx, sh, c, *dir, repo, src, *cache)
	if err != nil {
		return err
	}
	raw, err := e.Marshal()
	if err != nil {
		return err
	}
	if err := to.commit(raw); err != nil {
		return err
	}
	sh.status("Finished", "%s, %d bytes, in %.1f s", *out, len(raw), time.Since(begin).Seconds())
	return nil
}

// workTree returns the top of the work tree that a directory lies in, as git finds
// it; the directory itself if there is none, as in a bare repository.
func workTree(dir string) string {
	at, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	for {
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		up := filepath.Dir(at)
		if up == at {
			return dir
		}
		at = up
	}
}

// submodules opens the repositories of submodules: named ones, and those checked
// out in the work tree.
type submodules struct {
	work   string
	named  map[string]string
	opened []*git.Repo
}

func (s *submodules) open(ctx context.Context, path string) (*git.Repo, error) {
	dir, named := s.named[path]
	if !named {
		dir = filepath.Join(s.work, filepath.FromSlash(path))
		// A submodule that is not checked out is an empty folder, in which git would
		// find the repository around it.
		if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
			return nil, nil
		}
	}
	r, err := git.Open(ctx, dir)
	if err == nil {
		s.opened = append(s.opened, r)
	}
	return r, err
}

func (s *submodules) close() {
	for _, r := range s.opened {
		r.Close()
	}
}

// checkPath refuses a --path that can stand in no commit.
func checkPath(path string) error {
	if path == "" {
		return nil
	}
	if err := entry.CheckPath(path); err != nil {
		return usageError(fmt.Sprintf("--path is the package's directory, counted from the top of the repository, \"\" if it is the top: %v", err))
	}
	return nil
}

// makeEntry plans, tells what it found, and proves.
func makeEntry(ctx context.Context, sh *shell, c *crate.Crate, dir string, repo *git.Repo, src prover.Source, cache string) (*entry.Entry, error) {
	plan, err := prover.NewPlan(ctx, c, repo, src)
	if err != nil {
		return nil, planError(err)
	}
	class, err := plan.Class()
	if err != nil {
		return nil, violation{fmt.Errorf("%w\nthis version cannot prove a crate of this size yet", err)}
	}
	sh.status("Proving", "%s v%s from commit %x: %d files, %d SHA-1 blocks of %d", c.Name, c.Version, plan.Claim.Commit,
		len(c.Files), plan.Blocks, class.Blocks)
	for _, f := range plan.Claim.Unproven {
		sh.warn("%s is not proven: the commit does not have it in this form", f)
	}
	if err := warnUnpublished(ctx, sh, dir, plan.Claim.Commit); err != nil {
		return nil, err
	}
	progress, done := sh.steps()
	defer done()
	keys, err := prover.DevelopmentKeys(ctx, cache, class, progress)
	if err != nil {
		return nil, err
	}
	e, err := keys.Prove(ctx, plan, progress)
	if err != nil {
		return nil, err
	}
	done()
	sh.warn("made with UNSAFE development keys: only logs and readers in development mode accept this proof")
	return e, nil
}

// warnUnpublished warns of a commit that no remote seems to have. A repository that
// cannot tell is no reason to stop; the end of ctx is.
func warnUnpublished(ctx context.Context, sh *shell, dir string, commit [20]byte) error {
	published, known, err := prover.Published(ctx, dir, commit)
	if err == nil && known && !published {
		sh.warn("no remote branch that this repository knows contains commit %x: push it, or nobody can look at what you proved", commit)
	}
	return ctx.Err()
}

// planError sorts what NewPlan returns into failed checks and checks that could
// not be made.
func planError(err error) error {
	var unprovable *prover.UnprovableError
	var vcs *crate.VCSInfoError
	var place *crate.PlaceError
	switch {
	case errors.As(err, &unprovable):
		if !slices.ContainsFunc(unprovable.Files, func(f prover.Unprovable) bool { return f.Fix == "" }) {
			return violation{err}
		}
		return violation{fmt.Errorf("%w\nif the commit is the right one, package the crate from a clean checkout of it", err)}
	case errors.As(err, &vcs), errors.As(err, &place), errors.Is(err, circuit.ErrCapacity):
		return violation{err}
	}
	return err
}

// readError sorts the errors of package crate: a file that cannot be read is no
// answer, a refused archive is one.
func readError(err error) error {
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return err
	}
	return violation{err}
}

// sibling returns FILE with its .crate replaced.
func sibling(file, ext string) string {
	return filepath.Join(filepath.Dir(file), strings.TrimSuffix(filepath.Base(file), ".crate")+ext)
}
