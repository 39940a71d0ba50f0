package verdict

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cratelog/cargo"
)

// line is the index line of hello-proof 0.1.0, with its dependencies, features and more.
func line(sum [32]byte, deps, features, more string) cargo.IndexLine {
	return cargo.IndexLine{Dir: "index.example-0123456789abcdef", Line: fmt.Appendf(nil, `{"name":"hello-proof",`+
		`"vers":"0.1.0","deps":[%s],"cksum":"%x","features":{%s}%s}`, deps, sum, features, more)}
}

const honest = `"default":["loud"],"loud":[]`

func TestTheIndexMustSayWhatCargoTomlSays(t *testing.T) {
	_, p, wants := hello(t, dev)
	w := wants[0]
	w.Indexed = true
	good := line(w.Checksum, "", honest, "")
	evil := `{"name":"evil","req":"^1","features":[],"optional":false,"default_features":true,"target":null,"kind":"normal"}`
	added := line(w.Checksum, evil, honest, "")
	newer := line(w.Checksum, "", honest, `,"v":3`)
	for name, c := range map[string]struct {
		lines  []cargo.IndexLine
		unread error
		status Status
		slug   string
		words  string
	}{
		"honest":                {[]cargo.IndexLine{good, good}, nil, Verified, "", ""},
		"a dependency is added": {[]cargo.IndexLine{added}, nil, Violation, "index-differs", `it adds the dependency "evil"`},
		"a feature is flipped": {[]cargo.IndexLine{line(w.Checksum, "", `"default":[],"loud":[]`, "")}, nil, Violation,
			"index-differs", `"default"`},
		"links":                          {[]cargo.IndexLine{line(w.Checksum, "", honest, `,"links":"z"`)}, nil, Violation, "index-differs", "links"},
		"one of several lies":            {[]cargo.IndexLine{good, newer, added}, nil, Violation, "index-differs", "evil"},
		"one of several is newer":        {[]cargo.IndexLine{newer, good}, nil, Unchecked, "index-not-seen", "version 3"},
		"none is seen":                   {nil, nil, Unchecked, "index-not-seen", "cargo fetch"},
		"one cannot be read":             {[]cargo.IndexLine{good}, errors.New("it is cut off"), Unchecked, "index-not-seen", "cut off"},
		"and another lies, all the same": {[]cargo.IndexLine{added}, errors.New("it is cut off"), Violation, "index-differs", "evil"},
	} {
		w.Lines, w.Unread = c.lines, c.unread
		for range 2 { // once out of the .crate, once remembered
			v := p.all(w)[0]
			if c.status == Verified {
				verified(t, []Verdict{v})
				if v.Facts != nil && len(v.Facts.Summary) != 2*32 {
					t.Errorf("%s: the facts hold %q", name, v.Facts.Summary)
				}
			} else {
				refused(t, v, c.status, c.slug, c.words)
			}
		}
		p.forget()
	}
	w.Indexed, w.Lines, w.Unread = false, nil, nil
	verified(t, p.all(w)) // of a directory, where cargo reads Cargo.toml
}

// Where there are hundreds, only their digests are read again.
func TestARememberedCrateIsNotUnpackedForItsLine(t *testing.T) {
	_, p, wants := hello(t, dev)
	w := wants[0]
	w.Indexed, w.Lines = true, []cargo.IndexLine{line(w.Checksum, "", honest, "")}
	verified(t, p.all(w))
	c := p.checker(true)
	var v Verdict
	it := c.newItem(w, &v)
	c.run(t.Context(), []*item{it}, nil)
	if v.Status != Verified || it.crate != nil || it.summary != "" {
		t.Errorf("%v, %v", v.Status, v.Err)
	}
}

func TestAYankedVersionIsNamed(t *testing.T) {
	_, p, wants := hello(t, dev)
	w := wants[0]
	w.Lines = []cargo.IndexLine{line(w.Checksum, "", honest, `,"yanked":true`)}
	v := p.all(w)
	verified(t, v)
	if len(v[0].Notes) != 1 || !strings.Contains(v[0].Notes[0], "yanked") {
		t.Errorf("%q", v[0].Notes)
	}
}

