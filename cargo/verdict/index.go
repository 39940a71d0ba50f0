package verdict

import (
	"encoding/hex"
	"fmt"

	"cratelog/cargo"
	"cratelog/cargo/registry"
	"cratelog/crate"
)

// cargo takes a crate's dependencies, their names, features and "links" from its line in
// the registry's index, and never from the Cargo.toml that is proven.

// summaryOf returns the digest of what the index must say of a crate, in hex; "" if nothing
// can be said, which compareIndex then tells.
func summaryOf(c *crate.Crate) string {
	s, err := registry.ManifestSummary(c.Manifest())
	if err != nil {
		return ""
	}
	d := s.Digest()
	return hex.EncodeToString(d[:])
}

// compareIndex compares the lines of a verified crate with its Cargo.toml. One that differs
// refuses it, whatever the others say: it is not known which cargo will read.
func (it *item) compareIndex() {
	w := &it.want
	var unread error
	for _, l := range w.Lines {
		differs, err := it.compareLine(l)
		switch {
		case differs:
			it.verdict.Refuse(Violation, err)
			return
		case err != nil && unread == nil:
			unread = err
		}
	}
	switch {
	case unread != nil:
		it.verdict.Refuse(Unchecked, unread)
	case w.Indexed && w.Unread != nil:
		it.verdict.Refuse(Unchecked, refuse(both(ErrIndexNotSeen, w.Unread), "", "%v", w.Unread))
	case w.Indexed && len(w.Lines) == 0:
		it.verdict.Refuse(Unchecked, indexNotSeen(*w))
	}
}

func (it *item) compareLine(l cargo.IndexLine) (differs bool, err error) {
	w := it.want
	unread := func(err error) error {
		return refuse(both(ErrIndexNotSeen, err), "", "what the index says of %s %s cannot be compared with its "+
			"Cargo.toml: %v (in registry/index/%s)", w.Name, w.Version, err, l.Dir)
	}
	r, err := registry.ParseRelease(l.Line)
	if err != nil {
		return false, unread(err)
	}
	said, err := r.Summary(w.Index)
	if err != nil {
		return false, unread(err)
	}
	if d := said.Digest(); it.facts != nil && hex.EncodeToString(d[:]) == it.facts.Summary {
		return false, nil
	}
	// It is unpacked again, for the sentence.
	if err := it.load(); err != nil {
		return false, unread(err)
	}
	defer it.drop()
	c, err := it.unpack(w.Name, w.Version)
	if err != nil {
		return false, unread(err)
	}
	proven, err := registry.ManifestSummary(c.Manifest())
	if err != nil {
		return false, unread(err)
	}
	diff := said.Diff(proven)
	if diff == "" {
		return false, nil // it leaves links out
	}
	return true, indexDiffers(w, l, diff)
}

func indexDiffers(w Want, l cargo.IndexLine, diff string) error {
	return refuse(ErrIndexDiffers, "Do not build it: cargo goes by the index. If the registry has mended its line, "+
		"delete that directory and run cargo fetch", "the registry's index does not say what the Cargo.toml of %s %s "+
		"says: %s (in registry/index/%s)", w.Name, w.Version, diff, l.Dir)
}

func indexNotSeen(w Want) error {
	return refuse(ErrIndexNotSeen, "Run cargo fetch first", "cargo has no line of the registry's index for %s %s on "+
		"this machine, from which it will take dependencies and features", w.Name, w.Version)
}

// noteYanked tells of a version that its registry does not want to be used any more.
func (it *item) noteYanked() {
	for _, l := range it.want.Lines {
		if r, err := registry.ParseRelease(l.Line); err == nil && r.Yanked {
			it.verdict.Notes = append(it.verdict.Notes, fmt.Sprintf("it was yanked: its publisher or registry wants "+
				"no new use of this version (says registry/index/%s)", l.Dir))
			return
		}
	}
}
