package policy

import (
	"encoding/hex"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cratelog/cargo"
	"cratelog/entry"
	"cratelog/opening/signature"
)

// A Registry is what the policy says of the crates of one registry, [registry."INDEX"].
type Registry struct {
	Index   string    // as it is written; "" for cargo's default registry
	Require []Pattern // which of its crates must be proven
	Ignore  []Pattern // which of those need no proof after all; to the letter
	Logs    []string  // origins of the logs that may be asked about its crates
	AnyLog  bool      // all logs of the trust files may

	Evidence []string // places where evidence about its crates lies; nil: see Policy.EvidenceFor

	own bool // Require is its own, and not what is required of all
}

// Of returns what the policy says of the registry with an index, "" for cargo's default one.
// For one that it does not name, what it requires of all counts, no log may be asked about its
// crates, and named is false.
func (p *Policy) Of(index string) (r *Registry, named bool) {
	index = indexOf(index)
	if r := p.Registries[index]; r != nil {
		return r, true
	}
	return &Registry{Index: index, Require: p.Require, AnyLog: index == ""}, index == ""
}

// MayAsk says whether the log with an origin may be told that a crate of a registry is used.
func (p *Policy) MayAsk(index, origin string) bool {
	r, _ := p.Of(index)
	return r.AnyLog || slices.Contains(r.Logs, origin)
}

// RequiresAll says that every crate must be proven, but for those that a rule of its own
// excuses.
func (p *Policy) RequiresAll() bool { return slices.Contains(p.Require, All) }

// GitAllowed says whether the packages of a git repository need no proof. source is the URL in
// the lock file, without "git+" and the commit; which branch or tag it names does not matter.
func (p *Policy) GitAllowed(source string) bool {
	return slices.Contains(p.Git, cargo.Canonical(source))
}

// indexOf returns the one spelling of a registry's index, "" for cargo's default registry.
func indexOf(name string) string {
	if name == "" || name == cargo.DefaultSource || cargo.IsDefault(strings.TrimPrefix(name, "registry+")) {
		return ""
	}
	return cargo.Canonical(name)
}

// isURL says whether a text is an absolute URL.
func isURL(s string) bool {
	u, err := url.Parse(strings.TrimPrefix(strings.TrimPrefix(s, "registry+"), "sparse+"))
	return err == nil && u.Scheme != "" && (u.Host != "" || u.Scheme == "file" && u.Path != "")
}

// registryFile is [registry."INDEX"] as it is written.
type registryFile struct {
	Require any      `toml:"require"`
	Ignore  []string `toml:"ignore"`
	Logs    []string `toml:"logs"`

	Evidence []string `toml:"evidence"`
}

// gitFile is [git] as it is written.
type gitFile struct {
	Allow []string `toml:"allow"`
}

func (f *file) checkRegistries(wrong complain) {
	if len(f.Registry) > maxList {
		wrong("registry", "names %d registries, at most %d are read", len(f.Registry), maxList)
		return
	}
	f.registries = map[string]*Registry{}
	for _, name := range slices.Sorted(maps.Keys(f.Registry)) {
		t := f.Registry[name]
		at := "registry." + strconv.Quote(name) + "."
		if name != cargo.DefaultSource && !isURL(name) {
			wrong("registry", "%q is neither the URL of an index, such as stands at source in Cargo.lock, nor %s", name,
				cargo.DefaultSource)
			continue
		}
		index := indexOf(name)
		if other := f.registries[index]; other != nil {
			wrong("registry", "%q is there twice", name)
			continue
		}
		r := &Registry{Index: index, Require: f.require, Logs: t.Logs, AnyLog: index == "" && t.Logs == nil}
		if t.Require != nil {
			r.Require, r.own = checkRequire(at+"require", t.Require, wrong), true
		}
		r.Ignore = checkPatterns(at+"ignore", t.Ignore, wrong)
		if len(t.Logs) > maxList || slices.Contains(t.Logs, "") {
			wrong(at+"logs", "must be at most %d origins of logs, none of them empty", maxList)
		}
		r.Evidence = f.checkEvidence(at+"evidence", t.Evidence, wrong)
		f.registries[index] = r
	}
}

func checkPatterns(key string, list []string, wrong complain) (patterns []Pattern) {
	if len(list) > maxList {
		wrong(key, "has %d items, at most %d are read", len(list), maxList)
		return nil
	}
	for _, s := range list {
		p, err := ParsePattern(s)
		if err != nil {
			wrong(key, "%v", err)
			continue
		}
		patterns = append(patterns, p)
	}
	return patterns
}

