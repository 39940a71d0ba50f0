package log

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/transparency-dev/tessera"
	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/internal/testlog"
)

// line is what a key adds to a checkpoint.
func cosigLine(head string, k *testlog.Key) []byte { return testlog.Sign(head, k)[len(head)+1:] }

// published waits for a published checkpoint of at least n entries and returns it as a policy sees it.
func (w *world) published(l *Log, n uint64, policy []byte) client.Checkpoint {
	w.t.Helper()
	p := testlog.Must(client.ParsePolicy(policy))
	var c client.Checkpoint
	eventually(w.t, fmt.Sprintf("%d entries are published", n), func() bool { return l.published.head().size >= n })
	c, err := p.CheckCheckpoint(l.published.head().raw)
	fatalIf(w.t, err)
	return c
}

func cosigners(c client.Checkpoint) string {
	var names []string
	for _, s := range c.Cosignatures {
		names = append(names, s.Witness)
	}
	return strings.Join(names, " ")
}

// TestASlowWitnessIsInTheCheckpoint, though the others make the quorum without it.
func TestASlowWitnessIsInTheCheckpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.WitnessTimeout.Duration, w.cfg.CosignatureGrace.Duration = time.Minute, time.Minute // a machine may be busy
	w.witnesses[2].mangles(func(_ string, answer []byte) []byte {
		time.Sleep(100 * time.Millisecond)
		return answer
	})
	l := w.open()
	w.fill(l, "a", 3)
	if got := cosigners(w.published(l, 3, w.trust)); got != "w0 w1 w2" {
		t.Errorf("cosigned by %s", got)
	}
}

// TestAWitnessThatHangsIsNotWaitedForTwice: the others' checkpoints go out after the grace, then without
// any, and what is said of it is true.
func TestAWitnessThatHangsIsNotWaitedForTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.WitnessTimeout.Duration, w.cfg.CosignatureGrace.Duration = time.Minute, 10*time.Millisecond
	gate := make(chan struct{})
	var asked atomic.Int32
	w.witnesses[2].answer(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-gate
	})
	l := w.open()
	t.Cleanup(func() { close(gate) })
	w.fill(l, "a", 2)
	if got := cosigners(w.published(l, 4, w.trust)); got != "w0 w1" {
		t.Errorf("cosigned by %s", got)
	}
	if s := l.transport.of("w2"); !s.ok.IsZero() || s.err != "had not answered 10ms after the others made the quorum" {
		t.Errorf("w2: %+v", s)
	}
	if n := asked.Load(); n > 2 { // one of them asks what it has seen, before anything is signed
		t.Errorf("the witness that hangs has %d requests at once", n)
	}
	if s := l.transport.of("w0"); s.ok.IsZero() || s.size != 4 || s.err != "" {
		t.Errorf("w0: %+v", s)
	}
}

// TestALateCosignatureIsKnownToBeLate: it counts as a sign of life, and says why no reader sees it.
func TestALateCosignatureIsKnownToBeLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.WitnessTimeout.Duration, w.cfg.CosignatureGrace.Duration = time.Minute, 10*time.Millisecond
	w.cfg.RepublishInterval.Duration = time.Hour
	gate := make(chan struct{})
	w.witnesses[2].mangles(func(_ string, answer []byte) []byte {
		<-gate
		return answer
	})
	l := w.open()
	eventually(t, "the empty tree is published", func() bool { return l.published.head().raw != nil })
	close(gate)
	eventually(t, "the late one is noted", func() bool { return !l.transport.of("w2").ok.IsZero() })
	if s := l.transport.of("w2"); !strings.Contains(s.err, "too long after the others") {
		t.Errorf("w2: %+v", s)
	}
}

