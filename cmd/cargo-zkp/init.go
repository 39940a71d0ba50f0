package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/backlog"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// firstExpires is how long generated exceptions count, if nobody says.
const firstExpires = "90d"

// trustDir is where init puts trust files and programs, beside zkp.toml.
const trustDir = "zkp"

// maxTrust bounds a trust file or a program that is copied, in bytes.
const maxTrust = 1 << 20

// initOptions are those of init.
type initOptions struct {
	lock        lockOptions
	fromLock    bool
	force       bool
	offline     bool
	development bool
	expires     policy.Date
	require     string
	trust       []string
	report      string
}

// initPolicy writes a zkp.toml beside the workspace's Cargo.toml, and with --from-lock the exceptions
// with which verify is green.
func initPolicy(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "init", "", `Write a commented zkp.toml beside the workspace's Cargo.toml, or where metadata.zkp.policy says;
as it stands it asks for nothing but what the manifests do.
With --from-lock it requires that all crates are proven, but for those of Cargo.lock that are
not yet: they are excepted for a while, one line each, in zkp-exceptions.toml.`)
	o := initOptions{lock: lockOptions{format: "human"}, expires: policy.DateIn(time.Now(), 90*24*time.Hour)}
	manifestFlag(fs, &o.lock.manifestPath)
	fs.BoolVar(&o.fromLock, "from-lock", false, "require what Cargo.lock has, and except what is not proven yet")
	fs.Func("expires", "`DATE` like 2027-01-31, or days like 30d, until which that counts "+
		"(default: "+firstExpires+")", o.setExpires)
	fs.StringVar(&o.require, "require", "", "`WHAT` must be proven: all or none (default: all with --from-lock, "+
		"else none)")
	fs.Func("trust", "`PATH` of a trust file, or of a directory with *.policy and programs (*.json): they are "+
		"copied into "+
		trustDir+"/; may be repeated (default: those in your settings count)", policy.AppendTo(&o.trust))
	fs.StringVar(&o.report, "report", "", "`FILE` that cargo zkp prove --lock --report wrote: why crates are not "+
		"proven (default: the one in its work directory, and what each .crate shows)")
	fs.BoolVar(&o.development, "development", false, "accept proofs made with UNSAFE development keys, which anyone "+
		"can forge")
	fs.BoolVar(&o.offline, "offline", false, "use only what is on this disk")
	fs.BoolVar(&o.force, "force", false, "write over a file of exceptions, and over copied trust files; never over "+
		"zkp.toml")
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	if name := given(fs, "expires", "report"); name != "" && !o.fromLock {
		return outcome.Usagef("--%s is for --from-lock", name)
	}
	switch {
	case o.require == "" && o.fromLock:
		o.require = "all"
	case o.require == "":
		o.require = "none"
	case o.require != "all" && o.require != "none":
		return outcome.Usagef("--require is all or none, not %q; write lists into zkp.toml", o.require)
	}
	return o.run(ctx, sh)
}

func (o *initOptions) setExpires(s string) (err error) {
	if strings.HasSuffix(s, "d") {
		age, err := policy.ParseAge(s)
		if err == nil && age == 0 {
			err = errors.New("it must be at least 1d")
		}
		o.expires = policy.DateIn(time.Now(), age)
		return err
	}
	if o.expires, err = policy.ParseDate(s); err == nil && o.expires.Past(time.Now()) {
		err = fmt.Errorf("%s is over", s)
	}
	return err
}

