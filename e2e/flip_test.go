package e2e

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/forge"
	"cratelog/internal/testlog"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// firstWitness is the first witness with a line in a signed checkpoint.
func firstWitness(checkpoint []byte) string {
	for i := range 3 {
		if bytes.Contains(checkpoint, []byte("\n— "+witnessName(i)+" ")) {
			return witnessName(i)
		}
	}
	return "none"
}

// evidence is a crate with its bundle, and all keys of the site that made it.
type evidence struct {
	site          *site
	reader        reader
	crate, bundle []byte
	proof         *client.Bundle // the bundle, parsed; its checkpoint has a quorum and no witness more
}

// newEvidence has the log accept every fixture, and stops it. The first one's
// bundle is fetched last, so that its inclusion path has hashes.
func newEvidence(t *testing.T) *evidence {
	t.Helper()
	s := newSite(t)
	log := client.Log{URL: s.log.url}
	all := items(t)
	e := &evidence{site: s, reader: s.reader(), crate: all[0].crate}
	for _, it := range all {
		_, err := log.Submit(t.Context(), it.entry, it.crate, nil)
		fatalIf(t, err)
	}
	var err error
	e.bundle, err = log.Bundle(t.Context(), client.Query{Name: "hello-proof", Version: "0.1.0"})
	fatalIf(t, err)
	s.stopAll()
	e.proof, err = client.ParseBundle(e.bundle)
	fatalIf(t, err)
	e.proof.Checkpoint = quorumOnly(t, e.proof.Checkpoint)
	e.bundle, err = e.proof.Marshal()
	fatalIf(t, err)
	r, err := e.reader.verify(e.crate, e.bundle)
	fatalIf(t, err)
	if len(r.Checkpoint.Cosignatures) != 2 || len(e.proof.Hashes) < 2 || len(e.proof.Seal.Hashes) < 1 {
		t.Fatalf("wanted a bundle with 2 cosignatures, 2 hashes or more, and one or more of the seal:\n%s", e.bundle)
	}
	return e
}

// quorumOnly drops witnesses' lines that the quorum of two does not need.
func quorumOnly(t *testing.T, checkpoint []byte) []byte {
	t.Helper()
	var out []string
	cosigned := 0
	for line := range strings.Lines(string(checkpoint)) {
		if strings.HasPrefix(line, "— w") {
			if cosigned++; cosigned > 2 {
				continue
			}
		}
		out = append(out, line)
	}
	return []byte(strings.Join(out, ""))
}

// region is a part of the input and the reasons for which it may be refused.
type region struct {
	name       string
	start, end int
	reasons    []error
}

// regions cut a bundle into its parts.
func (e *evidence) regions(t *testing.T) []region {
	t.Helper()
	text := string(e.bundle)
	lines := strings.SplitAfter(text, "\n")
	at := 0
	var out []region
	next := func(name string, n int, reasons ...error) {
		out = append(out, region{name, at, at + n, reasons})
		at += n
	}
	next("header", len(lines[0]), client.ErrBundle)
	next("extra line", len(lines[1]), client.ErrBundle, client.ErrEntry, client.ErrInclusion, client.ErrSeal)
	next("index", len(lines[2]), client.ErrBundle, client.ErrInclusion)
	for i := range e.proof.Hashes {
		// A newline that is lost joins this line with the empty one below it, and the
		// next is then the checkpoint's first.
		next(fmt.Sprintf("hash %d", i), len(lines[3+i]), client.ErrBundle, client.ErrInclusion)
	}
	rest := lines[3+len(e.proof.Hashes):]
	next("empty line", len(rest[0]), client.ErrBundle)
	next("origin", len(rest[1]), client.ErrBundle, client.ErrCheckpoint, client.ErrLog)
	next("size and root", len(rest[2])+len(rest[3]), client.ErrBundle, client.ErrCheckpoint, client.ErrLogSignature)
	next("empty line before the signatures", len(rest[4]), client.ErrBundle, client.ErrCheckpoint)
	for _, line := range rest[5:] {
		switch {
		case strings.HasPrefix(line, "— "+origin+" "):
			next("log signature", len(line), client.ErrBundle, client.ErrCheckpoint, client.ErrLogSignature)
		case line != "":
			next("cosignature", len(line), client.ErrBundle, client.ErrCheckpoint, client.ErrCosignature,
				client.ErrQuorum)
		}
	}
	if at != len(text) {
		t.Fatalf("the regions end at %d of %d bytes", at, len(text))
	}
	return out
}

// refusedFor checks that err is a client.Error for one of the reasons, with a
// sentence that says the reason and what to do.
func refusedFor(err error, reasons ...error) error {
	var refused *client.Error
	switch {
	case err == nil:
		return errors.New("accepted")
	case !errors.As(err, &refused):
		return fmt.Errorf("refused without a reason: %w", err)
	case !slices.ContainsFunc(reasons, func(r error) bool { return errors.Is(err, r) }):
		return fmt.Errorf("refused for another reason: %w", err)
	}
	text := err.Error()
	if !strings.HasPrefix(text, refused.Reason.Error()+": ") || !strings.HasSuffix(text, ".") ||
		!strings.Contains(text, ". ") {
		return fmt.Errorf("no sentences: %q", text)
	}
	return nil
}

