package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/index"
	"cratelog/internal/outcome"
)

// ownerVerb tells all that the trusted logs hold about a crate, with the proof that it is all.
func ownerVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "owner", "NAME", `Tell all that the logs hold about a crate of yours: every claim about its source and its
binaries, whoever made it, and every version; void entries too. Each log proves that these are
all, as of its newest checkpoint. No proof of a claim is verified, and no .crate is needed.`)
	var b believe
	b.register(fs)
	var manifestPath string
	manifestFlag(fs, &manifestPath)
	registry := fs.String("registry", "", "the crate is of the registry with this `INDEX`, and all logs hear of it (default: cargo's default "+
		"registry)")
	since := fs.Uint64("since", 0, "list only entries from this `INDEX` on; that all are known is proven all the same")
	format := fs.String("message-format", "human", "`FORMAT` of the answer: human or json")
	dir := fs.String("evidence", ".", "`DIR` in which evidence is written, if a log leaves an entry out of its index")
	name, err := parse(fs, args, "NAME")
	if err != nil {
		return err
	}
	switch {
	case *format != "human" && *format != "json":
		return outcome.Usagef("--message-format is human or json, not %q", *format)
	case b.offline:
		return outcome.Usagef("owner asks the logs, which --offline forbids")
	}
	pkg := policy.Package{Name: name, Registry: *registry}
	of := entry.Registry(*registry)
	if err := errors.Join(entry.CheckName(name), entry.CheckRegistry(of)); err != nil {
		return outcome.Misuse(err)
	}
	ws, err := workspace(manifestPath)
	if err != nil && manifestPath != "" {
		return err
	}
	p, err := b.trusting(ws)
	if err != nil {
		return err
	}
	_, seen, err := verdict.Dirs()
	if err != nil {
		return err
	}
	o := &owner{sh: sh, name: name, registry: of, since: *since, dir: *dir, rules: p.RulesFor(pkg, time.Now())}
	if o.state, err = client.OpenState(seen); err != nil {
		return err
	}
	asked := map[string]bool{}
	for _, t := range p.Trust {
		for _, l := range t.Policy.Origins() {
			if l.URL == "" || asked[l.Origin] {
				continue
			}
			asked[l.Origin] = true
			o.ask(ctx, t.Policy.Of(l.Origin), l.Origin, &client.Log{URL: l.URL, UserAgent: userAgent})
		}
	}
	if len(asked) == 0 {
		return outcome.Usagef("no trust file names the URL of a log that could be asked: name one with --trust")
	}
	if *format == "json" {
		err = printJSON(sh, struct {
			Logs []ownedLog `json:"logs"`
		}{append([]ownedLog{}, o.all...)})
	} else {
		o.human()
	}
	return cmp.Or(err, o.failed())
}

// owner asks logs about one crate.
type owner struct {
	sh             *shell
	name, registry string
	since          uint64
	dir            string
	rules          client.Rules
	state          *client.State // what the logs showed before
	all            []ownedLog
	errs           []error
}

// ownedLog is all that a log holds about a crate.
type ownedLog struct {
	Log       string           `json:"log"`   // origin
	Size      int64            `json:"size"`  // of the tree in which that is all
	AsOf      time.Time        `json:"as_of"` // when its quorum cosigned it; zero without witnesses
	Entries   []ownedEntry     `json:"entries"`
	Earlier   int              `json:"earlier"` // entries before --since, which are not listed
	Inherited []ownedInherited `json:"inherited"`

	asOf string // in words
}

// ownedEntry is an entry about the crate.
type ownedEntry struct {
	Index    uint64   `json:"index"`
	Name     string   `json:"name"` // as the entry spells it
	Version  string   `json:"version"`
	Checksum string   `json:"checksum"`
	Void     bool     `json:"void"` // the version has another checksum in this log:
	Standing string   `json:"standing"`
	First    uint64   `json:"first"` // of the entry that fixed that
	Before   bool     `json:"first_in_log_before,omitempty"`
	Kind     string   `json:"kind"`
	Program  string   `json:"program"`
	Commit   string   `json:"commit,omitempty"` // of a source claim
	Path     string   `json:"path,omitempty"`   // likewise
	Unproven []string `json:"unproven,omitempty"`
	Binary   string   `json:"binary,omitempty"` // of a claim about a build
	Target   string   `json:"target,omitempty"` // likewise
	Artifact string   `json:"artifact,omitempty"`
}

// ownedInherited is a version that a log before this one holds. The log has no more of it than this.
type ownedInherited struct {
	Checksum string `json:"checksum"`
	First    uint64 `json:"first"`
}

// ask asks one log.
func (o *owner) ask(ctx context.Context, p *client.Policy, origin string, l *client.Log) {
	before, _, err := o.state.Latest(origin) // now: another process may remember a newer tree meanwhile
	if err != nil {
		o.fail(origin, fmt.Errorf("what it showed before is not known: %w", err))
		return
	}
	e, err := l.Crate(ctx, p, o.rules, o.registry, o.name)
	if err == nil {
		err = o.standsBeside(before, e.Checkpoint)
	}
	if err != nil {
		if errors.Is(err, client.ErrSeal) && e != nil && e.Checkpoint.Origin == origin {
			if found, _ := l.Phantom(ctx, p, o.rules, e); found != nil {
				err = outcome.Refusef("its index has what no entry makes, about %s: do not believe this log, and give the "+
					"evidence to its monitors and witnesses; %s", o.name, o.keep(found))
			}
		}
		o.fail(origin, err)
		return
	}
	out := ownedLog{Log: origin, Size: e.Checkpoint.Size, AsOf: e.Checkpoint.Witnessed, Entries: []ownedEntry{},
		Inherited: []ownedInherited{}, asOf: e.Checkpoint.AsOf()}
	for _, x := range e.Entries {
		if x.Index < o.since {
			out.Earlier++
			continue
		}
		out.Entries = append(out.Entries, owned(e, x))
	}
	for _, v := range e.Inherited() {
		out.Inherited = append(out.Inherited, ownedInherited{fmt.Sprintf("%x", v.SHA256), v.First})
	}
	o.all = append(o.all, out)
	found, err := l.Omission(ctx, p, o.rules, e, o.registry, o.name)
	switch {
	case err != nil:
		o.sh.Warn("%s: whether it shows an entry elsewhere that its index leaves out was not found out: %v", origin, err)
	case found != nil:
		o.fail(origin, outcome.Refusef("its index leaves out entry %d, which is about %s: that is not all. Do not believe this "+
			"log, and give the evidence to its monitors and witnesses; %s", found.Entries[0].Index, o.name, o.keep(found)))
	}
}

