package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"cratelog/build"
	"cratelog/build/builder"
	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// builderVerb is "builder keygen", "builder enroll" and so on.
func builderVerb(ctx context.Context, sh *shell, args []string) error {
	verbs := map[string]func(context.Context, *shell, []string) error{"keygen": builderKeygen, "enroll": builderEnroll,
		"set": builderSet, "status": builderStatus, "run": builderRun}
	if len(args) > 0 {
		if verb, ok := verbs[args[0]]; ok {
			return verb(ctx, sh, args[1:])
		}
		if args[0] == "--help" || args[0] == "-h" {
			fmt.Fprint(sh.stdout, builderHelp)
			return flag.ErrHelp
		}
	}
	return outcome.Usagef("builder takes one of the verbs keygen, enroll, set, status and run; \"cargo zkp builder " +
		"--help\" tells what they do")
}

const builderHelp = `Be a builder: one who rebuilds programs, and says what came out.

Usage: cargo zkp builder VERB [OPTIONS]

  keygen FILE         Make a key, hidden by default, and its journal
  enroll FILE         Make the file by which who keeps a set takes the key into it
  set NAME FILE...    Make a set of builders of enrollments
  status [NAME@VERSION...]
                      Look in a log for what was said with a key, and not by its owner
  run                 Follow a list of programs: rebuild them, and attest what nobody denies

Each verb has its own --help.
`

func builderKeygen(_ context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "builder keygen", "FILE", "Make a builder's key, and FILE.journal beside it, which says what "+
		"was attested with it.\nKeep both together: two results for one build unmask their builder. Of a lost journal "+
		"there is no\n"+
		"backup that is safe to use, of a lost key neither: make another one and enroll that.")
	named := fs.Bool("named", false, "for a set whose members sign with their names (default: for a hidden one)")
	typ := fs.String("type", "", "`TYPE` of a named key: ed25519 or ml-dsa-44 (default: ed25519)")
	file, err := parse(fs, args, "FILE")
	if err != nil {
		return err
	}
	t := builder.Secret
	switch {
	case *typ != "" && !*named:
		return outcome.Usagef("--type is for --named: hidden keys have one type only")
	case *named && *typ == "":
		t = builder.Ed25519
	case *named:
		t = builder.Type(*typ)
		if t != builder.Ed25519 && t != builder.MLDSA44 {
			return outcome.Usagef("--type: %q is neither %s nor %s", *typ, builder.Ed25519, builder.MLDSA44)
		}
	}
	if err := builder.Generate(file, t); err != nil {
		return err
	}
	sh.Status("Created", "the key %s (%s) and its journal %s; next: cargo zkp builder enroll %s --set SET --name "+
		"NAME --contact CONTACT", file, t, file+builder.JournalExt, file)
	return nil
}

func builderEnroll(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "builder enroll", "FILE", "Make the enrollment of the key in FILE: who you are, and the proof "+
		"that the key is yours. Hand it to\nwho keeps the set.")
	var o memberOptions
	set := fs.String("set", "", "`NAME` of the set (required)")
	name := fs.String("name", "", "`NAME` under which you are in the set (required)")
	contact := fs.String("contact", "", "how you can be reached, a `TEXT` for the set's file (required)")
	out := fs.String("o", "", "`FILE` for the enrollment (default: FILE.enrollment)")
	o.registerKeys(fs)
	file, err := parse(fs, args, "FILE")
	if err != nil {
		return err
	}
	if *set == "" || *name == "" || *contact == "" {
		return outcome.Usagef("enroll needs --set NAME, --name NAME and --contact TEXT, which stand in the set's file")
	}
	if *out == "" {
		*out = file + ".enrollment"
	}
	key, err := builder.Open(file)
	if err != nil {
		return err
	}
	defer key.Close()
	keys, err := o.keys(ctx, sh, key.Kind)
	if err != nil {
		return err
	}
	e, err := key.Enroll(ctx, *set, *name, *contact, keys)
	if err != nil {
		return err
	}
	if err := durable.Write(*out, e.Marshal(), 0o644); err != nil {
		return err
	}
	sh.Status("Created", "%s, of %s for the set %s; hand it to who keeps the set", *out, *name, *set)
	return nil
}

