package verdict

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"time"

	"cratelog/cargo/policy"
	"cratelog/cargo/registry"
	"cratelog/internal/durable"
)

// Standings of a proven commit and the one that the registry names.
const (
	Agrees  = "agrees"
	Differs = "differs"
	NoneHas = "none" // the registry names none: it was not published so, or the registry does not say
)

// TrustedPublishing is what a registry says about the workflow that published a crate, beside the
// proven commit.
type TrustedPublishing struct {
	Standing string `json:"standing"` // Agrees, Differs or NoneHas
	*registry.Trusted
}

// trustedPace is the time from one question to the next, as registries ask of programs.
const trustedPace = time.Second

const (
	trustedFormat = "cratelog/trusted/v2"
	maxKeptAnswer = 4 << 10 // bytes
)

// silenceAge is how long it counts that a registry names no workflow: what it says is settled when a
// release is published, but that it says nothing may be a fault of a day, or of an API that learns later.
const silenceAge = 7 * 24 * time.Hour

// keptAnswer is what a registry once said about a release.
type keptAnswer struct {
	Format  string            `json:"format"`
	Asked   time.Time         `json:"asked"`
	Index   string            `json:"index"` // of the registry that was asked
	Name    string            `json:"name"`
	Version string            `json:"version"`
	SHA256  string            `json:"sha256"` // of the .crate, hex
	Says    *registry.Trusted `json:"says"`   // null: nothing
}

// Trusted asks the registry of a crate what it says about its publication, and compares that with
// the proven commit, in hex. The answer is remembered. The error is a *Error.
func (c *Checker) Trusted(ctx context.Context, pkg policy.Package, sum [32]byte,
	commit string) (*TrustedPublishing, error) {
	says, err := c.trustedSays(ctx, pkg, sum)
	if err != nil {
		return nil, Explain(err)
	}
	t := &TrustedPublishing{NoneHas, says}
	switch {
	case says == nil:
	case says.Commit == commit:
		t.Standing = Agrees
	default:
		t.Standing = Differs
	}
	return t, nil
}

func (c *Checker) trustedSays(ctx context.Context, pkg policy.Package, sum [32]byte) (*registry.Trusted, error) {
	x := c.apis.of(c.cfg, pkg.Registry)
	if x == nil {
		return nil, refuse(ErrUnreachable, "Check it where cargo's configuration names a registry on the network",
			"it is not known "+
				"where the API of the registry of %s %s is", pkg.Name, pkg.Version)
	}
	now := c.cfg.Now().UTC().Truncate(time.Second)
	kept := keptAnswer{trustedFormat, now, x.URL, pkg.Name, pkg.Version, hex.EncodeToString(sum[:]), nil}
	key := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %x", kept.Index, kept.Name, kept.Version, sum))
	path := filepath.Join(c.cfg.Cache, "trusted", hex.EncodeToString(key[:16]))
	if b, err := durable.Read(path, maxKeptAnswer); err == nil {
		var old keptAnswer
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if d.Decode(&old) == nil {
			found, asked := old.Says, old.Asked
			old.Says, old.Asked = nil, now
			fresh := !now.Before(asked) && now.Sub(asked) < silenceAge
			if old == kept && (found != nil || fresh || c.cfg.Offline) {
				return found, nil
			}
		}
	}
	if c.cfg.Offline {
		return nil, refuse(ErrNotCached, "Run it once without --offline", "what the registry says of the publication of "+
			"%s %s is not in "+
			"the cache, and nothing is fetched offline", pkg.Name, pkg.Version)
	}
	if err := c.apis.pace(ctx, x); err != nil {
		return nil, interrupted(err)
	}
	says, err := x.Trusted(ctx, pkg.Name, pkg.Version, sum)
	if err != nil {
		return nil, refuse(both(ErrUnreachable, err), "Try again when the registry answers",
			"the registry %s did not say how %s %s was "+
				"published: %v", x.URL, pkg.Name, pkg.Version, err)
	}
	kept.Says = says
	if b, err := json.Marshal(kept); err == nil {
		err = durable.WriteCache(path, b)
		if err != nil {
			c.cfg.Log.Warn("cannot keep what a registry says", "err", err)
		}
	}
	return says, nil
}

// apis are the registries that were asked, and when one was asked last.
type apis struct {
	mu    sync.Mutex
	known map[string]*registry.Index // by the index as a policy names it; nil: it is not known where
	asked time.Time
}

func (a *apis) of(cfg Config, index string) *registry.Index {
	a.mu.Lock()
	defer a.mu.Unlock()
	if x, ok := a.known[index]; ok || cfg.Registry == nil {
		return x
	}
	if a.known == nil {
		a.known = map[string]*registry.Index{}
	}
	a.known[index] = cfg.Registry(index)
	return a.known[index]
}

// pace waits until a registry may be asked again; one on this machine always may.
func (a *apis) pace(ctx context.Context, x *registry.Index) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	config, err := x.Config(ctx)
	if err != nil {
		return ctx.Err() // Trusted will say why it cannot be asked
	}
	if u, err := url.Parse(config.API); err == nil && (u.Hostname() == "" || net.ParseIP(u.Hostname()).IsLoopback()) {
		return ctx.Err()
	}
	t := time.NewTimer(time.Until(a.asked.Add(trustedPace)))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		a.asked = time.Now()
		return nil
	}
}

// compareTrusted asks about all items that are verified, if the policy or the caller wants that.
func (c *Checker) compareTrusted(ctx context.Context, items []*item, progress func(done, total int)) {
	if !c.cfg.Trusted && !c.cfg.Policy.TrustedAgrees {
		return
	}
	for i, it := range items {
		v := it.verdict
		if it.given != nil || v.Status != Verified {
			continue
		}
		t, err := c.Trusted(ctx, it.want.pkg(), it.sum, v.Facts.Commit)
		switch {
		case err != nil && c.cfg.Policy.TrustedAgrees:
			v.Refuse(Unchecked, err)
			v.soften()
		case err != nil:
			v.Notes = append(v.Notes, err.Error())
		case t.Standing == Differs && c.cfg.Policy.TrustedAgrees:
			commit := v.Facts.Commit
			v.Refuse(Violation, refuse(ErrTrusted, "Ask its author which of the two it is; "+
				`trusted-publishing = "ignore" in zkp.toml passes over it`, "the registry says that it was published %s, and its files are "+
				"proven to stand in the commit %s", t.From(), commit))
		default:
			if v.Trusted = t; t.Standing == Differs {
				v.Notes = append(v.Notes, fmt.Sprintf("the registry says that it was published %s, and not from the proven "+
					"commit", t.From()))
			}
		}
		if progress != nil {
			progress(i+1, len(items))
		}
	}
}

// From says where a registry says that a crate was published from, as a phrase; "" if it does not say.
func (t *TrustedPublishing) From() string {
	if t.Trusted == nil {
		return ""
	}
	text := fmt.Sprintf("from the commit %s, by %q", t.Commit, t.Provider)
	if t.Repository != "" {
		text += fmt.Sprintf(" for %q", t.Repository)
	}
	if t.Run != "" {
		text += fmt.Sprintf(", run %q", t.Run)
	}
	return text
}
