package client

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"cratelog/evidence"
	"cratelog/internal/durable"
)

// MaxPolicySize is the size of a trust file in bytes. The specification asks
// for room for 32 logs, 32 witnesses and 32 groups; with ML-DSA-44 keys those
// take about 120 kB.
const MaxPolicySize = 256 << 10

// Policy is a parsed c2sp.org/tlog-policy: the logs that are believed, the
// witnesses that are known, and which of them make a quorum. It does not change
// after ParsePolicy, so it is safe for concurrent use. The zero value believes
// nobody.
type Policy struct {
	logs      []PolicyLog
	witnesses []PolicyWitness
	keys      map[keyRef]note.Verifier // of all witnesses
	quorum    *member                  // nil: quorum none

	mu     sync.Mutex
	opened map[string]opened // by the signed note; owned by mu
}

// opened is a note whose signatures a policy has verified.
type opened struct {
	note   *note.Note
	origin string
}

// maxOpened is how many notes a policy remembers. Bundles come with the same few
// checkpoints, whose signatures are dearer to verify than all else of them but the proof.
const maxOpened = 16

// PolicyLog is a log that a policy believes.
type PolicyLog struct {
	Origin string // the key's name, which is the origin line of its checkpoints
	KeyID  uint32
	VKey   string // as in the file
	URL    string // "" if the file names none

	verifier note.Verifier
}

// PolicyWitness is a witness that a policy knows.
type PolicyWitness struct {
	Name    string // in the trust file; it means nothing elsewhere
	KeyName string // in signature lines
	KeyID   uint32
	VKey    string // as in the file
	URL     string // submission prefix, "" if the file names none
}

// keyRef is what a signature line says about its key.
type keyRef struct {
	name string
	id   uint32
}

// member is a node of the quorum: a witness or a group.
type member struct {
	witness int // index into Policy.witnesses; unused for a group
	k       int // how many of members must have cosigned; 0 for a witness
	members []*member
	used    bool // already listed in a group; only used while parsing
}

// PolicyError says which line of a trust file is wrong, and why. It is
// ErrPolicy for errors.Is.
type PolicyError struct {
	Line int // counted from 1; 0 if no single line is to blame
	Why  string
}

func (e *PolicyError) Error() string {
	if e.Line == 0 {
		return "trust file: " + e.Why
	}
	return fmt.Sprintf("trust file, line %d: %s", e.Line, e.Why)
}

// Unwrap returns ErrPolicy.
func (e *PolicyError) Unwrap() error { return ErrPolicy }

// Logs returns the logs of the policy in the order of the file. A policy
// without logs is valid, and no checkpoint satisfies it.
func (p *Policy) Logs() []PolicyLog { return slices.Clone(p.logs) }

// Origins returns each log once: its first line, with the first URL that one of its lines has. A log has
// several lines while its key changes.
func (p *Policy) Origins() []PolicyLog {
	var all []PolicyLog
	for _, l := range p.logs {
		i := slices.IndexFunc(all, func(o PolicyLog) bool { return o.Origin == l.Origin })
		if i < 0 {
			all = append(all, l)
		} else if all[i].URL == "" {
			all[i].URL = l.URL
		}
	}
	return all
}

// Witnesses returns the witnesses of the policy in the order of the file,
// whether or not the quorum can use them.
func (p *Policy) Witnesses() []PolicyWitness { return slices.Clone(p.witnesses) }

// NeedsWitnesses is false if the trust file says "quorum none".
func (p *Policy) NeedsWitnesses() bool { return p.quorum != nil }

// Quorum says whether the witnesses for which has is true are as many, and those, that the trust file
// asks for. It is true if that asks for none.
func (p *Policy) Quorum(has func(PolicyWitness) bool) bool {
	if p.quorum == nil {
		return true
	}
	times := make([]int64, len(p.witnesses))
	for i, w := range p.witnesses {
		if !has(w) {
			times[i] = -1
		}
	}
	return p.quorum.newest(times) >= 0
}

// Of returns the policy with the log of one origin only. What a log lacks, it must show itself: under a policy
// that lists several, one could show what another one lacks.
func (p *Policy) Of(origin string) *Policy {
	logs := slices.DeleteFunc(p.Logs(), func(l PolicyLog) bool { return l.Origin != origin })
	return &Policy{logs: logs, witnesses: p.witnesses, keys: p.keys, quorum: p.quorum}
}

// WithoutQuorum returns a policy with the same logs and witnesses that asks for no
// cosignature: what a log signed counts against it, whoever else signed it.
func (p *Policy) WithoutQuorum() *Policy {
	return &Policy{logs: p.logs, witnesses: p.witnesses, keys: p.keys}
}

