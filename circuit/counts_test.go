package circuit

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/counts.csv")

// TestConstraintCounts compares the circuits' sizes with testdata/counts.csv, so
// that none changes unnoticed: another circuit is another program with other keys.
func TestConstraintCounts(t *testing.T) {
	var b strings.Builder
	b.WriteString("circuit,constraints\n")
	number := func(n int, err error) int {
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	one, two := number(SHA1Constraints(1)), number(SHA1Constraints(2))
	fmt.Fprintf(&b, "sha1 first block and tables,%d\n", one)
	fmt.Fprintf(&b, "sha1 each further block,%d\n", two-one)
	fmt.Fprintf(&b, "source %d blocks,%d\n", small.Blocks, number(Constraints(small)))
	for _, c := range []Capacity{Class64, Class128, Class512} {
		fmt.Fprintf(&b, "source %d blocks,%d\n", c.Blocks, number(Constraints(c)))
	}

	const file = "testdata/counts.csv"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the counts changed; if that is meant, run the test with -update and make new keys\ngot:\n%swant:\n%s", &b, want)
	}
}
