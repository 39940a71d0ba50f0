package witness

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

// corruptions are ways to spoil a valid request that only the grammar forbids.
// Each returns text that must not parse.
func corruptions(valid string) map[string]string {
	replace := func(old, new string) string {
		if !strings.Contains(valid, old) {
			panic("corruption does not apply: " + old)
		}
		return strings.Replace(valid, old, new, 1)
	}
	lines := strings.SplitAfter(valid, "\n")
	head, signed, _ := strings.Cut(valid, "\n\n")
	text := signed[:strings.LastIndex(signed, "\n\n")+1]
	cp := strings.SplitAfter(text, "\n")
	sigs := signed[len(text)+1:]
	proofLine := lines[1]
	unpadded := strings.ReplaceAll(proofLine, "=", "")
	join := func(head, text, sigs string) string { return head + "\n\n" + text + "\n" + sigs }
	note := func(origin, size, root string) string { return join(head, origin+size+root, sigs) }
	// The last character before "=" of 32 bytes carries two unused bits.
	loose := func(b64 string) string {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		i := strings.Index(b64, "=") - 1
		return b64[:i] + string(alphabet[strings.IndexByte(alphabet, b64[i])|1]) + b64[i+1:]
	}
	return map[string]string{
		"empty":                               "",
		"one newline":                         "\n",
		"two newlines":                        "\n\n",
		"first line only":                     "old 7\n",
		"no final newline":                    strings.TrimSuffix(valid, "\n"),
		"two final newlines":                  valid + "\n",
		"text after":                          valid + "x",
		"CRLF everywhere":                     strings.ReplaceAll(valid, "\n", "\r\n"),
		"CRLF on the first line":              replace("old 7\n", "old 7\r\n"),
		"CR in a proof line":                  replace(proofLine, strings.TrimSuffix(proofLine, "\n")+"\r\n"),
		"CR inside the base64":                replace(proofLine, proofLine[:8]+"\r"+proofLine[8:]),
		"tab":                                 replace("old 7", "old\t7"),
		"NUL":                                 replace("old 7", "old 7\x00"),
		"invalid UTF-8":                       replace("log.example", "log.\xffexample"),
		"byte order mark":                     "\ufeff" + valid,
		"Old":                                 replace("old ", "Old "),
		"no old line":                         strings.TrimPrefix(valid, "old 7\n"),
		"two old lines":                       "old 7\n" + valid,
		"old without number":                  replace("old 7", "old "),
		"old with two spaces":                 replace("old 7", "old  7"),
		"old with trailing space":             replace("old 7\n", "old 7 \n"),
		"old with two numbers":                replace("old 7", "old 7 8"),
		"old with leading zero":               replace("old 7", "old 07"),
		"old 00":                              replace("old 7", "old 00"),
		"old with plus":                       replace("old 7", "old +7"),
		"old negative":                        replace("old 7", "old -7"),
		"old minus zero":                      replace("old 7", "old -0"),
		"old hexadecimal":                     replace("old 7", "old 0x7"),
		"old with exponent":                   replace("old 7", "old 7e0"),
		"old with underscore":                 replace("old 7", "old 7_0"),
		"old in other digits":                 replace("old 7", "old ٧"),
		"old of 2^63":                         replace("old 7", "old 9223372036854775808"),
		"old of 2^64":                         replace("old 7", "old 18446744073709551616"),
		"leading space":                       " " + valid,
		"leading newline":                     "\n" + valid,
		"proof of 31 bytes":                   replace(proofLine, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n"),
		"proof of 33 bytes":                   replace(proofLine, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"),
		"proof without padding":               replace(proofLine, unpadded),
		"proof with loose bits":               replace(proofLine, loose(proofLine)),
		"proof in URL base64":                 replace(proofLine, "__________________________________________8=\n"),
		"proof in hexadecimal":                replace(proofLine, strings.Repeat("ab", 32)+"\n"),
		"space after a proof line":            replace(proofLine, strings.TrimSuffix(proofLine, "\n")+" \n"),
		"two hashes on a line":                replace(proofLine, strings.TrimSuffix(proofLine, "\n")+proofLine),
		"no empty line after the proof":       replace("\n\n", "\n"),
		"64 proof lines":                      "old 7\n" + strings.Repeat(proofLine, 64) + "\n" + signed,
		"empty line inside the proof":         replace(proofLine, proofLine+"\n"),
		"two empty lines":                     replace("\n\n", "\n\n\n"),
		"no origin":                           note("", cp[1], cp[2]),
		"empty origin":                        note("\n", cp[1], cp[2]),
		"size with leading zero":              note(cp[0], "0"+cp[1], cp[2]),
		"size with plus":                      note(cp[0], "+"+cp[1], cp[2]),
		"negative size":                       note(cp[0], "-"+cp[1], cp[2]),
		"size with space":                     note(cp[0], " "+cp[1], cp[2]),
		"size of 2^63":                        note(cp[0], "9223372036854775808\n", cp[2]),
		"no size":                             note(cp[0], "", cp[2]),
		"empty size":                          note(cp[0], "\n", cp[2]),
		"no root":                             note(cp[0], cp[1], ""),
		"root of 31 bytes":                    note(cp[0], cp[1], "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n"),
		"root of 64 bytes":                    note(cp[0], cp[1], strings.Repeat("A", 86)+"==\n"),
		"root with loose bits":                note(cp[0], cp[1], loose(cp[2])),
		"root without padding":                note(cp[0], cp[1], strings.ReplaceAll(cp[2], "=", "")),
		"empty extension line":                join(head, text+"\n", sigs),
		"extension after an empty line":       join(head, text+"\nextension\n", sigs),
		"no signatures":                       join(head, text, ""),
		"no empty line before the signatures": head + "\n\n" + text + sigs,
		"empty signature line":                join(head, text, "\n"),
		"signature with a hyphen":             join(head, text, strings.Replace(sigs, "—", "-", 1)),
		"signature with an en dash":           join(head, text, strings.Replace(sigs, "—", "–", 1)),
		"signature without dash":              join(head, text, strings.TrimPrefix(sigs, "— ")),
		"signature without space":             join(head, text, strings.Replace(sigs, "— ", "—", 1)),
		"signature with two spaces":           join(head, text, strings.Replace(sigs, "— ", "—  ", 1)),
		"signature without name":              join(head, text, "— "+sigs[strings.LastIndex(sigs, " ")+1:]),
		"signature with an empty name":        join(head, text, "—  "+sigs[strings.LastIndex(sigs, " ")+1:]),
		"signature with a plus in the name":   join(head, text, strings.Replace(sigs, "— ", "— a+", 1)),
		"signature with a Unicode space":      join(head, text, strings.Replace(sigs, "— ", "— a\u2003", 1)),
		"signature with trailing space":       join(head, text, strings.TrimSuffix(sigs, "\n")+" \n"),
		"signature with a fourth field":       join(head, text, strings.TrimSuffix(sigs, "\n")+" AAAA\n"),
		"signature of the key ID only":        join(head, text, "— log.example AAAAAA==\n"),
		"signature shorter than a key ID":     join(head, text, "— log.example AAAA\n"),
		"signature with loose bits":           join(head, text, "— log.example AAAAAAAAAB==\n"),
		"signature without padding":           join(head, text, "— log.example AAAAAAA\n"),
		"101 signatures":                      join(head, text, strings.Repeat("— x AAAAAAAA\n", 101)),
		"text between the signatures":         join(head, text, sigs+"x\n"+sigs),
	}
}

func TestCorruptedRequestsAreRefused(t *testing.T) {
	l := newLog()
	valid := l.Request(7, 20)
	if _, err := ParseRequest([]byte(valid)); err != nil {
		t.Fatal(err)
	}
	w := openAt(t, newConfig(t, l), l, 7)
	url := serve(t, w)
	for name, body := range corruptions(valid) {
		if body == valid {
			t.Errorf("%s: not a corruption", name)
			continue
		}
		_, err := ParseRequest([]byte(body))
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: parsed with error %v", name, err)
			continue
		}
		if got := post(t, url, body); got.code != 400 || !strings.HasPrefix(got.body, "malformed request: ") || !utf8.ValidString(got.body) {
			t.Errorf("%s: status %d, body %q", name, got.code, got.body)
		}
	}
	if got := post(t, url, valid); got.code != 200 {
		t.Errorf("the valid request: %d %q", got.code, got.body)
	}
}

// Every single byte of a request matters: no change of one byte is cosigned.
func TestNoFlippedByteIsCosigned(t *testing.T) {
	l := newLog()
	valid := l.Request(7, 20)
	w := openAt(t, newConfig(t, l), l, 7)
	for i := range len(valid) {
		for _, mask := range []byte{0x01, 0x20, 0x80} {
			body := []byte(valid)
			body[i] ^= mask
			if _, err := w.AddCheckpoint(t.Context(), body); err == nil {
				t.Errorf("byte %d changed to %q and cosigned", i, body[i])
			} else if StatusCode(err) >= 500 {
				t.Errorf("byte %d changed to %q: %v", i, body[i], err)
			}
		}
	}
	for i := range len(valid) {
		if _, err := w.AddCheckpoint(t.Context(), []byte(valid[:i])); err == nil {
			t.Errorf("cut to %d bytes and cosigned", i)
		}
	}
}

func TestWhatTheGrammarAllowsIsParsed(t *testing.T) {
	l := newLog()
	sig := l.line(5)
	root := strings.SplitAfter(l.Head(5), "\n")[2]
	for name, body := range map[string]string{
		"no proof":               l.Request(0, 5),
		"63 proof lines":         "old 7\n" + strings.Repeat(root, 63) + "\n" + l.signed(20),
		"largest numbers":        "old 9223372036854775807\n\nlog.example\n9223372036854775807\n" + root + "\n" + sig,
		"origin with spaces":     "old 0\n\nGo SUM database tree é\n5\n" + root + "\n" + sig,
		"100 signatures":         "old 0\n\n" + l.Head(5) + "\n" + strings.Repeat(sig, 100),
		"extension lines":        "old 0\n\n" + l.Head(5) + "one\ntwo\n\n" + sig,
		"extension like a dash":  "old 0\n\n" + l.Head(5) + "— x AAAAAAAA\n\n" + sig,
		"signature of one byte":  "old 0\n\n" + l.Head(5) + "\n— x AAAAAAA=\n",
		"name of another script": "old 0\n\n" + l.Head(5) + "\n— журнал.example AAAAAAA=\n",
	} {
		r, err := ParseRequest([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if r.Marshal() != body {
			t.Errorf("%s: marshalled to %q", name, r.Marshal())
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	l := newLog()
	f.Add([]byte(l.Request(7, 20)))
	f.Add([]byte(l.Request(0, 0)))
	f.Add([]byte("old 0\n\n" + l.Head(5) + "one\ntwo\n\n— x AAAAAAA=\n"))
	for _, body := range corruptions(l.Request(7, 20)) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRequest(body)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if r.Marshal() != string(body) {
			t.Errorf("%q parses and marshals to %q", body, r.Marshal())
		}
		if len(r.Signatures) == 0 || len(r.Proof) > MaxProof || r.Checkpoint.Origin == "" || r.Checkpoint.N < 0 || r.Old < 0 {
			t.Errorf("parsed to %+v", r)
		}
	})
}