// LogKeysOnly returns a policy with the same logs that knows no witness and asks for none.
func (p *Policy) LogKeysOnly() *Policy { return &Policy{logs: p.logs} }

// ParsePolicy reads a trust file (c2sp.org/tlog-policy). Every line ends in a
// newline, items are separated by spaces and tabs, empty lines and lines that
// start with # are ignored:
//
//	log <vkey> [<url>]
//	witness <name> <vkey> [<url>]
//	group <name> all|any|<k> <name>...
//	quorum <name>|none
//
// A checkpoint satisfies the policy if any one of the logs has signed it, under
// the origin that is the key's name, and the quorum has cosigned it. Names are
// octets, are defined before they are used, and are listed in at most one
// group. There is exactly one quorum line. Log keys are of type 0x01, 0x04 or
// 0x06, witness keys of type 0x04 or 0x06.
//
// It is stricter than the specification in this: a public key stands in the
// file once, be it as a log's or a witness's (a log is no witness of itself);
// vkeys have lower-case key ids, which are checked; and URLs are absolute http
// or https URLs.
//
// "quorum none" is accepted here; see Rules.AllowNoWitnesses. Errors are
// *PolicyError.
func ParsePolicy(text []byte) (*Policy, error) {
	p, err := parsePolicyText(text)
	var x *PolicyError
	if !errors.As(err, &x) || len(text) > MaxPolicySize {
		return p, err
	}
	if why := durable.Altered(text); why != "" {
		x.Why += ": " + why
	}
	return nil, err
}

func parsePolicyText(text []byte) (*Policy, error) {
	if len(text) > MaxPolicySize {
		return nil, &PolicyError{0, fmt.Sprintf("it has %d bytes, at most %d are read", len(text), MaxPolicySize)}
	}
	b := &policyParser{
		policy:  Policy{keys: make(map[keyRef]note.Verifier)},
		names:   make(map[string]*member),
		publics: make(map[string]int),
		refs:    make(map[keyRef]int),
	}
	for n := 1; len(text) > 0; n++ {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if !ended {
			return nil, &PolicyError{n, "it does not end in a newline; the file may be cut off"}
		}
		b.line = n
		if why := b.parse(string(line)); why != "" {
			return nil, &PolicyError{n, why}
		}
		text = rest
	}
	if b.quorumLine == 0 {
		return nil, &PolicyError{0,
			`there is no quorum line; end the file with "quorum" and the name of a witness or a group`}
	}
	return &b.policy, nil
}

// policyParser holds what is known while a file is read from top to bottom. Its
// methods return what is wrong with a line, or "".
type policyParser struct {
	policy     Policy
	line       int
	names      map[string]*member // witnesses and groups, one namespace
	publics    map[string]int     // public key -> line
	refs       map[keyRef]int     // what signature lines say -> line
	quorumLine int
}

func (b *policyParser) parse(line string) string {
	for i := range len(line) {
		if c := line[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return fmt.Sprintf("it holds the control character 0x%02x; only tabs and newlines are allowed", c)
		}
	}
	// SPEC: the items on each line are separated by sequences of ASCII space and
	// tab characters only.
	items := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
	if len(items) == 0 || items[0][0] == '#' {
		return ""
	}
	switch items[0] {
	case "log":
		return b.log(items[1:])
	case "witness":
		return b.witness(items[1:])
	case "group":
		return b.group(items[1:])
	case "quorum":
		return b.quorum(items[1:])
	}
	return fmt.Sprintf("it starts with %q; known are log, witness, group, quorum and comments (#)", items[0])
}

func (b *policyParser) log(items []string) string {
	if len(items) < 1 || len(items) > 2 {
		return fmt.Sprintf(`a log line is "log <vkey> [<url>]", this one has %d items after "log"`, len(items))
	}
	k, err := evidence.ParseVKey(items[0])
	if err != nil {
		return "the log's key: " + err.Error()
	}
	u, why := b.claim(k, items[1:])
	if why != "" {
		return why
	}
	b.policy.logs = append(b.policy.logs, PolicyLog{k.Name(), k.KeyHash(), items[0], u, k.Verifier})
	return ""
}

