package registry

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// matches is cargo's reading of a requirement as its library writes it down, one version
// at a time: slow and obvious.
func matches(comparators []comparator, v [3]uint64, pre string) bool {
	compatible := pre == ""
	for _, c := range comparators {
		if !matchesOne(c, v, pre) {
			return false
		}
		compatible = compatible || c.given == 3 && c.parts == v && c.pre != ""
	}
	return compatible
}

// order compares pre-releases; a release is behind all of its own.
func order(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	return comparePre(a, b)
}

func matchesOne(c comparator, v [3]uint64, pre string) bool {
	major, minor, patch := c.parts[0], c.parts[1], c.parts[2]
	exact := func() bool {
		return v[0] == major && (c.given < 2 || v[1] == minor) && (c.given < 3 || v[2] == patch) && pre == c.pre
	}
	beyond := func(sign int) bool {
		for i := range c.given {
			if v[i] != c.parts[i] {
				return v[i] > c.parts[i] == (sign > 0)
			}
		}
		return c.given == 3 && order(pre, c.pre)*sign > 0
	}
	switch c.op {
	case "=":
		return exact()
	case ">":
		return beyond(1)
	case ">=":
		return exact() || beyond(1)
	case "<":
		return beyond(-1)
	case "<=":
		return exact() || beyond(-1)
	case "~":
		if v[0] != major || c.given > 1 && v[1] != minor {
			return false
		}
		if c.given == 3 && v[2] != patch {
			return v[2] > patch
		}
		return order(pre, c.pre) >= 0
	}
	if v[0] != major {
		return false
	}
	if c.given == 1 {
		return true
	}
	if c.given == 2 {
		if major > 0 {
			return v[1] >= minor
		}
		return v[1] == minor
	}
	switch {
	case major > 0:
		if v[1] != minor {
			return v[1] > minor
		}
		if v[2] != patch {
			return v[2] > patch
		}
	case minor > 0:
		if v[1] != minor {
			return false
		}
		if v[2] != patch {
			return v[2] > patch
		}
	default:
		if v[1] != minor || v[2] != patch {
			return false
		}
	}
	return order(pre, c.pre) >= 0
}

// TestRequirementsAreEqualIfTheyAcceptTheSame makes requirements of a small world and
// compares what they mean with the versions that each accepts.
func TestRequirementsAreEqualIfTheyAcceptTheSame(t *testing.T) {
	pres := []string{"", "0", "0.0", "1", "1.0", "2", "10", "10.0", "a", "a.0", "a.0.0", "a.1", "a.1.0", "b", "b.0"}
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	one := func() string {
		n := func() string { return pick("0", "1", "2") }
		v := n()
		switch random.IntN(6) {
		case 0:
			v += pick("", ".*", ".x", ".*.*")
		case 1:
			v += "." + n() + pick("", ".*", ".X")
		default:
			v += "." + n() + "." + n()
			if random.IntN(3) == 0 {
				v += "-" + pick("0", "1", "10", "a", "a.0", "a.1", "b")
			}
			v += pick("", "", "", "+zstd.1.5.2", "+00")
		}
		return pick("", "=", ">", ">=", "<", "<=", "~", "^") + pick("", " ") + v
	}
	accepted := make(map[string]string) // meaning to versions
	meant := make(map[string]string)    // versions to meaning
	for range 20000 {
		requirement := one()
		for range random.IntN(3) {
			requirement += pick(",", ", ", " ,") + one()
		}
		comparators, err := parseRequirement(requirement)
		if err != nil {
			t.Fatalf("%q: %v", requirement, err)
		}
		m, err := meaning(requirement)
		if err != nil {
			t.Fatal(err)
		}
		var versions strings.Builder
		for i := range uint64(4 * 4 * 4) {
			v := [3]uint64{i / 16, i / 4 % 4, i % 4}
			for _, pre := range pres {
				if matches(comparators, v, pre) {
					fmt.Fprint(&versions, v, pre, ",")
				}
			}
		}
		if want, ok := accepted[m]; ok && want != versions.String() {
			t.Fatalf("%q means %q, as another that accepts other versions", requirement, m)
		}
		if want, ok := meant[versions.String()]; ok && want != m {
			t.Fatalf("%q means %q, another that accepts the same means %q", requirement, m, want)
		}
		accepted[m], meant[versions.String()] = versions.String(), m
	}
	if len(accepted) < 1000 {
		t.Errorf("only %d meanings were met", len(accepted))
	}
}