// TestTwoKeysOfOneWitnessAreBothInTheCheckpoint, asked for once, so that a reader of either key is served.
func TestTwoKeysOfOneWitnessAreBothInTheCheckpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next := testlog.WitnessKey("witness.test/0new", time.Time{})
	next.Time = time.Now
	pq := testlog.MLDSAKey(w.witnesses[0].signer.KeyName, time.Time{})
	pq.Time = time.Now
	w.witnesses[0].mangles(func(head string, answer []byte) []byte {
		return bytes.Join([][]byte{answer, cosigLine(head, next), cosigLine(head, pq)}, nil)
	})
	old := string(w.trust)
	at := w.witnesses[0].server.URL
	w.cfg.Policy = []byte(strings.Replace(strings.Replace(old, "group g", fmt.Sprintf(
		"witness w0new %s %s\nwitness w0pq %s %s\ngroup w0all all w0 w0new w0pq\ngroup g", next.VKey, at, pq.VKey, at), 1),
		"g 2 w0 w1", "g 2 w0all w1", 1))
	l := w.open()
	w.fill(l, "a", 3)
	w.published(l, 3, w.trust)
	c := w.published(l, 3, w.cfg.Policy)
	if got := cosigners(c); got != "w0 w1 w2 w0new w0pq" {
		t.Errorf("cosigned by %s", got)
	}
	for _, vkey := range []string{w.witnesses[0].signer.VKey, next.VKey, pq.VKey} {
		only := strings.Split(old, "\n")[0] + "\nwitness w " + vkey + "\nquorum w\n"
		if _, err := testlog.Must(client.ParsePolicy([]byte(only))).CheckCheckpoint(l.published.head().raw); err != nil {
			t.Errorf("a reader of one key: %v", err)
		}
	}
	for _, name := range []string{"w0", "w0new", "w0pq"} {
		if s := l.transport.of(name); s.ok.IsZero() || s.err != "" {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestAWitnessThatLiesIsCaughtAndHoldsUpNobody: whatever one of three answers, the log goes on under the
// other two, publishes nothing that a reader refuses, and says what was wrong.
func TestAWitnessThatLiesIsCaughtAndHoldsUpNobody(t *testing.T) {
	t.Parallel()
	other := testlog.WitnessKey("stranger.test", time.Now())
	flip := func(b []byte) []byte { // the last characters of the base64 stand for bits of the signature
		b = bytes.Clone(b)
		b[len(b)-20] = 'A' + (b[len(b)-20]-'A'+1)%26
		return b
	}
	const noValid = "without a valid cosignature"
	for name, lie := range map[string]struct {
		mangle func(head string, answer []byte) []byte
		err    string // "": what it answers is good enough
	}{
		"nothing":           {func(string, []byte) []byte { return nil }, noValid},
		"garbage":           {func(string, []byte) []byte { return []byte("<html>\n\n— x y\n") }, noValid},
		"a bad signature":   {func(_ string, a []byte) []byte { return flip(a) }, noValid},
		"another key":       {func(h string, _ []byte) []byte { return cosigLine(h, other) }, noValid},
		"another tree":      {func(string, []byte) []byte { return nil }, noValid},
		"the head alone":    {func(h string, _ []byte) []byte { return []byte(h) }, noValid},
		"too much":          {func(_ string, a []byte) []byte { return append(a, make([]byte, maxWitnessReply)...) }, "answered more than"},
		"bad, then good":    {func(_ string, a []byte) []byte { return append(flip(a), a...) }, ""},
		"good, then bad":    {func(_ string, a []byte) []byte { return append(bytes.Clone(a), flip(a)...) }, ""},
		"good, twice":       {func(_ string, a []byte) []byte { return append(bytes.Clone(a), a...) }, ""},
		"junk, then good":   {func(h string, a []byte) []byte { return append(bytes.Repeat(cosigLine(h, other), 300), a...) }, ""},
		"another encoding":  {func(_ string, a []byte) []byte { return otherBase64(a) }, ""},
		"no newline at end": {func(_ string, a []byte) []byte { return bytes.TrimSuffix(a, []byte("\n")) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.witnesses[2].mangles(lie.mangle)
			if name == "another tree" {
				head := testlog.Head(testOrigin, 0, newMemoryTree(1).Root(1))
				w.witnesses[2].mangles(func(string, []byte) []byte { return cosigLine(head, w.witnesses[2].signer) })
			}
			l := w.open()
			w.fill(l, "a", 2)
			s := l.transport.of("w2")
			if lie.err == "" && (s.ok.IsZero() || s.err != "") || lie.err != "" && (!s.ok.IsZero() || !strings.Contains(s.err, lie.err)) {
				t.Errorf("%+v", s)
			}
			w.published(l, 2, w.trust)
			strict := bytes.Replace(w.trust, []byte("group g 2"), []byte("group g all"), 1)
			if lie.err == "" {
				w.published(l, 2, strict)
			}
		})
	}
}

// otherBase64 writes a signature with other unused bits, which decoders take.
func otherBase64(answer []byte) []byte {
	text := strings.TrimSuffix(string(answer), "\n")
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	at := len(strings.TrimRight(text, "=")) - 1
	if at == len(text)-1 {
		panic("the signature has no unused bits")
	}
	c := alphabet[strings.IndexByte(alphabet, text[at])|1]
	out := text[:at] + string(c) + text[at+1:] + "\n"
	decode := func(line string) []byte {
		return testlog.Must(base64.StdEncoding.DecodeString(strings.TrimSuffix(line[strings.LastIndexByte(line, ' ')+1:], "\n")))
	}
	if out == text+"\n" || !bytes.Equal(decode(out), decode(text)) {
		panic("not another encoding of the same")
	}
	return []byte(out)
}

// TestAWitnessThatKnowsMoreIsShown: a larger size than the log's is said, in words, although the others
// make the quorum.
func TestAWitnessThatKnowsMoreIsShown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind, body, want string
	}{
		"more":    {"text/x.tlog.size", "700\n", "has cosigned 700 entries of this log, which has"},
		"always":  {"text/x.tlog.size", "0\n", "answered 409: it has cosigned 0 entries"},
		"no size": {"text/plain", "no\n", "answered 409 without a size"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.witnesses[2].answer(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", c.kind)
				rw.WriteHeader(http.StatusConflict)
				fmt.Fprint(rw, c.body)
			})
			l := w.open()
			w.fill(l, "a", 2)
			if s := l.transport.of("w2"); !s.ok.IsZero() || !strings.Contains(s.err, c.want) {
				t.Errorf("%+v, want %s", s, c.want)
			}
		})
	}
}

