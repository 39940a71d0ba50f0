package publish

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/credential"
	"cratelog/client"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
	"cratelog/prover"
)

// look finds out what is to be published and where, before anything is done.
func (r *run) look(ctx context.Context) (err error) {
	if r.meta, err = r.Cargo.metadata(ctx); err != nil {
		return err
	}
	members, err := r.meta.pick(r.Selection)
	if err != nil {
		return err
	}
	for _, m := range members {
		r.jobs = append(r.jobs, &job{member: m})
	}
	r.store = store{credential.Dir(filepath.Join(r.meta.TargetDir, "zkp"))}
	if r.settings, err = credential.ReadSettings(r.Cargo.Dir, r.Home, os.Getenv); err != nil {
		return err
	}
	if r.target, err = newTarget(r.settings, r.Registry, r.Index, members); err != nil {
		return err
	}
	if r.proofs, err = proofcheck.Load(r.Policy.Programs, true); err != nil {
		return err
	}
	if err := r.loadPolicy(); err != nil {
		return err
	}
	if err := r.findLog(members); err != nil {
		return err
	}
	return r.useProgram(ctx)
}

func (r *run) loadPolicy() error {
	ws, err := cargo.LoadWorkspace(filepath.Join(r.meta.Root, "Cargo.toml"))
	if err != nil {
		return err
	}
	r.Policy.Root, r.Policy.Metadata = ws.Root, ws.Policy
	if r.policy, err = r.Policy.Load(); err != nil {
		return outcome.Misuse(err)
	}
	if len(r.policy.Trust) == 0 {
		r.Report.Warn("the log's answer is not verified: %s", r.policy.NoTrust())
		return nil
	}
	r.reader, err = credential.NewReader(r.policy)
	return err
}

// useProgram has the proofs be of the log's program, unless another one was named, and has this run
// accept them: what it checks is that the log holds what was made here.
func (r *run) useProgram(ctx context.Context) error {
	var log prover.KeyServer // nil in a dry run without a log
	if r.log != nil {
		log = r.log
	}
	p, err := r.Prover.UseLog(ctx, log, r.reader == nil || r.policy.Development)
	if err != nil || p == nil {
		return err
	}
	if r.proofs, err = proofcheck.New(with(r.proofs.Programs(), *p)); err != nil || r.reader == nil {
		return err
	}
	r.policy.Programs = with(r.policy.Programs, *p)
	r.reader, err = credential.NewReader(r.policy)
	return err
}

// with returns programs with one more, if it is not among them.
func with(programs []proofcheck.Program, p proofcheck.Program) []proofcheck.Program {
	id := p.ID()
	if slices.ContainsFunc(programs, func(o proofcheck.Program) bool { return o.ID() == id }) {
		return programs
	}
	return append(slices.Clone(programs), p)
}

// findLog decides which log is to hold the entries.
func (r *run) findLog(members []*member) error {
	urls := []string{r.Log}
	if r.Log == "" {
		urls = nil
		for _, m := range members {
			log, err := logOf(m.Metadata, "package")
			if err != nil {
				return fmt.Errorf("%s: %w", m.Manifest, err)
			}
			if log != "" {
				urls = append(urls, log)
			}
		}
	}
	if len(urls) == 0 {
		log, err := logOf(r.meta.Metadata, "workspace")
		if err != nil {
			return err
		}
		if log != "" {
			urls = append(urls, log)
		} else if r.reader != nil {
			urls = r.reader.Logs(r.target.indexOf())
		}
	}
	slices.Sort(urls)
	switch urls = slices.Compact(urls); {
	case len(urls) == 1:
		r.log = &client.Log{URL: urls[0], UserAgent: r.UserAgent, OnWait: func(wait time.Duration) {
			r.Report.Status("Waiting", "the log is busy; again in %v", wait)
		}}
		return nil
	case len(urls) > 1:
		return outcome.Usagef("which log is to hold the entries? Several are named: %s; choose one with --log URL",
			strings.Join(urls, ", "))
	case r.DryRun:
		return nil
	}
	index := r.target.indexOf()
	if reg, _ := r.policy.Of(index); reg.Index != "" {
		return outcome.Usagef("which log is to hold the entries? What is logged is public, so no log counts for the "+
			"registry %s only because a trust file names it: pass --log URL, or write log = \"URL\" under "+
			"[package.metadata.zkp] or [workspace.metadata.zkp] in Cargo.toml, or logs = [\"ORIGIN\"] under "+
			"[registry.%q] in zkp.toml, of a log whose URL a trust file has", r.target.name, index)
	}
	return outcome.Usagef("which log is to hold the entries? Pass --log URL, or write log = \"URL\" under " +
		"[package.metadata.zkp] or [workspace.metadata.zkp] in Cargo.toml")
}
