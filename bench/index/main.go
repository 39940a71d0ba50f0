// Command index measures the map of a log's leaves: how fast it is made, how large the proofs of look-ups are, half of them
// of versions that are not there, what they cost their readers, and what memory a key takes while two roots are alive,
// that of the published tree and that of a batch of changes later:
//
//	go run ./bench/index [-large]
//
// at 200,000 keys, and with -large at 2.5 million too. Each entry has two keys; a crate has ten versions, and a version
// two entries of one checksum. Beside that stands what the rows alone take, sorted in one slice, and how many keys a second
// sorting and hashing all of them again would be, which also compares the root. It fails if a proof of 99 of 100 has more
// than 1,000 bytes, or a key takes more than 400.
package main

import (
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"cratelog/entry"
	"cratelog/index"
)

const (
	mostProof  = 1000 // bytes
	mostMemory = 400  // bytes a key

	batch = 8192 // keys between the two roots
	asked = 5000 // look-ups of each kind
)

func main() {
	large := flag.Bool("large", false, "measure 2.5 million keys too")
	flag.Parse()
	sizes := []int{200_000}
	if *large {
		sizes = append(sizes, 2_500_000)
	}
	for _, n := range sizes {
		if err := run(n); err != nil {
			fmt.Fprintln(os.Stderr, "bench/index:", err)
			os.Exit(1)
		}
	}
}

// version is the i-th crate version.
func version(i int) (name, version string) {
	return fmt.Sprintf("crate-%d", i/10), fmt.Sprintf("1.%d.0", i%10)
}

// facts are those of the entry at an index.
func facts(i int) index.Facts {
	sum := func(what string, n int) [32]byte { return sha256.Sum256(binary.AppendVarint([]byte(what), int64(n))) }
	f := index.Facts{Registry: entry.DefaultRegistry, SHA256: sum("crate", i/2), Identity: sum("identity", i), Program: sum("program", 0)}
	f.Name, f.Version = version(i / 2)
	return f
}

// used is the size of what is reachable on the heap.
func used() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

func run(n int) error {
	fmt.Printf("index_keys %d keys\n", n)
	before := used()
	var m index.Map
	start, at := time.Now(), 0
	grow := func(keys int) *index.Snapshot {
		for ; m.Len() < keys; at++ {
			m.Add(uint64(at), facts(at))
		}
		return m.Snapshot()
	}
	published := grow(n - batch)
	next := grow(n)
	took := time.Since(start)
	memory := (used() - before) / float64(next.Len())
	if published.Len() == next.Len() {
		return fmt.Errorf("two roots of %d keys", next.Len())
	}
	fmt.Printf("index_build %.0f keys/s\n", float64(next.Len())/took.Seconds())
	proof, err := lookups(next, (at+1)/2)
	if err != nil {
		return err
	}
	fmt.Printf("index_memory %.0f bytes/key\n", memory)
	if err := baseline(next); err != nil {
		return err
	}
	if proof > mostProof || memory > mostMemory {
		return fmt.Errorf("a proof may have %d bytes, and a key may take %d", mostProof, mostMemory)
	}
	runtime.KeepAlive(published)
	runtime.KeepAlive(&m)
	return nil
}

// lookup is one that was asked for.
type lookup struct {
	key          index.Key
	value, proof []byte
}

// lookups asks for some of the versions that are there, of which it is given the number, and for as many that are not,
// and returns the size of the proofs.
func lookups(s *index.Snapshot, versions int) (p99 int, err error) {
	start := time.Now()
	var all []lookup
	for i := range asked {
		for _, v := range []int{i * (versions / asked), versions + i} {
			name, version := version(v)
			l := lookup{key: index.VersionKey(entry.DefaultRegistry, name, version)}
			if l.value, l.proof = s.Lookup(l.key); (l.value != nil) != (v < versions) {
				return 0, fmt.Errorf("%s %s is there: %v", name, version, l.value != nil)
			}
			all = append(all, l)
		}
	}
	prove := time.Since(start) / time.Duration(len(all))
	verify := time.Hour
	for range 9 {
		start := time.Now()
		for _, l := range all {
			if err := index.VerifyLookup(s.Root(), l.key, l.value, l.proof); err != nil {
				return 0, err
			}
		}
		verify = min(verify, time.Since(start)/time.Duration(len(all)))
	}
	slices.SortFunc(all, func(a, b lookup) int { return len(a.proof) - len(b.proof) })
	p99 = len(all[len(all)*99/100].proof)
	fmt.Printf("index_lookup_p99 %d bytes\nindex_lookup_p50 %d bytes\n", p99, len(all[len(all)/2].proof))
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	fmt.Printf("index_prove %.1f us\nindex_verify %.1f us\n", us(prove), us(verify))
	return p99, nil
}

// baseline makes the root of the rows alone.
func baseline(s *index.Snapshot) error {
	rows, size := make([]index.Row, 0, s.Len()), 0
	for r := range s.Rows(index.Prefix{}) {
		rows, size = append(rows, r), size+index.KeySize+len(r.Value)
	}
	// In another order: by the ends of the keys.
	slices.SortFunc(rows, func(a, b index.Row) int { return slices.Compare(a.Key[90:], b.Key[90:]) })
	start := time.Now()
	slices.SortFunc(rows, index.Row.Compare)
	if err := index.VerifyPrefix(s.Root(), index.Prefix{}, rows, nil); err != nil {
		return fmt.Errorf("the sorted rows make another root: %w", err)
	}
	fmt.Printf("baseline_rebuild %.0f keys/s\nbaseline_rows %.0f bytes/key\n", float64(len(rows))/time.Since(start).Seconds(),
		float64(size)/float64(len(rows)))
	return nil
}
