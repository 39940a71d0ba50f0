package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"cratelog/cargo/publish"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

func submit(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "submit", "FILE.crate", "Hand a crate and its entry to a log, and fetch the cosigned bundle.")
	url := fs.String("log", "", "`URL` of the log (required)")
	entryFile := fs.String("entry", "", "`FILE` with the entry (default: FILE.entry for FILE.crate)")
	out := fs.String("bundle", "", "`FILE` for the bundle (default: FILE.tlog-proof for FILE.crate)")
	file, err := parse(fs, args, "FILE.crate")
	if err != nil {
		return err
	}
	if *url == "" {
		return outcome.Usagef("submit needs --log URL: which log is to hold the entry")
	}
	if *entryFile == "" {
		*entryFile = sibling(file, ".entry")
	}
	if *out == "" {
		*out = sibling(file, ".tlog-proof")
	}
	raw, err := readFile(file, crate.DefaultLimits.Compressed)
	if err != nil {
		return err
	}
	e, err := readFile(*entryFile, entry.MaxSize)
	if err != nil {
		return fmt.Errorf("%w\nmake the entry with \"cargo zkp prove %s\"", err, file)
	}
	parsed, err := entry.Parse(e)
	if err != nil {
		return outcome.Refusef("%s: %w", *entryFile, err)
	}
	if sum := sha256.Sum256(raw); sum != parsed.Subject.SHA256 {
		return outcome.Refusef("%s is about the .crate of %s %s with SHA-256 %x, and %s has %x, so nothing was submitted\n"+
			"make the entry of this .crate with \"cargo zkp prove %s\", or name another one with --entry", *entryFile,
			parsed.Subject.Name, parsed.Subject.Version, parsed.Subject.SHA256, file, sum, file)
	}
	to, err := newOutput(*out)
	if err != nil {
		return err
	}
	defer to.Discard()
	sh.Status("Submitting", "%s v%s to %s", parsed.Subject.Name, parsed.Subject.Version, *url)
	log := logClient(sh, *url)
	bundle, err := publish.Submit(ctx, log, e, raw)
	if err != nil {
		return err
	}
	p, _, err := publish.CheckAnswer(parsed, bundle)
	if err != nil {
		return outcome.Refusef("the log did not answer with this entry's bundle: %w", err)
	}
	if err := to.commit(bundle); err != nil {
		return err
	}
	sh.Status("Finished", "entry %d of the log; bundle in %s; check it with \"cargo zkp verify %s\"", p.Index, *out, file)
	return nil
}

const userAgent = "cargo-zkp"

// readFile reads a file that the command line names, which may be a pipe. One that is too
// large is refused.
func readFile(name string, limit int64) ([]byte, error) {
	b, err := durable.ReadAny(name, limit)
	if errors.Is(err, durable.ErrTooLarge) {
		err = outcome.Refuse(err)
	}
	return b, err
}
