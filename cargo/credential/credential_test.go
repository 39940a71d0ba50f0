package credential

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

const secret = "a-token-that-nobody-may-see"

// script writes a credential provider that answers each request with a line, and
// keeps what it was asked.
func script(t *testing.T, answer string) (program, asked string) {
	t.Helper()
	fixture.Need(t, "/bin/sh") // the provider is a script
	dir := t.TempDir()
	asked = filepath.Join(dir, "asked")
	answerFile := filepath.Join(dir, "answer")
	write(t, answerFile, answer+"\n")
	program = filepath.Join(dir, "provider")
	write(t, program, fmt.Sprintf("#!/bin/sh\necho '{\"v\":[1]}'\nread -r line\nprintf '%%s %%s\\n' \"$*\" \"$line\" >> '%s'\ncat '%s'\n", asked, answerFile))
	fatalIf(t, os.Chmod(program, 0o755))
	return program, asked
}

func write(t *testing.T, name, content string) {
	t.Helper()
	fatalIf(t, errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o644)))
}

// env is an environment of a test.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// ask sends requests to a provider in a directory without anything, and returns its
// answers.
func ask(t *testing.T, home string, lookup func(string) string, requests ...string) []string {
	t.Helper()
	var out bytes.Buffer
	in := strings.NewReader(strings.Join(requests, "\n") + "\n")
	fatalIf(t, Serve(t.Context(), in, &out, SetUp(t.TempDir(), home, "", lookup, "test")))
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if lines[0] != `{"v":[1]}` || len(lines) != len(requests)+1 {
		t.Fatalf("%d answers to %d requests:\n%s", len(lines)-1, len(requests), out.String())
	}
	return lines[1:]
}

// request is one as cargo sends it.
func request(kind, operation, args string) string {
	more := ""
	if operation != "" {
		more = `,"operation":"` + operation + `"`
	}
	if operation == "publish" {
		more += `,"name":"foo","vers":"0.1.0","cksum":"` + strings.Repeat("ab", 32) + `"`
	}
	if args != "" {
		more += `,"args":` + args
	}
	return `{"v":1,"registry":{"index-url":"sparse+https://registry.example.com/","name":"my"},"kind":"` + kind + `"` + more + `,"unknown":{"a":[1]}}`
}

// withToken is a home of cargo's that holds the secret.
func withToken(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \""+secret+"\"\n")
	return home
}

// says checks that an answer has all of the words.
func says(t *testing.T, answer string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(answer, w) {
			t.Errorf("it does not say %q: %s", w, answer)
		}
	}
}

func is(t *testing.T, answer, want string) {
	t.Helper()
	if answer != want {
		t.Errorf("it is %s\nnot %s", answer, want)
	}
}

func list(words ...string) string {
	b, err := json.Marshal(words)
	if err != nil {
		panic(err)
	}
	return string(b)
}

const good = `{"Ok":{"kind":"get","token":"` + secret + `","cache":"session","operation_independent":true}}`

func TestATokenIsForOneUseAndGoesThroughUnchanged(t *testing.T) {
	want := `{"Ok":{"kind":"get","token":"` + secret + `","cache":"never","operation_independent":false}}`
	program, asked := script(t, good)
	home := withToken(t)
	printed := filepath.Join(home, "printed")
	write(t, printed, secret+"\n")
	for _, args := range []string{"", list("--", "cargo:token"), list("--", program, "x", "y z"), list("--", "cargo:token-from-stdout", "cat", printed)} {
		is(t, ask(t, home, env(), request("get", "read", args))[0], want)
	}
	b, err := os.ReadFile(asked)
	fatalIf(t, err)
	// The request as cargo sent it, with the provider's own arguments.
	argv, line, _ := strings.Cut(string(b), " ")
	var sent map[string]any
	if err := json.Unmarshal([]byte(line), &sent); err != nil || argv != PluginFlag {
		t.Fatalf("%v %s", err, b)
	}
	if fmt.Sprint(sent["args"]) != "[x y z]" || fmt.Sprint(sent["unknown"]) != "map[a:[1]]" || sent["operation"] != "read" {
		t.Errorf("it was asked %s", line)
	}
}

