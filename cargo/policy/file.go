package policy

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/client"
	"cratelog/config"
	"cratelog/entry"
)

const (
	fileVersion = 1

	maxList   = 4096      // items of any list in the file
	maxReason = 1000      // bytes
	maxDays   = 100 * 366 // of max-age
)

// file is zkp.toml as it is written.
type file struct {
	Version       int             `toml:"version"`
	Trust         []string        `toml:"trust"`
	Development   bool            `toml:"development"`
	Programs      []string        `toml:"programs"`
	MaxAge        string          `toml:"max-age"`
	Evidence      []string        `toml:"evidence"`
	Backed        []string        `toml:"registry-backed"`
	AllowUnproven []string        `toml:"allow-unproven"`
	LeftOut       string          `toml:"left-out"`
	CRLF          string          `toml:"crlf"`
	Opening       any             `toml:"opening"` // string or list of strings
	Trusted       string          `toml:"trusted-publishing"`
	Require       any             `toml:"require"` // string or list of strings
	Warn          any             `toml:"warn"`    // likewise
	Exceptions    string          `toml:"exceptions"`
	Git           gitFile         `toml:"git"`
	Exception     []exceptionFile `toml:"exception"`
	Allow         []allowFile     `toml:"allow"`
	Expect        []expectFile    `toml:"expect"`
	Builds        *buildsFile     `toml:"builds"`

	Registry map[string]registryFile `toml:"registry"`

	path       string
	without    bool // the file of exceptions is not read
	maxAge     time.Duration
	require    []Pattern
	warn       []Pattern
	openings   []Pattern
	evidence   []string
	git        []string
	registries map[string]*Registry
	exceptions []Exception
	allows     []Allow
	expects    []Expect
}

type exceptionFile struct {
	Crate    string `toml:"crate"`
	Version  string `toml:"version"`
	Registry string `toml:"registry"`
	Reason   string `toml:"reason"`
	Expires  string `toml:"expires"`
}

type allowFile struct {
	Crate    string   `toml:"crate"`
	Version  string   `toml:"version"`
	Registry string   `toml:"registry"`
	Unproven []string `toml:"unproven"`
	CRLF     bool     `toml:"crlf"`
	Without  bool     `toml:"without-opening"`
	Reason   string   `toml:"reason"`
	Expires  string   `toml:"expires"`
}

// crlf are the values of the key crlf.
var crlf = map[string]client.CRLF{"attributes": client.AttributedCRLF, "allow": client.AnyCRLF, "refuse": client.NoCRLF}

// complain is called with each mistake and the key that it is about.
type complain func(key, format string, args ...any)

func defaultFile(path string) *file {
	return &file{path: path, AllowUnproven: []string{"Cargo.lock"}, MaxAge: "0", Require: "none", Warn: "none",
		LeftOut: "warn", CRLF: "attributes", Opening: "optional", Trusted: "ignore"}
}

// readFile reads and checks zkp.toml itself, not the files that it names.
func readFile(path string) (*file, error) {
	f := defaultFile(path)
	if path == "" {
		return f, nil
	}
	// What the file says replaces a default; it is not added to it.
	f.AllowUnproven = nil
	if err := config.LoadTOML(path, f); err != nil {
		return nil, err
	}
	if f.AllowUnproven == nil {
		f.AllowUnproven = []string{"Cargo.lock"}
	}
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: key %q: %s", path, key, fmt.Sprintf(format, args...)))
	}
	f.check(wrong)
	return f, errors.Join(errs...)
}

