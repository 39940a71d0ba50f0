package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/prover/git"
)

// published are the packages of the repositories in the shared corpus, as they were
// published.
var published = []struct{ repository, name, version string }{
	{"itoa-1.0.18", "itoa", "1.0.18"},
	{"arrayref-0.3.9", "arrayref", "0.3.9"},
	{"serde-1.0.228", "serde", "1.0.228"},
	{"serde-1.0.228", "serde_core", "1.0.228"},
	{"serde-1.0.228", "serde_derive", "1.0.228"},
	{"prost-0.14.4", "prost", "0.14.4"},
	{"prost-0.14.4", "prost-derive", "0.14.4"},
	{"prost-0.14.4", "prost-types", "0.14.4"},
	{"prost-0.14.4", "prost-build", "0.14.4"},
	{"tokio-1.53.1", "tokio", "1.53.1"},
	{"wasm-bindgen-0.2.127", "wasm-bindgen", "0.2.127"},
	{"wasm-bindgen-0.2.127", "js-sys", "0.3.104"},
	{"wasm-bindgen-0.2.127", "web-sys", "0.3.104"},
}

// measureCorpus measures every published package of the corpus, each in a process of
// its own, so that each has its own peak of memory, and prints a table. What is
// missing is said and left out.
func measureCorpus(ctx context.Context, dir, corpus string) error {
	home, err := fetchPublished(ctx, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/prove: the published crates cannot be fetched, so only those are packaged whose files are here:", err)
	}
	fmt.Println("| crate | as | blocks | prove, all | peak memory |\n|---|---|---|---|---|")
	for _, p := range published {
		row := func(format string, a ...any) {
			fmt.Printf("| %s %s | %s |\n", p.name, p.version, fmt.Sprintf(format, a...))
		}
		bare, err := unpack(ctx, dir, corpus, p.repository)
		if errors.Is(err, fs.ErrNotExist) {
			row("left out: the repository is not in the corpus")
			continue
		} else if err != nil {
			return err
		}
		as, file := "published", ""
		if found, err := cargo.FindCached(home, p.name, p.version); home != "" && err == nil && len(found) > 0 {
			file = found[0]
		} else if file, err = packageCrate(ctx, dir, bare, p.name, p.version); err != nil {
			row("left out: it cannot be fetched, nor packaged: %s", firstLine(err.Error()))
			continue
		} else {
			as = "packaged"
		}
		values, err := measureOne(ctx, dir, file, bare)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			row("%s | refused: %s", as, firstLine(err.Error()))
			continue
		}
		row("%s | %s | %s | %s", as, values["blocks"], values["crate"], values["memory"])
	}
	return nil
}

// fetchPublished has cargo fetch the published crates, with the user's configuration
// of registries, and returns cargo's home.
func fetchPublished(ctx context.Context, dir string) (home string, err error) {
	if home, err = cargo.Home(); err != nil {
		return "", err
	}
	project := filepath.Join(dir, "fetch")
	var manifest strings.Builder
	manifest.WriteString("[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[dependencies]\n")
	for _, p := range published {
		fmt.Fprintf(&manifest, "%s = \"=%s\"\n", p.name, p.version)
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(project, "src"), 0o755),
		os.WriteFile(filepath.Join(project, "Cargo.toml"), []byte(manifest.String()), 0o644),
		os.WriteFile(filepath.Join(project, "src", "lib.rs"), nil, 0o644)); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := output(ctx, project, "cargo", "fetch", "--quiet"); err != nil {
		return "", err
	}
	return home, nil
}

// unpack unpacks a repository of the corpus, once.
func unpack(ctx context.Context, dir, corpus, name string) (bare string, err error) {
	bare = filepath.Join(dir, "corpus", name+".git")
	if _, err := os.Stat(bare); err == nil {
		return bare, nil
	}
	archive, err := filepath.Abs(filepath.Join(corpus, name+".git.tar.gz"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(archive); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(bare), 0o755); err != nil {
		return "", err
	}
	_, err = output(ctx, filepath.Dir(bare), "tar", "--no-same-owner", "-xzf", archive)
	return bare, err
}

// packageCrate packages a package of a repository that has its files.
func packageCrate(ctx context.Context, dir, bare, name, version string) (string, error) {
	checkout, target := bare+"-checkout", filepath.Join(dir, "target")
	if _, err := os.Stat(checkout); err != nil {
		if _, err := output(ctx, "", "git", "clone", "--quiet", bare, checkout); err != nil {
			return "", errors.Join(err, os.RemoveAll(checkout))
		}
	}
	if _, err := output(ctx, checkout, "cargo", "package", "--quiet", "--no-verify", "--exclude-lockfile", "--offline", "--package", name, "--target-dir", target); err != nil {
		return "", err
	}
	return filepath.Join(target, "package", name+"-"+version+".crate"), nil
}

var measured = regexp.MustCompile(`(?m)^(crate|blocks) (.+)$`)

// measureOne runs this program again, on one crate.
func measureOne(ctx context.Context, dir, file, bare string) (map[string]string, error) {
	out, err := os.CreateTemp(dir, "out-*")
	if err != nil {
		return nil, err
	}
	defer out.Close()
	memory, err := again(ctx, out, "-crate", file, "-repository", bare)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return nil, err
	}
	values := map[string]string{"memory": fmt.Sprintf("%d MiB", memory>>20)}
	for _, m := range measured.FindAllStringSubmatch(string(text), -1) {
		values[m[1]] = m[2]
	}
	return values, nil
}

// output returns what a program prints; its error holds what it said of one. git is not
// to see the user's settings.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = os.Environ()
	if name == "git" {
		cmd.Env = git.Environment(cmd.Env)
	}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s (%s %w)", firstLine(strings.TrimPrefix(said.String(), "bench/prove: ")), filepath.Base(name), err)
	}
	return out.String(), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