// TestATokenIsLookedForWhereCargoWouldLook, before anything is done with it.
func TestATokenIsLookedForWhereCargoWouldLook(t *testing.T) {
	has, asked := script(t, good)
	none, _ := script(t, `{"Err":{"kind":"not-found"}}`)
	fails, _ := script(t, `{"Err":{"kind":"other","message":"locked","caused-by":["by you"]}}`)
	global := func(words ...string) string {
		return "[registry]\nglobal-credential-providers = " + list(words...) + "\n"
	}
	const settings = "[registries.my]\ntoken = \"" + secret + "\"\n"
	home := t.TempDir()
	write(t, filepath.Join(home, "config.toml"), global(has))
	s, err := ReadSettings(t.TempDir(), home, env())
	fatalIf(t, err)
	if token, known, err := s.AskToken(t.Context(), "crates-io", ""); token != "" || known || err != nil {
		t.Errorf("a program was asked for the token of a registry without its index: %v", err)
	}
	if token, known, err := s.AskToken(t.Context(), "crates-io", "sparse+https://registry.example.com/"); token != secret || !known || err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(asked); err != nil || strings.Contains(string(b), `"name"`) {
		t.Errorf("it was asked %s, %v", b, err)
	}
	for _, c := range []struct {
		what, config string
		found, known bool
		says         string
	}{
		{"the settings", settings, true, true, ""},
		{"nothing", "", false, true, "no token was found for the registry my"},
		{"the registry's own", "[registries.my]\ncredential-provider = [\"" + has + "\"]\n", true, true, ""},
		{"the registry's own has none", settings + "credential-provider = [\"" + none + "\"]\n", false, true, "no token was found"},
		{"the last of all", global("cargo:token", has), true, true, ""},
		{"the one before it", global(has, none), true, true, ""},
		{"the one before ours", settings + global("cargo:token", "cargo-zkp --next"), true, true, ""},
		{"one that fails", settings + global("cargo:token", fails), false, true, "failed: locked\nby you"},
		{"a part of cargo", settings + global("cargo:libsecret"), false, false, ""},
		{"behind a part of cargo", settings + global("cargo:libsecret", none), false, false, ""},
	} {
		home := t.TempDir()
		write(t, filepath.Join(home, "config.toml"), c.config)
		s, err := ReadSettings(t.TempDir(), home, env())
		fatalIf(t, err)
		token, known, err := s.AskToken(t.Context(), "my", "sparse+https://registry.example.com/")
		if (token == secret) != c.found || known != c.known || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: found %v, known %v, %v", c.what, token == secret, known, err)
		}
	}
}

func TestLoginAndLogoutGoToTheOtherProvider(t *testing.T) {
	answer := `{"Ok":{"kind":"login"}}`
	program, asked := script(t, answer)
	is(t, ask(t, t.TempDir(), env(), request("login", "", list("--", program)))[0], answer)
	if b, err := os.ReadFile(asked); err != nil || !strings.Contains(string(b), `"kind":"login"`) {
		t.Errorf("%v %s", err, b)
	}
	got := ask(t, t.TempDir(), env(), request("logout", "", ""), request("login", "", list("--next")))
	says(t, got[0], "only reads tokens, so it cannot logout", "cargo logout --registry my --config")
	is(t, got[1], `{"Err":{"kind":"not-found"}}`)
}

// With "not found" cargo would go on to a provider whose token it keeps, and never ask
// about the publication.
func TestReadingIsNeverLeftToAProviderThatIsNotWatched(t *testing.T) {
	for what, answer := range map[string]string{
		"not found": `{"Err":{"kind":"not-found"}}`, "not supported": `{"Err":{"kind":"url-not-supported"}}`,
		"failure": `{"Err":{"kind":"other","message":"locked","caused-by":["by you"]}}`,
	} {
		program, _ := script(t, answer)
		got := ask(t, t.TempDir(), env(), request("get", "read", list("--", program)))[0]
		if !strings.HasPrefix(got, `{"Err":{"kind":"other",`) {
			t.Errorf("%s: %s", what, got)
		}
	}
	got := ask(t, t.TempDir(), env(), request("get", "read", ""), request("get", "read", list("--next")))
	says(t, got[0], "no token was found for the registry my", "set CARGO_REGISTRIES_MY_TOKEN")
	is(t, got[1], `{"Ok":{"kind":"get","token":"none","cache":"never","operation_independent":false}}`)
	private := strings.Replace(request("get", "read", list("--next")), `"name":"my"`, `"name":"my","headers":["WWW-Authenticate: x"]`, 1)
	says(t, ask(t, t.TempDir(), env(), private)[0], "demands a token for reading")
}

