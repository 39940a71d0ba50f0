package client

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// entryServer says that it has said entries and serves those that it has, in full bundles only,
// the last of them filled up with what came later.
func entryServer(t *testing.T, said string, has int) *Log {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var n int
		if r.URL.Path == "/checkpoint" {
			fmt.Fprint(w, said)
		} else if _, err := fmt.Sscanf(strings.TrimPrefix(r.URL.Path, "/tile/entries/"), "%03d", &n); err != nil || strings.Contains(r.URL.Path, ".p/") {
			http.NotFound(w, r)
		} else {
			for i := n * 256; i < min((n+1)*256, has); i++ {
				e := fmt.Sprint("entry ", i)
				w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(e))), e...))
			}
		}
	}))
	t.Cleanup(s.Close)
	return &Log{URL: s.URL}
}

func saying(size int) string {
	return fmt.Sprintf("log.example\n%d\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u2014 log.example AAAA\n", size)
}

func TestEntriesComeInOrderAndNoneIsLeftOut(t *testing.T) {
	for _, size := range []int{0, 1, 256, 300, 512} {
		n, all, err := entryServer(t, saying(size), 512).Entries(t.Context())
		fatalIfErr(t, err)
		i := 0
		for e, err := range all {
			fatalIfErr(t, err)
			if want := fmt.Sprint("entry ", i); string(e) != want {
				t.Fatalf("of %d: %q instead of %q", size, e, want)
			}
			i++
		}
		if i != size || n != int64(size) {
			t.Errorf("%d of %d entries, said to be %d", i, size, n)
		}
	}
}

func TestALogWithFewerEntriesThanItSaysIsNoticed(t *testing.T) {
	_, all, err := entryServer(t, saying(300), 290).Entries(t.Context())
	fatalIfErr(t, err)
	i := 0
	for _, err = range all {
		if err != nil {
			break
		}
		i++
	}
	if err == nil || i != 290 {
		t.Errorf("after %d entries: %v", i, err)
	}
}

func TestWhatIsNoCheckpointGivesNoEntries(t *testing.T) {
	for what, said := range map[string]string{
		"nothing": "", "one line": "log.example\n", "no size": "log.example\nx\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\nx\n",
		"a negative size": saying(-1), "another encoding of the size": strings.Replace(saying(7), "\n7\n", "\n07\n", 1),
		"no origin": strings.TrimPrefix(saying(1), "log.example"),
	} {
		if _, _, err := entryServer(t, said, 1).Entries(t.Context()); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
