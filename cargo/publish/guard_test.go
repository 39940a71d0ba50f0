package publish

import (
	"path/filepath"
	"strings"
	"testing"

	"cratelog/cargo/credential"
)

// Where cargo publishes by default, cargo is asked to ask us as well, and the registry
// is named: a proxy may stand in its place.
func TestTheDefaultRegistryIsGuardedToo(t *testing.T) {
	m := &member{Name: "a", Version: "1.0.0"}
	for config, want := range map[string]string{
		"": `--config credential-alias.cargo-zkp-publish=["/a b/guard","--exactly","/f","--next"] --config registry.global-credential-providers=["cargo:token","cargo-zkp-publish"]`,
		"[registry]\nglobal-credential-providers = [\"x\"]\n":                                       `--config credential-alias.cargo-zkp-publish=["/a b/guard","--exactly","/f","--next"] --config registry.global-credential-providers=["cargo-zkp-publish"]`,
		"[registry]\ncredential-provider = [\"x\", \"y\"]\n":                                        `--config credential-alias.cargo-zkp-publish=["/a b/guard","--exactly","/f","--","x","y"] --config registry.credential-provider=["cargo-zkp-publish"]`,
		"[registry]\ncredential-provider = \"x\"\n":                                                 `--config credential-alias.cargo-zkp-publish=["/a b/guard","--exactly","/f","--","x"] --config registry.credential-provider="cargo-zkp-publish"`,
		"[registry]\ncredential-provider = \"cargo:wincred\"\n":                                     `cargo:wincred is a part of cargo`,
		"[registry]\ndefault = \"r\"\n[registries.r]\nindex = \"i\"\ncredential-provider = \"x\"\n": `--config registries.r.credential-provider="cargo-zkp-publish"`,
	} {
		home := t.TempDir()
		site := &site{t: t}
		site.write(filepath.Join(home, "config.toml"), config)
		s, err := credential.ReadSettings(t.TempDir(), home, func(string) string { return "" })
		fatalIf(t, err)
		to, err := newTarget(s, "", "", []*member{m})
		fatalIf(t, err)
		if got := strings.Join(to.registryFlags(), " "); got != "--registry "+to.name {
			t.Error(got)
		}
		flags, err := to.guard(s, "/a b/guard", "/f", "", func(string) string { return "" })
		got := strings.Join(flags, " ")
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s\nwant %s", config, got, want)
		}
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
