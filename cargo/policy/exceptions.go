package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cratelog/config"
	"cratelog/internal/durable"
)

// ExceptionsName is how "cargo zkp init --from-lock" names the file of exceptions beside zkp.toml.
const ExceptionsName = "zkp-exceptions.toml"

// maxGenerated is how many exceptions a file of them has at most.
const maxGenerated = 3000

const exceptionsHeader = `# Crates that need no proof yet. "cargo zkp init --from-lock" makes this file and "cargo zkp prune" writes it
# anew, without comments: exceptions with reasons of your own belong under [[exception]] in zkp.toml.
`

// Exceptions are those of a file of their own, which zkp.toml names: generated, one line a crate, all
// until the same day. Its TOML:
//
//	version = 1                    # of this format
//	expires = "2027-01-31"         # the last day on which they count, in UTC
//	exceptions = [
//	  { crate = "x", version = "1.2.3", reason = "..." },
//	  { crate = "y", version = "1.0.0", registry = "sparse+https://registry.example/index/", reason = "..." },
//	]
//
// Readers take any TOML that says so, with each version of a crate of a registry at most once.
type Exceptions struct {
	Expires Date
	List    []Exception // whose Expires is that; their versions are exact
}

type exceptionsFile struct {
	Version    int             `toml:"version"`
	Expires    string          `toml:"expires"`
	Exceptions []generatedFile `toml:"exceptions"`
}

type generatedFile struct {
	Crate    string `toml:"crate"`
	Version  string `toml:"version"`
	Registry string `toml:"registry"`
	Reason   string `toml:"reason"`
}

// ReadExceptions reads a file of exceptions. Errors name the file and the key, all of them at once.
func ReadExceptions(path string) (*Exceptions, error) {
	var f exceptionsFile
	if err := config.LoadTOML(path, &f); err != nil {
		return nil, err
	}
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: key %q: %s", path, key, fmt.Sprintf(format, args...)))
	}
	if f.Version != fileVersion {
		wrong("version", "is %d; it must be %d", f.Version, fileVersion)
	}
	x := &Exceptions{}
	var err error
	if x.Expires, err = ParseDate(f.Expires); err != nil {
		wrong("expires", "%v", err)
	}
	if len(f.Exceptions) > maxGenerated {
		wrong("exceptions", "has %d items, at most %d are read", len(f.Exceptions), maxGenerated)
		return nil, errors.Join(errs...)
	}
	seen := map[string]bool{}
	for i, g := range f.Exceptions {
		at := "exceptions[" + strconv.Itoa(i+1) + "]."
		if g.Version == "" {
			wrong(at+"version", "is missing; give one exact version")
		}
		e, ok := checkException(at, exceptionFile{g.Crate, g.Version, g.Registry, g.Reason, "2000-01-01"}, wrong)
		if !ok {
			continue
		}
		e.Expires, e.File = x.Expires, path
		if seen[e.String()] {
			wrong(at+"crate", "%s is there twice", e)
		}
		seen[e.String()] = true
		x.List = append(x.List, e)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return x, nil
}

// Format returns the one form in which the file is written: sorted by crate, version and registry. What
// is not one line of text in a reason is made a space.
func (x *Exceptions) Format() []byte {
	list := slices.Clone(x.List)
	slices.SortFunc(list, func(a, b Exception) int {
		return cmp.Or(strings.Compare(a.Crate, b.Crate), strings.Compare(a.Version, b.Version),
			strings.Compare(a.Registry, b.Registry))
	})
	var b bytes.Buffer
	fmt.Fprintf(&b, "%sversion = %d\nexpires = %q\nexceptions = [\n", exceptionsHeader, fileVersion, x.Expires)
	for _, e := range list {
		registry := ""
		if e.Registry != "" {
			registry = ", registry = " + quote(e.Registry)
		}
		fmt.Fprintf(&b, "  { crate = %s, version = %s%s, reason = %s },\n", quote(e.Crate), quote(e.Version), registry,
			quote(e.Reason))
	}
	b.WriteString("]\n")
	return b.Bytes()
}

