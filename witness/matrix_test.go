package witness

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// TestStatusMatrix holds the table of c2sp.org/tlog-witness, over HTTP, against
// a witness that has cosigned size 7 of the log, and nothing of the log "fresh".
func TestStatusMatrix(t *testing.T) {
	l := newTestLog("log.example/a", 40)
	other := l.fork(3, "fork") // same key, another history from leaf 3 on
	fresh := newTestLog("log.example/fresh", 40)
	stranger := newTestLog("log.example/stranger", 40)
	const second = "second key of log a"
	extended := func(text string) string { return l.sign(text + "extension\n") }
	wrongEmpty := func(l testLog) string { return l.sign(testlog.Head(l.KeyName, 0, l.root(5))) }
	unsigned := l.Head(9) + "\n"
	at9 := func(signed string) string { return request(7, l.proof(7, 9), signed) }
	at20 := func(proof ...tlog.Hash) string { return request(7, proof, l.signed(20)) }
	bad := l.line(10) // right name and key ID, wrong signature
	junkLine := "— unknown.example " + base64.StdEncoding.EncodeToString(make([]byte, 76)) + "\n"
	sameName := "— " + l.KeyName + " " + base64.StdEncoding.EncodeToString(make([]byte, 68)) + "\n"
	swapped := l.proof(7, 20)
	swapped[0], swapped[1] = swapped[1], swapped[0]

	const conflict7 = "7\n"
	for _, test := range []struct {
		name string
		body string
		code int
		want string // part of the body; for 200 and 409 see below
	}{
		{"first checkpoint", fresh.Request(0, 5), 200, ""},
		{"first checkpoint of size 0", fresh.Request(0, 0), 200, ""},
		{"growth with a proof", l.Request(7, 20), 200, ""},
		{"growth by one", l.Request(7, 8), 200, ""},
		{"same size, same root: refresh", l.Request(7, 7), 200, ""},
		{"signature of a second trusted key", at9(sign(l.Head(9), l.KeyName, second)), 200, ""},
		{"unknown signatures beside the log's", at9(l.signed(9) + junkLine + sameName), 200, ""},
		{"unknown signatures before the log's", at9(unsigned + junkLine + l.line(9)), 200, ""},
		{"extension lines", at9(extended(l.Head(9))), 200, ""},
		{"extension lines on a refresh", request(7, nil, extended(l.Head(7))), 200, ""},
		{"the log's signature twice", at9(l.signed(9) + l.line(9)), 200, ""},

		{"unknown origin", stranger.Request(0, 5), 404, "does not know the checkpoint's origin"},
		{"unknown origin, key of a known log", request(0, nil, l.sign(stranger.Head(5))), 404, "does not know"},
		{"unknown origin with extension lines", request(0, nil, stranger.sign(stranger.Head(5)+"x\n")), 404, "does not know"},

		{"only unknown signatures", at9(unsigned + junkLine), 403, "is not correctly signed"},
		{"signed by another log's key", at9(fresh.sign(l.Head(9))), 403, "is not correctly signed"},
		{"right key under another name", at9(sign(l.Head(9), "log.example/b", l.KeyName)), 403, "is not correctly signed"},
		{"bad signature of a trusted key", at9(unsigned + bad), 403, "is not correctly signed"},
		{"good and bad signature of one key", at9(l.signed(9) + bad), 403, "is not correctly signed"},
		{"bad and good signature of one key", at9(unsigned + bad + l.line(9)), 403, "is not correctly signed"},
		{"signature cut to the key ID and a byte", request(7, nil, unsigned+cutSignature(t, l, 9)), 403, "is not correctly signed"},
		{"403 goes before 409", request(3, nil, unsigned+junkLine), 403, "is not correctly signed"},

		{"old larger than the size", request(21, nil, l.signed(20)), 400, "the old size is larger"},
		{"old larger than the size, first request", request(6, nil, fresh.signed(5)), 400, "the old size is larger"},
		{"old larger than the size and than the state", request(9, nil, l.signed(8)), 400, "the old size is larger"},
		{"extension lines of another history", request(7, nil, extended(other.Head(7))), 422, "same size and another root hash"},
		{"extension lines that the log did not sign", at9(l.Head(9) + "extension\n\n" + l.line(9)), 403, "is not correctly signed"},

		{"old too small", l.Request(5, 20), 409, conflict7},
		{"old 0", l.Request(0, 20), 409, conflict7},
		{"old too large", l.Request(8, 20), 409, conflict7},
		{"replay of a smaller checkpoint", l.Request(5, 6), 409, conflict7},
		{"old 0, same checkpoint", l.Request(0, 7), 409, conflict7},
		{"old 0, size 0", l.Request(0, 0), 409, conflict7},
		{"old 3 on a log never seen", fresh.Request(3, 5), 409, "0\n"},
		{"another history of the same size, wrong old", request(3, other.proof(3, 7), other.signed(7)), 409, conflict7},

		{"size 0 with another root", request(0, nil, wrongEmpty(fresh)), 422, "a tree of size 0 has the root hash"},
		{"size 0 with another root and a proof", request(0, fresh.proof(2, 5), wrongEmpty(fresh)), 422, "a tree of size 0 has the root hash"},
		{"old 0 with a proof", request(0, fresh.proof(2, 5), fresh.signed(5)), 422, "the proof must be empty"},
		{"refresh with a proof", request(7, l.proof(5, 7), l.signed(7)), 422, "the proof must be empty"},
		{"same size, other root", request(7, nil, other.signed(7)), 422, "same size and another root hash"},
		{"same size, other root, with a proof", request(7, l.proof(5, 7), other.signed(7)), 422, "same size and another root hash"},
		{"no proof", at20(), 422, "proof does not verify"},
		{"proof too short", at20(l.proof(7, 20)[1:]...), 422, "proof does not verify"},
		{"proof too long", at20(append(l.proof(7, 20), tlog.Hash{})...), 422, "proof does not verify"},
		{"proof in another order", at20(swapped...), 422, "proof does not verify"},
		{"proof of another old size", at20(l.proof(6, 20)...), 422, "proof does not verify"},
		{"proof of another new size", at20(l.proof(7, 21)...), 422, "proof does not verify"},
		{"another history", request(7, other.proof(7, 20), other.signed(20)), 422, "proof does not verify"},
		{"63 hashes of nothing", at20(make([]tlog.Hash, 63)...), 422, "proof does not verify"},

		{"64 hashes", at20(make([]tlog.Hash, 64)...), 400, "more than 63 proof lines"},
		{"at the limit of the body", pad(t, l.Request(7, 20), MaxRequest), 200, ""},
		{"one byte above the limit", pad(t, l.Request(7, 20), MaxRequest+1), 413, "larger than 65536 bytes"},
		{"far above the limit", strings.Repeat("x", 4*MaxRequest), 413, "larger than 65536 bytes"},
		{"empty body", "", 400, "malformed request: there is no empty line"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := newConfig(t, l, fresh)
			cfg.Logs = append(cfg.Logs, Log{l.KeyName, testlog.LogKey(l.KeyName, second).VKey})
			w := openAt(t, cfg, l, 7)
			url := serve(t, w)
			before := get(t, url+"/"+originHash(l.KeyName)+"/checkpoint")

			got := post(t, url, test.body)
			if got.code != test.code {
				t.Fatalf("status %d, want %d; body %q", got.code, test.code, got.body)
			}
			switch test.code {
			case 200:
				req := testlog.Must(ParseRequest([]byte(test.body)))
				if ts := cosigTime(t, w, req.Checkpoint.String(), got.body); ts <= 0 {
					t.Errorf("timestamp %d", ts)
				}
				return
			case 409:
				if got.contentType != "text/x.tlog.size" || got.body != test.want {
					t.Errorf("conflict as %q, body %q; want text/x.tlog.size, %q", got.contentType, got.body, test.want)
				}
			default:
				if !strings.Contains(got.body, test.want) {
					t.Errorf("body %q should contain %q", got.body, test.want)
				}
			}
			if strings.Contains(got.body, "— "+witnessName) {
				t.Errorf("a refusal carries a signature: %q", got.body)
			}
			if after := get(t, url+"/"+originHash(l.KeyName)+"/checkpoint"); after != before {
				t.Errorf("a refused request changed the state to %q", after.body)
			}
		})
	}
}

