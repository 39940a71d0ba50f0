package client

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"

	"cratelog/internal/testlog"
)

// typed is the public key of a vkey, with its type in front.
func typed(vkey string) []byte {
	return testlog.Must(base64.StdEncoding.DecodeString(strings.SplitN(vkey, "+", 3)[2]))
}

// otherKind is the public key of a vkey under another type, with the right key id.
func otherKind(vkey string, kind byte) string {
	name, _, _ := strings.Cut(vkey, "+")
	vkey, _ = testlog.VKey(name, append([]byte{kind}, typed(vkey)[1:]...))
	return vkey
}

// rename is the vkey of the same key under another name.
func rename(vkey, name string) string {
	vkey, _ = testlog.VKey(name, typed(vkey))
	return vkey
}

// withKeys writes keys where a text names them in braces.
func withKeys(text string) string {
	l, l2 := testlog.LogKey("l.example").VKey, testlog.LogKey("l2.example").VKey
	w1, w2, w3 := testlog.WitnessKey("w1.example", now).VKey, testlog.WitnessKey("w2.example", now).VKey, testlog.MLDSAKey("w3.example", now).VKey
	return strings.NewReplacer("{two witnesses}", "log "+l+"\nwitness A "+w1+"\nwitness B "+w2+"\n", "{l}", l, "{l2}", l2, "{l2 as l}", rename(l2, "l.example"),
		"{l as another}", rename(l, "other.example"), "{w1 as another}", rename(w1, "other.example"), "{l as a witness}", otherKind(l, 4),
		"{w1}", w1, "{w2}", w2, "{w3}", w3).Replace(text)
}

func TestPoliciesThatAreAccepted(t *testing.T) {
	for _, probe := range []struct {
		name, text     string
		logs, wits     int
		needsWitnesses bool
	}{
		{"no witnesses", "log {l}\nquorum none\n", 1, 0, false},
		{"no log", "quorum none\n", 0, 0, false},
		{"witnesses that nobody asks for", "witness W {w1}\nquorum none\n", 0, 1, false},
		{"one witness", "log {l}\nwitness W {w1}\nquorum W\n", 1, 1, true},
		{"space, tabs, comments, empty lines", " \t\n# a # b\n\t # c\n\n \tlog\t {l} \nwitness\tW {w1}\t\nquorum  W \n", 1, 1, true},
		{"bytes that are no UTF-8", "# \xff\xfe\nwitness \xff {w1}\nwitness \xfe {w2}\ngroup \xc2\xa0 any \xff \xfe\nquorum \xc2\xa0\n", 0, 2, true},
		{"Unicode spaces do not separate", "witness a\u2003b {w1}\nquorum a\u2003b\n", 0, 1, true},
		{"K and the Kelvin sign are two names", "witness K {w1}\nwitness \u212a {w2}\nquorum K\n", 0, 2, true},
		{"groups of groups", "witness A {w1}\nwitness B {w2}\ngroup G any A\ngroup H 2 G B\nquorum H\nlog {l}\nlog {l2}\nwitness C {w3}\n", 2, 3, true},
		{"URLs", "log {l} https://l.example/x\nwitness A {w1} http://127.0.0.1:80/\nwitness B {w2}\nquorum A\n", 1, 2, true},
		{"keywords are names", "witness all {w1}\nwitness log {w2}\ngroup any any all log\nquorum any\n", 0, 2, true},
		{"a quorum that a group lists too", "witness A {w1}\ngroup G all A\nquorum A\n", 0, 1, true},
		{"log keys of cosignature types", "log {w1}\nlog {w3}\nquorum none\n", 2, 0, false},
		{"two keys of one log", "log {l}\nlog {l2 as l}\nquorum none\n", 2, 0, false},
	} {
		p, err := ParsePolicy([]byte(withKeys(probe.text)))
		if err != nil {
			t.Errorf("%s: %v", probe.name, err)
			continue
		}
		if len(p.Logs()) != probe.logs || len(p.Witnesses()) != probe.wits || p.NeedsWitnesses() != probe.needsWitnesses {
			t.Errorf("%s: %d logs, %d witnesses, needs witnesses: %v", probe.name, len(p.Logs()), len(p.Witnesses()), p.NeedsWitnesses())
		}
	}
}

