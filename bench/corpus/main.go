// Command corpus measures which published crates can be proven, and why others cannot:
// go run ./bench/corpus DIR. Nothing is proved; every crate goes through prover.NewPlan.
//
// DIR holds, at any depth, .crate files, as in the registry/cache of a cargo home, and git
// repositories (a folder with HEAD and objects in it, or a link to one). A crate's repository is
// the one that has the commit which the crate names.
//
// It prints the share of crates that can be proven among those that can be judged, a count for
// each class, and a line for each crate that is refused or cannot be judged. A line of class dirty or differs names a
// file for which git show COMMIT:PATH differs from what the .crate has, which is looked at here.
//
// Of the programs among the crates that can be proven it counts whose Cargo.lock is proven, or
// derived from the commit's own, and prints a line for each whose versions whoever packaged chose.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/crate"
	"cratelog/internal/toml"
	"cratelog/prover"
	"cratelog/prover/git"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: corpus DIR")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "bench/corpus:", err)
		os.Exit(1)
	}
}

// Classes of crates.
const (
	provable = "provable"
	dirty    = "dirty"                 // packaged with changes, by its own word
	differs  = "differs"               // a file is not the commit's
	tooLarge = "too-large"             // no class of the circuit has as many blocks
	largeTop = "root-above-48-KiB"     // the workspace's manifest does not fit into an entry
	noCommit = "no-commit"             // it does not say which; not judged
	lacks    = "snapshot-lacks"        // no repository has the commit, or a submodule's; not judged
	other    = "other"                 // none of these
	unread   = "refused-by-the-reader" // no .crate that crate.Read accepts
)

// What can be said of a program's Cargo.lock.
const (
	lockNone    = "none" // the .crate has none
	lockProven  = "proven"
	lockDerived = "derived"
	lockNot     = "not-derived"
)

var locks = []string{lockProven, lockDerived, lockNot, lockNone}

var classes = []string{provable, dirty, differs, tooLarge, largeTop, unread, other, noCommit, lacks}

// A corpus is what DIR holds.
type corpus struct {
	crates []string
	repos  []*git.Repo
	dirs   map[*git.Repo]string

	counts     map[string]int
	locks      map[string]int // of programs that can be proven
	rows       []string
	unverified []string // dirty or differs, and no file was found that shows it
}

func run(ctx context.Context, dir string) error {
	c := newCorpus()
	defer func() {
		for _, r := range c.repos {
			r.Close()
		}
	}()
	if err := c.measure(ctx, dir); err != nil {
		return err
	}
	c.print()
	return nil
}

func newCorpus() *corpus {
	return &corpus{dirs: map[*git.Repo]string{}, counts: map[string]int{}, locks: map[string]int{}}
}

// measure judges every crate of a directory.
func (c *corpus) measure(ctx context.Context, dir string) error {
	if err := c.find(ctx, dir); err != nil {
		return err
	}
	if len(c.crates) == 0 {
		return fmt.Errorf("no .crate file below %s", dir)
	}
	for _, file := range c.crates {
		if err := c.judge(ctx, file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// find lists the crates, and opens the repositories.
func (c *corpus) find(ctx context.Context, dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case filepath.Ext(p) == ".crate":
			c.crates = append(c.crates, p)
		case isRepository(p):
			r, err := git.Open(ctx, p)
			if err != nil {
				return err
			}
			c.repos, c.dirs[r] = append(c.repos, r), p
			if d.IsDir() {
				return filepath.SkipDir
			}
		}
		return nil
	})
}

func isRepository(p string) bool {
	head, err := os.Stat(filepath.Join(p, "HEAD"))
	if err != nil || head.IsDir() {
		return false
	}
	objects, err := os.Stat(filepath.Join(p, "objects"))
	return err == nil && objects.IsDir()
}

// with returns the repository that has a commit, nil if none has. It asks the one that was found
// last first: crates of one repository often have names of one beginning.
func (c *corpus) with(ctx context.Context, commit [20]byte) (*git.Repo, error) {
	for i, r := range c.repos {
		_, err := r.Commit(ctx, commit)
		if err == nil {
			c.repos = slices.Insert(slices.Delete(c.repos, i, i+1), 0, r)
			return r, nil
		}
		if !errors.As(err, new(*git.MissingError)) {
			return nil, err
		}
	}
	return nil, nil
}

// judge puts one crate into its class.
func (c *corpus) judge(ctx context.Context, file string) error {
	pkg, err := crate.ReadFile(file, crate.DefaultLimits)
	if err != nil {
		c.count(unread, file, err.Error())
		return nil
	}
	name := pkg.Name + " " + pkg.Version
	info, err := pkg.VCSInfo()
	switch {
	case info == nil && err == nil:
		c.count(noCommit, name, "it has no .cargo_vcs_info.json")
		return nil
	case info == nil:
		c.count(other, name, err.Error())
		return nil
	}
	repo, err := c.with(ctx, info.Commit)
	if err != nil {
		return err
	}
	if repo == nil {
		c.count(lacks, name, fmt.Sprintf("no commit %x", info.Commit))
		return nil
	}
	plan, err := prover.NewPlan(ctx, pkg, repo, prover.Source{Published: true, Submodule: c.submodules(repo, info.Commit)})
	if err == nil {
		_, err = new(prover.Keyring).Program(plan)
	}
	var refused *prover.UnprovableError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		c.counts[provable]++
		c.lock(pkg, plan)
	case errors.As(err, &refused):
		return c.refused(ctx, pkg, refused)
	case errors.As(err, new(*git.MissingError)):
		c.count(lacks, name, err.Error())
	case errors.As(err, new(*prover.RootSizeError)):
		c.count(largeTop, name, err.Error())
	case plan != nil:
		c.count(tooLarge, name, fmt.Sprintf("%d blocks", plan.Blocks))
	default:
		c.count(other, name, err.Error())
	}
	return nil
}