func builderSet(_ context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "builder set", "NAME ENROLLMENT...", "Make a set of builders, in the order of their "+
		"enrollments, each of which must show that its builder has\nthe key. \"vacant\" instead of a file leaves a "+
		"place "+
		"of a hidden set free. Readers name a set by the\n"+
		"digest of its file. Its members are hidden among those who are honest, and no others.")
	out := fs.String("o", "", "`FILE` for the set (default: NAME.set)")
	former := fs.String("former", "", "`FILE` of the set of which this one is the next: say how many members both have")
	var programs []string
	fs.Func("program", "`FILE` of a program to accept hidden enrollments of, beside those that ship; may be repeated",
		policy.AppendTo(&programs))
	words, err := parseUpTo(1<<build.Depth+1, fs, args, "NAME and enrollments")
	if err != nil {
		return err
	}
	if len(words) < 2 {
		return outcome.Usagef("set takes the set's NAME and at least one enrollment")
	}
	name := words[0]
	if err := build.CheckMember(name); err != nil {
		return outcome.Usagef("%v", err)
	}
	accepted, err := proofcheck.Embedded()
	if err != nil {
		return err
	}
	for _, path := range programs {
		p, err := proofcheck.ReadProgram(path)
		if err != nil {
			return err
		}
		accepted = append(accepted, p)
	}
	var all []*builder.Enrollment
	for _, path := range words[1:] {
		if path == "vacant" {
			all = append(all, nil)
			continue
		}
		text, err := readFile(path, builder.MaxEnrollment)
		if err != nil {
			return err
		}
		e, err := builder.ParseEnrollment(text)
		if err != nil {
			return outcome.Refusef("%s: %w", path, err)
		}
		all = append(all, e)
		for _, p := range accepted {
			if p.ID() == e.Program && p.Origin == proofcheck.OriginDevelopment {
				sh.Warn("%s is proved under UNSAFE development keys, which anyone can do for any key", path)
			}
		}
	}
	s, err := builder.NewSet(name, all, accepted)
	if err != nil {
		return outcome.Refuse(err)
	}
	if *former != "" {
		if err := sayCommon(sh, s, *former); err != nil {
			return err
		}
	}
	if *out == "" {
		*out = strings.ReplaceAll(name, "/", "-") + ".set"
	}
	return writeSet(sh, s, *out)
}

// writeSet writes a set's file and prints by what it is known.
func writeSet(sh *shell, s *build.Set, path string) error {
	text, err := s.Marshal()
	if err != nil {
		return err
	}
	if err := durable.WriteNew(path, text, 0o644); err != nil {
		return fmt.Errorf("the set's file %s is not written; one that is there is left alone: %w", path, err)
	}
	sh.Status("Created", "%s, the set %s (%s) of %s", path, s.Name, s.Kind, builders(s.Size()))
	if s.Kind == build.Hidden && s.Size() < 8 {
		sh.Warn("a hidden set of %d hides little; with fewer than 8, members may as well sign with their names",
			s.Size())
	}
	fmt.Fprintf(sh.stdout, "root   %x\ndigest %x\n", s.Root(), s.Digest())
	return nil
}

func builders(n int) string {
	if n == 1 {
		return "1 builder"
	}
	return fmt.Sprintf("%d builders", n)
}

// sayCommon says how many members two epochs of a set have in common.
func sayCommon(sh *shell, s *build.Set, former string) error {
	old, err := build.ReadSet(former)
	if err != nil {
		return err
	}
	if old.Kind != s.Kind {
		return outcome.Usagef("%s is a %s set, and the new one is %s", former, old.Kind, s.Kind)
	}
	n := builder.Common(s, old)
	sh.Status("Common", "%d of %d members were in the set %s of %d", n, s.Size(), old.Name, old.Size())
	if s.Kind == build.Hidden {
		sh.Warn("whoever attests one build as a member of both sets has one tag in both, and is one of these %d", n)
	}
	return nil
}

func builderStatus(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "builder status", "[NAME@VERSION...]", "Look in a log for what was said with a key: if its "+
		"journal does not know it, somebody else has the\nkey, or the journal is an old one. The log must be one of the policy. "+
		"Without crates all of it is read;\nwith crates, or --programs, it shows all about these, and learns that they are "+
		"asked for. Tags are\ncomputed here.")
	var b believe
	b.register(fs)
	keyFile := fs.String("key", "", "`FILE` with the builder's key (required)")
	url := fs.String("log", "", "`URL` of the log (required)")
	programs := fs.String("programs", "", "`FILE` with NAME@VERSION lines, as \"builder run\" follows")
	registry := fs.String("index", "", "`URL` of the index of the crates' registry (default: that of cargo's "+
		"default one)")
	adopt := fs.Bool("adopt", false, "take what the journal does not know into it: you said it yourself, and the "+
		"journal is an old one")
	var setFiles []string
	fs.Func("set", "`FILE` of a set in which a named key is; may be repeated (a hidden key needs none)",
		policy.AppendTo(&setFiles))
	words, err := parseUpTo(1000, fs, args, "NAME@VERSION")
	if err != nil {
		return err
	}
	if *keyFile == "" || *url == "" {
		return outcome.Usagef("status needs --key FILE and --log URL: what to look for, and where")
	}
	list, err := statusPrograms(words, *programs)
	if err != nil {
		return err
	}
	log, err := b.shown(sh, *url)
	if err != nil {
		return err
	}
	open := builder.Peek // also while "builder run" uses the key
	if *adopt {
		open = builder.Open
	}
	key, err := open(*keyFile)
	if err != nil {
		return err
	}
	defer key.Close()
	var sets []*build.Set
	for _, path := range setFiles {
		s, err := build.ReadSet(path)
		if err != nil {
			return err
		}
		sets = append(sets, s)
	}
	if key.Kind == build.Named && len(sets) == 0 {
		return outcome.Usagef("a named key has a tag for each set: status needs --set FILE")
	}
	t := statusTeller{sh: sh, key: key, sets: sets, adopt: *adopt}
	if len(list) == 0 {
		n, err := builder.AllBuilds(ctx, log.Log, log.Policy, func(s builder.Said) error {
			return t.tell(s.Subject.Name, s.Subject.Version, []client.BuildRow{s.BuildRow})
		})
		if err != nil {
			return err
		}
		sh.Status("Read", "the log's tree of %d entries", n)
		return t.end()
	}
	for _, p := range list {
		rows, err := log.Builds(ctx, entry.Subject{Registry: entry.Registry(*registry), Name: p.Name,
			Version: p.Version})
		if err != nil {
			return fmt.Errorf("asking the log what builders say about %s: %w", p, err)
		}
		if err := t.tell(p.Name, p.Version, rows); err != nil {
			return err
		}
	}
	return t.end()
}