func TestPolicyTellsWhatItSays(t *testing.T) {
	l, w1, w2 := testlog.LogKey("l.example"), testlog.WitnessKey("w1.example", now), testlog.MLDSAKey("w2.example", now)
	p := parsePolicy(t, "log "+l.VKey+" https://l.example", "witness A "+w1.VKey, "witness B "+w2.VKey+" https://w2.example/x", "group G 1 A B", "quorum G")
	logs, wits := p.Logs(), p.Witnesses()
	logs[0].verifier = nil
	if got := fmt.Sprintf("%+v", logs[0]); got != fmt.Sprintf("%+v", PolicyLog{"l.example", l.ID, l.VKey, "https://l.example", nil}) {
		t.Errorf("log: %s", got)
	}
	if wits[0] != (PolicyWitness{"A", "w1.example", w1.ID, w1.VKey, ""}) || wits[1] != (PolicyWitness{"B", "w2.example", w2.ID, w2.VKey, "https://w2.example/x"}) {
		t.Errorf("witnesses: %+v", wits)
	}
	if got := p.words(p.quorum); got != "1 of (A, B)" {
		t.Errorf("words: %q", got)
	}
}

// TestPoliciesThatAskForLess: a policy without its quorum still sees bad cosignatures of
// its witnesses; with log keys only, they are lines of strangers.
func TestPoliciesThatAskForLess(t *testing.T) {
	l, w := testlog.LogKey("l.example"), testlog.WitnessKey("w.example", now)
	forger := *w
	forger.Blob = func([]byte, time.Time) ([]byte, error) { return w.Sign([]byte("another\n")) }
	p := parsePolicy(t, "log "+l.VKey+" https://l.example", "witness A "+w.VKey, "quorum A")
	text := newTree([]byte("leaf")).Head("l.example", 1)
	rules := Rules{AllowNoWitnesses: true}
	for _, probe := range []struct {
		name              string
		policy            *Policy
		alone, bad, quiet error
	}{
		{"the whole", p, ErrQuorum, ErrCosignature, nil},
		{"without quorum", p.WithoutQuorum(), nil, ErrCosignature, ErrNoWitnesses},
		{"log keys only", p.LogKeysOnly(), nil, nil, ErrNoWitnesses},
	} {
		if _, err := probe.policy.CheckCheckpointRules(testlog.Sign(text, l), rules); !errors.Is(err, probe.alone) {
			t.Errorf("%s: signed by the log alone: %v", probe.name, err)
		}
		if _, err := probe.policy.CheckCheckpointRules(testlog.Sign(text, l, &forger), rules); !errors.Is(err, probe.bad) {
			t.Errorf("%s: with a bad cosignature: %v", probe.name, err)
		}
		if _, err := probe.policy.CheckCheckpoint(testlog.Sign(text, l, w)); !errors.Is(err, probe.quiet) {
			t.Errorf("%s: for readers: %v", probe.name, err)
		}
		if len(probe.policy.Logs()) != 1 || probe.policy.Logs()[0] != p.Logs()[0] {
			t.Errorf("%s: logs %v", probe.name, probe.policy.Logs())
		}
	}
}

