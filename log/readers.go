package log

import (
	"fmt"
	"slices"

	"cratelog/client"
)

// openReaders checks the trust file that the log hands out: readers must be able to believe this log with it.
func (l *Log) openReaders() error {
	if l.cfg.ReadersPolicy == nil {
		l.cfg.ReadersPolicy = l.cfg.Policy
	}
	t, err := client.ParseTrust(l.cfg.ReadersPolicy)
	if err != nil {
		return fmt.Errorf("the trust file for readers: %w", err)
	}
	if signed := t.SignedBy(t); len(signed) < t.Threshold {
		return fmt.Errorf("the trust file for readers, number %d of %s, is signed by %d of its maintainers and asks for %d: "+
			"let them sign it (cratelog trust sign)", t.Sequence, t.Name, len(signed), t.Threshold)
	}
	ours := func(p client.PolicyLog) bool {
		return slices.ContainsFunc(l.cfg.keys(), func(k Key) bool { return k.VKey == p.VKey })
	}
	if !slices.ContainsFunc(t.Policy.Logs(), ours) {
		return fmt.Errorf("the trust file for readers does not name this log: add the line \"log %s\"", l.cfg.VKey)
	}
	l.problems = append(l.problems, func() []string {
		head := l.published.head()
		if head.raw == nil {
			return nil
		}
		if _, err := t.Policy.CheckCheckpointRules(head.raw, client.Rules{AllowNoWitnesses: true}); err != nil {
			return []string{"readers do not believe what is published, by the trust file for readers: " + err.Error()}
		}
		return nil
	})
	return nil
}