// TestTheLogsKeysChangeOneAfterTheOther: old, old and new, new, of either kind; each checkpoint is signed
// with all of them, and a memory that knows none of the keys is refused.
func TestTheLogsKeysChangeOneAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := Key{w.cfg.Signer, w.cfg.VKey}
	pq := testlog.MLDSAKey(testOrigin, time.Time{})
	pq.Time = time.Now
	next := Key{pq, pq.VKey}
	third := testlog.LogKey(testOrigin, "third")
	use := func(keys ...Key) {
		w.cfg.Signer, w.cfg.VKey, w.cfg.MoreKeys = keys[0].Signer, keys[0].VKey, keys[1:]
		rest := strings.SplitAfterN(string(w.trust), "\n", 2)[1]
		w.cfg.Policy = fmt.Appendf(nil, "log %s\nlog %s\nlog %s\n%s", old.VKey, next.VKey, third.VKey, rest)
	}
	readers := func(l *Log, n uint64, vkeys ...string) {
		t.Helper()
		rest := strings.SplitAfterN(string(w.trust), "\n", 2)[1]
		for _, vkey := range vkeys {
			w.published(l, n, []byte("log "+vkey+"\n"+rest))
		}
	}
	l := w.open()
	w.fill(l, "a", 1)
	w.closeLog(l)

	use(Key{third, third.VKey})
	w.wantNoOpen(nil, "the settings name \"log.test/2026\" with none of them", "let the old and the new one sign for a while")
	use(old, next)
	l = w.open()
	w.fill(l, "b", 1)
	readers(l, 2, old.VKey, next.VKey)
	mark, _ := l.guard.mark()
	if n := bytes.Count(mark.Note, []byte("\n— ")); n != 2 {
		t.Errorf("the guard remembers %d signatures", n)
	}
	w.closeLog(l)

	for _, c := range w.witnesses { // they know the newest key now
		c.logKey = testlog.Must(note.NewVerifier(third.VKey))
	}
	w.trust = []byte("log " + third.VKey + "\n" + strings.SplitAfterN(string(w.trust), "\n", 2)[1])
	use(next, Key{third, third.VKey})
	l = w.open()
	w.fill(l, "c", 1)
	readers(l, 3, next.VKey, third.VKey)
	w.closeLog(l)
	use(Key{third, third.VKey})
	l = w.open()
	w.fill(l, "d", 1)
	readers(l, 4, third.VKey)
	w.closeLog(l)
	use(old)
	w.wantNoOpen(nil, "with none of them: use the state directory of this log")
}

