package witness

import (
	"bytes"
	"crypto"
	"html"
	"io"
	"net/http"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
	"cratelog/internal/web"
)

func newMLDSAKey(t testing.TB, b byte) *mldsa.PrivateKey {
	t.Helper()
	key := testlog.Must(mldsa.NewPrivateKey(mldsa.MLDSA44(), bytes.Repeat([]byte{b}, 32)))
	return key
}

// The cosignatures and the monitoring endpoint, read by two other libraries.
func TestCosignaturesVerifyElsewhere(t *testing.T) {
	l := newLog()
	cfg := newConfig(t, l)
	cfg.Signers = append(cfg.Signers, newMLDSAKey(t, 1))
	w := open(t, cfg)
	url := serve(t, w)
	junk := "— unknown.example AAAAAAAA\n"
	got := post(t, url, request(0, nil, l.signed(20)+junk))
	if got.code != 200 || strings.Count(got.body, "\n") != 2 {
		t.Fatalf("status %d, body %q; want two cosignature lines", got.code, got.body)
	}
	stored := get(t, url+"/"+originHash(l.KeyName)+"/checkpoint")
	if want := l.signed(20) + got.body; stored.code != 200 || stored.body != want {
		t.Errorf("monitoring: %d %q, want %q", stored.code, stored.body, want)
	}
	for i, vkey := range w.VKeys() {
		ours := testlog.Must(torchwood.NewCosignatureVerifier(vkey))
		theirs := testlog.Must(fnote.NewVerifier(vkey))
		var times []int64
		for _, v := range []note.Verifier{ours, theirs} {
			n, err := note.Open([]byte(stored.body), note.VerifierList(v))
			if err != nil {
				t.Errorf("key %d, %T: %v", i, v, err)
				continue
			}
			ts := testlog.Must(torchwood.CosignatureTimestamp(n.Sigs[0]))
			times = append(times, ts)
		}
		if want := newClock().now().Unix(); len(times) != 2 || times[0] != want || times[1] != want {
			t.Errorf("timestamps %v, want %d", times, want)
		}
	}
	policy := testlog.Must(torchwood.ParsePolicy([]byte("log " + l.VKey + "\nwitness w1 " + w.VKeys()[0] + "\nwitness w2 " + w.VKeys()[1] + "\ngroup g all w1 w2\nquorum g\n")))
	if c, _, err := torchwood.VerifyCheckpoint([]byte(stored.body), policy); err != nil || c.N != 20 {
		t.Errorf("policy: %v, %v", c, err)
	}
}

// A log may sign its checkpoints with ML-DSA-44; c2sp.org/tlog-checkpoint even
// recommends it.
func TestALogMaySignWithMLDSA(t *testing.T) {
	l := newLog()
	signer := testlog.Must(torchwood.NewCosignatureSigner(l.KeyName, newMLDSAKey(t, 2)))
	cfg := newConfig(t)
	cfg.Logs = []Log{{Origin: "", VKey: signer.Verifier().String()}}
	w := open(t, cfg)
	mustAdd(t, w, request(0, nil, string(testlog.Sign(l.Head(9), signer))))
	wantStatus(t, w, l.Request(9, 20), 403)
}

// The message that cosign.go writes is the one that torchwood's signer signs.
func TestMessagesAreThoseOfTheOtherImplementation(t *testing.T) {
	l := newLog()
	c := testlog.Must(torchwood.ParseCheckpoint(l.Head(20)))
	for _, key := range []crypto.Signer{testlog.Ed25519("witness"), newMLDSAKey(t, 1)} {
		spy := &spySigner{Signer: key}
		theirs := testlog.Must(torchwood.NewCosignatureSigner(witnessName, spy))
		blob := testlog.Must(theirs.Sign([]byte(c.String())))
		var ts int64
		for _, b := range blob[:8] {
			ts = ts<<8 | int64(b)
		}
		ours := testlog.Must(newCosigner(witnessName, key))
		msg := testlog.Must(ours.message(c, ts))
		if !bytes.Equal(msg, spy.msg) {
			t.Errorf("%T: we sign %q, they sign %q", key, msg, spy.msg)
		}
	}
}

type spySigner struct {
	crypto.Signer
	msg []byte
}

func (s *spySigner) Sign(rand io.Reader, msg []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.msg = bytes.Clone(msg)
	return s.Signer.Sign(rand, msg, opts)
}