func (f *file) checkGit(wrong complain) {
	if len(f.Git.Allow) > maxList {
		wrong("git.allow", "has %d items, at most %d are read", len(f.Git.Allow), maxList)
		return
	}
	for _, s := range f.Git.Allow {
		if !isURL(s) || strings.ContainsAny(s, "?#") {
			wrong("git.allow", "%q is not the URL of a repository, such as stands at git in Cargo.toml; a branch or a "+
				"commit is no part of it", s)
			continue
		}
		if strings.Contains(s, "*") {
			wrong("git.allow", "%q has a *, which is not read as a pattern here: name each repository", s)
			continue
		}
		f.git = append(f.git, cargo.Canonical(s))
	}
}

// An Expect says where a crate's source must stand.
type Expect struct {
	Crate   string
	Version string   // "" for every version
	Path    *string  // of the package in the repository, "" for its root; nil for any
	Commits []string // git commit ids, hex; nil for any

	SignedBy []string // files of the public keys of those one of whom must have signed the commit; nil for any
	keys     *signature.Keys
}

func (e Expect) String() string { return Exception{Crate: e.Crate, Version: e.Version}.String() }

// fits compares generously, as for everything that demands.
func (e Expect) fits(name, version string) bool {
	return fold(e.Crate) == fold(name) && (e.Version == "" || e.Version == version)
}

// Unexpected returns in words how a crate's place differs from what the policy expects of it;
// "" if it does not.
func (p *Policy) Unexpected(name, version, commit, path string) string {
	for _, e := range p.Expects {
		if !e.fits(name, version) {
			continue
		}
		if e.Path != nil && *e.Path != path {
			return name + " " + version + " is the source at " + place(path) + " of its repository, and " + p.Path +
				" expects it at " + place(*e.Path)
		}
		if e.Commits != nil && !slices.Contains(e.Commits, commit) {
			return name + " " + version + " is the source of commit " + commit + ", which is none of those that " + p.Path +
				" expects"
		}
	}
	return ""
}

func place(path string) string {
	if path == "" {
		return "the root"
	}
	return path
}

// expectFile is [[expect]] as it is written.
type expectFile struct {
	Crate   string   `toml:"crate"`
	Version string   `toml:"version"`
	Path    *string  `toml:"path"`
	Commits []string `toml:"commits"`
	Signed  []string `toml:"signed-by"`
}

func (f *file) checkExpects(wrong complain) {
	if len(f.Expect) > maxList {
		wrong("expect", "has %d items, at most %d are read", len(f.Expect), maxList)
		return
	}
	for i, e := range f.Expect {
		at := "expect[" + strconv.Itoa(i+1) + "]."
		checkCrate(at, e.Crate, e.Version, wrong)
		if e.Path == nil && e.Commits == nil && e.Signed == nil {
			wrong(at+"path", `is missing, and commits and signed-by too; say where the crate's source must stand: `+
				`path = "crates/x", "" for the repository's root, or commits = ["..."], or who must have signed it: `+
				`signed-by = ["x.pub"]`)
		}
		if e.Signed != nil && len(e.Signed) == 0 {
			wrong(at+"signed-by", "is empty, so that nobody could have signed it; name files of public keys, or remove the key")
		}
		checkFiles(at+"signed-by", e.Signed, wrong)
		if e.Path != nil && *e.Path != "" {
			if err := entry.CheckPath(*e.Path); err != nil {
				wrong(at+"path", `%q is not the path of a directory in a repository: %v; "" is its root`, *e.Path, err)
			}
		}
		if e.Commits != nil && len(e.Commits) == 0 || len(e.Commits) > maxList {
			wrong(at+"commits", "has %d items, it takes 1 to %d; leave the key out for any commit", len(e.Commits), maxList)
		}
		for _, c := range e.Commits {
			if b, err := hex.DecodeString(c); err != nil || len(b) != 20 || c != strings.ToLower(c) {
				wrong(at+"commits", "%q is not a git commit id, 40 lower-case hex digits", c)
			}
		}
		f.expects = append(f.expects, Expect{Crate: e.Crate, Version: e.Version, Path: e.Path, Commits: e.Commits,
			SignedBy: e.Signed})
	}
}