func TestRequirementsOfOneMeaning(t *testing.T) {
	for _, same := range [][]string{
		{"1.0", "^1.0", "^ 1", " 1.0.0 ", ">=1.0.0,<2.0.0", "<2, >=1.0", "1.*", "=1", "1.0.0+zstd.1.5.2", "~1", "<=1, >=1"},
		{"*", "x", " * ", ">=0", ">=0.0.0"},
		{"<=0.61.*", "<=0.61", "<0.62"},
		{"=1.2.3", "=1.2.3+x", ">=1.2.3, <=1.2.3", "<1.2.4, ^1.2.3"},
		{"0.0.3", "=0.0.3"},
		{"<1, >1", "<0.0.0", "=1.0.0, =2.0.0"},
		{"1.0.0-a", "^1.0.0-a", ">=1.0.0-a, <2"},
		{">18446744073709551615", "<0"},
		{"<=1.18446744073709551615", "<2"},
		{"=1.0.0-a", ">=1.0.0-a, <1.0.0-a.0", "=1.0.0-a, <=1.0.0-a"},
	} {
		want, err := meaning(same[0])
		fatalIf(t, err)
		for _, s := range same[1:] {
			if got, err := meaning(s); err != nil || got != want {
				t.Errorf("%q means %q, %v; %q means %q", s, got, err, same[0], want)
			}
		}
	}
	for _, other := range [][2]string{{"1.0", "1.1"}, {"1", ">=1"}, {"0.1", "0"}, {"1.0.0-a", "1.0.0"}, {"1.0.0-a", "1.0.0-a.0"}, {"=1.2", "~1"}} {
		a, err := meaning(other[0])
		fatalIf(t, err)
		if b, err := meaning(other[1]); err != nil || a == b {
			t.Errorf("%q and %q mean %q, %v", other[0], other[1], b, err)
		}
	}
}

func TestRequirementsThatCargoRefuses(t *testing.T) {
	for _, bad := range []string{
		"", " ", ",", "1,", "1 2", "1,,2", "*,1", "1,*", "* 1", "a", "01", "1.02", "1.*.2", "1.2.3-", "1.2.3-a..b", "1.2.3-01", "1.2.3+",
		"1.2-a", "1.2.3.4", "=>1", "==1", "!1", "v1", "18446744073709551616", "\t1", "1\n", "1.2.3-ä",
		strings.TrimSuffix(strings.Repeat("1,", 33), ","),
	} {
		if m, err := meaning(bad); err == nil {
			t.Errorf("%q means %q", bad, m)
		}
	}
	if _, err := meaning(strings.TrimSuffix(strings.Repeat("1,", 32), ",")); err != nil {
		t.Error(err)
	}
}

func TestTargetsOfOneMeaning(t *testing.T) {
	want := `cfg(all(unix, not(target_os = "wa si"), any()))`
	for _, same := range []string{`cfg(all(unix,not(target_os="wa si"),any()))`, `cfg( all ( unix , not(target_os = "wa si") , any( ), ) )`, want} {
		if got := platform(same); got != want {
			t.Errorf("%s is %s", same, got)
		}
	}
	for _, itself := range []string{
		"", "x86_64-pc-windows-msvc", `cfg(a b)`, `cfg(a="b)`, `cfg(a-b)`, "cfg(unix", ` cfg(unix)`, `cfg(a = "b" c)`, "cfg(a\tb)",
	} {
		if got := platform(itself); got != itself {
			t.Errorf("%q is %q", itself, got)
		}
	}
	for a, b := range map[string]string{
		`cfg(unix)`: `cfg(r#unix)`, `cfg(a = "b")`: `cfg(a = "b ")`, `cfg(all(a, b))`: `cfg(all(b, a))`, `cfg(a, b)`: `cfg(ab)`, `cfg(a,,)`: `cfg(a)`,
	} {
		if platform(a) == platform(b) {
			t.Errorf("%s and %s are %s", a, b, platform(a))
		}
	}
}