// TestOneFlippedByteIsRefused goes through every byte of a crate and of its
// bundle, and flips it in three ways.
func TestOneFlippedByteIsRefused(t *testing.T) {
	e := newEvidence(t)
	masks := []byte{0x01, 0x20, 0x80}
	t.Run("crate", func(t *testing.T) {
		for i := range e.crate {
			b := bytes.Clone(e.crate)
			b[i] ^= masks[i%len(masks)]
			_, err := e.reader.verify(b, e.bundle)
			if wrong := refusedFor(err, client.ErrSubject); wrong != nil {
				t.Errorf("byte %d: %v", i, wrong)
			}
		}
	})
	t.Run("bundle", func(t *testing.T) {
		for _, r := range e.regions(t) {
			for i := r.start; i < r.end; i++ {
				for _, mask := range masks {
					b := bytes.Clone(e.bundle)
					b[i] ^= mask
					_, err := e.reader.verify(e.crate, b)
					if wrong := refusedFor(err, r.reasons...); wrong != nil {
						t.Errorf("%s, byte %d ^ %#02x (%q for %q): %v", r.name, i-r.start, mask, b[i],
							e.bundle[i], wrong)
					}
				}
			}
		}
	})
	t.Run("decoded parts", func(t *testing.T) { e.flipDecoded(t) })
	t.Run("cut", func(t *testing.T) {
		for i := range e.bundle {
			if _, err := e.reader.verify(e.crate, e.bundle[:i]); err == nil {
				t.Errorf("accepted with %d of %d bytes", i, len(e.bundle))
			}
		}
	})
}

// flipDecoded flips bits in what base64 holds: the text stays well-formed.
func (e *evidence) flipDecoded(t *testing.T) {
	verify := func(what string, i int, edit func(b *client.Bundle), reasons ...error) {
		q := *e.proof
		edit(&q)
		b, err := q.Marshal()
		fatalIf(t, err)
		_, err = e.reader.verify(e.crate, b)
		if wrong := refusedFor(err, reasons...); wrong != nil {
			t.Errorf("%s, byte %d: %v", what, i, wrong)
		}
	}
	for _, c := range []struct {
		what    string
		of      func(b *client.Bundle) *[]byte
		reasons []error
	}{
		{"entry", func(b *client.Bundle) *[]byte { return &b.Entry }, []error{client.ErrEntry, client.ErrInclusion}},
		{"seal", func(b *client.Bundle) *[]byte { return &b.Seal.Leaf }, []error{client.ErrSeal}},
		{"value", func(b *client.Bundle) *[]byte { return &b.Version.Value }, []error{client.ErrSeal}},
		{"proof of the value", func(b *client.Bundle) *[]byte { return &b.Version.Proof }, []error{client.ErrSeal}},
	} {
		for i := range *c.of(e.proof) {
			verify(c.what, i, func(b *client.Bundle) {
				part := c.of(b)
				*part = bytes.Clone(*part)
				(*part)[i] ^= 1 << (i % 8)
			}, c.reasons...)
		}
	}
	for _, c := range []struct {
		what   string
		of     func(b *client.Bundle) *[][32]byte
		reason error
	}{
		{"hash", func(b *client.Bundle) *[][32]byte { return &b.Hashes }, client.ErrInclusion},
		{"hash of the seal", func(b *client.Bundle) *[][32]byte { return &b.Seal.Hashes }, client.ErrSeal},
	} {
		for i := range 32 * len(*c.of(e.proof)) {
			verify(c.what, i, func(b *client.Bundle) {
				path := c.of(b)
				*path = slices.Clone(*path)
				(*path)[i/32][i%32] ^= 1 << (i % 8)
			}, c.reason)
		}
	}
}

// TestALyingLogWithAllItsWitnessesCannotMakeAFalseEntryTrue signs a tree that
// holds a false entry with the site's own keys, all of them. What is left is the
// proof, and the comparison with the crate.
func TestALyingLogWithAllItsWitnessesCannotMakeAFalseEntryTrue(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many logs")
	}
	e := newEvidence(t)
	conspiracy := e.conspire(t)
	if _, err := e.reader.verify(e.crate, conspiracy(e.proof.Entry)); err != nil {
		t.Fatalf("the conspiracy signs no bundles that are accepted for a true entry, so this test sees nothing: %v", err)
	}
	parsed, err := entry.Parse(e.proof.Entry)
	fatalIf(t, err)
	proofAt := bytes.Index(e.proof.Entry, parsed.Proof.Parts[0])
	programAt := bytes.Index(e.proof.Entry, parsed.Proof.Program[:])
	counts := make(map[error]int)
	for i := range e.proof.Entry {
		lie := bytes.Clone(e.proof.Entry)
		lie[i] ^= 1 << (i % 8)
		reasons := []error{client.ErrEntry, client.ErrSubject, client.ErrProof}
		switch {
		case i >= proofAt && i < proofAt+len(parsed.Proof.Parts[0]):
			reasons = []error{client.ErrProof}
		case i >= programAt && i < programAt+32:
			reasons = []error{client.ErrProgram}
		}
		_, err := e.reader.verify(e.crate, conspiracy(lie))
		if wrong := refusedFor(err, reasons...); wrong != nil {
			t.Errorf("byte %d of the entry: %v", i, wrong)
			continue
		}
		for _, r := range reasons {
			if errors.Is(err, r) {
				counts[r]++
			}
		}
	}
	for _, r := range []error{client.ErrEntry, client.ErrSubject, client.ErrProof, client.ErrProgram} {
		if counts[r] == 0 {
			t.Errorf("no byte was refused with %q", r)
		}
		t.Logf("%d bytes: %v", counts[r], r)
	}
	e.falseClaims(t, conspiracy)
}

