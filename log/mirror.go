package log

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/torchwood"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Mirror is a tlog-mirror that the log keeps up to date: a server of others that holds all of the log, and
// cosigns what it holds.
type Mirror struct {
	URL  string `toml:"url"`  // submission prefix
	VKey string `toml:"vkey"` // of the mirror's cosignatures
}

const (
	// mirrorPackages and mirrorBytes bound a request; the rest goes with the next.
	//
	// SPEC (tlog-mirror): clients SHOULD limit each add-entries request to at most 32 entry packages.
	mirrorPackages = 32
	mirrorBytes    = 8 << 20
	mirrorAnswer   = 256 << 10 // the largest answer that is read
	mirrorTime     = 5 * time.Minute
	mirrorSoon     = 5 * time.Second // to the next attempt after the first that failed
	mirrorLate     = 5 * time.Minute
)

// errMirrorAhead says that a mirror waits for more than is published: it has the checkpoint from us as one
// of the witnesses, or this log has forgotten something, which its own guard and witnesses say.
var errMirrorAhead = errors.New("the mirror has a checkpoint of a larger tree than is published")

// pusher pushes to one mirror. One goroutine uses it.
type pusher struct {
	l        *Log
	url      *url.URL
	verifier *torchwood.CosignatureVerifier
	client   *http.Client
	size     uint64 // of the tree that the mirror cosigned last

	held   prometheus.Gauge
	signed prometheus.Gauge
	failed prometheus.Counter
}

// openMirrors checks the settings of the mirrors.
func (l *Log) openMirrors(context.Context) error {
	sizes := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cratelog_mirror_size",
		Help: "Entries that the mirror has cosigned that it holds; 0: not since the start."}, []string{"mirror"})
	times := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cratelog_mirror_cosigned_timestamp_seconds",
		Help: "When the mirror last cosigned; 0: not since the start."}, []string{"mirror"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cratelog_mirror_failures_total",
		Help: "Attempts to bring the mirror up to date that failed."}, []string{"mirror"})
	mirrors := l.cfg.Mirrors
	if l.cfg.ReadOnly || l.front() {
		mirrors = nil // whoever signs pushes
	}
	for _, m := range mirrors {
		u, err := url.Parse(m.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("mirror: %q is not an http or https URL", m.URL)
		}
		v, err := torchwood.NewCosignatureVerifier(m.VKey)
		if err != nil {
			return fmt.Errorf("mirror %s: %q is no verifier key of cosignatures: %w", m.URL, m.VKey, err)
		}
		if slices.ContainsFunc(l.mirrors, func(p *pusher) bool { return p.verifier.Name() == v.Name() }) {
			return fmt.Errorf("mirror: %s is there twice", v.Name())
		}
		client := &http.Client{Timeout: mirrorTime, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
		p := &pusher{l: l, url: u, verifier: v, client: client}
		p.held, p.signed, p.failed = sizes.WithLabelValues(v.Name()), times.WithLabelValues(v.Name()),
			failures.WithLabelValues(v.Name())
		l.mirrors = append(l.mirrors, p)
	}
	l.metrics.registry.MustRegister(sizes, times, failures)
	return nil
}

// run keeps the mirror up to date until ctx ends.
func (p *pusher) run(ctx context.Context) {
	wait, said := mirrorSoon, ""
	for {
		head, err := p.l.published.wait(ctx, p.size+1)
		if err != nil {
			return
		}
		err = p.push(ctx, head)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if said != "" {
				p.l.log.Info("the mirror is up to date again", "mirror", p.verifier.Name(), "size", p.size)
			}
			wait, said = mirrorSoon, ""
			continue
		}
		p.failed.Inc()
		if err.Error() != said && !errors.Is(err, errMirrorAhead) {
			said = err.Error()
			p.l.log.Warn("the mirror is not up to date; it is tried again", "mirror", p.verifier.Name(), "err", err)
		}
		if !sleep(ctx, wait) {
			return
		}
		wait = min(2*wait, mirrorLate)
	}
}

