package log

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"cratelog/internal/vitals"
)

// healthBody is the JSON of /healthz.
type healthBody struct {
	vitals.Health
	Indexed    uint64          `json:"indexed"`
	Published  uint64          `json:"published"`
	Signed     uint64          `json:"signed"`
	AgeSeconds float64         `json:"checkpoint_age_seconds"` // -1: nothing published
	Cluster    *healthCluster  `json:"cluster,omitempty"`      // of one process of several
	Witnesses  []healthWitness `json:"witnesses"`
}

type healthWitness struct {
	Name  string    `json:"name"`
	OK    time.Time `json:"last_cosigned,omitzero"` // when a valid cosignature came; missing: not since the start
	Size  int64     `json:"last_cosigned_size"`     // of the tree that it was for
	Error string    `json:"error,omitempty"`
}

// maxBehind is how far the clock may stand behind the newest cosignature before that is a problem:
// a witness bears with as much.
const maxBehind = 5 * time.Minute

// condition is what the log watches of itself: the room on its disks, and since when there is what may
// be there for a moment.
type condition struct {
	room *vitals.Room

	mu      sync.Mutex
	backlog since // owned by mu; entries wait to be published
	unread  since // owned by mu; what is published cannot be read
	reading error // owned by mu; why it could not be read last
	behind  since // owned by mu; what is published is not indexed
}

// since is when something that is true became so, or the zero time.
type since time.Time

// lasted says whether something has been true for longer than d.
func (s *since) lasted(is bool, now time.Time, d time.Duration) bool {
	switch {
	case !is:
		*s = since{}
	case time.Time(*s).IsZero():
		*s = since(now)
	}
	return is && now.Sub(time.Time(*s)) > d
}

// longSince is for how long the index may stay behind.
const longSince = 10 * time.Second

// probes answer /livez, /readyz and /healthz.
func (l *Log) probes() vitals.Probes {
	return vitals.Probes{
		Ready: func(context.Context) []string { return l.unready(time.Now()) },
		Health: func(context.Context) (any, vitals.Health) {
			b := l.health()
			return b, b.Health
		},
	}
}

// unready returns why a submission would get no bundle now.
func (l *Log) unready(now time.Time) []string {
	var all []string
	if err := l.halt.reason(); err != nil {
		all = append(all, "halted: "+err.Error())
	}
	l.mu.Lock()
	if l.closing {
		all = append(all, "the log is shutting down")
	}
	l.mu.Unlock()
	if l.front() && l.frozen == nil {
		all = append(all, l.sequencer.absent(now)...)
	}
	return slices.Concat(all, l.unreadable(now), l.unpublished(now), l.storageProblems(), l.condition.room.Full())
}

// unreadable says that what is published has not been read for a while: of a tree that machines share the store is
// away.
func (l *Log) unreadable(now time.Time) []string {
	l.condition.mu.Lock()
	defer l.condition.mu.Unlock()
	if err := l.condition.reading; l.condition.unread.lasted(err != nil, now, longSince) {
		return []string{"what is published cannot be read: " + err.Error()}
	}
	return nil
}

// unpublished says that the witnesses' quorum is away.
func (l *Log) unpublished(now time.Time) []string {
	head, indexed := l.published.head(), l.indexedSize()
	grace := 3*l.cfg.CheckpointInterval.Duration + l.cfg.WitnessTimeout.Duration
	l.condition.mu.Lock()
	defer l.condition.mu.Unlock()
	switch late := l.condition.backlog.lasted(head.raw != nil && indexed > head.size, now, grace); {
	case head.raw == nil:
		return []string{"nothing is published yet: the witnesses' quorum has not cosigned a checkpoint"}
	case late && now.Sub(head.at) > grace:
		return []string{fmt.Sprintf("a backlog of %d entries is not published: the witnesses' quorum does not cosign",
			indexed-head.size)}
	case now.Sub(head.at) > l.cfg.RepublishInterval.Duration+grace:
		return []string{"the checkpoint is old: the witnesses' quorum does not cosign"}
	}
	return nil
}

// unwell returns what is wrong although submissions get their bundles.
func (l *Log) unwell(now time.Time) []string {
	var all []string
	if _, refusal := l.guard.mark(); refusal != nil {
		all = append(all, "the guard refused to sign: "+refusal.Error())
	}
	head, indexed := l.published.head(), l.indexedSize()
	l.condition.mu.Lock()
	if l.condition.behind.lasted(head.size > indexed, now, longSince) {
		all = append(all, fmt.Sprintf("the index knows %d entries of %d that are published", indexed, head.size))
	}
	l.condition.mu.Unlock()
	if head.raw != nil {
		if c, err := l.policy.CheckCheckpoint(head.raw); err == nil && c.Witnessed.Sub(now) > maxBehind {
			all = append(all, fmt.Sprintf("the clock is wrong: it says %s, but the witnesses cosigned at %s; set it",
				now.UTC().Format(time.RFC3339), c.Witnessed.UTC().Format(time.RFC3339)))
		}
	}
	return all
}

func (l *Log) indexedSize() uint64 {
	l.indexing.Lock()
	defer l.indexing.Unlock()
	return l.indexed
}

// health is what /healthz says: all is well when entries are accepted and published, and nothing
// else needs the operator.
func (l *Log) health() healthBody {
	now := time.Now()
	all := slices.Concat(l.unready(now), l.unwell(now), l.condition.room.Problems())
	for _, more := range l.problems {
		all = append(all, more()...)
	}
	var problems []string // each once
	for _, p := range all {
		if !slices.Contains(problems, p) {
			problems = append(problems, p)
		}
	}
	mark, _ := l.guard.mark()
	b := healthBody{Health: vitals.Of(problems), Indexed: l.indexedSize(), Published: l.published.head().size,
		Signed: mark.Size, AgeSeconds: l.checkpointAge(now), Cluster: l.healthCluster(now)}
	for _, wit := range l.witnesses {
		s := l.transport.of(wit.Name)
		b.Witnesses = append(b.Witnesses, healthWitness{wit.Name, s.ok, s.size, cmp.Or(l.ask.claim(wit.URL), s.err)})
	}
	return b
}

// checkpointAge returns the seconds since the published checkpoint was written, which may have been
// before the start; -1: there is none.
func (l *Log) checkpointAge(now time.Time) float64 {
	head := l.published.head()
	if head.raw == nil {
		return -1
	}
	at := head.at
	if head.written.Before(at) {
		at = head.written
	}
	return max(now.Sub(at).Seconds(), 0)
}

// openCondition begins to watch. It comes last: what it shows at the start is the truth.
func (l *Log) openCondition(context.Context) error {
	var places []vitals.Place
	if l.cfg.Cluster == nil {
		places = append(places, vitals.Place{Name: "tree", Path: l.cfg.TreeDir})
	}
	places = append(places, vitals.Place{Name: "state", Path: l.cfg.StateDir})
	if l.cfg.testingOnlyPlace != "" {
		places = append(places, vitals.Place{Name: "test", Path: l.cfg.testingOnlyPlace})
	}
	l.condition.room = vitals.NewRoom(places...)
	if l.cfg.Problems != nil {
		l.problems = append(l.problems, l.cfg.Problems)
	}
	l.metrics.indexed.Set(float64(l.indexedSize()))
	l.metrics.registry.MustRegister(l.condition.room.Collectors()...)
	return nil
}
