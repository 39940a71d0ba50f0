package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cratelog/internal/flock"
	"cratelog/internal/outcome"
)

// stocked makes a cache with a file of each kind, and a memory of logs.
func stocked(t *testing.T) (d *depot, cache, state string) {
	t.Helper()
	dir := t.TempDir()
	cache, state = filepath.Join(dir, "cache", "cratelog"), filepath.Join(dir, "state", "cratelog")
	for name, value := range map[string]string{"XDG_CACHE_HOME": filepath.Dir(cache), "XDG_STATE_HOME": filepath.Dir(state)} {
		t.Setenv(name, value)
	}
	for _, file := range []string{"keys/a.pk", "keys/a.lock", "repositories/r1/HEAD", "repositories/r1/objects/o", "public/r2/.git/HEAD", "public/r2.lock", "public-own/r3/.git/HEAD", "bundles/log/b", "openings/o",
		"verdicts/f/v", "locks/l", "sources.json", "lines.json", "toolchains/t/bin/rustc", "environments/e/x", "prove-lock/w/a.entry", "prove-lock/w/.lock",
		"proxy/p", "somebody/else"} {
		put(t, filepath.Join(cache, file), "12345678")
	}
	fatalIf(t, os.Mkdir(filepath.Join(cache, "public", ".home"), 0o700))
	put(t, filepath.Join(state, "log", "heads"), "12345678")
	return &depot{t: t}, cache, state
}

// stands wants files to be there and, behind a "!", not.
func stands(t *testing.T, dir string, files ...string) {
	t.Helper()
	for _, f := range files {
		want := f[0] != '!'
		if !want {
			f = f[1:]
		}
		if _, err := os.Lstat(filepath.Join(dir, f)); want != (err == nil) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestCleanAloneTellsAndDeletesNothing(t *testing.T) {
	d, cache, state := stocked(t)
	out, errs := d.call(outcome.OK, "clean")
	tells(t, out, "8 B   --keys", "32 B  --clones", "32 B  --verdicts", "16 B  --builds", "8 B   --proofs", "8 B   (stays)     the proxy's",
		"8 B   (stays)     other files", "8 B   (stays)     memory of what logs showed, and evidence: "+state)
	tells(t, errs, "nothing was deleted")
	stands(t, cache, "keys/a.pk", "repositories/r1/objects/o", "lines.json", "prove-lock/w/a.entry")
	for _, args := range [][]string{{"--dry-run"}, {"--older", "3d"}, {"--older", "soon", "--all"}, {"keys"}} {
		d.call(outcome.Usage, append([]string{"clean"}, args...)...)
	}
}

func TestCleanDeletesWhatIsNamedAndNothingElse(t *testing.T) {
	d, cache, state := stocked(t)
	_, errs := d.call(outcome.OK, "clean", "--all", "--proofs", "--dry-run", "-v")
	tells(t, errs, "Would delete 8 B of keys, of 1", filepath.Join(cache, "prove-lock", "w"), "nothing was deleted")
	stands(t, cache, "keys/a.pk", "prove-lock/w/a.entry")
	d.call(outcome.OK, "clean", "--clones")
	stands(t, cache, "!repositories/r1", "!public/r2", "!public-own/r3", "public/r2.lock", "public/.home", "keys/a.pk", "bundles/log/b")
	fatalIf(t, os.Chmod(filepath.Join(cache, "toolchains/t/bin"), 0o555))
	_, errs = d.call(outcome.OK, "clean", "--all")
	tells(t, errs, "Deleted 16 B of builds, of 2", "!proofs")
	stands(t, cache, "!keys/a.pk", "keys/a.lock", "!bundles/log/b", "!openings/o", "!verdicts/f/v", "!locks/l", "!sources.json", "!lines.json",
		"!toolchains/t", "!environments/e", "prove-lock/w/a.entry", "proxy/p", "somebody/else")
	stands(t, state, "log/heads")
	d.call(outcome.OK, "clean", "--proofs")
	stands(t, cache, "!prove-lock/w", "proxy/p")
	stands(t, state, "log/heads")
}

func TestCleanLooksAtWhenItWasWritten(t *testing.T) {
	d, cache, _ := stocked(t)
	old := time.Now().AddDate(0, 0, -40)
	for _, f := range []string{"keys/a.pk", "repositories/r1/HEAD", "bundles/log/b"} {
		fatalIf(t, os.Chtimes(filepath.Join(cache, f), old, old))
	}
	d.call(outcome.OK, "clean", "--all", "--older", "30d")
	stands(t, cache, "!keys/a.pk", "repositories/r1/HEAD", "!bundles/log/b", "openings/o") // something in r1 is young
}

// A link out of the cache is deleted, and not what it leads to.
func TestCleanFollowsNoLink(t *testing.T) {
	d, cache, _ := stocked(t)
	out := t.TempDir()
	put(t, filepath.Join(out, "precious"), "x")
	fatalIf(t, os.RemoveAll(filepath.Join(cache, "bundles")))
	for _, link := range []string{filepath.Join("repositories", "link"), "bundles"} {
		if err := os.Symlink(out, filepath.Join(cache, link)); err != nil {
			t.Logf("no links here: %v", err)
			return
		}
	}
	d.call(outcome.OK, "clean", "--all", "--proofs")
	stands(t, out, "precious")
	stands(t, cache, "!repositories/link")
}

func TestCleanLeavesWhatIsInUse(t *testing.T) {
	d, cache, _ := stocked(t)
	var locks []*os.File
	for _, lock := range []string{"public/r2.lock", "prove-lock/w/.lock"} {
		f, err := os.OpenFile(filepath.Join(cache, lock), os.O_RDWR, 0)
		fatalIf(t, err)
		defer f.Close()
		if held, err := flock.Try(f); held || err != nil {
			t.Fatal(held, err)
		}
		locks = append(locks, f)
	}
	_, errs := d.call(outcome.OK, "clean", "--clones", "--proofs")
	tells(t, errs, "r2 stays: another process is using it", "w stays", "Deleted 24 B of clones, of 2", "Deleted 0 B of proofs, of 0")
	stands(t, cache, "!repositories/r1", "public/r2/.git/HEAD", "prove-lock/w/a.entry")
	for _, f := range locks {
		f.Close()
	}
	d.call(outcome.OK, "clean", "--clones", "--proofs")
	stands(t, cache, "!public/r2", "!prove-lock/w")
}

func TestCleanLeavesAMemoryInTheCacheAlone(t *testing.T) {
	d, cache, _ := stocked(t)
	for _, dir := range []string{filepath.Dir(cache), filepath.Join(cache, "keys")} {
		t.Setenv("XDG_STATE_HOME", dir)
		_, errs := d.call(outcome.Refused, "clean", "--all")
		tells(t, errs, "which is in the cache, so nothing is deleted")
		stands(t, cache, "keys/a.pk")
	}
}
