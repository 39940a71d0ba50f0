package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/internal/daemon"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// verifyEvidence decides what an evidence file shows, with nothing but the keys of a trust
// file. It refuses a file that shows nothing.
func verifyEvidence(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("verify-evidence", flag.ContinueOnError)
	trust := fs.String("trust", "", "trust `FILE` (c2sp.org/tlog-policy) with the keys of the log and the witnesses")
	var programs []string
	fs.Func("program", "program `FILE` to accept besides those that ship; may be repeated", func(s string) error {
		programs = append(programs, s)
		return nil
	})
	development := fs.Bool("development", false, "accept programs with development keys, whose proofs anyone can forge")
	crateFile := fs.String("crate", "", "the .crate `FILE`, for evidence that it is too large to be in")
	asJSON := fs.Bool("json", false, "print JSON")
	file, err := oneFile(fs, args)
	if err != nil {
		return err
	}
	e, err := evidence.Read(file)
	if *trust == "" && (err != nil || e.Kind != evidence.BuilderContradiction) { // which no log has signed
		return outcome.Usagef("verify-evidence needs --trust: who is accused is judged by keys that you trust")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var keys evidence.Keys
	if *trust != "" {
		if keys, err = trustedKeys(*trust); err != nil {
			return err
		}
	}
	pv, err := judgeOf(e, programs, *development)
	if err != nil {
		return err
	}
	b, err := e.Marshal()
	if err != nil {
		return err
	}
	if *crateFile != "" {
		if e.Crate, err = durable.ReadAny(*crateFile, crate.DefaultLimits.Compressed); err != nil {
			return err
		}
	}
	c, err := evidence.Verify(e, keys, pv)
	if err != nil {
		return outcome.Refusef("%s accuses nobody: %w", file, err)
	}
	return printConviction(stdout, evidence.Name(b), e, c, *asJSON)
}

// oneFile parses flags that may stand before and after one file name.
func oneFile(fs *flag.FlagSet, args []string) (string, error) {
	files, err := daemon.ParseBetween(fs, args)
	if err == nil && len(files) != 1 {
		err = outcome.Usagef("%s takes one file, not %d", fs.Name(), len(files))
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// trustedKeys reads the keys that a trust file lists.
func trustedKeys(path string) (evidence.Keys, error) {
	p, err := readTrust(path)
	if err != nil {
		return evidence.Keys{}, err
	}
	return p.Keys()
}

// readTrust reads a trust file.
func readTrust(path string) (*client.Policy, error) {
	text, err := durable.ReadAny(path, client.MaxPolicySize)
	if err != nil {
		return nil, err
	}
	p, err := client.ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// judgeOf returns the verifier for the entry of e. Any key that the entry names shows that a
// proof is false, or that it was forged, so all that ship decide, and the one in the evidence. Only
// whether a program is unknown depends on what the reader accepts: a file that is named is
// accepted as it is, with a development key too.
func judgeOf(e *evidence.Evidence, files []string, development bool) (*judge, error) {
	proves := e.Reason == evidence.ProofInvalid || e.Kind == evidence.OpeningContradiction ||
		e.Kind == evidence.BuilderContradiction
	v, err := proofcheck.Load(nil, development || proves)
	if err != nil {
		return nil, err
	}
	accepted := v.Programs()
	add := func(p proofcheck.Program) {
		if !slices.ContainsFunc(accepted, func(q proofcheck.Program) bool { return q.ID() == p.ID() }) {
			accepted = append(accepted, p)
		}
	}
	for _, file := range files {
		text, err := durable.ReadAny(file, proofcheck.MaxProgramFile)
		if err != nil {
			return nil, fmt.Errorf("the program file cannot be read: %w", err)
		}
		p, err := proofcheck.ParseProgram(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		add(p)
	}
	j := &judge{known: slices.Clone(accepted)}
	if proves && e.Program != nil {
		p, err := proofcheck.ParseProgram(e.Program)
		if err != nil {
			return nil, fmt.Errorf("the program in the evidence: %w", err)
		}
		add(p)
	}
	j.Verifier, err = proofcheck.New(accepted)
	return j, err
}

// judge is a verifier of proofs that knows of some programs where their keys come from: what a
// program says of that in the evidence is the captor's word.
type judge struct {
	*proofcheck.Verifier
	known []proofcheck.Program
}

// Forgers is what evidence.Origins demands.
func (j *judge) Forgers(id [32]byte) string {
	for _, p := range j.known {
		if p.ID() == id {
			return p.Forgers()
		}
	}
	return "only this file says where they come from, and whoever made them could forge (if you have verified the " +
		"transcript of their ceremony, name the program's file with --program)"
}

// report is a conviction in JSON.
type report struct {
	File         string    `json:"sha256"`
	Kind         string    `json:"kind"`
	Log          string    `json:"log"`
	Convicts     bool      `json:"convicts"`
	Who          []string  `json:"who"`
	Transferable bool      `json:"transferable"`
	What         string    `json:"what"`
	Observed     time.Time `json:"observed"`
	Sources      []string  `json:"sources"`
	Entries      []int64   `json:"entries"`
}

func printConviction(stdout io.Writer, name string, e *evidence.Evidence, c evidence.Conviction, asJSON bool) error {
	r := report{strings.TrimSuffix(name, ".evidence"), string(c.Kind), c.Origin, c.Convicts(),
		[]string{}, c.Transferable, c.What,
		e.Observed, append([]string{}, e.Sources...), []int64{}}
	if c.Convicts() {
		r.Who = append([]string{c.Who}, c.Also...)
	}
	for _, l := range e.Entries {
		r.Entries = append(r.Entries, l.Index)
	}
	if asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	_, err := io.WriteString(stdout, r.text(e))
	return err
}

// text is the report for people.
func (r report) text(e *evidence.Evidence) string {
	var b bytes.Buffer
	if r.Convicts {
		fmt.Fprintf(&b, "This evidence convicts the %s.\n\n", r.Who[0])
	} else {
		b.WriteString("This evidence holds, and convicts nobody.\n\n")
	}
	b.WriteString(wrap(r.What, 78) + "\n\n")
	line := func(key, value string) { fmt.Fprintf(&b, "%-13s %s\n", key+":", value) }
	line("Kind", r.Kind)
	if r.Log != "" {
		line("Log", r.Log)
	}
	for _, who := range r.Who {
		line("Convicted", who)
	}
	for _, l := range e.Entries {
		if x, err := entry.Parse(l.Bytes); err == nil {
			line("Entry", fmt.Sprintf("%d, %s %s", l.Index, x.Subject.Name, x.Subject.Version))
		} else {
			line("Entry", fmt.Sprintf("%d, malformed", l.Index))
		}
	}
	for i, s := range e.Sets {
		if set, err := build.ParseSet(s); err == nil {
			line(fmt.Sprintf("Set %d", i+1), fmt.Sprintf("%s, root %x, SHA-256 %x", set.Name, set.Root(), set.Digest()))
		}
	}
	switch {
	case r.Transferable:
		line("Transferable", "yes: every reader with these keys comes to the same result")
	case r.Convicts:
		line("Transferable", "no: it rests on the captor's word")
	}
	line("Observed", r.Observed.Format(time.RFC3339)+" (the captor's word)")
	for _, s := range r.Sources {
		line("Source", s+" (the captor's word)")
	}
	line("SHA-256", r.File)
	return b.String()
}

// wrap breaks s into lines of at most width bytes, where words allow it.
func wrap(s string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(s) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
