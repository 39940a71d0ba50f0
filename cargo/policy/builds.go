package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"cratelog/build"
	"cratelog/internal/durable"
)

// buildsAge is how old what a log shows about a binary may be, if the policy does not say.
const buildsAge = "7d"

// Builds says whom to believe that a binary is what a crate compiles to. It does not change after
// Load.
type Builds struct {
	Path string     // of the set's file
	Set  *build.Set // which has the digest that the policy names
	Root [32]byte   // of Set

	Need     int      // so many members must say so
	Tolerate int      // so many may say otherwise; less than Need
	Log      string   // origin of the log that counts; "" for every one of the trust files
	Until    uint64   // entries of the log at this index and above do not count; 0 for none
	Without  []string // members of a named set who do not count any more

	Toolchains, Environments [][32]byte // ids that are accepted

	MaxAge time.Duration // of the cosigned checkpoint; 0 for any
	Source RequireSource
}

// RequireSource says of which of the crates that a binary is made of the source must be proven. That of the
// crate itself always must be.
type RequireSource int

// What must be proven.
const (
	ByLock     RequireSource = iota // all that were compiled, unless the commit's own lock file chose them
	AllSources                      // all that were compiled
	CrateOnly                       // the crate itself: the others can be anything of that checksum
)

var requireSource = map[string]RequireSource{"": ByLock, "all": AllSources, "crate": CrateOnly}

// Counts says whether what a log has at an index counts.
func (b *Builds) Counts(index uint64) bool { return b.Until == 0 || index < b.Until }

// Members returns how many members of the set count.
func (b *Builds) Members() int { return b.Set.Size() - len(b.Without) }

// buildsFile is [builds] as it is written.
type buildsFile struct {
	Set           string   `toml:"set"`
	Digest        string   `toml:"digest"`
	Need          int64    `toml:"need"`
	Tolerate      int64    `toml:"tolerate"`
	Log           string   `toml:"log"`
	Until         *int64   `toml:"until"`
	Without       []string `toml:"without"`
	Toolchains    []string `toml:"toolchains"`
	Environments  []string `toml:"environments"`
	MaxAge        *string  `toml:"max-age"`
	RequireSource string   `toml:"require-source"`

	digest [32]byte
	parsed Builds // what does not depend on the set
}

// checkBuilds reads [builds] but for the set's file.
func (f *file) checkBuilds(wrong complain) {
	b := f.Builds
	if b == nil {
		return
	}
	p := &b.parsed
	if b.Set == "" {
		wrong("builds.set", "is missing; name the file of the set of builders, which its keeper publishes")
	}
	var ok bool
	if b.digest, ok = parseID(b.Digest); !ok {
		wrong("builds.digest", "must be the SHA-256 of the set's file, 64 lower-case hex digits, so that nobody "+
			"can exchange the "+
			"file; \"sha256sum\" prints it")
	}
	if p.Need = int(b.Need); b.Need < 1 || b.Need > 1<<build.Depth {
		wrong("builds.need", "is %d; it must say how many members of the set must agree, from 1 to %d", b.Need,
			1<<build.Depth)
	}
	switch p.Tolerate = int(b.Tolerate); {
	case b.Tolerate < 0 || b.Tolerate > 1:
		wrong("builds.tolerate", "is %d; it must be 0, or 1 with a hidden set: so many members may say otherwise",
			b.Tolerate)
	case b.Tolerate == 1 && b.Need < 3:
		wrong("builds.tolerate", "is 1, which takes need = 3 or more: with less, one who says otherwise is no "+
			"exception")
	}
	if b.Until != nil {
		if p.Until = uint64(*b.Until); *b.Until < 1 {
			wrong("builds.until", "is %d; it must be an index of the log, 1 or more: entries there and behind it "+
				"do not count", *b.Until)
		}
	}
	p.Log, p.Without = b.Log, b.Without
	p.Toolchains = parseIDs("builds.toolchains", "cargo zkp toolchain", b.Toolchains, wrong)
	p.Environments = parseIDs("builds.environments", "cargo zkp environment", b.Environments, wrong)
	age := buildsAge
	if b.MaxAge != nil {
		age = *b.MaxAge
	}
	var err error
	if p.MaxAge, err = ParseAge(age); err != nil {
		wrong("builds.max-age", "%v", err)
	}
	if p.Source, ok = requireSource[b.RequireSource]; !ok {
		wrong("builds.require-source", `is %q; it must be "all" or "crate"; without the `+
			`key, all must be proven unless the `+
			"commit's own lock file chose the versions", b.RequireSource)
	}
}

