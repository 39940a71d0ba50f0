package unsafekeys

import "testing"

func TestEachCircuitHasItsOwnSecrets(t *testing.T) {
	if once, again := Published(12), Published(12); once != again {
		t.Error("the secrets are others each time")
	}
	if a, b := Published(12), Published(1); a.Tau == b.Tau || a.Alpha == b.Alpha || a.Tau == a.Alpha {
		t.Error("two circuits share secrets")
	}
	if a, b := Published(10), PublishedBuild(10); a.Tau == b.Tau || a.Delta == b.Delta || b != PublishedBuild(10) {
		t.Error("a segment and a set share secrets, or the secrets are others each time")
	}
}
