package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/logsite"
)

func openingOf(file string) string { return strings.TrimSuffix(file, ".crate") + ".opening" }

// openingReader is a reader's directory: a policy that wants an opening of everything, and a cache.
type openingReader struct {
	s             *site
	policy, cache string
}

func (s *site) openingReader(t *testing.T) *openingReader {
	t.Helper()
	dir := t.TempDir()
	r := &openingReader{s, filepath.Join(dir, "zkp.toml"), filepath.Join(dir, "cache")}
	write(t, r.policy, "version = 1\ntrust = ["+quoted(s.policy)+"]\ndevelopment = true\nopening = \"required\"\n")
	return r
}

// verify verifies a .crate with the log's bundle, and no opening beside it.
func (r *openingReader) verify(t *testing.T, crate string, more ...string) outcome {
	t.Helper()
	return command(t, t.TempDir(), []string{"XDG_CACHE_HOME=" + r.cache, "XDG_STATE_HOME=" + r.cache},
		program(t, "cargo-zkp"), append([]string{"verify", crate, "--policy", r.policy}, more...)...)
}

func (r *openingReader) fetch(t *testing.T, crate string) outcome {
	t.Helper()
	return r.verify(t, crate, "-v", "--log", r.s.log.url)
}

// identityOf returns the name of an entry's claim, as the log's addresses have it.
func identityOf(t *testing.T, file string) string {
	t.Helper()
	e, err := entry.Parse(read(t, file))
	fatalIf(t, err)
	id, err := e.Identity()
	fatalIf(t, err)
	return hexOf(id[:])
}

// TestAnOpeningLetsAReaderBelieveNoKey: a publisher opens what is public, the log serves it, a reader
// who demands it needs to believe no key, and a forger finds no opening of what is false.
func TestAnOpeningLetsAReaderBelieveNoKey(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes the proving key, and proves")
	}
	s, repo, dir := newSite(t), fixture.Repo(t), t.TempDir()
	file := copyFixture(t, "hello-proof-0.1.1", dir)
	private := copyFixture(t, "hello-proof-0.1.0", dir)
	fatalIf(t, os.Remove(entryOf(file)))
	at := func(entry string) string { return s.log.url + "/v1/openings/" + identityOf(t, entry) }

	zkp(t, "prove", file, "--repository", repo, "--opening").want(t, 0, "Opened", "needs to believe no key")
	opening := read(t, openingOf(file))
	o := zkp(t, "submit", file, "--log", s.log.url)
	o.want(t, 0, "hello-proof-0.1.1.opening goes to the log too", "entry 0 of the log")
	zkp(t, "submit", private, "--log", s.log.url).want(t, 0, "entry 2 of the log")
	served, err := logsite.Fetch(t.Context(), at(entryOf(file)))
	if err != nil || !bytes.Equal(served, opening) {
		t.Fatalf("the log serves %d bytes, %v; the opening has %d", len(served), err, len(opening))
	}
	if _, err := logsite.Fetch(t.Context(), at(entryOf(private))); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("an opening that nobody made: %v", err)
	}
	t.Run("not by others than its submitter", func(t *testing.T) {
		write(t, openingOf(private), string(fixture.Read(t, "hello-proof-0.1.0.opening")))
		zkp(t, "submit", private, "--log", s.log.url).want(t, 0, "entry 2 of the log")
		if _, err := logsite.Fetch(t.Context(), at(entryOf(private))); err == nil {
			t.Error("the opening of an entry that stood already is served")
		}
		s.openingReader(t).verify(t, private).want(t, 0, "Finished") // it is one all the same
		fatalIf(t, os.Remove(openingOf(private)))
	})

	alone := filepath.Join(t.TempDir(), filepath.Base(file)) // without what lies beside it
	write(t, alone, string(read(t, file)))
	reader := s.openingReader(t)
	o = reader.fetch(t, alone)
	o.want(t, 0, "Finished hello-proof v0.1.1")
	for _, w := range []string{"the commit's own objects show it, without the proof", "nobody has signed the commit",
		"in the commit and not in the crate: ", "crates/"} {
		if !strings.Contains(o.stdout, w) {
			t.Errorf("verify -v does not say %q:\n%s", w, o.stdout)
		}
	}
	s.openingReader(t).fetch(t, private).want(t, 1, "there is no opening of hello-proof 0.1.0", "requires openings",
		"cargo zkp prove --opening")
	t.Run("beside the bundle", func(t *testing.T) { besideTheBundle(t, s, file, opening) })
	t.Run("a forged proof", func(t *testing.T) { forgedAndOpened(t, s, file, opening) })
	t.Run("the operator deletes it", func(t *testing.T) {
		identity := identityOf(t, entryOf(file))
		gone := s.run("logd", "openings", "delete", "-config", s.path("logd.toml"), "-claim", identity)
		if !strings.Contains(gone, identity) {
			t.Errorf("it says %q", gone)
		}
		if _, err := logsite.Fetch(t.Context(), at(entryOf(file))); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("after it was deleted: %v", err)
		}
		s.openingReader(t).fetch(t, alone).want(t, 1, "there is no opening of hello-proof 0.1.1")
		reader.fetch(t, alone).want(t, 0, "Finished") // who has it keeps it
		zkp(t, "submit", file, "--log", s.log.url).want(t, 0, "entry 0 of the log")
		if _, err := logsite.Fetch(t.Context(), at(entryOf(file))); err == nil {
			t.Error("it came back with a second submission")
		}
	})
}

