package credential

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/opening"
)

// ready says whether all is done for an upload that can be done before it, where a log takes only
// what the registry lists: an entry about these bytes lies in one of the directories, is true, and
// satisfies the policy; and such a log answers, with a checkpoint that is its own. logs are those
// that answered, and have no entry. It returns the origin of the log.
func (l *Logged) ready(ctx context.Context, u Upload, logs []*client.Log) (origin string, err error) {
	if err := l.entryReady(ctx, u); err != nil {
		return "", err
	}
	var why []error
	for _, log := range logs {
		signed, err := log.Checkpoint(ctx)
		if err == nil {
			origin, err = l.Reader.backed(ctx, log, signed)
		}
		if err == nil {
			err = l.Reader.Ended(ctx, log)
		}
		if err == nil {
			return origin, nil
		}
		why = append(why, fmt.Errorf("the log at %s: %w", log.URL, err))
	}
	if len(why) == 0 {
		return "", errors.New("none of the logs that the policy calls registry-backed answers")
	}
	return "", errors.Join(why...)
}

// backed checks a checkpoint of a log, and its seal, that the reader holds to take only what the registry lists.
func (r *Reader) backed(ctx context.Context, log *client.Log, signed []byte) (origin string, err error) {
	for _, t := range r.policy.Trust {
		c, checked := t.Policy.CheckCheckpointRules(signed, client.Rules{MaxAge: r.policy.MaxAge, Now: time.Now(),
			AllowNoWitnesses: r.policy.Development})
		switch {
		case checked != nil:
			err = checked
		case r.policy.RegistryBacked(c.Origin):
			return c.Origin, log.Tiles(c).Sealed(ctx)
		default:
			return "", fmt.Errorf("it is %s, which the policy does not call registry-backed: it takes entries before the upload",
				c.Origin)
		}
	}
	return "", err
}

// Ended returns an error if a log has said, signed, that it has ended, and takes nothing more; or if it does
// not answer whether it has.
func (r *Reader) Ended(ctx context.Context, log *client.Log) error {
	signed, err := log.Frozen(ctx)
	if err != nil {
		return fmt.Errorf("whether it has ended cannot be told: %w", err)
	}
	for _, t := range r.policy.Trust {
		if f, err := t.Policy.CheckFrozen(signed); err == nil {
			return outcome.Refusef("%s: it takes nothing more", f.String())
		}
	}
	return nil // it says nothing, or it is nobody's word
}

// entryReady looks for the entry that "cargo zkp publish" keeps with its .crate.
func (l *Logged) entryReady(ctx context.Context, u Upload) error {
	var why []string
	for _, dir := range l.Dirs {
		file := func(ext string) string { return Dir(dir).File(u.Name, u.Version, ext) }
		raw, err := durable.Read(file(ExtEntry), entry.MaxSize)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		var archive []byte
		if err == nil {
			archive, err = durable.Read(file(ExtCrate), crate.DefaultLimits.Compressed)
		}
		var opened []byte // nil for none, which may do
		if err == nil {
			if opened, err = durable.Read(file(ExtOpening), opening.MaxSize); errors.Is(err, os.ErrNotExist) {
				err = nil
			}
		}
		if err == nil {
			err = l.Reader.unlogged(ctx, raw, archive, opened, u)
		}
		if err == nil {
			return nil
		}
		why = append(why, fmt.Sprintf("the entry in %s: %v", dir, err))
	}
	if len(why) == 0 {
		return fmt.Errorf("no entry about %s %s is ready in target/zkp", u.Name, u.Version)
	}
	return errors.New(strings.Join(why, "\n"))
}

// unlogged verifies an entry that stands in no log, and compares it with what is uploaded.
func (r *Reader) unlogged(ctx context.Context, raw, archive, opening []byte, u Upload) error {
	got, err := r.Entry(ctx, raw, archive, opening, u.pkg())
	if err == nil && got.SHA256 != u.SHA256 {
		err = fmt.Errorf("it is about another .crate of this version, with SHA-256 %x, made of commit %x", got.SHA256,
			got.Commit)
	}
	return err
}

func (l *Logged) note(u Upload, origin string) {
	if l.Note != nil {
		l.Note("%s %s may be published, and is to be logged when the registry lists it: run \"cargo zkp publish "+
			"--log-only\" then. Until it stands in the log %s, nobody who requires proofs of all crates can use it.",
			u.Name, u.Version, origin)
	}
}
