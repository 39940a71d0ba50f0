package registrytest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/registry"
	"cratelog/internal/fixture"
	"cratelog/internal/registrytest"
)

// cargo runs the real cargo in a directory, with an empty home and one registry,
// named "test", for a project to depend on.
func cargo(t *testing.T, dir, index string, env []string, args ...string) (string, error) {
	t.Helper()
	fixture.Need(t, "cargo")
	cmd := exec.CommandContext(t.Context(), "cargo", append([]string{"--config", fmt.Sprintf("registries.test.index=%q", "sparse+"+index)}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CARGO_HOME="+filepath.Join(dir, "home"), "CARGO_NET_RETRY=0", "no_proxy=127.0.0.1")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func project(t *testing.T, name, deps string) string {
	t.Helper()
	dir := t.TempDir()
	manifest := "[package]\nname = \"" + name + "\"\nversion = \"0.1.0\"\nedition = \"2021\"\ndescription = \"d\"\nlicense = \"MIT\"\n\n[dependencies]\n" + deps
	for file, text := range map[string]string{"Cargo.toml": manifest, "src/lib.rs": "pub fn f() {}\n"} {
		path := filepath.Join(dir, file)
		fatalIf(t, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)))
	}
	return dir
}

func TestCargoFetchesWithDependenciesAndFeatures(t *testing.T) {
	r := registrytest.New(t)
	r.TakeEvidence() // which config.json announces, with a key that cargo does not know
	r.AddCrate(registrytest.MakeCrate("inner", "1.2.0", map[string]string{
		"Cargo.toml": "[package]\nname = \"inner\"\nversion = \"1.2.0\"\n[features]\nextra = []\n"}))
	r.Add("target-only", "0.1.0")
	r.AddCrate(registrytest.MakeCrate("outer", "0.3.0", map[string]string{
		"Cargo.toml": "[package]\nname = \"outer\"\nversion = \"0.3.0\"\n[dependencies.renamed]\npackage = \"inner\"\nversion = \"1\"\noptional = true\n" +
			"[target.'cfg(unix)'.dependencies.target-only]\nversion = \"0.1\"\n[features]\nfull = [\"dep:renamed\", \"renamed?/extra\"]\n"}))
	dir := project(t, "app", "outer = { version = \"0.3\", registry = \"test\", features = [\"full\"] }\n")
	if out, err := cargo(t, dir, r.Index, nil, "fetch"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lock, err := os.ReadFile(filepath.Join(dir, "Cargo.lock"))
	fatalIf(t, err)
	for _, name := range []string{"inner", "outer", "target-only"} {
		if !strings.Contains(string(lock), fmt.Sprintf("name = %q", name)) {
			t.Errorf("Cargo.lock has no %s:\n%s", name, lock)
		}
	}
}

// TestCargoPublishes, also to a registry whose config.json has a key that cargo does not know.
func TestCargoPublishes(t *testing.T) {
	r := registrytest.New(t)
	r.TakeEvidence()
	r.SetToken("secret", false)
	r.Warn("the registry has a word to say")
	dir := project(t, "published", "")
	publish := []string{"publish", "--registry", "test", "--allow-dirty", "--no-verify"}
	out, err := cargo(t, dir, r.Index, []string{"CARGO_REGISTRIES_TEST_TOKEN=wrong"}, publish...)
	if err == nil || !strings.Contains(out, "the token is not known") {
		t.Fatalf("with a wrong token: %v\n%s", err, out)
	}
	token := []string{"CARGO_REGISTRIES_TEST_TOKEN=secret"}
	r.Refuse("not today")
	if out, err = cargo(t, dir, r.Index, token, publish...); err == nil || !strings.Contains(out, "not today") {
		t.Fatalf("refused: %v\n%s", err, out)
	}
	r.Refuse("")
	if out, err = cargo(t, dir, r.Index, token, publish...); err != nil || !strings.Contains(out, "warning: the registry has a word to say") {
		t.Fatalf("%v\n%s", err, out)
	}
	all := r.Published()
	if len(all) != 1 || all[0].Name != "published" || all[0].Version != "0.1.0" {
		t.Fatalf("published: %+v", all)
	}
	x := &registry.Index{URL: r.Index}
	releases, err := x.Releases(context.Background(), "published")
	if err != nil || len(releases) != 1 {
		t.Fatalf("%+v, %v", releases, err)
	}
	raw, err := x.Download(context.Background(), "published", "0.1.0", releases[0].Checksum)
	if err != nil || string(raw) != string(all[0].Raw) {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	if out, err = cargo(t, dir, r.Index, token, publish...); err == nil || !strings.Contains(out, "already") {
		t.Fatalf("published twice: %v\n%s", err, out)
	}
}

func TestItMisbehavesWhenAsked(t *testing.T) {
	r := registrytest.New(t)
	good, other := registrytest.MakeCrate("ab", "1.0.0", nil), registrytest.MakeCrate("ab", "1.0.0", map[string]string{"src/lib.rs": "evil"})
	r.AddCrate(good)
	x := &registry.Index{URL: r.Index}
	get := func() error {
		releases, err := x.Releases(context.Background(), "ab")
		if err != nil {
			return err
		}
		release, err := registry.Find(releases, "1.0.0")
		if err == nil {
			_, err = x.Download(context.Background(), "ab", "1.0.0", release.Checksum)
		}
		return err
	}
	var changed *registry.ChecksumError
	var status *registry.StatusError
	r.Swap("ab", "1.0.0", other)
	if err := get(); !errors.As(err, &changed) {
		t.Errorf("swapped: %v", err)
	}
	r.Replace("ab", "1.0.0", other)
	if err := get(); err != nil {
		t.Errorf("replaced: %v", err)
	}
	r.SetChecksum("ab", "1.0.0", sha256.Sum256(good))
	if err := get(); !errors.As(err, &changed) {
		t.Errorf("another checksum: %v", err)
	}
	r.Replace("ab", "1.0.0", good)
	r.Hide("ab", "1.0.0", true)
	if err := get(); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("hidden: %v", err)
	}
	r.Hide("ab", "1.0.0", false)
	r.Fail("/dl/", http.StatusServiceUnavailable)
	if err := get(); !errors.As(err, &status) || status.Status != http.StatusServiceUnavailable {
		t.Errorf("failing: %v", err)
	}
	r.Meddle(nil)
	if err := get(); err != nil {
		t.Error(err)
	}
	x = &registry.Index{URL: r.Index}
	r.SetToken("secret", true)
	if err := get(); !errors.As(err, &status) || status.Status != http.StatusUnauthorized {
		t.Errorf("without a token: %v", err)
	}
	x = &registry.Index{URL: r.Index, Token: "secret"}
	if err := get(); err != nil {
		t.Errorf("with the token: %v", err)
	}
}

func TestALineSaysWhatCargoTomlSaysUntilItIsDoctored(t *testing.T) {
	const toml = "[package]\nname = \"ab\"\nversion = \"1.0.0\"\nlinks = \"z\"\n[dependencies.renamed]\npackage = \"inner\"\nversion = \"1\"\n" +
		"optional = true\n[target.'cfg(unix)'.build-dependencies]\ncc = \"1, <1.9\"\n[features]\nfull = [\"dep:renamed\"]\nmore = []\n"
	r := registrytest.New(t)
	r.AddCrate(registrytest.MakeCrate("ab", "1.0.0", map[string]string{"Cargo.toml": toml}))
	proven, err := registry.ManifestSummary([]byte(toml))
	fatalIf(t, err)
	diff := func() string {
		releases, err := (&registry.Index{URL: r.Index}).Releases(t.Context(), "ab")
		fatalIf(t, err)
		said, err := releases[0].Summary("")
		fatalIf(t, err)
		return said.Diff(proven)
	}
	if got := diff(); got != "" {
		t.Errorf("an honest line: %s", got)
	}
	r.Doctor("ab", "1.0.0", func(line map[string]any) {
		line["features2"].(map[string][]string)["more"] = []string{"full"}
		line["deps"] = append(line["deps"].([]map[string]any), map[string]any{"name": "evil", "req": "*"})
	})
	if got := diff(); got != `it adds the dependency "evil"; it says that the feature "more" turns on "full"` {
		t.Errorf("a doctored line: %s", got)
	}
}

func TestAnUpstreamFillsTheGaps(t *testing.T) {
	real, front := registrytest.New(t), registrytest.New(t)
	real.Add("real", "1.0.0")
	real.Add("both", "2.0.0")
	front.Add("both", "1.0.0")
	front.Upstream(&registry.Index{URL: real.Index})
	x := &registry.Index{URL: front.Index}
	for name, want := range map[string]string{"real": "1.0.0", "both": "1.0.0"} {
		releases, err := x.Releases(context.Background(), name)
		if err != nil || len(releases) != 1 || releases[0].Version != want {
			t.Fatalf("%s: %+v, %v", name, releases, err)
		}
		if _, err := x.Download(context.Background(), name, want, releases[0].Checksum); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := x.Releases(context.Background(), "none"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("none: %v", err)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
