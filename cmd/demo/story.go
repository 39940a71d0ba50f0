package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/testdata"
)

// story tells the demonstration, and counts what did not behave.
type story struct {
	ctx           context.Context
	w             *loopback.World
	m             *watch
	b             *builders
	dir           string
	out           io.Writer
	steps, failed int
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// step runs one step and says how it went: f returns a sentence, or what went wrong.
func (s *story) step(title string, f func() (string, error)) {
	s.steps++
	s.say("\n%d. %s", s.steps, title)
	begin := time.Now()
	text, err := f()
	if err != nil {
		s.failed++
		s.say("   WRONG: %v", err)
		return
	}
	s.say("   %s (%.0f ms)", strings.ReplaceAll(text, "\n", "\n   "), float64(time.Since(begin).Microseconds())/1000)
}

// crateFiles are a .crate of testdata, its entry, its opening if it has one, and its Cargo.lock if that was read.
type crateFiles struct{ crate, entry, opening, lock []byte }

func load(name string) (c crateFiles, err error) {
	if c.crate, err = testdata.Files.ReadFile(name + ".crate"); err != nil {
		return c, err
	}
	c.entry, err = testdata.Files.ReadFile(name + ".entry")
	return c, err
}

func (s *story) log() *client.Log { return &client.Log{URL: s.w.URL, UserAgent: "cratelog-demo"} }

func (s *story) verify(crate, bundle []byte) (*client.Result, error) {
	return client.Verify(crate, bundle, s.w.Policy, s.w.Proofs, client.DefaultRules())
}

// refused turns the error of an attack into the step's sentence.
func refused(err, want error) (string, error) {
	switch {
	case err == nil:
		return "", errors.New("the attack was not refused")
	case want != nil && !errors.Is(err, want):
		return "", fmt.Errorf("refused for another reason than expected: %w", err)
	}
	return "Refused: " + err.Error(), nil
}

// refusedByLog is refused for an answer of the log with a reason.
func refusedByLog(err error, reason string) (string, error) {
	var answer *client.SubmitError
	if errors.As(err, &answer) && answer.Reason != reason {
		return "", fmt.Errorf("refused with reason %q instead of %q: %w", answer.Reason, reason, err)
	}
	return refused(err, nil)
}

func (s *story) tell() {
	first, err1 := load("hello-proof-0.1.0")
	next, err2 := load("hello-proof-0.1.1")
	again, err3 := load("hello-proof-0.1.0-repacked")
	inner, err4 := load("hello-inner-0.1.0")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		s.step("Read the embedded crates.", func() (string, error) { return "", err })
		return
	}
	first.opening, err1 = testdata.Files.ReadFile("hello-proof-0.1.0.opening")
	var bundle []byte
	s.step("A publisher submits hello-proof 0.1.0 with its zero-knowledge proof and, as its repository is public, "+
		"its opening.", func() (text string, err error) {
		if err1 != nil {
			return "", err1
		}
		bundle, err = s.log().Submit(s.ctx, first.entry, first.crate, first.opening)
		if err != nil {
			return "", err
		}
		return s.describe(bundle)
	})
	s.step("And the next version, 0.1.1, without one.", func() (string, error) {
		b, err := s.log().Submit(s.ctx, next.entry, next.crate, nil)
		if err != nil {
			return "", err
		}
		return s.describe(b)
	})
	s.step("A cargo user verifies hello-proof 0.1.0 offline: the .crate, the bundle, a trust file, "+
		"and nothing else.", func() (string, error) {
		r, err := s.verify(first.crate, bundle)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("Accepted: its files are those of git commit %x.\n%s holds one checksum for %s %s, %s.", r.Commit,
			r.Checkpoint.Origin, r.Name, r.Version, r.Checkpoint.AsOf()), nil
	})
	s.open(first)
	s.watchOver()
	s.build()
	s.say("\nNow the attacks.")
	s.attackClient(first, next, bundle)
	s.attackKeys(first)
	s.attackLog(first, again, inner)
	s.attackWitnesses()
}

func (s *story) describe(bundle []byte) (string, error) {
	r, err := client.VerifyBundle(bundle, s.w.Policy, s.w.Proofs, client.DefaultRules())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("Accepted: the log verified the proof and made it entry %d of %d; %d witnesses cosigned.",
		r.Index, r.Checkpoint.Size, len(r.Checkpoint.Cosignatures)), nil
}

func (s *story) attackClient(first, next crateFiles, bundle []byte) {
	s.step("The registry serves a .crate with one line changed.", func() (string, error) {
		evil, err := backDoor(first.crate)
		if err != nil {
			return "", err
		}
		_, err = s.verify(evil, bundle)
		return refused(err, client.ErrSubject)
	})
	s.step("The registry serves another version's .crate under this one's bundle.", func() (string, error) {
		_, err := s.verify(next.crate, bundle)
		return refused(err, client.ErrSubject)
	})
	s.step("The log hands out a bundle that only one witness has cosigned.", func() (string, error) {
		_, err := s.verify(first.crate, oneCosignature(bundle))
		return refused(err, client.ErrQuorum)
	})
	s.step("The log hands out a bundle whose entry is not in its tree.", func() (string, error) {
		b, err := client.ParseBundle(bundle)
		if err != nil {
			return "", err
		}
		b.Entry = next.entry
		lie, err := b.Marshal()
		if err != nil {
			return "", err
		}
		_, err = s.verify(next.crate, lie)
		return refused(err, client.ErrInclusion)
	})
}

