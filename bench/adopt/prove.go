package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/cargo/backlog"
	"cratelog/internal/forge"
)

// place is where everything is: a project whose lock file names crates, cargo's home with them, and the
// repositories that they are from.
type place struct {
	dir, program, project, home string
	keys                        string // directory
	jobs                        int
	crates                      []madeCrate
}

const (
	version       = "1.0.0"
	perRepository = 5
	filesInCrate  = 82 // with which a crate takes about 56 blocks
	index         = "sparse+https://index.example/"
)

// environment is that of the programs: nothing of the user's, but the toolchains.
func (p *place) environment() []string {
	rustup := os.Getenv("RUSTUP_HOME")
	if user, err := os.UserHomeDir(); err == nil && rustup == "" {
		rustup = filepath.Join(user, ".rustup")
	}
	return append(os.Environ(), "RUSTUP_HOME="+rustup, "HOME="+p.dir, "CARGO_HOME="+p.home,
		"XDG_CACHE_HOME="+filepath.Join(p.dir, "cache"),
		"XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "no_proxy=127.0.0.1")
}

// make makes repositories, crates, lock file and mapping, and serves the repositories until ctx ends.
func (p *place) make(ctx context.Context, n int) error {
	cache, repos := filepath.Join(p.home, "registry", "cache", "a"), filepath.Join(p.dir, "git")
	for _, dir := range []string{cache, repos, filepath.Join(p.project, "src")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	url, err := serve(ctx, repos)
	if err != nil {
		return err
	}
	mapping, dependencies := "[repositories]\n", ""
	var names []string
	lock := "version = 4\n"
	for len(p.crates) < n {
		repo := fmt.Sprintf("r%d", len(p.crates)/perRepository)
		mapping += fmt.Sprintf("\"https://git.example/a/%s\" = \"%s/%s\"\n", repo, url, repo)
		made, err := makeRepository(ctx, filepath.Join(repos, repo), repo, len(p.crates), min(perRepository, n-len(p.crates)))
		if err != nil {
			return err
		}
		for _, c := range made {
			if err := os.WriteFile(filepath.Join(cache, c.name+"-"+version+".crate"), c.raw, 0o644); err != nil {
				return err
			}
			p.crates = append(p.crates, c)
			names = append(names, c.name)
			dependencies += fmt.Sprintf("%s = { version = \"=%s\", registry-index = %q }\n", c.name, version, index)
			lock += fmt.Sprintf("\n[[package]]\nname = %q\nversion = %q\nsource = %q\nchecksum = \"%x\"\n",
				c.name, version, index,
				sha256.Sum256(c.raw))
		}
	}
	lock += "\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"" +
		strings.Join(names, "\",\n \"") + "\",\n]\n"
	var all []error
	for name, text := range map[string]string{"Cargo.lock": lock, backlog.MapName: mapping, "src/lib.rs": "",
		"Cargo.toml": "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n" +
			"[dependencies]\n" + dependencies} {
		all = append(all, os.WriteFile(filepath.Join(p.project, filepath.FromSlash(name)), []byte(text), 0o644))
	}
	return errors.Join(all...)
}

// serve serves the repositories below a directory as git's own server does.
func serve(ctx context.Context, root string) (url string, err error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: &cgi.Handler{Path: git, Args: []string{"http-backend"}, Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + root,
			"GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=2", "GIT_CONFIG_KEY_0=uploadpack.allowFilter", "GIT_CONFIG_VALUE_0=true",
			"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*"}}}
	go s.Serve(listener)
	context.AfterFunc(ctx, func() { s.Close() })
	return "http://" + listener.Addr().String(), nil
}

type madeCrate struct {
	name   string
	raw    []byte
	commit [sha1.Size]byte
}

