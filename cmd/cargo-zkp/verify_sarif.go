package main

import (
	"bytes"
	"fmt"
	"net/url"
	"runtime/debug"
	"strings"

	"cratelog/cargo"
	"cratelog/cargo/verdict"
	"cratelog/internal/outcome"
	"cratelog/internal/version"
)

// elsewhere is the ruleId of what cannot be verified at all.
const elsewhere = "not-verifiable"

// object is one of JSON.
type object map[string]any

// sarif is an answer in SARIF 2.1.0 (OASIS), as much of it as code hosts read.
type sarif struct {
	uri            string // of Cargo.lock, below the top of the repository
	rules, results []object
}

// sarif tells what needs attention, each at its place in Cargo.lock.
func (k *lockCheck) sarif() *sarif {
	r := &sarif{uri: cargo.InRepository(k.Workspace.LockPath)}
	lock := bytes.ReplaceAll(k.Text, []byte("\r\n"), []byte("\n"))
	for _, v := range k.verdicts {
		level := "error"
		switch v.Status {
		case verdict.Violation:
		case verdict.Unchecked, verdict.Warned:
			level = "warning"
		default:
			continue
		}
		e := verdict.Explain(v.Err)
		r.add(e.Reason, level, fmt.Sprintf("%s v%s: %s", v.Name, v.Version, e.Error()), lineOf(lock, v.Name, v.Version),
			v.Name+" "+v.Version+" "+e.Reason)
	}
	for _, text := range k.Elsewhere {
		r.add(elsewhere, "error", text, 1, "")
	}
	return r
}

// add adds a result. Its fingerprint says for code hosts that it is the same again; "" for none.
func (r *sarif) add(reason, level, text string, line int, fingerprint string) {
	at := -1
	for i, rule := range r.rules {
		if rule["id"] == reason {
			at = i
		}
	}
	if at < 0 {
		at = len(r.rules)
		r.rules = append(r.rules, rule(reason))
	}
	result := object{
		// SPEC: SARIF 3.11.6, [text](target) in a message is a link; strangers wrote parts of this one.
		"ruleId": reason, "ruleIndex": at, "level": level, "message": object{"text": strings.ReplaceAll(text, "](",
			"] (")},
		"locations": []object{{"physicalLocation": object{
			// SPEC: SARIF 3.4.3, a URI reference (RFC 3986): no spaces.
			"artifactLocation": object{"uri": (&url.URL{Path: r.uri}).String()},
			"region":           object{"startLine": line},
		}}},
	}
	if fingerprint != "" {
		result["partialFingerprints"] = object{"crate/v1": fingerprint}
	}
	r.results = append(r.results, result)
}

// rule describes a reason.
func rule(reason string) object {
	about := verdict.About(reason)
	short := strings.ToUpper(about[:1]) + about[1:] + "."
	text := strings.ReplaceAll(short, "`", "")
	return object{
		"id": reason, "name": reason,
		"shortDescription": object{"text": text},
		"fullDescription":  object{"text": text + " This is what cargo zkp verify calls " + reason + "."},
		"help": object{
			"text": text + " The message of each result says what to do next; docs/cargo.md of cratelog lists all reasons.",
			"markdown": short + "\n\nThe message of each result says what to do next. `cargo zkp verify -v` tells more, " +
				"`cargo zkp suggest` what can be proven.",
		},
		"defaultConfiguration": object{"level": "error"},
	}
}

// print writes the file.
func (r *sarif) print(sh *shell, why error) error { return printJSON(sh, r.document(why)) }

// document is the file. why is why there is no answer; nil if there is one.
func (r *sarif) document(why error) object {
	run := object{"executionSuccessful": why == nil}
	if why != nil {
		run["exitCode"] = int(outcome.Of(why))
		run["toolExecutionNotifications"] = []object{{"level": "error", "message": object{"text": why.Error()}}}
	}
	return object{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{
			"tool":        object{"driver": driver(append([]object{}, r.rules...))}, // an empty list is not null
			"invocations": []object{run},
			"results":     append([]object{}, r.results...),
		}},
	}
}

// driver describes this program.
func driver(rules []object) object {
	d := object{"name": "cargo-zkp", "rules": rules, "version": version.String()}
	// A module's path is where it lives, if it begins with a host.
	if info, ok := debug.ReadBuildInfo(); ok {
		if host, _, _ := strings.Cut(info.Main.Path, "/"); strings.Contains(host, ".") {
			d["informationUri"] = "https://" + info.Main.Path
		}
	}
	return d
}

// lineOf finds a package in the text of a lock file, counted from 1; the first line
// if it does not stand there as cargo writes it.
func lineOf(lock []byte, name, version string) int {
	at := bytes.Index(lock, fmt.Appendf(nil, "name = %q\nversion = %q\n", name, version))
	if at < 0 {
		return 1
	}
	return 1 + bytes.Count(lock[:at], []byte("\n"))
}