// cutSignature returns a line with the right name and key ID and one byte.
func cutSignature(t testing.TB, l testLog, size int64) string {
	line := strings.TrimSuffix(l.line(size), "\n")
	prefix, b64 := line[:strings.LastIndex(line, " ")+1], line[strings.LastIndex(line, " ")+1:]
	blob := testlog.Must(base64.StdEncoding.DecodeString(b64))
	return prefix + base64.StdEncoding.EncodeToString(blob[:5]) + "\n"
}

// pad appends signature lines of unknown keys until body has exactly n bytes.
func pad(t testing.TB, body string, n int) string {
	t.Helper()
	for i := 0; len(body) < n; i++ {
		name := fmt.Sprintf("pad%d.example", i)
		missing := n - len(body) - len("— "+name+" \n")
		size := min(3000, missing/4*3)
		if rest := missing - size/3*4; size == missing/4*3 {
			name += strings.Repeat("x", rest)
		} else if missing-4000 < 200 { // leave room for the last line
			size = 1500
		}
		body += "— " + name + " " + base64.StdEncoding.EncodeToString(make([]byte, size)) + "\n"
	}
	if len(body) != n {
		t.Fatalf("padded to %d bytes, want %d", len(body), n)
	}
	return body
}

func TestOtherMethodsAndPathsAreNotServed(t *testing.T) {
	url := serve(t, open(t, newConfig(t)))
	for path, code := range map[string]int{
		"/add-checkpoint":       405,
		"/sign-subtree":         405,
		"/nothing":              404,
		"/x/checkpoint":         404,
		"/x/forks":              404,
		"/healthz":              200,
		"/readyz":               200,
		"/livez":                200,
		"/metrics":              200,
		"/":                     200,
		"/../etc/passwd":        404,
		"/%2e%2e/checkpoint":    404,
		"/add-checkpoint/":      404,
		"/add-checkpoint/extra": 404,
	} {
		if got := get(t, url+path); got.code != code {
			t.Errorf("GET %s: %d, want %d", path, got.code, code)
		}
	}
}
