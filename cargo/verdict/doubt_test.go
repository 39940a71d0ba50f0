package verdict

import (
	"testing"
	"time"

	"cratelog/entry"
	"cratelog/internal/testlog"
)

// TestWhatIsOldIsNoCoverForWhatIsFalse: at warn level a bundle that is stale, leaves out a file, or is of a
// program that nobody accepts passes with a warning, and one that is false as well does not.
func TestWhatIsOldIsNoCoverForWhatIsFalse(t *testing.T) {
	raw, e := forged(t, "made", "1.0.0")
	_, other := forged(t, "other", "1.0.0")
	falseOne := *e
	falseOne.Proof = other.Proof // true, of another crate
	f, err := forger()
	fatalIf(t, err)
	_, otherBytes, err := f.Crate("made", "1.0.0", "pub fn other() {}\n")
	fatalIf(t, err)
	unknown := *e
	unknown.Proof.Program[0] ^= 1
	unknownOther := *otherBytes
	unknownOther.Proof.Program[0] ^= 1
	const aged = "max-age = \"30d\"\n"

	for name, c := range map[string]struct {
		e        *entry.Entry
		settings string
		fork     bool
		status   Status
		slug     string
	}{
		"stale":           {e: e, settings: dev + aged, status: Warned, slug: "stale"},
		"stale and false": {e: &falseOne, settings: dev + aged, status: Violation, slug: "proof"},
		"stale, and of other bytes": {e: otherBytes, settings: dev + aged, status: Violation,
			slug: "another-crate"},
		"stale, and a fork":             {e: e, settings: dev + aged, fork: true, status: Violation, slug: "fork"},
		"of a program":                  {e: &unknown, settings: dev, status: Warned, slug: "program"},
		"of a program, and other bytes": {e: &unknownOther, settings: dev, status: Violation, slug: "another-crate"},
		"of a program, and a fork":      {e: &unknown, settings: dev, fork: true, status: Violation, slug: "fork"},
		"of a program, stale":           {e: &unknown, settings: dev + aged, status: Warned, slug: "stale"},
		"stale, a program, other bytes": {e: &unknownOther, settings: dev + aged, status: Violation,
			slug: "another-crate"},
		"nothing accepted, but no crime": {e: e, settings: "", status: Warned, slug: "program"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t, "log.example/a")
			p := newPlace(t, dev, l)
			rawOther, entryOther := forged(t, "other", "1.0.0")
			l.add(entryOther)
			l.add(c.e)
			verified(t, p.all(p.want("other", "1.0.0", rawOther))) // so that the checkpoint is known
			if c.fork {
				other := grown(testlog.NewTree([]byte("another")), 2, "")
				other.Append(testlog.Must(c.e.Marshal()))
				l.become(other)
			}
			p.settings(c.settings, l)
			w := warned(p.want("made", "1.0.0", raw))
			if c.settings == dev+aged {
				p.at = now.Add(31 * 24 * time.Hour)
			}
			for _, from := range []string{"log", "cache", "proxy"} {
				p.forget()
				l.up()
				checker := p.checker(from == "cache")
				if from == "cache" {
					checker.keepBundle(checker.sources[0], w, l.bundle(l.Tree, 2, l.Tree.Size()))
				}
				if from == "proxy" {
					w := w
					w.Path, w.Raw = "", raw
					_, err := checker.one(t.Context(), w)
					if Explain(err).Reason != c.slug || Mild(err) != (c.status == Warned) {
						t.Errorf("the proxy: %v", err)
					}
					continue
				}
				refused(t, checker.All(t.Context(), []Want{w}, nil)[0], c.status, c.slug)
			}
		})
	}
}