// lock counts what a plan says of the Cargo.lock of a program.
func (c *corpus) lock(pkg *crate.Crate, plan *prover.Plan) {
	has := func(is func(path string) bool) bool {
		return slices.ContainsFunc(pkg.Files, func(f crate.File) bool { return is(f.Path) })
	}
	doc, _ := toml.Parse(pkg.Manifest()) // which crate.Read has accepted
	_, targets := doc["bin"]
	state := lockProven
	switch {
	case !targets && !has(func(p string) bool { return p == "src/main.rs" || strings.HasPrefix(p, "src/bin/") }):
		return // a library
	case !has(func(p string) bool { return p == "Cargo.lock" }):
		state = lockNone
	case plan.Claim.Lock != nil:
		state = lockDerived
	case plan.LockWhy != nil:
		state = lockNot
		c.rows = append(c.rows, fmt.Sprintf("lock: %s %s: %v", pkg.Name, pkg.Version, plan.LockWhy))
	}
	c.locks[state]++
}

// submodules finds the repository of a submodule of a commit: the one that has the submodule's
// commit.
func (c *corpus) submodules(repo *git.Repo, commit [20]byte) func(context.Context, string) (*git.Repo, error) {
	return func(ctx context.Context, path string) (*git.Repo, error) {
		s, err := repo.At(ctx, commit)
		if err != nil {
			return nil, err
		}
		e, err := s.Entry(ctx, path)
		if err != nil {
			return nil, nil // a submodule of a submodule
		}
		return c.with(ctx, e.ID)
	}
}

// refused puts a crate into its class whose files are not the commit's.
func (c *corpus) refused(ctx context.Context, pkg *crate.Crate, refused *prover.UnprovableError) error {
	is := func(want prover.Cause) func(prover.Unprovable) bool {
		return func(u prover.Unprovable) bool { return u.Cause == want }
	}
	class, name := differs, pkg.Name+" "+pkg.Version
	switch i := slices.IndexFunc(refused.Files, is(prover.CauseNoModule)); {
	case i >= 0:
		c.count(lacks, name, refused.Files[i].Why)
		return nil
	case slices.ContainsFunc(refused.Files, is(prover.CauseDirty)):
		class = dirty
	}
	shown, err := c.shown(ctx, pkg, refused)
	if err != nil {
		return err
	}
	if shown == "" {
		first := refused.Files[len(refused.Files)-1]
		shown = fmt.Sprintf("no file shows it; %s: %s", first.File, first.Why)
		c.unverified = append(c.unverified, name)
	}
	c.count(class, name, fmt.Sprintf("%d files; %s", len(refused.Files), shown))
	return nil
}

// shown finds a file of a refusal that git show COMMIT:PATH does not print as the crate has it.
func (c *corpus) shown(ctx context.Context, pkg *crate.Crate, refused *prover.UnprovableError) (string, error) {
	at := map[string]prover.Unprovable{}
	for _, u := range refused.Files {
		at[u.File] = u
	}
	sums := map[string][32]byte{}
	for _, f := range pkg.Files {
		if at[f.Path].At != "" && len(sums) < 8 {
			sums[f.Path] = [32]byte{}
		}
	}
	if err := pkg.Contents(keys(sums), crate.DefaultLimits.Inflated, func(f crate.File, content []byte) {
		sums[f.Path] = sha256.Sum256(content)
	}); err != nil {
		return "", err
	}
	for _, file := range keys(sums) {
		object := fmt.Sprintf("%x:%s", at[file].Commit, at[file].At)
		repo, err := c.with(ctx, at[file].Commit) // or a submodule's
		if err != nil {
			return "", err
		}
		out, err := git.Run(ctx, c.dirs[repo], "show", object)
		sum := sha256.Sum256([]byte(out))
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil:
			return fmt.Sprintf("%s is not there: %s", object, file), nil
		case sum != sums[file]:
			return fmt.Sprintf("%s has the SHA-256 %x, %s of the crate %x", object, sum, file, sums[file]), nil
		}
	}
	return "", nil
}

func keys(m map[string][32]byte) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (c *corpus) count(class, name, why string) {
	c.counts[class]++
	c.rows = append(c.rows, fmt.Sprintf("%s: %s: %s", class, name, why))
}

func (c *corpus) print() {
	judged := len(c.crates) - c.counts[noCommit] - c.counts[lacks]
	fmt.Printf("corpus_crates %d crates\n", len(c.crates))
	fmt.Printf("corpus_repositories %d repositories\n", len(c.repos))
	fmt.Printf("corpus_judged %d crates\n", judged)
	fmt.Printf("provable %.1f percent\n", 100*float64(c.counts[provable])/float64(cmp.Or(judged, 1)))
	for _, class := range classes {
		fmt.Printf("corpus_%s %d crates\n", class, c.counts[class])
	}
	for _, state := range locks {
		fmt.Printf("lock_%s %d programs\n", state, c.locks[state])
	}
	fmt.Printf("corpus_not_shown %d crates\n", len(c.unverified))
	slices.Sort(c.rows)
	for _, row := range c.rows {
		fmt.Println(row)
	}
}
