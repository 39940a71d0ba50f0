package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo"
	"cratelog/internal/fixture"
	"cratelog/internal/logsite"
)

// TestNoVerbBelievesALogThatForked: a log and all its witnesses showed this machine one
// tree, and now show it another. Whatever first meets the other one refuses, and writes
// evidence; while the evidence lies there, nothing believes the log, honest bundles too.
func TestNoVerbBelievesALogThatForked(t *testing.T) {
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	d := newDependent(t, s, "hello-proof = { version = \"=0.1.1\", verification = \"zkp\" }\n")
	d.policy("")
	d.mustCargo("fetch")
	d.zkp("verify").want(t, 0, "Verifying 1 crate of ", "1 crate proven")

	file := filepath.Join(d.dir, "hello-proof-0.1.1.crate")
	write(t, file, string(fixture.Crate(t, "hello-proof", "0.1.1")))
	fetch := func(url string) {
		b, err := logsite.Fetch(t.Context(), url+"/v1/crates/hello-proof/0.1.1")
		fatalIf(t, err)
		write(t, bundleOf(file), string(b))
	}
	fork := s.forked(t)
	d.write("fork.policy", strings.Replace(string(read(t, s.policy)), s.log.url, fork, 1))
	publishTo := func(index, url, trust string) outcome {
		write(t, filepath.Join(d.dir, "ask"), fmt.Sprintf(
			`{"v":1,"registry":{"index-url":%q},"kind":"get","operation":"publish",`+
				`"name":"hello-proof","vers":"0.1.1","cksum":"%x","args":["--development","--trust",%q,"--log",%q,"--next"]}`+"\n",
			index, sha256.Sum256(fixture.Crate(t, "hello-proof", "0.1.1")), trust, url))
		o := command(t, d.dir, d.env, "sh", "-c", "cargo-zkp --cargo-plugin < ask")
		if strings.Contains(o.stdout, `"Err":{"kind":"other"`) {
			o.code, o.stderr = 1, o.stderr+o.stdout // which is how it refuses
		}
		return o
	}
	index := d.indexOf("hello-proof")
	publish := func(url, trust string) outcome { return publishTo(index, url, trust) }
	publishTo("sparse+https://r.example/", s.log.url, s.policy).want(t, 1, "has no entry for hello-proof 0.1.1")
	verbs := []struct {
		name string
		run  func(url, trust string) outcome
	}{
		{"verify", func(_, _ string) outcome { return d.zkp("verify") }},
		{"verify FILE --log", func(url, _ string) outcome { return d.zkp("verify", file, "--log", url) }},
		{"verify FILE", func(_, _ string) outcome { return d.zkp("verify", file) }},
		{"verify FILE --offline", func(_, _ string) outcome { return d.zkp("verify", file, "--offline") }},
		{"show", func(_, _ string) outcome { return d.zkp("show", "hello-proof@0.1.1") }},
		{"vendor", func(_, _ string) outcome { return d.zkp("vendor") }},
		{"build", func(_, _ string) outcome { return d.zkp("check") }},
		{"the credential provider", publish},
	}
	t.Run("the other tree", func(t *testing.T) {
		d.write("zkp.toml", "version = 1\ndevelopment = true\ntrust = [\"fork.policy\"]\n")
		fetch(fork)
		for _, v := range verbs {
			fatalIf(t, os.RemoveAll(filepath.Join(d.user, ".cache")))
			v.run(fork, "fork.policy").want(t, 1, "signed two trees", ".evidence")
			if found := d.evidence(); len(found) != 1 {
				t.Errorf("%s left the evidence %v", v.name, found)
			}
			d.forgive()
		}
	})
	d.zkp("verify", file).want(t, 1, "signed two trees")
	t.Run("after that, the tree that was seen first", func(t *testing.T) {
		d.policy("")
		fetch(s.log.url)
		for _, v := range verbs {
			v.run(s.log.url, s.policy).want(t, 1, "signed two trees", "it did so before")
		}
	})
	d.forgive()
	t.Run("without the evidence", func(t *testing.T) {
		for _, v := range verbs {
			v.run(s.log.url, s.policy).want(t, 0)
		}
	})
}

// indexOf returns the index of the registry that the lock file takes a package from, as cargo
// hands it to credential providers.
func (d *dependent) indexOf(name string) string {
	d.t.Helper()
	lock, err := cargo.ReadLock(filepath.Join(d.dir, "Cargo.lock"))
	fatalIf(d.t, err)
	for _, i := range lock.Named(name) {
		if index, ok := lock.Packages[i].Registry(); ok {
			return index
		}
	}
	d.t.Fatalf("Cargo.lock has no %s of a registry", name)
	return ""
}

// forgive removes the evidence.
func (d *dependent) forgive() {
	d.t.Helper()
	for _, path := range d.evidence() {
		fatalIf(d.t, os.Remove(path))
	}
}

// evidence lists the files of evidence below the user's home.
func (d *dependent) evidence() (paths []string) {
	d.t.Helper()
	fatalIf(d.t, filepath.WalkDir(d.user, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".evidence") {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}
