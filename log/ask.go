package log

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/internal/durable"
)

// asker asks the log's witnesses what they saw last, before anything is signed after a start. The guard
// knows what was signed as long as its memory is the newest; the witnesses know it also where tree and
// state were restored together from a snapshot, or where the key signs on another machine too.
//
//   - A checkpoint that the log's own key has signed, and that is larger than the tree or of another tree,
//     convicts: the log halts, and signs nothing more.
//   - A number without such a checkpoint (409 of add-checkpoint) is one witness's word. It is shown, and
//     this witness does not count as one that was asked.
//   - Nothing is signed until a quorum of witnesses has been asked, and has said nothing of the kind. Without
//     a quorum nothing could be published anyway, so waiting takes nothing away; entries are accepted
//     meanwhile. The checkpoint of the empty tree is excepted: it contradicts no other.
type asker struct {
	l    *Log
	http *http.Client
	hash string // SHA-256 of the origin in hex, as in a witness's monitoring URL

	wake  chan struct{} // has room for one
	first chan struct{} // closed when a quorum, or all, have been asked once

	mu        sync.Mutex
	said      map[string]answered // by URL; owned by mu
	convicted error               // owned by mu
}

// answered is what a witness has said.
type answered struct {
	clear bool   // it knows no more than the tree
	err   string // else why not
}

func newAsker(l *Log) *asker {
	return &asker{
		l: l, hash: fmt.Sprintf("%x", sha256.Sum256([]byte(l.cfg.Origin))),
		http: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			Timeout:   l.cfg.WitnessTimeout.Duration,
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			},
		},
		wake: make(chan struct{}, 1), first: make(chan struct{}), said: make(map[string]answered),
	}
}

// permit returns an error while a checkpoint of size entries must not be signed.
func (a *asker) permit(size uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.convicted != nil {
		return a.convicted
	}
	if size == 0 || a.quorum() {
		return nil
	}
	var waits []string
	for _, w := range a.l.witnesses {
		if s := a.said[w.URL]; !s.clear {
			waits = append(waits, w.Name+": "+s.text())
		}
	}
	return fmt.Errorf("nothing is signed before a quorum of witnesses has said what it saw last (%s)",
		strings.Join(waits, "; "))
}

func (s answered) text() string {
	if s.err == "" {
		return "not asked yet"
	}
	return s.err
}

// quorum is called with mu held.
func (a *asker) quorum() bool {
	return a.l.policy.Quorum(func(w client.PolicyWitness) bool { return a.said[w.URL].clear })
}

// problems are the sentences for /healthz.
func (a *asker) problems() []string {
	if a == nil {
		return nil
	}
	if err := a.permit(1); err != nil && !errors.Is(err, ErrRollback) { // that one has halted the log
		return []string{err.Error()}
	}
	return nil
}

