package proofcheck

import (
	"strings"
	"testing"
)

func TestAnOriginHasOneSpelling(t *testing.T) {
	hash := strings.Repeat("0f", 32)
	long := strings.Repeat("n", maxSolo)
	for _, origin := range []string{OriginDevelopment, "solo: Example Org", "solo: ops@example.org", "solo: " + long,
		"ceremony:" + hash, "ceremony:" + hash + " ptau:" + hash, CeremonyOrigin([32]byte{1}, ""), CeremonyOrigin([32]byte{1}, hash)} {
		if err := checkOrigin(origin); err != nil {
			t.Errorf("%q: %v", origin, err)
		}
	}
	for _, origin := range []string{"", "test", "Development", "development ", " development", "solo", "solo:", "solo: ", "solo:x",
		"Solo: x", "solo:  x", "solo: x ", "solo: x  y", "solo: x -- anyone may check", "solo: x\ny", "solo: x\ty", "solo: \x1b[1mx",
		"solo: é", "solo: <b>", "solo: x;y", "solo: .x", "solo: x.", "solo: " + long + "n", "ceremony", "ceremony:", "ceremony:ab",
		"ceremony: " + hash, "ceremony:" + strings.ToUpper(hash), "ceremony:" + hash + hash, "ceremony:" + hash + " ",
		"ceremony:" + hash + " ptau:", "ceremony:" + hash + " ptau:ab", "ceremony:" + hash + " ptau:" + hash + " ptau:" + hash,
		"ceremony:" + hash + "\n"} {
		if err := checkOrigin(origin); err == nil || !strings.HasPrefix(err.Error(), "program: ") {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func TestWhatAnOriginMeansIsSaid(t *testing.T) {
	origin, err := SoloOrigin("Example Org")
	if err != nil {
		t.Fatal(err)
	}
	for of, want := range map[string]string{
		origin:            "solo: Example Org -- whoever ran it could forge; nobody else",
		OriginDevelopment: "development -- anyone could forge",
		"ceremony:ab":     "ceremony:ab",
	} {
		if got := (Program{Origin: of}).Trust(); got != want {
			t.Errorf("%q: %q", of, got)
		}
	}
	if (Program{Origin: OriginDevelopment}).Solo() != "" || (Program{Origin: origin}).Solo() != "Example Org" ||
		(Program{Origin: origin}).Development() {
		t.Error("one kind of origin is taken for another")
	}
}
