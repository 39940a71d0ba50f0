package manifest

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// The wanted model holds, besides TOML values, three kinds of leeway. The model of the manifest
// under test holds none.
type (
	// may is a value that may be missing.
	may struct{ v any }
	// either is one of several values; a nil stands for none. The first one is named in errors.
	either []any
	// underivable is a value that cannot be known; whatever is found is refused.
	underivable string
)

// A comparison collects deviations.
type comparison struct{ found []Deviation }

func compare(want, got table) *Deviation {
	var c comparison
	c.tables("", want, got)
	if len(c.found) == 0 {
		return nil
	}
	d := c.found[0]
	d.More = c.found[1:]
	return &d
}

func (c *comparison) tables(key string, want, got table) {
	keys := slices.Collect(maps.Keys(want))
	for k := range got {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if len(c.found) == MaxDeviations {
			return
		}
		c.values(join(key, k), want[k], got[k])
	}
}

// values compares the values of one key; nil stands for none.
func (c *comparison) values(key string, want, got any) {
	switch w := want.(type) {
	case may:
		if got != nil {
			c.values(key, w.v, got)
		}
	case either:
		for _, option := range w {
			var quiet comparison
			if quiet.values(key, option, got); len(quiet.found) == 0 {
				return
			}
		}
		c.values(key, w[0], got)
	case underivable:
		c.found = append(c.found, Deviation{Key: key, Want: string(w), Got: show(got)})
	default:
		c.exact(key, want, got)
	}
}

// exact compares without leeway, but for what tables hold.
func (c *comparison) exact(key string, want, got any) {
	wt, ok1 := want.(table)
	gt, ok2 := got.(table)
	switch {
	case ok1 && got == nil && dispensable(wt):
	case ok1 && ok2, want == nil && container(key, gt), got == nil && container(key, wt):
		c.tables(key, wt, gt)
	case want == nil && got == nil, want != nil && got != nil && render(want) == render(got):
	default:
		c.found = append(c.found, Deviation{Key: key, Want: show(want), Got: show(got)})
	}
}

// container reports whether a table holds things of its own, such as dependencies, which are then
// named one by one where the whole table is too much or missing.
func container(key string, t table) bool {
	for _, v := range t {
		if m, ok := v.(may); ok {
			v = m.v
		}
		if _, ok := v.(table); !ok && key != "features" {
			return false
		}
	}
	return len(t) > 0
}

// dispensable reports whether all that a wanted table holds may be missing.
func dispensable(want table) bool {
	for _, v := range want {
		t, ok := v.(table)
		if _, may := v.(may); !may && (!ok || !dispensable(t)) {
			return false
		}
	}
	return true
}

// show renders a value for an error: leeway is left out, and what is long is cut.
func show(v any) string {
	if v == nil {
		return ""
	}
	const most = 300
	p := plain(v)
	if p == nil {
		return ""
	}
	s := render(p)
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], string(utf8.RuneError)) + "…"
}

// plain returns v without leeway.
func plain(v any) any {
	switch v := v.(type) {
	case may:
		return plain(v.v)
	case either:
		return plain(v[0])
	case underivable:
		return string(v)
	case table:
		t := table{}
		for k, e := range v {
			if p := plain(e); p != nil {
				t[k] = p
			}
		}
		return t
	}
	return v
}

// nothing is an empty table that counts: prune leaves it, and nothing stands for its absence.
type nothing struct{}

// sealed returns a value whose empty tables count.
func sealed(v any) any {
	t, ok := v.(table)
	if !ok {
		return v
	}
	if len(t) == 0 {
		return nothing{}
	}
	out := make(table, len(t))
	for k, e := range t {
		out[k] = sealed(e)
	}
	return out
}

// prune removes tables that hold nothing, which tell a build nothing.
func prune(t table) table {
	for k, v := range t {
		if m, ok := v.(may); ok {
			v = m.v
		}
		if sub, ok := v.(table); ok && len(prune(sub)) == 0 {
			delete(t, k)
		}
	}
	return t
}
