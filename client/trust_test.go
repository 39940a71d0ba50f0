package client

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"filippo.io/torchwood"

	"cratelog/internal/testlog"
)

// maintained writes a trust file of a name and number, with as many maintainers as keys, and has some sign it.
func maintained(name string, sequence, threshold int, keys []*testlog.Key, more string, signers ...*testlog.Key) []byte {
	text := fmt.Sprintf("# cratelog trust/v1 %s\n# sequence %d\n# threshold %d\n", name, sequence, threshold)
	for _, k := range keys {
		text += "# maintainer " + k.VKey + "\n"
	}
	text += "\n# For the readers of this log.\nlog " + testlog.LogKey("log.example").VKey + " https://log.example\n" + more + "quorum none\n"
	return signTrust(text, signers...)
}

func signTrust(text string, signers ...*testlog.Key) []byte {
	out := text + "# signed\n"
	for line := range strings.Lines(string(testlog.Sign(text, signers...)[len(text)+1:])) {
		out += "# " + line
	}
	return []byte(out)
}

func people(names ...string) (keys []*testlog.Key) {
	for _, n := range names {
		keys = append(keys, testlog.LogKey(n+".example"))
	}
	return keys
}

func parsedTrust(t *testing.T, file []byte) *Trust {
	t.Helper()
	tr, err := ParseTrust(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	return tr
}

// TestATrustFileIsFollowedByWhatItsMaintainersSigned, also by others than they were, in steps.
func TestATrustFileIsFollowedByWhatItsMaintainersSigned(t *testing.T) {
	abc, cde := people("a", "b", "c"), people("c", "d", "e")
	first := parsedTrust(t, maintained("t", 1, 2, abc, "", abc...))
	for name, next := range map[string][]byte{
		"a threshold of them":      maintained("t", 2, 2, abc, "# new\n", abc[0], abc[2]),
		"numbers left out":         maintained("t", 9, 2, abc, "# new\n", abc...),
		"other maintainers":        maintained("t", 2, 2, cde, "", abc[0], abc[1], cde[1], cde[2]),
		"one who is in both":       maintained("t", 2, 2, cde, "", abc[0], cde[0], cde[1]),
		"a stranger besides":       maintained("t", 2, 2, abc, "", abc[0], abc[1], people("x")[0]),
		"the same again":           first.File,
		"the same, signed by less": maintained("t", 1, 2, abc, "", abc[:2]...),
		"another threshold":        maintained("t", 2, 3, abc, "", abc...),
	} {
		tr := parsedTrust(t, next)
		if err := first.CheckUpdate(tr); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		// Every parser of policies reads it.
		if _, err := torchwood.ParsePolicy(next); err != nil {
			t.Errorf("%s: torchwood: %v", name, err)
		}
	}
	if got := first.SignedBy(first); strings.Join(got, " ") != "a.example b.example c.example" {
		t.Errorf("signed by %s", got)
	}
}

// TestWhatIsNoSuccessorIsRefused: every attack on a trust file, by name.
func TestWhatIsNoSuccessorIsRefused(t *testing.T) {
	abc, xyz := people("a", "b", "c"), people("x", "y", "z")
	at := parsedTrust(t, maintained("t", 5, 2, abc, "", abc...))
	good := maintained("t", 6, 2, abc, "# new\n", abc...)
	cut := func(file []byte, n int) []byte { // all but the last n signatures
		for range n {
			file = file[:bytes.LastIndexByte(file[:len(file)-1], '\n')+1]
		}
		return file
	}
	other := *abc[0]
	other.KeyName, other.VKey = "b2.example", testlog.LogKey("b2.example", "a.example").VKey
	plain, _, _ := bytes.Cut(good, []byte("\n\n"))
	for name, c := range map[string]struct {
		next []byte
		want string
	}{
		"signed by fewer":            {cut(good, 2), "1 of the maintainers that the trust file at hand names have signed the new one (a.example), and it asks for 2 of 3"},
		"signed by nobody":           {cut(good, 3), "0 of the maintainers"},
		"without the end":            {cut(good, 4), "0 of the maintainers"},
		"by strangers":               {maintained("t", 6, 2, xyz, "", xyz...), "0 of the maintainers that the trust file at hand"},
		"by itself and one of them":  {maintained("t", 6, 2, xyz, "", append(xyz, abc[0])...), "1 of the maintainers that the trust file at hand"},
		"with a lower threshold":     {maintained("t", 6, 1, abc, "", abc[0]), "1 of the maintainers that the trust file at hand"},
		"without its own":            {maintained("t", 6, 2, xyz, "", abc...), "0 of the maintainers that the new trust file"},
		"below its own threshold":    {maintained("t", 6, 3, abc, "", abc[:2]...), "2 of the maintainers that the new trust file"},
		"an older one":               {maintained("t", 4, 2, abc, "", abc...), "the one at hand is newer, number 5"},
		"another of the same number": {maintained("t", 5, 2, abc, "# else\n", abc...), "two trust files with the number 5"},
		"of another name":            {maintained("u", 6, 2, abc, "", abc...), `is "u", the one at hand is "t"`},
		"without maintainers":        {[]byte("log " + testlog.LogKey("log.example").VKey + "\nquorum none\n"), "names no maintainers and has no signatures"},
		"its beginning taken off":    {good[len(plain)+2:], "names no maintainers"},
		"the signature of another":   {bytes.Replace(good, []byte("# new\n"), []byte("# now\n"), 1), "0 of the maintainers"},
		"the number raised":          {bytes.Replace(maintained("t", 4, 2, abc, "", abc...), []byte("sequence 4"), []byte("sequence 7"), 1), "0 of the maintainers"},
		"one key, two names":         {maintained("t", 6, 2, abc, "", abc[0], &other), "1 of the maintainers"},
	} {
		tr, err := ParseTrust(c.next)
		if err == nil {
			err = at.CheckUpdate(tr)
		}
		if !errors.Is(err, ErrTrust) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
	if err := parsedTrust(t, []byte("log "+testlog.LogKey("log.example").VKey+"\nquorum none\n")).CheckUpdate(parsedTrust(t, good)); !errors.Is(err, ErrTrust) {
		t.Errorf("of a file without maintainers: %v", err)
	}
}

// TestATrustFileHasOneEncoding: what is not written as the format says is refused, whoever signed it.
func TestATrustFileHasOneEncoding(t *testing.T) {
	abc := people("a", "b", "c")
	good := string(maintained("t", 6, 2, abc, "", abc...))
	text, _, _ := strings.Cut(good, "# signed\n")
	resigned := func(old, new string) []byte {
		if !strings.Contains(text, old) {
			t.Fatalf("no %q", old)
		}
		return signTrust(strings.Replace(text, old, new, 1), abc...)
	}
	changed := func(old, new string) []byte {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return []byte(strings.Replace(good, old, new, 1))
	}
	last := good[strings.LastIndex(good[:len(good)-1], "\n")+1:]
	for name, file := range map[string][]byte{
		"CRLF":                     []byte(strings.ReplaceAll(good, "\n", "\r\n")),
		"a byte order mark":        []byte("\xef\xbb\xbf" + good),
		"no newline at the end":    []byte(strings.TrimSuffix(good, "\n")),
		"another version":          resigned("trust/v1", "trust/v2"),
		"no name":                  resigned("trust/v1 t", "trust/v1 "),
		"a name with a space":      resigned("trust/v1 t", "trust/v1 t u"),
		"a name with a plus":       resigned("trust/v1 t", "trust/v1 t+u"),
		"a zero before the number": resigned("sequence 6", "sequence 06"),
		"a number of zero":         resigned("sequence 6", "sequence 0"),
		"a negative number":        resigned("sequence 6", "sequence -6"),
		"a huge number":            resigned("sequence 6", "sequence 18446744073709551616"),
		"no sequence":              resigned("# sequence 6\n", ""),
		"threshold of zero":        resigned("threshold 2", "threshold 0"),
		"threshold above all":      resigned("threshold 2", "threshold 4"),
		"no maintainers":           resigned("# maintainer "+abc[0].VKey+"\n# maintainer "+abc[1].VKey+"\n# maintainer "+abc[2].VKey+"\n", ""),
		"a maintainer twice":       resigned(abc[0].VKey, abc[1].VKey),
		"a key under two names":    resigned(abc[0].VKey, testlog.LogKey("q.example", "b.example").VKey),
		"the log as a maintainer":  resigned(abc[0].VKey, testlog.LogKey("q.example", "log.example").VKey),
		"a witness's key":          resigned(abc[0].VKey, testlog.WitnessKey("w.example", time.Now()).VKey),
		"a wrong key id":           resigned(abc[0].VKey, "z"+abc[0].VKey),
		"a maintainer below":       resigned("# For the", "# maintainer "+people("x")[0].VKey+"\n# For the"),
		"a tab":                    resigned("# For the", "#\tFor the"),
		"bytes that are no UTF-8":  resigned("# For the", "# For \xff the"),
		"no policy":                resigned("quorum none\n", ""),
		"a policy after the end":   []byte(good + "quorum none\n"),
		"a log after the end":      []byte(good + "log " + testlog.LogKey("evil.example").VKey + "\n"),
		"a comment after the end":  []byte(good + "# hello\n"),
		"an empty line at the end": []byte(good + "\n"),
		"the end twice":            []byte(good + "# signed\n"),
		"a signature twice":        []byte(good + last),
		"another base64":           []byte(good[:len(good)-3] + "\n"),
		"spaces":                   changed("# signed\n# — a", "# signed\n#  — a"),
		"a line of a note":         changed("# signed\n# — a", "# signed\n— a"),
		"17 maintainers":           maintained("t", 6, 2, people(strings.Split("a b c d e f g h i j k l m n o p q", " ")...), "", abc...),
		"33 signatures":            []byte(good + strings.Repeat(last, 30)),
	} {
		tr, err := ParseTrust(file)
		var x *PolicyError
		if err == nil && tr.Maintained() || err != nil && !errors.As(err, &x) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryByteOfATrustFileCounts: with any bit of it flipped it is refused, or is the same file with a signature
// less.
func TestEveryByteOfATrustFileCounts(t *testing.T) {
	ab := people("a", "b")
	first := parsedTrust(t, maintained("t", 1, 2, ab, "", ab...))
	good := maintained("t", 2, 2, ab, "# new\n", ab...)
	fatalIfErr(t, first.CheckUpdate(parsedTrust(t, good)))
	for i := range good {
		for _, bit := range []byte{1, 0x20, 0x80} {
			bad := bytes.Clone(good)
			bad[i] ^= bit
			if tr, err := ParseTrust(bad); err == nil && first.CheckUpdate(tr) == nil {
				t.Fatalf("byte %d, bit %02x: believed\n%s", i, bit, bad)
			}
		}
	}
	pad := bytes.LastIndexByte(good, '=') - 2
	for c := range base64.StdEncoding.EncodeToString(make([]byte, 1)) {
		bad := bytes.Clone(good)
		bad[pad] = "ABCD"[c]
		if tr, err := ParseTrust(bad); err == nil && !bytes.Equal(bad, good) && first.CheckUpdate(tr) == nil {
			t.Errorf("another encoding of the last signature: believed")
		}
	}
}

// TestAMaintainerSigns: signatures of an earlier text and of strangers go, those that hold stay.
func TestAMaintainerSigns(t *testing.T) {
	abc := people("a", "b", "c")
	old := parsedTrust(t, maintained("t", 1, 1, abc[:1], "", abc[0]))
	stale := maintained("t", 1, 2, abc[1:], "", abc[1], people("x")[0])
	edited := bytes.Replace(stale, []byte("sequence 1"), []byte("sequence 2"), 1)
	tr := parsedTrust(t, edited)
	for _, k := range []*testlog.Key{abc[1], abc[2], abc[0], abc[0]} {
		out, err := tr.Sign(k, old)
		fatalIfErr(t, err)
		tr = parsedTrust(t, out)
	}
	if got := strings.Count(string(tr.File), "\n# — "); got != 3 {
		t.Errorf("%d signatures\n%s", got, tr.File)
	}
	fatalIfErr(t, old.CheckUpdate(tr))
	if _, err := tr.Sign(people("x")[0], old); !errors.Is(err, ErrTrust) {
		t.Errorf("a stranger signed: %v", err)
	}
	if _, err := tr.Sign(abc[0], nil); !errors.Is(err, ErrTrust) {
		t.Errorf("one who is in the file before only signed without it: %v", err)
	}
}

func FuzzTrust(f *testing.F) {
	ab := people("a", "b")
	f.Add(maintained("t", 2, 2, ab, "# new\n", ab...))
	f.Add([]byte("quorum none\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		tr, err := ParseTrust(file)
		if err != nil || !tr.Maintained() {
			return
		}
		again := bytes.Clone(tr.Text)
		if len(tr.lines) > 0 || bytes.Contains(file, []byte("\n# signed\n")) {
			again = append(again, trustSigned...)
		}
		for _, l := range tr.lines {
			again = append(again, "# "+l...)
		}
		if !bytes.Equal(again, file) {
			t.Errorf("parsed and written it is another file")
		}
		tr.SignedBy(tr)
	})
}