func TestPoliciesThatAreRefusedAndWhatIsSaid(t *testing.T) {
	l, w1 := testlog.LogKey("l.example").VKey, testlog.WitnessKey("w1.example", now).VKey
	withID := func(vkey string, change func(id string) string) string {
		f := strings.SplitN(vkey, "+", 3)
		f[1] = change(f[1])
		return strings.Join(f, "+")
	}
	reid := func(vkey string) string {
		return withID(vkey, func(id string) string { return map[bool]string{true: "1", false: "0"}[id[0] == '0'] + id[1:] })
	}
	upper := withID(w1, strings.ToUpper)
	if upper == w1 {
		t.Fatal("the key id has no letters; take another seed")
	}
	for _, probe := range []struct{ name, text, want string }{
		{"empty file", "", `trust file: there is no quorum line; end the file with "quorum" and the name of a witness or a group`},
		{"no quorum", "{two witnesses}", "trust file: there is no quorum line"},
		{"two quorums", "{two witnesses}quorum A\nquorum B\n", "trust file, line 5: there is a quorum already, on line 4"},
		{"the same quorum twice", "{two witnesses}quorum none\nquorum none\n", "trust file, line 5: there is a quorum already, on line 4"},
		{"quorum not defined", "{two witnesses}quorum C\n", "trust file, line 4: the quorum C is not defined on a line before"},
		{"quorum before its definition", "quorum A\n{two witnesses}", "trust file, line 1: the quorum A is not defined on a line before"},
		{"quorum of two", "{two witnesses}quorum A B\n", `trust file, line 4: a quorum line is "quorum <name>" or "quorum none", this one has 2 items after "quorum"`},
		{"quorum of nothing", "{two witnesses}quorum\n", "this one has 0 items"},
		{"a log is no quorum", "{two witnesses}quorum l.example\n", "not defined on a line before"},
		{"no newline at the end", "{two witnesses}quorum A", "trust file, line 4: it does not end in a newline; the file may be cut off"},
		{"CRLF", "log {l}\r\nquorum none\r\n", "trust file, line 1: it holds the control character 0x0d; only tabs and newlines are allowed: its line endings are CRLF"},
		{"control character in a comment", "# \x00\n{two witnesses}quorum A\n", "trust file, line 1: it holds the control character 0x00"},
		{"DEL", "# \x7f\n", "control character 0x7f"},
		{"vertical tab", "quorum\vnone\n", "control character 0x0b"},
		{"form feed", "quorum\fnone\n", "control character 0x0c"},
		{"escape", "# \x1b[2J\n", "control character 0x1b"},
		{"unknown keyword", "Log {l}\nquorum none\n", `trust file, line 1: it starts with "Log"; known are log, witness, group, quorum and comments (#)`},
		{"byte order mark", "\ufeffquorum none\n", "trust file, line 1: it starts with"},
		{"comment in the middle", "{two witnesses}quorum A # mine\n", "this one has 3 items"},
		{"comment after a log", "log {l} #mine\nquorum none\n", `"#mine" is not an absolute http or https URL without user, query and fragment; a comment needs a line of its own`},
		{"comment glued to a URL", "log {l} https://l.example/#mine\nquorum none\n", "a comment needs a line of its own"},
		{"comment as a member", "{two witnesses}group G all A B # all\nquorum G\n", "trust file, line 4: the member # is not defined on a line before"},
		{"too many bytes", "#" + strings.Repeat("x", MaxPolicySize) + "\n", "trust file: it has 262146 bytes, at most 262144 are read"},

		{"log without key", "log\nquorum none\n", `trust file, line 1: a log line is "log <vkey> [<url>]", this one has 0 items after "log"`},
		{"log with too much", "log {l} https://l.example x\nquorum none\n", "this one has 3 items"},
		{"log key twice", "log {l}\nlog {l}\nquorum none\n", "trust file, line 2: it has the same public key as line 1; a key stands in a trust file once"},
		{"log key twice under two names", "log {l}\nlog {l as another}\nquorum none\n", "same public key as line 1"},
		{"log key twice as two types", "log {l}\nlog {l as a witness}\nquorum none\n", "same public key as line 1"},
		{"witness key twice", "{two witnesses}witness C {w1}\nquorum A\n", "trust file, line 4: it has the same public key as line 2"},
		{"witness key twice under two names", "{two witnesses}witness C {w1 as another}\nquorum A\n", "same public key as line 2"},
		{"log as its own witness", "{two witnesses}witness C {l as a witness}\nquorum C\n", "same public key as line 1"},

		{"witness without key", "witness A\nquorum A\n", `trust file, line 1: a witness line is "witness <name> <vkey> [<url>]", this one has 1 items after "witness"`},
		{"witness with too much", "witness A {w1} https://w.example x\nquorum A\n", "this one has 4 items"},
		{"witness without name", "witness {w1} https://w.example\nquorum none\n", `the key of the witness {w1}: "https://w.example" is not a vkey (name+id+key)`},
		{"witness key of a log's type", "witness A {l2}\nquorum A\n", "trust file, line 1: the key of the witness A is of type 0x01, a log's; cosignatures are of type 0x04 or 0x06: ask the witness for that key"},
		{"witness name twice", "witness A {w1}\nwitness A {w2}\nquorum A\n", "trust file, line 2: the name A is defined twice; witnesses and groups share their names"},
		{"witness none", "witness none {w1}\nquorum none\n", `trust file, line 1: the name "none" is reserved`},

		{"group name is a witness's", "{two witnesses}group A all B\nquorum A\n", "trust file, line 4: the name A is defined twice"},
		{"group none", "{two witnesses}group none all A\nquorum none\n", "reserved"},
		{"group without members", "{two witnesses}group G all\nquorum G\n", "with at least one member"},
		{"group of itself", "{two witnesses}group G all A G\nquorum G\n", "the member G is not defined on a line before"},
		{"group of none", "{two witnesses}group G all none\nquorum G\n", "the member none is not defined on a line before"},
		{"member twice", "{two witnesses}group G 2 A A\nquorum G\n", "trust file, line 4: A is listed as a member already; a name is a member once"},
		{"member of two groups", "{two witnesses}group G all A\ngroup H all A B\nquorum H\n", "trust file, line 5: A is listed as a member already"},
		{"group in two groups", "{two witnesses}group G all A\ngroup H all G\ngroup I all G B\nquorum H\n", "trust file, line 6: G is listed as a member already"},
		{"member defined later", "witness A {w1}\ngroup G all A B\nwitness B {w2}\nquorum G\n", "trust file, line 2: the member B is not defined on a line before"},
		{"threshold 0", "{two witnesses}group G 0 A B\nquorum G\n", `trust file, line 4: the threshold "0" is not all, any, or a number from 1 to 2, the number of members`},
		{"threshold above the members", "{two witnesses}group G 3 A B\nquorum G\n", `the threshold "3"`},
		{"threshold 256", "{two witnesses}group G 256 A B\nquorum G\n", `the threshold "256"`},
		{"threshold with a zero", "{two witnesses}group G 01 A B\nquorum G\n", `the threshold "01"`},
		{"threshold with a sign", "{two witnesses}group G +1 A B\nquorum G\n", `the threshold "+1"`},
		{"threshold negative", "{two witnesses}group G -1 A B\nquorum G\n", `the threshold "-1"`},
		{"threshold huge", "{two witnesses}group G 99999999999999999999 A B\nquorum G\n", "the threshold"},
		{"threshold ALL", "{two witnesses}group G ALL A B\nquorum G\n", `the threshold "ALL"`},

		{"wrong key id", "log " + reid(l) + "\nquorum none\n", `trust file, line 1: the log's key: the vkey of "l.example": invalid verifier hash`},
		{"wrong key id of a witness", "witness A " + reid(w1) + "\nquorum A\n", `the key of the witness A: the vkey of "w1.example": invalid verifier hash`},
		{"key id in upper case", "witness A " + upper + "\nquorum A\n", "8 lower-case hex digits"},
		{"key id too short", "log l.example+1234567+AQ==\nquorum none\n", "8 lower-case hex digits"},
		{"key without padding", "log " + strings.TrimRight(l, "=") + "x\nquorum none\n", "padded base64"},
		{"ECDSA key", "log l.example+00000000+AgAA\nquorum none\n", `the vkey of "l.example" is of type 0x02; known are 0x01, 0x04 and 0x06`},
		{"RFC 6962 key", "log l.example+00000000+BQAA\nquorum none\n", "type 0x05"},
		{"short key", "log l.example+00000000+AQAA\nquorum none\n", "the log's key"},
		{"short ML-DSA key", "witness A l.example+00000000+BgAA\nquorum A\n", "malformed verifier public key"},
		{"no key", "log l.example\nquorum none\n", `"l.example" is not a vkey (name+id+key)`},
		{"no name", "log " + l[strings.IndexByte(l, '+'):] + "\nquorum none\n", "is not a vkey"},

		{"URL without scheme", "log {l} l.example/x\nquorum none\n", "is not an absolute http or https URL"},
		{"URL of a file", "log {l} file:///etc/passwd\nquorum none\n", "is not an absolute http or https URL"},
		{"URL with a password", "log {l} https://u:p@l.example/\nquorum none\n", "is not an absolute http or https URL"},
		{"URL with a query", "witness A {w1} https://w.example/?x\nquorum A\n", "is not an absolute http or https URL"},
		{"URL without host", "witness A {w1} https://:80/\nquorum A\n", "is not an absolute http or https URL"},
	} {
		p, err := ParsePolicy([]byte(withKeys(probe.text)))
		var pe *PolicyError
		if err == nil || p != nil || !errors.As(err, &pe) || !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), withKeys(probe.want)) {
			t.Errorf("%s: got %q, want %q", probe.name, fmt.Sprint(err), probe.want)
		}
	}
}

