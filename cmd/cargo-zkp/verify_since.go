package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"cratelog/cargo"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
	"cratelog/prover/git"
)

// since is what a lock file is compared with: the one of a commit.
type since struct {
	ref string
	old *cargo.Lock // without packages if the commit has none
}

// lock is nil if all packages count.
func (s *since) lock() *cargo.Lock {
	if s == nil {
		return nil
	}
	return s.old
}

// lockAt reads the lock file of a workspace as a commit of its repository has it.
func lockAt(ctx context.Context, ws *cargo.Workspace, ref string) (*since, error) {
	if strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "^") || strings.ContainsAny(ref, ":\x00\n") {
		return nil, outcome.Usagef("--since: %q names no commit", ref)
	}
	commit, err := git.Run(ctx, ws.Root, "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("--since: git finds no commit %q in the repository of %s; in CI, fetch it first, "+
			"with enough history: %w", ref, shorten(ws.Root), err)
	}
	commit = strings.TrimSpace(commit)
	// Seen from the workspace's directory, which git resolves. ls-tree tells absence from failure.
	name := "./" + filepath.Base(ws.LockPath)
	entry, err := git.Run(ctx, ws.Root, "ls-tree", "-l", commit, "--", name)
	if err != nil {
		return nil, err
	}
	s := &since{ref: ref, old: &cargo.Lock{}}
	fields := strings.Fields(entry)
	if len(fields) < 5 {
		return s, nil // all are new
	}
	if mode := fields[0]; mode != "100644" && mode != "100755" {
		return nil, fmt.Errorf("--since: Cargo.lock of %s is no file there", ref)
	}
	if size := fields[3]; len(size) > len(fmt.Sprint(cargo.MaxLock)) {
		return nil, fmt.Errorf("--since: Cargo.lock of %s has %s bytes, and at most %d are read", ref, size,
			cargo.MaxLock)
	}
	text, err := git.Run(ctx, ws.Root, "cat-file", "blob", fields[2])
	if err != nil {
		return nil, err
	}
	if s.old, err = cargo.ParseLock([]byte(text)); err != nil {
		return nil, fmt.Errorf("--since: of %s: %w", ref, err)
	}
	return s, nil
}

// former returns the versions of a package that the lock file has no more, or this one with another
// checksum; "" if it is new beside what there was.
func (k *lockCheck) former(p cargo.Package) string {
	var gone []string
	for _, i := range k.since.old.Named(p.Name) {
		switch q := k.since.old.Packages[i]; {
		case q.String() == p.String():
			return q.Version + " with another checksum"
		case !k.Has(q):
			gone = append(gone, q.Version)
		}
	}
	return strings.Join(gone, ", ")
}

// row is a line of the table of what changed.
type row struct{ crate, from, to, proven, log, commit, repository string }

func (k *lockCheck) rows() (rows []row) {
	for i := range k.verdicts {
		v := &k.verdicts[i]
		r := row{crate: v.Name, from: k.former(k.Packages[i]), to: v.Version}
		switch v.Status {
		case verdict.Verified:
			r.proven, r.log, r.commit, r.repository = "yes", v.Facts.Log.Origin, v.Facts.Commit, v.Facts.Repository
		case verdict.Excepted:
			r.proven = fmt.Sprintf("no, excepted until %s: %s", v.Demand.Except.Expires, v.Demand.Except.Reason)
		case verdict.NotAsked:
			r.proven = "not asked"
		default:
			e := verdict.Explain(v.Err)
			if r.proven = "no: " + verdict.About(e.Reason); e.Reason == "not-logged" {
				r.proven = "no: not logged, " + causeSentence(v.Cause)
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// table prints what changed.
func (k *lockCheck) table(sh *shell, markdown bool) error {
	rows := k.rows()
	text := plain
	if markdown {
		text = inCell
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintf(sh.stdout, "No crate of a registry was added to Cargo.lock or changed since %s.\n",
			text(k.since.ref))
		return err
	}
	titles := row{"crate", "from", "to", "proven", "log", "commit", "repository (claimed)"}
	if markdown {
		print := func(r row) error {
			cells := r.cells()
			for i := range cells {
				cells[i] = text(cells[i])
			}
			_, err := fmt.Fprintf(sh.stdout, "| %s |\n", strings.Join(cells, " | "))
			return err
		}
		err := print(titles)
		fmt.Fprintf(sh.stdout, "|%s\n", strings.Repeat("---|", len(titles.cells())))
		for _, r := range rows {
			err = errors.Join(err, print(r))
		}
		return err
	}
	w := tabwriter.NewWriter(sh.stdout, 0, 0, 2, ' ', 0)
	for _, r := range append([]row{titles}, rows...) {
		r.commit = r.commit[:min(len(r.commit), 12)]
		cells := r.cells()
		for i := range cells {
			cells[i] = text(cells[i])
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	return w.Flush()
}

func (r row) cells() []string {
	return []string{r.crate, r.from, r.to, r.proven, r.log, r.commit, r.repository}
}

// plain makes one line of a text that may be a stranger's, with nothing that a terminal obeys.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// inCell is plain for a cell of Markdown, in which it is text and makes no link, image or tag.
func inCell(s string) string {
	var b strings.Builder
	for _, r := range plain(s) {
		switch {
		case strings.ContainsRune("&<>|`*_[]()!#~\\@", r):
			fmt.Fprintf(&b, "&#%d;", r)
		default:
			b.WriteRune(r)
		}
	}
	// Code hosts make links of addresses that stand alone, and of what looks like a person, an issue or a
	// label, whom they tell, however it is written: but not in code.
	text := strings.ReplaceAll(strings.ReplaceAll(b.String(), "://", "&#58;//"), "www.", "www&#46;")
	if strings.ContainsAny(s, "@#!$%~&") {
		text = "<code>" + text + "</code>"
	}
	return text
}
