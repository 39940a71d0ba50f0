package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/build/membership"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/entry"
	"cratelog/evidence"
	"cratelog/log"
)

// builders are two sets of builders: four with names, and eight who stay hidden.
type builders struct {
	named   *build.Set
	keys    []ed25519.PrivateKey
	hidden  *build.Set
	secrets []build.Secret
}

func newBuilders() (b *builders, err error) {
	b = &builders{named: &build.Set{Kind: build.Named, Name: "rebuilders"},
		hidden: &build.Set{Kind: build.Hidden, Name: "quiet-rebuilders"}}
	for _, name := range []string{"alpha", "beta", "gamma", "delta"} {
		public, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		vkey, err := build.NewVKey(name+".example", public)
		if err != nil {
			return nil, err
		}
		b.keys = append(b.keys, key)
		b.named.Members = append(b.named.Members, build.Member{Name: vkey.Name, Contact: "https://" + vkey.Name,
			VKey: vkey.String()})
	}
	for i := range 8 {
		secret, err := build.NewSecret()
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("member%d.example", i+1)
		b.secrets = append(b.secrets, secret)
		b.hidden.Members = append(b.hidden.Members, build.Member{Name: name, Contact: "https://" + name,
			Public: secret.Public()})
	}
	return b, nil
}

// The demonstration compiles nothing: compiler and sandbox are names, and the binary is a text.
var (
	toolchain   = sha256.Sum256([]byte("the demonstration's compiler\n"))
	environment = sha256.Sum256([]byte("the demonstration's sandbox\n"))
	binary      = []byte("the program hello-tool\n")
)

func (b *builders) settings() log.Builds {
	return log.Builds{Sets: []*build.Set{b.named, b.hidden}, Toolchains: [][32]byte{toolchain},
		Environments: [][32]byte{environment}}
}

// claim is what a builder says of a binary.
func (c crateFiles) claim(artifact []byte) (s entry.Subject, claim *entry.Build, err error) {
	e, err := entry.Parse(c.entry)
	if err != nil {
		return s, nil, err
	}
	return e.Subject, &entry.Build{Binary: "hello-tool", Target: "x86_64-unknown-linux-gnu",
		Artifact:  sha256.Sum256(artifact),
		Toolchain: toolchain, Environment: environment, Recipe: entry.Recipe1, Lock: sha256.Sum256(c.lock),
		Compiled: build.List(nil).Digest()}, nil
}

// attest has a builder of the named set say what came out, and returns the entry's index.
func (s *story) attest(c crateFiles, builder int, artifact []byte) (string, error) {
	subject, claim, err := c.claim(artifact)
	if err != nil {
		return "", err
	}
	m := s.b.named.Members[builder]
	e, err := build.Sign(s.b.keys[builder], m.VKey, s.b.named, subject, claim)
	if err != nil {
		return "", err
	}
	return s.submitBuild(e, m.Name+" says "+short(claim.Artifact))
}

func (s *story) attestHidden(c crateFiles, builder int, artifact []byte) (string, error) {
	subject, claim, err := c.claim(artifact)
	if err != nil {
		return "", err
	}
	keys, err := membership.DevelopmentKeys()
	if err != nil {
		return "", err
	}
	e, err := membership.Prove(s.ctx, keys, s.b.hidden.Leaves(), builder, s.b.secrets[builder], subject, claim)
	if err != nil {
		return "", err
	}
	return s.submitBuild(e, "One of 8 says "+short(claim.Artifact)+", in a proof of 160 bytes")
}

func (s *story) submitBuild(e *entry.Entry, said string) (string, error) {
	b, err := e.Marshal()
	if err != nil {
		return "", err
	}
	bundle, err := s.log().SubmitBuild(s.ctx, b, build.List(nil).Marshal(), nil)
	if err != nil {
		return "", err
	}
	p, err := client.ParseBundle(bundle)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: entry %d.", said, p.Index), nil
}

func short(sum [32]byte) string { return fmt.Sprintf("%x...", sum[:4]) }

