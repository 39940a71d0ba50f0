package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

type Timing struct {
	Timeout Duration `toml:"timeout"`
}

type settings struct {
	Listen string `toml:"listen"`
	Size   int    `toml:"size"`
	Timing
	Key struct {
		File string `toml:"file"`
	} `toml:"key"`
	Log []struct {
		Origin string `toml:"origin"`
	} `toml:"log"`
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings.toml")
	fatalIf(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

const validTOML = `listen = "127.0.0.1:0" # comment
size = 3
timeout = "1m30s"
[key]
file = "k.pem"
[[log]]
origin = "a"
[[log]]
origin = "b"
`

func TestSettingsAreReadAndDefaultsKept(t *testing.T) {
	got := settings{Size: 7}
	fatalIf(t, LoadTOML(write(t, validTOML), &got))
	if got.Listen != "127.0.0.1:0" || got.Size != 3 || got.Timeout.Duration != 90*time.Second ||
		got.Key.File != "k.pem" || len(got.Log) != 2 || got.Log[1].Origin != "b" {
		t.Errorf("read %+v", got)
	}
	got = settings{Size: 7}
	if err := LoadTOML(write(t, ""), &got); err != nil || got.Size != 7 {
		t.Errorf("empty file: %+v, %v; the default must stay", got, err)
	}
}

func TestWrongSettingsAreRefusedByFileLineAndKey(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"unknown key":            {"size = 1\nlisten_on = \"x\"\n", `line 2: unknown key "listen_on"; correct its spelling or remove it`},
		"unknown key in table":   {"[key]\nfile = \"x\"\nfiles = \"y\"\n", `line 3: unknown key "key.files"`},
		"unknown key in array":   {"[[log]]\norigin = \"x\"\nvkye = \"y\"\n", `line 3: unknown key "log.vkye"`},
		"unknown table":          {"[keys]\nfile = \"x\"\n", `line 1: unknown key "keys`},
		"other case":             {"size = 1\nListen = \"x\"\n", `line 2: unknown key "Listen"`},
		"other case of a table":  {"[Key]\nfile = \"x\"\n", `line 1: unknown key "Key"`},
		"other case in a table":  {"[key]\nFILE = \"x\"\n", `line 2: unknown key "key.FILE"`},
		"other case, dotted":     {"key.File = \"x\"\n", `line 1: unknown key "key.File"`},
		"other case, inline":     {"key = { File = \"x\" }\n", `line 1: unknown key "key.File"`},
		"other case, in a list":  {"log = [ { Origin = \"x\" } ]\n", `line 1: unknown key "log.Origin"`},
		"both spellings":         {"listen = \"x\"\nLISTEN = \"y\"\n", `line 2: unknown key "LISTEN"`},
		"wrong type":             {"\nsize = \"three\"\n", `line 2: key "size": must be a number, without quotes`},
		"number for text":        {"listen = 1\n", `line 1: key "listen": must be text in quotes, like "x"`},
		"text for a table":       {"key = \"x\"\n", `line 1: key "key": must be a table, below its name in brackets: [...]`},
		"text for tables":        {"log = \"x\"\n", `line 1: key "log": must be a list of tables, each below its name`},
		"table for text":         {"[listen]\nx = 1\n", `"listen": must be text in quotes`},
		"not a duration":         {"timeout = \"fast\"\n", `"fast" is not a duration; write it like "30s" or "1m30s"`},
		"negative duration":      {"timeout = \"-1s\"\n", `"-1s" is not a duration`},
		"number that overflows":  {"size = 99999999999999999999\n", `line 1`},
		"the same key twice":     {"size = 1\nsize = 2\n", `line 2: key "size": `},
		"no value":               {"size = 1\nlisten =\n", `line 2, column`},
		"not UTF-8":              {"listen = \"\xff\"\n", `line 1`},
		"control character":      {"listen = \"\x01\"\n", `line 1`},
		"larger than the limit":  {"# " + strings.Repeat("x", MaxTOML) + "\n", `more than 1048576 bytes`},
		"too many keys":          {"[labels]\n" + manyKeys(maxKeys), `has more than 10000 keys`},
		"UTF-16":                 {"\xff\xfes\x00i\x00", "it is UTF-16"},
		"a long unknown key":     {strings.Repeat("k", 1<<19) + " = 1\n", `k..."; correct`},
		"two unknown keys":       {"aa = 1\nbb = 2\n", `line 2: unknown key "bb"`},
		"unterminated string":    {"listen = \"x\n", `line 1`},
		"garbage after a header": {"[key] file = 1\n", `line 1`},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, test.text)
			got := settings{Size: 7}
			err := LoadTOML(path, &got)
			if err == nil {
				t.Fatalf("accepted as %+v", got)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %q\nshould name %s and contain %q", err, path, test.want)
			}
			if !reflect.DeepEqual(got, settings{Size: 7}) {
				t.Errorf("a refused file changed the settings to %+v", got)
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d = \"\"\n", i)
	}
	return b.String()
}

// TestUnknownKeysAreToldInFewLines, and not looked for in the time of their square.
func TestUnknownKeysAreToldInFewLines(t *testing.T) {
	for name, text := range map[string]string{
		"keys": manyKeys(maxKeys), "inline": "log = [" + strings.Repeat("{x = 1}, ", maxKeys/2) + "]\n",
	} {
		err := LoadTOML(write(t, text), new(settings))
		if err == nil || strings.Count(err.Error(), "unknown key") != maxUnknown {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

func TestAByteOrderMarkIsNoSetting(t *testing.T) {
	var got settings
	if err := LoadTOML(write(t, "\xef\xbb\xbfsize = 3\r\n"), &got); err != nil || got.Size != 3 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestSettingsMustBeARegularFile(t *testing.T) {
	var s settings
	dir := t.TempDir()
	if err := LoadTOML(dir, &s); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("directory: %v", err)
	}
	missing := filepath.Join(dir, "missing.toml")
	if err := LoadTOML(missing, &s); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing file: %v", err)
	}
	if err := LoadTOML(write(t, ""), s); err == nil {
		t.Error("a struct that is not a pointer was accepted")
	}
}

// TestFieldsThatTOMLDoesNotHave: a field that is not read is no key, and an embedded type need not be a struct.
func TestFieldsThatTOMLDoesNotHave(t *testing.T) {
	type Word string
	type embedded struct {
		Word
		Hidden int `toml:"-"`
		settings
	}
	for name, want := range map[string]bool{"Word": true, "size": true, "Hidden": false, "-": false} {
		if _, ok := fieldNamed(reflect.TypeFor[embedded](), name); ok != want {
			t.Errorf("%q: %v", name, ok)
		}
	}
}

func FuzzSettings(f *testing.F) {
	f.Add(validTOML)
	f.Add("key = { file = 'x' }\nlog = [ { origin = \"x\" }, ]\n")
	f.Add("[a.b]\n[[c]]\nd = [[1], {e = 2}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		var s settings
		path := filepath.Join(t.TempDir(), "f.toml")
		fatalIf(t, os.WriteFile(path, []byte(text), 0o600))
		if err := LoadTOML(path, &s); err != nil && !reflect.DeepEqual(s, settings{}) {
			t.Errorf("a refused file changed the settings")
		}
	})
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