func (o *initOptions) run(ctx context.Context, sh *shell) error {
	ws, err := workspace(o.lock.manifestPath)
	if err != nil {
		return err
	}
	path := cmp.Or(ws.Policy, filepath.Join(ws.Root, policy.FileName))
	dir := filepath.Dir(path)
	_, err = os.Lstat(path)
	there := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// What init alone wrote, and nobody touched, says nothing that would be lost.
	blank := there && (o.fromLock || len(o.trust) > 0) && isTemplate(path)
	there = there && !blank
	if there && !o.fromLock {
		return outcome.Refusef("%s is there already, and stays as it is\n\"cargo zkp policy check\" looks for "+
			"mistakes in it; "+
			"\"cargo zkp init --from-lock\" excepts what is not proven yet", shorten(path))
	}
	if there && (len(o.trust) > 0 || o.development) {
		return outcome.Usagef("%s is there already, and stays as it is: write into it whom to believe\n"+
			"the trust file under trust = [...], the program under programs = [...]; then run this without "+
			"--trust", shorten(path))
	}
	files, err := o.trusted(dir)
	if err != nil {
		return err
	}
	first := policy.Initial{RequireAll: o.require == "all", Development: o.development}
	for _, f := range files {
		if f.program {
			first.Programs = append(first.Programs, f.name)
		} else {
			first.Trust = append(first.Trust, f.name)
		}
	}
	p, err := o.policy(path, there, files)
	if err != nil {
		return err
	}
	if !there && !blank && ws.Policy == "" {
		place := policy.Place{Root: ws.Root, UserDir: policy.UserDir()}
		if other, err := place.Find(); err == nil && other != "" {
			sh.Warn("%s will not count here any more, for %s is nearer: write into that what shall go on",
				shorten(other), shorten(path))
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var done error
	if o.fromLock {
		to := filepath.Join(dir, policy.ExceptionsName)
		if first.Exceptions = policy.ExceptionsName; there {
			to = p.ExceptionsPath
		}
		x, git, err := o.exceptions(ctx, sh, ws, p, path, there, to)
		if err != nil && x == nil {
			return err
		}
		done, first.Git = err, git
		if err := copyTrust(files, o.force); err != nil {
			return err
		}
		if err := x.Write(to, o.force); err != nil {
			return err
		}
	} else if err := copyTrust(files, o.force); err != nil {
		return err
	}
	if !there { // last: what it names is there
		write := durable.WriteNew
		if blank {
			write = durable.Write
		}
		if err := write(path, []byte(first.Text()), 0o644); err != nil {
			return errors.Join(done, err)
		}
		sh.Status("Created", "%s; look through it, then run \"cargo zkp policy check\"", shorten(path))
	}
	return done
}

// isTemplate says that a zkp.toml is as init alone writes it.
func isTemplate(path string) bool {
	b, err := durable.Read(path, maxTrust)
	return err == nil && string(b) == policy.Template
}

// policy is the one that will count: that of a zkp.toml that is there, or the one that is to be written.
func (o *initOptions) policy(path string, there bool, files []trustFile) (*policy.Policy, error) {
	place := policy.Place{UserDir: policy.UserDir(), Development: o.development, NoExceptions: true, NoFile: !there}
	if there {
		place.Flag = path
	}
	for _, f := range files {
		if f.program {
			place.Programs = append(place.Programs, f.from)
		} else {
			place.Trust = append(place.Trust, f.from)
		}
	}
	p, err := place.Load()
	if err != nil {
		return nil, policyError(err)
	}
	if there && p.ExceptionsPath == "" {
		return nil, outcome.Refusef("%s is there already, and stays as it is\nwrite exceptions = %q into it, and "+
			"run this again: "+
			"what is not proven yet is excepted there", shorten(path), policy.ExceptionsName)
	}
	if !there && o.require == "all" {
		p.Path, p.Require = path, []policy.Pattern{policy.All}
	}
	return p, nil
}

// exceptions finds out what of a lock file is not proven and can be excepted. An error beside the
// exceptions is that some crates cannot be.
func (o *initOptions) exceptions(ctx context.Context, sh *shell, ws *cargo.Workspace, p *policy.Policy, path string,
	there bool, to string) (*policy.Exceptions, []string, error) {
	_, err := os.Lstat(to)
	stays := err == nil && !o.force
	mayNot := outcome.Refusef("%s is there already, and stays as it is\n\"cargo zkp suggest\" tells what can be done "+
		"about it, \"cargo zkp prune\" shortens it, --force writes it anew", shorten(to))
	if stays && there {
		return nil, nil, mayNot
	}
	report, err := proveReport(sh, ws.Root, o.report)
	if err != nil {
		return nil, nil, err
	}
	b := believe{offline: o.offline}
	if err := freshLock(ctx, sh, b, o.lock); err != nil {
		return nil, nil, err
	}
	text, err := readLock(ctx, sh, ws, false, o.offline)
	if err != nil {
		return nil, nil, err
	}
	l, err := verdict.NewLock(ws, p, text, nil, time.Now())
	if err != nil {
		return nil, nil, err
	}
	var git []string
	if sources := l.GitSources(); !there && len(sources) > 0 {
		git = sources
		p.Git = sources
		if l, err = verdict.NewLock(ws, p, text, nil, time.Now()); err != nil {
			return nil, nil, err
		}
		sh.Warn("packages from git have no .crate, and need no proof by [git] allow in %s: %s", shorten(path),
			policy.Few(git))
	}
	if len(p.Trust) == 0 {
		sh.Warn("all crates are excepted: %s", p.NoTrust())
	}
	k := &lockCheck{Lock: l}
	if err := k.run(ctx, sh, b); err != nil {
		return nil, nil, err
	}
	x := &policy.Exceptions{Expires: o.expires}
	causes := map[string]int{}
	for i := range k.verdicts {
		v := &k.verdicts[i]
		if v.Status != verdict.Violation && v.Status != verdict.Unchecked {
			continue
		}
		reason, ok := whyExcepted(v, report)
		if !ok {
			continue
		}
		causes[reason]++
		x.List = append(x.List, policy.Except(v.Demand.Package, reason, o.expires))
		v.Status = verdict.Excepted
		v.Demand.Except = &x.List[len(x.List)-1]
	}
	n := verdict.Counts(k.verdicts)
	if stays && n[verdict.Unchecked] == 0 { // as a run that was killed before it wrote zkp.toml has left it?
		made := x.Format()
		if left, err := durable.Read(to, int64(len(made))); err != nil || !bytes.Equal(left, made) {
			return nil, nil, mayNot
		}
	}
	if n[verdict.Unchecked] == 0 {
		sh.Status("Excepted", "%s until %s in %s; %d proven", crates(len(x.List)), o.expires, shorten(to),
			n[verdict.Verified])
		for _, reason := range byCount(causes) {
			sh.Status("", "%d %s", causes[reason], reason)
		}
	}
	k.complaints(sh)
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	bad := n[verdict.Violation] + len(k.Elsewhere)
	if n[verdict.Unchecked] > 0 {
		err := fmt.Errorf("%s could not be checked, so that nothing is written: what is not known is not excepted",
			crates(n[verdict.Unchecked]))
		if bad > 0 {
			err = outcome.Refuse(err)
		}
		return nil, nil, err
	}
	if bad > 0 {
		return x, git, outcome.Refusef("%s cannot be excepted: see above", crates(bad))
	}
	return x, git, nil
}

// exceptable are the reasons for which an exception is made without anybody looking: nothing was shown
// that is false.
var exceptable = []string{"not-logged", "no-claim", "no-log", "not-cached", "registry", "no-opening", "program", "unproven",
	"crlf", "left-out"}

// whyExcepted says for people why a crate is excepted; not ok if it must not be.
func whyExcepted(v *verdict.Verdict, report *backlog.Report) (reason string, ok bool) {
	e := verdict.Explain(v.Err)
	if !slices.Contains(exceptable, e.Reason) || !verdict.Mild(v.Err) {
		return "", false
	}
	switch e.Reason {
	case "not-logged", "no-log", "not-cached":
		return unprovenText(v, report), true
	}
	return strings.ReplaceAll(verdict.About(e.Reason), "`", ""), true
}

// unprovenText says why no log has a crate: as a report has it, or what the .crate shows.
func unprovenText(v *verdict.Verdict, report *backlog.Report) string {
	if c := reported(v, report); c != nil && c.Outcome == backlog.Refused {
		return c.Cause.Sentence()
	} else if c != nil && c.Outcome == backlog.Proven {
		return "proven here, and not in a log yet"
	}
	cause, looked := causeOf(v)
	if !looked {
		return "not in a log yet"
	}
	return causeSentence(string(cause))
}

// reported returns what a report says of a crate with these bytes; nil if it does not. The report may
// be nil.
func reported(v *verdict.Verdict, report *backlog.Report) *backlog.Crate {
	if report == nil {
		return nil
	}
	sum := hex.EncodeToString(v.Checksum[:])
	for i := range report.Crates {
		if c := &report.Crates[i]; c.Name == v.Name && c.Version == v.Version && c.SHA256 == sum {
			return c
		}
	}
	return nil
}

// trustFile is one that init copies.
type trustFile struct {
	from, to string // paths
	name     string // relative to zkp.toml
	content  []byte
	program  bool
}

// trusted reads the files that --trust names, to be copied below the directory of zkp.toml.
func (o *initOptions) trusted(dir string) (files []trustFile, err error) {
	var in []string // directories
	for _, path := range o.trust {
		paths := []string{path}
		if info, err := os.Stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		} else if err != nil {
			return nil, outcome.Usagef("--trust %s: there is no such file or directory; it is the trust file of a log, or a "+
				"directory "+
				"with it and its program: of a log that cratelog made, DIR/readers", path)
		} else if info.IsDir() {
			in = append(in, path)
			if paths, err = policyFiles(path); err != nil {
				return nil, err
			}
		}
		for _, from := range paths {
			content, err := durable.Read(from, maxTrust)
			if err != nil {
				return nil, err
			}
			f := trustFile{from: from, to: filepath.Join(dir, trustDir, filepath.Base(from)),
				name:    trustDir + "/" + filepath.Base(from),
				content: content, program: filepath.Ext(from) == ".json"}
			if slices.ContainsFunc(files, func(g trustFile) bool { return g.to == f.to }) {
				return nil, outcome.Usagef("--trust: two files have the name %s", filepath.Base(from))
			}
			files = append(files, f)
		}
	}
	if len(o.trust) > 0 && !slices.ContainsFunc(files, func(f trustFile) bool { return !f.program }) {
		text := fmt.Sprintf("--trust %s has no trust file (*.policy), so that no log would be believed", o.trust[0])
		for _, dir := range in {
			if _, err := os.Stat(filepath.Join(dir, "readers")); err == nil {
				text += "\nit is in " + filepath.Join(dir, "readers")
			}
		}
		return nil, outcome.Usagef("%s", text)
	}
	return files, nil
}

// policyFiles are the trust files and programs of a directory, sorted.
func policyFiles(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		ext, hidden := filepath.Ext(e.Name()), strings.HasPrefix(e.Name(), ".")
		if !e.IsDir() && !hidden && (ext == ".policy" || ext == ".json") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// copyTrust writes the files beside zkp.toml. Others of the same name stay, without force.
func copyTrust(files []trustFile, force bool) error {
	for _, f := range files {
		old, err := durable.Read(f.to, maxTrust)
		switch {
		case err == nil && bytes.Equal(old, f.content):
			continue
		case err == nil && !force:
			return outcome.Refusef("%s is there already, and is not %s\nremove it, or pass --force", shorten(f.to), f.from)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if err := os.MkdirAll(filepath.Dir(f.to), 0o755); err != nil {
			return err
		}
		if err := durable.Write(f.to, f.content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