// trustOf returns the policy's trust file that names the log at a URL, and whether the policy is for development.
func (b *believe) trustOf(logURL string) (trust *client.Policy, development bool, err error) {
	p, err := b.trusting(nil)
	if err != nil {
		return nil, false, err
	}
	for _, t := range p.Trust {
		for _, l := range t.Policy.Logs() {
			if strings.TrimSuffix(l.URL, "/") == strings.TrimSuffix(logURL, "/") {
				return t.Policy.Of(l.Origin), p.Development, nil
			}
		}
	}
	return nil, false, outcome.Usagef("no trust file of the policy names a log at %s, so what it shows could not be "+
		"believed; name one with --trust FILE", logURL)
}

// statusPrograms returns the crates to ask about, each version once.
func statusPrograms(words []string, file string) ([]builder.Program, error) {
	text := []byte(strings.Join(words, "\n"))
	if file != "" {
		more, err := readFile(file, maxProgramList)
		if err != nil {
			return nil, err
		}
		text = append(append(text, '\n'), more...)
	}
	all, err := builder.ParsePrograms(text)
	if err != nil {
		return nil, outcome.Misuse(err)
	}
	seen := map[builder.Program]bool{}
	var list []builder.Program
	for _, p := range all {
		p.Binary = "" // the log is asked for all binaries of a version
		if !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list, nil
}

// maxProgramList bounds a list of programs, in bytes.
const maxProgramList = 1 << 20

// A statusTeller prints what was said with a key.
type statusTeller struct {
	sh    *shell
	key   *builder.Key
	sets  []*build.Set
	adopt bool

	known, bad int
}

func (t *statusTeller) tell(name, version string, rows []client.BuildRow) error {
	s, err := t.key.Status(rows, t.sets)
	if err != nil {
		return err
	}
	t.known += len(s.Known)
	for _, r := range s.Known {
		fmt.Fprintf(t.sh.stdout, "%s %s: binary %s, SHA-256 %x, entry %d\n", name, version, r.Binary, r.Artifact,
			r.Index)
	}
	if t.adopt {
		if err := t.key.Adopt(s.Unknown); err != nil {
			return outcome.Refuse(err)
		}
		for _, r := range s.Unknown {
			t.sh.Status("Adopted", "%s %s: binary %s, SHA-256 %x, entry %d", name, version, r.Binary, r.Artifact,
				r.Index)
		}
		s.Unknown = nil
	}
	t.bad += len(s.Unknown) + len(s.Against)
	for _, r := range s.Unknown {
		t.sh.complain(fmt.Sprintf("%s %s: entry %d says with this key that the binary %s is %x, and its journal "+
			"does not know it",
			name, version, r.Index, r.Binary, r.Artifact))
	}
	for _, r := range s.Against {
		t.sh.complain(fmt.Sprintf("%s %s: entry %d says with this key that the binary %s is %x, and its journal has "+
			"said something else", name, version, r.Index, r.Binary, r.Artifact))
	}
	return nil
}

func (t *statusTeller) end() error {
	if t.bad > 0 {
		return outcome.Refusef("%d attestations were made with this key and are not in its journal: somebody else "+
			"has the key, or the journal is an old one\nstop using the key, and tell who keeps the set; if you made "+
			"them yourself, --adopt takes them into the journal", t.bad)
	}
	t.sh.Status("Finished", "%d attestations with this key, all in its journal, which knows %d", t.known,
		t.key.Attested())
	return nil
}
