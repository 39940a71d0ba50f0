package verdict

import (
	"fmt"
	"math/big"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/entry"
	"cratelog/internal/testlog"
)

// Real proofs of hidden members, whose program the policy accepts in development.
func TestHiddenMembersAreCountedByTheirProofs(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys and proofs")
	}
	w := newWorkshop(t, options{})
	keys, err := membership.DevelopmentKeys()
	fatalIf(t, err)
	w.set = &build.Set{Kind: build.Hidden, Name: "quiet"}
	var secrets []build.Secret
	for i := range 5 {
		secrets = append(secrets, testlog.Must(build.NewSecret()))
		w.set.Members = append(w.set.Members, build.Member{Name: fmt.Sprintf("h%d", i), Contact: "x",
			Public: secrets[i].Public()})
	}
	prove := func(member int, change func(*entry.Build)) *entry.Entry {
		claim := w.claim
		if change != nil {
			change(&claim)
		}
		return testlog.Must(membership.Prove(t.Context(), keys, w.set.Leaves(), member, secrets[member], w.app, &claim))
	}
	ask := func(lines string) (*Built, error) {
		w.policy(lines)
		return w.ask()
	}
	w.unsay(0)
	for i := range 3 {
		w.builds = append(w.builds, w.add(prove(i, nil)))
	}
	w.builds = append(w.builds, w.add(prove(1, nil))) // another proof of the same member
	b, err := ask("need = 3\n")
	fatalIf(t, err)
	saysAll(t, b, "3 of 5 of set quiet say so\n", "shows no other result")
	if _, err = ask("need = 4\n"); err == nil {
		t.Error("two proofs of one member count twice")
	}
	notBuilt(t, err, Violation, "too-few", "3 of 5 of set quiet")

	for name, change := range map[string]func(e *entry.Entry, b *entry.Build){
		"Tag + r": func(_ *entry.Entry, b *entry.Build) {
			sum := new(big.Int).Add(new(big.Int).SetBytes(b.Tag[:]), fr.Modulus())
			sum.FillBytes(b.Tag[:])
		},
		"another tag":    func(_ *entry.Entry, b *entry.Build) { b.Tag[31] ^= 1 },
		"another result": func(_ *entry.Entry, b *entry.Build) { b.Artifact[0] ^= 1 },
		"another request": func(_ *entry.Entry, b *entry.Build) {
			b.Toolchain[0] ^= 1
		},
		"another share": func(e *entry.Entry, _ *entry.Build) { e.Proof.Parts[0][31] ^= 1 },
	} {
		e := prove(3, nil)
		change(e, e.Claim.(*entry.Build))
		w.unsay(4)
		w.builds = append(w.builds, w.add(e))
		_, err := ask("need = 3\n")
		notBuilt(t, err, Violation, "proof", fmt.Sprintf("entry %d of log.example/builds, a member's of the set "+
			"quiet", w.builds[4]))
		if err == nil {
			t.Errorf("%s is believed", name)
		}
	}
	w.unsay(4)
	w.builds = append(w.builds, w.add(prove(3, func(b *entry.Build) { b.Artifact[0] ^= 1 })))
	_, err = ask("need = 3\n")
	notBuilt(t, err, Violation, "dissent", "3 of 5", "and 1 say")
	b, err = ask("need = 3\ntolerate = 1\n")
	fatalIf(t, err)
	saysAll(t, b, "1 say otherwise, which the policy tolerates")
}
