package web

import (
	"encoding/hex"
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cratelog/monitor/store"
)

// funcs are what the templates may call.
func (s *Server) funcs() template.FuncMap {
	return template.FuncMap{
		"num": number, "noun": noun, "brief": brief, "add": func(a, b uint64) uint64 { return a + b },
		"when": when, "date": date, "rfc3339": rfc3339,
		"age": duration, "ago": s.ago, "plot": plot, "hexdump": hex.Dump,
		"join":      func(l []string) string { return strings.Join(l, ", ") },
		"searchURL": func(what string) string { return "/search?q=" + url.QueryEscape(what) },
		"crateURL":  crateURL, "versionURL": versionURL,
		"tone": tone, "headTone": headTone, "rows": newRows, "source": sourceWords,
	}
}

// rows are entries in a table: with the crate's name in it, or of one crate.
type rows struct {
	Caption string
	Crate   bool
	Entries []entryJSON
}

func newRows(caption string, crate bool, entries []entryJSON) rows {
	return rows{caption, crate, entries}
}

// tone is the color of a class, of an entry's state, or of a checkpoint's verdict.
func tone(word any) string {
	return map[string]string{
		string(store.Info): "good", string(store.Operational): "wait", string(store.Security): "bad",
		"verified": "good", "pending": "wait", "failed": "bad",
		store.Consistent: "good", store.Inconsistent: "bad",
	}[fmt.Sprint(word)]
}

// headTone is the color of a checkpoint: not that of a good one if the log signed two trees.
func headTone(c checkpointJSON) string {
	if c.Fork {
		return "bad"
	}
	return tone(c.Verdict)
}

// integer takes any number that the model has, or a pointer to one.
func integer(v any) uint64 {
	switch n := v.(type) {
	case uint64:
		return n
	case *uint64:
		return *n
	case int:
		return uint64(n)
	case int64:
		return uint64(n)
	}
	return 0
}

// number writes a number with commas between groups of three digits.
func number(v any) string {
	s := strconv.FormatUint(integer(v), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// noun is the word for so many.
func noun(n any, one, many string) string {
	if integer(n) == 1 {
		return one
	}
	return many
}

// count is a number with its word.
func count(n uint64, one, many string) string { return number(n) + " " + noun(n, one, many) }

func timeOf(v any) time.Time {
	switch t := v.(type) {
	case time.Time:
		return t
	case *time.Time:
		return *t
	}
	return time.Time{}
}

func when(v any) string { return timeOf(v).UTC().Format("2 January 2006, 15:04 UTC") }

func rfc3339(v any) string { return timeOf(v).UTC().Format(time.RFC3339) }

func date(v any) string { return timeOf(v).UTC().Format("2 Jan 2006") }

func (s *Server) ago(v any) string {
	d := s.cfg.Now().Sub(timeOf(v))
	if d < 0 {
		d = 0
	}
	return duration(int64(d.Seconds())) + " ago"
}

// brief is why a checkpoint was not got, without its address, which readers of a page have no use for.
func brief(problem string) string {
	if at, why, ok := strings.Cut(problem, " does not answer: "); ok && !strings.Contains(at, " ") {
		return "does not answer: " + why
	}
	return problem
}

// duration says how long some seconds are, in the one unit that suits.
func duration(seconds int64) string {
	for _, u := range []struct {
		size int64
		word string
	}{{86400, "day"}, {3600, "hour"}, {60, "minute"}} {
		if n := seconds / u.size; n > 0 {
			return fmt.Sprintf("%d %s", n, noun(n, u.word, u.word+"s"))
		}
	}
	return fmt.Sprintf("%d %s", seconds, noun(seconds, "second", "seconds"))
}

// curve is a log's growth, drawn into a box of 1000 by 200.
type curve struct {
	Max, Half  uint64
	From, To   time.Time
	Line, Area string
	Words      string
}

// plot draws a log's growth as steps: a size holds until a larger one was seen. It is
// nil with fewer than two points.
func plot(points []growthJSON) *curve {
	if len(points) < 2 || !points[0].Time.Before(points[len(points)-1].Time) {
		return nil
	}
	first, last := points[0], points[len(points)-1]
	c := &curve{From: first.Time, To: last.Time}
	for _, p := range points {
		c.Max = max(c.Max, p.Size)
	}
	top := nice(c.Max)
	span := float64(last.Time.Sub(first.Time))
	var b strings.Builder
	for i, p := range points {
		x, y := 1000*float64(p.Time.Sub(first.Time))/span, 200-200*float64(p.Size)/float64(top)
		if i == 0 {
			fmt.Fprintf(&b, "M%.1f %.1f", x, y)
		} else {
			fmt.Fprintf(&b, "H%.1fV%.1f", x, y)
		}
	}
	c.Line = b.String()
	c.Area = c.Line + "H1000V200H0Z"
	c.Words = fmt.Sprintf("From %s on %s to %s on %s.", count(first.Size, "entry", "entries"), date(first.Time),
		number(last.Size), date(last.Time))
	c.Max, c.Half = top, top/2
	return c
}

// nice is the smallest round even number that is at least n.
func nice(n uint64) uint64 {
	for p := uint64(1); ; p *= 10 {
		for _, m := range []uint64{2, 4, 6, 8, 10} {
			if m*p >= n || p > 1<<58 {
				return m * p
			}
		}
	}
}

// sourceWords says who showed a checkpoint first.
func sourceWords(source string) string {
	switch source {
	case "log":
		return "the log"
	case "gossip":
		return "a reader who sent it"
	}
	return source
}
