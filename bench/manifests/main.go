// Command manifests measures on real crates how many Cargo.toml follow from their
// Cargo.toml.orig, and how many index lines say what these Cargo.toml say: go run
// ./bench/manifests DIR, where DIR holds .crate files at any depth. Index lines are compared if
// DIR is a cargo home, after cargo fetch with CARGO_HOME=DIR. A file NAME-VERSION.root.toml in
// ROOTS, the optional second argument, is the manifest of the workspace of NAME-VERSION.crate.
package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cratelog/cargo"
	"cratelog/cargo/registry"
	"cratelog/crate"
	"cratelog/crate/manifest"
	"cratelog/entry"
	"cratelog/internal/forge"
)

func main() {
	if len(os.Args) != 2 && len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: manifests DIR [ROOTS]")
		os.Exit(2)
	}
	if err := run(os.Args[1], strings.Join(os.Args[2:], "")); err != nil {
		fmt.Fprintln(os.Stderr, "bench/manifests:", err)
		os.Exit(1)
	}
}

// A tally counts crates by what became of their manifests.
type tally struct {
	home, roots string

	total, noOrig       int
	inheriting          int // of total, need their workspace
	resolver            int // of inheriting, only because their workspace sets the resolver
	rooted, rootDerived int // of inheriting, had a root; derived with it
	derived             int // of total, without those inheriting
	attacked            int // of derived, refused once a dependency was added to Cargo.toml
	refused             int // by crate.ReadFile
	lines, linesAgree   int // index lines seen of crates, and those that say what Cargo.toml says
	others, refusals    []string
	deviations          []string
}

func run(dir, roots string) error {
	t := tally{home: dir, roots: roots}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".crate" {
			return err
		}
		return t.add(p)
	})
	if err != nil {
		return err
	}
	if t.total == 0 {
		return fmt.Errorf("no .crate file with a Cargo.toml.orig below %s", dir)
	}
	t.print()
	return nil
}

func (t *tally) print() {
	own := t.total - t.inheriting
	fmt.Printf("manifests_total %d crates\n", t.total)
	fmt.Printf("manifests_without_orig %d crates\n", t.noOrig)
	fmt.Printf("manifests_inheriting %d crates\n", t.inheriting)
	fmt.Printf("manifests_inheriting_resolver_only %d crates\n", t.resolver)
	fmt.Printf("manifests_inheriting_with_root %d crates\n", t.rooted)
	fmt.Printf("manifests_inheriting_with_root_derived %d crates\n", t.rootDerived)
	fmt.Printf("manifests_derived %.2f percent\n", 100*float64(t.derived)/float64(max(own, 1)))
	fmt.Printf("manifests_attacked_refused %d of %d crates\n", t.attacked, t.derived)
	fmt.Printf("manifests_not_derived %d crates\n", len(t.others))
	fmt.Printf("crates_refused_by_reader %d crates\n", t.refused)
	if t.lines > 0 {
		fmt.Printf("index_lines %d lines\n", t.lines)
		fmt.Printf("index_lines_agree %.2f percent\n", 100*float64(t.linesAgree)/float64(t.lines))
	}
	for _, s := range t.deviations {
		fmt.Println("index line deviates:", s)
	}
	for _, s := range t.others {
		fmt.Println("not derived:", s)
	}
	for _, s := range t.refusals {
		fmt.Println("refused by the reader:", s)
	}
}

// add derives one crate's manifest.
func (t *tally) add(p string) error {
	name := strings.TrimSuffix(filepath.Base(p), ".crate")
	files, contents, sum, err := unpack(p)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := t.compareLines(name, sum, contents["Cargo.toml"]); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := crate.ReadFile(p, crate.DefaultLimits); err != nil {
		t.refused++
		t.refusals = append(t.refusals, name+": "+strings.TrimPrefix(err.Error(), p+": "))
	}
	orig, ok := contents["Cargo.toml.orig"]
	if !ok {
		t.noOrig++
		return nil
	}
	t.total++
	inherits, err := manifest.Inherits(orig)
	if err != nil {
		t.others = append(t.others, name+": "+err.Error())
		return nil
	}
	err = manifest.Derive(orig, contents["Cargo.toml"], files, nil)
	switch {
	case errors.Is(err, manifest.ErrNeedsWorkspace):
		t.inheriting++
		if !inherits {
			t.resolver++
		}
		return t.withRoot(name, orig, contents["Cargo.toml"], files)
	case err != nil:
		t.others = append(t.others, name+": "+err.Error())
	default:
		t.derived++
		t.attack(name, orig, contents["Cargo.toml"], files)
	}
	return nil
}

// attack does to a crate that derives what was done to arrayref: it adds a dependency to
// Cargo.toml only. That must be refused, for this reason.
func (t *tally) attack(name string, orig, normalized []byte, files []string) {
	evil := append(normalized, "\n[dependencies.proc-macro1]\nversion = \"1.0\"\n"...)
	var d *manifest.Deviation
	if err := manifest.Derive(orig, evil, files, nil); !errors.As(err, &d) || d.Key != "dependencies.proc-macro1" || len(d.More) > 0 {
		t.others = append(t.others, fmt.Sprintf("%s: with one dependency more: %v", name, err))
		return
	}
	t.attacked++
}

// withRoot derives the manifest of a crate that needs its workspace's, if it is there.
func (t *tally) withRoot(name string, orig, normalized []byte, files []string) error {
	if t.roots == "" {
		return nil
	}
	root, err := os.ReadFile(filepath.Join(t.roots, name+".root.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	t.rooted++
	if err := manifest.Derive(orig, normalized, files, root); err != nil {
		t.others = append(t.others, name+": "+err.Error())
		return nil
	}
	t.rootDerived++
	return nil
}

// compareLines compares the index lines of a crate, NAME-VERSION, with its Cargo.toml.
func (t *tally) compareLines(crateName string, sum [32]byte, cargoToml []byte) error {
	for i, c := range crateName {
		name, version := crateName[:i], strings.TrimPrefix(crateName[i:], "-")
		if c != '-' || entry.CheckName(name) != nil || entry.CheckVersion(version) != nil {
			continue
		}
		lines, err := cargo.IndexLines(t.home, name, version)
		if err != nil {
			return err
		}
		for _, l := range lines {
			r, err := registry.ParseRelease(l.Line)
			if err != nil || r.Checksum != sum {
				continue // another registry's
			}
			t.lines++
			said, err1 := r.Summary("")
			proven, err2 := registry.ManifestSummary(cargoToml)
			if err := errors.Join(err1, err2); err != nil {
				t.deviations = append(t.deviations, crateName+": "+err.Error())
			} else if diff := said.Diff(proven); diff != "" {
				t.deviations = append(t.deviations, crateName+": "+diff)
			} else {
				t.linesAgree++
			}
		}
	}
	return nil
}

// unpack reads a .crate's file names and its manifests, without any of the checks that crate.Read
// makes, so that also a crate that is refused there is counted.
func unpack(p string) (files []string, contents map[string][]byte, sum [32]byte, err error) {
	raw, err := os.ReadFile(p)
	if err != nil {
		return nil, nil, sum, err
	}
	contents = map[string][]byte{}
	_, err = forge.Repack(raw, func(name string, content []byte) (string, []byte) {
		if _, name, _ = strings.Cut(name, "/"); name == "Cargo.toml" || name == "Cargo.toml.orig" {
			contents[name] = content
		}
		files = append(files, name)
		return "", nil
	})
	return files, contents, sha256.Sum256(raw), err
}