// Every pair of sizes, every proof mangled in every way we know, beside the
// check of another implementation.
func TestConsistencyAgreesWithAnotherImplementation(t *testing.T) {
	const n = 18
	good := newTestLog("log.example", n)
	evil := good.fork(6, "fork")
	agree := func(old, size int64, root tlog.Hash, proof []tlog.Hash) {
		t.Helper()
		c := torchwood.Checkpoint{Origin: good.KeyName, Tree: tlog.Tree{N: size, Hash: root}}
		err := check(&Request{Old: old, Proof: proof, Checkpoint: c}, state{Size: old, Root: good.root(old)})
		theirs := tlog.CheckTree(proof, size, root, old, good.root(old))
		if (err == nil) != (theirs == nil) {
			t.Errorf("from %d to %d: we say %v, they say %v", old, size, err, theirs)
		}
	}
	for size := int64(1); size <= n; size++ {
		for old := int64(1); old <= size; old++ {
			for _, l := range []testLog{good, evil} {
				p := l.proof(old, size)
				agree(old, size, l.root(size), p)
				agree(old, size, good.root(size), p)
				agree(old, size, tlog.Hash{}, p)
				agree(old, size, l.root(size), append(p[:len(p):len(p)], tlog.Hash{}))
				agree(old, size, l.root(size), append([]tlog.Hash{{}}, p...))
				for i := range p {
					mangled := append([]tlog.Hash{}, p...)
					mangled[i][31] ^= 1
					agree(old, size, l.root(size), mangled)
					agree(old, size, l.root(size), append(append([]tlog.Hash{}, p[:i]...), p[i+1:]...))
					if i > 0 {
						swapped := append([]tlog.Hash{}, p...)
						swapped[i], swapped[i-1] = swapped[i-1], swapped[i]
						agree(old, size, l.root(size), swapped)
					}
				}
			}
		}
	}
}

func TestTheIndexSaysWhoWeAreAndWhatWeWatch(t *testing.T) {
	l := newLog()
	fresh := newTestLog("log.example/fresh", 40)
	w := openAt(t, newConfig(t, l, fresh), l, 20)
	url := serve(t, w)
	got := get(t, url+"/")
	for _, want := range []string{
		"cratelog witness witness.example/w1\n", "vkey " + w.VKeys()[0] + "\n",
		"log log.example\nsize 20\ncosigned 2027-01-15T08:00:00Z\n/" + originHash(l.KeyName) + "/checkpoint\n",
		"log log.example/fresh\nnothing cosigned yet\n",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("index %q should contain %q", got.body, want)
		}
	}
	w.monitor = "https://monitor.example"
	r := testlog.Must(http.NewRequest(http.MethodGet, url+"/", nil))
	r.Header.Set("Accept", "text/html,*/*")
	res := testlog.Must(http.DefaultClient.Do(r))
	page := html.UnescapeString(string(testlog.Must(io.ReadAll(res.Body))))
	res.Body.Close()
	style, _ := web.Style()
	for _, want := range []string{w.VKeys()[0], "/" + originHash(l.KeyName) + `/checkpoint">20</a>`, "no fork seen", "nothing yet", style,
		">15 January 2027, 08:00 UTC</time>", `action="https://monitor.example/search"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page should contain %q:\n%s", want, page)
		}
	}
	if got := res.Header.Get("Content-Security-Policy"); !strings.Contains(got, "form-action 'self' https://monitor.example;") || get(t, url+style).code != 200 {
		t.Errorf("the page may load %q", got)
	}
	if got := get(t, url+"/"+originHash(fresh.KeyName)+"/checkpoint"); got.code != 404 || !strings.Contains(got.body, "has not cosigned") {
		t.Errorf("checkpoint of a log never cosigned: %d %q", got.code, got.body)
	}
	if got := get(t, url+"/"+strings.ToUpper(originHash(l.KeyName))+"/checkpoint"); got.code != 404 {
		t.Errorf("upper-case hash: %d", got.code)
	}
	post(t, url, l.Request(3, 20))
	metrics := get(t, url+"/metrics").body
	for _, want := range []string{
		`cratelog_witness_add_checkpoint_total{code="409"} 1`, `cratelog_witness_log_size{origin="log.example"} 20`,
		`cratelog_witness_log_cosigned_timestamp_seconds{origin="log.example"} 1.8e+09`, `cratelog_witness_log_forks{origin="log.example/fresh"} 0`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("metrics should contain %q", want)
		}
	}
	check0(t, w.Close())
	if got := get(t, url+"/healthz"); got.code != 503 {
		t.Errorf("health without a database: %d", got.code)
	}
}
