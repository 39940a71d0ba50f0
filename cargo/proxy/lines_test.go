package proxy_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cratelog/internal/registrytest"
)

// lying is a registry whose index says of leaf 1.0.0 what a test has it say, and a proxy before
// it. leaf depends on twig.
type lying struct {
	t    *testing.T
	base string
	dir  string
	j    *judge
	r    *registrytest.Registry
	body atomic.Pointer[string] // of the index file
}

const lyingManifest = "[package]\nname = \"leaf\"\nversion = \"1.0.0\"\n[dependencies]\ntwig = \"1\"\n[features]\nfast = []\n"

var lyingCrate = registrytest.MakeCrate("leaf", "1.0.0", map[string]string{"Cargo.toml": lyingManifest})

// leafLine is a line about it.
func leafLine(deps, more string) string {
	return fmt.Sprintf(`{"name":"leaf","vers":"1.0.0","deps":[%s],"cksum":"%x","features":{"fast":[]},"yanked":false%s}`+"\n", deps,
		sha256.Sum256(lyingCrate), more)
}

const twig = `{"name":"twig","req":"^1","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"}`

// honestLine is as cargo publish makes it, and the attacks are lies about it.
var (
	honestLine = leafLine(twig, "")
	attacks    = map[string]string{
		"another dependency":  leafLine(twig+","+strings.ReplaceAll(twig, "twig", "evil"), ""),
		"a swapped one":       leafLine(strings.Replace(twig, `"req"`, `"package":"evil","req"`, 1), ""),
		"one taken away":      leafLine("", ""),
		"one made optional":   leafLine(strings.Replace(twig, `"optional":false`, `"optional":true`, 1), ""),
		"an older one":        leafLine(strings.Replace(twig, `"^1"`, `"<1"`, 1), ""),
		"links":               leafLine(twig, `,"links":"z"`),
		"another feature":     strings.Replace(honestLine, `"fast":[]`, `"fast":[],"default":["fast"]`, 1),
		"a feature elsewhere": leafLine(twig, `,"v":2,"features2":{"default":["fast"]}`),
		"an escaped version":  strings.Replace(leafLine("", ""), `"1.0.0"`, `"1.0.\u0030"`, 1),
		"a form not known":    leafLine(twig, `,"v":99`),
	}
)

func newLying(t *testing.T) *lying {
	l := &lying{t: t, dir: t.TempDir(), j: newJudge(), r: registrytest.New(t)}
	l.j.required = true
	l.r.AddCrate(lyingCrate)
	l.says(honestLine)
	l.r.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
		if strings.HasSuffix(q.URL.Path, "/le/af/leaf") {
			fmt.Fprint(w, *l.body.Load())
		}
		return strings.HasSuffix(q.URL.Path, "/le/af/leaf")
	})
	l.restart()
	return l
}

// restart has another proxy go on in the same directory.
func (l *lying) restart() { _, l.base = start(l.t, l.r.Index, l.j, l.dir) }

func (l *lying) says(body string) { l.body.Store(&body) }

// served asks for the index file as cargo does, and returns it.
func (l *lying) served() string {
	l.t.Helper()
	code, body, _ := get(l.t, l.base+"/index/le/af/leaf")
	if code != http.StatusOK {
		l.t.Errorf("the index file: %d %s", code, body)
	}
	return body
}

func (l *lying) crate(want int, word string) {
	l.t.Helper()
	if code, body, _ := get(l.t, l.base+"/d/leaf/1.0.0"); code != want || want != http.StatusOK && !strings.Contains(body, word) {
		l.t.Errorf("the crate: %d, want %d and %q:\n%.600s", code, want, word, body)
	}
}

func TestACrateWhoseIndexLineLiesIsNotHandedOut(t *testing.T) {
	for what, line := range attacks {
		t.Run(what, func(t *testing.T) {
			l := newLying(t)
			l.says(line)
			l.served()
			l.crate(http.StatusForbidden, "index says other than its proven Cargo.toml")
			l.j.required = false // who asks for no proof gets what the registry has
			l.crate(http.StatusOK, "")
		})
	}
	l := newLying(t)
	l.served()
	l.crate(http.StatusOK, "")
}

func TestBesideAnHonestLineALieIsSeen(t *testing.T) {
	for what, line := range attacks {
		for _, body := range []string{line + honestLine, honestLine + line} {
			l := newLying(t)
			l.says(body)
			l.served()
			l.crate(http.StatusForbidden, "index says other")
			if t.Failed() {
				t.Fatal(what)
			}
		}
	}
}

// cargo may hold the line of yesterday, and asks for the crate today.
func TestALineThatWasServedBeforeCounts(t *testing.T) {
	for _, again := range []bool{false, true} {
		l := newLying(t)
		l.says(attacks["another dependency"])
		l.served()
		l.says(honestLine)
		l.served()
		if again {
			l.restart()
		}
		l.crate(http.StatusForbidden, "said other than its proven Cargo.toml")
		fatalIf(t, os.RemoveAll(filepath.Join(l.dir, "index"))) // as the sentence says
		l.crate(http.StatusOK, "")
	}
}

