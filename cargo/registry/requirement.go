package registry

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// maxComparators is how many comparators cargo reads in one requirement.
const maxComparators = 32

// A comparator is one part of a requirement on versions: "^1.2", "<2.0.0-rc.1".
type comparator struct {
	op    string    // one of = > >= < <= ~ ^; "1.*" is "=1"
	parts [3]uint64 // major, minor, patch; 0 where not given
	given int       // how many of parts are, 1 to 3
	pre   string    // pre-release, only with three parts
}

// meaning returns the versions that a requirement accepts, in one form for all its
// spellings: the releases, which are one interval, and behind it for each release
// that the requirement names with a pre-release, an interval of those. It follows
// cargo's reading: a bare version is "^", build metadata says nothing, and a
// pre-release is accepted only if a comparator names one of the same release.
func meaning(requirement string) (string, error) {
	comparators, err := parseRequirement(requirement)
	if err != nil {
		return "", fmt.Errorf("the requirement %s %w", quote(requirement), err)
	}
	set := releases{}
	for _, c := range comparators {
		set = set.and(c.releases())
	}
	parts := []string{set.String()}
	var named [][3]uint64
	for _, c := range comparators {
		if c.pre != "" {
			named = append(named, c.parts)
		}
	}
	slices.SortFunc(named, func(a, b [3]uint64) int { return slices.Compare(a[:], b[:]) })
	for _, release := range slices.Compact(named) {
		if s := meaningBefore(release, comparators); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, "; "), nil
}

// meaningBefore returns the accepted pre-releases of one release, "" if there are none.
func meaningBefore(release [3]uint64, comparators []comparator) string {
	set := allPre
	for _, c := range comparators {
		set = set.and(c.preReleases(release))
	}
	if set.empty() {
		return ""
	}
	end := triple(release)
	if set.to != "" {
		end += "-" + set.to
	}
	return ">=" + triple(release) + "-" + set.from + ", <" + end
}

func triple(v [3]uint64) string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

// parseRequirement reads what cargo reads, and refuses what it refuses.
func parseRequirement(s string) ([]comparator, error) {
	s = strings.TrimLeft(s, " ")
	if rest, ok := wildcard(s); ok && strings.TrimLeft(rest, " ") == "" {
		return nil, nil
	}
	var comparators []comparator
	for {
		c, rest, err := parseComparator(s)
		if err != nil {
			return nil, err
		}
		comparators = append(comparators, c)
		if rest == "" {
			return comparators, nil
		}
		after, ok := strings.CutPrefix(rest, ",")
		if !ok {
			return nil, fmt.Errorf("has %s where a comma is expected", quote(rest))
		}
		if len(comparators) == maxComparators {
			return nil, fmt.Errorf("has more than %d parts", maxComparators)
		}
		s = strings.TrimLeft(after, " ")
	}
}

func wildcard(s string) (rest string, ok bool) {
	if s != "" && strings.Contains("*xX", s[:1]) {
		return s[1:], true
	}
	return s, false
}

func parseComparator(s string) (c comparator, rest string, err error) {
	for _, op := range []string{"=", ">=", ">", "<=", "<", "~", "^"} {
		if after, ok := strings.CutPrefix(s, op); ok {
			c.op, s = op, after
			break
		}
	}
	bare := c.op == ""
	if bare {
		c.op = "^"
	}
	s = strings.TrimLeft(s, " ")
	starred := false
	for i := range c.parts {
		if i > 0 {
			after, ok := strings.CutPrefix(s, ".")
			if !ok {
				break
			}
			s = after
			if after, ok := wildcard(s); ok {
				s, starred = after, true
				if bare {
					c.op = "="
				}
				continue
			}
		}
		if starred {
			return c, s, fmt.Errorf("has %s behind a wildcard", quote(s))
		}
		if c.parts[i], s, err = number(s); err != nil {
			return c, s, err
		}
		c.given = i + 1
	}
	if c.given == 3 {
		if c.pre, s, err = identifiers(s, "-"); err != nil {
			return c, s, err
		}
		if _, s, err = identifiers(s, "+"); err != nil {
			return c, s, err
		}
	}
	return c, strings.TrimLeft(s, " "), nil
}

// number reads decimal digits without leading zeros.
func number(s string) (n uint64, rest string, err error) {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err = strconv.ParseUint(s[:end], 10, 64)
	if err != nil || end > 1 && s[0] == '0' {
		return 0, s, fmt.Errorf("has %s where a number is expected", quote(s))
	}
	return n, s[end:], nil
}

