package opening

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"cratelog/crate"
	"cratelog/entry"
)

// TestTheCommitsLockFileTravelsInTheOpening, so that whoever has the .crate can see that its own
// follows.
func TestTheCommitsLockFileTravelsInTheOpening(t *testing.T) {
	w := newLockWorld(t, nil)
	raw := w.opening()
	o, err := Check(raw, w.claim, w.list)
	fatalIf(t, err)
	if string(o.Lock) != commitsLock {
		t.Errorf("the lock file reads %q", o.Lock)
	}
	clear(raw)
	if by, err := w.crate.LockChosenBy(w.claim, o.Lock); by != crate.ByCommit || err != nil {
		t.Errorf("the versions are chosen by %s: %v", by, err)
	}
	if o, err := Check(newWorld(t, "", nil, entry.Source{}, nil).opening(), w.claim, w.list); err == nil {
		t.Errorf("another opening is believed: %+v", o)
	}
	plain := newWorld(t, "", nil, entry.Source{}, nil)
	if o, err := Check(plain.opening(), plain.claim, plain.list); err != nil || o.Lock != nil {
		t.Errorf("a lock file that the claim does not name: %q, %v", o.Lock, err)
	}
}

// TestALockFileThatTheCommitDoesNotHoldIsAContradiction: of another commit, with another mode, or none.
func TestALockFileThatTheCommitDoesNotHoldIsAContradiction(t *testing.T) {
	for name, c := range map[string]struct {
		there file
		want  string
	}{
		"of another commit": {file{"100644", commitsLock + "\n"}, "Cargo.lock is the blob"},
		"executable":        {file{"100755", commitsLock}, "Cargo.lock has the mode 100755"},
		"a link":            {file{"120000", commitsLock}, "Cargo.lock has the mode 120000"},
		"none":              {file{}, "has no Cargo.lock"},
	} {
		w := newLockWorld(t, func(r *repo) {
			if r.files["Cargo.lock"] = c.there; c.there == (file{}) {
				delete(r.files, "Cargo.lock")
			}
		})
		objects := append(w.objects(), []byte("blob 1\x00x"))
		if _, err := Check(bytes.Join(objects, nil), w.claim, w.list); !errors.Is(err, ErrContradiction) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want a contradiction with %q", name, err, c.want)
		}
	}
}

// TestOnlyTheLockFileOfTheClaimFollowsTheObjects: not another, none, two, or one that is not asked for.
func TestOnlyTheLockFileOfTheClaimFollowsTheObjects(t *testing.T) {
	w := newLockWorld(t, nil)
	objects := bytes.Join(w.objects(), nil)
	whole := string(w.opening())
	lock := strings.TrimPrefix(whole, string(objects))
	unnamed := newWorld(t, "", nil, entry.Source{}, nil)
	for name, c := range map[string]struct {
		raw  string
		of   *world
		want string
	}{
		"none":                {string(objects), w, "is not what follows the commits and trees"},
		"another":             {string(objects) + "blob 1\x00x", w, "is not the blob"},
		"as a tree":           {string(objects) + strings.Replace(lock, "blob", "tree", 1), w, "is not what follows the commits and trees"},
		"a tree more":         {string(objects) + "tree 0\x00" + lock, w, "is not what follows the commits and trees"},
		"two":                 {whole + lock, w, "is a blob, and not the last"},
		"before the commit":   {lock + string(objects), w, "is a blob, and not the last"},
		"not asked for":       {string(unnamed.opening()) + lock, unnamed, "1 objects follow those of the list"},
		"the lock file alone": {lock, w, "object 0"},
	} {
		if _, err := Check([]byte(c.raw), c.of.claim, c.of.list); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s with %q", name, err, ErrMalformed, c.want)
		}
		if err := CheckObjects([]byte(c.raw), c.of.claim, len(c.of.list.Objects)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, without the list: %v, want %s", name, err, ErrMalformed)
		}
	}
}

// TestALockFileThatNoTreeHoldsIsRefusedWithoutAList: with the right bytes, and no word of the commit.
func TestALockFileThatNoTreeHoldsIsRefusedWithoutAList(t *testing.T) {
	w := newLockWorld(t, nil)
	n := len(w.list.Objects)
	fatalIf(t, CheckObjects(w.opening(), w.claim, n))
	none := newWorld(t, "crates/x", []string{"tests/data"}, entry.Source{}, nil)
	none.claim.Lock = w.claim.Lock
	raw := append(bytes.Join(none.objects(), nil), w.opening()[len(bytes.Join(w.objects(), nil)):]...)
	err := CheckObjects(raw, none.claim, len(none.list.Objects))
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "no tree holds the Cargo.lock") {
		t.Errorf("%v", err)
	}
}

func TestALockFileCountsAgainstTheSizeOfAnOpening(t *testing.T) {
	w := newLockWorld(t, func(r *repo) { r.files["Cargo.lock"] = file{"100644", commitsLock + strings.Repeat("#", MaxSize)} })
	if _, err := Make(w.withLock(), w.claim, w.list); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "take more than") {
		t.Errorf("%v", err)
	}
}
