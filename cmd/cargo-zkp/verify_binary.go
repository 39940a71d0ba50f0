package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/build/rebuild"
	"cratelog/cargo"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// buildsExt is the end of the names of joined files.
const buildsExt = ".builds"

// question is what is asked about a binary; several verbs ask.
type question struct {
	pkg    policy.Package // that is wanted; without a name nobody said which
	bin    string         // name of the binary; "" for any of the crate's
	bundle string         // joined file; "" for what the logs show
	join   string         // file to write the joined file to; "" for none
	crates []string       // directories with .crates
}

// register registers what verify and install have in common, and returns the names.
func (q *question) register(fs *flag.FlagSet) []string {
	fs.StringVar(&q.bin, "bin", "", "with a binary: it is this one, `NAME`, of its crate's (default: any of them)")
	fs.Func("crates", "with a binary: `DIR` with .crate files, beside cargo's cache; may be repeated. What is not "+
		"there is downloaded by its "+
		"checksum, unless --offline", policy.AppendTo(&q.crates))
	fs.StringVar(&q.join, "join", "", "with a binary: write what the log shows about it to `FILE`"+buildsExt+", "+
		"for others, or for --offline")
	return []string{"bin", "crates", "join"}
}

// binaryOptions are those of verify for a binary.
type binaryOptions struct {
	question
	names  []string
	binary string
	any    bool
}

func (o *binaryOptions) register(fs *flag.FlagSet) {
	o.names = append(o.question.register(fs), "any")
	fs.StringVar(&o.binary, "binary", "", "check that this `FILE` is what builders make of NAME@VERSION, by the "+
		"policy's [builds]")
	fs.BoolVar(&o.any, "any", false, "with a binary, and without NAME@VERSION: whatever crate it is of is fine")
}

// verifyBinary checks a binary. spec is NAME@VERSION, or "".
func verifyBinary(ctx context.Context, sh *shell, spec string, b believe, o binaryOptions, format string) error {
	if format != "human" && format != "json" {
		return outcome.Usagef("--message-format is human or json for a binary, not %q", format)
	}
	if err := o.named(spec); err != nil {
		return err
	}
	sum, err := digestOf(o.binary)
	if err != nil {
		return err
	}
	p, err := binaryPolicy(&b)
	if err != nil {
		return err
	}
	said := o.pkg.Name != ""
	checker, err := b.checker(p)
	if err != nil {
		return err
	}
	if !said && o.bundle == "" && !b.offline {
		if err := o.ask(ctx, sh, checker, sum); err != nil {
			return err
		}
	}
	built, err := o.answer(ctx, sh, checker, b, sum, o.binary)
	if err != nil {
		return err
	}
	if format == "json" {
		err = printJSON(sh, builtJSON(built, sum))
	} else {
		reportBuilt(sh, p, o.binary, built)
	}
	if err == nil && !said && !o.any {
		s := built.Subject
		err = outcome.Refusef("it is the binary %s of %s v%s of the registry %s, and nobody said that this is the "+
			"crate that you want\n"+
			"if it is, pass %s@%s; any crate will do with --any", built.Claim.Binary, s.Name, s.Version,
			s.Registry, s.Name, s.Version)
	}
	return err
}

// named reads NAME@VERSION, which may be "".
func (q *question) named(spec string) error {
	if spec == "" {
		return nil
	}
	name, version, ok := strings.Cut(spec, "@")
	if !ok || entry.CheckName(name) != nil || entry.CheckVersion(version) != nil {
		return outcome.Usagef("it takes NAME@VERSION, one exact version, not %q", spec)
	}
	q.pkg.Name, q.pkg.Version = name, version
	return nil
}

// binaryPolicy loads the policy, which must say whom to believe about binaries.
func binaryPolicy(b *believe) (*policy.Policy, error) {
	var ws *cargo.Workspace
	if b.Flag == "" && len(b.Trust) == 0 {
		ws, _ = workspace("") // a binary is checked outside of workspaces as well
	}
	p, err := b.trusting(ws)
	if err == nil && p.Builds == nil {
		at := "there is no zkp.toml, so"
		if p.Path != "" {
			at = shorten(p.Path) + " has no table [builds], so"
		}
		err = outcome.Usagef("%s nobody is believed about binaries\nname the file and the digest of a set of "+
			"builders under [builds]; "+
			"\"cargo zkp init\" writes a zkp.toml that shows how", at)
	}
	return p, err
}

