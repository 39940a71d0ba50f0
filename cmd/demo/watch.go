package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"cratelog/client"
	"cratelog/evidence"
	"cratelog/internal/loopback"
	"cratelog/monitor"
	"cratelog/monitor/store"
	"cratelog/monitor/web"
)

// watch is an independent monitor with its pages.
type watch struct {
	w        *loopback.World
	db       *store.Store
	monitor  *monitor.Monitor
	evidence string // directory
	url      string
	running  sync.WaitGroup
}

func newWatch(ctx context.Context, dir string, w *loopback.World, b *builders) (*watch, error) {
	m := &watch{w: w, evidence: filepath.Join(dir, "evidence")}
	if err := os.Mkdir(m.evidence, 0o755); err != nil {
		return nil, err
	}
	var err error
	if m.db, err = store.Create(ctx, filepath.Join(dir, "monitor.db")); err != nil {
		return nil, err
	}
	if m.monitor, err = monitor.New(ctx, monitor.Config{Store: m.db, EvidenceDir: m.evidence, Proofs: w.Proofs,
		Logs: []monitor.LogConfig{{Origin: origin, Policy: w.Policy}}, Sets: b.settings().Sets}); err != nil {
		return m, err
	}
	pages, err := web.New(web.Config{Store: m.db.Reader, Proofs: w.Proofs,
		Policies: map[string]*client.Policy{origin: w.Policy},
		Name:     "the demonstration's monitor", Evidence: m.evidence, Sets: b.settings().Sets})
	if err == nil {
		m.url, err = w.Serve(pages)
	}
	return m, err
}

func (m *watch) close() error {
	m.running.Wait()
	return m.db.Close()
}

// attackMonitor shows that a fork does not stay hidden although no witness signed it.
func (s *story) attackMonitor(forged []byte) {
	s.step("A reader was shown the forked checkpoint, and hands it to the monitor.", func() (string, error) {
		seen, err := s.m.monitor.Gossip(s.ctx, forged, "a reader")
		if err != nil {
			return "", err
		}
		if seen.Verdict != store.Inconsistent {
			return "", fmt.Errorf("the monitor calls it %s", seen.Verdict)
		}
		e, err := s.m.found(evidence.ForkSameSize)
		if err != nil {
			return "", err
		}
		keys, err := s.w.Policy.Keys()
		if err != nil {
			return "", err
		}
		c, err := evidence.Verify(e, keys, nil)
		if err != nil {
			return "", err
		}
		if !c.Convicts() {
			return "", errors.New("the evidence convicts nobody")
		}
		return "Found, and kept as a file that convinces every reader who knows the log's key: " + c.What, nil
	})
}

// found returns the one piece of evidence of a kind that the monitor keeps.
func (m *watch) found(kind evidence.Kind) (found *evidence.Evidence, err error) {
	files, err := filepath.Glob(filepath.Join(m.evidence, "*.evidence"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		e, err := evidence.Read(f)
		switch {
		case err != nil:
			return nil, err
		case e.Kind != kind:
		case found != nil:
			return nil, fmt.Errorf("there are two pieces of evidence of the kind %s", kind)
		default:
			found = e
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no evidence of the kind %s", kind)
	}
	return found, nil
}

// watchBuilders lets the monitor verify what builders said.
func (s *story) watchBuilders() {
	s.step("The monitor verifies what the builders said, and alerts to dissent and contradiction.", func() (string,
		error) {
		sum, err := s.m.monitor.Once(s.ctx)
		if err != nil {
			return "", err
		}
		if len(sum.Logs) != 1 || sum.Logs[0].Verified != sum.Logs[0].Size || sum.Security != 2 {
			return "", fmt.Errorf("it found %+v", sum)
		}
		if _, err := s.m.found(evidence.BuilderContradiction); err != nil {
			return "", err
		}
		return fmt.Sprintf("Verified: %d entries of %d. Two findings: builders disagree, and one contradicts itself.",
			sum.Logs[0].Verified, sum.Logs[0].Size), nil
	})
}

// watchOver lets the monitor verify everything once.
func (s *story) watchOver() {
	s.step("An independent monitor rebuilds the log's tree from its entries "+
		"and verifies every proof again.", func() (string, error) {
		sum, err := s.m.monitor.Once(s.ctx)
		if err != nil {
			return "", err
		}
		if len(sum.Logs) != 1 || sum.Logs[0].Verified != sum.Logs[0].Size || sum.ExitCode() != 0 {
			return "", fmt.Errorf("it found trouble: %+v", sum)
		}
		return fmt.Sprintf("Verified: %d entries of %d, and nothing is wrong.",
			sum.Logs[0].Verified, sum.Logs[0].Size), nil
	})
}
