package builder

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

const (
	maxPrograms    = 10_000
	maxProgramFile = 1 << 20
	maxBundle      = 4 << 20
)

// A Program is one line of the list that a Service follows: "NAME@VERSION", and the binary's name
// behind a space if the crate has several.
type Program struct {
	Name, Version string
	Binary        string // "" for the only one
}

func (p Program) String() string {
	if p.Binary == "" {
		return p.Name + "@" + p.Version
	}
	return p.Name + "@" + p.Version + " " + p.Binary
}

// dir is where a Service keeps what it has of a program. No two programs have one.
func (p Program) dir() string {
	name := p.Name + "@" + p.Version
	if p.Binary != "" {
		name += "@" + p.Binary
	}
	return name
}

// ParsePrograms reads a list of programs, one a line. Empty lines, and what follows a '#', do not
// count.
func ParsePrograms(text []byte) ([]Program, error) {
	if len(text) > maxProgramFile {
		return nil, fmt.Errorf("the list of programs is %d bytes long, more than %d", len(text), maxProgramFile)
	}
	var all []Program
	seen := map[Program]bool{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxProgramFile+1)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		var p Program
		var ok bool
		p.Name, p.Version, ok = strings.Cut(fields[0], "@")
		err := errors.Join(entry.CheckName(p.Name), entry.CheckVersion(p.Version))
		if len(fields) > 1 {
			p.Binary = fields[1]
			err = errors.Join(err, entry.CheckBinary(p.Binary))
		}
		switch {
		case !ok || len(fields) > 2:
			return nil, fmt.Errorf("the list of programs, line %d: %.100q is not \"NAME@VERSION\", or that and a binary's name",
				n, line)
		case err != nil:
			return nil, fmt.Errorf("the list of programs, line %d: %w", n, err)
		case seen[p]:
			return nil, fmt.Errorf("the list of programs, line %d: %s is listed twice", n, p)
		case len(all) == maxPrograms:
			return nil, fmt.Errorf("the list of programs has more than %d", maxPrograms)
		}
		seen[p] = true
		all = append(all, p)
	}
	return all, lines.Err()
}

// Built is what a rebuild says: what a builder may attest.
type Built struct {
	Subject    entry.Subject
	Claim      entry.Build
	List       build.List
	Same       bool   // both runs made the same
	Difference string // if not: where they differ
}

// Config is what a Service works with.
type Config struct {
	Key  *Key
	Set  *build.Set
	Keys *membership.Keys // for a hidden set
	Log  Log

	// Programs returns the list to follow. It is asked again in each round.
	Programs func(ctx context.Context) ([]Program, error)
	// Rebuild verifies and rebuilds a program, twice. dir is there for what it wants to keep.
	Rebuild func(ctx context.Context, p Program, dir string) (*Built, error)
	// Submit hands an entry and its list to the log, and returns the bundle once it is checked.
	Submit func(ctx context.Context, e *entry.Entry, list []byte) ([]byte, error)

	// LeaveRefused leaves a program alone of which Rebuild says that it is not to be built (package outcome), as
	// libraries are: the file REFUSED in its directory says why, until it is removed. Else it is tried again.
	LeaveRefused bool

	Dir   string        // for what is done; see Run
	Every time.Duration // between two rounds; 0: one round
	// Print is told what happens, a verb and a sentence.
	Print func(verb, sentence string)
}

// Names of the files that a Service keeps below its directory for each program.
const (
	entryFile   = "attestation.entry"      // what is to be submitted
	listFile    = "attestation.list"       // with it
	bundleFile  = "attestation.tlog-proof" // what the log answered: this program is done
	loggedFile  = "LOGGED"                 // it was done before: the log had what was to be said
	refusedFile = "REFUSED"                // why it is not to be built
	alertFile   = "ALERT"                  // why nobody attests this program: a person must look
)

// Run follows the programs until ctx ends, or for one round: each that has no bundle yet is rebuilt, and
// attested and submitted if nobody disagrees. Where the two builds differ, or others say something else,
// or the key's own past does, it writes the file ALERT and leaves the program alone until that is removed.
// What fails otherwise, such as a log that cannot be reached, is tried again in the next round. After a crash
// it goes on where it was: what was proved is submitted, and not built again.
//
// It returns how many programs have an alert, and how many failed in the last round.
func Run(ctx context.Context, c Config) (alerts, failed int, err error) {
	for {
		alerts, failed, err = c.round(ctx)
		switch {
		case c.Every == 0, err != nil && (ctx.Err() != nil || outcome.Of(err) == outcome.Usage):
			return alerts, failed, err
		case err != nil: // a log that is followed may be away
			c.Print("Failed", fmt.Sprintf("the programs to follow: %v", err))
		}
		select {
		case <-ctx.Done():
			return alerts, failed, nil
		case <-time.After(c.Every):
		}
	}
}

func (c *Config) round(ctx context.Context) (alerts, failed int, err error) {
	programs, err := c.Programs(ctx)
	if err != nil {
		return 0, 0, err
	}
	done, left := 0, 0
	for _, p := range programs {
		if ctx.Err() != nil {
			return alerts, failed, ctx.Err()
		}
		err := c.one(ctx, p)
		var alert *alertError
		switch {
		case err == nil:
			done++
		case errors.Is(err, errLeft):
			left++
		case errors.As(err, &alert):
			alerts++
		case ctx.Err() != nil:
			return alerts, failed, ctx.Err()
		default:
			failed++
			c.Print("Failed", fmt.Sprintf("%s: %v", p, err))
		}
	}
	c.Print("Followed", fmt.Sprintf("%d programs: %d attested, %d not to be built, %d with an alert, %d failed",
		len(programs), done, left, alerts, failed))
	return alerts, failed, nil
}