func TestNothingIsPublishedWithoutACheck(t *testing.T) {
	home := withToken(t)
	publish := request("get", "publish", "")
	for what, c := range map[string]struct{ request, want string }{
		"nobody to believe":   {publish, "no trust file says which logs and witnesses to believe; get a log's from a source that you trust and name its file with --trust"},
		"no checksum":         {strings.Replace(publish, strings.Repeat("ab", 32), "", 1), "cargo did not tell name, version and checksum"},
		"half a checksum":     {strings.Replace(publish, strings.Repeat("ab", 32), "abab", 1), "cargo did not tell name, version and checksum"},
		"no name":             {strings.Replace(publish, `"name":"foo"`, `"name":""`, 1), "cargo did not tell name, version and checksum"},
		"another protocol":    {strings.Replace(publish, `"v":1`, `"v":2`, 1), "version 2 of the credential provider protocol"},
		"no JSON":             {"publish, please", "not the JSON that was expected"},
		"an unknown option":   {request("get", "publish", list("--polcy", "x")), "arguments in cargo's configuration are wrong"},
		"a stray word":        {request("get", "publish", list("cargo:token")), "stands behind \\\"--\\\""},
		"two ways":            {request("get", "publish", list("--next", "--", "cargo:token")), "exclude each other"},
		"a part of cargo":     {request("get", "publish", list("--", "cargo:libsecret")), "cargo:libsecret is a part of cargo"},
		"a trust file amiss":  {request("get", "publish", list("--trust", "gone")), "gone"},
		"a file that is gone": {request("get", "publish", list("--exactly", "gone")), "what \\\"cargo zkp publish\\\" has proved cannot be read"},
	} {
		got := ask(t, home, env(), c.request)[0]
		if !strings.HasPrefix(got, `{"Err":{"kind":"other",`) || !strings.Contains(got, c.want) || strings.Contains(got, secret) {
			t.Errorf("%s: it does not say %q: %s", what, c.want, got)
		}
	}
}

// TestNoTokenForWhatIsNotKnown: operations and kinds that a cargo to come may have.
func TestNoTokenForWhatIsNotKnown(t *testing.T) {
	home := withToken(t)
	program, asked := script(t, good)
	for _, args := range []string{"", list("--next"), list("--", program)} {
		for _, operation := range []string{"publish-many", "Publish", "read ", ""} {
			got := ask(t, home, env(), request("get", operation, args))[0]
			if !strings.HasPrefix(got, `{"Err":{"kind":"other",`) || !strings.Contains(got, "does not know, so it gives none") {
				t.Errorf("%s %q: %s", args, operation, got)
			}
		}
		for _, kind := range []string{"frobnicate", "GET", ""} {
			is(t, ask(t, home, env(), request(kind, "read", args))[0], `{"Err":{"kind":"operation-not-supported"}}`)
		}
		for _, operation := range []string{"owners", "yank", "unyank"} {
			if got := ask(t, home, env(), request("get", operation, args))[0]; !strings.HasPrefix(got, `{"Ok"`) {
				t.Errorf("%s %q: %s", args, operation, got)
			}
		}
	}
	if b, err := os.ReadFile(asked); err != nil || strings.Contains(string(b), "publish") || strings.Contains(string(b), "frob") {
		t.Errorf("%v %s", err, b)
	}
}

func TestOnlyTheListedBytesAreAllowed(t *testing.T) {
	dir := t.TempDir()
	e := Exactly(filepath.Join(dir, "uploading"))
	a, b := [32]byte{1}, [32]byte{2}
	write(t, string(e), Allow("foo", "0.1.0", a)+Allow("bar", "1.0.0", b))
	for _, u := range []Upload{
		{Name: "foo", Version: "0.1.0", SHA256: b}, {Name: "foo", Version: "0.1.1", SHA256: a},
		{Name: "oo", Version: "0.1.0", SHA256: a}, {Name: "bar", Version: "0.1.0", SHA256: a},
	} {
		if err := e.Check(t.Context(), u); err == nil || !strings.Contains(err.Error(), "nothing was uploaded") {
			t.Errorf("%+v: %v", u, err)
		}
	}
	if _, asked := e.Asked("foo", "0.1.0", a); asked {
		t.Error("asked before it was")
	}
	if err := e.Check(t.Context(), Upload{Name: "bar", Version: "1.0.0", SHA256: b, Index: "sparse+https://registry.example.com/"}); err != nil {
		t.Error(err)
	}
	if index, asked := e.Asked("bar", "1.0.0", b); !asked || index != "sparse+https://registry.example.com/" {
		t.Errorf("%q %v", index, asked)
	}
	if _, asked := e.Asked("bar", "1.0.0", a); asked {
		t.Error("asked about other bytes")
	}
}

