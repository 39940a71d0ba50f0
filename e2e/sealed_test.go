package e2e

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/index"
	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// conspirator is a log that lies in what it seals, and all its witnesses cosign.
type conspirator struct {
	*testlog.Log
	t     *testing.T
	dir   string
	url   string
	trust string
}

func newConspirator(t *testing.T) *conspirator {
	t.Helper()
	c := &conspirator{Log: testlog.New("log.e2e.example/conspiracy", 3, time.Now), t: t, dir: t.TempDir()}
	server := httptest.NewServer(c.Log)
	t.Cleanup(server.Close)
	c.url, c.trust = server.URL, filepath.Join(c.dir, "trust.policy")
	write(t, c.trust, string(c.Trust(c.url)))
	return c
}

// convicts wants evidence files that convict the log, all of some kinds.
func (c *conspirator) convicts(pattern string, kinds ...string) {
	c.t.Helper()
	files, err := filepath.Glob(pattern)
	fatalIf(c.t, err)
	var found []string
	for _, f := range files {
		o := command(c.t, "", nil, program(c.t, "monitor"), "verify-evidence", f, "--trust", c.trust)
		o.want(c.t, 0)
		if !strings.Contains(o.stdout, "This evidence convicts the log "+c.KeyName) {
			c.t.Errorf("%s: %v", f, o)
		}
		_, kind, _ := strings.Cut(string(read(c.t, f)), "\nkind ")
		kind, _, _ = strings.Cut(kind, "\n")
		if !slices.Contains(found, kind) {
			found = append(found, kind)
		}
	}
	slices.Sort(found)
	if !slices.Equal(found, kinds) {
		c.t.Errorf("%s are of the kinds %q, not of %q", pattern, found, kinds)
	}
}

// read has a reader verify hello-proof 0.1.0, as packed in a fixture, with the bundle of an entry in the newest tree. What evidence it keeps
// must be of some kinds.
func (c *conspirator) read(name string, i int64, code int, words string, kinds ...string) {
	c.t.Helper()
	n, home := c.Tree.Size(), c.t.TempDir()
	crate, bundle := filepath.Join(home, "hello-proof-0.1.0.crate"), filepath.Join(home, "bundle")
	write(c.t, crate, string(fixture.Read(c.t, name+".crate")))
	write(c.t, bundle, string(c.Tree.Bundle(i, n, c.Sign(c.Tree, n, c.Witnesses...))))
	command(c.t, "", []string{"XDG_STATE_HOME=" + home, "XDG_CACHE_HOME=" + home}, program(c.t, "cargo-zkp"), "verify",
		crate, "--bundle", bundle, "--trust", c.trust, "--development").want(c.t, code, words)
	c.convicts(filepath.Join(home, "*", "*", "*", "*.evidence"), kinds...)
}

// own has the owner of hello-proof ask for all that the log holds of it.
func (c *conspirator) own(code int, words string, kinds ...string) {
	c.t.Helper()
	home := c.t.TempDir()
	o := command(c.t, home, []string{"XDG_STATE_HOME=" + home, "XDG_CACHE_HOME=" + home}, program(c.t, "cargo-zkp"), "owner", "hello-proof",
		"--trust", c.trust)
	if o.want(c.t, code); !strings.Contains(o.stdout+o.stderr, words) {
		c.t.Errorf("%v\nit does not say %q", o, words)
	}
	c.convicts(filepath.Join(home, "*.evidence"), kinds...)
}

// lists has the log show a version in its list, which nothing proves.
func (c *conspirator) lists(s entry.Subject, i int) {
	c.t.Helper()
	c.Intercept(testlog.Answer("/v1/crates/hello-proof", http.StatusOK, fmt.Appendf(nil,
		`{"registry":"default","versions":[{"name":%q,"version":%q,"sha256":"%x","index":%d}]}`, s.Name, s.Version, s.SHA256, i)))
}

