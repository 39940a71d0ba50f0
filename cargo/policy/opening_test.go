package policy

import (
	"crypto/ed25519"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"cratelog/client"
	"cratelog/entry"
)

// publicKey is an ssh public key, as a .pub file has it.
func publicKey(t testing.TB) string {
	t.Helper()
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, 32)).Public())
	fatalIf(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " maintainer\n"
}

func TestOpeningsAreDemandedAndExcused(t *testing.T) {
	const allow = "[[allow]]\ncrate = \"x\"\nreason = \"r\"\nwithout-opening = true\nexpires = "
	for _, c := range []struct {
		text string
		pkg  Package
		want string // in the phrase; "" for none
	}{
		{"", Package{Name: "x", Version: "1.0.0"}, ""},
		{"opening = \"optional\"", Package{Name: "x", Version: "1.0.0"}, ""},
		{"opening = \"required\"", Package{Name: "x", Version: "1.0.0"}, "requires openings"},
		{"opening = [\"x\"]", Package{Name: "X", Version: "1.0.0"}, `requires an opening of "x"`},
		{"opening = [\"x@1.0.0\", \"y*\"]", Package{Name: "x", Version: "1.0.1"}, ""},
		{"opening = [\"y*\"]", Package{Name: "yy", Version: "1.0.1"}, `requires an opening of "y*"`},
		{"opening = \"required\"\n" + allow + `"2027-01-31"`, Package{Name: "x", Version: "1.0.0"}, ""},
		{"opening = \"required\"\n" + allow + `"2027-01-31"`, Package{Name: "X", Version: "1.0.0"}, "requires openings"},
		{"opening = \"required\"\n" + allow + `"2027-01-31"`, Package{Name: "x", Version: "1.0.0", Registry: corp}, "requires openings"},
		{"opening = \"required\"\n" + allow + `"2026-08-31"`, Package{Name: "x", Version: "1.0.0"}, "requires openings"},
		{"opening = \"required\"\n" + strings.Replace(allow, "without-opening", "crlf", 1) + `"2027-01-31"`,
			Package{Name: "x", Version: "1.0.0"}, "requires openings"},
		{"[[expect]]\ncrate = \"x\"\nsigned-by = [\"keys/maintainers.pub\"]", Package{Name: "x", Version: "1.0.0"}, "who must have signed"},
		{"[[expect]]\ncrate = \"x\"\npath = \"\"", Package{Name: "x", Version: "1.0.0"}, ""},
		// Who must sign needs an opening, whatever excuses others.
		{allow + "\"2027-01-31\"\n[[expect]]\ncrate = \"x\"\nsigned-by = [\"keys/maintainers.pub\"]",
			Package{Name: "x", Version: "1.0.0"}, "who must have signed"},
	} {
		p := mustLoad(t, "version = 1\n"+c.text+"\n")
		if got := p.Opening(c.pkg, now); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%q, %v: opening is wanted because %q, want %q", c.text, c.pkg, got, c.want)
		}
	}
}

// TestCratesThatMustBeOpenedMustBeProven: a rule about openings that nothing asks a proof for
// would be no rule.
func TestCratesThatMustBeOpenedMustBeProven(t *testing.T) {
	p := mustLoad(t, "version = 1\nopening = [\"x\", \"gone\", \"none-*\"]\n")
	r := p.Resolve(nil, []Package{{Name: "x", Version: "1.0.0"}, {Name: "y", Version: "1.0.0"}}, now)
	if r.Demands[0].Status != Required || r.Demands[1].Status != NotAsked {
		t.Errorf("demands are %+v", r.Demands)
	}
	if len(r.Missing) != 1 || !strings.Contains(r.Missing[0], "gone") || len(r.Unmatched) != 1 {
		t.Errorf("missing %q, unmatched %q", r.Missing, r.Unmatched)
	}
	p = mustLoad(t, "version = 1\nopening = \"required\"\n")
	if r := p.Resolve(nil, []Package{{Name: "x", Version: "1.0.0"}}, now); r.Demands[0].Status != NotAsked {
		t.Errorf("openings of all that must be proven demand a proof: %+v", r.Demands[0])
	}
}

func TestSignersAreLoaded(t *testing.T) {
	p := mustLoad(t, "version = 1\n[[expect]]\ncrate = \"x\"\nsigned-by = [\"keys/maintainers.pub\"]\n"+
		"[[expect]]\ncrate = \"x\"\nversion = \"1.0.0\"\nsigned-by = [\"keys/maintainers.pub\", \"keys/other.pub\"]\n")
	s := p.Signers(Package{Name: "X", Version: "1.0.0"})
	if len(s) != 2 || s[0].Keys == nil || len(s[1].Files) != 2 || !filepath.IsAbs(s[0].Files[0]) {
		t.Errorf("signers are %+v", s)
	}
	if s := p.Signers(Package{Name: "x", Version: "2.0.0"}); len(s) != 1 {
		t.Errorf("of another version: %+v", s)
	}
	if p.Known() == nil {
		t.Error("no keys are known")
	}
}

func TestLineEndsAreAllowedAsThePolicySays(t *testing.T) {
	const allow = "[[allow]]\ncrate = \"x\"\ncrlf = true\nreason = \"r\"\nexpires = \"2027-01-31\"\n"
	for text, want := range map[string]client.CRLF{
		"": client.AttributedCRLF, "crlf = \"attributes\"": client.AttributedCRLF, "crlf = \"allow\"": client.AnyCRLF,
		"crlf = \"refuse\"": client.NoCRLF, "crlf = \"refuse\"\n" + allow: client.AnyCRLF,
	} {
		p := mustLoad(t, "version = 1\n"+text+"\n")
		if got := p.Rules("x", "1.0.0", now).AllowCRLF; got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
		r := p.RulesFor(Package{Name: "y", Version: "1.0.0", Registry: corp}, now)
		if strings.Contains(text, "[[allow]]") && r.AllowCRLF != client.NoCRLF {
			t.Errorf("%q: another crate is excused as well", text)
		}
		if r.Registry != entry.Registry(corp) {
			t.Errorf("the registry is %q", r.Registry)
		}
	}
}

func TestMistakesAboutOpeningsAreNamed(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"opening = true", `key "opening": must be "optional", "required", or a list`},
		{"opening = \"all\"", `key "opening": is "all"; it must be "optional", "required", or a list`},
		{"opening = [\"*\"]", `key "opening": "*" would be every crate`},
		{"crlf = \"yes\"", `key "crlf": is "yes"; it must be "attributes", "allow" or "refuse"`},
		{"[[expect]]\ncrate = \"x\"\nsigned-by = []", `key "expect[1].signed-by": is empty`},
		{"[[expect]]\ncrate = \"x\"\nsigned-by = [\"\"]", `key "expect[1].signed-by": must be at most 4096 names of files`},
		{"[[expect]]\ncrate = \"x\"\nsigned-by = [\"gone.pub\"]", `expect[1].signed-by: the file of keys `},
		{"[[expect]]\ncrate = \"x\"\nsigned-by = [\"a.policy\"]", `a.policy cannot be used: line 1 is no ssh public key`},
		{"[[expect]]\ncrate = \"x\"\nsigned_by = [\"a.pub\"]", `unknown key "expect.signed_by"`},
		{"[[allow]]\ncrate = \"x\"\nreason = \"r\"\nexpires = \"2027-01-31\"", `or write crlf = true or without-opening = true`},
	} {
		if _, err := load(t, "version = 1\n"+c.text+"\n"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}
