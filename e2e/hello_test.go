package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cratelog/client"
	"cratelog/internal/fixture"
)

// TestACrateVerifiesWithEverythingStopped is the whole path of a publisher and of
// a reader, through the programs: submit while the log runs, verify when nothing
// runs any more, and hear the right sentence when something is wrong.
func TestACrateVerifiesWithEverythingStopped(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	var files []string
	for _, name := range fixtures {
		file := copyFixture(t, name, dir)
		files = append(files, file)
		zkp(t, "submit", file, "--log", s.log.url).want(t, 0, "Finished",
			fmt.Sprintf("entry %d of the log", 2*len(files)-2)) // a seal behind each
	}
	t.Run("while the log runs", func(t *testing.T) { whileTheLogRuns(t, s, files[0]) })
	s.stopAll()
	t.Run("offline", func(t *testing.T) { offline(t, s, files) })
	t.Run("another name", func(t *testing.T) { anotherName(t, s, files) })
	t.Run("a log that answers with something else", func(t *testing.T) { lyingAnswer(t, files) })
	t.Run("exit codes", func(t *testing.T) { exitCodes(t, s, files) })
	t.Run("wrong bytes", func(t *testing.T) { wrongBytes(t, s, files) })
	t.Run("cargo", func(t *testing.T) { throughCargo(t, s, files) })
}

func bundleOf(file string) string { return strings.TrimSuffix(file, ".crate") + ".tlog-proof" }

// flags are those of a reader who trusts the site's policy.
func (s *site) flags(more ...string) []string {
	return append([]string{"--trust", s.policy, "--development"}, more...)
}

func (s *site) verify(t *testing.T, file string, more ...string) outcome {
	t.Helper()
	return zkp(t, append([]string{"verify", file}, s.flags(more...)...)...)
}

func whileTheLogRuns(t *testing.T, s *site, file string) {
	s.verify(t, file, "--log", s.log.url).want(t, 0, "Finished")
	t.Run("the same again is answered with the same entry", func(t *testing.T) {
		again := copyFixture(t, fixtures[0], t.TempDir())
		zkp(t, "submit", again, "--log", s.log.url).want(t, 0, "entry 0 of the log")
	})
	t.Run("another crate of the same version is refused", func(t *testing.T) {
		other := copyFixture(t, "hello-proof-0.1.0-repacked", t.TempDir())
		zkp(t, "submit", other, "--log", s.log.url).want(t, 1, "version-conflict")
		if _, err := os.Stat(bundleOf(other)); err == nil {
			t.Error("a refused submission left a bundle")
		}
	})
	t.Run("a crate that nobody logged", func(t *testing.T) {
		evil := filepath.Join(t.TempDir(), "hello-proof-9.9.9.crate")
		raw := fixture.Crate(t, "hello-proof", "0.1.0")
		write(t, evil, string(repack(t, raw, func(name string, content []byte) (string, []byte) {
			if strings.HasSuffix(name, "/Cargo.toml") {
				content = bytes.Replace(content, []byte(`"0.1.0"`), []byte(`"9.9.9"`), 1)
			}
			return strings.Replace(name, "hello-proof-0.1.0/", "hello-proof-9.9.9/", 1), content
		})))
		s.verify(t, evil, "--log", s.log.url).want(t, 1, "no entry for hello-proof 9.9.9")
	})
	t.Run("another crate than the log holds", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "hello-proof-0.1.0.crate")
		write(t, other, string(fixture.Read(t, "hello-proof-0.1.0-repacked.crate")))
		s.verify(t, other, "--log", s.log.url).want(t, 1, "another crate")
	})
}

