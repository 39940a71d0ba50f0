package log

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"cratelog/internal/durable"
	"cratelog/internal/web"
	"cratelog/opening"
)

// Peers returns what the processes of a log ask each other: it belongs on an address that strangers do not reach.
// Each request and each answer shows that its sender knows the processes' secret.
func (v *Live) Peers() http.Handler {
	l := v.current.Load().log
	p := &peers{v: v, cluster: l.cfg.Cluster, room: semaphore.NewWeighted(maxWaiting)}
	server := web.Server{Name: "log", Nothing: "There is nothing at this address.", Log: l.log, Refusal: answer}
	return p.signed(server.Handler([]web.Route{
		{Pattern: "GET " + PeersPath, Handler: p.who},
		{Pattern: "POST " + PeersPath, Handler: p.sequence},
	}))
}

type peers struct {
	v       *Live
	cluster *Cluster
	room    *semaphore.Weighted // bytes of requests under way
}

// peerAnswer keeps an answer until it is whole, and its MAC known.
type peerAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *peerAnswer) Header() http.Header { return a.header }
func (a *peerAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}
func (a *peerAnswer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// signed lets only those in who know the secret, before it reads what they send, and shows in each answer to them
// that this process knows it.
func (p *peers) signed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mac, sum, err := p.check(r)
		if err == nil && (r.ContentLength < 0 || r.ContentLength > maxForward) {
			err = fmt.Errorf("a body has at most %d bytes, and says how many", maxForward)
		}
		if err == nil && p.room.Acquire(r.Context(), r.ContentLength) != nil {
			return // it has left
		}
		if err == nil {
			defer p.room.Release(r.ContentLength)
			var body []byte
			if body, err = durable.ReadAll(r.Body, maxForward); err == nil && fmt.Sprintf("%x", sha256.Sum256(body)) != sum {
				err = errors.New("the body is not the one that was signed")
			}
			r.Body = http.NoBody
			r = r.WithContext(context.WithValue(r.Context(), peerBody{}, body))
		}
		a := &peerAnswer{header: w.Header()}
		if err != nil {
			w.Header().Set("Cache-Control", "no-store")
			web.WriteJSON(a, http.StatusUnauthorized, refusalBody{Reason: "unauthorized", Message: "The request is refused: " + err.Error() + "."})
		} else {
			h.ServeHTTP(a, r)
			a.WriteHeader(http.StatusOK)
		}
		if mac != "" { // else it would sign for anybody
			w.Header().Set(headerAnswer, p.cluster.answerMAC(mac, a.status, a.body.Bytes()))
		}
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body.Bytes())
	})
}

type peerBody struct{}

// check returns a request's MAC, if it knows the secret, and the SHA-256 of its body, in hex; and an error if it does
// not or is not new.
func (p *peers) check(r *http.Request) (mac, sum string, err error) {
	fields := strings.Split(r.Header.Get(PeersHeader), ".")
	if len(fields) != 3 {
		return "", "", errors.New("it has no header " + PeersHeader)
	}
	want := p.cluster.requestMAC(r.Method, r.URL.Path, fields[0], fields[1])
	if !hmac.Equal([]byte(want), []byte(fields[2])) {
		return "", "", errors.New("it does not know the secret of this log's processes")
	}
	at, err := strconv.ParseInt(fields[0], 10, 64)
	if age := time.Since(time.UnixMilli(at)); err != nil || age > maxPeerAge || age < -maxPeerAge {
		return fields[2], "", fmt.Errorf("its time is not within %v of this machine's: set the clocks", maxPeerAge)
	}
	return fields[2], fields[1], nil
}

// aboutPeer is what a process says of itself to others.
type aboutPeer struct {
	Origin      string `json:"origin"`
	Role        string `json:"role"`
	Lease       string `json:"lease"`
	AddDeadline string `json:"add_deadline"`
}

// who says what this process is.
func (p *peers) who(w http.ResponseWriter, r *http.Request) error {
	l := p.v.current.Load().log
	c := l.cfg.Cluster
	web.WriteJSON(w, http.StatusOK, aboutPeer{l.cfg.Origin, l.role(), c.Lease.String(), c.Tree.AddDeadline.String()})
	return nil
}

// sequence takes an entry that a front end has checked.
func (p *peers) sequence(w http.ResponseWriter, r *http.Request) error {
	if p.v.gone.Load() || !p.v.writes.enter(r.Context(), gatePatience) {
		return refuse(ShuttingDown, nil, "This process takes over another role.")
	}
	defer p.v.writes.leave()
	body, _ := r.Context().Value(peerBody{}).([]byte)
	idx, err := p.v.current.Load().log.takeForwarded(WithClient(r.Context(), "front end "+web.Client(r)), body)
	if err != nil {
		return err
	}
	web.WriteJSON(w, http.StatusOK, forwarded{idx})
	return nil
}

// takeForwarded puts an entry that a front end has checked into the tree, once. What costs little is checked again, and
// the proof; what the .crate, the registry and other logs say, is the front end's word.
func (l *Log) takeForwarded(ctx context.Context, raw []byte) (uint64, error) {
	f, err := parseForward(raw)
	if err != nil {
		return 0, refuse(MalformedRequest, err, "The request is not one of a front end: %v.", err)
	}
	if l.front() {
		return 0, refuse(ShuttingDown, nil, "This process is not the sequencer.")
	}
	s, err := l.parse(f.Entry)
	if err == nil {
		err = l.accepting()
	}
	if err != nil {
		return 0, err
	}
	idx, known, err := l.standing(ctx, s)
	if err == nil && !known {
		if err = l.checkForwarded(ctx, s, f); err == nil {
			idx, err = l.place(ctx, s)
		}
	}
	return idx, whereToLook(err)
}

// checkForwarded is what is left of check and checkBuild.
func (l *Log) checkForwarded(ctx context.Context, s *submission, f wireForward) error {
	if err := l.canStore(ctx); err != nil {
		return err
	}
	if err := l.takesRegistry(s.entry.Subject); err != nil {
		return err
	}
	if s.build != nil {
		if err := l.checkSettings(s); err != nil {
			return err
		}
		var err error
		if s.crates, err = readList(s, bytes.NewReader(f.List)); err != nil {
			return err
		}
	}
	if s.build == nil && f.List != nil || s.build != nil && (f.Opening != nil || f.Nameless) ||
		len(f.Opening) > opening.MaxSize {
		return refuse(MalformedRequest, nil, "The request has parts that its entry cannot have.")
	}
	if f.Opening != nil && l.cfg.Openings == OpeningsOff {
		return refuse(OpeningRefused, nil, "The sequencer keeps no openings: its settings are not those of the front end.")
	}
	if _, err := l.checkProof(ctx, s); err != nil {
		return err
	}
	s.opening, s.nameless, s.proved = f.Opening, f.Nameless, s.build != nil
	return nil
}

// whereToLook tells a front end at which entry its own tree shows what stands in an entry's way.
func whereToLook(err error) error {
	var version *conflictError
	var builder *contradictionError
	var idx uint64
	reason := VersionConflict
	switch {
	case errors.As(err, &version):
		if !version.Inherited {
			idx = version.First
		} // else the log's first leaf says so
	case errors.As(err, &builder):
		reason, idx = BuilderContradiction, builder.idx
	default:
		return err
	}
	r := refuse(reason, err, "Entry %d stands in its way.", idx)
	r.Index = &idx
	return r
}
