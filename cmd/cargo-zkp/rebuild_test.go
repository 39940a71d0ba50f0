package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/build"
	"cratelog/build/rebuild"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/outcome"
	"cratelog/internal/registrytest"
)

// plan is that of a binary of hello-proof, for which one crate is compiled that no log has.
func plan(t *testing.T) rebuild.Plan {
	t.Helper()
	raw, dep := helloProof(t), registrytest.MakeCrate("dep", "1.0.0", nil)
	c := build.Crate{Registry: entry.DefaultRegistry, Name: "dep", Version: "1.0.0", SHA256: sha256.Sum256(dep)}
	return rebuild.Plan{Crate: raw, Binary: "hello", Lock: &rebuild.Lock{}, List: build.List{c}, Raw: map[build.Crate][]byte{c: dep},
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "hello-proof", Version: "0.1.0", SHA256: sha256.Sum256(raw)}}
}

func TestWhatIsCompiledIsVerifiedBeforeItRuns(t *testing.T) {
	d, good := proven(t), plan(t)
	dir := d.project("")
	for name, c := range map[string]struct {
		policy, source string
		spoil          func(*rebuild.Plan)
		code           outcome.Code
		words          []string
		text           string
	}{
		"no policy demands anything": {"", "", nil, outcome.OK, []string{"nothing of it was verified: no policy demands"},
			"nothing of it was verified"},
		"the crate, with an unproven lock file": {"require = [\"hello-proof\"]\n", "", nil, outcome.Refused,
			[]string{"dep v1.0.0", "whoever packaged hello-proof chose it", "nothing was built"}, ""},
		"the crate alone": {"require = [\"hello-proof\"]\n", "crate", nil, outcome.OK,
			[]string{"were chosen by whoever packaged hello-proof", "UNSAFE development keys"}, "1 proven, 1 not"},
		"a policy that demands all": {"require = \"all\"\n", "crate", nil, outcome.Refused,
			[]string{"dep v1.0.0", "requires all crates"}, ""},
		"without a policy, by the option": {"", "all", nil, outcome.Refused, []string{"dep v1.0.0"}, ""},
		"a dependency that is demanded":   {"require = [\"dep\"]\n", "crate", nil, outcome.Refused, []string{"dep v1.0.0"}, ""},
		"an exception for it": {"require = \"all\"\n[[exception]]\ncrate = \"dep\"\nreason = \"ours\"\nexpires = \"2999-01-01\"\n", "", nil,
			outcome.OK, nil, "1 proven, 1 not"},
		"another crate under the name": {"require = [\"hello-proof\"]\n", "crate", func(p *rebuild.Plan) {
			p.Crate = registrytest.MakeCrate("hello-proof", "0.1.0", nil)
			p.Subject.SHA256 = sha256.Sum256(p.Crate)
		}, outcome.Refused, []string{"hello-proof v0.1.0"}, ""},
	} {
		d.settings(dir, c.policy)
		p := good
		if c.spoil != nil {
			c.spoil(&p)
		}
		var out bytes.Buffer
		o := rebuildOptions{requireSource: c.source}
		f, err := o.verifySources(t.Context(), newShell(&out, &out), p)
		if got := outcome.Of(err); got != c.code {
			t.Errorf("%s: exit code %d, %v\n%s", name, got, err, &out)
		}
		if err != nil {
			out.WriteString(err.Error())
		}
		for _, w := range c.words {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: it does not say %q\n%s", name, w, &out)
			}
		}
		if c.code == outcome.OK && (f.text != c.text || f.versions() != "chosen by whoever packaged, not proven") {
			t.Errorf("%s: %q, versions %s", name, f.text, f.versions())
		}
	}
}

func TestThePolicySaysWhichSourcesMustBeProven(t *testing.T) {
	for _, c := range []struct {
		flag   string
		builds *policy.Builds
		want   policy.RequireSource
	}{
		{"", nil, policy.ByLock}, {"all", nil, policy.AllSources}, {"crate", nil, policy.CrateOnly},
		{"", &policy.Builds{Source: policy.CrateOnly}, policy.CrateOnly}, {"all", &policy.Builds{Source: policy.CrateOnly}, policy.AllSources},
	} {
		if got := (&rebuildOptions{requireSource: c.flag}).sourceRule(&policy.Policy{Builds: c.builds}); got != c.want {
			t.Errorf("%q, %+v: %d, want %d", c.flag, c.builds, got, c.want)
		}
	}
}

