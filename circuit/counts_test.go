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
)

var update = flag.Bool("update", false, "write testdata/counts.csv and compiled.json")

// TestConstraintCounts compares the circuits' sizes with testdata/counts.csv, so
// that none changes unnoticed: another circuit is another program with other keys.
// With -short the smallest class stands for all.
func TestConstraintCounts(t *testing.T) {
	var b strings.Builder
	b.WriteString("circuit,constraints\n")
	number := func(n int, err error) int {
		fatalIf(t, err)
		return n
	}
	one, two := number(SHA1Constraints(1)), number(SHA1Constraints(2))
	fmt.Fprintf(&b, "sha1 first block and tables,%d\n", one)
	fmt.Fprintf(&b, "sha1 each further block,%d\n", two-one)
	fmt.Fprintf(&b, "source %d blocks,%d\n", small.Blocks, number(Constraints(small)))
	hashes := make(map[string]string)
	classes := []Capacity{Class64, Class128, Class512}
	if testing.Short() {
		classes = classes[:1]
	}
	for _, c := range classes {
		system := compile(t, NewSource(c))
		fmt.Fprintf(&b, "source %d blocks,%d\n", c.Blocks, system.GetNbConstraints())
		h := sha256.New()
		if _, err := system.WriteTo(h); err != nil {
			t.Fatal(err)
		}
		hashes[c.name()] = hex.EncodeToString(h.Sum(nil))
	}
	compareHashes(t, hashes)

	if *update {
		fatalIf(t, os.WriteFile(countsFile, []byte(b.String()), 0o644))
	}
	text, err := os.ReadFile(countsFile)
	fatalIf(t, err)
	want := string(text)
	if got := b.String(); !strings.HasPrefix(want, got) || !testing.Short() && got != want {
		t.Errorf("the counts changed; if that is meant, run the test with -update and make new keys\ngot:\n%swant:\n%s", &b, want)
	}
}

const countsFile = "testdata/counts.csv"

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
	all, err := compiledHashes()
	want := maps.Clone(all)
	if testing.Short() {
		maps.DeleteFunc(want, func(name, _ string) bool { return got[name] == "" })
	}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("the compiled circuits changed (%v); run the test with -update\ngot:  %v\nwant: %v", err, got, want)
	}
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
