package backlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"cratelog/cargo/publish"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/opening"
)

// Extensions of the files of a work directory, behind NAME-VERSION.
const (
	EntryExt   = ".entry"
	OpeningExt = ".opening"
	BundleExt  = ".tlog-proof"
)

// logged asks the log whether it has a bundle of the crate, and keeps it. done says that the crate is
// decided.
func (r *Runner) logged(ctx context.Context, it *item, raw []byte) (done bool, err error) {
	if !r.asks(it) {
		return false, nil
	}
	bundle, err := r.cfg.Log.Bundle(ctx, client.Query{Registry: it.said.Registry, Name: it.Name, Version: it.Version,
		Programs: [][32]byte{r.program.ID()}})
	switch {
	case errors.Is(err, client.ErrNotLogged):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("the log at %s could not be asked: %w", r.cfg.Log.URL, err)
	}
	e, src, err := bundled(bundle)
	switch {
	case err != nil:
		return false, fmt.Errorf("what the log at %s answers is no bundle: %w", r.cfg.Log.URL, err)
	case e.Subject.SHA256 != *it.Checksum:
		return false, &refusal{Other, fmt.Errorf("the log holds another .crate of this version, with SHA-256 %x, and a version "+
			"has one checksum in a log: one of the two is not what the registry has for everybody", e.Subject.SHA256)}
	case e.Subject.Name != it.Name || e.Subject.Version != it.Version || e.Subject.Registry != it.said.Registry:
		return false, fmt.Errorf("the log at %s answers with a bundle of another crate", r.cfg.Log.URL)
	}
	detail := "the log says so: no trust file is at hand to verify that"
	if r.cfg.Believed != nil {
		if err := r.cfg.Believed(raw, bundle); err != nil {
			return false, &refusal{Other, fmt.Errorf("the log has a bundle, which does not verify: %w", err)}
		}
		detail = ""
	}
	if err := it.keepBundle(bundle); err != nil {
		return false, err
	}
	r.decide(it, func(c *Crate) {
		c.Outcome, c.Detail = Logged, detail
		c.from(src)
	})
	return true, nil
}

// asks says whether the log may be told of a crate.
func (r *Runner) asks(it *item) bool {
	index, _ := it.Registry()
	return r.cfg.Log != nil && r.cfg.MayAsk(index)
}

// bundled returns the entry of a bundle. Nothing of it was verified.
func bundled(bundle []byte) (*entry.Entry, *entry.Source, error) {
	_, e, err := client.UnverifiedEntry(bundle)
	if err != nil {
		return nil, nil, err
	}
	src, ok := e.Claim.(*entry.Source)
	if !ok {
		return nil, nil, errors.New("it is about a build, and not about source")
	}
	return e, src, nil
}

// from writes down where a claim says that the crate is from.
func (c *Crate) from(src *entry.Source) {
	c.Commit, c.Path = fmt.Sprintf("%x", src.Commit), src.Path
}

// kept returns the entry that an earlier run left, if it still holds: of this .crate, with the program
// that counts now, and with a proof of it. One that does not hold is passed over, and made again.
func (r *Runner) kept(it *item, c *crate.Crate) (*entry.Entry, []byte, error) {
	raw, err := durable.Read(it.file+EntryExt, entry.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	} else if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		return nil, nil, err
	}
	e, err := entry.Parse(raw)
	if err != nil || e.Subject.Registry != it.said.Registry || e.Proof.Program != r.program.ID() {
		return nil, nil, nil
	}
	src, ok := e.Claim.(*entry.Source)
	if !ok {
		return nil, nil, nil
	}
	list, err := c.Check(e.Subject, src)
	if err != nil || entry.Check(r.verifier, e, list.Bytes) != nil {
		return nil, nil, nil
	}
	return e, raw, nil
}

// keep writes what a proof made: the opening before the entry, which says that all is there.
func (it *item) keep(raw, opened []byte) error {
	if opened == nil {
		if err := os.Remove(it.file + OpeningExt); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	} else if err := durable.Write(it.file+OpeningExt, opened, 0o644); err != nil {
		return err
	}
	return durable.Write(it.file+EntryExt, raw, 0o644)
}

// proven decides about a crate whose entry is in the work directory: it hands it to the log, if it is to.
func (r *Runner) proven(ctx context.Context, it *item, e *entry.Entry, raw []byte) error {
	src := e.Claim.(*entry.Source)
	said := func(detail, next string) {
		r.decide(it, func(c *Crate) {
			c.Outcome, c.Detail, c.Next = Proven, detail, next
			c.from(src)
		})
	}
	switch {
	case !r.cfg.Submit:
		said("", "")
		return nil
	case !r.asks(it):
		index, _ := it.Registry() // as zkp.toml names it, and not as entries do
		said("it was not handed to the log, which may not be told of its registry's crates",
			"allow it in zkp.toml: [registry.\""+index+"\"] logs")
		return nil
	}
	bundle, err := r.submit(ctx, it, e, raw)
	if err != nil {
		return fmt.Errorf("it is proven, and could not be logged: %w", err)
	}
	if err := it.keepBundle(bundle); err != nil {
		return err
	}
	said("", "")
	return nil
}

// submit hands an entry to the log, and returns the bundle that it answers with.
func (r *Runner) submit(ctx context.Context, it *item, e *entry.Entry, raw []byte) ([]byte, error) {
	_, file, err := r.read(ctx, it)
	if err != nil {
		return nil, err
	}
	opened, err := durable.Read(it.file+OpeningExt, opening.MaxSize)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	bundle, err := publish.Submit(ctx, r.cfg.Log, publish.Submission{Entry: raw, Crate: file, Opening: opened,
		Without: func(error) {}}) // the entry is what is wanted
	switch {
	case publish.Unregistered(err):
		return nil, &refusal{NotListed, err}
	case err != nil && outcome.Of(err) == outcome.Refused:
		return nil, &refusal{Other, err}
	case err != nil:
		return nil, err
	}
	if _, _, err := publish.CheckAnswer(e, bundle); err != nil {
		return nil, fmt.Errorf("the log's answer: %w", err)
	}
	if r.cfg.Believed != nil {
		if err := r.cfg.Believed(file, bundle); err != nil {
			return nil, fmt.Errorf("the log's answer does not verify: %w", err)
		}
	}
	return bundle, nil
}

// keepBundle writes the bundle of a crate that is logged.
func (it *item) keepBundle(bundle []byte) error {
	if err := durable.Write(it.file+BundleExt, bundle, 0o644); err != nil {
		return fmt.Errorf("it is logged, and its bundle could not be kept: %w", err)
	}
	return nil
}
