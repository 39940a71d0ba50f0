package ceremony

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"cratelog/proofcheck"
)

func TestOneOperatorMakesKeysWhoseProofsHold(t *testing.T) {
	var ids [2][32]byte
	for i := range ids {
		var program, key bytes.Buffer
		p, err := solo(t.Context(), "Example Org", testBlocks, compileRoot(false), &program, &key, nil)
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
		ctx    context.Context
		who    string
		blocks int
		want   string
	}{
		"no name":         {t.Context(), "", testBlocks, "is no name"},
		"a sly name":      {t.Context(), "us -- audited", testBlocks, "is no name"},
		"a long name":     {t.Context(), strings.Repeat("n", 65), testBlocks, "at most 64"},
		"no block":        {t.Context(), "us", 0, "1 to 256 blocks"},
		"too many blocks": {t.Context(), "us", MaxBlocks + 1, "1 to 256 blocks"},
		"stopped":         {stopped, "us", testBlocks, "canceled"},
	} {
		var program, key bytes.Buffer
		_, err := solo(c.ctx, c.who, c.blocks, compileRoot(false), &program, &key, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || program.Len() > 0 || key.Len() > 0 {
			t.Errorf("%s: %v, and %d bytes", name, err, program.Len()+key.Len())
		}
	}
}

// Nobody's name makes a key one of another kind.
func TestASoloKeyIsCalledOne(t *testing.T) {
	var program, key bytes.Buffer
	p, err := solo(t.Context(), proofcheck.OriginDevelopment, testBlocks, compileRoot(false), &program, &key, nil)
	fatalIf(t, err)
	if p.Development() || p.Solo() != proofcheck.OriginDevelopment {
		t.Errorf("the origin is %q", p.Origin)
	}
	if _, err := solo(t.Context(), "ceremony:"+strings.Repeat("ab", 20), testBlocks, compileRoot(false), &program, &key, nil); err == nil {
		t.Error("a name with a colon is taken")
	}
}