func offline(t *testing.T, s *site, files []string) {
	for _, file := range files {
		s.verify(t, file, "--bundle", bundleOf(file)).want(t, 0, "Finished", "UNSAFE development keys")
		s.verify(t, file).want(t, 0) // the bundle beside the crate
	}
	t.Run("what was checked", func(t *testing.T) {
		o := s.verify(t, files[2], "-v")
		o.want(t, 0)
		commit := fixture.Commit(t, "0.1.0")
		for _, w := range []string{"hello-inner v0.1.0", origin + ", entry 4 of 6", "/crates/inner",
			hexOf(commit[:]), "witness:    w"} {
			if !strings.Contains(o.stdout, w) {
				t.Errorf("it does not say %q:\n%s", w, o.stdout)
			}
		}
	})
	t.Run("without --development", func(t *testing.T) {
		zkp(t, "verify", files[0], "--bundle", bundleOf(files[0]), "--trust", s.policy).
			want(t, 1, "program not accepted", "UNSAFE development keys: anyone can forge their proofs")
	})
	t.Run("a reader who wants every file proven", func(t *testing.T) {
		o := s.verify(t, files[0], "--deny-unproven")
		o.want(t, 0)
		if strings.Contains(o.stderr, "not proven") {
			t.Errorf("a file is not proven:\n%s", o.stderr)
		}
	})
	t.Run("a reader who wants a fresh checkpoint", func(t *testing.T) {
		s.verify(t, files[0], "--max-age", "1h").want(t, 0)
		s.verify(t, files[0], "--max-age", "1ns").want(t, 1, "stale checkpoint")
	})
}

// anotherName gives a crate another name than its own: a reader who asked for one
// crate must not be content with another, however true its proof.
func anotherName(t *testing.T, s *site, files []string) {
	file, bundle := filepath.Join(t.TempDir(), "serde-1.0.0.crate"), bundleOf(files[0])
	write(t, file, string(read(t, files[0])))
	s.verify(t, file, "--bundle", bundle).want(t, 1, "holds hello-proof v0.1.0, which its name does not say")
	s.verify(t, file, "--bundle", bundle, "-p", "hello-proof@0.1.0").want(t, 0, "Finished hello-proof v0.1.0")
	s.verify(t, file, "--bundle", bundle, "-p", "serde@1.0.0").want(t, 1, "another crate", "wanted is serde 1.0.0")
	s.verify(t, file, "--bundle", bundle, "-p", "serde").want(t, 2, "NAME@VERSION")
}

// lyingAnswer is a log that answers a submission with another one's bundle.
func lyingAnswer(t *testing.T, files []string) {
	bundle := read(t, bundleOf(files[1]))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Write(bundle)
	}))
	defer srv.Close()
	out := filepath.Join(t.TempDir(), "x.tlog-proof")
	zkp(t, "submit", files[0], "--log", srv.URL, "--bundle", out).want(t, 1, "did not answer with this entry's bundle")
	if _, err := os.Stat(out); err == nil {
		t.Error("the wrong bundle was kept")
	}
}

func exitCodes(t *testing.T, s *site, files []string) {
	file, dir := files[0], t.TempDir()
	other := filepath.Join(dir, "other.policy")
	key := s.run("logd", "keygen", "-origin", "elsewhere.example/log", "-out", filepath.Join(dir, "key.pem"))
	write(t, other, strings.ReplaceAll(string(read(t, s.policy)), s.logKey, key))
	broken := filepath.Join(dir, "broken.policy")
	write(t, broken, "log what\n")
	garbage := filepath.Join(dir, "garbage.crate")
	write(t, garbage, "no archive")
	alone := copyFixture(t, fixtures[0], dir)
	verify := func(args ...string) []string { return slices.Concat([]string{"verify"}, args, s.flags()) }
	exits := func(what string, code int, args []string, words ...string) {
		t.Run(what, func(t *testing.T) { zkp(t, args...).want(t, code, words...) })
	}
	exits("help", 0, []string{"help"})
	exits("help of a verb", 0, []string{"verify", "--help"})
	exits("no verb", 2, nil)
	exits("unknown verb", 2, []string{"sing"}, `no verb "sing"`)
	exits("unknown option", 2, []string{"verify", file, "--polcy", "x"}, "polcy")
	exits("no policy", 2, []string{"verify", file}, "no trust file says which logs")
	exits("bundle and log", 2, []string{"verify", file, "--trust", s.policy, "--log", "http://127.0.0.1:1",
		"--bundle", bundleOf(file)}, "not both")
	exits("two crates", 2, verify(file, file), "one argument")
	exits("broken policy", 2, []string{"verify", file, "--trust", broken}, broken)
	exits("half a package", 2, verify(file, "-p", "@0.1.0"), "-p takes NAME@VERSION")
	exits("submit to no log", 2, []string{"submit", file}, "submit needs --log")

	exits("missing crate", 3, verify(filepath.Join(dir, "gone.crate")), "gone.crate")
	exits("missing bundle", 3, verify(alone), ".tlog-proof", "--log URL")
	exits("missing policy", 3, []string{"verify", file, "--trust", filepath.Join(dir, "gone.policy")},
		"gone.policy")
	exits("missing entry", 3, []string{"submit", alone, "--entry", filepath.Join(dir, "gone.entry"), "--log", s.log.url},
		"gone.entry", "cargo zkp prove")
	exits("submit, log down", 3, []string{"submit", file, "--log", s.log.url}, "connection refused")
	exits("verify, log down", 3, verify(file, "--log", s.log.url), "connection refused")
	exits("prove, no repository", 3, []string{"prove", file, "--repository", dir}, "git repository")

	exits("another crate's bundle", 1, verify(files[1], "--bundle", bundleOf(file)), "another crate")
	exits("another log's policy", 1, []string{"verify", file, "--trust", other, "--development"},
		"unknown log", origin)
	exits("endless policy", 2, []string{"verify", file, "--trust", "/dev/zero"}, "not a regular file")
	exits("endless bundle", 1, verify(file, "--bundle", "/dev/zero"), "the most that is read")
	exits("no archive", 1, verify(garbage), garbage)
}