// standsBeside refuses a tree that is older than one that the log has shown before, or another of its size.
func (o *owner) standsBeside(before, now client.Checkpoint) error {
	if now.Size < before.Size {
		return outcome.Refusef("it shows a tree of %d leaves, %s, and has shown one of %d before: what was logged since would "+
			"be missing. Ask again; if it stays like this, tell the monitors", now.Size, now.AsOf(), before.Size)
	}
	_, err := o.state.Observe(now, nil)
	if errors.Is(err, client.ErrFork) {
		err = outcome.Refuse(err)
	}
	return err
}

// keep writes evidence, and says where.
func (o *owner) keep(found *evidence.Evidence) string {
	path := filepath.Join(o.dir, fmt.Sprintf("%s-%d.%s.evidence", o.name, found.Entries[0].Index, found.Kind))
	text, err := found.Marshal()
	if err == nil {
		err = o.write(path, text)
	}
	if err != nil {
		return fmt.Sprintf("the evidence could not be written: %v", err)
	}
	return "the evidence is " + path
}

func (o *owner) write(path string, text []byte) error {
	f, err := newOutput(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.commit(text)
}

// fail notes why a log has no answer. What is wrong with what it says is a refusal.
func (o *owner) fail(origin string, err error) {
	var refused *client.Error
	if err = refusal(err); outcome.Of(err) == outcome.Unchecked && errors.As(err, &refused) {
		err = outcome.Refuse(err)
	}
	o.errs = append(o.errs, fmt.Errorf("%s: %w", origin, err))
}

// failed is the verb's answer: a refusal if there is one.
func (o *owner) failed() error {
	for i, err := range o.errs {
		if outcome.Of(err) == outcome.Refused {
			o.errs[0], o.errs[i] = o.errs[i], o.errs[0]
			break
		}
	}
	if len(o.errs) == 0 {
		return nil
	}
	for _, err := range o.errs[1:] {
		o.sh.complain(err.Error())
	}
	return o.errs[0]
}

func owned(e *client.Everything, x client.LoggedEntry) ownedEntry {
	s := x.Entry.Subject
	v, void := e.Fixed(s)
	out := ownedEntry{Index: x.Index, Name: s.Name, Version: s.Version, Checksum: fmt.Sprintf("%x", s.SHA256), Void: void,
		Standing: fmt.Sprintf("%x", v.SHA256), First: v.First, Before: v.Inherited, Kind: x.Entry.Claim.Kind(),
		Program: fmt.Sprintf("%x", x.Entry.Proof.Program)}
	switch c := x.Entry.Claim.(type) {
	case *entry.Source:
		out.Commit, out.Path, out.Unproven = fmt.Sprintf("%x", c.Commit), c.Path, c.Unproven
	case *entry.Build:
		out.Binary, out.Target, out.Artifact = c.Binary, c.Target, fmt.Sprintf("%x", c.Artifact)
	}
	return out
}

// human prints what each log holds, and that it is all.
func (o *owner) human() {
	for _, l := range o.all {
		for _, e := range l.Entries {
			what := fmt.Sprintf("source of commit %s, /%s", e.Commit, e.Path)
			if len(e.Unproven) > 0 {
				what += ", without " + strings.Join(e.Unproven, ", ")
			}
			if e.Kind != "source" {
				what = fmt.Sprintf("builders make %s for %s: %s", e.Binary, e.Target, e.Artifact)
			}
			void := ""
			if e.Void {
				by := index.Version{First: e.First, Inherited: e.Before}.By()
				void = fmt.Sprintf("VOID: this log has %s for it, by %s; ", e.Standing, by)
			}
			o.say("entry %d: %s@%s, SHA-256 %s: %s%s", e.Index, e.Name, e.Version, e.Checksum, void, what)
		}
		for _, v := range l.Inherited {
			o.say("a version of the log before it, entry %d there: SHA-256 %s", v.First, v.Checksum)
		}
		about, these := o.name, fmt.Sprintf("these are all %d entries", len(l.Entries)+l.Earlier)
		switch n := len(l.Entries) + l.Earlier; {
		case n == 0:
			about, these = o.name+" in the registry "+o.registry, "there is no entry"
			if o.registry == entry.DefaultRegistry {
				about = o.name + " in cargo's default registry (--registry INDEX asks about another's)"
			}
		case n == 1:
			these = "this is the only entry"
		}
		hidden := ""
		if l.Earlier > 0 {
			hidden = fmt.Sprintf("; %d before entry %d not shown", l.Earlier, o.since)
		}
		o.say("%s: %s about %s, %s%s", l.Log, these, about, l.asOf, hidden)
	}
}

func (o *owner) say(format string, args ...any) {
	fmt.Fprintln(o.sh.stdout, printable(fmt.Sprintf(format, args...)))
}
