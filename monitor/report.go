package monitor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cratelog/evidence"
	"cratelog/monitor/store"
)

// Kind is a kind of finding.
type Kind struct {
	Name    string
	Class   store.Class
	Meaning string
}

// The kinds of findings. Their names do not change.
const (
	kindForkSameSize   = "fork-same-size"
	kindForkPrefix     = "fork-prefix"
	kindCosignerFork   = "cosigner-fork"
	kindRootMismatch   = "root-mismatch"
	kindFalseEntry     = "false-entry"
	kindMalformed      = "malformed-entry"
	kindDuplicate      = "duplicate"
	kindRegistryIndex  = "registry-checksum"
	kindRegistryServed = "registry-served"
	kindCrateMismatch  = "crate-mismatch"

	kindLogUnreachable     = "log-unreachable"
	kindLogGarbled         = "log-garbled"
	kindEntriesUnavailable = "entries-unavailable"
	kindQuorumLost         = "quorum-lost"
	kindStale              = "stale"
	kindRollback           = "rollback"
	kindLogBehind          = "log-behind"
	kindWitnessUnreachable = "witness-unreachable"
	kindWitnessBehind      = "witness-behind"
	kindMirrorUnreachable  = "mirror-unreachable"
	kindMirrorBehind       = "mirror-behind"
	kindRegistryDown       = "registry-unreachable"
	kindChannelBroken      = "channel-broken" // of the program that delivers alerts

	kindUnknownProgram = "unknown-program"
	kindUnknownClaim   = "unknown-claim"
	kindUnproven       = "unproven-files"
	kindRepeat         = "repeated-entry"
	kindNotInRegistry  = "not-in-registry"
	kindWatch          = "watch"
)

// Kinds lists every kind of finding with its class and meaning, as
// docs/monitoring.md does.
func Kinds() []Kind { return slices.Clone(kinds) }

var kinds = []Kind{
	{kindForkSameSize, store.Security, "The log signed two trees of one size with different roots."},
	{kindForkPrefix, store.Security, "The log signed two trees of which the larger does not begin with the smaller."},
	{kindCosignerFork, store.Security, "A witness cosigned two checkpoints that cannot both be of one append-only log."},
	{kindRootMismatch, store.Security, "The entries that the log serves, again and again the same, do not give the root that it signed."},
	{kindFalseEntry, store.Security, "The log includes an entry whose proof does not hold."},
	{kindMalformed, store.Security, "The log includes a leaf that is not an entry."},
	{kindDuplicate, store.Security, "The log includes two checksums for one crate version."},
	{kindRegistryIndex, store.Security, "The registry's index has another checksum than the log for a crate version."},
	{kindRegistryServed, store.Security, "The registry served a .crate with another checksum than its own index and the log have."},
	{kindCrateMismatch, store.Security, "A .crate with the logged checksum does not have the files that its entry claims."},

	{kindLogUnreachable, store.Operational, "The log does not answer."},
	{kindLogGarbled, store.Operational, "What the log answers is not a checkpoint with its signature."},
	{kindEntriesUnavailable, store.Operational, "The log does not serve entries of a tree that it signed, or serves them damaged."},
	{kindQuorumLost, store.Operational, "The log's latest checkpoint is not cosigned by the quorum."},
	{kindStale, store.Operational, "The log's latest checkpoint was cosigned too long ago."},
	{kindRollback, store.Operational, "The log shows a smaller tree than it did before. The two are consistent."},
	{kindLogBehind, store.Operational, "The log shows us a smaller tree than it showed others for too long."},
	{kindWitnessUnreachable, store.Operational, "A witness does not answer, or not with a checkpoint that it cosigned."},
	{kindWitnessBehind, store.Operational, "A witness has not cosigned a larger tree for too long."},
	{kindMirrorUnreachable, store.Operational, "A mirror does not answer, or not with a checkpoint of the log."},
	{kindMirrorBehind, store.Operational, "A mirror has not shown a larger tree for too long."},
	{kindRegistryDown, store.Operational, "The registry does not answer."},
	{kindChannelBroken, store.Operational, "Alerts do not get through one of the channels."},

	{kindUnknownProgram, store.Info, "The log includes an entry of a proof program that this monitor does not accept, so that nobody checked its proof here."},
	{kindUnknownClaim, store.Info, "The log includes an entry with a kind of claim that this monitor does not know, so that nobody checked it here."},
	{kindUnproven, store.Info, "An entry leaves files out of its claim that the rules want proven."},
	{kindRepeat, store.Info, "The log includes one subject and claim twice."},
	{kindNotInRegistry, store.Info, "A crate version stands in the log, but not in the registry."},
	{kindWatch, store.Info, "An entry matches a watch, and nobody announced it."},
}

