package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"cratelog/cargo"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
	"cratelog/proofcheck"
)

// report prints the answer in a format and returns it as an error: violation, or one
// that says that something could not be checked.
func (k *lockCheck) report(sh *shell, format string) error {
	var err error
	switch format {
	case "json":
		err = k.json(sh)
	case "sarif":
		err = k.sarif().print(sh, nil)
	default:
		if k.since != nil {
			err = k.table(sh, format == "markdown")
		}
		k.human(sh)
	}
	if err != nil {
		return err
	}
	n := verdict.Counts(k.verdicts)
	n[verdict.Violation] += len(k.Elsewhere)
	unchecked := crates(n[verdict.Unchecked]) + " could not be checked"
	switch k.worst() {
	case verdict.Violation:
		if n[verdict.Unchecked] == 0 {
			unchecked = ""
		} else {
			unchecked = ", and " + unchecked
		}
		be := "are"
		if n[verdict.Violation] == 1 {
			be = "is"
		}
		return outcome.Refusef("%s %s not what the policy asks for%s", crates(n[verdict.Violation]), be, unchecked)
	case verdict.Unchecked:
		return errors.New(unchecked)
	}
	return k.denied()
}

// denied makes an error of warnings, if --deny warnings says so.
func (k *lockCheck) denied() error {
	if n := k.warnings(); k.deny && n > 0 {
		return outcome.Refusef("warnings: %d, and --deny warnings makes them errors", n)
	}
	return nil
}

// worst is verdict.Worst, of all packages.
func (k *lockCheck) worst() verdict.Status {
	if len(k.Elsewhere) > 0 {
		return verdict.Violation
	}
	return verdict.Worst(k.verdicts)
}

func crates(n int) string {
	if n == 1 {
		return "1 crate"
	}
	return fmt.Sprintf("%d crates", n)
}

func filesHave(n int) string {
	if n == 1 {
		return "1 file has"
	}
	return fmt.Sprintf("%d files have", n)
}

// human prints what needs attention, errors last, and with -v every crate.
func (k *lockCheck) human(sh *shell) {
	development := false
	for i := range k.verdicts {
		v := &k.verdicts[i]
		development = development || v.Status == verdict.Verified && v.Facts.Development
		if sh.verbose {
			tell(sh, v)
		}
	}
	k.warn(sh)
	for _, u := range k.Unmatched {
		sh.Warn("%s", u)
	}
	if development {
		sh.Warn("accepted proofs made with UNSAFE development keys: anyone can forge them")
	}
	k.complaints(sh)
	n := verdict.Counts(k.verdicts)
	if k.worst() != verdict.Verified {
		return
	}
	sh.Status("Finished", "%s proven%s in %.2f s", crates(n[verdict.Verified]), k.rest(n),
		k.took.Seconds())
	for _, h := range verdict.HeardOf(k.verdicts) {
		sh.Status("", "%s", h)
	}
	if len(k.Wants) > 0 && k.Required() == 0 && k.Policy.Path == "" {
		sh.Status("", "nothing asks for a proof here; \"cargo zkp init --from-lock --trust PATH\" asks for all that "+
			"there are")
	}
}

// tell prints one crate that nothing is wrong with.
func tell(sh *shell, v *verdict.Verdict) {
	switch v.Status {
	case verdict.Verified:
		describe(sh, v)
	case verdict.Excepted:
		sh.Status("Excepted", "%s v%s until %s: %s", v.Name, v.Version, v.Demand.Except.Expires, v.Demand.Except.Reason)
	case verdict.Warned:
		sh.Status("Unproven", "%s v%s: %s", v.Name, v.Version, verdict.Explain(v.Err).Message)
	case verdict.NotAsked:
		if v.Hashed() {
			sh.Status("Hashed", "%s v%s; no proof is asked for", v.Name, v.Version)
		} else {
			sh.Status("Skipped", "%s v%s; it is not on this disk, and no proof is asked for", v.Name, v.Version)
		}
	}
}

// rest counts the crates without a proof.
func (k *lockCheck) rest(n map[verdict.Status]int) string {
	absent := 0
	for _, v := range k.verdicts {
		if v.Status == verdict.NotAsked && !v.Hashed() {
			absent++
		}
	}
	text := ""
	for _, c := range []struct {
		n    int
		what string
	}{
		{n[verdict.Excepted], "excepted"},
		{n[verdict.Warned], "to be warned of only"},
		{n[verdict.NotAsked] - absent, "with the lock file's checksum only"},
		{absent, "not on this disk"},
		{k.Others, "from git or a path not looked at"},
	} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	return text
}

