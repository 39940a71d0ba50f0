package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
)

// exportVerb writes what is proven in a form that other tools read.
func exportVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "export", "--cargo-vet [FILE]", `Write what is proven of Cargo.lock as audits of cargo-vet, to FILE or to standard output: whoever
imports them profits from the proofs without this program. As "cargo zkp report", it asks the logs
about all crates of cargo's default registry.`)
	var b believe
	b.register(fs)
	var o lockOptions
	o.registerPlace(fs)
	vet := fs.Bool("cargo-vet", false, "in the format of cargo-vet's audits.toml; there is no other yet")
	files, err := parseUpTo(1, fs, args, "FILE")
	if err != nil {
		return err
	}
	if !*vet {
		return outcome.Usagef("export takes the form to write in: cargo zkp export --cargo-vet")
	}
	to := strings.Join(files, "")
	var out *output
	if to != "" && to != "-" {
		if out, err = newOutput(to); err != nil {
			return err
		}
		defer out.Discard()
	}
	k, err := examineAll(ctx, sh, b, o)
	if err != nil {
		return err
	}
	text, n := audits(k.verdicts)
	if bytes.Contains(text, []byte(unsafeCriterion)) {
		sh.Warn("proofs made with UNSAFE development keys are written under the criterion %s: anyone can forge "+
			"them", unsafeCriterion)
	}
	if out == nil {
		_, err = sh.stdout.Write(text)
	} else if err = out.commit(text); err == nil {
		sh.Status("Written", "%s, with audits of %s", to, crates(n))
	}
	if unchecked := verdict.Counts(k.verdicts)[verdict.Unchecked]; err == nil && unchecked > 0 {
		return fmt.Errorf("%s could not be checked, and are not in it if they were proven\n\"cargo zkp verify -p "+
			"NAME\" says why", crates(unchecked))
	}
	return err
}

const (
	criterion       = "matches-commit"
	unsafeCriterion = "matches-commit-development"

	criterionText = "The files of the crate, with the SHA-256 that the notes name, are those of the git commit that " +
		"the notes name, in that directory: byte for byte, but for those that the notes name otherwise, and " +
		"Cargo.toml follows from the commit's. cargo-zkp checked a zero-knowledge proof of that, and that a " +
		"transparency log with independent witnesses holds it. Nobody says by it that the source is safe, or in " +
		"which repository the commit is."
	unsafeCriterionText = "As matches-commit, but proven with an UNSAFE development key, with which anyone can " +
		"forge, or logged without witnesses. For trying things out; it says nothing."
)

// audits returns an audits.toml about the verified crates of cargo's default registry, the only
// one that cargo-vet speaks of, and how many these are. It is the same whenever the same is proven.
func audits(verdicts []verdict.Verdict) (text []byte, n int) {
	var proven []*verdict.Verdict
	used := map[string]bool{criterion: true}
	for i := range verdicts {
		if v := &verdicts[i]; v.Status == verdict.Verified && v.Demand.Registry == "" {
			proven = append(proven, v)
			used[criterionOf(v.Facts)] = true
		}
	}
	slices.SortFunc(proven, func(a, b *verdict.Verdict) int {
		return slices.Compare([]string{a.Name, a.Version}, []string{b.Name, b.Version})
	})
	var out bytes.Buffer
	out.WriteString("\n# cargo-vet audits file\n")
	for _, c := range []struct{ name, text string }{{criterion, criterionText}, {unsafeCriterion, unsafeCriterionText}} {
		if used[c.name] {
			fmt.Fprintf(&out, "\n[criteria.%s]\ndescription = %s\n", c.name, basic(c.text))
		}
	}
	for _, v := range proven {
		f := v.Facts
		at := ""
		if f.Path != "" {
			at = " at " + f.Path
		}
		notes := fmt.Sprintf(".crate with SHA-256 %x; commit %s%s; entry %d of the log %s", v.Checksum, f.Commit,
			at, f.Log.Index, f.Log.Origin)
		if u := f.Coverage.Unproven; len(u) > 0 {
			notes += "; not proven: " + strings.Join(u, ", ")
		}
		if c := f.Coverage.CRLF; len(c) > 0 {
			notes += "; with CRLF where the commit has LF: " + strings.Join(c, ", ")
		}
		fmt.Fprintf(&out, "\n[[audits.%s]]\nwho = %s\ncriteria = %q\nversion = %q\nnotes = %s\n", v.Name,
			basic("cargo-zkp, by the log "+f.Log.Origin), criterionOf(f), v.Version, basic(notes))
	}
	return out.Bytes(), len(proven)
}

func criterionOf(f *verdict.Facts) string {
	if f.Development || f.Log.AsOf.IsZero() {
		return unsafeCriterion
	}
	return criterion
}

// basic writes a TOML string: what JSON escapes, TOML escapes in the same way, and printable leaves
// nothing else that must be.
func basic(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(printable(s)); err != nil {
		panic(err) // a string can be encoded
	}
	return strings.TrimSpace(b.String())
}
