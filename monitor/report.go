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

// The kinds of findings. Their names do not change.
const (
	kindForkSameSize   = "fork-same-size"
	kindForkPrefix     = "fork-prefix"
	kindCosignerFork   = "cosigner-fork"
	kindRootMismatch   = "root-mismatch"
	kindFalseEntry     = "false-entry"
	kindMalformed      = "malformed-entry"
	kindUnsealed       = "unsealed"
	kindSealMismatch   = "seal-mismatch"
	kindIndexOmission  = "index-omission"
	kindIndexPhantom   = "index-phantom"
	kindStartMismatch  = "start-mismatch"
	kindRegistryIndex  = "registry-checksum"
	kindRegistryServed = "registry-served"
	kindCrateMismatch  = "crate-mismatch"

	kindRegistryManifest = "registry-manifest"
	kindContradiction    = "opening-contradiction"
	kindBuilder          = "builder-contradiction"
	kindDissent          = "build-dissent" // in a set that the settings name
	kindFrozenGrew       = "frozen-log-grew"

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
	kindUnanswered         = "registry-unanswered"
	kindOpeningsUnusable   = "openings-unusable"
	kindUnknownRules       = "unknown-rules"
	kindPredecessor        = "unknown-predecessor"
	kindChannelBroken      = "channel-broken" // of the program that delivers alerts

	kindUnknownProgram = store.UnknownProgram
	kindUnknownClaim   = store.UnknownClaim
	kindUnproven       = "unproven-files"
	kindVoid           = "void-entry"
	kindRepeat         = "repeated-entry"
	kindNotInRegistry  = "not-in-registry"
	kindNoVerdict      = "opening-no-verdict"
	kindOtherDissent   = "build-dissent-other" // in a set that they do not
	kindSourceless     = "build-without-source"
	kindPublication    = "published-elsewhere" // than from the proven commit
	kindWatch          = "watch"
	kindFrozen         = "log-frozen"
)

// kinds are the kinds of each class; docs/monitoring.md says what each means.
var kinds = map[store.Class][]string{
	store.Security: {
		kindForkSameSize, kindForkPrefix, kindCosignerFork, kindRootMismatch, kindFalseEntry, kindMalformed,
		kindUnsealed, kindSealMismatch, kindIndexOmission, kindIndexPhantom, kindStartMismatch, kindRegistryIndex,
		kindRegistryServed, kindRegistryManifest, kindCrateMismatch, kindContradiction, kindBuilder, kindDissent, kindFrozenGrew,
	},
	store.Operational: {
		kindLogUnreachable, kindLogGarbled, kindEntriesUnavailable, kindQuorumLost, kindStale, kindRollback,
		kindLogBehind, kindWitnessUnreachable, kindWitnessBehind, kindMirrorUnreachable, kindMirrorBehind,
		kindRegistryDown, kindUnanswered, kindOpeningsUnusable, kindUnknownRules, kindPredecessor,
		kindChannelBroken,
	},
	store.Info: {
		kindUnknownProgram, kindUnknownClaim, kindUnproven, kindVoid, kindRepeat, kindNotInRegistry, kindNoVerdict,
		kindOtherDissent, kindSourceless, kindPublication, kindWatch, kindFrozen,
	},
}

// classes is the class of every kind.
var classes = make(map[string]store.Class)

func init() {
	for class, all := range kinds {
		for _, kind := range all {
			classes[kind] = class
		}
	}
}

// maxPerKind bounds the findings of one kind, or of one watch, about one log. What else there is can
// be seen in the entries' own rows.
const maxPerKind = 1000

// maker makes the evidence of a finding.
type maker func() (*evidence.Evidence, error)