// check reports every mistake in what is written, and takes it over.
func (f *file) check(wrong complain) {
	switch f.Version {
	case fileVersion:
	case 0:
		wrong("version", "is missing; write version = %d at the top", fileVersion)
	default:
		wrong("version", "is %d, this program knows version %d; a newer program may read this file", f.Version,
			fileVersion)
	}
	if f.Trust != nil && len(f.Trust) == 0 {
		wrong("trust", "is empty, so no log would be believed; name a file, or remove the key to use "+
			"those in your own configuration")
	}
	checkFiles("trust", f.Trust, wrong)
	checkFiles("programs", f.Programs, wrong)
	var err error
	if f.maxAge, err = ParseAge(f.MaxAge); err != nil {
		wrong("max-age", "%v", err)
	}
	checkPaths("allow-unproven", f.AllowUnproven, wrong)
	if f.LeftOut != "warn" && f.LeftOut != "refuse" {
		wrong("left-out", `is %q; it must be "warn" or "refuse"`, f.LeftOut)
	}
	if _, ok := crlf[f.CRLF]; !ok {
		wrong("crlf", `is %q; it must be "attributes", "allow" or "refuse"`, f.CRLF)
	}
	f.require = checkRequire("require", f.Require, wrong)
	f.warn = checkRequire("warn", f.Warn, wrong)
	f.openings = checkOpening(f.Opening, wrong)
	checkTrusted(f.Trusted, wrong)
	f.evidence = f.checkEvidence("evidence", f.Evidence, wrong)
	if len(f.Backed) > maxList || slices.Contains(f.Backed, "") {
		wrong("registry-backed", "must be at most %d origins of logs, none of them empty", maxList)
	}
	f.checkGit(wrong)
	f.checkRegistries(wrong)
	f.checkExpects(wrong)
	f.checkBuilds(wrong)
	for key, n := range map[string]int{"exception": len(f.Exception), "allow": len(f.Allow)} {
		if n > maxList {
			wrong(key, "has %d items, at most %d are read", n, maxList)
			return
		}
	}
	for i, e := range f.Exception {
		at := "exception[" + strconv.Itoa(i+1) + "]."
		if x, ok := checkException(at, e, wrong); ok {
			f.exceptions = append(f.exceptions, x)
		}
	}
	for i, a := range f.Allow {
		at := "allow[" + strconv.Itoa(i+1) + "]."
		if len(a.Unproven) == 0 && !a.CRLF && !a.Without {
			wrong(at+"unproven", "is missing; name the files that may be unproven, or write crlf = true or "+
				"without-opening = true")
		}
		checkPaths(at+"unproven", a.Unproven, wrong)
		if x, ok := checkException(at, exceptionFile{a.Crate, a.Version, a.Registry, a.Reason, a.Expires}, wrong); ok {
			f.allows = append(f.allows, Allow{x, a.Unproven, a.CRLF, a.Without})
		}
	}
}

func checkRequire(key string, require any, wrong complain) []Pattern {
	const want = `must be "none", "all", or a list such as ["serde", "tokio@1.50.0", "my-*"]`
	switch v := require.(type) {
	case string:
		switch v {
		case "all":
			return []Pattern{All}
		case "none":
		default:
			wrong(key, "is %q; it "+want, v)
		}
	case []any:
		var list []string
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				wrong(key, want)
				return nil
			}
			list = append(list, s)
		}
		return checkPatterns(key, list, wrong)
	default:
		wrong(key, want)
	}
	return nil
}

// checkCrate checks the name and the version of one crate, as the lock file names it.
func checkCrate(at, name, version string, wrong complain) {
	if name == "" {
		wrong(at+"crate", "is missing; name the crate")
	} else if err := entry.CheckName(name); err != nil {
		wrong(at+"crate", "%v; it takes one crate, exactly as the lock file names it", err)
	}
	if err := entry.CheckVersion(version); version != "" && err != nil {
		wrong(at+"version", "%v; give one exact version, or remove the key for every version", err)
	}
}

func checkException(at string, e exceptionFile, wrong complain) (Exception, bool) {
	ok := true
	bad := func(key, format string, args ...any) { ok = false; wrong(key, format, args...) }
	checkCrate(at, e.Crate, e.Version, bad)
	if e.Registry != "" && e.Registry != cargo.DefaultSource && !isURL(e.Registry) {
		bad(at+"registry", "%q is not the URL of an index; remove the key for cargo's default registry", e.Registry)
	}
	if strings.TrimSpace(e.Reason) == "" || len(e.Reason) > maxReason {
		bad(at+"reason", "must say why, in at most %d bytes: a person will read it when the exception ends", maxReason)
	}
	expires, err := ParseDate(e.Expires)
	if err != nil {
		bad(at+"expires", "%v", err)
	}
	return Exception{Crate: e.Crate, Version: e.Version, Registry: indexOf(e.Registry), Reason: e.Reason,
		Expires: expires}, ok
}

func checkFiles(key string, names []string, wrong complain) {
	if len(names) > maxList || slices.Contains(names, "") {
		wrong(key, "must be at most %d names of files, none of them empty", maxList)
	}
}