func TestOnlyWhatCargoMayUseIsFound(t *testing.T) {
	home := t.TempDir()
	w := Want{Name: "hello-proof", Version: "0.1.0", Checksum: [32]byte{1}}
	put := func(path, content string) {
		path = filepath.Join(home, "registry", filepath.FromSlash(path))
		fatalIf(t, os.MkdirAll(filepath.Dir(path), 0o755))
		fatalIf(t, os.WriteFile(path, []byte(content), 0o644))
	}
	index := func(dir string, sums ...[32]byte) {
		text := "\x03\x02\x00\x00\x00etag\x00"
		for _, sum := range sums {
			text += "0.1.0\x00" + string(line(sum, "", honest, "").Line) + "\x00"
		}
		put("index/"+dir+"/.cache/he/ll/hello-proof", text)
	}
	for _, dir := range []string{"a-1", "b-2", "c-3", "-4", "d-5"} {
		put("cache/"+dir+"/hello-proof-0.1.0.crate", "x")
		put("src/"+dir+"/hello-proof-0.1.0/Cargo.toml", "x")
	}
	index("b-2", [32]byte{2}) // another registry's crate of that name
	fatalIf(t, w.locate(home, false))
	if w.Path == "" || len(w.Copies) != 3 || len(w.Sources) != 4 {
		t.Errorf("where no index says otherwise, all count: %q, %q, %q", w.Path, w.Copies, w.Sources)
	}
	index("a-1", [32]byte{1})              // this crate
	index("c-3", [32]byte{2}, [32]byte{1}) // cargo takes the later line
	put("cache/d-5/hello-proof-0.1.0.crate", "")
	for local, want := range map[bool][2][]string{false: {{"a-1", "c-3"}, {"a-1", "c-3", "d-5"}},
		true: {{"-4", "a-1", "c-3"}, {"-4", "a-1", "c-3", "d-5"}}} {
		fatalIf(t, w.locate(home, local))
		archives, sources := append([]string{w.Path}, w.Copies...), slices.Clone(w.Sources)
		for _, list := range [][]string{archives, sources} {
			for i, p := range list {
				list[i] = filepath.Base(filepath.Dir(p))
			}
		}
		if !slices.Equal(archives, want[0]) || !slices.Equal(sources, want[1]) || len(w.Lines) != 2 || w.Unread != nil {
			t.Errorf("local %v: archives %q, sources %q, %d lines, %v", local, archives, sources, len(w.Lines), w.Unread)
		}
	}
}

// An editor's cargo may download at this moment.
func TestAnArchiveThatIsBeingWrittenIsNoTampering(t *testing.T) {
	_, p, wants := hello(t, dev)
	w := wants[0]
	raw := read(t, w.Path)
	fatalIf(t, os.WriteFile(w.Path, raw[:100], 0o600))
	var done sync.WaitGroup
	done.Go(func() {
		time.Sleep(writing / 3)
		if err := os.WriteFile(w.Path, raw, 0o600); err != nil {
			t.Error(err)
		}
	})
	verified(t, p.all(w))
	done.Wait()
}

func TestWhereCargoTakesCratesFromIsKnown(t *testing.T) {
	text := lockOf("app path sparse", "sparse "+corp)
	for _, c := range []struct {
		source   string
		files    bool
		vendored string
		complain string
	}{
		{`registry = "sparse+https://mirror.example/"`, false, "", ""},
		{`registry = "file:///mirror"`, true, "", ""},
		{`directory = "v"`, false, "v", ""},
		{`local-registry = "l"`, true, "", "local-registry source"},
	} {
		for _, require := range []string{"all", "none"} {
			ws := workspace(t, "")
			fatalIf(t, os.WriteFile(filepath.Join(ws.Root, ".cargo", "config"), fmt.Appendf(nil,
				"[source.c]\nregistry = %q\nreplace-with = \"m\"\n[source.m]\n%s\n", corp, c.source), 0o600))
			t.Chdir(ws.Root)
			l, err := NewLock(ws, newPlace(t, "[registry.\""+corp+"\"]\nrequire = \""+require+"\"\n").policy, text, nil, now)
			fatalIf(t, err)
			if c.vendored != "" {
				c.vendored = filepath.Join(ws.Root, "v")
			}
			said := strings.Join(l.Elsewhere, "\n")
			wanted := require == "all" && c.complain != ""
			if l.files != c.files || l.Wants[0].Vendored != c.vendored || wanted != strings.Contains(said, "local-registry source") {
				t.Errorf("%s, %s: files %v, vendored %q, %q", c.source, require, l.files, l.Wants[0].Vendored, said)
			}
		}
	}
	ws := workspace(t, "")
	elsewhere := t.TempDir()
	fatalIf(t, os.MkdirAll(filepath.Join(elsewhere, ".cargo"), 0o755))
	fatalIf(t, os.WriteFile(filepath.Join(elsewhere, ".cargo", "config.toml"), fmt.Appendf(nil,
		"[source.c]\nregistry = %q\nreplace-with = \"m\"\n[source.m]\ndirectory = \"v\"\n", corp), 0o600))
	t.Chdir(elsewhere)
	l, err := NewLock(ws, newPlace(t, "[registry.\""+corp+"\"]\nrequire = \"all\"\n").policy, text, nil, now)
	fatalIf(t, err)
	if said := strings.Join(l.Elsewhere, "\n"); !strings.Contains(said, "cargo takes crates from one place if it is called in") {
		t.Errorf("%q", said)
	}
}

// cargo may read what is not read here.
func TestALineThatCannotBeReadIsKept(t *testing.T) {
	w := Want{Checksum: [32]byte{1}}
	w.keepLines([]cargo.IndexLine{{Dir: "a", Line: []byte("{")},
		{Dir: "b", Line: []byte(`{"name":"a","vers":"1.0.0","cksum":"` + strings.Repeat("00", 32) + `"}`)}}, nil)
	if len(w.Lines) != 1 || w.Lines[0].Dir != "a" {
		t.Errorf("kept %v", w.Lines)
	}
}
