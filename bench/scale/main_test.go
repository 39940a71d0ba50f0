package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/clustertest"
	"cratelog/internal/fixture"
	"cratelog/log/storage"
)

func TestMain(m *testing.M) { os.Exit(clustertest.Main(m)) }

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var row = regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)`")

// A run of everything, on a tree that says nothing of sizes.
func TestThePageQuotesWhatIsPrinted(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a log, witnesses and a monitor")
	}
	var printed bytes.Buffer
	out = &printed
	defer func() { out = os.Stdout }()
	fatalIf(t, run(t.Context(), scale{year: 2000, most: 20_000, logged: 200, lock: 12, updated: 4}))
	var names []string
	for line := range strings.Lines(printed.String()) {
		name, _, _ := strings.Cut(line, " ")
		if slices.Contains(names, name) {
			t.Errorf("%s is printed twice", name)
		}
		names = append(names, name)
	}
	page, err := os.ReadFile(filepath.Join(fixture.Root(t), "docs", "scale.md"))
	fatalIf(t, err)
	quoted := row.FindAllSubmatch(page, -1)
	for _, m := range quoted {
		name := string(m[1]) // or what several begin with
		if !slices.ContainsFunc(names, func(s string) bool { return s == name || strings.HasPrefix(s, name+"_") }) {
			t.Errorf("docs/scale.md quotes %s, which is not printed", name)
		}
	}
	if len(quoted) < 30 {
		t.Errorf("docs/scale.md quotes %d figures: are its rows as they were?", len(quoted))
	}
}

func TestAYearHasTheVersionsOfItsDays(t *testing.T) {
	for _, perDay := range []float64{versionsPerDay, 1000 * versionsPerDay} {
		r := yearOf(perDay, 1000, 50, 100_000, interval)
		if math.Abs(r.versions/(365*perDay)-1) > 0.02 {
			t.Errorf("%.0f versions a day are %.0f a year", perDay, r.versions)
		}
		most := 365 * aDay.Seconds() / interval.Seconds()
		if r.seals > 1.01*min(r.versions, most) || r.checkpoints < r.seals || r.waves < r.seals {
			t.Errorf("%.0f versions a day: %+v", perDay, r)
		}
	}
}

// The log in a directory is compared in each run.
func TestABucketGetsTheObjectsThatAreComputed(t *testing.T) {
	if testing.Short() {
		t.Skip("each leaf takes two seconds")
	}
	s := clustertest.FakeStore(t)
	g, err := clustertest.NewGate(s.Address)
	fatalIf(t, err)
	defer func() { fatalIf(t, g.Close()) }()
	var mu sync.Mutex
	puts := map[string]bool{}
	g.Refuse(func(r *http.Request) bool {
		if r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/"+s.Bucket+"/tile/") {
			mu.Lock()
			defer mu.Unlock()
			puts[r.URL.Path] = true
		}
		return false
	})
	tree, err := storage.OpenS3(t.Context(), storage.S3{Endpoint: clustertest.Endpoint(g.Address), Region: s.Region,
		Bucket: s.Bucket, PathStyle: true, AccessKey: s.AccessKey, SecretKey: s.SecretKey, Database: clustertest.Database(t)})
	fatalIf(t, err)
	t.Cleanup(func() { fatalIf(t, tree.Close()) })
	secret, _, err := note.GenerateKey(rand.Reader, "log.example")
	fatalIf(t, err)
	signer, err := note.NewSigner(secret)
	fatalIf(t, err)
	a, _, err := tree.Open(t.Context(), tessera.NewAppendOptions().WithCheckpointSigner(signer).
		WithCheckpointInterval(tree.Pace()).WithBatching(256, 5*time.Millisecond), http.DefaultClient)
	fatalIf(t, err)
	var f files
	for i := range 4 {
		f.grow(1, 0)
		_, err := a.Add(t.Context(), tessera.NewEntry(fmt.Appendf(nil, "entry %d", i)))()
		fatalIf(t, err)
		for range 1200 {
			state, err := tree.State(t.Context())
			fatalIf(t, err)
			if state.Size == f.size {
				break
			}
			time.Sleep(25 * time.Millisecond)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if want := f.full + f.partial; float64(len(puts)) != want {
		t.Errorf("a tree of %d leaves has %d objects, not %.0f: %v", f.size, len(puts), want, puts)
	}
}

// The sums are those of requests that are drawn one by one.
func TestWhatACacheKeepsIsWhatItKeepsOfDrawnRequests(t *testing.T) {
	const versions, requests, size = 2000, 400_000, 100
	p := zipf(versions, 1)
	var at []float64
	sum := 0.0
	for _, x := range p {
		for range int(x.versions) {
			sum += x.share
			at = append(at, sum)
		}
	}
	if len(at) != versions || math.Abs(sum-1) > 1e-9 {
		t.Fatalf("%d versions have %v of the requests", len(at), sum)
	}
	random := mathrand.New(mathrand.NewPCG(1, 2))
	last, clock, hits := make([]int, versions), 0, 0
	var seen int
	order := make([]int, 0, size) // the least recent first
	for clock < requests {
		x, draw := 0, random.Float64()
		for x < versions-1 && at[x] < draw {
			x++
		}
		clock++
		if last[x] == 0 && clock <= versions {
			seen++
		}
		last[x] = clock
		found := -1
		for i, y := range order {
			if y == x {
				found = i
			}
		}
		if found >= 0 {
			hits++
			order = append(order[:found], order[found+1:]...)
		} else if len(order) == size {
			order = order[1:]
		}
		order = append(order, x)
	}
	if want, got := float64(hits)/requests, p.kept(size); math.Abs(want-got) > 0.01 {
		t.Errorf("a cache of %d has %v of the requests, and %v is computed", size, want, got)
	}
	sum = 0
	for _, x := range p.first(versions) {
		sum += x.versions * x.share
	}
	if math.Abs(sum-1) > 1e-9 {
		t.Errorf("what a cache lets through has %v of its requests", sum)
	}
	if got := p.distinct(versions); math.Abs(got/float64(seen)-1) > 0.05 {
		t.Errorf("%d requests are for %d versions, and %v is computed", versions, seen, got)
	}
}