// push makes a checkpoint the mirror's pending one, uploads what it lacks, and takes its cosignature.
func (p *pusher) push(ctx context.Context, head published) error {
	if err := p.addCheckpoint(ctx, head); err != nil {
		return err
	}
	// Where the mirror stands it will say.
	at := mirrorInfo{end: head.size, next: head.size}
	for conflicts := 0; conflicts < 5; {
		code, answer, contentType, err := p.upload(ctx, head, at)
		if err != nil {
			return err
		}
		switch code {
		case http.StatusOK:
			return p.cosigned(ctx, head, at.end, answer)
		case http.StatusConflict, http.StatusAccepted:
		default:
			return fmt.Errorf("add-entries: it answers %d: %.200q", code, answer)
		}
		info, err := parseMirrorInfo(answer, contentType)
		switch {
		case err != nil:
			return fmt.Errorf("add-entries: its answer %d: %w", code, err)
		case info.end > head.size || info.next > head.size:
			return errMirrorAhead
		case code == http.StatusConflict || info.next <= at.next || info.next < min(at.end, at.next/256*256+256):
			conflicts++ // it may be that another client pushes, too; of a package it takes all or nothing
		}
		at = info
	}
	return errors.New("add-entries: it takes nothing of what it asks for")
}

// addCheckpoint is as for a witness, but for the answer: it may be empty, and what is in it is not the
// mirror's.
func (p *pusher) addCheckpoint(ctx context.Context, head published) error {
	text, err := p.l.ownNote(head.raw)
	if err != nil {
		return err
	}
	old := p.size
	for range 3 {
		hashes, err := p.l.consistencyHashes(ctx, old, head.size, head)
		if err != nil {
			return err
		}
		body := fmt.Appendf(nil, "old %d\n", old)
		for _, h := range hashes {
			body = append(append(body, base64.StdEncoding.EncodeToString(h)...), '\n')
		}
		code, answer, contentType, err := p.post(ctx, "add-checkpoint", "text/plain; charset=utf-8",
			append(append(body, '\n'), text...), false)
		switch {
		case err != nil:
			return err
		case code == http.StatusOK:
			return nil
		case code != http.StatusConflict || contentType != "text/x.tlog.size":
			return fmt.Errorf("add-checkpoint: it answers %d: %.200q", code, answer)
		}
		if old, err = strconv.ParseUint(strings.TrimSuffix(string(answer), "\n"), 10, 63); err != nil {
			return fmt.Errorf("add-checkpoint: it answers 409 with %.40q instead of a size", answer)
		}
		if old > head.size {
			return errMirrorAhead
		}
	}
	return errors.New("add-checkpoint: the size that it says does not hold")
}

// ownNote returns a checkpoint with the log's own signatures only: those of witnesses make it large.
func (l *Log) ownNote(raw []byte) ([]byte, error) {
	i := bytes.LastIndex(raw, []byte("\n\n"))
	if i < 0 {
		return nil, errors.New("the published checkpoint has no signatures")
	}
	text := bytes.Clone(raw[:i+2])
	for line := range strings.Lines(string(raw[i+2:])) {
		name, b64, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "— "), " ")
		blob, err := base64.StdEncoding.DecodeString(b64)
		if err == nil && len(blob) > 4 && slices.ContainsFunc(l.cfg.keys(), func(k Key) bool {
			return k.Name() == name && k.KeyHash() == binary.BigEndian.Uint32(blob)
		}) {
			text = append(text, line...)
		}
	}
	return text, nil
}

// mirrorInfo is where a mirror stands.
type mirrorInfo struct {
	end    uint64 // size of a pending checkpoint
	next   uint64 // the first entry that it lacks
	ticket []byte
}

// parseMirrorInfo parses text/x.tlog.mirror-info.
func parseMirrorInfo(body []byte, contentType string) (at mirrorInfo, err error) {
	lines := strings.Split(string(body), "\n")
	if contentType != "text/x.tlog.mirror-info" || len(lines) != 4 || lines[3] != "" {
		return at, fmt.Errorf("it is %.40q of type %q, not text/x.tlog.mirror-info", body, contentType)
	}
	end, err1 := strconv.ParseUint(lines[0], 10, 63)
	next, err2 := strconv.ParseUint(lines[1], 10, 63)
	ticket, err3 := base64.StdEncoding.DecodeString(lines[2])
	if err := errors.Join(err1, err2, err3); err != nil || len(ticket) > 0xffff || next > end {
		return at, fmt.Errorf("it says %.80q", body)
	}
	return mirrorInfo{end, next, ticket}, nil
}