func parseID(s string) (id [32]byte, ok bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return id, false
	}
	return [32]byte(b), true
}

func parseIDs(key, printer string, list []string, wrong complain) (ids [][32]byte) {
	if len(list) == 0 || len(list) > maxList {
		wrong(key, "has %d items; it must name 1 to %d ids, such as %q prints, and no other is accepted",
			len(list), maxList, printer)
		return nil
	}
	for _, s := range list {
		id, ok := parseID(s)
		switch {
		case !ok:
			wrong(key, "%.100q is not an id, 64 lower-case hex digits as %q prints them", s, printer)
		case slices.Contains(ids, id):
			wrong(key, "%s is there twice", s)
		}
		ids = append(ids, id)
	}
	return ids
}

// loadBuilds reads the set's file.
func (p *Policy) loadBuilds(f *file) error {
	if f.Builds == nil {
		return nil
	}
	b := f.Builds.parsed
	b.Path = f.below([]string{f.Builds.Set})[0]
	wrong := func(key, format string, args ...any) error {
		return fmt.Errorf("%s: key %q: %s", f.path, "builds."+key, fmt.Sprintf(format, args...))
	}
	text, err := durable.Read(b.Path, build.MaxSet)
	if err != nil {
		return fmt.Errorf("builds.set: the set of builders cannot be read: %w", err)
	}
	if sum := sha256.Sum256(text); sum != f.Builds.digest {
		more := ""
		if why := durable.Altered(text); why != "" {
			more = " (" + why + ")"
		}
		return wrong("digest", "%s has the SHA-256 %x%s; if that is the set that you mean, and you have it from "+
			"somebody whom "+
			"you trust, write that digest", b.Path, sum, more)
	}
	if b.Set, err = build.ParseSet(text); err != nil {
		return fmt.Errorf("builds.set: %s: %w", b.Path, err)
	}
	b.Root = b.Set.Root()
	if b.Tolerate > 0 && b.Set.Kind == build.Named {
		return wrong("tolerate", "is %d, which only hidden sets may have: whoever says otherwise in a named set "+
			"has a name, and can "+
			"be asked, or left out with without = [\"NAME\"]", b.Tolerate)
	}
	for i, name := range b.Without {
		switch {
		case b.Set.Kind != build.Named:
			return wrong("without", "names %q, and nobody can tell who speaks in a hidden set; end the whole set "+
				"with until = INDEX", name)
		case !slices.ContainsFunc(b.Set.Members, func(m build.Member) bool { return m.Name == name }):
			return wrong("without", "the set %s has no member %q", b.Set.Name, name)
		case slices.Contains(b.Without[:i], name):
			return wrong("without", "names %q twice", name)
		}
	}
	if n := b.Members(); b.Need > n {
		return wrong("need", "is %d, and only %d members of the set %s count, so that no binary could ever "+
			"satisfy it", b.Need, n, b.Set.Name)
	}
	if err := p.checkBuildsLog(&b, wrong); err != nil {
		return err
	}
	p.Builds = &b
	return nil
}

// checkBuildsLog sees to it that an index is one of a single log.
func (p *Policy) checkBuildsLog(b *Builds, wrong func(key, format string, args ...any) error) error {
	var origins []string
	for _, t := range p.Trust {
		for _, l := range t.Policy.Logs() {
			if !slices.Contains(origins, l.Origin) {
				origins = append(origins, l.Origin)
			}
		}
	}
	switch {
	case b.Log != "" && !slices.Contains(origins, b.Log):
		return wrong("log", "no trust file lists a log %q; correct its origin, or add its trust file", b.Log)
	case b.Until > 0 && b.Log == "" && len(origins) > 1:
		return wrong("until", "is the index %s of one log, and the trust files list %d; say which one counts for "+
			"builds with "+
			"log = \"ORIGIN\"", strconv.FormatUint(b.Until, 10), len(origins))
	}
	return nil
}