func classOf(kind string) store.Class {
	for _, k := range kinds {
		if k.Name == kind {
			return k.Class
		}
	}
	panic("monitor: a kind of finding without a class: " + kind)
}

// maxPerKind bounds the findings of one kind about one log. What else there is can
// be seen in the entries' own rows.
const maxPerKind = 1000

// report records a finding once. Its evidence, if it has any, is on the disk before
// the finding is in the store, and the finding is there before anybody is told.
func (f *follower) report(ctx context.Context, x store.Finding, watch *store.Watch, build func() (*evidence.Evidence, error)) error {
	s := f.m.cfg.Store
	x.Log, x.Class = f.id, classOf(x.Kind)
	if _, flooded := f.flooded.Load(x.Kind); flooded {
		return nil // a million findings shall not cost a million commits
	}
	if x.FirstSeen.IsZero() {
		x.FirstSeen = f.m.cfg.Now()
	}
	if _, known, err := s.StandingFinding(ctx, x.Key); err != nil {
		return err
	} else if known {
		_, _, err := s.RecordFinding(ctx, x, nil)
		return err
	}
	if n, err := s.CountFindings(ctx, f.id, x.Kind); err != nil {
		return err
	} else if n >= maxPerKind && x.Class != store.Operational {
		f.flooded.Store(x.Kind, true)
		x.Key, x.Index, x.Name, x.Version = "more/"+x.Kind+"/"+f.origin, -1, "", ""
		x.Summary = fmt.Sprintf("There are more than %d findings of the kind %s about the log %s.", maxPerKind, x.Kind, f.origin)
		x.Detail, build = "The entries themselves say which; no further finding of this kind is recorded one by one.", nil
	}
	var err error
	if build != nil {
		if x.Evidence, err = f.writeEvidence(build); err != nil {
			return fmt.Errorf("evidence of %s: %w", x.Kind, err)
		}
		if x.Evidence == "" {
			x.Detail = strings.TrimSpace(x.Detail + " No evidence file could be made of it; see the monitor's messages.")
		}
	}
	got, isNew, err := s.RecordFinding(ctx, x, f.m.cfg.Route(x, watch))
	if err == nil && isNew {
		f.m.cfg.Notify()
		f.m.cfg.Logger.Log(ctx, levelOf(x.Class), x.Summary, "finding", got.ID, "kind", x.Kind, "class", x.Class, "log", f.origin, "evidence", x.Evidence)
	}
	return err
}

// writeEvidence makes an evidence file durable and returns its name. What cannot be put
// into one, because it is too large, is "" and no error: the finding is worth more
// than its file.
func (f *follower) writeEvidence(build func() (*evidence.Evidence, error)) (string, error) {
	e, err := build()
	path := ""
	if err == nil {
		path, err = evidence.Write(f.m.cfg.EvidenceDir, e)
	}
	if errors.Is(err, evidence.ErrMalformed) || errors.Is(err, evidence.ErrNotProven) {
		f.m.cfg.Logger.Error("no evidence could be made", "log", f.origin, "err", err)
		return "", nil
	}
	return strings.TrimSuffix(filepath.Base(path), ".evidence"), err
}

// condition is something operational that begins and ends.
type condition struct {
	kind    string
	about   string // a source, "" for the log itself
	active  bool
	since   time.Time
	limit   time.Duration // how long it is let pass
	summary string
	detail  string
	build   func() (*evidence.Evidence, error)
}

// apply records a condition that has lasted too long, and ends one that is over.
func (f *follower) apply(ctx context.Context, c condition) error {
	key := c.kind + "/" + f.origin
	if c.about != "" {
		key += "/" + c.about
	}
	now := f.m.cfg.Now()
	if c.active {
		if now.Sub(c.since) < c.limit {
			return nil
		}
		return f.report(ctx, store.Finding{Key: key, Kind: c.kind, Summary: c.summary, Detail: c.detail, Index: -1, FirstSeen: now}, nil, c.build)
	}
	x, standing, err := f.m.cfg.Store.StandingFinding(ctx, key)
	if err != nil || !standing {
		return err
	}
	_, err = f.m.cfg.Store.ResolveFinding(ctx, key, now, f.m.cfg.Route(x, nil))
	f.m.cfg.Notify()
	f.m.cfg.Logger.Info("over: "+x.Summary, "finding", x.ID, "kind", c.kind, "log", f.origin)
	return err
}

// troubles collects what did not work, for Once.
type troubles struct {
	mu   sync.Mutex
	said []string
}

func (t *troubles) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.said) < 100 {
		t.said = append(t.said, fmt.Sprintf(format, args...))
	}
}

func (t *troubles) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.said = nil
}

func (t *troubles) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.said)
}