// upload sends the entries from at.next on, with proofs to the tree of size at.end, as many as one
// request may have.
func (p *pusher) upload(ctx context.Context, head published, at mirrorInfo) (code int, answer []byte,
	contentType string, err error) {
	origin := p.l.cfg.Origin
	b := binary.BigEndian.AppendUint16(nil, uint16(len(origin)))
	b = append(b, origin...)
	b = binary.BigEndian.AppendUint64(b, at.next)
	b = binary.BigEndian.AppendUint64(b, at.end)
	b = binary.BigEndian.AppendUint16(b, uint16(len(at.ticket)))
	b = append(b, at.ticket...)
	start := at.next
	for range mirrorPackages {
		if start >= at.end || len(b) > mirrorBytes {
			break
		}
		first := start / 256 * 256
		end := min(at.end, first+256)
		entries, err := p.l.verified.entries(ctx, head.tree(), first/256)
		if err != nil {
			return 0, nil, "", err
		}
		for _, e := range entries[start-first : end-first] {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
		}
		proof, err := torchwood.ProveSubtree(int64(at.end), int64(first), int64(end), p.l.hashesOf(ctx, head))
		if err != nil {
			return 0, nil, "", err
		}
		b = append(b, byte(len(proof)))
		for _, h := range proof {
			b = append(b, h[:]...)
		}
		start = end
	}
	return p.post(ctx, "add-entries", "application/octet-stream", b, true)
}

// hashesOf reads verified hashes of the published tree.
func (l *Log) hashesOf(ctx context.Context, head published) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, 0, len(indexes))
		for _, index := range indexes {
			t := tlog.TileForIndex(torchwood.TileHeight, index)
			data, err := l.verified.tile(ctx, head.tree(), t.L, uint64(t.N))
			if err != nil {
				return nil, err
			}
			if len(data) < t.W*tlog.HashSize {
				return nil, fmt.Errorf("the published tree has no hash %d", index)
			}
			h, err := tlog.HashFromTile(t, data[:t.W*tlog.HashSize], index)
			if err != nil {
				return nil, err
			}
			out = append(out, h)
		}
		return out, nil
	})
}

// cosigned checks the mirror's cosignature of the tree of a size.
func (p *pusher) cosigned(ctx context.Context, head published, size uint64, lines []byte) error {
	root, err := p.l.rootOf(ctx, size, head)
	if err != nil {
		return err
	}
	text := torchwood.Checkpoint{Origin: p.l.cfg.Origin, Tree: tlog.Tree{N: int64(size), Hash: root}}.String()
	n, err := note.Open([]byte(text+"\n"+string(lines)), note.VerifierList(p.verifier))
	if err != nil {
		return fmt.Errorf("add-entries: what it answers is no cosignature of the tree of %d entries by %s: %w", size,
			p.verifier.Name(), err)
	}
	at, err := torchwood.CosignatureTimestamp(n.Sigs[0])
	if err != nil {
		return err
	}
	if size <= p.size {
		return fmt.Errorf("add-entries: it cosigns the tree of %d entries, and has the checkpoint of %d", size, head.size)
	}
	p.size = size
	p.held.Set(float64(size))
	p.signed.Set(float64(at))
	return nil
}

// post sends a request. contentType is that of the answer.
func (p *pusher) post(ctx context.Context, call, kind string, body []byte, compress bool) (code int, answer []byte,
	contentType string, err error) {
	if compress {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(body); err != nil {
			return 0, nil, "", err
		}
		if err := w.Close(); err != nil {
			return 0, nil, "", err
		}
		body = packed.Bytes()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.JoinPath(call).String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	req.Header.Set("Content-Type", kind)
	if compress {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, mirrorAnswer+1))
	if err == nil && len(answer) > mirrorAnswer {
		err = fmt.Errorf("%s: its answer has more than %d bytes", call, mirrorAnswer)
	}
	return resp.StatusCode, answer, resp.Header.Get("Content-Type"), err
}