func TestTokensInBrokenAnswersAndFilesAreNotShown(t *testing.T) {
	for _, answer := range []string{
		`{"Ok":{"kind":"get","token":"` + secret + `"`, `{"Ok":{"kind":"get","tokken":"` + secret + `"}}`, secret,
		`{"Ok":{"token":"` + secret + `"},"Err":{"kind":"not-found"}}`, "",
	} {
		program, _ := script(t, answer)
		got := ask(t, t.TempDir(), env(), request("get", "read", list("--", program)))[0]
		if !strings.HasPrefix(got, `{"Err":`) || strings.Contains(got, secret) {
			t.Errorf("%s: %s", answer, got)
		}
	}
	home := t.TempDir()
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \""+secret+"\n")
	got := ask(t, home, env(), request("get", "read", ""))[0]
	if !strings.Contains(got, "credentials.toml is not the TOML") || strings.Contains(got, secret) {
		t.Error(got)
	}
	for _, program := range []string{"/nowhere/provider", "true"} {
		got := ask(t, t.TempDir(), env(), request("get", "read", list("--", program)))[0]
		says(t, got, "the credential provider "+program)
	}
}

func TestSettingsAreReadAsCargoReadsThem(t *testing.T) {
	top, home := t.TempDir(), t.TempDir()
	cwd := filepath.Join(top, "a", "b")
	write(t, filepath.Join(cwd, ".cargo", "config.toml"), "include = [\"more.toml\"]\n[registries.near]\ncredential-provider = [\"./tool\", \"x\"]\n")
	write(t, filepath.Join(cwd, ".cargo", "more.toml"), "[registries.included]\nindex = \"sparse+https://i.example.com/\"\n")
	write(t, filepath.Join(top, ".cargo", "config.toml"), "[registries.near]\ncredential-provider = \"far\"\nindex = \"n\"\n[credential-alias]\nalias = [\"real\", \"with space\"]\n[registry]\ndefault = \"near\"\nglobal-credential-providers = [\"alias\", \"near one\"]\n")
	write(t, filepath.Join(home, "config.toml"), "[registries.aliased]\ncredential-provider = \"alias\"\n[registries.both]\ntoken = \"from-config\"\n[registry]\nglobal-credential-providers = [\"cargo:token\"]\ncredential-provider = [\"default-one\"]\ntoken = \"default-token\"\n[credential-alias]\n\"cargo:token\" = \"evil\"\n")
	write(t, filepath.Join(home, "credentials.toml"), "[registries.both]\ntoken = \"from-credentials\"\n[registries.crates-io]\ntoken = \"of-no-use\"\n")
	s, err := ReadSettings(cwd, home, env("CARGO_REGISTRIES_E_NV_TOKEN", "from-env", "CARGO_REGISTRIES_E_NV_CREDENTIAL_PROVIDER", "one two"))
	fatalIf(t, err)
	for name, want := range map[string]Registry{
		"near":      {Index: "n", Provider: []string{filepath.Join(cwd, "tool"), "x"}, AsText: true},
		"included":  {Index: "sparse+https://i.example.com/"},
		"aliased":   {Provider: []string{"real", "with space"}, AsText: true},
		"e-nv":      {Provider: []string{"one", "two"}},
		"crates-io": {Provider: []string{"default-one"}},
		"nobody":    {},
	} {
		if got, err := s.Registry(name); err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
	for name, want := range map[string]string{"both": "from-credentials", "e-nv": "from-env", "crates-io": "default-token", "near": ""} {
		if got := s.Token(name); got != want {
			t.Errorf("token of %s: %q", name, got)
		}
	}
	if s.Default() != "near" || s.Named("sparse+https://i.example.com/") != "included" || s.Named("") != "" {
		t.Errorf("%q", s.Default())
	}
	if all, err := s.Global(); err != nil || fmt.Sprint(all) != "[[cargo:token] [real with space] [near one]]" {
		t.Errorf("%v %v", all, err)
	}
	// The old names count where there are both.
	write(t, filepath.Join(home, "credentials"), "[registries.both]\ntoken = \"old\"\n")
	if s, err = ReadSettings(cwd, home, env()); err != nil || s.Token("both") != "old" {
		t.Errorf("%v", err)
	}
	for _, broken := range []string{"credential-provider = []", "credential-provider = [1]", "credential-provider = \"\"", "credential-provider = 1"} {
		write(t, filepath.Join(cwd, ".cargo", "config.toml"), "[registries.near]\n"+broken+"\n")
		s, err := ReadSettings(cwd, home, env())
		if err == nil {
			_, err = s.Registry("near")
		}
		if err == nil || !strings.Contains(err.Error(), "credential-provider") {
			t.Errorf("%s: %v", broken, err)
		}
	}
}

// TestKeysInOtherCaseAreNotCargos: cargo matches keys exactly, and passes over what it does
// not know.
func TestKeysInOtherCaseAreNotCargos(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, "config.toml"), `
[registry]
default = "my"
Default = "evil"
[Registry]
default = "evil"
Global-Credential-Providers = ["evil"]
[registries.my]
index = "sparse+https://my.example.com/"
INDEX = "sparse+https://evil.example.com/"
credential-provider = ["alias"]
Credential-Provider = ["evil"]
[registries.MY]
token = "other"
[Credential-Alias]
alias = "evil"
[credential-alias]
Alias = "evil"
`)
	write(t, filepath.Join(home, "credentials.toml"), "[registries.my]\ntoken = \"mine\"\nToken = \"evil\"\nTOKEN = 1\n[Registries.my]\ntoken = \"evil\"\n")
	s, err := ReadSettings(t.TempDir(), home, env())
	fatalIf(t, err)
	want := Registry{Index: "sparse+https://my.example.com/", Provider: []string{"alias"}}
	if r, err := s.Registry("my"); err != nil || fmt.Sprint(r) != fmt.Sprint(want) {
		t.Errorf("%+v %v", r, err)
	}
	if all, err := s.Global(); err != nil || all != nil {
		t.Errorf("%v %v", all, err)
	}
	if s.Default() != "my" || s.Token("my") != "mine" || s.Token("MY") != "other" || s.Named("sparse+https://evil.example.com/") != "" {
		t.Errorf("default %q, tokens %q and %q", s.Default(), s.Token("my"), s.Token("MY"))
	}
}

