package entry

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/semver"
)

const (
	maxName    = 64
	maxVersion = 64
	maxPath    = 1024

	lockFile = "Cargo.lock"
)

func (e *Entry) validate() error {
	if err := validateStatement(e.Subject, e.Claim); err != nil {
		return err
	}
	return e.Proof.validate()
}

func validateStatement(s Subject, c Claim) error {
	if err := s.validate(); err != nil {
		return err
	}
	if c == nil {
		return errors.New("claim: there is none")
	}
	return c.validate()
}

func (s Subject) validate() error {
	if err := CheckRegistry(s.Registry); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if err := CheckName(s.Name); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	if err := CheckVersion(s.Version); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	return nil
}

func (s *Source) validate() error {
	if s == nil {
		return errors.New("claim: there is none")
	}
	if s.Path != "" {
		if err := CheckPath(s.Path); err != nil {
			return fmt.Errorf("claim: path: %w", err)
		}
	}
	links := make([]string, len(s.Links))
	for i, l := range s.Links {
		links[i] = l.Path
		if err := checkTarget(l); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		name  string
		paths []string
		max   int
	}{
		{"unproven", s.Unproven, maxUnproven},
		{"links", links, maxLinks},
		{"submodules", s.Submodules, maxModules},
		{"outside", s.Outside, maxOutside},
		{"executable", s.Executable, maxLost},
		{"crlf", s.CRLF, maxCRLF},
	} {
		if err := checkPaths(list.name, list.paths, list.max); err != nil {
			return err
		}
	}
	if err := s.checkAttributes(); err != nil {
		return err
	}
	if err := s.checkLock(); err != nil {
		return err
	}
	return s.Workspace.validate()
}

func (s *Source) checkLock() error {
	if s.Lock == nil {
		return nil
	}
	if !slices.Contains(s.Unproven, lockFile) {
		return fmt.Errorf("claim: lock: the commit's %s is named, but the .crate's is not listed as unproven", lockFile)
	}
	if s.Lock.Path != "" {
		if err := CheckPath(s.Lock.Path); err != nil {
			return fmt.Errorf("claim: lock: %w", err)
		}
	}
	return nil
}

func (s *Source) checkAttributes() error {
	if n := len(s.Attributes); n > maxAttributes {
		return fmt.Errorf("claim: attributes: lists %d files, more than %d", n, maxAttributes)
	}
	for i, a := range s.Attributes {
		if a.Path != "" {
			if err := CheckPath(a.Path); err != nil {
				return fmt.Errorf("claim: attributes: %w", err)
			}
		}
		if i > 0 && s.Attributes[i-1].Path >= a.Path {
			return fmt.Errorf("claim: attributes: %q does not come after %q; sort the paths as bytes and list each once",
				a.Path, s.Attributes[i-1].Path)
		}
		if n := len(a.Content); n < 1 || n > maxAttributesFile {
			return fmt.Errorf("claim: attributes: the .gitattributes of %q is %d bytes long, must be 1 to %d",
				a.Path, n, maxAttributesFile)
		}
	}
	return nil
}

func (w *Workspace) validate() error {
	if w == nil {
		return nil
	}
	if w.Path != "" {
		if err := CheckPath(w.Path); err != nil {
			return fmt.Errorf("claim: workspace: %w", err)
		}
	}
	if n := len(w.Manifest); n < 1 || n > MaxManifest {
		return fmt.Errorf("claim: workspace: the manifest is %d bytes long, must be 1 to %d", n, MaxManifest)
	}
	return nil
}

// checkPaths checks a list of paths: how many, each of them, and their order.
func checkPaths(name string, paths []string, most int) error {
	if len(paths) > most {
		return fmt.Errorf("claim: %s: lists %d files, more than %d", name, len(paths), most)
	}
	for i, p := range paths {
		if err := CheckPath(p); err != nil {
			return fmt.Errorf("claim: %s: %w", name, err)
		}
		if i > 0 && paths[i-1] >= p {
			return fmt.Errorf("claim: %s: %q does not come after %q; sort the paths as bytes and list each once", name, p, paths[i-1])
		}
	}
	return nil
}

func checkTarget(l Link) error {
	switch t := l.Target; {
	case len(t) < 1 || len(t) > maxPath:
		return fmt.Errorf("claim: links: the text of %q is %d bytes long, must be 1 to %d", l.Path, len(t), maxPath)
	case !utf8.ValidString(t) || strings.ContainsFunc(t, unicode.IsControl):
		return fmt.Errorf("claim: links: the text of %q is not UTF-8 without control characters", l.Path)
	}
	return nil
}

func (p Proof) validate() error {
	if n := len(p.Parts); n < 1 || n > maxParts {
		return fmt.Errorf("proof: has %d parts, must have 1 to %d", n, maxParts)
	}
	for i, part := range p.Parts {
		if len(part) < 1 || len(part) > maxPart {
			return fmt.Errorf("proof: part %d is %d bytes long, must be 1 to %d", i, len(part), maxPart)
		}
	}
	return nil
}

// CheckName checks a crate's name: 1 to 64 of A-Z a-z 0-9 _ -, the first a
// letter or _.
func CheckName(s string) error {
	if len(s) < 1 || len(s) > maxName {
		return fmt.Errorf("the crate name is %d bytes long, must be 1 to %d", len(s), maxName)
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || !isDigit(c) && c != '-') {
			return fmt.Errorf("the crate name %q must be letters, digits, '_' and '-' only, and start with a letter or '_'", s)
		}
	}
	return nil
}

// CheckVersion checks an exact version by Semantic Versioning 2.0:
// MAJOR.MINOR.PATCH[-pre.release][+build.metadata], at most 64 bytes. As cargo
// does, it holds the three numbers to 64 bits.
func CheckVersion(s string) error {
	if len(s) < 1 || len(s) > maxVersion {
		return fmt.Errorf("the version is %d bytes long, must be 1 to %d", len(s), maxVersion)
	}
	if !isVersion(s) {
		return fmt.Errorf("the version %q is not an exact version such as 1.2.3, 1.2.3-rc.1 or 1.2.3+build (semver 2.0)", s)
	}
	return nil
}

func isVersion(s string) bool {
	core, _, _ := strings.Cut(s, "+")
	core, _, _ = strings.Cut(core, "-")
	numbers := strings.Split(core, ".")
	for _, n := range numbers {
		if _, err := strconv.ParseUint(n, 10, 64); err != nil {
			return false
		}
	}
	return len(numbers) == 3 && semver.IsValid("v"+s) // which takes v1 and v1.2 as well
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// CheckPath checks a relative path with forward slashes: 1 to 1024 bytes of
// valid UTF-8 without control characters and backslashes, whose components are
// not empty, not "." and not ".."; so it neither starts nor ends with a slash.
func CheckPath(s string) error {
	if len(s) < 1 || len(s) > maxPath {
		return fmt.Errorf("a path is %d bytes long, must be 1 to %d", len(s), maxPath)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("the path %q is not valid UTF-8", s)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("the path %q contains a control character", s)
	}
	if strings.Contains(s, `\`) {
		return fmt.Errorf("the path %q contains a backslash; paths use '/' only", s)
	}
	for c := range strings.SplitSeq(s, "/") {
		switch c {
		case "":
			return fmt.Errorf("the path %q has an empty component: no slash may start, end or follow another", s)
		case ".", "..":
			return fmt.Errorf("the path %q has the component %q", s, c)
		}
	}
	return nil
}
