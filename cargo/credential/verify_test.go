package credential

import (
	"bytes"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

// TestAPublishersOwnOpeningCounts: under a policy that asks for openings, the one that the publisher has made
// does where no log holds it, and only that one does.
func TestAPublishersOwnOpeningCounts(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	l := testlog.New("log.example/own", 3, time.Now)
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1/openings/") {
			asked++
			w.WriteHeader(http.StatusNotFound)
			_, err := w.Write([]byte(`{"reason": "not-found", "message": "no"}`))
			fatalIf(t, err)
			return
		}
		l.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	write(t, filepath.Join(dir, "log.policy"), string(l.Trust(server.URL)))
	settings := filepath.Join(dir, policy.FileName)
	write(t, settings, "version = 1\ntrust = [\"log.policy\"]\ndevelopment = true\nopening = \"required\"\n")
	p, err := policy.Load(settings, "")
	fatalIf(t, err)
	l.Add(testlog.Must(fixture.Entry(t, "hello-proof-0.1.0").Marshal()))
	bundle := l.Tree.Bundle(0, 2, l.Sign(l.Tree, 2, l.Witnesses...))
	raw, opened := fixture.Crate(t, "hello-proof", "0.1.0"), fixture.Read(t, "hello-proof-0.1.0.opening")
	pkg := policy.Package{Name: "hello-proof", Version: "0.1.0"}

	for name, c := range map[string]struct {
		opening []byte
		want    string // "": it verifies
		asks    bool
	}{
		"its own":         {opened, "", false},
		"none":            {nil, "no opening", true},
		"of another text": {bytes.Replace(opened, []byte("author"), []byte("Author"), 1), "no opening", true},
		"cut short":       {opened[:len(opened)/2], "no opening", true},
		"something else":  {[]byte("commit"), "no opening", true},
		"with more in it": {append(bytes.Clone(opened), opened...), "no opening", true},
	} {
		t.Run(name, func(t *testing.T) {
			fatalIf(t, os.RemoveAll(filepath.Join(dir, "cache"))) // what one run learns does for the next
			r, err := NewReader(p)
			fatalIf(t, err)
			asked = 0
			result, err := r.Verify(t.Context(), bundle, raw, c.opening, pkg, nil)
			if c.want == "" && (err != nil || result.Name != "hello-proof") {
				t.Errorf("%v", err)
			}
			if c.want != "" && (result != nil || outcome.Of(err) != outcome.Refused || !strings.Contains(err.Error(),
				c.want)) {
				t.Errorf("%+v, %v", result, err)
			}
			if (asked > 0) != c.asks {
				t.Errorf("the log was asked %d times", asked)
			}
		})
	}
}

// TestALogThatIsToTakeACrateSealsItsTree: else nobody believes it afterwards.
func TestALogThatIsToTakeACrateSealsItsTree(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	l := testlog.New("log.example/backed", 1, time.Now)
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	write(t, filepath.Join(dir, "log.policy"), string(l.Trust(server.URL)))
	settings := filepath.Join(dir, policy.FileName)
	write(t, settings, "version = 1\ntrust = [\"log.policy\"]\nregistry-backed = [\"log.example/backed\"]\n")
	r, err := NewReader(testlog.Must(policy.Load(settings, "")))
	fatalIf(t, err)
	l.Add([]byte("leaf"))
	for size, sealed := range []bool{0: true, 1: false, 2: true} {
		signed := l.ServeSigned(l.Tree, int64(size), l.Witnesses...)
		_, err := r.backed(t.Context(), &client.Log{URL: server.URL}, signed)
		if (err == nil) != sealed || !sealed && !errors.Is(err, client.ErrSeal) {
			t.Errorf("a tree of %d leaves: %v", size, err)
		}
	}
}

// TestALogThatThePolicyKeepsFromARegistryHearsOfNoneOfItsCrates, though a trust file lists it.
func TestALogThatThePolicyKeepsFromARegistryHearsOfNoneOfItsCrates(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(dir, "state"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	heard := map[string]int{}
	for _, name := range []string{"public", "ours"} {
		l := testlog.New("log.example/"+name, 1, time.Now)
		l.Add([]byte("leaf"))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			heard[name]++
			l.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		write(t, filepath.Join(dir, name+".policy"), string(l.Trust(server.URL)))
	}
	settings := filepath.Join(dir, policy.FileName)
	for index, c := range map[string]struct {
		logs  string
		heard []string
	}{
		"sparse+https://registry.example.com/": {`"log.example/ours"`, []string{"ours"}},
		"sparse+https://registry.example.com":  {`"log.example/ours"`, []string{"ours"}},
		"sparse+https://REGISTRY.example.com/": {"", nil},
		"sparse+https://other.example.com/":    {`"log.example/ours"`, nil}, // of this one the policy says nothing
		"crates-io":                            {`"log.example/ours"`, nil}, // likewise
	} {
		clear(heard)
		write(t, settings, "version = 1\ntrust = [\"public.policy\", \"ours.policy\"]\n[registry.\""+index+"\"]\nlogs = ["+
			c.logs+"]\n")
		answer := ask(t, t.TempDir(), env(), request("get", "publish", list("--policy", settings)))[0]
		says(t, answer, "is not known to be logged")
		if c.heard == nil {
			says(t, answer, "no log was asked", "--log URL", `[registry.\"sparse+https://registry.example.com/\"] logs in zkp.toml`)
		}
		if names := slices.Sorted(maps.Keys(heard)); !slices.Equal(names, c.heard) {
			t.Errorf("%s: %q heard of it", index, names)
		}
	}
}