// alertError is what a person must look at.
type alertError struct{ err error }

func (e *alertError) Error() string { return e.err.Error() }
func (e *alertError) Unwrap() error { return e.err }

// one does what is left to do for a program.
func (c *Config) one(ctx context.Context, p Program) error {
	dir := filepath.Join(c.Dir, p.dir())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if there(filepath.Join(dir, bundleFile)) || there(filepath.Join(dir, loggedFile)) {
		return nil
	}
	if c.LeaveRefused && there(filepath.Join(dir, refusedFile)) {
		return errLeft
	}
	if text, err := durable.Read(filepath.Join(dir, alertFile), maxProgramFile); err == nil {
		first, _, _ := strings.Cut(string(text), "\n")
		c.Print("Alert", fmt.Sprintf("%s: %s; once somebody has looked, remove %s", p, first, filepath.Join(dir, alertFile)))
		return &alertError{errors.New(first)}
	}
	e, list, err := c.proved(dir)
	if errors.Is(err, fs.ErrNotExist) {
		e, list, err = c.attest(ctx, p, dir)
	}
	var stands *StandsError
	var refused *refusedError
	switch {
	case errors.As(err, &stands):
		c.Print("Logged", fmt.Sprintf("%s: %v", p, err))
		return durable.Write(filepath.Join(dir, loggedFile), fmt.Appendf(nil, "%v\n", stands), 0o600)
	case errors.As(err, &refused) && c.LeaveRefused:
		c.Print("Refused", fmt.Sprintf("%s: %v", p, err))
		return cmp.Or(durable.Write(filepath.Join(dir, refusedFile), fmt.Appendf(nil, "%v\n", err), 0o600), errLeft)
	case err != nil && isAlert(err):
		return c.alert(p, dir, err)
	case err != nil:
		return err
	}
	bundle, err := c.Submit(ctx, e, list)
	if err != nil {
		var no *client.SubmitError
		if errors.As(err, &no) && no.Status == http.StatusConflict {
			return c.alert(p, dir, err)
		}
		return fmt.Errorf("submitting: %w", err)
	}
	if err := durable.Write(filepath.Join(dir, bundleFile), bundle, 0o600); err != nil {
		return err
	}
	claim := e.Claim.(*entry.Build)
	c.Print("Attested", fmt.Sprintf("%s: binary %s, SHA-256 %x", p, claim.Binary, claim.Artifact))
	return nil
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// proved reads what an earlier run has proved and not submitted. The list was written first.
func (c *Config) proved(dir string) (*entry.Entry, []byte, error) {
	raw, err := durable.Read(filepath.Join(dir, entryFile), entry.MaxSize)
	if err != nil {
		return nil, nil, err
	}
	e, err := entry.Parse(raw)
	if err != nil {
		return nil, nil, err
	}
	claim, ok := e.Claim.(*entry.Build)
	list, err := durable.Read(filepath.Join(dir, listFile), build.MaxList)
	if err != nil {
		return nil, nil, err
	}
	if l, err := build.ParseList(list); err != nil || !ok || l.Digest() != claim.Compiled {
		return nil, nil, fmt.Errorf("%s and %s in %s do not go together: remove both", entryFile, listFile, dir)
	}
	if claim.Root != c.Set.Root() {
		return nil, nil, fs.ErrNotExist // of another set: say it as a member of this one
	}
	return e, list, nil
}

// attest rebuilds a program and makes the entry.
func (c *Config) attest(ctx context.Context, p Program, dir string) (*entry.Entry, []byte, error) {
	c.Print("Rebuilding", p.String())
	b, err := c.Rebuild(ctx, p, dir)
	if outcome.Of(err) == outcome.Refused {
		return nil, nil, &refusedError{err}
	} else if err != nil {
		return nil, nil, err
	}
	if !b.Same {
		return nil, nil, &alertError{fmt.Errorf("both builds made another binary: they differ in %s", b.Difference)}
	}
	rows, err := c.Log.Builds(ctx, b.Subject)
	if err != nil {
		return nil, nil, fmt.Errorf("asking the log what it has: %w", err)
	}
	e, err := c.Key.Attest(ctx, Attestation{Set: c.Set, Subject: b.Subject, Claim: b.Claim, List: b.List, Keys: c.Keys,
		Rows: rows})
	if err != nil {
		return nil, nil, err
	}
	raw, err := e.Marshal()
	if err != nil {
		return nil, nil, err
	}
	list := b.List.Marshal()
	if err := durable.Write(filepath.Join(dir, listFile), list, 0o600); err != nil {
		return nil, nil, err
	}
	return e, list, durable.Write(filepath.Join(dir, entryFile), raw, 0o600)
}

// errLeft: a program was refused, and is left alone.
var errLeft = errors.New("it is not to be built")

// refusedError is of a program that is not to be built.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// isAlert says whether an error is one that no second try makes go away.
func isAlert(err error) bool {
	var alert *alertError
	var contradiction *ContradictionError
	var unknown *UnknownError
	var dissent *DissentError
	return errors.As(err, &alert) || errors.As(err, &contradiction) || errors.As(err, &unknown) || errors.As(err, &dissent)
}

func (c *Config) alert(p Program, dir string, why error) error {
	c.Print("Alert", fmt.Sprintf("%s: %v", p, why))
	if err := durable.Write(filepath.Join(dir, alertFile), fmt.Appendf(nil, "%v\n", why), 0o600); err != nil {
		return errors.Join(&alertError{why}, err)
	}
	return &alertError{why}
}