// watch has a monitor follow the log from its beginning.
func (c *conspirator) watch(code int, kinds ...string) {
	c.t.Helper()
	settings := filepath.Join(c.t.TempDir(), "monitor.toml")
	write(c.t, settings, "database = \"monitor.db\"\nevidence = \"evidence\"\nlisten = \"127.0.0.1:0\"\ndevelopment = true\n"+
		"[[log]]\ntrust = "+quoted(c.trust)+"\n")
	command(c.t, "", nil, program(c.t, "monitor"), "init", "-config", settings).want(c.t, 0)
	command(c.t, "", nil, program(c.t, "monitor"), "once", "-config", settings).want(c.t, code)
	c.convicts(filepath.Join(filepath.Dir(settings), "evidence", "*.evidence"), kinds...)
}

// TestALogWithAllItsWitnessesCannotLieInItsIndex leaves an entry out of the index, adds a phantom, and logs a
// version twice: the reader, the owner and the monitor each say so, with evidence that convicts the log.
func TestALogWithAllItsWitnessesCannotLieInItsIndex(t *testing.T) {
	first, again := fixture.Read(t, "hello-proof-0.1.0.entry"), fixture.Read(t, "hello-proof-0.1.0-repacked.entry")
	inner := fixture.Read(t, "hello-inner-0.1.0.entry")
	s := fixture.Entry(t, "hello-proof-0.1.0").Subject
	version := index.VersionKey(entry.DefaultRegistry, s.Name, s.Version)

	t.Run("an honest one", func(t *testing.T) {
		c := newConspirator(t)
		c.Add(first, inner)
		c.Add(again)
		c.read("hello-proof-0.1.0", 0, 0, "holds one checksum for hello-proof 0.1.0")
		c.read("hello-proof-0.1.0-repacked", 3, 1, "void entry")
		c.own(0, "VOID: this log has "+fmt.Sprintf("%x", s.SHA256))
		c.own(0, "these are all 2 entries about hello-proof, as of ")
		c.watch(0)
	})
	t.Run("an entry is left out", func(t *testing.T) {
		c := newConspirator(t)
		c.Tree.Omit(0)
		c.Add(first, inner)
		c.read("hello-proof-0.1.0", 0, 1, "no valid seal") // no bundle says that the version is not there
		c.lists(s, 0)
		c.own(1, "its index leaves out entry 0, which is about hello-proof: that is not all", "index-omission")
		c.watch(1, "index-omission")
	})
	t.Run("a phantom is added", func(t *testing.T) {
		c := newConspirator(t)
		c.Tree.Phantom(index.Row{Key: index.VersionKey(entry.DefaultRegistry, "hello-phantom", "1.0.0"),
			Value: index.Version{SHA256: [32]byte{1}, First: 1}.Marshal()})
		c.Add(first, inner)
		c.watch(1, "index-phantom")
	})
	t.Run("a phantom takes the place of an entry", func(t *testing.T) {
		for named, kind := range map[uint64]string{0: "index-phantom", 77: "index-omission"} {
			c := newConspirator(t)
			c.Tree.Phantom(index.Row{Key: version, Value: binary.BigEndian.AppendUint64(make([]byte, 32), named)})
			c.Add(first, inner)
			c.read("hello-proof-0.1.0", 0, 1, "no valid seal", kind)
			c.own(1, "its index has what no entry makes, about hello-proof", "index-phantom")
		}
	})
	t.Run("a version is logged twice, and the second one is said to be the first", func(t *testing.T) {
		c := newConspirator(t)
		c.Add(first, inner)
		c.Tree.Omit(0)
		c.Add(again)
		c.read("hello-proof-0.1.0", 0, 1, "no valid seal", "index-omission")
		c.lists(s, 0)
		c.own(1, "its index leaves out entry 0", "index-omission")
		c.watch(1, "index-omission")
	})
	t.Run("a tree is not sealed", func(t *testing.T) {
		c := newConspirator(t)
		c.Add(first, inner)
		c.Tree.Append(again)
		c.ServeSigned(c.Tree, c.Tree.Size(), c.Witnesses...)
		c.read("hello-proof-0.1.0", 0, 1, "no valid seal", "unsealed")
		c.watch(1, "unsealed")
	})
}
