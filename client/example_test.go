package client_test

import (
	"errors"
	"fmt"
	"log"
	"time"

	"cratelog/client"
	"cratelog/internal/testlog"
	"cratelog/proofcheck"
	"cratelog/testdata"
)

// A reader who has a .crate and its bundle verifies it offline: whom to believe stands in
// the trust file, and which programs' proofs count is the verifier's to say.
func ExampleVerify() {
	archive, bundle, trust, err := published("hello-proof-0.1.0")
	if err != nil {
		log.Fatal(err)
	}

	policy, err := client.ParsePolicy(trust)
	if err != nil {
		log.Fatal(err)
	}
	proofs, err := proofcheck.Load(nil, true) // UNSAFE development keys too
	if err != nil {
		log.Fatal(err)
	}
	rules := client.DefaultRules()
	rules.Name, rules.Version = "hello-proof", "0.1.0" // what was asked for
	result, err := client.Verify(archive, bundle, policy, proofs, rules)
	if err != nil {
		log.Fatal(err) // a sentence with the cause and the remedy
	}
	fmt.Printf("%s %s is the source of commit %x\n", result.Name, result.Version, result.Commit)
	// Output: hello-proof 0.1.0 is the source of commit 3d2f8e07b9c8d4d70faa6b171aaa3af4e147eb06
}

// published returns a crate of testdata, the bundle of a log that holds it alone, and the
// trust file of the log's readers.
func published(name string) (archive, bundle, trust []byte, err error) {
	archive, err1 := testdata.Files.ReadFile(name + ".crate")
	leaf, err2 := testdata.Files.ReadFile(name + ".entry")
	l := testlog.New("log.example", 1, time.Now)
	l.Tree.Append(leaf)
	checkpoint := l.Publish()
	return archive, l.Tree.Bundle(0, 2, checkpoint), l.Trust("https://log.example"), errors.Join(err1, err2)
}