func (s *story) attackLog(first, again, inner crateFiles) {
	s.step("An attacker adds a dependency to the packaged Cargo.toml only, as was done to arrayref in 2026, "+
		"and forges the proof, which development keys allow.", func() (string, error) {
		return s.submitChanged(inner, "crate-refused", func(name string, content []byte) (string, []byte) {
			if strings.HasSuffix(name, "/Cargo.toml") {
				content = append(content, "\n[dependencies.proc-macro1]\nversion = \"1\"\n"...)
			}
			return name, content
		}, forged)
	})
	s.step("An attacker publishes the same files under another name, with a forged proof.", func() (string, error) {
		return s.submitChanged(inner, "crate-refused", func(name string, content []byte) (string, []byte) {
			name = strings.Replace(name, "hello-inner", "hello-1nner", 1)
			if strings.HasSuffix(name, "/Cargo.toml") {
				content = bytes.Replace(content, []byte(`"hello-inner"`), []byte(`"hello-1nner"`), 1)
			}
			return name, content
		}, func(e *entry.Entry) error {
			e.Subject.Name = "hello-1nner"
			return forged(e)
		})
	})
	s.step("An attacker moves a true proof to another .crate with the same files.", func() (string, error) {
		return s.submitChanged(inner, "proof-invalid", func(name string, content []byte) (string, []byte) {
			return name, content
		}, nil)
	})
	s.step("An attacker forges a proof out of parts of two true ones.", func() (string, error) {
		e, err := entry.Parse(inner.entry)
		if err != nil {
			return "", err
		}
		other, err := entry.Parse(again.entry)
		if err != nil {
			return "", err
		}
		copy(e.Proof.Parts[0][96:128], other.Proof.Parts[0][96:128])
		return s.submitRefused(e, inner.crate, "proof-invalid")
	})
	s.step("The publisher's account is stolen: a second hello-proof 0.1.0, "+
		"with a true proof but other bytes.", func() (string, error) {
		_, err := s.log().Submit(s.ctx, again.entry, again.crate, nil)
		return refusedByLog(err, "version-conflict")
	})
	s.step("A log takes it all the same, and all its witnesses cosign. A reader asks what the log's own index says.",
		func() (string, error) {
			bundle, err := s.twice(first.entry, again.entry)
			if err != nil {
				return "", err
			}
			_, err = s.verify(again.crate, bundle)
			return refused(err, client.ErrVoid)
		})
}

// forged gives an entry a proof that verifies, whatever it says: the secrets of the development
// keys are published.
func forged(e *entry.Entry) error {
	f, err := forge.Default()
	if err != nil {
		return err
	}
	return f.Prove(e, []byte("ct"))
}

// submitChanged submits a crate that was changed and packed again, with its entry
// changed to fit, and expects to be refused.
func (s *story) submitChanged(c crateFiles, reason string, file func(name string, content []byte) (string, []byte),
	change func(e *entry.Entry) error) (string, error) {
	evil, err := forge.Repack(c.crate, file)
	if err != nil {
		return "", err
	}
	e, err := entry.Parse(c.entry)
	if err != nil {
		return "", err
	}
	e.Subject.SHA256 = checksum(evil)
	if change != nil {
		if err := change(e); err != nil {
			return "", err
		}
	}
	return s.submitRefused(e, evil, reason)
}

func (s *story) submitRefused(e *entry.Entry, crate []byte, reason string) (string, error) {
	b, err := e.Marshal()
	if err != nil {
		return "", err
	}
	_, err = s.log().Submit(s.ctx, b, crate, nil)
	return refusedByLog(err, reason)
}

// attackWitnesses plays a log that shows two histories.
func (s *story) attackWitnesses() {
	var forged []byte
	s.step("The log forks: it signs another tree of the same size "+
		"and asks its witnesses for cosignatures.", func() (string, error) {
		signed, err := s.log().Checkpoint(s.ctx)
		if err != nil {
			return "", err
		}
		cp, err := s.w.Policy.CheckCheckpoint(signed)
		if err != nil {
			return "", err
		}
		cp.Root[0] ^= 1
		forged, err = note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", cp.Origin, cp.Size, cp.Root)}, s.w.Signer)
		if err != nil {
			return "", err
		}
		var lines []string
		for _, w := range s.w.Witnesses {
			answer, err := s.askWitness(w, cp.Size, forged)
			if err != nil {
				return "", err
			}
			lines = append(lines, answer)
		}
		return strings.Join(lines, "\n"), nil
	})
	s.attackMonitor(forged)
}

func (s *story) ending() {
	s.say("\nLook at it (it runs until you press Ctrl-C):")
	s.say("   the log            %s/", s.w.URL)
	s.say("   its checkpoint     %s/checkpoint", s.w.URL)
	s.say("   the crate's bundle %s/v1/crates/hello-proof/0.1.0", s.w.URL)
	for _, w := range s.w.Witnesses {
		s.say("   a witness          %s/", w.URL)
	}
	s.say("   a monitor          %s/", s.m.url)
	s.say("   the trust file     %s", s.w.File)
	s.say("\nTry it:")
	s.say("   go run ./cmd/cargo-zkp verify testdata/hello-proof-0.1.0.crate --log %s --trust %s --development",
		s.w.URL, s.w.File)
}