// ask is what a user does with a binary from anywhere: is it what enough builders of a set make of the crate?
func (s *story) ask(c crateFiles, set *build.Set, content []byte) (string, error) {
	text, err := set.Marshal()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.dir, "user-of-"+set.Name)
	settings := fmt.Sprintf("version = 1\ntrust = [%q]\ndevelopment = true\n\n[builds]\nset = "+
		"\"builders.set\"\ndigest = \"%x\"\nneed = 2\ntoolchains = [\"%x\"]\nenvironments = [\"%x\"]\n", s.w.File,
		set.Digest(), toolchain, environment)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "builders.set"), text, 0o644),
		os.WriteFile(filepath.Join(dir, policy.FileName), []byte(settings), 0o644)); err != nil {
		return "", err
	}
	p, err := policy.Load(filepath.Join(dir, policy.FileName), "")
	if err != nil {
		return "", err
	}
	checker, err := verdict.New(verdict.Config{Policy: p, Cache: filepath.Join(dir, "cache"),
		State: filepath.Join(dir, "state")})
	if err != nil {
		return "", err
	}
	q := verdict.Binary{SHA256: sha256.Sum256(content), Package: policy.Package{Name: "hello-tool", Version: "0.1.0"},
		Crate: func(context.Context, build.Crate) ([]byte, error) { return c.crate, nil }}
	if q.Joined, err = checker.Join(s.ctx, q); err != nil {
		return "", err
	}
	built, err := checker.Build(s.ctx, q)
	if err != nil {
		return "", err
	}
	return "Accepted: " + strings.Join(built.Says(), ";\n") + ".", nil
}

// build tells of builders who agree, and of some who do not.
func (s *story) build() {
	tool, err := load("hello-tool-0.1.0")
	if err == nil {
		tool.lock, err = tool.read("Cargo.lock")
	}
	if err != nil {
		s.step("Read the embedded program.", func() (string, error) { return "", err })
		return
	}
	s.say("\nNow a binary. The demonstration compiles nothing: the binary is a text (cargo zkp rebuild makes real " +
		"ones).")
	s.step("A publisher logs the program hello-tool 0.1.0, and two of four builders rebuild it and say what came out.",
		func() (string, error) {
			if _, err := s.log().Submit(s.ctx, tool.entry, tool.crate, nil); err != nil {
				return "", err
			}
			return both(func(i int) (string, error) { return s.attest(tool, i, binary) })
		})
	s.step("A user gets the binary from somebody, and asks for two builders.", func() (string, error) {
		return s.ask(tool, s.b.named, binary)
	})
	s.step("Two builders of another set say the same in zero knowledge: nobody learns which two.", func() (string,
		error) {
		begin := time.Now()
		if _, err := membership.DevelopmentKeys(); err != nil {
			return "", err
		}
		made := time.Since(begin)
		said, err := both(func(i int) (string, error) { return s.attestHidden(tool, 5-3*i, binary) })
		if err != nil {
			return "", err
		}
		accepted, err := s.ask(tool, s.b.hidden, binary)
		return fmt.Sprintf("The key is made in %d ms.\n%s\n%s", made.Milliseconds(), said, accepted), err
	})
	s.step("The binary has one byte changed.", func() (string, error) {
		evil := append([]byte(nil), binary...)
		evil[0] ^= 1
		_, err := s.ask(tool, s.b.named, evil)
		return refused(err, verdict.ErrAnotherBinary)
	})
	s.step("The compiler of a third builder, gamma, was tampered with, and it dissents: whoever tolerates no "+
		"dissent accepts the binary no more.", func() (string, error) {
		said, err := s.attest(tool, 2, []byte("with a back door\n"))
		if err != nil {
			return "", err
		}
		_, err = s.ask(tool, s.b.named, binary)
		text, err := refused(err, verdict.ErrDissent)
		return said + "\n" + text, err
	})
	s.step("A fourth builder, delta, says one thing and then another.", func() (string,
		error) {
		return s.contradict(tool)
	})
	s.watchBuilders()
}

func both(attest func(i int) (string, error)) (string, error) {
	first, err1 := attest(0)
	second, err2 := attest(1)
	return first + "\n" + second, errors.Join(err1, err2)
}

// contradict has the fourth builder contradict itself, and everybody learn who it is.
func (s *story) contradict(tool crateFiles) (string, error) {
	said, err := s.attest(tool, 3, binary)
	if err != nil {
		return "", err
	}
	_, err = s.attest(tool, 3, []byte("with a back door\n"))
	text, err := refusedByLog(err, "builder-contradiction")
	if err != nil {
		return "", err
	}
	files, err := s.log().Contradictions(s.ctx, 0, 1)
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", errors.New("the log publishes no evidence")
	}
	e, err := evidence.Parse(files[0].File)
	if err != nil {
		return "", err
	}
	c, err := evidence.Verify(e, evidence.Keys{}, s.w.Proofs)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s\n%s\nAnd the log publishes the evidence, which convicts %s.", said, text, c.Who), nil
}
