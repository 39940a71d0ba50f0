package log

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"cratelog/internal/web"
)

// healthBody is the JSON of /healthz.
type healthBody struct {
	OK         bool            `json:"ok"`
	Problems   []string        `json:"problems"`
	Indexed    uint64          `json:"indexed"`
	Published  uint64          `json:"published"`
	Signed     uint64          `json:"signed"`
	AgeSeconds float64         `json:"checkpoint_age_seconds"` // -1: nothing published
	Witnesses  []healthWitness `json:"witnesses"`
}

type healthWitness struct {
	Name  string    `json:"name"`
	OK    time.Time `json:"last_cosigned"` // zero: not since the start
	Error string    `json:"error,omitempty"`
}

// healthz answers 200 when entries are accepted and published, else 503 with
// the problems in words.
func (l *Log) healthz(w http.ResponseWriter, r *http.Request) error {
	b, code := l.health(), http.StatusOK
	if !b.OK {
		code = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	web.WriteJSON(w, code, b)
	return nil
}

func (l *Log) health() healthBody {
	head, now := l.published.head(), time.Now()
	mark, refusal := l.guard.mark()
	l.indexing.Lock()
	b := healthBody{Problems: []string{}, Indexed: l.indexed, Published: head.size, Signed: mark.Size, AgeSeconds: -1}
	l.indexing.Unlock()
	if head.raw != nil {
		b.AgeSeconds = now.Sub(head.at).Seconds()
	}
	if err := l.halt.reason(); err != nil {
		b.Problems = append(b.Problems, "halted: "+err.Error())
	}
	if refusal != nil {
		b.Problems = append(b.Problems, "the guard refused to sign: "+refusal.Error())
	}
	grace := 3*l.cfg.CheckpointInterval.Duration + l.cfg.WitnessTimeout.Duration
	switch {
	case head.raw == nil:
		b.Problems = append(b.Problems, "nothing is published yet: the witnesses' quorum has not cosigned a checkpoint")
	case b.Indexed > head.size && now.Sub(head.at) > grace:
		b.Problems = append(b.Problems, "a backlog of "+strconv.FormatUint(b.Indexed-head.size, 10)+
			" entries is not published: the witnesses' quorum does not cosign")
	case now.Sub(head.at) > l.cfg.RepublishInterval.Duration+grace:
		b.Problems = append(b.Problems, "the checkpoint is old: the witnesses' quorum does not cosign")
	}
	for _, problems := range l.problems {
		b.Problems = append(b.Problems, problems()...)
	}
	for _, wit := range l.witnesses {
		s := l.transport.of(wit.Name)
		s.err = cmp.Or(l.ask.claim(wit.URL), s.err)
		b.Witnesses = append(b.Witnesses, healthWitness{wit.Name, s.ok, s.err})
	}
	b.OK = len(b.Problems) == 0
	return b
}