// TestAFurtherKeySignsOnlyWhatTheGuardHasSigned.
func TestAFurtherKeySignsOnlyWhatTheGuardHasSigned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.MoreKeys = []Key{{testlog.LogKey(testOrigin, "next"), testlog.LogKey(testOrigin, "next").VKey}}
	tree := newMemoryTree(10)
	g := openedGuard(t, w.cfg.keys(), tree)
	defer func() { g.close() }()
	more := g.others()[0]
	refuses := func(head string) {
		t.Helper()
		if sig, err := more.Sign([]byte(head)); sig != nil || err == nil {
			t.Errorf("signed %q: %x", head, sig)
		}
	}
	refuses("")
	refuses(tree.Head(testOrigin, 5))
	testlog.Must(g.Sign([]byte(tree.Head(testOrigin, 5))))
	refuses(tree.Head(testOrigin, 6))
	v := testlog.Must(note.NewVerifier(w.cfg.MoreKeys[0].VKey))
	if sig, err := more.Sign([]byte(tree.Head(testOrigin, 5))); err != nil || !v.Verify([]byte(tree.Head(testOrigin, 5)), sig) {
		t.Errorf("%x, %v", sig, err)
	}
	if _, err := g.Sign([]byte(tree.Head(testOrigin, 4))); !errors.Is(err, ErrRollback) {
		t.Errorf("%v", err)
	}
	refuses(tree.Head(testOrigin, 5)) // a refusal ends what was signed before
}

// brokenKey cannot sign, or waits.
type brokenKey struct {
	note.Signer
	sign func(msg []byte) ([]byte, error)
}

func (k brokenKey) Sign(msg []byte) ([]byte, error) { return k.sign(msg) }

// TestAKeyThatCannotSignIsNamed: nothing is signed with the others, nothing is remembered, /healthz says
// why, and the log goes on when the key is back.
func TestAKeyThatCannotSignIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var away atomic.Bool
	second := testlog.LogKey(testOrigin, "second")
	w.cfg.MoreKeys = []Key{{brokenKey{second, func(msg []byte) ([]byte, error) {
		if away.Load() {
			return nil, errors.New("the signer does not answer within 10s")
		}
		return second.Sign(msg)
	}}, second.VKey}}
	l := w.open()
	w.fill(l, "a", 1)
	away.Store(true)
	before, _ := l.guard.mark()
	x, _ := w.good("x", "1.0.0")
	testlog.Must(l.appender(t.Context(), tessera.NewEntry(x))())
	eventually(t, "health says it", func() bool {
		return strings.Contains(strings.Join(l.health().Problems, "\n"), "the log's key cannot sign: the signer does not answer within 10s")
	})
	if now, refusal := l.guard.mark(); now.Size != before.Size || refusal != nil {
		t.Errorf("mark %d, refusal %v", now.Size, refusal)
	}
	away.Store(false)
	eventually(t, "it is published", func() bool { return l.published.head().size == 4 })
	if p := l.guard.problems(); p != nil {
		t.Errorf("%q", p)
	}
}

