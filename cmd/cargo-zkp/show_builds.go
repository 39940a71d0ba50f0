package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"cratelog/build"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/outcome"
)

// showEntry tells what stands in FILE.entry, if that is a build claim. Nothing of it is verified but the
// proof, as far as the policy knows its program.
func showEntry(sh *shell, checker *verdict.Checker, p *policy.Policy, file string) error {
	raw, err := readFile(file, entry.MaxSize)
	if err != nil {
		return err
	}
	e, err := entry.Parse(raw)
	if err != nil {
		return outcome.Refusef("%s: %w", file, err)
	}
	b, ok := e.Claim.(*entry.Build)
	if !ok {
		return outcome.Refusef("%s is a claim about the source of %s v%s, not about a binary\n"+
			"\"cargo zkp show %s@%s\" tells what is logged of that", file, e.Subject.Name, e.Subject.Version,
			e.Subject.Name, e.Subject.Version)
	}
	line := factsTo(sh)
	line("crate", "%s v%s", e.Subject.Name, e.Subject.Version)
	line("sha-256", "%x", e.Subject.SHA256)
	line("binary", "%s for %s", b.Binary, b.Target)
	line("artifact", "%x", b.Artifact)
	line("toolchain", "%x", b.Toolchain)
	line("environment", "%x", b.Environment)
	line("recipe", "%d", b.Recipe)
	line("lock", "%x", b.Lock)
	line("compiled", "%x", b.Compiled)
	line("said by", "%s", saidBy(p, e, b))
	line("tag", "%x", b.Tag)
	switch err := checker.Proves(e); {
	case errors.Is(err, entry.ErrUnknownProgram):
		line("proof", "of the program %x, which the policy does not accept", e.Proof.Program)
	case err != nil:
		return outcome.Refusef("%s: its proof does not hold: %w", file, err)
	default:
		line("proof", "holds; whether a log has the entry is not known from this file")
	}
	return nil
}

// saidBy says who makes a claim, as far as the entry and the policy tell.
func saidBy(p *policy.Policy, e *entry.Entry, b *entry.Build) string {
	set := fmt.Sprintf("the set with the root %x", b.Root)
	if p.Builds != nil && p.Builds.Root == b.Root {
		set = "set " + p.Builds.Set.Name
	}
	if member, err := build.VerifyNamed(e); err == nil {
		return member + " of " + set
	}
	return "a member of " + set
}

func factsTo(sh *shell) func(key, format string, args ...any) {
	return func(key, format string, args ...any) {
		fmt.Fprintf(sh.stdout, "%-12s %s\n", key+":", printable(fmt.Sprintf(format, args...)))
	}
}

// showJoined tells what FILE.builds holds: who says what, of which build.
func showJoined(sh *shell, checker *verdict.Checker, p *policy.Policy, file string) error {
	raw, err := readFile(file, client.MaxJoinedSize)
	if err != nil {
		return err
	}
	j, seen, err := checker.Open(raw)
	if err != nil {
		return refusal(err)
	}
	line := factsTo(sh)
	s, first := seen.Subject, seen.Builds[0].Claim
	line("crate", "%s v%s", s.Name, s.Version)
	line("sha-256", "%x", s.SHA256)
	line("binary", "%s for %s", first.Binary, first.Target)
	line("log", "%s, %d entries, %s", seen.Checkpoint.Origin, seen.Checkpoint.Size, seen.Checkpoint.AsOf())
	for _, l := range seen.Builds {
		held := ""
		if err := checker.Proves(l.Entry); errors.Is(err, entry.ErrUnknownProgram) {
			held = "; its program is not accepted"
		} else if err != nil {
			return outcome.Refusef("entry %d of %s has a proof that does not hold: %w", l.Index,
				seen.Checkpoint.Origin, err)
		}
		line(fmt.Sprintf("entry %d", l.Index), "%x by %s, toolchain %x, environment %x%s", l.Claim.Artifact,
			saidBy(p, l.Entry, l.Claim),
			l.Claim.Toolchain[:4], l.Claim.Environment[:4], held)
	}
	list, err := build.ParseList(j.List)
	if err != nil {
		return outcome.Refusef("%s: %w", file, err)
	}
	sum := sha256.Sum256(j.List)
	if !slices.ContainsFunc(seen.Builds, func(l client.LoggedBuild) bool { return l.Claim.Compiled == sum }) {
		return outcome.Refusef("%s: its list of compiled crates has the SHA-256 %x, and none of its entries is of "+
			"that\nget the file again", file, sum)
	}
	logged := map[entry.Subject]uint64{}
	for _, l := range seen.Sources {
		logged[l.Entry.Subject] = l.Index
	}
	for _, c := range append(build.List{build.Crate(s)}, list...) {
		at, ok := logged[entry.Subject(c)]
		where := "its source is not logged, as this file has it"
		if ok {
			where = fmt.Sprintf("its source is entry %d", at)
		}
		line("compiled", "%s v%s, %s", c.Name, c.Version, where)
	}
	line("verified", "that the log holds these entries; \"cargo zkp verify --binary FILE --bundle %s\" decides "+
		"about a binary", file)
	return nil
}

