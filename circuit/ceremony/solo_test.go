package ceremony

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"cratelog/proofcheck"
)

func TestOneOperatorMakesKeysWhoseProofsHold(t *testing.T) { each(t, oneOperatorMakesKeys) }

func oneOperatorMakesKeys(t *testing.T) {
	var ids [2][32]byte
	for i := range ids {
		var program, key bytes.Buffer
		p, err := solo(t.Context(), "Example Org", current.circuit, current.compile(false), &program, &key, nil)
		fatalIf(t, err)
		got := checkExport(t, program.Bytes(), key.Bytes())
		if ids[i] = got.ID(); ids[i] != p.ID() || got.ProvingKey != p.ProvingKey || got.Origin != "solo: Example Org" ||
			got.Solo() != "Example Org" || got.Development() {
			t.Errorf("the program is %v, the file's is %v", p, got)
		}
	}
	if ids[0] == ids[1] {
		t.Error("two setups have the same secrets")
	}
}

func TestASoloSetupThatCannotBeLeavesNothing(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, c := range map[string]struct {
		ctx  context.Context
		who  string
		of   Circuit
		want string
	}{
		"no name":         {t.Context(), "", Source(4), "is no name"},
		"a sly name":      {t.Context(), "us -- audited", Source(4), "is no name"},
		"a long name":     {t.Context(), strings.Repeat("n", 65), Build(), "at most 64"},
		"no block":        {t.Context(), "us", Source(0), "1 to 256 blocks"},
		"too many blocks": {t.Context(), "us", Source(MaxBlocks + 1), "1 to 256 blocks"},
		"no depth":        {t.Context(), "us", Circuit{Claim: proofcheck.ClaimBuild}, "of depth 10, not 0"},
		"no claim":        {t.Context(), "us", Circuit{}, "no circuit for the claim"},
		"stopped":         {stopped, "us", Build(), "canceled"},
	} {
		var program, key bytes.Buffer
		_, err := solo(c.ctx, c.who, c.of, current.compile(false), &program, &key, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || program.Len() > 0 || key.Len() > 0 {
			t.Errorf("%s: %v, and %d bytes", name, err, program.Len()+key.Len())
		}
	}
}

// Nobody's name makes a key one of another kind.
func TestASoloKeyIsCalledOne(t *testing.T) {
	var program, key bytes.Buffer
	p, err := solo(t.Context(), proofcheck.OriginDevelopment, current.circuit, current.compile(false), &program, &key, nil)
	fatalIf(t, err)
	if p.Development() || p.Solo() != proofcheck.OriginDevelopment {
		t.Errorf("the origin is %q", p.Origin)
	}
	if _, err := solo(t.Context(), "ceremony:"+strings.Repeat("ab", 20), current.circuit, current.compile(false), &program, &key, nil); err == nil {
		t.Error("a name with a colon is taken")
	}
}
