package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/cargo/policy"
	"cratelog/cargo/publish"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/opening"
	"cratelog/proofcheck"
)

func submit(ctx context.Context, sh *shell, args []string) error {
	flags := newFlags(sh, "submit", "FILE.crate...", "Hand crates and their entries to a log, and fetch the "+
		"cosigned bundles.")
	url := flags.String("log", "", "`URL` of the log (required)")
	var named submitFiles
	flags.StringVar(&named.entry, "entry", "", "`FILE` with the entry (default: FILE.entry for FILE.crate)")
	flags.StringVar(&named.opening, "opening", "", "`FILE` with the entry's opening, which the log publishes "+
		"(default: FILE.opening for FILE.crate, if it is there)")
	flags.StringVar(&named.bundle, "bundle", "", "`FILE` for the bundle (default: FILE.tlog-proof for FILE.crate)")
	files, err := parseUpTo(maxSubmit, flags, args, "FILE.crate")
	switch {
	case err != nil:
		return err
	case len(files) == 0:
		return outcome.Usagef("submit takes one argument or more, FILE.crate, and got none")
	case *url == "":
		return outcome.Usagef("submit needs --log URL: which log is to hold the entry")
	case len(files) > 1 && named != submitFiles{}:
		return outcome.Usagef("--entry, --opening and --bundle name the file of one crate, and %d are given",
			len(files))
	}
	log := logClient(sh, *url)
	if len(files) == 1 {
		return submitOne(ctx, sh, log, files[0], named)
	}
	var worst error
	failed := 0
	for _, file := range files {
		err := submitOne(ctx, sh, log, file, named)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			sh.complain(file + ": " + err.Error())
			failed++
			if worst == nil || outcome.Of(err) > outcome.Of(worst) {
				worst = err
			}
		}
	}
	switch {
	case worst == nil:
		return nil
	case outcome.Of(worst) == outcome.Refused:
		return outcome.Refusef("%d of %d crates were not logged", failed, len(files))
	}
	return fmt.Errorf("%d of %d crates were not logged", failed, len(files))
}

// maxSubmit bounds the crates of one submit.
const maxSubmit = 1 << 16

// submitFiles are the files that the command line names beside the .crate; "" for those beside it.
type submitFiles struct{ entry, opening, bundle string }

// submitOne hands one crate to a log.
func submitOne(ctx context.Context, sh *shell, log *client.Log, file string, named submitFiles) error {
	entryFile, out := cmp.Or(named.entry, sibling(file, ".entry")), cmp.Or(named.bundle, sibling(file, ".tlog-proof"))
	raw, err := readFile(file, crate.DefaultLimits.Compressed)
	if err != nil {
		return err
	}
	e, err := readFile(entryFile, entry.MaxSize)
	if err != nil {
		return fmt.Errorf("%w\nmake the entry with \"cargo zkp prove %s\"", err, file)
	}
	parsed, err := entry.Parse(e)
	if err != nil {
		return outcome.Refusef("%s: %w", entryFile, err)
	}
	if sum := sha256.Sum256(raw); sum != parsed.Subject.SHA256 {
		return outcome.Refusef("%s is about the .crate of %s %s with SHA-256 %x, and %s has %x, so nothing was "+
			"submitted\nmake the entry of this .crate with \"cargo zkp prove %s\", or name another one with "+
			"--entry", entryFile, parsed.Subject.Name, parsed.Subject.Version, parsed.Subject.SHA256, file, sum, file)
	}
	to, err := newOutput(out)
	if err != nil {
		return err
	}
	defer to.Discard()
	sh.Status("Submitting", "%s v%s to %s", parsed.Subject.Name, parsed.Subject.Version, log.URL)
	opened, err := openingFor(sh, file, named.opening)
	if err != nil {
		return err
	}
	var give func(error)
	if named.opening == "" { // then the entry is what is meant to be logged
		give = func(why error) { sh.Warn("the log does not keep the opening: %v", why) }
	}
	bundle, err := publish.Submit(ctx, log, publish.Submission{Entry: e, Crate: raw, Opening: opened, Without: give})
	if err != nil {
		return err
	}
	p, logged, err := publish.CheckAnswer(parsed, bundle)
	if err != nil {
		return outcome.Refusef("the log did not answer with this entry's bundle: %w", err)
	}
	if err := to.commit(bundle); err != nil {
		return err
	}
	sh.Status("Finished", "entry %d of the log; bundle in %s; check it with %s", p.Index, out,
		checkWith(file, named.bundle, p, logged))
	return nil
}

// checkWith is the command that verifies a bundle of a log's, with what the policy that it would find does not say.
func checkWith(file, bundleFile string, p *client.Bundle, e *entry.Entry) string {
	command, more := "cargo zkp verify "+file, ""
	if s := e.Subject; filepath.Base(file) != s.Name+"-"+s.Version+".crate" {
		command += fmt.Sprintf(" -p %s@%s", s.Name, s.Version)
	}
	if bundleFile != "" {
		command += " --bundle " + bundleFile
	}
	var b believe
	ws, _ := workspace("")
	found, err := b.load(ws)
	origin, _, _ := strings.Cut(string(p.Checkpoint), "\n")
	if err != nil || !slices.ContainsFunc(found.Trust, func(t policy.Trust) bool {
		return slices.ContainsFunc(t.Policy.Logs(), func(l client.PolicyLog) bool { return l.Origin == origin })
	}) {
		command, more = command+" --trust FILE", "; FILE is the log's trust file"
		found, err = b.load(nil) // which counts with --trust
	}
	if err != nil || !found.Development {
		shipped, _ := proofcheck.Embedded()
		if slices.ContainsFunc(shipped, func(p proofcheck.Program) bool {
			return p.ID() == e.Proof.Program && p.Development()
		}) {
			command += " --development"
		}
	}
	return "\"" + command + "\"" + more
}

// openingFor reads the opening that goes with a .crate, if there is one.
func openingFor(sh *shell, file, named string) ([]byte, error) {
	path := cmp.Or(named, sibling(file, verdict.OpeningExt))
	b, err := readFile(path, opening.MaxSize)
	switch {
	case named == "" && errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil:
		sh.Status("Opening", "%s goes to the log too", path)
	}
	return b, err
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
