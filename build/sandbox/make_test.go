package sandbox

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

func TestTheArchivesAreThoseOfTheMachinesApt(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(dir, name)
		fatalIf(t, os.MkdirAll(filepath.Dir(file), 0o755))
		fatalIf(t, os.WriteFile(file, []byte(text), 0o644))
	}
	write("sources.list", "# deb http://old.example trixie main\ndeb [arch=amd64 signed-by=/k.gpg trusted=yes] http://one.example/debian trixie main contrib\n"+
		"deb http://one.example/debian trixie-backports main # no\ndeb-src http://one.example/debian trixie main\n")
	write("sources.list.d/two.sources", "Types: deb deb-src\n# a comment: of it\nURIs: http://two.example/a http://two.example/b\nSuites: trixie-updates other\n"+
		"Components: main\nSigned-By: /two.gpg\n\nTypes: deb\nURIs: http://three.example\nSuites: trixie-security\nComponents: main\nSigned-By:\n -----BEGIN KEY-----\n .\n\n"+
		"Enabled: no\nTypes: deb\nURIs: http://four.example\nSuites: trixie\nComponents: main\n\nTypes: deb-src\nURIs: http://five.example\nSuites: trixie\nComponents: main\n")
	write("sources.list.d/third.list", "deb https://third.example trixie tools\ndeb copy trixie main\ndeb http://one.example/debian trixie-security main\n")
	write("sources.list.d/left-out.save", "deb http://saved.example trixie main\n")
	own, err := readAptSources(dir)
	fatalIf(t, err)
	want := []string{
		"deb [signed-by=/k.gpg] http://one.example/debian trixie main",
		"deb http://one.example/debian trixie-security main",
		"deb [signed-by=/two.gpg] http://two.example/a trixie-updates main",
		"deb [signed-by=/two.gpg] http://two.example/b trixie-updates main",
		"deb http://three.example trixie-security main",
	}
	if got := forSuite(own, "trixie"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := forSuite(own, "sid"); len(got) != 0 {
		t.Errorf("for another suite: %q", got)
	}
	if none, err := readAptSources(t.TempDir()); err != nil || len(none) > 0 {
		t.Errorf("without apt: %v, %v", none, err)
	}
	if got := releaseName("NAME=\"Debian\"\nVERSION_CODENAME=\"trixie\"\nID=debian\n"); got != "trixie" {
		t.Errorf("the release is %q", got)
	}
}

// mmdebstrap puts a program of this name into PATH, which prints what a script says.
func mmdebstrap(t *testing.T, script string) {
	t.Helper()
	if runtime.GOOS == "windows" {
		fixture.Skip(t, "the program of this test is a shell script")
	}
	dir := t.TempDir()
	fatalIf(t, os.WriteFile(filepath.Join(dir, "mmdebstrap"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func TestAnEnvironmentIsMadeOfWhatMmdebstrapPrints(t *testing.T) {
	rootfs := filepath.Join(t.TempDir(), "rootfs.tar")
	fatalIf(t, os.WriteFile(rootfs, plainRootfs().tar(t), 0o644))
	args := filepath.Join(t.TempDir(), "args")
	mmdebstrap(t, `for a; do echo "$a"; done > `+args+`; echo "epoch $SOURCE_DATE_EPOCH" >> `+args+`
echo "I: one" >&2; echo "I: two" >&2; cat `+rootfs+"\n")
	var said []string
	cache := t.TempDir()
	keep := func(r io.Reader) (*Environment, error) { return KeepEnvironment(t.Context(), r, cache) }
	from := Source{Suite: "trixie", Mirror: "http://snapshot.example/debian"}
	e, err := MakeEnvironment(t.Context(), from, func(line string) { said = append(said, line) }, keep)
	fatalIf(t, err)
	if want := imported(t, plainRootfs().tar(t)).ID; e.ID != want || e.Dir != KeptEnvironment(cache, want) {
		t.Errorf("%x at %s, want %x", e.ID, e.Dir, want)
	}
	if !slices.Equal(said, []string{"I: one", "I: two"}) {
		t.Errorf("it says %q", said)
	}
	got, err := os.ReadFile(args)
	fatalIf(t, err)
	for _, want := range []string{"--variant=essential\n", "--include=gcc,libc6-dev,make\n", "/usr/share/doc/*\n", "epoch 1767225600\n",
		"\ntrixie\n-\nhttp://snapshot.example/debian\n", "etc/machine-id"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("its arguments lack %q:\n%s", want, got)
		}
	}
}

func TestWhatMmdebstrapDidNotFinishIsNotKept(t *testing.T) {
	rootfs := filepath.Join(t.TempDir(), "rootfs.tar")
	fatalIf(t, os.WriteFile(rootfs, plainRootfs().tar(t), 0o644))
	cache := t.TempDir()
	keep := func(r io.Reader) (*Environment, error) { return KeepEnvironment(t.Context(), r, cache) }
	from := Source{Suite: "trixie", Mirror: "http://snapshot.example/debian"}
	for script, want := range map[string]string{
		"cat " + rootfs + "; echo 'E: a package is missing' >&2; exit 1": "a package is missing",
		"head -c 2048 " + rootfs:     "it has been cut",
		"echo 'E: no network' >&2":   "is it a tar file",
		"exit 3":                     "exit status 3",
		"cat " + rootfs + "; echo x": "behind the end",
	} {
		mmdebstrap(t, script+"\n")
		_, err := MakeEnvironment(t.Context(), from, nil, keep)
		refused(t, err, want)
	}
	if ids, err := KeptEnvironments(cache); err != nil || len(ids) > 0 {
		t.Errorf("kept are %x (%v)", ids, err)
	}
}

func TestASourceThatIsNotOneIsRefused(t *testing.T) {
	mmdebstrap(t, "exit 0\n")
	for what, from := range map[string]Source{
		"a suite that is an option":  {Suite: "--simulate", Mirror: "http://x.example"},
		"a suite with a path":        {Suite: "a/b", Mirror: "http://x.example"},
		"a mirror that is an option": {Suite: "trixie", Mirror: "--simulate"},
		"a mirror of two lines":      {Suite: "trixie", Mirror: "http://x.example\ndeb http://y.example trixie main"},
		"a suite nobody has":         {Suite: "no-such-suite"},
	} {
		if _, err := from.arguments(); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	t.Setenv("PATH", t.TempDir())
	_, err := MakeEnvironment(t.Context(), Source{}, nil, nil)
	var r *Refused
	if !errors.As(err, &r) || !strings.Contains(err.Error(), "apt-get install mmdebstrap") || !strings.Contains(err.Error(), "environment import") {
		t.Errorf("%v", err)
	}
}