// report records a finding once. Its evidence, if it has any, is on the disk before
// the finding is in the store, and the finding is there before the first alert.
func (f *follower) report(ctx context.Context, x store.Finding, watch *store.Watch, build maker) error {
	s := f.store
	x.Log, x.Class = f.id, classes[x.Kind]
	flood := x.Kind // what there may be too much of: of one watch, whatever another one finds
	if watch != nil {
		flood = fmt.Sprintf("%s/%d", x.Kind, watch.ID)
	}
	if _, flooded := f.flooded.Load(flood); flooded {
		return nil // a million findings must not cost a million commits
	}
	if x.FirstSeen.IsZero() {
		x.FirstSeen = f.cfg.Now()
	}
	if _, known, err := s.StandingFinding(ctx, x.Key); err != nil {
		return err
	} else if known {
		_, _, err := s.RecordFinding(ctx, x, nil)
		return err
	}
	if n, err := s.CountFindings(ctx, f.id, x.Kind, x.Watch); err != nil {
		return err
	} else if n >= maxPerKind && x.Class != store.Operational {
		f.flooded.Store(flood, true)
		x.Key, x.Index, x.Name, x.Version = "more/"+flood+"/"+f.origin, -1, "", ""
		x.Summary = fmt.Sprintf("There are more than %d findings of the kind %s about the log %s.",
			maxPerKind, x.Kind, f.origin)
		if watch != nil {
			x.Summary = fmt.Sprintf("There are more than %d findings of the watch of the %s %q about the log %s.",
				maxPerKind, watch.Kind, watch.Value, f.origin)
		}
		x.Detail, build = "The entries themselves say which; no further finding of this kind is recorded one by one.", nil
	}
	var err error
	if build != nil {
		if x.Evidence, err = f.writeEvidence(build); err != nil {
			return fmt.Errorf("evidence of %s: %w", x.Kind, err)
		}
		if x.Evidence == "" {
			x.Detail = strings.TrimSpace(x.Detail +
				" No evidence file could be made of it; see the monitor's messages.")
		}
	}
	got, isNew, err := s.RecordFinding(ctx, x, f.cfg.Route(x, watch))
	if err == nil && isNew {
		f.cfg.Notify()
		f.cfg.Logger.Log(ctx, levelOf(x.Class), x.Summary, "finding", got.ID, "kind", x.Kind, "class", x.Class, "log",
			f.origin, "evidence", x.Evidence)
	}
	return err
}

// writeEvidence makes an evidence file durable and returns its name. What cannot be put
// into one, because it is too large or a newer version may know better, is "" and no error: the finding is worth more
// than its file.
func (f *follower) writeEvidence(build maker) (string, error) {
	e, err := build()
	path := ""
	if err == nil {
		path, err = evidence.Write(f.cfg.EvidenceDir, e)
	}
	if errors.Is(err, evidence.ErrMalformed) || errors.Is(err, evidence.ErrNotProven) || errors.Is(err, evidence.ErrUndecided) {
		f.cfg.Logger.Error("no evidence could be made", "log", f.origin, "err", err)
		return "", nil
	}
	return strings.TrimSuffix(filepath.Base(path), ".evidence"), err
}

// condition is something operational that begins and ends.
type condition struct {
	kind            string
	about           string // a source, "" for the log itself
	active          bool
	since           time.Time
	limit           time.Duration // how long it may last before it is a finding
	summary, detail string
	build           maker
}

// apply records conditions that have lasted too long, and ends those that are over.
func (f *follower) apply(ctx context.Context, all ...condition) error {
	var errs []error
	for _, c := range all {
		errs = append(errs, f.applyOne(ctx, c))
	}
	return errors.Join(errs...)
}

func (f *follower) applyOne(ctx context.Context, c condition) error {
	key := c.kind + "/" + f.origin
	if c.about != "" {
		key += "/" + c.about
	}
	now := f.cfg.Now()
	if c.active {
		if now.Sub(c.since) < c.limit {
			return nil
		}
		return f.report(ctx, store.Finding{Key: key, Kind: c.kind, Summary: c.summary, Detail: c.detail, Index: -1,
			FirstSeen: now}, nil, c.build)
	}
	x, standing, err := f.store.StandingFinding(ctx, key)
	if err != nil || !standing {
		return err
	}
	_, err = f.store.ResolveFinding(ctx, key, now, f.cfg.Route(x, nil))
	f.cfg.Notify()
	f.cfg.Logger.Info("over: "+x.Summary, "finding", x.ID, "kind", c.kind, "log", f.origin)
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
