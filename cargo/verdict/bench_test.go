package verdict

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/forge"
)

// lockFile is a log and a machine with 300 crates of 12 files of a few kilobytes.
func lockFile(b *testing.B) (*place, []Want) {
	b.Helper()
	l := newLog(b, "log.example/a")
	p := newPlace(b, dev, l)
	f, err := forger()
	fatalIf(b, err)
	random := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("pub fn let mut self impl struct match return for in while use crate mod trait where unsafe")
	var wants []Want
	for i := range 300 {
		name := fmt.Sprintf("crate-%d", i)
		files := []forge.File{forge.Manifest(name, "1.0.0")}
		for j := range 12 {
			var text strings.Builder
			for range 600 {
				fmt.Fprintf(&text, "%s x%d ", words[random.IntN(len(words))], random.IntN(100))
			}
			files = append(files, forge.File{Path: fmt.Sprintf("src/m%d.rs", j), Content: text.String()})
		}
		raw, err := forge.Pack(name, "1.0.0", files...)
		fatalIf(b, err)
		e, err := f.Entry(raw, name, "1.0.0")
		fatalIf(b, err)
		l.add(e)
		wants = append(wants, p.want(name, "1.0.0", raw))
	}
	for _, v := range p.checker(false).All(b.Context(), wants, nil) { // bundles into the cache
		if v.Status != Verified {
			b.Fatal(v.Err)
		}
	}
	l.server.Close()
	b.ResetTimer()
	return p, wants
}

func BenchmarkFirst300(b *testing.B) {
	p, wants := lockFile(b)
	for range b.N {
		b.StopTimer()
		fatalIf(b, os.RemoveAll(filepath.Join(p.dir, "cache", "verdicts")))
		b.StartTimer()
		if got := Counts(p.checker(false).All(b.Context(), wants, nil)); got[Verified] != len(wants) {
			b.Fatal(got)
		}
	}
}

func BenchmarkAgain300(b *testing.B) {
	p, wants := lockFile(b)
	for range b.N {
		if got := Counts(p.checker(false).All(b.Context(), wants, nil)); got[Verified] != len(wants) {
			b.Fatal(got)
		}
	}
}
