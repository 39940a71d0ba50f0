package cargo

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

func loadConfig(t *testing.T, files tree) (dir string, c *Config) {
	t.Helper()
	dir = layout(t, files)
	c, err := LoadConfig(filepath.Join(dir, "w", "sub"), filepath.Join(dir, "home"))
	fatalIf(t, err)
	return dir, c
}

func TestNearestConfigurationCountsKeyByKey(t *testing.T) {
	dir, c := loadConfig(t, map[string]string{
		"home/config.toml":          "paths = [\"p\"]\n[source.crates-io]\nreplace-with = \"far\"\n[source.far]\nregistry = \"sparse+https://far.example.com/\"\n[source.near]\nregistry = \"sparse+https://near.example.com/\"\n[registries.x]\nindex = \"https://example.com/x\"\ntoken = 1\n",
		"w/.cargo/config.toml":      "[source.crates-io]\nreplace-with = \"near\"\n",
		"w/sub/.cargo/config":       "paths = [\"q\", \"/r\"]\ninclude = [\"one.toml\", { path = \"two.toml\" }, { path = \"none.toml\", optional = true }]\n",
		"w/sub/.cargo/config.toml":  "this is not read = ",
		"w/sub/.cargo/one.toml":     "[registries.y]\nindex = \"one\"\n",
		"w/sub/.cargo/two.toml":     "[registries.y]\nindex = \"two\"\n",
		"w/sub/below/.cargo/config": "this is not read = ",
	})
	s, err := c.Default()
	fatalIf(t, err)
	want := Source{Name: "near", Kind: "registry", At: "sparse+https://near.example.com/", Because: filepath.Join(dir, "w", ".cargo", "config.toml") + ", source.crates-io.replace-with"}
	if s != want {
		t.Errorf("%+v", s)
	}
	if y, _ := c.Registry("y"); y != "two" {
		t.Errorf("y is %q: the later include counts", y)
	}
	if want := []string{filepath.Join(dir, "w", "sub", "q"), "/r", filepath.Join(dir, "p")}; !slices.Equal(c.Paths, want) {
		t.Errorf("paths %v", c.Paths)
	}
	if x, _ := c.Registry("x"); x != "https://example.com/x" {
		t.Errorf("x is %q", x)
	}
	if _, ok := c.Registry("z"); ok {
		t.Error("z is known")
	}
	t.Setenv("CARGO_REGISTRIES_MY_REG_INDEX", "sparse+https://env.example.com/")
	if r, _ := c.Registry("my-reg"); r != "sparse+https://env.example.com/" {
		t.Errorf("my-reg is %q", r)
	}
}

