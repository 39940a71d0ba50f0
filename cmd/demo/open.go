package main

import (
	"bytes"
	"fmt"
	"strings"

	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/opening"
)

// open has a reader take the opening that the log serves, and believe neither proof nor key.
func (s *story) open(c crateFiles) {
	s.step("Another user believes no key, and asks the log for the opening: the commit and its trees as they are.",
		func() (string, error) {
			e, err := entry.Parse(c.entry)
			if err != nil {
				return "", err
			}
			id, err := e.Identity()
			if err != nil {
				return "", err
			}
			raw, err := s.log().Opening(s.ctx, id)
			if err != nil {
				return "", err
			}
			list, err := claimed(e, c.crate)
			if err != nil {
				return "", err
			}
			o, err := opening.Check(raw, e.Claim.(*entry.Source), list)
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("Accepted, by SHA-1 alone: %d bytes show every file of the crate in the commit.\n"+
				"In the commit and not in the crate: %s.", len(raw), strings.Join(o.LeftOut, ", ")), nil
		})
}

// read returns a file of the .crate.
func (c crateFiles) read(path string) (content []byte, err error) {
	e, err := entry.Parse(c.entry)
	if err != nil {
		return nil, err
	}
	x, err := crate.Read(c.crate, e.Subject.Name, e.Subject.Version, crate.DefaultLimits)
	if err != nil {
		return nil, err
	}
	err = x.Contents([]string{path}, 1<<20, func(_ crate.File, b []byte) { content = bytes.Clone(b) })
	return content, err
}

// claimed lists what an entry says of a .crate, which is compared with it.
func claimed(e *entry.Entry, raw []byte) (*crate.List, error) {
	c, err := crate.Read(raw, e.Subject.Name, e.Subject.Version, crate.DefaultLimits)
	if err != nil {
		return nil, err
	}
	return c.Check(e.Subject, e.Claim.(*entry.Source))
}

// attackKeys shows what an opening is for: a proof that verifies, and is false.
func (s *story) attackKeys(c crateFiles) {
	s.step("An attacker with the secrets of the key, which everybody has of this one, forges a proof that a crate "+
		"with a back door is that commit's. The proof holds. The reader looks into the opening.", func() (string,
		error) {
		e, list, err := s.forgery(c)
		if err != nil {
			return "", err
		}
		if err := entry.Check(s.w.Proofs, e, list.Bytes); err != nil {
			return "", fmt.Errorf("the forged proof does not hold, so this shows nothing: %w", err)
		}
		_, err = opening.Check(c.opening, e.Claim.(*entry.Source), list)
		return refused(err, opening.ErrContradiction)
	})
}

// forgery returns an entry about a changed .crate with a proof that holds.
func (s *story) forgery(c crateFiles) (*entry.Entry, *crate.List, error) {
	evil, err := backDoor(c.crate)
	if err != nil {
		return nil, nil, err
	}
	e, err := entry.Parse(c.entry)
	if err != nil {
		return nil, nil, err
	}
	if e, err = forge.Claim(evil, e.Subject.Name, e.Subject.Version, e.Claim.(*entry.Source)); err != nil {
		return nil, nil, err
	}
	list, err := claimed(e, evil)
	if err != nil {
		return nil, nil, err
	}
	f, err := forge.Default()
	if err == nil {
		err = f.Prove(e, list.Bytes)
	}
	return e, list, err
}

// backDoor adds a line to a .crate's library.
func backDoor(raw []byte) ([]byte, error) {
	return forge.Repack(raw, func(name string, content []byte) (string, []byte) {
		if strings.HasSuffix(name, "src/lib.rs") {
			content = append(content, "\n// and a back door\n"...)
		}
		return name, content
	})
}