// TestPolicyHasRoomForWhatTheSpecificationAsks: 32 logs, witnesses and groups,
// with the largest keys there are.
func TestPolicyHasRoomForWhatTheSpecificationAsks(t *testing.T) {
	var b strings.Builder
	for i := range 32 {
		fmt.Fprintf(&b, "log %s https://log-%d.example/\n", testlog.MLDSAKey(fmt.Sprintf("log-%d.example", i), now).VKey, i)
		fmt.Fprintf(&b, "witness W%d %s https://w-%d.example/\n", i, testlog.MLDSAKey(fmt.Sprintf("w-%d.example", i), now).VKey, i)
		fmt.Fprintf(&b, "group G%d all W%d", i, i)
		if i > 0 {
			fmt.Fprintf(&b, " G%d", i-1)
		}
		b.WriteString("\n")
	}
	p := testlog.Must(ParsePolicy([]byte(b.String() + "quorum G31\n")))
	if len(p.Logs()) != 32 || len(p.Witnesses()) != 32 {
		t.Errorf("%d logs, %d witnesses", len(p.Logs()), len(p.Witnesses()))
	}
}

// TestQuorumIsWhatTheWordsSay compares with torchwood's evaluation, for every
// subset of the witnesses.
func TestQuorumIsWhatTheWordsSay(t *testing.T) {
	log := testlog.LogKey("l.example")
	var wits []*testlog.Key
	var head strings.Builder
	fmt.Fprintf(&head, "log %s\n", log.VKey)
	for i := range 5 {
		k := testlog.WitnessKey(fmt.Sprintf("w%d.example", i), now)
		wits = append(wits, k)
		fmt.Fprintf(&head, "witness W%d %s\n", i, k.VKey)
	}
	text := newTree([]byte("x")).Head("l.example", 1)
	for _, tail := range []string{
		"quorum W3\n",
		"group G any W0 W1 W2 W3 W4\nquorum G\n",
		"group G all W0 W1 W2 W3 W4\nquorum G\n",
		"group G 3 W0 W1 W2 W3 W4\nquorum G\n",
		"group X 2 W0 W1 W2\ngroup Y any W3 W4\ngroup Z all X Y\nquorum Z\n",
		"group X all W0 W1\ngroup Z 2 X W2 W3\nquorum Z\n",
		"group X all W0 W1\nquorum W2\n",
	} {
		ours := parsePolicy(t, head.String()+tail)
		theirs := testlog.Must(torchwood.ParsePolicy([]byte(head.String() + tail)))
		for set := range 1 << len(wits) {
			signers := []*testlog.Key{log}
			for i, k := range wits {
				if set&(1<<i) != 0 {
					signers = append(signers, k)
				}
			}
			signed := testlog.Sign(text, signers...)
			_, err := ours.CheckCheckpoint(signed)
			_, _, want := torchwood.VerifyCheckpoint(signed, theirs)
			if (err == nil) != (want == nil) || err != nil && !errors.Is(err, ErrQuorum) {
				t.Errorf("%q, witnesses %05b: %v, torchwood says %v", tail, set, err, want)
			}
			is := ours.Quorum(func(w PolicyWitness) bool {
				return slices.ContainsFunc(signers, func(k *testlog.Key) bool { return k.VKey == w.VKey })
			})
			if is != (want == nil) {
				t.Errorf("%q, witnesses %05b: a quorum %v, torchwood says %v", tail, set, is, want)
			}
		}
	}
}

