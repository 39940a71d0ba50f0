package verdict

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
)

// Beside is the directory in a directory source, which cargo passes over, in which "cargo zkp
// vendor" keeps NAME-VERSION.crate, NAME-VERSION.tlog-proof and, if it was checked, NAME-VERSION.opening.
const Beside = ".cratelog"

// Locate finds what cargo has of the packages: archives and unpacked sources, and the lines
// of its index cache. It reads of these only the lines, and in a directory source Cargo.toml.
func (l *Lock) Locate(home string) error {
	vendored := map[string]map[string][]string{} // by directory source
	for i := range l.Wants {
		if l.Packages[i].Odd() != nil {
			continue // nothing can be looked for; if it must be proven, that will be said
		}
		w := &l.Wants[i]
		if w.Vendored == "" {
			if err := w.locate(home, l.files); err != nil {
				return err
			}
			continue
		}
		found, ok := vendored[w.Vendored]
		if !ok {
			var err error
			if found, err = cargo.FindVendored(w.Vendored); err != nil {
				return err
			}
			vendored[w.Vendored] = found
		}
		w.locateVendored(home, found[w.Name+" "+w.Version])
	}
	return nil
}

// locateVendored finds a package in a directory source, whose Cargo.toml counts for cargo, and
// no index. Its archive is needed only to compare: any that is the right one will do.
func (w *Want) locateVendored(home string, sources []string) {
	w.Path, w.Copies, w.Sources, w.Bundle = "", nil, sources, ""
	w.Indexed, w.Lines, w.Unread = false, nil, nil
	w.takeBeside(w.Vendored)
	if w.Path == "" {
		archives, _ := cargo.FindCached(home, w.Name, w.Version)
		for _, path := range archives {
			if raw, err := cargo.ReadCached(path); err == nil && sha256.Sum256(raw) == w.Checksum {
				w.Path = path
				return
			}
		}
	}
	if w.Path == "" && w.Demand.Status != policy.Required {
		w.Sources = nil // cargo compares them with their checksums
	}
}

// takeBeside takes what "cargo zkp vendor" keeps in a directory source, if it is there.
func (w *Want) takeBeside(dir string) {
	at := filepath.Join(dir, Beside, w.Name+"-"+w.Version)
	if _, err := os.Lstat(at + ".crate"); err == nil && w.Path == "" {
		w.Path = at + ".crate"
	}
	if _, err := os.Lstat(at + BundleExt); err == nil {
		w.Bundle = at + BundleExt
	}
}

// LocateFor finds what there is to make a directory source of, where a former one may be.
func (l *Lock) LocateFor(home, dir string) error {
	for i := range l.Wants {
		l.Wants[i].Vendored = ""
	}
	if err := l.Locate(home); err != nil {
		return err
	}
	for i := range l.Wants {
		l.Wants[i].Indexed = false // cargo will go by Cargo.toml
		l.Wants[i].takeBeside(dir)
	}
	return nil
}

func (w *Want) locate(home string, files bool) error {
	archives, err := cargo.FindCached(home, w.Name, w.Version)
	if err != nil {
		return err
	}
	sources, err := cargo.FindSources(home, w.Name, w.Version)
	if err != nil {
		return err
	}
	lines, err := cargo.IndexLines(home, w.Name, w.Version)
	w.Path, w.Copies, w.Sources = "", nil, nil
	w.keepLines(lines, err)
	for _, path := range archives {
		// SPEC: cargo downloads again over an archive of no bytes.
		if info, err := os.Stat(path); w.mayUse(lines, path, files) && (err != nil || info.Size() > 0) {
			w.Copies = append(w.Copies, path)
		}
	}
	if len(w.Copies) > 0 {
		w.Path, w.Copies = w.Copies[0], w.Copies[1:]
	}
	for _, dir := range sources {
		if w.mayUse(lines, dir, files) {
			w.Sources = append(w.Sources, dir)
		}
	}
	return nil
}

// keepLines keeps the lines that are about these bytes, or that cannot be read here: cargo may
// read them. It refuses to build with a lock file that has another checksum than the line.
func (w *Want) keepLines(lines []cargo.IndexLine, err error) {
	w.Lines, w.Unread = nil, err
	for _, l := range lines {
		if r, err := registry.ParseRelease(l.Line); err != nil || r.Checksum == w.Checksum {
			w.Lines = append(w.Lines, l)
		}
	}
}

// mayUse says whether cargo may build the package from what lies at a path, below one
// registry's directory. It does not if that registry's lines are about another crate of
// this name and version only, and another registry has it; nor from what cargo package leaves,
// whose registry has no host, unless there is one of files.
func (w *Want) mayUse(lines []cargo.IndexLine, path string, files bool) bool {
	dir := filepath.Base(filepath.Dir(path))
	if strings.HasPrefix(dir, "-") && !files {
		return false
	}
	of := func(l cargo.IndexLine) bool { return l.Dir == dir }
	return len(w.Lines) == 0 || slices.ContainsFunc(w.Lines, of) || !slices.ContainsFunc(lines, of)
}

// Missing returns the packages that must be proven or were unpacked, or all, that were not
// downloaded, or whose line of the index was not.
func (l *Lock) Missing(all bool) (missing []cargo.Package) {
	for i, w := range l.Wants {
		required := w.Demand.Status == policy.Required
		noArchive := w.Path == "" && (all || required || len(w.Sources) > 0)
		noLine := required && w.Indexed && len(w.Lines) == 0
		if w.Vendored == "" && (noArchive || noLine) {
			missing = append(missing, l.Packages[i])
		}
	}
	return missing
}

// KeepPresent forgets the packages of which cargo has nothing: if it wants them, it will
// have to download them. What cargo has of one that is odd cannot be told.
func (l *Lock) KeepPresent() {
	var wants []Want
	var packages []cargo.Package
	for i, w := range l.Wants {
		if w.Path != "" || len(w.Sources) > 0 || l.Packages[i].Odd() != nil && w.Demand.Status == policy.Required {
			wants, packages = append(wants, w), append(packages, l.Packages[i])
		}
	}
	l.Wants, l.Packages = wants, packages
}
