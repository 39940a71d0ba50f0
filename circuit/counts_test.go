package circuit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	cs "github.com/consensys/gnark/constraint/bn254"
)

var update = flag.Bool("update", false, "write testdata/counts.csv and compiled.json")

// What the segment that has keys may cost: its domain, and the limit for one more block.
const (
	domain       = 1 << 17
	maxPerBlock  = 2700
	countsFile   = "testdata/counts.csv"
	countsHeader = "circuit,constraints,left over in its domain\n"
)

// TestConstraintCounts compares the circuits' sizes with testdata/counts.csv, so that none
// changes unnoticed: another circuit is another program with other keys. It holds their
// limits, too. With -short only what one more block takes is compared.
func TestConstraintCounts(t *testing.T) {
	var b strings.Builder
	b.WriteString(countsHeader)
	line := func(name string, n, left int) { fmt.Fprintf(&b, "%s,%d,%d\n", name, n, left) }
	number := func(n int, err error) int {
		fatalIf(t, err)
		return n
	}
	one, two := number(SHA1Constraints(1)), number(SHA1Constraints(2))
	line("sha1 first block and tables", one, 0)
	line("sha1 each further block", two-one, 0)
	small, smaller := system(t, 3, "").GetNbConstraints(), system(t, 2, "").GetNbConstraints()
	line("segment each further block", small-smaller, 0)
	if small-smaller > maxPerBlock {
		t.Errorf("a block takes %d constraints, at most %d are allowed", small-smaller, maxPerBlock)
	}
	if testing.Short() {
		compareCounts(t, b.String())
		return
	}
	kept := system(t, SegmentBlocks, "")
	for _, blocks := range []int{SegmentBlocks, 64, 76} {
		n, size := system(t, blocks, "").GetNbConstraints(), domain
		for size < n {
			size *= 2
		}
		line(fmt.Sprintf("segment %d blocks", blocks), n, size-n)
	}
	if n := kept.GetNbConstraints(); n > domain {
		t.Errorf("a segment of %d blocks takes %d constraints, its domain has %d", SegmentBlocks, n, domain)
	}
	compareHashes(t, map[string]string{compiledName(SegmentBlocks): hashOf(t, kept)})

	if *update {
		fatalIf(t, os.WriteFile(countsFile, []byte(b.String()), 0o644))
	}
	compareCounts(t, b.String())
}

// compareCounts compares with the counts' file, or with -short with its beginning.
func compareCounts(t *testing.T, got string) {
	t.Helper()
	text, err := os.ReadFile(countsFile)
	fatalIf(t, err)
	want := string(text)
	if !strings.HasPrefix(want, got) || !testing.Short() && got != want {
		t.Errorf("the counts changed; if that is meant, run the test with -update and make new keys\ngot:\n%swant:\n%s",
			got, want)
	}
}

func hashOf(t *testing.T, system *cs.R1CS) string {
	t.Helper()
	h := sha256.New()
	_, err := system.WriteTo(h)
	fatalIf(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// compareHashes compares compiled circuits with compiled.json.
func compareHashes(t *testing.T, got map[string]string) {
	t.Helper()
	if *update {
		text, err := json.MarshalIndent(got, "", "  ")
		if err == nil {
			err = os.WriteFile("compiled.json", append(text, '\n'), 0o644)
		}
		fatalIf(t, err)
		return
	}
	want, err := compiledHashes()
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("the compiled circuits changed (%v); run the test with -update\ngot:  %v\nwant: %v", err, got, want)
	}
}
