package entry_test

import (
	"fmt"
	"log"

	"cratelog/entry"
)

func Example() {
	e := &entry.Entry{
		Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: "hello-proof", Version: "0.1.0", SHA256: [32]byte{0xc0}},
		Claim:   &entry.Source{Commit: [20]byte{0x3d}, Path: "crates/hello-proof", Unproven: []string{"Cargo.lock"}},
		Proof:   entry.Proof{Program: [32]byte{0x70}, Parts: [][]byte{{1, 2, 3}}},
	}
	leaf, err := e.Marshal()
	if err != nil {
		log.Fatal(err)
	}
	again, err := entry.Parse(leaf)
	if err != nil {
		log.Fatal(err)
	}
	source := again.Claim.(*entry.Source)
	fmt.Printf("%s %s: %s of commit %x..., without proof: %q\n",
		again.Subject.Name, again.Subject.Version, source.Path, source.Commit[:1], source.Unproven)
	// Output: hello-proof 0.1.0: crates/hello-proof of commit 3d..., without proof: ["Cargo.lock"]
}