// identifiers reads what follows a mark, "-" or "+": identifiers with dots between
// them. It returns "" if the mark is not there.
func identifiers(s, mark string) (ids, rest string, err error) {
	s, ok := strings.CutPrefix(s, mark)
	if !ok {
		return "", s, nil
	}
	end := 0
	for end < len(s) && (s[end] == '.' || s[end] == '-' || alphanumeric(s[end])) {
		end++
	}
	ids, rest = s[:end], s[end:]
	for id := range strings.SplitSeq(ids, ".") {
		if id == "" || mark == "-" && len(id) > 1 && id[0] == '0' && numeric(id) {
			return "", s, fmt.Errorf("has the pre-release or build %s, of which a part is empty or begins with 0", quote(ids))
		}
	}
	return ids, rest, nil
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func numeric(id string) bool { return strings.Trim(id, "0123456789") == "" }

// releases is an interval of versions without a pre-release: from it until end, which
// is not in it. The zero value is all.
type releases struct {
	from  [3]uint64
	end   [3]uint64
	ended bool // end counts
	none  bool
}

func (r releases) String() string {
	switch {
	case r.none:
		return "no release"
	case r.ended:
		return ">=" + triple(r.from) + ", <" + triple(r.end)
	case r.from == [3]uint64{}:
		return "*"
	}
	return ">=" + triple(r.from)
}

func (r releases) and(o releases) releases {
	if slices.Compare(o.from[:], r.from[:]) > 0 {
		r.from = o.from
	}
	if o.ended && (!r.ended || slices.Compare(o.end[:], r.end[:]) < 0) {
		r.end, r.ended = o.end, true
	}
	if r.none || o.none || r.ended && slices.Compare(r.from[:], r.end[:]) >= 0 {
		return releases{none: true}
	}
	return r
}

// next returns the first release behind all that share the first n numbers of v.
func next(v [3]uint64, n int) (after [3]uint64, ok bool) {
	for i := n - 1; i >= 0; i-- {
		if v[i] < math.MaxUint64 {
			copy(after[:], v[:i])
			after[i] = v[i] + 1
			return after, true
		}
	}
	return after, false
}

// releases returns the releases that a comparator accepts.
func (c comparator) releases() releases {
	until := func(n int) releases {
		r := releases{from: c.parts}
		r.end, r.ended = next(c.parts, n)
		return r
	}
	switch c.op {
	case ">=":
		return releases{from: c.parts}
	case ">":
		from, ok := next(c.parts, c.given)
		if c.pre != "" {
			from, ok = c.parts, true // a release is behind its pre-releases
		}
		return releases{from: from, none: !ok}
	case "<":
		return releases{end: c.parts, ended: true}.and(releases{})
	case "<=":
		r := until(c.given)
		r.from = [3]uint64{}
		if c.pre != "" {
			r = releases{end: c.parts, ended: true}.and(releases{})
		}
		return r
	case "=":
		r := until(c.given)
		r.none = c.pre != ""
		return r
	case "~":
		return until(min(c.given, 2))
	}
	return until(c.caret())
}

// caret returns how many of a comparator's numbers "^" holds fixed: up to the first
// that is not 0, of those that are given.
func (c comparator) caret() int {
	for i := range c.given {
		if c.parts[i] != 0 {
			return i + 1
		}
	}
	return c.given
}

// A preSet is an interval of one release's pre-releases: from it until to, which is
// not in it; to "" is the release itself. Nothing stands between x and x.0, so that
// every interval has one such form.
type preSet struct{ from, to string }

var (
	allPre = preSet{from: "0"} // the lowest there is
	noPre  = preSet{from: "0", to: "0"}
)

func (s preSet) empty() bool { return s.to != "" && comparePre(s.from, s.to) >= 0 }

func (s preSet) and(o preSet) preSet {
	if comparePre(o.from, s.from) > 0 {
		s.from = o.from
	}
	if o.to != "" && (s.to == "" || comparePre(o.to, s.to) < 0) {
		s.to = o.to
	}
	return s
}

// preReleases returns the pre-releases of one release that a comparator accepts.
func (c comparator) preReleases(of [3]uint64) preSet {
	where := slices.Compare(of[:c.given], c.parts[:c.given])
	if where == 0 && c.given == 3 && c.pre != "" {
		switch c.op {
		case "=":
			return preSet{c.pre, c.pre + ".0"}
		case ">":
			return preSet{from: c.pre + ".0"}
		case "<":
			return preSet{from: "0", to: c.pre}
		case "<=":
			return preSet{from: "0", to: c.pre + ".0"}
		}
		return preSet{from: c.pre}
	}
	ok := false
	switch c.op {
	case ">", ">=":
		ok = where > 0
	case "<", "<=":
		ok = where < 0 || where == 0 && c.given == 3
	case "~":
		ok = where > 0 && c.given == 3 && slices.Equal(of[:2], c.parts[:2])
	case "^":
		fixed := c.caret()
		ok = slices.Equal(of[:fixed], c.parts[:fixed]) && (where > 0 || where == 0 && c.given < 3)
	}
	if !ok {
		return noPre
	}
	return allPre
}

// comparePre compares two pre-releases of one release, neither of them "".
func comparePre(a, b string) int {
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, ".")
		y, b, _ = strings.Cut(b, ".")
		if order := compareIdentifier(x, y); order != 0 {
			return order
		}
	}
	return cmp.Compare(len(a), len(b))
}

// compareIdentifier puts numbers first, and compares them by value.
func compareIdentifier(x, y string) int {
	switch {
	case numeric(x) && numeric(y):
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	case numeric(x):
		return -1
	case numeric(y):
		return 1
	}
	return strings.Compare(x, y)
}