// claim is what is wrong with what a witness says, for its row in /healthz.
func (a *asker) claim(url string) string {
	if a == nil {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.said[url].err
}

// run asks until all witnesses have been asked, and again when there is a doubt, until ctx ends.
func (a *asker) run(ctx context.Context) {
	pause := a.l.cfg.CheckpointInterval.Duration
	for {
		all := a.round(ctx)
		wait := pause
		if pause = min(2*pause, 10*time.Second); all {
			wait, pause = 24*time.Hour, a.l.cfg.CheckpointInterval.Duration
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-a.wake:
			// Witnesses in doubt are not asked more often than this.
			t.Stop()
			select {
			case <-ctx.Done():
				return
			case <-time.After(a.l.cfg.CheckpointInterval.Duration):
			}
		}
	}
}

// round asks all who are not clear, and says whether there is none left.
func (a *asker) round(ctx context.Context) (all bool) {
	var g sync.WaitGroup
	asked := map[string]bool{}
	for _, w := range a.l.witnesses {
		a.mu.Lock()
		skip := asked[w.URL] || a.said[w.URL].clear
		a.mu.Unlock()
		if skip {
			continue
		}
		asked[w.URL] = true
		g.Go(func() { a.take(w, a.ask(ctx, w)) })
	}
	g.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.firstRound()
	return !slices.ContainsFunc(a.l.witnesses, func(w client.PolicyWitness) bool { return !a.said[w.URL].clear })
}

// firstRound is called with mu held.
func (a *asker) firstRound() {
	select {
	case <-a.first:
	default:
		close(a.first)
	}
}

// take keeps what a witness has said.
func (a *asker) take(w client.PolicyWitness, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case errors.Is(err, ErrRollback):
		if a.convicted == nil {
			a.convicted = err
		}
		a.said[w.URL] = answered{err: "it has a checkpoint that convicts this log"}
		a.firstRound()
		a.l.halt.now(err)
	case err != nil:
		if a.said[w.URL].err != err.Error() {
			a.l.log.Warn("a witness does not say what it saw last", "witness", w.Name, "err", err)
		}
		a.said[w.URL] = answered{err: err.Error()}
	default:
		a.said[w.URL] = answered{clear: true}
		if a.quorum() {
			a.firstRound()
		}
	}
}

