package crate

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cratelog/crate/manifest"
)

// checkPortable refuses a path that another system than Linux opens as another file, and one that
// does not look like what it is.
func checkPortable(path string) error {
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case strings.Contains(name, ":"):
			return refuse(path, "has a colon in its name: Windows reads it as a stream of another file")
		case strings.HasSuffix(name, "."), strings.HasSuffix(name, " "):
			return refuse(path, "has a name that ends with a dot or space: Windows leaves those out, and opens another file")
		case reserved(name):
			return refuse(path, "has a name that Windows reserves for a device")
		}
	}
	if i := strings.IndexFunc(path, func(r rune) bool { return unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) }); i >= 0 {
		return refuse(path, "has an invisible character in its name (%+q)", []rune(path[i:])[0])
	}
	return nil
}

// reserved says whether Windows opens a device by a name, whatever follows behind a dot.
func reserved(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToLower(strings.TrimRight(base, " "))
	switch base {
	case "con", "prn", "aux", "nul", "conin$", "conout$":
		return true
	}
	port, ok := strings.CutPrefix(base, "com")
	if !ok {
		port, ok = strings.CutPrefix(base, "lpt")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.Contains("0123456789¹²³", port)
}

// A spelling is a path beside what a file system makes of it to which case and the spelling of
// accents do not matter. Its slashes are NULs, so that a directory's files follow it in order.
type spelling struct{ folded, path string }

// checkNames refuses files that are one on some system, files that are directories of others, and
// directories that are one on some system. All of these stand side by side once they are sorted.
func checkNames(files []File) error {
	all := make([]spelling, len(files))
	steps := 0
	for i, f := range files {
		all[i] = spelling{strings.ReplaceAll(manifest.Fold(f.Path), "/", "\x00"), f.Path}
		steps += 1 + strings.Count(f.Path, "/")
	}
	if steps > maxSteps {
		return refuseLimit("has paths of more than %d components in all", maxSteps)
	}
	slices.SortFunc(all, func(a, b spelling) int {
		if c := strings.Compare(a.folded, b.folded); c != 0 {
			return c
		}
		return strings.Compare(a.path, b.path)
	})
	for i := 1; i < len(all); i++ {
		if err := apart(all[i-1], all[i]); err != nil {
			return err
		}
	}
	return nil
}

// apart checks two neighbors.
func apart(a, b spelling) error {
	const only = "only by case or by the spelling of accents, which some file systems ignore"
	switch rest, prefix := strings.CutPrefix(b.folded, a.folded); {
	case a.path == b.path:
		return refuse(b.path, "is there twice")
	case prefix && rest == "":
		return refuse(b.path, "differs from %q "+only, a.path)
	case prefix && rest[0] == 0:
		return refuse(b.path, "lies below %q, which is a file", a.path)
	}
	// The directories that they share, component by component.
	pa, pb, fa, fb := a.path, b.path, a.folded, b.folded
	for {
		var na, nb, ga, gb string
		var deeperA, deeperB bool
		na, pa, deeperA = strings.Cut(pa, "/")
		nb, pb, deeperB = strings.Cut(pb, "/")
		ga, fa, _ = strings.Cut(fa, "\x00")
		gb, fb, _ = strings.Cut(fb, "\x00")
		switch {
		case !deeperA || !deeperB || ga != gb:
			return nil
		case na != nb:
			return refuse(b.path, "lies in a directory that differs from that of %q "+only, a.path)
		}
	}
}