// cargo has the crate, and does not ask for it again when the index has changed.
func TestNoOtherLineIsServedForACrateThatWasHandedOut(t *testing.T) {
	others := map[string]string{"other bytes": strings.Replace(leafLine("", ""), fmt.Sprintf("%x", sha256.Sum256(lyingCrate)), strings.Repeat("ab", 32), 1)}
	for what, line := range attacks {
		others[what] = line
	}
	for what, line := range others {
		l := newLying(t)
		before := l.served()
		l.crate(http.StatusOK, "")
		l.restart()
		more := strings.Replace(honestLine, "1.0.0", "1.0.1", 1)
		for _, body := range []string{line + more, more + line, honestLine + line, line + honestLine} {
			l.says(body)
			answers(t, l.base+"/index/le/af/leaf", http.StatusForbidden, "cratelog refuses leaf v1.0.0: the registry's index says other than its proven Cargo.toml")
		}
		l.says(honestLine + more)
		if got := l.served(); before != honestLine || got != honestLine+more {
			t.Errorf("%s: first %s, then\n%s", what, before, got)
		}
		l.crate(http.StatusOK, "") // no lie was ever served
		l.says(line)
		l.j.required = false
		if got := l.served(); got != line {
			t.Errorf("%s: who asks for no proof: %s", what, got)
		}
	}
}

func TestWhatAnIndexMayChangeIsServed(t *testing.T) {
	l := newLying(t)
	l.served()
	l.crate(http.StatusOK, "")
	yanked := strings.Replace(honestLine, `"yanked":false`, `"yanked":true,"rust_version":"1.60"`, 1)
	spelled := strings.Replace(yanked, "^1", ">=1.0.0, <2.0.0", 1)
	for _, line := range []string{yanked, spelled, honestLine} {
		l.says(line)
		if got := l.served(); got != line {
			t.Errorf("instead of %s:\n%s", line, got)
		}
		l.crate(http.StatusOK, "")
	}
}

func TestALineThatCannotBeReadIsLeftOut(t *testing.T) {
	l := newLying(t)
	for _, bad := range []string{"{", `{"name":"leaf","vers":"1.0.0"}`, strings.Replace(honestLine, "leaf", "loaf", 1)} {
		l.says(bad + "\n" + honestLine)
		if got := l.served(); got != honestLine {
			t.Errorf("%s: %s", bad, got)
		}
	}
	l.crate(http.StatusOK, "")
}

func TestAnIndexFileThatCannotBeKeptIsNotServed(t *testing.T) {
	l := newLying(t)
	fatalIf(t, os.RemoveAll(filepath.Join(l.dir, "index")))
	fatalIf(t, os.WriteFile(filepath.Join(l.dir, "index"), nil, 0o644)) // a file where a directory should be
	answers(t, l.base+"/index/le/af/leaf", http.StatusBadGateway, "cannot be kept")
	j := errors.New("no")
	l.j.set("leaf 1.0.0", j)
	l.crate(http.StatusBadGateway, "cannot be kept")
}

func TestAnIndexThatIsAwayIsNoVerdict(t *testing.T) {
	l := newLying(t)
	l.served()
	fatalIf(t, os.RemoveAll(filepath.Join(l.dir, "index")))
	l.r.Fail("/le/af/leaf", http.StatusServiceUnavailable)
	l.crate(http.StatusServiceUnavailable, "")
	l.r.Meddle(nil)
	l.crate(http.StatusOK, "")
	fatalIf(t, os.RemoveAll(filepath.Join(l.dir, "index")))
	l.crate(http.StatusOK, "")
}

// A slow registry is asked once, although cargo gives up and asks again.
func TestAnIndexFileGoesOnComingWhenWhoAskedHasGone(t *testing.T) {
	l := newLying(t)
	came, release, asked, given := make(chan struct{}), make(chan struct{}), atomic.Int32{}, atomic.Bool{}
	l.r.Meddle(func(w http.ResponseWriter, q *http.Request) bool {
		if !strings.HasSuffix(q.URL.Path, "/le/af/leaf") {
			return false
		}
		if asked.Add(1) == 1 {
			close(came)
		}
		select {
		case <-release:
			fmt.Fprint(w, honestLine)
		case <-q.Context().Done():
			given.Store(true)
		}
		return true
	})
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+"/index/le/af/leaf", nil)
	fatalIf(t, err)
	left := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(r)
		left <- err
	}()
	<-came
	leave()
	if err := <-left; err == nil {
		t.Error("there was an answer")
	}
	time.AfterFunc(10*time.Millisecond, func() { close(release) }) // nothing rests on how long
	if got := l.served(); got != honestLine {
		t.Error(got)
	}
	if given.Load() {
		t.Error("it was given up")
	}
}