// refused is called when a witness refuses a checkpoint. An honest one that knows more of this log than
// the tree has, or another tree, does so in one of these ways, and is asked again. That it knows less is
// told in the same way, and is no reason.
func (a *asker) refused(endpoint string, status int, contentType string, body []byte) {
	err := fmt.Errorf("it refuses a checkpoint of this log with %d, and has not said why yet", status)
	if status == http.StatusConflict && contentType == "text/x.tlog.size" {
		if err = a.compareSize(a.l.ctx, string(body)); err == nil {
			return
		}
	}
	for _, w := range a.l.witnesses {
		if e, err := endpointOf(w.URL); err != nil || e != endpoint {
			continue
		}
		a.mu.Lock()
		a.said[w.URL] = answered{err: err.Error()}
		a.mu.Unlock()
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// ask returns nil if a witness knows nothing that the tree does not have, and an ErrRollback if it has a
// checkpoint that this log's key signed, and that the tree does not continue.
//
// SPEC (tlog-witness): "The witness SHOULD serve [...] the latest checkpoint" at
// <monitoring prefix>/<SHA-256 of the origin>/checkpoint. Where it serves none there, the submission
// endpoint still answers an old size that is not its own with that one.
func (a *asker) ask(ctx context.Context, w client.PolicyWitness) error {
	ctx, cancel := context.WithTimeout(ctx, 2*a.l.cfg.WitnessTimeout.Duration)
	defer cancel()
	u, err := url.Parse(w.URL)
	if err != nil {
		return err
	}
	status, _, body, err := a.do(ctx, http.MethodGet, u.JoinPath(a.hash, "checkpoint").String(), nil)
	if err != nil {
		return errors.New("it does not answer")
	}
	if status == http.StatusOK {
		if err = a.judge(ctx, w, body); !errors.Is(err, errNotOurs) {
			return err
		}
	}
	return a.probe(ctx, w)
}

func (a *asker) do(ctx context.Context, method, url string, body []byte) (status int, contentType string,
	answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", nil, err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	answer, err = durable.ReadAll(resp.Body, maxWitnessReply)
	return resp.StatusCode, resp.Header.Get("Content-Type"), answer, err
}

var errNotOurs = errors.New("what it shows is no checkpoint that this log's key has signed")

// judge compares a checkpoint that a witness shows with the tree.
func (a *asker) judge(ctx context.Context, w client.PolicyWitness, signed []byte) error {
	c, err := a.l.ownCheckpoint(signed)
	if err != nil {
		return errNotOurs
	}
	state, err := a.l.tree.State(ctx) // after the witness was asked
	if err != nil {
		return err
	}
	size := uint64(c.Size)
	if size > state.Size {
		return a.convict(w, c, fmt.Sprintf("the tree here has %d", state.Size))
	}
	if size == 0 {
		return nil
	}
	root, err := rootAt(ctx, size, a.l.verified.tiles(treeHead{state.Size, state.Root}))
	if err != nil {
		return fmt.Errorf("its checkpoint cannot be compared with the tree: %w", err)
	}
	if root != c.Root {
		return a.convict(w, c, "its root is not that of as many entries of the tree here")
	}
	return nil
}

// signedElsewhere is the file in the state directory that keeps what convicts this log.
const signedElsewhere = "signed-elsewhere.checkpoint"

func (a *asker) convict(w client.PolicyWitness, c client.Checkpoint, why string) error {
	path := filepath.Join(a.l.cfg.StateDir, signedElsewhere)
	if err := durable.Write(path, c.Signed, 0o600); err != nil {
		a.l.log.Error("cannot keep the checkpoint that a witness shows", "err", err, "checkpoint", string(c.Signed))
	}
	return fmt.Errorf("%w: the witness %s has a checkpoint of %d entries, signed with this log's key, but %s "+
		"(%s has it). "+
		"Tree and state are an old copy, or the key signs on another machine too. Nothing is signed or accepted here. "+
		"If the newer tree and its state exist, use those; if not, start a new log under a new origin",
		ErrRollback, w.Name, c.Size, why, path)
}

// probe learns from the submission endpoint what size a witness knows.
func (a *asker) probe(ctx context.Context, w client.PolicyWitness) error {
	signed, err := a.probeCheckpoint()
	if err != nil {
		return err
	}
	endpoint, err := endpointOf(w.URL)
	if err != nil {
		return err
	}
	status, contentType, answer, err := a.do(ctx, http.MethodPost, endpoint, slices.Concat([]byte("old 0\n\n"), signed))
	if err != nil {
		return errors.New("it does not answer")
	}
	switch {
	case status == http.StatusOK:
		return nil // it knew nothing of this log
	case status == http.StatusConflict && contentType == "text/x.tlog.size":
		return a.compareSize(ctx, string(answer))
	}
	return fmt.Errorf("it shows no checkpoint of this log, and answers one of it with %d", status)
}

// compareSize takes a size without a signature for what it is: a word.
func (a *asker) compareSize(ctx context.Context, text string) error {
	size, err := strconv.ParseUint(strings.TrimSuffix(text, "\n"), 10, 63)
	if err != nil {
		return errors.New("it answers 409 with what is no size")
	}
	state, err := a.l.tree.State(ctx)
	if err == nil && size > state.Size {
		err = fmt.Errorf("it says that it knows %d entries of this log, which has %d, and shows no checkpoint of them: "+
			"either it is wrong, or tree and state here are an old copy", size, state.Size)
	}
	return err
}

// probeCheckpoint is the last that was signed, or else that of the empty tree, which contradicts none.
func (a *asker) probeCheckpoint() ([]byte, error) {
	if head, _ := a.l.guard.mark(); head.Note != nil {
		return head.Note, nil
	}
	empty, err := rootAt(context.Background(), 0, nil)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("%s\n0\n%s\n", a.l.cfg.Origin, empty)
	return note.Sign(&note.Note{Text: text}, a.l.guard)
}

// openAsk begins to ask the witnesses. It comes after Tessera, whose tiles it compares with, and which
// signs nothing meanwhile.
func (l *Log) openAsk(context.Context) error {
	if l.follows() { // it signs nothing
		l.ask = nil
		return nil
	}
	l.problems = append(l.problems, l.ask.problems)
	l.watcher.Go(func() { l.ask.run(l.ctx) })
	return nil
}

// awaitAsk waits for the first answers: what convicts the log is better known before it accepts anything.
func (l *Log) awaitAsk(ctx context.Context) error {
	if l.ask == nil {
		return nil
	}
	t := time.NewTimer(l.cfg.WitnessTimeout.Duration)
	defer t.Stop()
	select {
	case <-l.ask.first:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
