package verdict

import (
	"os"
	"strings"
	"testing"

	"cratelog/client"
)

func TestTheDocsExplainEveryReason(t *testing.T) {
	text, err := os.ReadFile("../../docs/cargo.md")
	fatalIf(t, err)
	for _, s := range slugs {
		if !strings.Contains(string(text), "`"+s.slug+"`") {
			t.Errorf("docs/cargo.md does not explain the reason %q", s.slug)
		}
	}
}

func TestTheExampleOfATrustFileIsOne(t *testing.T) {
	text, err := os.ReadFile("../../config/trust.example.policy")
	fatalIf(t, err)
	p, err := client.ParsePolicy(text)
	fatalIf(t, err)
	if len(p.Logs()) != 1 || p.Logs()[0].URL == "" || len(p.Witnesses()) != 3 || !p.NeedsWitnesses() {
		t.Error("it does not show what it explains")
	}
}
