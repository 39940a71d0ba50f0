package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/internal/forge"
	"cratelog/internal/registrytest"
)

// liar is a registry with an honest, proven crate "between", which depends on hello-inner,
// and a crate "evil", which nobody proved; and a user of between. Build scripts leave the
// file ran: evil's always, between's if its feature "danger" is on.
type liar struct {
	*dependent
	ran string
}

// between returns the proven crate, and has the log hold it.
func between(t *testing.T, s *site, ran string) []byte {
	t.Helper()
	manifest := forge.Manifest("between", "1.0.0")
	manifest.Content += "\n[dependencies]\nhello-inner = \"0.1.0\"\n\n[features]\ndefault = []\ndanger = []\n"
	raw, err := forge.Pack("between", "1.0.0", manifest, forge.File{Path: "src/lib.rs", Content: "pub use hello_inner;\n"},
		forge.File{Path: "build.rs", Content: "fn main() { if std::env::var_os(\"CARGO_FEATURE_DANGER\").is_some() " +
			"{ std::fs::write(" + quoted(ran) + ", \"\").unwrap() } }\n"})
	fatalIf(t, err)
	forger, err := forge.Default()
	fatalIf(t, err)
	e, err := forger.Entry(raw, "between", "1.0.0")
	fatalIf(t, err)
	text, err := e.Marshal()
	fatalIf(t, err)
	_, err = (&client.Log{URL: s.log.url}).Submit(t.Context(), text, raw, nil)
	fatalIf(t, err)
	return raw
}

func newLiar(t *testing.T, s *site, crate []byte, ran string, lie func(line map[string]any)) *liar {
	t.Helper()
	fatalIf(t, os.RemoveAll(ran))
	d := &liar{newDependent(t, s, "between = \"1\"\n"), ran}
	d.registry.AddCrate(crate)
	d.registry.AddCrate(registrytest.MakeCrate("evil", "1.0.0", map[string]string{
		"build.rs": "fn main() { std::fs::write(" + quoted(ran) + ", \"\").unwrap() }\n"}))
	if lie != nil {
		d.registry.Doctor("between", "1.0.0", lie)
	}
	return d
}

// refused runs a build of cargo zkp, which must end with our words, and with nothing run.
func (d *liar) refused(args []string, words ...string) {
	d.t.Helper()
	d.zkp(append([]string{"build"}, args...)...).want(d.t, 1, words...)
	d.ranNothing()
}

// halts runs a plain cargo build behind the proxy, which must end likewise.
func (d *liar) halts(args []string, words ...string) {
	d.t.Helper()
	fatalIf(d.t, os.RemoveAll(filepath.Join(d.home, "registry")))
	d.proxy()
	d.cargo(append([]string{"build"}, args...)...).want(d.t, 101, words...)
	d.ranNothing()
}

func (d *liar) ranNothing() {
	d.t.Helper()
	if _, err := os.Stat(d.ran); !errors.Is(err, fs.ErrNotExist) {
		d.t.Errorf("a build script has run: %v", err)
	}
}

// TestTheIndexIsNotBelieved has the index say of an honest, proven crate what its Cargo.toml
// does not say, with real cargo, log and witnesses.
func TestTheIndexIsNotBelieved(t *testing.T) {
	if testing.Short() {
		t.Skip("it has cargo build")
	}
	s := newSite(t)
	s.logFixtures(t)
	s.addLogURL()
	ran := filepath.Join(t.TempDir(), "ran")
	crate := between(t, s, ran)
	const required = "require = [\"between\", \"hello-inner\"]\n"
	evil := map[string]any{"name": "evil", "req": "^1", "features": []string{}, "optional": false,
		"default_features": true, "target": nil, "kind": "normal"}
	deps := func(line map[string]any) []map[string]any { return line["deps"].([]map[string]any) }
	swap := func(line map[string]any) {
		d := deps(line)[0]
		d["package"], d["req"] = "evil", "^1"
	}
	t.Run("an honest one is", func(t *testing.T) {
		d := newLiar(t, s, crate, ran, nil)
		d.policy(required)
		d.zkp("build").want(t, 0, "Compiling between v1.0.0")
		d.zkp("build", "--offline", "--locked").want(t, 0)
		d.zkp("verify", "--locked").want(t, 0, "2 crates proven")
		d.proxy()
		d.mustCargo("check")
	})
	t.Run("a dependency is added", func(t *testing.T) {
		d := newLiar(t, s, crate, ran, func(line map[string]any) { line["deps"] = append(deps(line), evil) })
		d.policy(required)
		d.refused(nil, "between v1.0.0: the registry's index does not say", `it adds the dependency "evil"`)
		d.zkp("verify").want(t, 1, `it adds the dependency "evil"`)
		d.zkp("vendor").want(t, 1, `it adds the dependency "evil"`)
		d.halts(nil, "cratelog refuses between v1.0.0", `it adds the dependency "evil"`)
	})
	t.Run("a dependency is swapped", func(t *testing.T) {
		d := newLiar(t, s, crate, ran, swap)
		d.policy(required)
		d.refused(nil, "between v1.0.0: the registry's index does not say", "evil")
		d.policy("require = [\"between\"]\n")
		d.halts(nil, "cratelog refuses between v1.0.0", "evil")
	})
	t.Run("a crate that must be proven is taken away", func(t *testing.T) {
		d := newLiar(t, s, crate, ran, swap)
		d.policy("require = [\"hello-inner\"]\n")
		d.refused(nil, "hello-inner")
		d.halts(nil, "cratelog refuses")
	})
	t.Run("a feature is flipped under the lock file", func(t *testing.T) {
		honest := newLiar(t, s, crate, ran, nil)
		honest.mustCargo("generate-lockfile")
		d := newLiar(t, s, crate, ran, func(line map[string]any) {
			line["features"] = map[string][]string{"default": {"danger"}, "danger": {}}
			delete(line, "features2")
		})
		d.policy(required)
		lock := string(read(t, filepath.Join(honest.dir, "Cargo.lock")))
		d.write("Cargo.lock", lock)
		d.refused([]string{"--locked"}, "between v1.0.0: the registry's index does not say", `the feature "default"`)
		d.mustCargo("fetch", "--locked")
		d.refused([]string{"--locked", "--offline"}, `the feature "default"`)
		d.halts([]string{"--locked"}, "cratelog refuses between v1.0.0", `the feature "default"`)
		if got := string(read(t, filepath.Join(d.dir, "Cargo.lock"))); got != lock || !strings.Contains(got, "between") {
			t.Errorf("the lock file shows it, so that the test shows nothing:\n%s", got)
		}
	})
}
