package prover

import (
	"context"
	"crypto/sha1"
	"fmt"

	"cratelog/opening"
	"cratelog/prover/git"
)

// Opening returns the opening of the plan's claim: its git objects as they are, and the commit's
// Cargo.lock if the claim names it. They hold the names
// of all that stands in the directories on the crate's paths, and the whole commit; so it is for
// source that is public. The errors are those of opening.Make.
func (p *Plan) Opening() ([]byte, error) {
	objects := make([][]byte, len(p.objects), len(p.objects)+1)
	for i, o := range p.objects {
		objects[i] = o.Data
	}
	if p.Claim.Lock != nil {
		objects = append(objects, git.Object{Type: git.TypeBlob, Content: p.lock}.Encode())
	}
	return opening.Make(objects, p.Claim, p.List)
}

// Public returns nil if anybody can fetch all commits of the plan, as ask, which is git.Public,
// finds out now: that of the claim from the repository at the URL, and that of each submodule from
// the one that module names for its path. Else the error says why the source has to be taken for
// private.
func (p *Plan) Public(ctx context.Context, url string, module func(path string) string,
	ask func(ctx context.Context, url string, commit [20]byte) error) error {
	for i, o := range p.List.Objects {
		if !o.Commit {
			continue
		}
		from := url
		if i > 0 {
			from = module(o.Path)
		}
		if err := ask(ctx, from, sha1.Sum(p.objects[i].Data)); err != nil { // which was read with care
			if i > 0 {
				err = fmt.Errorf("the submodule at %s: %w", o.Path, err)
			}
			return err
		}
	}
	return nil
}
