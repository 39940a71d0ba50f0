package policy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var generated = exceptionsHeader + `version = 1
expires = "2026-09-10"
exceptions = [
  { crate = "a", version = "1.0.0", reason = "packaged with \"uncommitted\" changes" },
  { crate = "a", version = "1.0.1", reason = "r" },
  { crate = "b", version = "1.0.0", registry = "` + strings.TrimSuffix(corp, "/") + `", reason = "r" },
]
`

// excepting writes a zkp.toml with a file of exceptions beside it, and loads both.
func excepting(t testing.TB, more, exceptions string) (*Policy, error) {
	t.Helper()
	d, user := dir(t)
	write(t, filepath.Join(d, ExceptionsName), exceptions)
	return Load(write(t, filepath.Join(d, FileName), "version = 1\nexceptions = \""+ExceptionsName+"\"\n"+more), user)
}

func TestAFileOfExceptionsIsWrittenAsItIsRead(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "x.toml"), generated)
	x, err := ReadExceptions(path)
	fatalIf(t, err)
	x.List[0], x.List[2] = x.List[2], x.List[0]
	if got := string(x.Format()); got != generated {
		t.Errorf("got\n%s\nwant\n%s", got, generated)
	}
	fatalIf(t, x.Write(path, false))
	// What a person wrote is not lost.
	for name, text := range map[string]string{
		"a comment": strings.Replace(generated, "exceptions = [\n", "exceptions = [\n  # for Friday\n", 1),
		"a header":  "# ours\n" + generated,
		"not TOML":  generated + "x",
	} {
		write(t, path, text)
		if err := x.Write(path, false); err == nil || string(must(os.ReadFile(path))) != text {
			t.Errorf("%s: %v", name, err)
		}
	}
	fatalIf(t, x.Write(path, true))
	// Another day, and a line less, are no text of a person.
	write(t, path, strings.Replace(strings.Replace(generated, "09-10", "09-11", 1), `  { crate = "a", version = "1.0.1", reason = "r" },`+"\n", "", 1))
	fatalIf(t, x.Write(path, false))
	if got := string(must(os.ReadFile(path))); got != generated {
		t.Errorf("got\n%s", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAFileOfExceptionsExceptsExactlyWhatItNames(t *testing.T) {
	p := must(excepting(t, "require = \"all\"\n[[exception]]\ncrate = \"c\"\nreason = \"r\"\nexpires = \"2026-09-02\"\n", generated))
	packages := []Package{{Name: "a", Version: "1.0.0"}, {Name: "a", Version: "1.0.2"}, {Name: "b", Version: "1.0.0"},
		{"b", "1.0.0", corp}, {Name: "A", Version: "1.0.0"}, {Name: "c", Version: "1.0.0"}}
	want := []Status{Excepted, Required, Required, Excepted, Required, Excepted}
	for i, d := range p.Resolve(nil, packages, now).Demands {
		if d.Status != want[i] {
			t.Errorf("%v: %s, want %s", packages[i], d.Status, want[i])
		}
	}
	for i, d := range p.Resolve(nil, packages, now.AddDate(0, 0, 10)).Demands {
		if d.Status != Required || (want[i] == Excepted) != (len(d.Expired) == 1) {
			t.Errorf("later %v: %s, expired %v", packages[i], d.Status, d.Expired)
		}
	}
}

// Each is refused with a sentence that names the file and the key.
func TestAWrongFileOfExceptionsIsRefused(t *testing.T) {
	line := `  { crate = "a", version = "1.0.0", reason = "packaged with \"uncommitted\" changes" },` + "\n"
	for name, x := range map[string]struct{ old, with, want string }{
		"no version":       {"version = 1\n", "", `key "version": is 0`},
		"another version":  {"version = 1\n", "version = 2\n", `key "version": is 2`},
		"no end":           {"expires = \"2026-09-10\"\n", "", `key "expires": "" is not a date`},
		"a far end":        {"2026-09-10", "12026-09-10", `key "expires": "12026-09-10" is not a date`},
		"twice":            {line, line + line, `key "exceptions[2].crate": a@1.0.0 is there twice`},
		"the same index":   {line, line + strings.Replace(line, ", reason", `, registry = "crates-io", reason`, 1), "is there twice"},
		"all versions":     {`version = "1.0.1", `, "", `key "exceptions[2].version": is missing`},
		"a pattern":        {`crate = "b"`, `crate = "*"`, `key "exceptions[3].crate"`},
		"a requirement":    {`"1.0.1"`, `"^1"`, `key "exceptions[2].version"`},
		"no reason":        {`reason = "r" },` + "\n  { crate = \"b\"", `reason = " " },` + "\n  { crate = \"b\"", `key "exceptions[2].reason"`},
		"a long reason":    {`reason = "r"`, `reason = "` + strings.Repeat("x", maxReason+1) + `"`, `key "exceptions[2].reason"`},
		"no index":         {strings.TrimSuffix(corp, "/"), "corp", `key "exceptions[3].registry"`},
		"an end of a line": {`crate = "b"`, `crate = "b", expires = "2999-01-01"`, `unknown key "exceptions.expires"`},
		"another key":      {"exceptions = [", "require = \"none\"\nexceptions = [", `unknown key "require"`},
		"too many":         {line, strings.Repeat("{},", maxGenerated), "at most 3000 are read"},
		"too large":        {line, strings.Repeat("#"+strings.Repeat(" ", 1000)+"\n", 2000), "more than"},
	} {
		text := strings.Replace(generated, x.old, x.with, 1)
		if _, err := excepting(t, "", text); text == generated || err == nil || !strings.Contains(err.Error(), x.want) ||
			!strings.Contains(err.Error(), ExceptionsName) {
			t.Errorf("%s: %v\nwant %s", name, err, x.want)
		}
	}
	if _, err := Load(write(t, filepath.Join(t.TempDir(), FileName), "version = 1\nexceptions = \"gone.toml\"\n"), ""); err == nil ||
		!strings.Contains(err.Error(), "init --from-lock") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestCheckGroupsWhatItSaysOfGeneratedExceptions(t *testing.T) {
	x := &Exceptions{Expires: must(ParseDate("2026-09-10"))}
	for i := range 100 {
		x.List = append(x.List, Exception{Crate: "x", Version: fmt.Sprintf("1.0.%d", 100+i), Reason: "r"})
	}
	d, user := dir(t)
	write(t, filepath.Join(d, ExceptionsName), string(x.Format()))
	path := write(t, filepath.Join(d, FileName), "version = 1\nexceptions = \""+ExceptionsName+"\"\n[[exception]]\ncrate = \"y\"\n"+
		"reason = \"r\"\nexpires = \"2026-09-14\"\n")
	for _, c := range []struct {
		days int
		want []string
	}{
		{0, []string{"exception[1] (y): it expires on 2026-09-14", "expire within 14 days: x@1.0.100, x@1.0.101, x@1.0.102 and 97 more",
			"are about no registry package of the lock file: x@1.0.101"}},
		{-5, []string{"are about no registry package"}},
		{10, []string{"exceptions expired, and do not count", "exception[1] (y): it expires"}},
	} {
		r := Check(path, user, nil, []Package{{Name: "y", Version: "1.0.0"}, {Name: "x", Version: "1.0.100"}}, now.AddDate(0, 0, c.days))
		all := strings.Join(r.Warnings, "\n")
		for _, w := range c.want {
			if !strings.Contains(all, w) {
				t.Errorf("after %d days: no %q in\n%s", c.days, w, all)
			}
		}
		if len(r.Warnings) > 6 {
			t.Errorf("%d warnings:\n%s", len(r.Warnings), all)
		}
	}
}

func TestWarnIsLessThanRequire(t *testing.T) {
	p := mustLoad(t, "version = 1\nrequire = [\"a\"]\nwarn = \"all\"\n[registry.\""+corp+"\"]\nrequire = \"none\"\n"+
		"[[exception]]\ncrate = \"c\"\nreason = \"r\"\nexpires = \"2999-01-01\"\n")
	packages := []Package{{Name: "a", Version: "1.0.0"}, {Name: "b", Version: "1.0.0"}, {Name: "c", Version: "1.0.0"}, {"b", "1.0.0", corp},
		{Name: "d", Version: "1.0.0"}}
	asks := []Ask{{Crate: Exactly("d", "1.0.0"), Where: "Cargo.toml"}}
	for i, want := range []struct {
		status Status
		warn   bool
	}{{Required, false}, {Required, true}, {Excepted, true}, {NotAsked, false}, {Required, false}} {
		if d := p.Resolve(asks, packages, now).Demands[i]; d.Status != want.status || d.Warn != want.warn {
			t.Errorf("%v: %s, warn %v", packages[i], d.Status, d.Warn)
		}
	}
	p = mustLoad(t, "version = 1\nwarn = [\"gone\"]\n")
	if r := p.Resolve(nil, packages, now); len(r.Missing) != 0 || len(r.Unmatched) != 1 {
		t.Errorf("a name that is not there: %q, %q", r.Missing, r.Unmatched)
	}
	if r := Check(p.Path, "", nil, packages, now); len(r.Faults) != 0 {
		t.Errorf("faults: %q", r.Faults)
	}
}

func TestTheFirstPolicyIsTheTemplateWithOtherSettings(t *testing.T) {
	i := Initial{true, []string{"zkp/trust.policy"}, []string{`zkp/a"b.json`}, true, ExceptionsName, []string{"https://git.example.com/x"}}
	text := i.Text()
	for _, line := range []string{`require = "all"`, `trust = ["zkp/trust.policy"]`, `programs = ["zkp/a\"b.json"]`, "development = true",
		`exceptions = "zkp-exceptions.toml"`, "[git]", `allow = ["https://git.example.com/x"]`} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	if (Initial{}).Text() != Template {
		t.Error("the template without settings is another one")
	}
	d := t.TempDir()
	f := must(readFile(write(t, filepath.Join(d, FileName), text)))
	if f.Exceptions != ExceptionsName || len(f.require) != 1 || len(f.git) != 1 || f.Programs[0] != `zkp/a"b.json` {
		t.Errorf("%+v", f)
	}
	if got := DateIn(now, 90*24*time.Hour).String(); got != "2026-11-30" {
		t.Errorf("90 days from %v is %s", now, got)
	}
}

// FuzzExceptions: what is read is written in one form, which is read as the same.
func FuzzExceptions(f *testing.F) {
	f.Add(generated)
	f.Add("version = 1\nexpires = \"2026-09-10\"\n")
	f.Add("version = 1\nexpires = \"2026-09-10\"\nexceptions = [{crate='a',version='1.0.0',reason=\"\\u0000\\\\\\\"\"}]\n")
	path := filepath.Join(f.TempDir(), ExceptionsName)
	f.Fuzz(func(t *testing.T, text string) {
		fatalIf(t, os.WriteFile(path, []byte(text), 0o600))
		x, err := ReadExceptions(path)
		if err != nil {
			if !strings.Contains(err.Error(), ExceptionsName) {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		once := x.Format()
		fatalIf(t, os.WriteFile(path, once, 0o600))
		again, err := ReadExceptions(path)
		if err != nil || !bytes.Equal(again.Format(), once) || len(again.List) != len(x.List) {
			t.Errorf("%v: %q is written as\n%s", err, text, once)
		}
	})
}
