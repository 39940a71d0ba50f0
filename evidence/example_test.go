package evidence_test

import (
	"fmt"
	"log"

	"cratelog/evidence"
)

// Whoever knows the log's key needs nothing else to see that it told two histories.
func ExampleVerify() {
	e, err := evidence.Read("testdata/fork-prefix.evidence")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := evidence.NewKeys([]string{"example.com/log+53cda89b+AWm7K6dmcJ3xXPHitwKvbeQX65uN/qWU2bzSZH+QW3wM"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	c, err := evidence.Verify(e, keys, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Kind, "convicts", c.Who)
	// Output: fork-prefix convicts log example.com/log
}
