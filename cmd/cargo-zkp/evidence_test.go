package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/registry"
	"cratelog/internal/fixture"
	"cratelog/internal/outcome"
)

func TestEvidenceIsWrittenForWhatVerifiesOnly(t *testing.T) {
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	hello, inner := fixture.Crate(t, "hello-proof", "0.1.0"), fixture.Crate(t, "hello-inner", "0.1.0")
	dir := d.demanding("hello-proof = \"0.1\"\nleaf = \"1\"\n", "require = [\"hello-proof\"]\n")
	path := registry.BundlePath("default", "hello-proof", "0.1.0", "depot.example/log")
	d.zkp(outcome.OK, []string{"Wrote evidence to out: 1 new or newer, 0 as before, 1 crate without"}, "evidence", "out")
	want, err := os.ReadFile(filepath.Join(dir, "out", path))
	fatalIf(t, err)
	put(t, filepath.Join(dir, "out", path), "nonsense")
	d.zkp(outcome.OK, []string{"1 new or newer", "leaf v1.0.0 has no evidence in out: "}, "evidence", "-v", "--lock", "out")
	if b, err := os.ReadFile(filepath.Join(dir, "out", path)); err != nil || string(b) != string(want) {
		t.Errorf("%.20q, %v", b, err)
	}
	d.zkp(outcome.OK, []string{"0 new or newer, 1 as before"}, "evidence", "out", "--offline")
	put(t, "zkp.toml", "version = 1\ndevelopment = true\ntrust = [\""+d.log.File+"\"]\nrequire = \"all\"\n")
	d.zkp(outcome.Refused, []string{"1 crate must be proven and have no evidence"}, "evidence", "out")

	file := filepath.Join(t.TempDir(), "hello-proof-0.1.0.crate")
	put(t, file, string(hello))
	d.zkp(outcome.OK, []string{"Wrote evidence to more: 1 new or newer"}, "evidence", "more", file)
	other := filepath.Join(t.TempDir(), "hello-inner-0.1.0.crate")
	put(t, other, string(inner))
	d.zkp(outcome.Refused, []string{"hello-inner v0.1.0 has no evidence in more: ", "no one has proved this version"}, "evidence", "more", file, other)
	d.zkp(outcome.Refused, []string{"of the registry sparse+https://r.example/, "}, "evidence", "private", file, "--registry", "sparse+https://r.example/")
	if _, err := os.Stat("private"); err == nil {
		t.Error("evidence is written that does not verify")
	}
	d.zkp(outcome.Unchecked, nil, "evidence", "more", filepath.Join(dir, "none.crate"))
	for _, args := range [][]string{{}, {"x", "--lock", file}, {"x", "--registry", "y"}, {"x", "--refresh", "--offline"}} {
		d.zkp(outcome.Usage, nil, append([]string{"evidence"}, args...)...)
	}
}

// TestTheProxyHandsOutTheEvidenceOfWhatItHandsOut, so that it is a mirror for readers who ask no log.
func TestTheProxyHandsOutTheEvidenceOfWhatItHandsOut(t *testing.T) {
	d := proven(t)
	d.registry.Add("leaf", "1.0.0")
	d.demanding("hello-proof = \"0.1\"\nleaf = \"1\"\n", "require = [\"hello-proof\"]\n")
	d.zkp(0, []string{"Installed"}, "proxy", "--install", "--listen", d.address)
	_, stop := d.proxy()
	d.plain(0, nil, "fetch") // whose config.json has a key that cargo does not know
	_, at, _ := strings.Cut(config(t), "sparse+")
	at, _, _ = strings.Cut(at, "index/")
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(at + path)
		fatalIf(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		fatalIf(t, err)
		return resp.StatusCode, string(b)
	}
	if code, said := get("index/config.json"); code != 200 || !strings.Contains(said, `"cratelog":{"evidence":"`+at+`e/"}`) {
		t.Errorf("%d %s", code, said)
	}
	good := registry.BundlePath("default", "hello-proof", "0.1.0", "depot.example/log")
	if code, said := get("e/" + good); code != 200 || !strings.HasPrefix(said, "c2sp.org/tlog-proof@v1\n") {
		t.Errorf("%d %s", code, said)
	}
	for _, bad := range []string{"e/" + registry.BundlePath("default", "leaf", "1.0.0", "depot.example/log"),
		"e/" + registry.BundlePath("default", "hello-proof", "0.1.0", "other.example"), "e/default/hello-proof/0.1.0/..%2fx",
		"e/" + registry.OpeningPath("default", "hello-proof", "0.1.0", [32]byte{}), "e/default/..%2f..%2fx/0.1.0/y", "e/logs/x/tile/0/000"} {
		if code, said := get(bad); code != 404 {
			t.Errorf("%s: %d %s", bad, code, said)
		}
	}

	// Another reader, who asks the proxy alone: the log cannot be reached.
	text, err := os.ReadFile(d.log.File)
	fatalIf(t, err)
	silent := strings.ReplaceAll(string(text), d.log.URL, "http://127.0.0.1:9")
	trust := filepath.Join(t.TempDir(), "silent.policy")
	put(t, trust, silent)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	d.project("hello-proof = \"0.1\"\n")
	policy := "version = 1\ndevelopment = true\ntrust = [\"" + filepath.ToSlash(trust) + "\"]\nrequire = \"all\"\n"
	put(t, "zkp.toml", policy)
	d.zkp(outcome.Unchecked, []string{"did not say whether it holds hello-proof 0.1.0"}, "verify")
	put(t, "zkp.toml", policy+"evidence = [\""+at+"e/\"]\n")
	d.zkp(outcome.OK, []string{"1 crate proven"}, "verify")
	stop()
}