// TestHealthDoesNotWaitForAKeyThatHangs.
func TestHealthDoesNotWaitForAKeyThatHangs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tree := newMemoryTree(10)
	gate, begun := make(chan struct{}), make(chan struct{})
	slow := brokenKey{w.cfg.Signer, func(msg []byte) ([]byte, error) {
		close(begun)
		<-gate
		return w.cfg.Signer.Sign(msg)
	}}
	g := openedGuard(t, []Key{{slow, w.cfg.VKey}}, tree)
	done := make(chan error)
	go func() {
		_, err := g.Sign([]byte(tree.Head(testOrigin, 5)))
		done <- err
	}()
	<-begun
	g.mu.Lock()
	g.asked = g.asked.Add(-time.Minute)
	g.mu.Unlock()
	if p := strings.Join(g.problems(), ""); !strings.Contains(p, "was asked 1m0s ago and has not answered yet") {
		t.Errorf("%q", p)
	}
	if m, _ := g.mark(); m.Size != 0 {
		t.Error("remembered before it was signed")
	}
	close(gate)
	fatalIf(t, <-done)
	fatalIf(t, g.close())
}

// TestAStartPublishesAtOnce: readers of a key that was added do not wait until there is something new.
func TestAStartPublishesAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.RepublishInterval.Duration = time.Hour
	l := w.open()
	w.fill(l, "a", 1)
	w.closeLog(l)
	next := testlog.LogKey(testOrigin, "next")
	w.cfg.MoreKeys = []Key{{next, next.VKey}}
	w.cfg.Policy = append([]byte("log "+next.VKey+"\n"), w.trust...)
	w.cfg.ReadersPolicy = bytes.Replace(w.trust, []byte(w.cfg.VKey), []byte(next.VKey), 1)
	l = w.open()
	p := testlog.Must(client.ParsePolicy(w.cfg.ReadersPolicy))
	eventually(t, "a reader of the new key believes it", func() bool {
		_, err := p.CheckCheckpoint(l.published.head().raw)
		return err == nil
	})
	if b := l.health(); !b.OK {
		t.Errorf("%q", b.Problems)
	}
}

// TestHealthSaysThatReadersDoNotBelieve what is published, and a trust file for readers that is wrong is refused.
func TestHealthSaysThatReadersDoNotBelieve(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stranger := testlog.WitnessKey("stranger.test", time.Now())
	w.cfg.ReadersPolicy = fmt.Appendf(nil, "log %s\nwitness s %s\nquorum s\n", w.cfg.VKey, stranger.VKey)
	l := w.open()
	eventually(t, "health says it", func() bool {
		return strings.Contains(strings.Join(l.health().Problems, "\n"), "readers do not believe what is published, by the trust file for readers: too few witnesses")
	})
	w.closeLog(l)
	a, b := testlog.LogKey("a"), testlog.LogKey("b")
	unsigned := fmt.Sprintf("# cratelog trust/v1 t\n# sequence 1\n# threshold 2\n# maintainer %s\n# maintainer %s\n%s", a.VKey, b.VKey, w.trust)
	for text, want := range map[string]string{
		unsigned:   "is signed by 0 of its maintainers and asks for 2",
		"nonsense": "the trust file for readers: trust file, line 1",
		"log " + testlog.LogKey("other.test").VKey + "\nquorum none\n": "the trust file for readers does not name this log",
	} {
		w.cfg.ReadersPolicy = []byte(text)
		w.wantNoOpen(nil, want)
	}
}