func TestSettingsOfAnotherTypeAreRefused(t *testing.T) {
	for content, want := range map[string]string{
		"registries = 1":                  "registries: is not a table",
		"registry = 1":                    "registry: is not a table",
		"[registries]\nx = 1":             "registries.x: is not a table",
		"[registries.x]\ntoken = 1":       "registries.x.token: is not a string",
		"[registry]\ntoken = 1":           "registry.token: is not a string",
		"[registry]\ndefault = [\"x\"]":   "registry.default: is not a string",
		"[registries.'a.b']\ntoken = [1]": "registries.'a.b'.token: is not a string",
	} {
		for _, file := range []string{"config.toml", "credentials.toml"} {
			home := t.TempDir()
			write(t, filepath.Join(home, file), content+"\n")
			if _, err := ReadSettings(t.TempDir(), home, env()); err == nil || !strings.Contains(err.Error(), file+", "+want) {
				t.Errorf("%s in %s: %v", content, file, err)
			}
		}
	}
}

// Whatever is asked, there is one line of JSON for each line, and no token without a
// check.
func FuzzServe(f *testing.F) {
	for _, args := range []string{"", list("--next"), list("--", "cargo:token"), list("--exactly", "x")} {
		f.Add([]byte(request("get", "publish", args)))
		f.Add([]byte(request("get", "read", args)))
		f.Add([]byte(request("login", "", args)))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		checked := false
		setUp := func(args []string) (*Provider, error) {
			if _, err := parseArgs(args); err != nil {
				return nil, err
			}
			return &Provider{
				Check: func(context.Context, Upload) error { checked = true; return errors.New("no\nbecause") },
				Token: Next{},
			}, nil
		}
		if err := Serve(t.Context(), bytes.NewReader(in), &out, setUp); err != nil {
			return // a line that is too long
		}
		lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
		for _, l := range lines {
			if !json.Valid([]byte(l)) {
				t.Errorf("%q is no JSON", l)
			}
		}
		var r Request
		if json.Unmarshal(in, &r) == nil && r.V == 1 && r.Kind == "get" && r.Operation == "publish" && !bytes.Contains(in, []byte("\n")) {
			if len(lines) > 1 && !strings.HasPrefix(lines[1], `{"Err":{"kind":"other"`) {
				t.Errorf("checked %v, answered %s", checked, lines[1])
			}
		}
	})
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
