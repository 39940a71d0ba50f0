package e2e

import (
	"bytes"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/fixture"
	"cratelog/internal/testlog"
)

// proxy runs the proxy until the test ends, at a port that is its own to choose, and
// installs it in the project as its user does.
func (d *dependent) proxy() {
	d.t.Helper()
	fatalIf(d.t, os.Remove(filepath.Join(d.dir, ".cargo", "config.toml")))
	p := launchIn(d.t, d.dir, d.env, "cargo-zkp", "proxy", "--listen", "127.0.0.1:0", "--index", d.registry.Index)
	const serving = "Serving sparse+http://"
	_, address, _ := strings.Cut(p.waitFor(d.t, serving), serving)
	address, _, _ = strings.Cut(address, "/")
	d.zkp("proxy", "--install", "--listen", address).want(d.t, 0, "Installed")
}

// halts runs a plain cargo build, which must stop with our words before anything of
// the crate is compiled.
func (d *dependent) halts(t *testing.T, crate string, words ...string) {
	t.Helper()
	d.cargo("build").want(t, 101, words...)
	for _, pattern := range []string{filepath.Join(d.home, "registry", "src", "*", crate+"-*"),
		filepath.Join(d.dir, "target", "debug", "deps", "*"+strings.ReplaceAll(crate, "-", "_")+"*")} {
		if found, err := filepath.Glob(pattern); err != nil || len(found) != 0 {
			t.Errorf("%v %v: cargo has got at the crate", found, err)
		}
	}
}

// TestAPlainBuildStopsBeforeItCompilesWhatIsNotProven is the promise to the cargo
// user, with the real cargo, log, witnesses and proxy.
func TestAPlainBuildStopsBeforeItCompilesWhatIsNotProven(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build many times")
	}
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	wanted := "hello-proof = { version = \"=0.1.1\", verification = \"zkp\" }\n"
	t.Run("proved crates, among many of the real registry", func(t *testing.T) {
		d := newDependent(t, s, wanted+"hello-inner = \"0.1.0\"\n"+manyCrates())
		d.withRealCrates()
		d.policy("require = [\"hello-inner\"]\n")
		d.proxy()
		d.mustCargo("build")
		lock := string(read(t, filepath.Join(d.dir, "Cargo.lock")))
		if strings.Count(lock, "[[package]]") < 33 && !testing.Short() || strings.Contains(lock, "127.0.0.1") {
			t.Errorf("the lock file is not what it would be without a proxy:\n%s", lock)
		}
		d.zkp("verify", "--locked").want(t, 0, "2 crates proven")
		d.zkp("proxy", "--uninstall").want(t, 0, "Removed")
	})
	halts := func(what, dependencies, policy string, prepare func(d *dependent), crate, words string) {
		t.Run(what, func(t *testing.T) {
			d := newDependent(t, s, dependencies)
			d.policy(policy)
			prepare(d)
			d.proxy()
			d.halts(t, crate, words)
		})
	}
	halts("one byte is changed in the registry", wanted, "", func(d *dependent) {
		raw := bytes.Clone(fixture.Crate(t, "hello-proof", "0.1.1"))
		raw[len(raw)/2] ^= 1
		d.registry.Swap("hello-proof", "0.1.1", raw)
	}, "hello-proof", "the registry served other bytes than its index lists")
	halts("the registry lists the changed crate's checksum", wanted, "", func(d *dependent) {
		d.registry.Replace("hello-proof", "0.1.1", changed(t, "src/lib.rs", "pub fn evil() {}\n"))
	}, "hello-proof", "another crate")
	halts("a dependency is added to Cargo.toml only", wanted, "", func(d *dependent) {
		evil := changed(t, "Cargo.toml", "\n[dependencies.proc-macro1]\nversion = \"1\"\n")
		d.registry.Replace("hello-proof", "0.1.1", evil)
		d.registry.Add("proc-macro1", "1.0.0")
	}, "hello-proof", "another crate")
	halts("a crate that nobody logged", "stranger = \"1\"\n", "require = \"all\"\n", func(d *dependent) {
		d.registry.Add("stranger", "1.0.0")
	}, "stranger", "no one has proved this version")
	t.Run("a log that shows another history", func(t *testing.T) {
		d := newDependent(t, s, wanted)
		d.policy("")
		d.proxy()
		d.mustCargo("build") // what the log showed first is remembered
		fork := newDependent(t, s, "hello-inner = { version = \"0.1.0\", verification = \"zkp\" }\n")
		fork.env = append(fork.env, "HOME="+d.user) // the same user
		fork.trust(s.log.url, s.forked(t))
		fork.proxy()
		fork.halts(t, "hello-inner", "two trees")
	})
	halts("a quorum that the log no longer has", wanted, "max-age = \"1ns\"\n", func(*dependent) {},
		"hello-proof", "stale checkpoint")
	halts("too few witnesses", wanted, "", func(d *dependent) {
		stranger := s.run("witness", "keygen", "-name", "stranger.example", "-out", filepath.Join(d.user, "key.pem"))
		d.trust("group two-of-three 2 w0 w1 w2", "witness w3 "+stranger+"\ngroup two-of-three all w0 w3")
	}, "hello-proof", "too few witnesses")
	t.Run("cargo zkp build", func(t *testing.T) { wrappedBuild(t, s) })
	s.stopAll()
	halts("a log that does not answer", wanted, "", func(*dependent) {}, "hello-proof", "did not say whether it holds")
}

// wrappedBuild needs no proxy: it checks what cargo has before cargo builds from it.
func wrappedBuild(t *testing.T, s *site) {
	d := newDependent(t, s, "hello-proof = { version = \"=0.1.1\", verification = \"zkp\" }\n")
	d.policy("")
	d.zkp("build").want(t, 0, "Compiling hello-proof v0.1.1")
	d.zkp("build", "--locked", "--offline").want(t, 0)
	lib := filepath.Join(d.find("src/*/hello-proof-0.1.1"), "src", "lib.rs")
	write(t, lib, string(read(t, lib))+"pub fn evil() {}\n")
	d.zkp("build").want(t, 1, "unpacked source differs", "src/lib.rs")
	d.zkp("check", "--nonsense").want(t, 1, "unpacked source differs")
}

// changed packs hello-proof 0.1.1 again, with more in one file.
func changed(t *testing.T, file, more string) []byte {
	t.Helper()
	return repack(t, fixture.Crate(t, "hello-proof", "0.1.1"), func(name string, content []byte) (string, []byte) {
		if strings.HasSuffix(name, "-0.1.1/"+file) {
			content = append(content, more...)
		}
		return name, content
	})
}

// forked serves bundles out of a tree with the same entries in another order, signed
// with the log's key and those of all its witnesses, and returns its address.
func (s *site) forked(t *testing.T) string {
	t.Helper()
	tree := &testlog.Tree{}
	for _, name := range slices.Backward(fixtures) {
		tree.Append(fixture.Read(t, name+".entry"))
		tree.Seal()
	}
	fork := testlog.New(origin, 0, nil)
	fork.Serve(tree, tree.Size(), testlog.Sign(tree.Head(origin, tree.Size()), s.signers()...))
	server := httptest.NewServer(fork)
	t.Cleanup(server.Close)
	return server.URL
}