func checkPaths(key string, paths []string, wrong complain) {
	if len(paths) > maxList {
		wrong(key, "has %d items, at most %d are read", len(paths), maxList)
		return
	}
	for _, p := range paths {
		if err := entry.CheckPath(p); err != nil {
			wrong(key, "%q is not the path of a file in a crate: %v", p, err)
		}
	}
}

// below returns file names as zkp.toml means them: relative to its directory.
func (f *file) below(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = filepath.FromSlash(n)
		if !filepath.IsAbs(out[i]) {
			out[i] = filepath.Join(filepath.Dir(f.path), out[i])
		}
	}
	return out
}

// ParseAge reads a duration that is written in days ("30d") or as
// time.ParseDuration reads it ("36h"), at most a hundred years. "0" is any age.
func ParseAge(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 31)
		if err == nil && n <= maxDays && strconv.FormatUint(n, 10) == days {
			return time.Duration(n) * 24 * time.Hour, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 && d <= maxDays*24*time.Hour {
		return d, nil
	}
	return 0, fmt.Errorf(`%q is not an age; write it like "30d" or "36h", or "0" for any age`, s)
}

// Date is a day, written 2027-01-31.
type Date struct{ day time.Time } // its beginning, in UTC

// ParseDate reads a day in its one spelling.
func ParseDate(s string) (Date, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || t.Format(time.DateOnly) != s {
		return Date{}, fmt.Errorf(`%q is not a date; give the last day on which it counts, like "2027-01-31"`, s)
	}
	return Date{t}, nil
}

func (d Date) String() string { return d.day.Format(time.DateOnly) }

// Past says that the day is over, in UTC.
func (d Date) Past(now time.Time) bool { return !now.Before(d.day.AddDate(0, 0, 1)) }

// Pattern names crates: a name in which * stands for any characters, and after
// an @ one exact version.
type Pattern struct {
	name    string // as written
	version string // "" for every version
}

// All is the pattern of every crate.
var All = Pattern{name: "*"}

// ParsePattern reads NAME or NAME@VERSION.
func ParsePattern(s string) (Pattern, error) {
	name, version, exact := strings.Cut(s, "@")
	plain := strings.ReplaceAll(name, "*", "a")
	if err := entry.CheckName(plain); err != nil {
		return Pattern{}, fmt.Errorf(`%q names no crate: it takes a name, in which * stands for any characters, like `+
			`"serde" or "my-*"`, s)
	}
	if strings.Trim(name, "*") == "" || s == "all" {
		return Pattern{}, fmt.Errorf(`%q would be every crate; write require = "all"`, s)
	}
	if err := entry.CheckVersion(version); exact && err != nil {
		return Pattern{}, fmt.Errorf(`%q: %w; behind the @ stands one exact version, like "tokio@1.50.0"`, s, err)
	}
	return Pattern{name, version}, nil
}

// Exactly returns the pattern of one package, whatever it is called.
func Exactly(name, version string) Pattern { return Pattern{name, version} }

func (p Pattern) String() string {
	if p.version != "" {
		return p.name + "@" + p.version
	}
	return p.name
}

// exact says that the pattern names one crate, so that a demand for it is in vain if there is
// none.
func (p Pattern) exact() bool { return !strings.Contains(p.name, "*") }

// Matches says whether the pattern demands something of a package. Case does not
// matter, nor whether it says - or _.
func (p Pattern) Matches(name, version string) bool {
	return (p.version == "" || p.version == version) && glob(fold(p.name), fold(name))
}

// excuses says whether the pattern excuses a package from something: to the letter.
func (p Pattern) excuses(name, version string) bool {
	return (p.version == "" || p.version == version) && glob(p.name, name)
}

// glob says whether a name is what a pattern says, in which * stands for any characters. It
// takes the earliest place for each part, so its time is bounded by the product of the two.
func glob(pattern, name string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	parts := strings.Split(rest, "*")
	last := parts[len(parts)-1]
	for _, part := range parts[:len(parts)-1] {
		at := strings.Index(name, part)
		if at < 0 {
			return false
		}
		name = name[at+len(part):]
	}
	return ok && strings.HasSuffix(name, last)
}

func fold(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}