// FuzzParsePolicy: no input panics, every refusal is a *PolicyError, and what is
// parsed says the same when it is written down again.
func FuzzParsePolicy(f *testing.F) {
	for _, seed := range []string{"quorum none\n", "{two witnesses}group G 1 A B\nquorum G\n", "# x\n\twitness \xff {w1}\n\nquorum \xff\n",
		"log {l} https://l.example/\nquorum none\n"} {
		f.Add([]byte(withKeys(seed)))
	}
	text := newTree([]byte("x")).Head("l.example", 1)
	signed := testlog.Sign(text, testlog.LogKey("l.example"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePolicy(b)
		if err != nil {
			if p != nil || !errors.Is(err, ErrPolicy) {
				t.Fatalf("%v %v", p, err)
			}
			return
		}
		// What was parsed, written down again, is the same policy.
		again := testlog.Must(ParsePolicy(formatPolicy(p)))
		if got, want := formatPolicy(again), formatPolicy(p); string(got) != string(want) {
			t.Errorf("parsed\n%s\nand again\n%s", want, got)
		}
		// A checkpoint that no witness cosigned never meets a quorum.
		if _, err := p.CheckCheckpoint(signed); err == nil {
			t.Error("a checkpoint without witnesses was believed")
		}
	})
}

// formatPolicy writes a policy with groups named by number.
func formatPolicy(p *Policy) []byte {
	var b strings.Builder
	for _, l := range p.logs {
		fmt.Fprintf(&b, "log %s %s\n", l.VKey, l.URL)
	}
	for _, w := range p.witnesses {
		fmt.Fprintf(&b, "witness %s %s %s\n", w.Name, w.VKey, w.URL)
	}
	n := 0
	var name func(m *member) string
	name = func(m *member) string {
		if m.k == 0 {
			return p.witnesses[m.witness].Name
		}
		var members []string
		for _, c := range m.members {
			members = append(members, name(c))
		}
		n++
		g := fmt.Sprintf("group%d\xff\xff", n)
		fmt.Fprintf(&b, "group %s %d %s\n", g, m.k, strings.Join(members, " "))
		return g
	}
	q := "none"
	if p.quorum != nil {
		q = name(p.quorum)
	}
	return []byte(b.String() + "quorum " + q + "\n")
}