// falseClaims are entries about this very crate that are well-formed and false. The .crate itself
// shows most of them, also if the proof is forged.
func (e *evidence) falseClaims(t *testing.T, conspiracy func([]byte) []byte) {
	other := fixture.Entry(t, "hello-proof-0.1.1")
	forger, err := forge.Default()
	fatalIf(t, err)
	for _, c := range []struct {
		what   string
		forged error // why it is refused with a forged proof
		edit   func(e *entry.Entry, src *entry.Source)
	}{
		{"another commit", client.ErrFiles, func(e *entry.Entry, src *entry.Source) { src.Commit = other.Claim.(*entry.Source).Commit }},
		{"another path", client.ErrFiles, func(e *entry.Entry, src *entry.Source) { src.Path = "elsewhere" }},
		{"another file list", client.ErrFiles, func(e *entry.Entry, src *entry.Source) { src.Files = other.Claim.(*entry.Source).Files }},
		{"a lock file left out", client.ErrFiles, func(e *entry.Entry, src *entry.Source) {
			src.Unproven = []string{"Cargo.lock", "Cargo.toml"}
		}},
		{"a manifest left out", client.ErrFiles, func(e *entry.Entry, src *entry.Source) { src.Unproven = []string{"Cargo.toml"} }},
		{"a link that is not there", client.ErrFiles, func(e *entry.Entry, src *entry.Source) {
			src.Links = []entry.Link{{Path: "src", Target: "evil"}}
		}},
		{"a workspace that is not there", client.ErrFiles, func(e *entry.Entry, src *entry.Source) {
			src.Workspace = &entry.Workspace{Manifest: []byte("[workspace]")}
		}},
		{"another crate's proof", nil, func(e *entry.Entry, src *entry.Source) { e.Proof = other.Proof }},
		{"another crate's claim and proof", nil, func(e *entry.Entry, src *entry.Source) {
			e.Claim, e.Proof = other.Claim, other.Proof
		}},
		{"the proof twice", nil, func(e *entry.Entry, src *entry.Source) {
			e.Proof.Parts = append(e.Proof.Parts, e.Proof.Parts[0])
		}},
	} {
		lie, err := entry.Parse(e.proof.Entry)
		fatalIf(t, err)
		c.edit(lie, lie.Claim.(*entry.Source))
		b, err := lie.Marshal()
		fatalIf(t, err)
		_, err = e.reader.verify(e.crate, conspiracy(b))
		if wrong := refusedFor(err, client.ErrProof); wrong != nil {
			t.Errorf("%s: %v", c.what, wrong)
		}
		if c.forged == nil {
			continue
		}
		fatalIf(t, forger.Prove(lie, []byte("ct")))
		b, err = lie.Marshal()
		fatalIf(t, err)
		_, err = e.reader.verify(e.crate, conspiracy(b))
		if wrong := refusedFor(err, c.forged); wrong != nil {
			t.Errorf("%s, with a forged proof: %v", c.what, wrong)
		}
	}
}

// conspire returns a function that makes a perfect bundle for any leaf: a tree of
// one entry and its seal, signed by the log and cosigned by all witnesses.
func (e *evidence) conspire(t *testing.T) func(leaf []byte) []byte {
	t.Helper()
	return func(leaf []byte) []byte { return e.site.conspiracy(t, leaf) }
}

// conspiracy returns a perfect bundle for any leaf.
func (s *site) conspiracy(t *testing.T, leaf []byte) []byte {
	t.Helper()
	tree := testlog.NewTree(leaf)
	tree.Seal()
	return tree.Bundle(0, 2, testlog.Sign(tree.Head(origin, 2), s.signers()...))
}

// signers sign as the log and as all its witnesses.
func (s *site) signers() []note.Signer {
	s.t.Helper()
	log, _, err := config.LogSigner(s.path("log.pem"), origin)
	fatalIf(s.t, err)
	signers := []note.Signer{log}
	for i := range s.witnesses {
		key, err := config.ReadKey(s.path(fmt.Sprintf("w%d.pem", i)))
		fatalIf(s.t, err)
		w, _, err := config.NewCosignatureSigner(key, witnessName(i))
		fatalIf(s.t, err)
		signers = append(signers, w)
	}
	return signers
}