func TestReplacementsAreFollowed(t *testing.T) {
	_, c := loadConfig(t, tree{"w/sub/.cargo/config.toml": `
[source.mine]
registry = "https://example.com/mine"
replace-with = "step"
[source.step]
registry = "https://example.com/step"
replace-with = "vendored"
[source.vendored]
directory = "v"
`})
	s, err := c.Index("https://example.com/mine.git")
	if err != nil || s.Kind != "directory" || !strings.HasSuffix(s.At, filepath.Join("w", "sub", "v")) || !strings.Contains(s.Because, "source.mine.replace-with") {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.Index("https://example.com/other"); err != nil || s != (Source{Kind: "registry", At: "https://example.com/other"}) {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.Default(); err != nil || s != (Source{Name: DefaultSource, Kind: "registry"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestCargoFollowsTheSame has the real cargo take a crate from where Default says.
func TestCargoFollowsTheSame(t *testing.T) {
	raw := testCrate(t, "foo", "1.0.0", tarFile{path: "src/lib.rs"})
	for name, c := range map[string]struct {
		config tree
		fails  bool
	}{
		"chain":             {tree{"home/config.toml": "[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nregistry = \"https://example.com/a\"\nreplace-with = \"here\"\n"}, false},
		"nearer wins":       {tree{"home/config.toml": "[source.crates-io]\nreplace-with = \"nowhere\"\n", "w/.cargo/config": "[source.crates-io]\nreplace-with = \"here\"\n"}, false},
		"config wins":       {tree{"w/.cargo/config": "[source.crates-io]\nreplace-with = \"here\"\n", "w/.cargo/config.toml": "[source.crates-io]\nreplace-with = \"nowhere\"\n"}, false},
		"said to be there":  {tree{"home/config.toml": "[source.crates-io]\nlocal-registry = \"home/local\"\n"}, false},
		"circle":            {tree{"home/config.toml": "[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nregistry = \"https://example.com/a\"\nreplace-with = \"crates-io\"\n"}, true},
		"unknown name":      {tree{"home/config.toml": "[source.crates-io]\nreplace-with = \"nowhere\"\n"}, true},
		"two places":        {tree{"home/config.toml": "[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nregistry = \"https://example.com/a\"\ndirectory = \"d\"\n"}, true},
		"no place":          {tree{"home/config.toml": "[source.crates-io]\nreplace-with = \"a\"\n[source.a]\nx = 1\n"}, true},
		"not a string":      {tree{"home/config.toml": "[source.crates-io]\nreplace-with = 1\n"}, true},
		"included":          {tree{"w/.cargo/config.toml": "include = [\"more.toml\"]\n", "w/.cargo/more.toml": "[source.crates-io]\nreplace-with = \"here\"\n"}, false},
		"include not there": {tree{"w/.cargo/config.toml": "include = [\"more.toml\"]\n[source.crates-io]\nreplace-with = \"here\"\n"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.config["w/Cargo.toml"] = pkg("app", "[dependencies]", "foo = \"1\"")
			dir := layout(t, c.config)
			home := filepath.Join(dir, "home")
			had := c.config["home/config.toml"]
			localRegistry(t, home, map[string][]byte{"foo 1.0.0": raw})
			if !strings.Contains(had, "local-registry") {
				had += fmt.Sprintf("[source.here]\nlocal-registry = %q\n", filepath.Join(home, "local"))
			}
			write(t, filepath.Join(home, "config.toml"), had)
			conf, err := LoadConfig(filepath.Join(dir, "w"), home)
			var s Source
			if err == nil {
				s, err = conf.Default()
			}
			out, failed := runCargo(t, filepath.Join(dir, "w"), home, "fetch")
			if (err != nil) != c.fails || (failed != nil) != c.fails {
				t.Fatalf("here: %v\ncargo: %v\n%s", err, failed, out)
			}
			if !c.fails && (s.Kind != "local-registry" || s.At != filepath.Join(home, "local")) {
				t.Errorf("here %+v", s)
			}
		})
	}
}

func TestConfigurationThatIsNotUnderstoodIsRefused(t *testing.T) {
	for content, want := range map[string]string{
		"source = 1":                  "source: is not a table",
		"[source]\nx = 1":             "source.x: is not a table",
		"[registries.x]\nindex = 1":   "registries.x.index: is not a string",
		"paths = 1":                   "paths: is not an array",
		"include = \"x\"":             "include: is not an array",
		"include = [1]":               "include: has something that is neither a path nor a table with one",
		"include = [\"config.toml\"]": "include: is nested too deep",
		"x":                           "is not TOML",
	} {
		dir := layout(t, tree{".cargo/config.toml": content})
		if _, err := LoadConfig(dir, filepath.Join(dir, "home")); err == nil || !strings.HasPrefix(err.Error(), dir) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

// The default registry's index is known by its hash; cargo itself says what it is.
func TestCargoNamesTheDefaultIndexThatIsKnown(t *testing.T) {
	dir := layout(t, tree{"Cargo.toml": pkg("app", "[dependencies]", "foo = \"1\"")})
	out := mustCargo(t, dir, t.TempDir(), "metadata", "--no-deps", "--format-version", "1")
	_, after, _ := strings.Cut(out, `"source":"registry+`)
	index, _, _ := strings.Cut(after, `"`)
	if index == "" || !IsDefault(index) || !IsDefault(strings.ToUpper(index[:20])+index[20:]+".git/") || IsDefault(index+"2") {
		t.Errorf("cargo says %q", index)
	}
}

var testProxy = Proxy{Name: "cratelog", Source: "cratelog (cargo zkp proxy)", URL: "http://127.0.0.1:1/index/", Notes: []string{"a note"}}

func TestInstallAndUninstallKeepEverythingElse(t *testing.T) {
	other := testProxy
	other.URL = "http://127.0.0.1:2/index/"
	for name, old := range map[string]string{
		"empty":            "",
		"comments":         "# mine\n\n[build] # here\njobs = 1\n\n# the end\n",
		"no end of line":   "[build]\njobs = 1",
		"only a comment":   "# x",
		"windows":          "[build]\r\njobs = 1\r\n",
		"other sources":    "[source.vendored]\ndirectory = \"v\"\n[registries]\nx.index = \"https://example.com/\"\n",
		"our words inside": "x = '''\n# cargo zkp proxy other: begin\n'''\n",
	} {
		path := write(t, filepath.Join(t.TempDir(), ".cargo", "config.toml"), old)
		for i, p := range []Proxy{testProxy, testProxy, other, testProxy} {
			changed, err := InstallProxy(path, p)
			if err != nil || changed != (i != 1) {
				t.Fatalf("%s, %d: %v, %v", name, i, changed, err)
			}
			b, err := os.ReadFile(path)
			fatalIf(t, err)
			if !strings.HasPrefix(string(b), old) || toml.Unmarshal(b, new(table)) != nil {
				t.Fatalf("%s, %d: the file is\n%s", name, i, b)
			}
			c, err := LoadConfig(filepath.Dir(filepath.Dir(path)), t.TempDir())
			fatalIf(t, err)
			if s, err := c.Default(); err != nil || s.At != "sparse+"+p.URL {
				t.Errorf("%s, %d: %+v, %v", name, i, s, err)
			}
		}
		for i := range 2 {
			changed, err := UninstallProxy(path, "cratelog")
			if err != nil || changed != (i == 0) {
				t.Fatalf("%s: %v, %v", name, changed, err)
			}
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != ended(old) {
			t.Errorf("%s: the file is %q, %v; want %q", name, b, err, old)
		}
	}
}

// ended is a file whose last line has an end.
func ended(s string) string {
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

func TestUninstallKeepsWhatWasAddedLater(t *testing.T) {
	for _, old := range []string{"[build]\njobs = 1", "[build]\njobs = 1\n", ""} {
		path := write(t, filepath.Join(t.TempDir(), "config.toml"), old)
		_, err := InstallProxy(path, testProxy)
		fatalIf(t, err)
		b, err := os.ReadFile(path)
		fatalIf(t, err)
		write(t, path, string(b)+"[net]\nretry = 1\n")
		_, err = UninstallProxy(path, "cratelog")
		fatalIf(t, err)
		if b, err := os.ReadFile(path); err != nil || string(b) != ended(old)+"[net]\nretry = 1\n" {
			t.Errorf("%q: the file is %q, %v", old, b, err)
		}
	}
}

func TestFileMadeByInstallGoesWithUninstall(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".cargo", "config.toml")
	if changed, err := UninstallProxy(path, "cratelog"); changed || err != nil {
		t.Errorf("%v, %v", changed, err)
	}
	_, err := InstallProxy(path, testProxy)
	fatalIf(t, err)
	_, err = UninstallProxy(path, "cratelog")
	fatalIf(t, err)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestInstallFollowsALinkAndKeepsTheMode(t *testing.T) {
	dir := t.TempDir()
	real := write(t, filepath.Join(dir, "dotfiles", "cargo.toml"), "# x\n")
	fatalIf(t, os.Chmod(real, 0o600))
	path := filepath.Join(dir, "config.toml")
	fatalIf(t, os.Symlink(real, path))
	_, err := InstallProxy(path, testProxy)
	fatalIf(t, err)
	info, err := os.Lstat(path)
	fatalIf(t, err)
	at, err := os.Stat(real)
	fatalIf(t, err)
	if info.Mode()&os.ModeSymlink == 0 || at.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), at.Mode())
	}
}

func TestInstallRefusesWhatItWouldBreak(t *testing.T) {
	for content, want := range map[string]string{
		"[source.crates-io]\nreplace-with = \"vendored\"":                           `source.crates-io.replace-with: already replaces crates-io with "vendored"; remove these lines first; the proxy asks a mirror that is named with --index`,
		"[source]\ncrates-io.replace-with = \"v\"":                                  `already replaces crates-io with "v"`,
		"source.crates-io = { replace-with = \"v\" }":                               `already replaces crates-io with "v"`,
		"[source.crates-io]\nregistry = \"https://example.com/\"":                   "source.crates-io: is already there; remove it first",
		"[source.\"cratelog (cargo zkp proxy)\"]\ndirectory = \"d\"":                "is already there; remove it first",
		"source = { x = { directory = \"d\" } }":                                    "is not TOML",
		"source = 1":                                                                "source: is not a table",
		"broken = ":                                                                 "is not TOML: line 1",
		string(testProxy.lines(false, true))[:120]:                                  "",
		string(testProxy.lines(false, true)) + string(testProxy.lines(false, true)): "twice",
		string(testProxy.lines(false, true)) + "directory = \"d\"\n":                "has lines that belong to those of cargo zkp proxy",
		"x = '''\n" + string(testProxy.lines(false, true)) + "'''\n[registry]\n":    "",
	} {
		path := write(t, filepath.Join(t.TempDir(), "config.toml"), content)
		p := testProxy
		p.URL = "http://127.0.0.1:3/index/"
		changed, err := InstallProxy(path, p)
		if changed || err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), path) {
			t.Errorf("%q: %v, %v", content, changed, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%q: the file is now %q, %v", content, b, err)
		}
	}
}

func TestUninstallRefusesWhatItWouldBreak(t *testing.T) {
	ours := string(testProxy.lines(false, true))
	for content, want := range map[string]string{
		ours + "directory = \"d\"\n":                  "has lines that belong to those of cargo zkp proxy",
		strings.Replace(ours, "replace-with", "x", 1): "that it did not write",
		ours[:len(ours)-10]:                           "has the first line of cargo zkp proxy but not the last",
	} {
		path := write(t, filepath.Join(t.TempDir(), "config.toml"), content)
		if changed, err := UninstallProxy(path, "cratelog"); changed || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", content, changed, err)
		}
	}
}

func TestInstallRefusesAFileThatCargoDoesNotRead(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config"), "")
	path := filepath.Join(dir, "config.toml")
	_, err := InstallProxy(path, testProxy)
	refused(t, "another file", err, "is what cargo reads instead of "+path)
	fatalIf(t, os.Symlink("config", path))
	if _, err := InstallProxy(path, testProxy); err != nil {
		t.Errorf("a link to it: %v", err)
	}
}

func TestProxyThatCargoWouldNotTakeIsRefused(t *testing.T) {
	const name, at = "cratelog", "http://127.0.0.1:1/"
	for _, p := range []Proxy{
		{name, name, "http://127.0.0.1:1/index", nil}, {name, name, "sparse+" + at, nil}, {name, name, "ftp://127.0.0.1/", nil},
		{name, name, "http:///", nil}, {"a.b", name, at, nil}, {"", name, at, nil}, {"cratelog\n", name, at, nil}, {name, "", at, nil},
		{name, DefaultSource, at, nil}, {name, name, at, []string{"a\n[b]"}},
	} {
		if _, err := InstallProxy(filepath.Join(t.TempDir(), "config.toml"), p); err == nil {
			t.Errorf("%+v is written", p)
		}
	}
}

// TestCargoTakesCratesFromTheInstalledProxy runs the real cargo against a registry on loopback.
func TestCargoTakesCratesFromTheInstalledProxy(t *testing.T) {
	raw := testCrate(t, "foo", "1.0.0", tarFile{path: "src/lib.rs"})
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("GET /index/config.json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"dl":"%s/dl","api":null}`, server.URL)
	})
	mux.HandleFunc("GET /index/3/f/foo", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"name":"foo","vers":"1.0.0","deps":[],"cksum":"%x","features":{},"yanked":false}`+"\n", sha256.Sum256(raw))
	})
	mux.HandleFunc("GET /dl/foo/1.0.0/download", func(w http.ResponseWriter, _ *http.Request) { w.Write(raw) })
	dir := layout(t, map[string]string{
		"home/config.toml": "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+https://example.com/index/\"\n",
		"w/Cargo.toml":     pkg("app", "[dependencies]", "foo = \"1\""),
	})
	home, config, p := filepath.Join(dir, "home"), filepath.Join(dir, "w", ".cargo", "config.toml"), testProxy
	p.URL = server.URL + "/index/"
	_, err := InstallProxy(config, p)
	fatalIf(t, err)
	if at, err := InstalledProxy(config, p.Name); err != nil || at != p.URL {
		t.Errorf("installed: %q, %v", at, err)
	}
	out, err := cargoCommand(t, filepath.Join(dir, "w"), home, "fetch")
	if err != nil || !strings.Contains(string(out), p.Source) {
		t.Fatalf("cargo: %v\n%s", err, out)
	}
	c, err := LoadConfig(filepath.Join(dir, "w"), home)
	fatalIf(t, err)
	if s, err := c.Default(); err != nil || s.Name != p.Source || s.At != "sparse+"+p.URL {
		t.Errorf("crates come from %+v, %v", s, err)
	}
	if s, err := c.Behind(p.Source); err != nil || s.Name != "mirror" || s.At != "sparse+https://example.com/index/" || !strings.HasPrefix(s.Because, home) {
		t.Errorf("behind the proxy is %+v, %v", s, err)
	}
	if cached, err := FindCached(home, "foo", "1.0.0"); err != nil || len(cached) != 1 {
		t.Errorf("cached: %v, %v", cached, err)
	}
}

func FuzzInstallKeepsEveryLine(f *testing.F) {
	f.Add([]byte("# x\n[build]\njobs = 1"))
	f.Add([]byte("[source.x]\ndirectory = \"d\"\n"))
	f.Add(testProxy.lines(false, true))
	f.Add(append([]byte("a = 1"), testProxy.lines(true, false)...))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, old []byte) {
		path := filepath.Join(dir, "config.toml")
		fatalIf(t, os.WriteFile(path, old, 0o600))
		_, _, _, err := findBlock(path, old, testProxy.Name)
		had := err != nil || strings.Contains(string(old), "cargo zkp proxy")
		changed, err := InstallProxy(path, testProxy)
		now, _ := os.ReadFile(path)
		if err != nil || !changed {
			if string(now) != string(old) {
				t.Fatalf("refused or unchanged, but the file is now %q", now)
			}
			return
		}
		if again, err := InstallProxy(path, testProxy); again || err != nil {
			t.Fatalf("once more: %v, %v", again, err)
		}
		if _, err := UninstallProxy(path, testProxy.Name); err != nil {
			t.Fatal(err)
		}
		if now, _ := os.ReadFile(path); !had && string(now) != ended(string(old)) {
			t.Fatalf("%q became %q", old, now)
		}
	})
}
