package policy

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cratelog/build"
	"cratelog/internal/testlog"
)

// setOf returns a set of n builders b0, b1, ...
func setOf(t testing.TB, kind build.Kind, n int) *build.Set {
	t.Helper()
	s := &build.Set{Kind: kind, Name: "rebuilders"}
	for i := range n {
		m := build.Member{Name: fmt.Sprintf("b%d", i), Contact: fmt.Sprintf("b%d@example.com", i)}
		if kind == build.Named {
			k, err := build.NewVKey(m.Name, testlog.Ed25519(m.Name).Public().(ed25519.PublicKey))
			fatalIf(t, err)
			m.VKey = k.String()
		} else {
			m.Public[31] = byte(i + 1)
		}
		s.Members = append(s.Members, m)
	}
	return s
}

const anID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// withSet loads a policy whose [builds] has a set and, with %[1]s for the digest of the set's file, more lines.
func withSet(t testing.TB, s *build.Set, top, lines string) (*Policy, error) {
	t.Helper()
	d, user := dir(t)
	text := testlog.Must(s.Marshal())
	fatalIf(t, os.WriteFile(filepath.Join(d, "b.set"), text, 0o600))
	sum := s.Digest()
	lines = strings.ReplaceAll(lines, "DIGEST", fmt.Sprintf("%x", sum))
	return Load(write(t, filepath.Join(d, FileName), "version = 1\n"+top+"[builds]\n"+lines), user)
}

const sound = `set = "b.set"
digest = "DIGEST"
toolchains = ["` + anID + `"]
environments = ["` + anID + `"]
`

func TestBuildsAreOfOneSetByItsDigest(t *testing.T) {
	s := setOf(t, build.Hidden, 5)
	p, err := withSet(t, s, "trust = [\"a.policy\"]\n", sound+"need = 3\ntolerate = 1\nuntil = 7\nrequire-source = \"crate\"\nmax-age = \"36h\"\n")
	fatalIf(t, err)
	b := p.Builds
	if b.Set.Name != "rebuilders" || b.Root != s.Root() || b.Need != 3 || b.Tolerate != 1 || b.Until != 7 || b.Source != CrateOnly ||
		b.MaxAge != 36*time.Hour || len(b.Toolchains) != 1 || len(b.Environments) != 1 || b.Members() != 5 ||
		!b.Counts(6) || b.Counts(7) {
		t.Errorf("%+v", b)
	}
	p, err = withSet(t, setOf(t, build.Named, 3), "", sound+"need = 2\nwithout = [\"b1\"]\n")
	fatalIf(t, err)
	if b := p.Builds; b.MaxAge != 7*24*time.Hour || b.Source != ByLock || b.Members() != 2 || !b.Counts(1<<60) {
		t.Errorf("%+v", b)
	}
	if mustLoad(t, "version = 1\n").Builds != nil {
		t.Error("without a table somebody is believed about binaries")
	}
}

func TestMistakesInBuildsAreNamed(t *testing.T) {
	hidden, named := setOf(t, build.Hidden, 4), setOf(t, build.Named, 4)
	without := func(key string) string { return regexp.MustCompile(`(?m)^`+key+` = .*\n`).ReplaceAllString(sound, "") }
	for _, c := range []struct {
		set              *build.Set
		top, lines, want string
	}{
		{hidden, "", sound, `key "builds.need": is 0; it must say how many members`},
		{hidden, "", sound + "need = 1025\n", `key "builds.need": is 1025`},
		{hidden, "", sound + "need = 5\n", `key "builds.need": is 5, and only 4 members of the set rebuilders count`},
		{named, "", sound + "need = 3\nwithout = [\"b0\", \"b1\"]\n", `key "builds.need": is 3, and only 2 members`},
		{hidden, "", sound + "need = 3\ntolerate = 2\n", `key "builds.tolerate": is 2; it must be 0, or 1 with a hidden set`},
		{hidden, "", sound + "need = 3\ntolerate = -1\n", `key "builds.tolerate": is -1`},
		{hidden, "", sound + "need = 2\ntolerate = 1\n", `key "builds.tolerate": is 1, which takes need = 3 or more`},
		{named, "", sound + "need = 3\ntolerate = 1\n", `key "builds.tolerate": is 1, which only hidden sets may have`},
		{hidden, "", sound + "need = 3\nwithout = [\"b0\"]\n", `key "builds.without": names "b0", and nobody can tell who speaks in a hidden set`},
		{named, "", sound + "need = 3\nwithout = [\"b9\"]\n", `the set rebuilders has no member "b9"`},
		{named, "", sound + "need = 1\nwithout = [\"b1\", \"b1\"]\n", `names "b1" twice`},
		{hidden, "", sound + "need = 3\nuntil = 0\n", `key "builds.until": is 0; it must be an index`},
		{hidden, "trust = [\"a.policy\", \"b.policy\"]\n", sound + "need = 3\nuntil = 9\n", `key "builds.until": is the index 9 of one log, and the trust files list 2`},
		{hidden, "trust = [\"a.policy\"]\n", sound + "need = 3\nlog = \"b.example/log\"\n", `key "builds.log": no trust file lists a log "b.example/log"`},
		{hidden, "", without("set") + "need = 3\n", `key "builds.set": is missing`},
		{hidden, "", without("digest") + "need = 3\n", `key "builds.digest": must be the SHA-256 of the set's file`},
		{hidden, "", strings.Replace(sound, "DIGEST", anID, 1) + "need = 3\n", `key "builds.digest": `},
		{hidden, "", strings.Replace(sound, "b.set", "c.set", 1) + "need = 3\n", "the set of builders cannot be read"},
		{hidden, "", without("toolchains") + "need = 3\n", `key "builds.toolchains": has 0 items; it must name 1 to 4096 ids, such as "cargo zkp toolchain" prints`},
		{hidden, "", without("environments") + "need = 3\nenvironments = [\"x\"]\n", `key "builds.environments": "x" is not an id`},
		{hidden, "", without("environments") + "need = 3\nenvironments = [\"" + anID + "\", \"" + anID + "\"]\n", `is there twice`},
		{hidden, "", sound + "need = 3\nmax-age = \"week\"\n", `key "builds.max-age": "week" is not an age`},
		{hidden, "", sound + "need = 3\nrequire-source = \"none\"\n", `key "builds.require-source": is "none"; it must be "all" or "crate"`},
		{hidden, "", sound + "need = 3\ndissent = \"warn\"\n", `unknown key "builds.dissent"`},
		{hidden, "", sound + "need = \"3\"\n", "zkp.toml"},
	} {
		p, err := withSet(t, c.set, c.top, c.lines)
		if err == nil || p != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.lines, err, c.want)
		}
	}
	// The file is what the digest says, and still no set.
	d, user := dir(t)
	fatalIf(t, os.WriteFile(filepath.Join(d, "b.set"), nil, 0o600))
	text := strings.Replace(sound, "DIGEST", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 1)
	if _, err := Load(write(t, filepath.Join(d, FileName), "version = 1\n[builds]\n"+text+"need = 1\n"), user); err == nil ||
		!strings.Contains(err.Error(), "this is no set file") {
		t.Errorf("an empty set: %v", err)
	}
}
