package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/flock"
	"cratelog/internal/outcome"
)

// A kept is one kind of what lies in the cache directory.
type kept struct {
	name  string   // of the option that deletes it; "" if none does
	dirs  []string // below the cache directory, or single files
	whole bool     // what stands directly in a directory goes as a whole, or not at all
	what  string
}

// keeps are all kinds. What is in none of them is "other", and stays.
var keeps = []kept{
	{"keys", []string{"keys"}, false, "proving keys: made again, or fetched from the log, by the next prove"},
	{"clones", []string{"repositories", "public", "public-own"}, true, "clones of repositories: fetched again by " +
		"the next prove"},
	{"bundles", []string{"bundles"}, false, "bundles: asked of the logs again, and verify --offline fails until then"},
	{"openings", []string{"openings"}, false, "openings: asked of the logs again"},
	{"verdicts", []string{"verdicts", "trusted", "locks", "sources.json", "lines.json"}, false,
		"what was verified, compared and counted: done again"},
	{"builds", []string{"toolchains", "environments"}, true, "compilers and systems for rebuild: made again"},
	{"proofs", []string{"prove-lock"}, true, "entries of prove --lock, perhaps not yet in a log: hours of work"},
	{"", []string{"proxy"}, false, "the proxy's index and crates; it knows by them which lines it served"},
}

// cleanVerb says how much lies in the cache, and deletes what is named.
func cleanVerb(ctx context.Context, sh *shell, args []string) error {
	opts := newFlags(sh, "clean", "", `Tell how much of what is in the cache; with options, delete of it what they name. Proofs that
prove --lock made go with --proofs only. What logs showed to this machine, trust files and
settings are not in the cache, and stay. Let nothing else of cratelog run meanwhile.`)
	chosen := map[string]*bool{}
	for _, k := range keeps {
		if k.name != "" {
			chosen[k.name] = opts.Bool(k.name, false, "delete "+k.what)
		}
	}
	all := opts.Bool("all", false, "delete everything but proofs and what the proxy keeps")
	dry := opts.Bool("dry-run", false, "delete nothing, and tell what would be")
	var older time.Duration
	opts.Func("older", "delete only what was written longer ago than this `AGE`, like 90d or 36h (default: everything)",
		func(v string) (err error) { older, err = policy.ParseAge(v); return err })
	if _, err := parseUpTo(0, opts, args, ""); err != nil {
		return err
	}
	cache, state, err := verdict.Dirs()
	if err != nil {
		return err
	}
	any := false
	rows := make([]stock, len(keeps))
	for i, k := range keeps {
		if rows[i], err = takeStock(ctx, cache, k); err != nil {
			return err
		}
		if k.name != "" {
			rows[i].chosen = *chosen[k.name] || *all && k.name != "proofs"
			any = any || rows[i].chosen
		}
	}
	if !any {
		if *dry || older != 0 {
			return outcome.Usagef("clean takes what to delete: --all, or some of --%s",
				strings.Join(optionsOf(keeps), ", --"))
		}
		return printStock(ctx, sh, cache, state, rows)
	}
	// Both are the user's to place, and one kind of cache could be what a log showed.
	if rel, err := filepath.Rel(cache, state); err == nil && filepath.IsLocal(rel) {
		return outcome.Refusef("what logs showed is remembered in %s, which is in the cache, so nothing is deleted\n"+
			"move it to a directory of its own, and set XDG_STATE_HOME to that", state)
	}
	return deleteStock(ctx, sh, rows, time.Now().Add(-older), *dry)
}

func optionsOf(all []kept) (names []string) {
	for _, k := range all {
		if k.name != "" {
			names = append(names, k.name)
		}
	}
	return names
}

// A piece is what is deleted as one: a file, or a directory.
type piece struct {
	path    string
	size    int64     // bytes of its files
	written time.Time // the newest of its files
}

// A stock is what there is of a kind.
type stock struct {
	kept
	pieces []piece
	chosen bool
}

func (s stock) size() (n int64) {
	for _, p := range s.pieces {
		n += p.size
	}
	return n
}