// TestTheOthersKeysAreUnderstood takes keys as the other libraries write them.
func TestTheOthersKeysAreUnderstood(t *testing.T) {
	skey, vkey, err := note.GenerateKey(counter{}, "generated.example")
	fatalIfErr(t, err)
	if _, err := note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	s := testlog.Must(torchwood.NewCosignatureSigner("w.example", testlog.Ed25519("w.example")))
	p := parsePolicy(t, "log "+vkey, "witness W "+s.Verifier().String(), "quorum W")
	log := testlog.Must(note.NewSigner(skey))
	signed := testlog.Must(note.Sign(&note.Note{Text: newTree([]byte("x")).Head("generated.example", 1)}, log, s))
	c := testlog.Must(p.CheckCheckpointRules(signed, Rules{MaxAge: time.Hour}))
	if age := time.Since(c.Witnessed); age < -time.Minute || age > time.Hour {
		t.Errorf("witnessed %v ago", age)
	}
}

// counter is a fixed source of keys.
type counter struct{}

func (counter) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i)
	}
	return len(p), nil
}

// TestALogWithTwoKeysIsOneLog: at the first address that one of its lines has.
func TestALogWithTwoKeysIsOneLog(t *testing.T) {
	old, next, other := testlog.LogKey("l.example"), testlog.LogKey("l.example", "next"), testlog.LogKey("o.example")
	p := testlog.Must(ParsePolicy(fmt.Appendf(nil, "log %s\nlog %s\nlog %s https://l.example\nquorum none\n", old.VKey, other.VKey, next.VKey)))
	all := p.Origins()
	if len(all) != 2 || all[0].Origin != "l.example" || all[0].URL != "https://l.example" || all[0].VKey != old.VKey ||
		all[1].Origin != "o.example" || all[1].URL != "" {
		t.Errorf("%+v", all)
	}
	if len(p.Logs()) != 3 || p.Logs()[0].URL != "" {
		t.Errorf("%+v", p.Logs())
	}
}

// TestAPolicyOfOneLogBelievesNoOther, but every key of that one.
func TestAPolicyOfOneLogBelievesNoOther(t *testing.T) {
	a, b := testlog.New("log.example/a", 1, func() time.Time { return now }), testlog.New("log.example/b", 1, func() time.Time { return now })
	next := testlog.LogKey("log.example/a", "next")
	text := fmt.Appendf(nil, "log %s\nlog %s\nlog %s\nwitness w %s\nquorum w\n", a.VKey, b.VKey, next.VKey, a.Witnesses[0].VKey)
	both := testlog.Must(ParsePolicy(text))
	for origin, want := range map[string]error{"log.example/a": nil, "log.example/b": ErrLog, "log.example/c": ErrPolicy} {
		p := both.Of(origin)
		for _, key := range []*testlog.Key{a.Key, next} {
			_, err := p.CheckCheckpoint(testlog.Sign(a.Head(0), key, a.Witnesses[0]))
			if !errors.Is(err, want) {
				t.Errorf("of %s: %v", origin, err)
			}
		}
		if _, err := p.CheckCheckpoint(testlog.Sign(a.Head(0), a.Key)); err == nil {
			t.Errorf("of %s: without the quorum", origin)
		}
	}
}
