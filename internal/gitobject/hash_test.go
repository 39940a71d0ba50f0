package gitobject

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pjbgf/sha1cd"
)

func TestBlobIDIsGits(t *testing.T) {
	var h Hash
	for _, body := range []string{"", "hello\n", strings.Repeat("x", 100000), "again"} {
		h.Start(TypeBlob, int64(len(body))).Write([]byte(body))
		id, safe := h.Sum()
		if want := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(body), body)); id != want || !safe {
			t.Errorf("%d bytes: id %x, safe %v, want %x", len(body), id, safe, want)
		}
	}
}

// TestSHA1CollisionIsRefused: the first blocks of a published collision, hashed
// from SHA-1's own initial value. (As a git blob the same bytes stand behind a
// header and do not collide; no blob that does is known.)
func TestSHA1CollisionIsRefused(t *testing.T) {
	text, err := os.ReadFile("testdata/collision.hex")
	if err != nil {
		t.Fatal(err)
	}
	attack, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	h := Hash{sha1: sha1cd.New()}
	h.Write(attack)
	if id, safe := h.Sum(); safe {
		t.Errorf("the attack passes, with id %x", id)
	}
	h.Start(TypeBlob, 0)
	if _, safe := h.Sum(); !safe {
		t.Error("the file behind the attack is refused as well")
	}
}

func TestSuspicionsOfABlockAreCounted(t *testing.T) {
	block, err := hex.DecodeString("dbbe57851b62be0c5300262e832cca3a59c9aff1c3ceddbb13de814c874f44af" +
		"207a80d083e5f51e8c93752fc07a7cc30cb8ba81c4ecbf7302cae18bd95e72f2")
	if err != nil {
		t.Fatal(err)
	}
	if n := suspicions(block); n != 9 {
		t.Errorf("the block has %d suspicions", n)
	}
}