// digestOf hashes a binary.
func digestOf(file string) (sum [32]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, rebuild.MaxBinary+1))
	if err == nil && n > rebuild.MaxBinary {
		err = fmt.Errorf("%s has more than the %d bytes that builders make", file, int64(rebuild.MaxBinary))
	}
	return [32]byte(h.Sum(nil)), err
}

// ask finds out from the logs whose binary it is.
func (o *binaryOptions) ask(ctx context.Context, sh *shell, checker *verdict.Checker, sum [32]byte) error {
	rows, err := checker.Whose(ctx, sum)
	if err != nil {
		return refusal(err)
	}
	var all []string
	for _, r := range rows {
		text := fmt.Sprintf("%s@%s", r.Subject.Name, r.Subject.Version)
		if r.Subject.Registry != entry.DefaultRegistry {
			text += " of " + r.Subject.Registry
		}
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	if len(all) > 1 {
		return outcome.Refusef("several crates are said to make this binary: %s\nsay which one you want",
			strings.Join(all[:min(len(all), 10)], ", "))
	}
	s := rows[0].Subject
	sh.Status("Found", "%s, which is said to make this binary", all[0])
	o.pkg.Name, o.pkg.Version, o.pkg.Registry = s.Name, s.Version, s.Registry
	if s.Registry == entry.DefaultRegistry {
		o.pkg.Registry = ""
	}
	return nil
}

// answer verifies a binary, whose file may have a joined file beside it.
func (q *question) answer(ctx context.Context, sh *shell, checker *verdict.Checker, b believe, sum [32]byte,
	file string) (*verdict.Built, error) {
	binary := verdict.Binary{SHA256: sum, Package: q.pkg, Name: q.bin, Crate: (&shelf{q.crates,
		&crateSource{offline: b.offline}}).fetch}
	var err error
	if binary.Joined, err = q.joined(ctx, checker, b, binary, file); err != nil {
		return nil, err
	}
	if q.join != "" {
		if err := durable.Write(q.join, binary.Joined, 0o644); err != nil {
			return nil, err
		}
		sh.Status("Written", "%s, what the log shows about it", shorten(q.join))
	}
	what := "what was downloaded"
	if file != "" {
		what = shorten(file)
	}
	sh.Status("Verifying", "what builders say of %s, and its sources", what)
	built, err := checker.Build(ctx, binary)
	if err != nil {
		return nil, refusal(err)
	}
	return built, nil
}

// joined reads what is logged about a binary: from a file, or from a log.
func (q *question) joined(ctx context.Context, checker *verdict.Checker, b believe, binary verdict.Binary,
	file string) ([]byte, error) {
	at := q.bundle
	if at == "" && b.offline && file != "" {
		at = file + buildsExt
	}
	if at != "" {
		raw, err := readFile(at, client.MaxJoinedSize)
		if errors.Is(err, os.ErrNotExist) && q.bundle == "" {
			err = fmt.Errorf("%w\nname the file of builds with --bundle, or make it once without --offline, with "+
				"--join %s", err, at)
		}
		return raw, err
	}
	raw, err := checker.Join(ctx, binary)
	return raw, refusal(err)
}

// A shelf gets .crates by their checksums: out of directories, cargo's cache, or the registry.
type shelf struct {
	dirs []string
	rest *crateSource
}

func (s *shelf) fetch(ctx context.Context, c build.Crate) ([]byte, error) {
	for _, dir := range s.dirs {
		raw, err := durable.Read(filepath.Join(dir, c.Name+"-"+c.Version+".crate"), crate.DefaultLimits.Compressed)
		if err == nil && sha256.Sum256(raw) == c.SHA256 {
			return raw, nil
		}
	}
	return s.rest.fetch(ctx, c)
}

// reportBuilt prints what was verified about a binary.
func reportBuilt(sh *shell, p *policy.Policy, file string, b *verdict.Built) {
	for _, n := range b.Notes {
		sh.Warn("%s", n)
	}
	if b.Offline && b.AsOf.IsZero() {
		sh.Warn("offline: no witness tells how old it is what the log shows; members may have said otherwise since")
	} else if b.Offline {
		sh.Warn("offline: what the log shows was cosigned %s ago; members may have said otherwise since",
			ago(time.Since(b.AsOf)))
	}
	switch {
	case p.Development:
		sh.Warn("accepted with UNSAFE development keys: anyone can forge such proofs")
	case b.Facts.Development:
		sh.Warn("accepted a proof made with an UNSAFE development key: anyone can forge it")
	}
	c := b.Claim
	sh.Status("Verified", "%s: the binary %s of %s v%s for %s", shorten(file), c.Binary, b.Subject.Name,
		b.Subject.Version, c.Target)
	for _, text := range b.Says() {
		if !sh.quiet {
			fmt.Fprintf(sh.stderr, "%12s %s\n", "", text)
		}
	}
	if sh.verbose {
		for _, one := range b.Compiled {
			what := one.Why
			if one.Proven {
				what = "commit " + one.Commit
			}
			fmt.Fprintf(sh.stderr, "%12s compiled %s v%s: %s\n", "", one.Name, one.Version, what)
		}
		fmt.Fprintf(sh.stderr, "%12s toolchain %x\n%12s environment %x\n", "", c.Toolchain, "", c.Environment)
	}
	sh.Status("Finished", "%s is what %d of %d builders make of %s v%s, whose source is %s", shorten(file),
		len(b.Agree), b.Of, b.Subject.Name,
		b.Subject.Version, from(b.Commit, b.Facts.Path, b.Facts.NamesCommit))
}

// ago writes an age in the unit that a person would.
func ago(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
	return d.Round(time.Minute).String()
}

// builtJSON is what was verified about a binary, for machines. Keys are added to it, never changed.
func builtJSON(b *verdict.Built, sum [32]byte) any {
	c := b.Claim
	said := func(all []verdict.Said) []object {
		out := []object{}
		for _, s := range all {
			o := object{"index": s.Index, "artifact": fmt.Sprintf("%x", s.Artifact)}
			if s.Member != "" {
				o["member"] = s.Member
			}
			out = append(out, o)
		}
		return out
	}
	compiled, others := []object{}, []object{}
	for _, one := range b.Compiled {
		compiled = append(compiled, object{"registry": one.Registry, "name": one.Name, "version": one.Version,
			"sha256": fmt.Sprintf("%x", one.SHA256),
			"proven": one.Proven, "excepted": one.Excepted, "commit": one.Commit, "why": one.Why})
	}
	for _, o := range b.Others {
		others = append(others, object{"artifact": fmt.Sprintf("%x", o.Artifact), "toolchain": fmt.Sprintf("%x",
			o.Toolchain),
			"environment": fmt.Sprintf("%x", o.Environment), "same_build": o.Same, "listed": o.Listed,
			"entries": o.Entries})
	}
	return object{
		"sha256": fmt.Sprintf("%x", sum), "registry": b.Subject.Registry, "name": b.Subject.Name,
		"version":  b.Subject.Version,
		"checksum": fmt.Sprintf("%x", b.Subject.SHA256), "binary": c.Binary, "target": c.Target,
		"toolchain":   fmt.Sprintf("%x", c.Toolchain),
		"environment": fmt.Sprintf("%x", c.Environment), "recipe": c.Recipe, "set": b.Set, "hidden": b.Hidden,
		"of":    b.Of,
		"agree": said(b.Agree), "dissent": said(b.Dissent), "others": others, "log": b.Log, "size": b.Size,
		"as_of":   b.AsOf,
		"offline": b.Offline, "source": b.Facts, "versions_by_commit": b.ByCommit, "compiled": compiled,
		"notes": append([]string{}, b.Notes...),
	}
}