func TestWhoChoseTheVersionsIsWhatWasVerified(t *testing.T) {
	for _, f := range []*verdict.Facts{nil, {}, {Versions: string(crate.ByPackager)},
		{Coverage: verdict.Coverage{Proven: []string{"Cargo.lock"}}}} {
		if lockProven(f) {
			t.Errorf("proven by %+v", f)
		}
	}
	if !lockProven(&verdict.Facts{Versions: string(crate.ByCommit)}) {
		t.Error("not proven by the commit")
	}
	if got := (sourceFacts{lock: true}).versions(); got != "chosen by the commit" {
		t.Errorf("versions %s", got)
	}
}

func TestMistakesOfRebuildAreTold(t *testing.T) {
	d := newDepot(t)
	d.project("")
	for _, c := range []struct {
		args  []string
		code  outcome.Code
		words string
	}{
		{nil, outcome.Usage, "rebuild takes one argument, NAME@VERSION or FILE.crate, and got none"},
		{[]string{"--help"}, outcome.OK, "Usage: cargo zkp rebuild NAME@VERSION|FILE.crate [OPTIONS]"},
		{[]string{"x@1.0.0", "--require-source", "some"}, outcome.Usage, "must be all or crate"},
		{[]string{"x@1.0.0", "--environment", filepath.Join(d.home, "none"), "--toolchain", strings.Repeat("ab", 32)},
			outcome.Unchecked, "no toolchain abab"},
	} {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"zkp", "rebuild"}, c.args...), &out, &out)
		if code != int(c.code) || !strings.Contains(out.String(), c.words) {
			t.Errorf("rebuild %q: exit code %d\n%s", c.args, code, &out)
		}
	}
	var o rebuildOptions
	if _, err := o.findEnvironment(t.Context()); outcome.Of(err) != outcome.Usage ||
		!strings.Contains(err.Error(), "make one: cargo zkp environment make") {
		t.Errorf("without an environment: %v", err)
	}
	for what, words := range map[string]string{"x": "takes NAME@VERSION or FILE.crate", "@1": "takes NAME@VERSION", "x@y": "takes NAME@VERSION",
		filepath.Join(d.home, "no.crate"): "no such file"} {
		if _, _, err := o.get(t.Context(), newShell(&bytes.Buffer{}, &bytes.Buffer{}), what); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.published.registry, o.published.index = "a", "b"
	if _, _, err := o.get(t.Context(), nil, "x@1.0.0"); outcome.Of(err) != outcome.Usage {
		t.Errorf("two registries: %v", err)
	}
}

func TestCratesOfALockFileAreFoundByTheirChecksums(t *testing.T) {
	d := newDepot(t)
	good, bad := registrytest.MakeCrate("dep", "1.0.0", nil), registrytest.MakeCrate("dep", "1.0.0", map[string]string{"x": "y"})
	d.registry.AddCrate(good)
	c := build.Crate{Registry: entry.Registry("sparse+" + d.registry.Index), Name: "dep", Version: "1.0.0", SHA256: sha256.Sum256(good)}
	get := func(offline bool) ([]byte, error) {
		return (&crateSource{offline: offline}).fetch(context.Background(), c)
	}
	t.Setenv("no_proxy", "127.0.0.1")
	if _, err := get(true); err == nil || !strings.Contains(err.Error(), "--offline forbids to get it") {
		t.Errorf("offline: %v", err)
	}
	if raw, err := get(false); err != nil || !bytes.Equal(raw, good) {
		t.Errorf("from the registry: %v", err)
	}
	d.registry.Swap("dep", "1.0.0", bad)
	if _, err := get(false); err == nil || !strings.Contains(err.Error(), "other bytes") {
		t.Errorf("other bytes: %v", err)
	}
	cached := filepath.Join(d.home, "registry", "cache", "x-1")
	fatalIf(t, os.MkdirAll(cached, 0o755))
	fatalIf(t, os.WriteFile(filepath.Join(cached, "dep-1.0.0.crate"), bad, 0o644))
	if _, err := get(true); err == nil {
		t.Error("another crate's cache was taken")
	}
	fatalIf(t, os.WriteFile(filepath.Join(cached, "dep-1.0.0.crate"), good, 0o644))
	if raw, err := get(true); err != nil || !bytes.Equal(raw, good) {
		t.Errorf("from the cache: %v", err)
	}
}