// makeRepository makes a bare repository with one commit, and the crates that were packaged from it.
func makeRepository(ctx context.Context, dir, repo string, first, n int) (made []madeCrate, err error) {
	git := func(input string, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	if _, err := git("", "init", "-q", "--bare", "--object-format=sha1", "-b", "main", dir); err != nil {
		return nil, err
	}
	var in strings.Builder
	in.WriteString("commit refs/heads/main\ncommitter a <a@a.example> 1700000000 +0000\ndata 2\nx\n\n")
	files := map[string][]forge.File{}
	for i := range n {
		name := fmt.Sprintf("crate-%03d", first+i)
		at := "crates/" + name
		manifest := fmt.Sprintf("[package]\nname = %q\nversion = %q\nedition = \"2021\"\n"+
			"repository = \"https://git.example/a/%s\"\n\n[lib]\nname = %q\n"+
			"path = \"src/lib.rs\"\n", name, version, repo, strings.ReplaceAll(name, "-", "_"))
		all := []forge.File{{Path: "Cargo.toml", Content: manifest}, {Path: "src/lib.rs", Content: "// " + name + "\n"}}
		for j := range filesInCrate {
			all = append(all, forge.File{Path: fmt.Sprintf("src/m%02d.rs", j),
				Content: fmt.Sprintf("fn f%d() {} // %s\n", j, name)})
		}
		for _, f := range all {
			fmt.Fprintf(&in, "M 100644 inline %s/%s\ndata %d\n%s\n", at, f.Path, len(f.Content), f.Content)
		}
		files[name] = all
	}
	if _, err := git(in.String(), "-C", dir, "fast-import", "--quiet"); err != nil {
		return nil, fmt.Errorf("git fast-import: %w", err)
	}
	commit, err := git("", "-C", dir, "rev-parse", "refs/heads/main")
	if err != nil {
		return nil, err
	}
	for name, all := range files {
		raw, err := forge.Pack(name, version, append(all, forge.File{Path: ".cargo_vcs_info.json", Content: fmt.Sprintf(
			"{\n  \"git\": {\n    \"sha1\": \"%s\"\n  },\n  \"path_in_vcs\": \"crates/%s\"\n}", commit, name)})...)
		if err != nil {
			return nil, err
		}
		id, err := hex.DecodeString(commit)
		if err != nil || len(id) != sha1.Size {
			return nil, fmt.Errorf("git rev-parse: %q", commit)
		}
		made = append(made, madeCrate{name, raw, [sha1.Size]byte(id)})
	}
	slices.SortFunc(made, func(a, b madeCrate) int { return strings.Compare(a.name, b.name) })
	return made, nil
}

func (p *place) work() string { return filepath.Join(p.dir, "proofs") }

// prove returns a command that proves; what it says goes to out.
func (p *place) prove(ctx context.Context, out *bytes.Buffer, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.program, append([]string{"prove", "--lock", "--dir", p.work(),
		"--jobs", fmt.Sprint(p.jobs),
		"--keys", p.keys}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.project, p.environment(), out, out
	return cmd
}

// entries returns what the work directory has, by name.
func (p *place) entries() map[string][32]byte {
	all := map[string][32]byte{}
	found, _ := filepath.Glob(filepath.Join(p.work(), "*.entry")) // the pattern is one
	for _, path := range found {
		if b, err := os.ReadFile(path); err == nil {
			all[filepath.Base(path)] = sha256.Sum256(b)
		}
	}
	return all
}

// measureProve proves all crates: one, so that the key is made and what was compiled is kept; half of the
// others, until the program is killed; and the rest.
func measureProve(ctx context.Context, p *place) error {
	var out bytes.Buffer
	say("making the proving key, if it is not there, and a proof")
	if err := p.prove(ctx, &out, "-p", p.crates[0].name).Run(); err != nil {
		return fmt.Errorf("prove --lock -p %s: %w\n%s", p.crates[0].name, err, &out)
	}
	say("proving %d crates", len(p.crates)-1)
	begin := time.Now()
	out.Reset()
	cmd := p.prove(ctx, &out)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for len(p.entries()) <= len(p.crates)/2 {
		select {
		case err := <-ended:
			return fmt.Errorf("prove --lock ended before it was killed: %v\n%s", err, &out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	<-ended
	before := p.entries()
	out.Reset()
	report := filepath.Join(p.dir, "report.json")
	if err := p.prove(ctx, &out, "--report", report).Run(); err != nil {
		return fmt.Errorf("prove --lock: %w\n%s", err, &out)
	}
	took, again := time.Since(begin), 0
	after := p.entries()
	for name, sum := range before {
		if after[name] != sum {
			again++
		}
	}
	r, err := backlog.ReadReport(report)
	if err != nil {
		return err
	}
	if r.Count(backlog.Proven) != len(p.crates) || len(after) != len(p.crates) {
		return fmt.Errorf("%d of %d crates were proven\n%s", r.Count(backlog.Proven), len(p.crates), &out)
	}
	fmt.Printf("prove_lock %.1f crates/min\n", float64(len(p.crates)-1)/took.Minutes())
	fmt.Printf("resumed_proofs %d\n", again)
	return nil
}