// quote writes a string as TOML does.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Write writes the file at a path. One that is there is written over only if it is what Format made of
// it, or force says so: what a person wrote into it would be lost.
func (x *Exceptions) Write(path string, force bool) error {
	if len(x.List) > maxGenerated {
		return fmt.Errorf("%d exceptions are more than the %d that such a file may have; let fewer crates be required",
			len(x.List), maxGenerated)
	}
	if force {
		return durable.Write(path, x.Format(), 0o644)
	}
	old, err := durable.Read(path, config.MaxTOML)
	if err != nil {
		return durable.WriteNew(path, x.Format(), 0o644)
	}
	was, err := ReadExceptions(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")), was.Format()) {
		return fmt.Errorf("%s was changed by hand: what is not an exception in it would be lost\n"+
			"move what was added to [[exception]] in zkp.toml, or pass --force", path)
	}
	return durable.Write(path, x.Format(), 0o644)
}

// loadExceptions reads the file of exceptions that zkp.toml names.
func (p *Policy) loadExceptions(f *file) error {
	if f.Exceptions == "" {
		return nil
	}
	p.ExceptionsPath = f.below([]string{f.Exceptions})[0]
	if f.without {
		return nil
	}
	x, err := ReadExceptions(p.ExceptionsPath)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("exceptions names a file that does not exist: %w\ncorrect the name, have \"cargo zkp init "+
			"--from-lock\" write it, or remove the key", err)
	} else if err != nil {
		return fmt.Errorf("exceptions: %w", err)
	}
	p.Exceptions = append(slices.Clip(p.Exceptions), x.List...)
	return nil
}

// Soon is how long before its end an exception is warned of.
const Soon = 14 * 24 * time.Hour

// Soon says that the day is not over, and will be within Soon.
func (d Date) Soon(now time.Time) bool { return !d.Past(now) && d.Past(now.Add(Soon)) }

// Before says that d ends earlier.
func (d Date) Before(other Date) bool { return d.day.Before(other.day) }

// DateIn returns the day on which an age from now is over.
func DateIn(now time.Time, age time.Duration) Date {
	return Date{now.UTC().Add(age).Truncate(24 * time.Hour)}
}

// Covers says whether an exception is about a package, whether or not it has ended.
func (e Exception) Covers(p Package) bool { return e.covers(p, indexOf(p.Registry)) }

// Except makes an exception for a package.
func Except(p Package, reason string, expires Date) Exception {
	return Exception{Crate: p.Name, Version: p.Version, Registry: indexOf(p.Registry), Reason: reason, Expires: expires}
}

// An Initial is what the first zkp.toml of a workspace says. It is Template with other settings.
type Initial struct {
	RequireAll  bool
	Trust       []string // files, relative to zkp.toml
	Programs    []string // likewise
	Development bool
	Exceptions  string   // file of exceptions, likewise; "" for none
	Git         []string // canonical URLs of repositories whose packages need no proof
}

// Text returns the zkp.toml.
func (i Initial) Text() string {
	text := Template
	set := func(line, with string) {
		before, after, ok := strings.Cut("\n"+text, "\n"+line+"\n")
		if !ok {
			panic("the template has no line " + line)
		}
		text = strings.TrimPrefix(before+"\n"+with+"\n"+after, "\n")
	}
	if i.RequireAll {
		set(`require = "none"`, `require = "all"`)
	}
	if len(i.Trust) > 0 {
		set(`#trust = ["trust.policy"]`, "trust = "+list(i.Trust))
	}
	if len(i.Programs) > 0 {
		set(`#programs = ["our.program"]`, "programs = "+list(i.Programs))
	}
	if i.Development {
		set("#development = true", "development = true")
	}
	if i.Exceptions != "" {
		set(`#exceptions = "`+ExceptionsName+`"`, "exceptions = "+quote(filepath.ToSlash(i.Exceptions)))
	}
	if len(i.Git) > 0 {
		set("#[git]", "[git]")
		set(`#allow = ["https://git.example.com/our/parser"]`, "allow = "+list(i.Git))
	}
	return text
}

func list(items []string) string {
	var quoted []string
	for _, s := range items {
		quoted = append(quoted, quote(s))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