// wrongBytes shows a few of the refusals of TestOneFlippedByteIsRefused as the
// program says them.
func wrongBytes(t *testing.T, s *site, files []string) {
	// The second entry's bundle has a hash in its inclusion path.
	crate, bundle := read(t, files[1]), read(t, bundleOf(files[1]))
	p, err := client.ParseBundle(bundle)
	fatalIf(t, err)
	flipped := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] ^= 1
		return b
	}
	// A letter of base64 becomes another one.
	otherLetter := func(b []byte, i int) []byte {
		b = bytes.Clone(b)
		b[i] = map[bool]byte{true: 'B', false: 'A'}[b[i] == 'A']
		return b
	}
	mangle := func(edit func(p *client.Bundle)) []byte {
		q := *p
		edit(&q)
		b, err := q.Marshal()
		fatalIf(t, err)
		return b
	}
	// Within the line of a signature, behind the key's id.
	inLine := func(name string) int {
		return bytes.Index(p.Checkpoint, []byte("\n— "+name+" ")) + len("\n— "+name+" ") + 20
	}
	for _, c := range []struct {
		what          string
		crate, bundle []byte
		words         string
	}{
		{"crate, the time in the gzip header", flipped(crate, 5), bundle, "another crate"},
		{"crate, in the middle", flipped(crate, len(crate)/2), bundle, ".crate"},
		{"crate, a byte more", append(bytes.Clone(crate), 0), bundle, "another crate"},
		{"bundle, cut off", crate, bundle[:len(bundle)-1], "malformed bundle"},
		{"bundle, empty", crate, nil, "malformed bundle"},
		{"proof bytes", crate, mangle(func(p *client.Bundle) { p.Entry = flipped(p.Entry, len(p.Entry)-40) }),
			"entry not in the log"},
		{"inclusion hash", crate, mangle(func(p *client.Bundle) { p.Hashes = append([][32]byte{{1}}, p.Hashes[1:]...) }),
			"entry not in the log"},
		{"seal", crate, mangle(func(p *client.Bundle) { p.Seal.Leaf = flipped(p.Seal.Leaf, len(p.Seal.Leaf)-1) }), "no valid seal"},
		{"the checksum in the log's index", crate, mangle(func(p *client.Bundle) { p.Version.Value = flipped(p.Version.Value, 0) }),
			"no valid seal"},
		{"log signature", crate, mangle(func(p *client.Bundle) {
			p.Checkpoint = otherLetter(p.Checkpoint, inLine(origin))
		}), "no valid signature of the log"},
		{"cosignature", crate, mangle(func(p *client.Bundle) {
			p.Checkpoint = otherLetter(p.Checkpoint, inLine(firstWitness(p.Checkpoint)))
		}), "bad cosignature"},
	} {
		t.Run(c.what, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hello-proof-0.1.1.crate")
			write(t, file, string(c.crate))
			write(t, bundleOf(file), string(c.bundle))
			s.verify(t, file).want(t, 1, c.words)
		})
	}
}