func (b *policyParser) witness(items []string) string {
	if len(items) < 2 || len(items) > 3 {
		return fmt.Sprintf(`a witness line is "witness <name> <vkey> [<url>]", this one has %d items after "witness"`, len(items))
	}
	k, err := evidence.ParseVKey(items[1])
	if err != nil {
		return fmt.Sprintf("the key of the witness %s: %v", items[0], err)
	}
	if !k.Cosigns {
		return fmt.Sprintf("the key of the witness %s is of type 0x01, a log's; cosignatures are of "+
			"type 0x04 or 0x06: ask the witness for that key", items[0])
	}
	u, why := b.claim(k, items[2:])
	if why == "" {
		why = b.define(items[0], &member{witness: len(b.policy.witnesses)})
	}
	if why != "" {
		return why
	}
	b.policy.witnesses = append(b.policy.witnesses, PolicyWitness{items[0], k.Name(), k.KeyHash(), items[1], u})
	b.policy.keys[keyRef{k.Name(), k.KeyHash()}] = k.Verifier
	return ""
}

// claim notes a key as used, and returns the URL that may follow it.
// SPEC: Two vkeys are considered duplicate if they wrap the same underlying
// public key, even if they differ by key name and key id.
func (b *policyParser) claim(k *evidence.VKey, urls []string) (u, why string) {
	if n, ok := b.publics[k.Public]; ok {
		return "", fmt.Sprintf("it has the same public key as line %d; a key stands in a trust file once", n)
	}
	// Four bytes of hash are no identity: with two keys of one name and id, a
	// signature line would not say which one it is of.
	ref := keyRef{k.Name(), k.KeyHash()}
	if n, ok := b.refs[ref]; ok {
		return "", fmt.Sprintf("its key has the same name and key id as that of line %d", n)
	}
	b.publics[k.Public], b.refs[ref] = b.line, b.line
	if len(urls) == 0 {
		return "", ""
	}
	if plainURL(urls[0]) == nil {
		return "", fmt.Sprintf("%q is not an absolute http or https URL without user, query and "+
			"fragment; a comment needs a line of its own", urls[0])
	}
	return urls[0], ""
}

func (b *policyParser) define(name string, m *member) string {
	if name == "none" {
		return `the name "none" is reserved`
	}
	if b.names[name] != nil {
		return fmt.Sprintf("the name %s is defined twice; witnesses and groups share their names", name)
	}
	b.names[name] = m
	return ""
}

func (b *policyParser) group(items []string) string {
	if len(items) < 3 {
		return `a group line is "group <name> all|any|<k> <name>...", with at least one member`
	}
	g := &member{members: make([]*member, 0, len(items)-2)}
	for _, name := range items[2:] {
		m := b.names[name]
		if m == nil {
			return fmt.Sprintf("the member %s is not defined on a line before", name)
		}
		// SPEC: Each defined name can be listed as a group member at most once.
		if m.used {
			return fmt.Sprintf("%s is listed as a member already; a name is a member once", name)
		}
		m.used = true
		g.members = append(g.members, m)
	}
	switch n := len(g.members); items[1] {
	case "all":
		g.k = n
	case "any":
		g.k = 1
	default:
		k, err := strconv.Atoi(items[1])
		if err != nil || strconv.Itoa(k) != items[1] || k < 1 || k > n {
			return fmt.Sprintf("the threshold %q is not all, any, or a number from 1 to %d, the number of members",
				items[1], n)
		}
		g.k = k
	}
	return b.define(items[0], g)
}

func (b *policyParser) quorum(items []string) string {
	if b.quorumLine != 0 {
		return fmt.Sprintf("there is a quorum already, on line %d", b.quorumLine)
	}
	if len(items) != 1 {
		return fmt.Sprintf(`a quorum line is "quorum <name>" or "quorum none", this one has %d items after "quorum"`, len(items))
	}
	b.quorumLine = b.line
	if items[0] == "none" {
		return ""
	}
	if b.policy.quorum = b.names[items[0]]; b.policy.quorum == nil {
		return fmt.Sprintf("the quorum %s is not defined on a line before", items[0])
	}
	return ""
}

// plainURL reads an absolute http or https URL without user, query and fragment; else it
// returns nil.
func plainURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return nil
	}
	return u
}

// newest returns the newest time t (POSIX seconds) such that m is satisfied by
// cosignatures made at or after t, or -1 if no t satisfies it. Times are by
// witness, -1 where there is no cosignature.
func (m *member) newest(times []int64) int64 {
	if m.k == 0 {
		return times[m.witness]
	}
	ts := make([]int64, len(m.members))
	for i, c := range m.members {
		ts[i] = c.newest(times)
	}
	slices.Sort(ts)
	return ts[len(ts)-m.k]
}

// words says what m asks for.
func (p *Policy) words(m *member) string {
	if m.k == 0 {
		return p.witnesses[m.witness].Name
	}
	parts := make([]string, len(m.members))
	for i, c := range m.members {
		parts[i] = p.words(c)
	}
	return fmt.Sprintf("%d of (%s)", m.k, strings.Join(parts, ", "))
}
