package policy_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"cratelog/cargo/policy"
)

const organization = `
version = 1
development = true
trust = ["trust.policy"]
require = ["serde", "our-*"]

[[exception]]
crate = "our-generator"
reason = "its repository moves this month"
expires = "2027-01-31"
`

const trusted = `log example.com/log+53cda89b+AWm7K6dmcJ3xXPHitwKvbeQX65uN/qWU2bzSZH+QW3wM
witness w1 w1.example+2a6127c1+BO3Bkgc0emtY7g31UGxaSs/xKfgRW9Re2zlpHB+rzSmj
quorum w1
`

// An organization asks for proofs of two kinds of crates, and excepts one for a while.
func ExamplePolicy_Resolve() {
	dir, err := os.MkdirTemp("", "policy-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, policy.FileName)
	for name, text := range map[string]string{path: organization, filepath.Join(dir, "trust.policy"): trusted} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			log.Fatal(err)
		}
	}

	p, err := policy.Load(path, "")
	if err != nil {
		log.Fatal(err)
	}
	locked := []policy.Package{{Name: "serde", Version: "1.0.228"}, {Name: "itoa", Version: "1.0.18"}, {Name: "our-generator", Version: "0.3.0"}}
	for _, d := range p.Resolve(nil, locked, time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)).Demands {
		fmt.Printf("%s %s: %s\n", d.Name, d.Version, d.Status)
	}
	// Output:
	// serde 1.0.228: required
	// itoa 1.0.18: not asked
	// our-generator 0.3.0: excepted
}
