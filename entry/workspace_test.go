package entry

import (
	"bytes"
	"compress/flate"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// deflated compresses with any level, 0 for none: other streams of the same bytes.
func deflated(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := flate.NewWriter(&out, level)
	fatalIf(t, err)
	_, err = z.Write(b)
	fatalIf(t, err)
	fatalIf(t, z.Close())
	return out.Bytes()
}

// carrying returns the bytes of an entry that carries a stream, whatever it is.
func carrying(t testing.TB, stream []byte) []byte {
	t.Helper()
	e := sample()
	c := e.Claim.(*Source)
	c.Workspace = &Workspace{Path: "w", Manifest: []byte("x")}
	w := c.asWire()
	w.Workspace.Manifest = stream
	claim, err := encMode.Marshal(w)
	fatalIf(t, err)
	subject, err := encMode.Marshal(e.Subject.wire())
	fatalIf(t, err)
	proof, err := encMode.Marshal(e.Proof.wire())
	fatalIf(t, err)
	return item(1, 2, 2, cbor.RawMessage(subject), 3, cbor.RawMessage(claim), 4, cbor.RawMessage(proof))
}

// TestOneClaimHasOneIdentityHoweverItsManifestIsDeflated, and each entry keeps its own bytes.
func TestOneClaimHasOneIdentityHoweverItsManifestIsDeflated(t *testing.T) {
	manifest := []byte(strings.Repeat("[workspace]\n", 1000))
	made := sample()
	made.Claim.(*Source).Workspace = &Workspace{Path: "w", Manifest: manifest}
	id, err := made.Identity()
	fatalIf(t, err)
	context, err := Context(made.Subject, made.Claim)
	fatalIf(t, err)
	seen := map[string]bool{}
	for _, level := range []int{flate.NoCompression, flate.BestSpeed, flate.BestCompression, flate.HuffmanOnly} {
		b := carrying(t, deflated(t, manifest, level))
		e, err := Parse(b)
		fatalIf(t, err)
		if !bytes.Equal(e.Claim.(*Source).Workspace.Manifest, manifest) {
			t.Errorf("level %d: another manifest", level)
		}
		if again, err := e.Marshal(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("level %d: the entry's bytes are not kept (%v)", level, err)
		}
		if got, err := e.Identity(); err != nil || got != id {
			t.Errorf("level %d: another identity (%v)", level, err)
		}
		if got, err := Context(e.Subject, e.Claim); err != nil || got != context {
			t.Errorf("level %d: another context (%v)", level, err)
		}
		seen[string(b)] = true
		// What is changed is not what was parsed.
		e.Claim.(*Source).Workspace.Manifest = append(bytes.Clone(manifest), '\n')
		b, err = e.Marshal()
		fatalIf(t, err)
		changed, err := Parse(b)
		fatalIf(t, err)
		if got := changed.Claim.(*Source).Workspace.Manifest; len(got) != len(manifest)+1 {
			t.Errorf("level %d: the manifest of %d bytes is written, not the changed one", level, len(got))
		}
		if got, err := changed.Identity(); err != nil || got == id {
			t.Errorf("level %d: another manifest has the same identity (%v)", level, err)
		}
	}
	if len(seen) < 3 {
		t.Errorf("%d streams were tried", len(seen))
	}
}

func TestStreamsThatAreNoManifestAreRefused(t *testing.T) {
	good := deflated(t, []byte("[workspace]\n"), flate.BestCompression)
	bomb := deflated(t, make([]byte, 40<<20), flate.BestCompression) // 40 kB
	for name, c := range map[string]struct {
		stream []byte
		want   string
	}{
		"a byte behind":   {append(bytes.Clone(good), 0), "claim: workspace: 1 bytes follow the deflated manifest"},
		"two streams":     {append(bytes.Clone(good), good...), "bytes follow the deflated manifest"},
		"cut off":         {good[:len(good)-1], "claim: workspace: the manifest is no stream of DEFLATE"},
		"plain text":      {[]byte("[workspace]\n"), "claim: workspace: the manifest is no stream of DEFLATE"},
		"nothing":         {nil, "claim: workspace: the deflated manifest is 0 bytes long"},
		"of nothing":      {deflated(t, nil, flate.BestCompression), "claim: workspace: the manifest is 0 bytes long"},
		"a bomb":          {bomb, "claim: workspace: the manifest has more than 1048576 bytes"},
		"one byte above":  {deflated(t, make([]byte, MaxManifest+1), flate.BestCompression), "claim: workspace: the manifest has more than 1048576 bytes"},
		"too long":        {deflated(t, noise(49152), flate.NoCompression), "claim: workspace: the deflated manifest is 49162 bytes long, must be 1 to 49152"},
		"zlib, not plain": {append([]byte{0x78, 0x9c}, good...), "claim: workspace: "},
	} {
		_, err := Parse(carrying(t, c.stream))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := Parse(carrying(t, deflated(t, make([]byte, MaxManifest), flate.BestCompression))); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

func FuzzInflate(f *testing.F) {
	f.Add([]byte("[workspace]\n"))
	f.Add(deflated(f, []byte("[workspace]\n"), flate.BestCompression))
	f.Fuzz(func(t *testing.T, stream []byte) {
		manifest, err := inflate(stream)
		if err != nil {
			return
		}
		e, err := Parse(carrying(t, stream)) // which compares the bytes
		switch {
		case len(manifest) == 0 && err != nil:
		case err != nil:
			t.Fatalf("%x is not kept: %v", stream, err)
		case !bytes.Equal(e.Claim.(*Source).Workspace.Manifest, manifest):
			t.Fatalf("%x: another manifest", stream)
		}
	})
}

func TestARegistryHasOneName(t *testing.T) {
	for index, want := range map[string]string{
		"":                                     DefaultRegistry,
		"sparse+https://Index.Example/Crates/": "https://index.example/Crates",
		"registry+HTTPS://index.example/Crates//": "https://index.example/Crates",
		"https://index.example":                   "https://index.example",
		"ssh://git@Git.Example:22/A/b.git":        "ssh://git@git.example:22/A/b.git",
		"ssh://Git@git.example/a":                 "ssh://Git@git.example/a",
		"file:///Srv/index":                       "file:///Srv/index",
		"File:///Srv/index":                       "file:///Srv/index",
		"https://index.example/a?b=C":             "https://index.example/a?b=C",
		"https://index.EXAMPLE?b=C":               "https://index.example?b=C",
		"https://index.example:443/a":             "https://index.example/a",
		"sparse+HTTPS://u@index.example:443":      "https://u@index.example",
		"https://index.example:/a":                "https://index.example/a",
		"http://index.example:80/":                "http://index.example",
		"https://index.example:80/a":              "https://index.example:80/a",
		"https://[::443]:443/a":                   "https://[::443]/a",
	} {
		got := Registry(index)
		if got != want {
			t.Errorf("%q: %q, want %q", index, got, want)
		}
		if err := CheckRegistry(got); err != nil {
			t.Errorf("%q: %v", got, err)
		}
		if again := Registry(got); got != DefaultRegistry && again != got {
			t.Errorf("%q becomes %q", got, again)
		}
	}
	t.Setenv("GODEBUG", "urlstrictcolons=0") // as an older parser
	for _, s := range []string{"", "Default", "default/", "crates", "index.example", "//index.example", "sparse+https://index.example", "registry+https://x.example",
		"https://index.example/", "https://Index.example", "HTTPS://index.example", "https://u:p@index.example", "https://index.example#x", "https://index.example/a b",
		"https://index.example/é", "https://index.example/\x00", "mailto:a@b.example",
		"https://[1.2.3.4]", "https://[v1.x]/a", "https://[a]/b", "https://a:b:80/c", "https://a%2eexample", "https://a:/b", "https://a:port", "https://a\\b", "https://a'b@c.example",
		"https://index.example:443", "http://index.example:80/a", "https://index.example:",
		"https://index.example/a/../b", "https://index.example/./a", "https://index.example/a/..", "https://index.example/a/.%2E/b",
		"https://" + strings.Repeat("a", 1020) + ".example"} {
		if CheckRegistry(s) == nil {
			t.Errorf("%q is believed", s)
		}
	}
}

// FuzzRegistry: what CheckRegistry accepts is a fixed point, so that no registry has two names.
func FuzzRegistry(f *testing.F) {
	f.Add("sparse+https://Index.Example/Crates/")
	f.Add("https://a:b@c.example/?#")
	f.Fuzz(func(t *testing.T, s string) {
		if one := Registry(s); CheckRegistry(one) == nil && one != DefaultRegistry && Registry(one) != one {
			t.Errorf("%q becomes %q, and that %q", s, one, Registry(one))
		}
		if CheckRegistry(s) == nil && s != DefaultRegistry && Registry(s) != s {
			t.Errorf("%q is accepted, and is %q", s, Registry(s))
		}
	})
}