// takeStock looks at all that is there of a kind. Links are not followed.
func takeStock(ctx context.Context, cache string, k kept) (stock, error) {
	s := stock{kept: k}
	for _, dir := range k.dirs {
		root := filepath.Join(cache, dir)
		info, err := os.Lstat(root)
		var children []fs.DirEntry
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return s, err
		case err == nil && info.IsDir():
			if children, err = os.ReadDir(root); err != nil {
				return s, err
			}
		case err == nil && info.Mode().IsRegular():
			children, root = []fs.DirEntry{fs.FileInfoToDirEntry(info)}, cache
		}
		for _, child := range children {
			found, err := weigh(ctx, filepath.Join(root, child.Name()))
			if err != nil {
				return s, err
			}
			if k.whole && len(found) > 0 {
				one := piece{path: filepath.Join(root, child.Name())}
				for _, p := range found {
					one.size += p.size
					if p.written.After(one.written) {
						one.written = p.written
					}
				}
				found = []piece{one}
			}
			s.pieces = append(s.pieces, found...)
		}
	}
	return s, nil
}

// weigh lists the files at and below a path, but for those by which programs lock each other out, which
// would not if one was removed.
func weigh(ctx context.Context, root string) (all []piece, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
			return nil
		} else if err != nil {
			return err
		}
		if d.IsDir() || strings.HasSuffix(path, ".lock") {
			return ctx.Err()
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		all = append(all, piece{path, info.Size(), info.ModTime()})
		return nil
	})
	return all, err
}

func printStock(ctx context.Context, sh *shell, cache, state string, rows []stock) error {
	memory, err := weigh(ctx, state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	everything, err := weigh(ctx, cache)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	other := stock{kept: kept{what: "other files in the cache"}, pieces: everything}.size()
	w := tabwriter.NewWriter(sh.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "SIZE\tOPTION\tWHAT\n")
	for _, r := range rows {
		option := "--" + r.name
		if r.name == "" {
			option = "(stays)"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", sizeText(r.size()), option, r.what)
		other -= r.size()
	}
	if other > 0 {
		fmt.Fprintf(w, "%s\t(stays)\tother files in the cache\n", sizeText(other))
	}
	fmt.Fprintf(w, "%s\t(stays)\tmemory of what logs showed, and evidence: %s\n",
		sizeText(stock{pieces: memory}.size()), state)
	if err := w.Flush(); err != nil {
		return err
	}
	sh.Status("Finished", "the cache is %s; nothing was deleted: name what to, or --all, and --dry-run to see it first",
		cache)
	return nil
}

// deleteStock deletes what was chosen and was written before a time.
func deleteStock(ctx context.Context, sh *shell, rows []stock, before time.Time, dry bool) error {
	verb := "Deleted"
	if dry {
		verb = "Would delete"
	}
	var sum int64
	for _, r := range rows {
		if !r.chosen {
			continue
		}
		var size int64
		n := 0
		for _, p := range r.pieces {
			if p.written.After(before) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if held, err := inUse(p.path); err != nil {
				return err
			} else if held {
				sh.Warn("%s stays: another process is using it", p.path)
				continue
			}
			if !dry {
				if err := removePiece(p.path); err != nil {
					return err
				}
			}
			if sh.verbose {
				sh.Status(verb, "%s", p.path)
			}
			size += p.size
			n++
		}
		sum += size
		sh.Status(verb, "%s of %s, of %d", sizeText(size), r.name, n)
	}
	if dry {
		sh.Status("Finished", "%s could go; nothing was deleted", sizeText(sum))
	} else {
		sh.Status("Finished", "%s less", sizeText(sum))
	}
	return nil
}

// inUse says whether another process has a lock beside a piece or in it.
func inUse(path string) (bool, error) {
	for _, lock := range []string{path + ".lock", filepath.Join(path, ".lock")} {
		f, err := os.OpenFile(lock, os.O_RDWR, 0)
		if err != nil {
			continue // there is none, or it is not this user's to hold
		}
		held, err := flock.Try(f)
		f.Close()
		if held || err != nil {
			return held, err
		}
	}
	return false, nil
}

// removePiece deletes a file or a directory with all in it, in which directories may be read-only.
func removePiece(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) // if it fails, so does what follows
		}
		return nil
	})
	return os.RemoveAll(path)
}

// sizeText says a number of bytes in three digits or a few more.
func sizeText(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	f, unit := float64(n), 0
	for ; f >= 1000 && unit < len(units)-1; unit++ {
		f /= 1000
	}
	if unit == 0 || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, units[unit])
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}