// besideTheBundle: any source of an opening is as good, and nothing is fetched.
func besideTheBundle(t *testing.T, s *site, file string, opening []byte) {
	reader := s.openingReader(t)
	reader.verify(t, file, "-v").want(t, 0, "Finished")
	changed := bytes.Clone(opening)
	changed[len(changed)-1] ^= 1
	write(t, openingOf(file), string(changed))
	defer write(t, openingOf(file), string(opening))
	reader.verify(t, file).want(t, 3, "does not do", "not an opening of this claim")
	fatalIf(t, os.Remove(openingOf(file)))
	reader.verify(t, file).want(t, 3, "no opening of hello-proof 0.1.1 is at hand")
}

// forgedAndOpened: whoever has the secrets of the key makes a proof that a crate with a back door is
// what the commit has. It is believed by readers of that key, and refused by those who demand an opening.
func forgedAndOpened(t *testing.T, s *site, honest string, opening []byte) {
	raw := repack(t, read(t, honest), func(name string, content []byte) (string, []byte) {
		name = strings.Replace(name, "hello-proof-0.1.1/", "hello-proof-0.1.9/", 1)
		switch {
		case strings.HasSuffix(name, "/Cargo.toml"):
			content = bytes.Replace(content, []byte(`version = "0.1.1"`), []byte(`version = "0.1.9"`), 1)
		case strings.HasSuffix(name, "/Cargo.toml.orig"):
			content = bytes.Replace(content, []byte(`version = "0.1.1"`), []byte(`version = "0.1.9"`), 1)
		case strings.HasSuffix(name, "/src/lib.rs"):
			content = append(content, "// a back door\n"...)
		}
		return name, content
	})
	file := filepath.Join(t.TempDir(), "hello-proof-0.1.9.crate")
	write(t, file, string(raw))
	f, err := forge.Default()
	fatalIf(t, err)
	e, err := forge.Claim(raw, "hello-proof", "0.1.9", &entry.Source{Commit: fixture.Commit(t, "0.1.1")})
	fatalIf(t, err)
	list, err := forge.List(raw, e)
	fatalIf(t, err)
	fatalIf(t, f.Prove(e, list))
	b, err := e.Marshal()
	fatalIf(t, err)
	write(t, entryOf(file), string(b))

	write(t, openingOf(file), string(opening)) // the true objects of that commit
	zkp(t, "submit", file, "--log", s.log.url, "--opening", openingOf(file)).want(t, 1, "opening-refused", "contradict")
	fatalIf(t, os.Remove(openingOf(file)))
	zkp(t, "submit", file, "--log", s.log.url).want(t, 0, "entry 4 of the log")
	s.verify(t, file).want(t, 0, "Finished hello-proof v0.1.9 is the source of commit") // which is false
	s.openingReader(t).fetch(t, file).want(t, 1, "there is no opening of hello-proof 0.1.9")

	write(t, openingOf(file), string(opening))
	s.openingReader(t).verify(t, file).want(t, 1, "is FALSE", " is the blob ", "the evidence is ")
	s.verify(t, file).want(t, 1, "is FALSE") // what lies there is looked at without being asked for
}
