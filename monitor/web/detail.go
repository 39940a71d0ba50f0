package web

import (
	"context"
	"encoding/hex"
	"strings"

	"cratelog/entry"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

// openingWords say what each state of an opening means.
var openingWords = map[string]string{
	store.OpeningHolds: "The log serves the commit's own objects, and they show the claim by SHA-1 alone: whoever has " +
		"them needs to believe no key.",
	store.OpeningObjects: "The log serves objects of this commit. This monitor had no .crate to compare them with.",
	store.OpeningContradict: "The commit's own objects contradict the claim: the proof was forged. Its evidence is with " +
		"the finding.",
	store.OpeningNoVerdict: "The log serves objects of this commit that git refuses, or that carry an attack on SHA-1: " +
		"they show nothing either way.",
	store.OpeningUnusable: "The log served no usable opening when it was last asked. That says nothing about the entry.",
}

// withoutCrate says what a monitor knows of a proof that it has checked without the .crate.
const withoutCrate = "Checked without the .crate: the objects exist in this commit, closed under their references, and " +
	"hold a list of that length; that it is the list of the .crate's files, only who has the .crate can tell."

// addProof adds to an entry what its proof is about, and what its opening and its .crate say.
func (s *Server) addProof(ctx context.Context, d *entryDetail, e store.Entry) error {
	o, ok, err := s.cfg.Store.Opening(ctx, e.Log, e.Index)
	if err != nil {
		return err
	}
	if ok {
		d.Opening = &openingJSON{State: o.State, Statement: openingWords[o.State], Detail: o.Why}
		if o.SHA256 != [32]byte{} {
			d.Opening.SHA256 = hex.EncodeToString(o.SHA256[:])
		}
	}
	c, looked, err := s.cfg.Store.Crate(ctx, e.Log, e.Index)
	if err != nil {
		return err
	}
	d.CommitStatement = "This monitor has not looked whether the .crate itself names this commit."
	if looked {
		d.NamesCommit, d.Repository, d.RepositoryURL = &c.NamesCommit, c.Repository, commitURL(c.Repository, d.Commit)
		d.CommitStatement = "The .crate itself names this commit."
		if !c.NamesCommit {
			d.CommitStatement = "Its files are in this commit; the crate itself names no commit: whoever made the claim chose it."
		}
	}
	if d.Trusted, err = s.publication(ctx, e); err != nil {
		return err
	}
	parsed, err := entry.Parse(e.Data)
	if err != nil || parsed.Claim.Kind() != (&entry.Source{}).Kind() {
		return nil // what cannot be read is said of the whole entry
	}
	if p, err := proofcheck.ParseProof(parsed.Proof.Parts); err == nil {
		d.Proof = &chainJSON{len(p.Segments), int(p.End.Objects), int(p.End.ListBytes), withoutCrate}
		if looked {
			d.Proof.Statement = "Checked with the list of the .crate's files."
		}
	}
	return nil
}

// publication compares what the registry says of a release with the proven commit.
func (s *Server) publication(ctx context.Context, e store.Entry) (*publicationJSON, error) {
	p, asked, err := s.cfg.Store.Publication(ctx, e.Log, e.Index)
	if err != nil || !asked {
		return nil, err
	}
	v := &publicationJSON{"none", p.Provider, p.Repository, p.Run, p.Commit, p.Asked}
	switch {
	case p.Commit == hex.EncodeToString(e.Commit[:]):
		v.Standing = "agrees"
	case p.Commit != "":
		v.Standing = "differs"
	}
	return v, nil
}

// verifyCommands are what a reader runs. Names and versions need no quotes; see package entry.
func verifyCommands(e *entryJSON) *verifyJSON {
	options := " --trust trust.policy"
	if e.Program.Development {
		options += " --development"
	}
	v := &verifyJSON{Show: "cargo zkp show " + e.Crate + "@" + e.Version + options}
	if e.Bundle != "" && e.Build == nil {
		file := e.Crate + "-" + e.Version
		v.File = "cargo zkp verify " + file + ".crate --bundle " + file + bundleSuffix + options
		if e.Registry != entry.DefaultRegistry {
			v.File += " --registry " + quote(e.Registry)
		}
	}
	return v
}

// quote makes one word of a shell's command line.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
