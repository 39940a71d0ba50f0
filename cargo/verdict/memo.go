package verdict

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"path/filepath"
	"runtime/debug"
	"time"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/durable"
)

// memoDomain names this form of memos, and this way to verify. Change it when
// either changes.
const memoDomain = "cratelog/verdict/v7\n"

const maxMemo = 8 << 20 // bytes; a crate has 20,000 files at most

// memo is a verdict in the cache: that a .crate and a bundle were verified, all
// but the comparison of checkpoints, which is made each time. The key covers the
// program's version, the trust files, the accepted programs, the rules and limits,
// the .crate, the bundle, which has the seal of one checkpoint, and the log that it is of.
// What it does not cover is the time: the age of the checkpoint is measured again.
type memo struct {
	Key     string    `json:"key"`
	Checked time.Time `json:"checked"`
	Facts   *Facts    `json:"facts"`
}

// digest is SHA-256 over items that cannot run into each other.
type digest struct{ hash.Hash }

func newDigest(domain string) digest {
	d := digest{sha256.New()}
	d.Write([]byte(domain))
	return d
}

func (d digest) add(b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	d.Write(n[:])
	d.Write(b)
}

func (d digest) sum() [sha256.Size]byte { return [sha256.Size]byte(d.Sum(nil)) }

// fingerprint covers what all verdicts of a checker rest on.
func fingerprint(p *policy.Policy) [sha256.Size]byte {
	d := newDigest(memoDomain)
	if info, ok := debug.ReadBuildInfo(); ok {
		d.add([]byte(info.Main.Version))
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" || s.Key == "vcs.modified" {
				d.add([]byte(s.Key + "=" + s.Value))
			}
		}
	}
	d.add(fmt.Appendf(nil, "trust %d programs %d", len(p.Trust), len(p.Programs)))
	for _, t := range p.Trust {
		d.add(t.Text)
	}
	for _, prog := range p.Programs {
		id := prog.ID()
		d.add(id[:])
	}
	return d.sum()
}

// memoKey covers what the verdict about an item's bundle rests on.
func (c *Checker) memoKey(it *item, r client.Rules) [sha256.Size]byte {
	d := newDigest(memoDomain)
	d.add(c.fingerprint[:])
	bundle := sha256.Sum256(it.bundle)
	d.add(it.sum[:])
	d.add(bundle[:])
	d.add([]byte(it.current.source.origin))
	d.add(fmt.Appendf(nil, "%q %q %q %v %v %v %v %q", r.Registry, r.Name, r.Version, r.MaxAge,
		r.AllowNoWitnesses, r.AllowCRLF, limits, r.AllowUnproven))
	d.add(fmt.Appendf(nil, "versions %t opened %t", it.want.Versions, it.want.Opened))
	it.open.add(d)
	return d.sum()
}

// memoPath has one place per crate and policy, so that memos do not pile up.
func (c *Checker) memoPath(w Want) string {
	return filepath.Join(c.cfg.Cache, "verdicts", hex.EncodeToString(c.fingerprint[:8]), w.file())
}

// remembered returns what was found when the item's bundle was verified before, or
// nil. Any doubt is a no.
func (c *Checker) remembered(it *item, r client.Rules) *Facts {
	b, err := durable.Read(c.memoPath(it.want), maxMemo)
	if err != nil {
		return nil
	}
	sum, body, ok := bytes.Cut(b, []byte("\n"))
	if want := sha256.Sum256(body); !ok || string(sum) != hex.EncodeToString(want[:]) {
		return nil
	}
	var m memo
	if json.Unmarshal(body, &m) != nil || m.Key != hex.EncodeToString(it.key[:]) || m.Facts == nil {
		return nil
	}
	now := c.cfg.Now()
	if now.Before(m.Checked) { // a clock that went back makes ages uncertain
		return nil
	}
	if at := m.Facts.Log.AsOf; r.MaxAge != 0 && (at.IsZero() || now.Sub(at) > r.MaxAge) {
		return nil
	}
	return m.Facts
}

// keep puts a bundle and its verdict, unless another look may show more, into the cache. The cache is a convenience: if
// it cannot be written, the verdict stands.
func (c *Checker) keep(it *item) {
	if !it.current.cached {
		c.keepBundle(it.current.source, it.want, it.bundle)
	}
	if it.passing {
		return
	}
	body, err := json.Marshal(memo{hex.EncodeToString(it.key[:]), c.cfg.Now(), it.facts})
	if err == nil {
		sum := sha256.Sum256(body)
		err = durable.WriteCache(c.memoPath(it.want), fmt.Appendf(nil, "%x\n%s", sum, body))
	}
	if err != nil {
		c.cfg.Log.Warn("cannot keep a verdict", "err", err)
	}
}