// showSLSA prints SLSA provenance of the binary that FILE.builds is about, once all of it is verified.
func showSLSA(ctx context.Context, sh *shell, checker *verdict.Checker, b believe, crates []string, file string) error {
	raw, err := readFile(file, client.MaxJoinedSize)
	if err != nil {
		return err
	}
	_, seen, err := checker.Open(raw)
	if err != nil {
		return refusal(err)
	}
	binary := verdict.Binary{SHA256: most(seen.Builds), Joined: raw, Crate: (&shelf{crates,
		&crateSource{offline: b.offline}}).fetch}
	built, err := checker.Build(ctx, binary)
	if err != nil {
		return refusal(err)
	}
	for _, n := range built.Notes {
		sh.Warn("%s", n)
	}
	return printJSON(sh, provenance(built))
}

// most returns the binary that most entries are about.
func most(all []client.LoggedBuild) (artifact [32]byte) {
	n := map[[32]byte]int{}
	for _, l := range all {
		if n[l.Claim.Artifact]++; n[l.Claim.Artifact] > n[artifact] {
			artifact = l.Claim.Artifact
		}
	}
	return artifact
}

// A statement is an in-toto Statement v1 with a SLSA v1 provenance predicate
// (slsa.dev/spec/v1.2/build-provenance), as much of both as is said.
type statement struct {
	Type          string       `json:"_type"`
	Subject       []descriptor `json:"subject"`
	PredicateType string       `json:"predicateType"`
	Predicate     predicate    `json:"predicate"`
}

type predicate struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string         `json:"buildType"`
	ExternalParameters   map[string]any `json:"externalParameters"`
	InternalParameters   map[string]any `json:"internalParameters"`
	ResolvedDependencies []descriptor   `json:"resolvedDependencies"`
}

type runDetails struct {
	Builder    builderID    `json:"builder"`
	Byproducts []descriptor `json:"byproducts"`
}

type builderID struct {
	ID string `json:"id"`
}

// A descriptor is an in-toto ResourceDescriptor.
type descriptor struct {
	Name        string            `json:"name,omitempty"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

const (
	buildTypeURN = "urn:cratelog:build:recipe:%d"
	builderURN   = "urn:cratelog:builders:%s:%x" // name and root of the set
)

// provenance writes what was verified about a binary as SLSA does. The builder is the set; each attestation is a
// byproduct, the entry of a log.
func provenance(b *verdict.Built) statement {
	c := b.Claim
	hash := func(sum [32]byte) map[string]string { return map[string]string{"sha256": fmt.Sprintf("%x", sum)} }
	crate := func(s entry.Subject) descriptor { return descriptor{URI: packageURL(s), Digest: hash(s.SHA256)} }
	own := crate(b.Subject)
	own.Annotations = map[string]any{"gitCommit": b.Commit}
	deps := []descriptor{own, {Name: "Cargo.lock", Digest: hash(c.Lock)}, {Name: "toolchain",
		Digest: hash(c.Toolchain)},
		{Name: "environment", Digest: hash(c.Environment)}}
	for _, one := range b.Compiled {
		d := crate(entry.Subject(one.Crate))
		d.Annotations = map[string]any{"sourceProven": one.Proven}
		if one.Proven {
			d.Annotations["gitCommit"] = one.Commit
		}
		deps = append(deps, d)
	}
	said := []descriptor{}
	for _, s := range b.Agree {
		d := descriptor{Name: fmt.Sprintf("entry %d of %s", s.Index, b.Log),
			Annotations: map[string]any{"index": s.Index, "log": b.Log}}
		if s.Member != "" {
			d.Annotations["member"] = s.Member
		}
		said = append(said, d)
	}
	versions := "packager"
	if b.ByCommit {
		versions = "commit"
	}
	return statement{
		Type: "https://in-toto.io/Statement/v1", PredicateType: "https://slsa.dev/provenance/v1",
		Subject: []descriptor{{Name: c.Binary, Digest: hash(c.Artifact)}},
		Predicate: predicate{
			BuildDefinition: buildDefinition{
				BuildType: fmt.Sprintf(buildTypeURN, c.Recipe),
				ExternalParameters: map[string]any{"registry": b.Subject.Registry, "crate": b.Subject.Name,
					"version": b.Subject.Version,
					"binary":  c.Binary, "target": c.Target, "recipe": c.Recipe},
				InternalParameters: map[string]any{"request": fmt.Sprintf("%x", b.Request),
					"result":       fmt.Sprintf("%x", c.Result()),
					"compiledList": fmt.Sprintf("%x", c.Compiled), "versionsChosenBy": versions,
					"agree": len(b.Agree), "dissent": len(b.Dissent), "members": b.Of},
				ResolvedDependencies: deps,
			},
			RunDetails: runDetails{Builder: builderID{fmt.Sprintf(builderURN, url.PathEscape(b.Set), c.Root)},
				Byproducts: said},
		},
	}
}

// packageURL is the purl of a crate.
func packageURL(s entry.Subject) string {
	escaped := strings.ReplaceAll(url.PathEscape(s.Version), "+", "%2B")
	purl := "pkg:cargo/" + s.Name + "@" + escaped
	if s.Registry != entry.DefaultRegistry {
		purl += "?repository_url=" + url.QueryEscape(s.Registry)
	}
	return purl
}