// complain prints one crate that is not as the policy asks.
func (k *lockCheck) complain(sh *shell, v *verdict.Verdict) {
	e := verdict.Explain(v.Err)
	text := fmt.Sprintf("%s v%s: %s", v.Name, v.Version, e.Message)
	if e.Remedy != "" {
		text += "\n" + e.Remedy
	}
	for _, b := range v.Demand.Because {
		text += "\n" + b
	}
	if k.paths && len(v.By) > 0 {
		text += "\nit comes by " + strings.Join(v.By, " > ")
	}
	for _, x := range v.Demand.Expired {
		text += fmt.Sprintf("\nan exception for it ended on %s: %s", x.Expires, x.Reason)
	}
	sh.complain(text)
}

// describe prints one verified crate.
func describe(sh *shell, v *verdict.Verdict) {
	f := v.Facts
	more := func(text string) { fmt.Fprintf(sh.stderr, "%12s %s\n", "", visible(text)) }
	sh.Status("Verified", "%s v%s: %s, %s", v.Name, v.Version, from(f.Commit, f.Path, f.NamesCommit),
		coverage(f.Coverage))
	if text := claimed(f.Repository, f.Commit); text != "" {
		more("repository " + text)
	}
	for _, text := range opened(f.Opening) {
		more(text)
	}
	if text := trustedText(v.Trusted); text != "" {
		more("trusted publishing " + text)
	}
	if p := (proofcheck.Program{Origin: f.Origin}); !p.Development() {
		more("key: " + p.Trust())
	}
	var seen []string
	for _, c := range f.Log.Cosignatures {
		seen = append(seen, fmt.Sprintf("%s %s", c.Key, c.Time.UTC().Format(time.RFC3339)))
	}
	more(fmt.Sprintf("entry %d of %s, cosigned by %s", f.Log.Index, f.Log.Origin, strings.Join(seen, ", ")))
}

// coverage says in words what a proof covers.
func coverage(c verdict.Coverage) string {
	text := fmt.Sprintf("%d files proven", len(c.Proven))
	if len(c.Derived) > 0 {
		text += ", " + strings.Join(c.Derived, " and ") + " derived"
	}
	if len(c.Unproven) > 0 {
		text += ", " + strings.Join(c.Unproven, " and ") + " unproven"
	}
	if len(c.Executable) > 0 {
		text += fmt.Sprintf(", %d executable in the commit and not in the crate", len(c.Executable))
	}
	if len(c.CRLF) > 0 {
		text += fmt.Sprintf(", %d with CRLF where the commit has LF", len(c.CRLF))
	}
	if len(c.LeftOut) > 0 {
		text += ", " + strings.Join(c.LeftOut, " and ") + " left out"
	}
	return text
}

// json prints one object a line, as cargo does: a crate-verdict for each crate, and
// verify-finished.
func (k *lockCheck) json(sh *shell) error {
	out := json.NewEncoder(sh.stdout)
	out.SetEscapeHTML(false)
	for i := range k.verdicts {
		raw, err := json.Marshal(k.verdicts[i])
		if err != nil {
			return err
		}
		line := append([]byte(`{"message_type":"crate-verdict",`), raw[1:]...)
		if _, err := fmt.Fprintf(sh.stdout, "%s\n", bytes.TrimSpace(line)); err != nil {
			return err
		}
	}
	n := map[string]int{}
	for s, count := range verdict.Counts(k.verdicts) {
		n[s.String()] = count
	}
	return out.Encode(struct {
		Reason    string          `json:"message_type"`
		Success   bool            `json:"success"`
		Counts    map[string]int  `json:"counts"`
		Other     int             `json:"not_from_a_registry"`
		Elsewhere []string        `json:"cannot_be_verified,omitempty"`
		Unmet     []string        `json:"unmatched_demands,omitempty"`
		Warnings  int             `json:"warnings"`
		Seconds   float64         `json:"seconds"`
		Logs      []verdict.Heard `json:"logs"`
	}{"verify-finished", k.worst() == verdict.Verified, n, k.Others, k.Elsewhere, k.Unmatched,
		k.warnings(), k.took.Seconds(), verdict.HeardOf(k.verdicts)})
}

// unanswered tells those who asked for JSON or SARIF why there is no answer: a file without a word
// would be taken for a fault of the next tool.
func unanswered(sh *shell, o lockOptions, why error) error {
	text := why.Error()
	var err error
	switch o.format {
	case "json":
		out := json.NewEncoder(sh.stdout)
		out.SetEscapeHTML(false)
		err = out.Encode(struct {
			Reason  string `json:"message_type"`
			Success bool   `json:"success"`
			Error   string `json:"error"`
		}{"verify-finished", false, text})
	case "sarif":
		at := "Cargo.lock"
		if ws, err := workspace(o.manifestPath); err == nil {
			at = cargo.InRepository(ws.LockPath)
		}
		r := sarif{uri: at}
		r.add(elsewhere, "error", text, 1, "")
		err = r.print(sh, why)
	}
	return errors.Join(why, err)
}

// printJSON prints one value as a person may read it.
func printJSON(sh *shell, v any) error {
	out := json.NewEncoder(sh.stdout)
	out.SetIndent("", "  ")
	return out.Encode(v)
}
