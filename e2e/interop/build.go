package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	torchwoodModule = "filippo.io/torchwood@v0.9.1-0.20260706112420-c22a68158d96"
	sunlightModule  = "filippo.io/sunlight@v0.9.0"
	tesseraModule   = "github.com/transparency-dev/tessera@v1.0.4"
	omniModule      = "github.com/transparency-dev/witness@v0.0.0-20260720115447-2e1c6971d19e"
	merkleModule    = "github.com/transparency-dev/merkle@v0.0.2"
	formatsModule   = "github.com/transparency-dev/formats@v0.1.1"
)

// A foreign program is one that others wrote. Some need a module that cannot be had; prepare then
// puts another one in its place, which lacks nothing that the program does here.
type foreign struct {
	name, module, pkg string
	prepare           func(ctx context.Context, b *builder, dir string) (replace string, err error)
}

var foreigners = []foreign{
	{"litewitness", torchwoodModule, "cmd/litewitness", nil},
	{"witnessctl", torchwoodModule, "cmd/witnessctl", withoutSigsum},
	{"litebastion", torchwoodModule, "cmd/litebastion", nil},
	{"sunlight", sunlightModule, "cmd/sunlight", nil},
	{"sunlight-keygen", sunlightModule, "cmd/sunlight-keygen", nil},
	{"omniwitness", omniModule, "cmd/omniwitness", withSubtrees},
	{"omniwitness-keys", omniModule, "cmd/generate_keys", withSubtrees},
	{"loadtest", omniModule, "cmd/loadtest", withSubtrees},
	{"fsck", tesseraModule, "cmd/fsck", nil},
	{"mirror", tesseraModule, "cmd/experimental/mirror/posix", nil},
	{"posix-oneshot", tesseraModule, "cmd/examples/posix-oneshot", withNewFormats},
}

// builder builds programs in a directory outside of the repository.
type builder struct {
	dir    string
	reason map[string]string // why a program is not there
}

func (b *builder) path(program string) string { return filepath.Join(b.dir, "bin", program) }

// has says whether all these programs were built, or else why not.
func (b *builder) has(programs ...string) error {
	for _, p := range programs {
		if why, missing := b.reason[p]; missing {
			return fmt.Errorf("%s could not be built: %s", p, why)
		}
	}
	return nil
}

// build builds our programs, without which nothing can be said, and those of others.
func (b *builder) build(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(b.dir, "bin"), 0o755); err != nil {
		return err
	}
	for _, ours := range []string{"logd", "witness"} {
		if err := run(ctx, "", nil, "go", "build", "-ldflags=-s -w", "-o", b.path(ours), "cratelog/cmd/"+ours); err != nil {
			return err
		}
	}
	for _, f := range foreigners {
		if err := b.foreign(ctx, f); err != nil {
			b.reason[f.name] = lastLine(err.Error())
		}
	}
	return nil
}

// foreign builds one program in its module, unpacked: go install refuses modules with replacements,
// and torchwood's, whose list of versions cannot be had.
func (b *builder) foreign(ctx context.Context, f foreign) error {
	if _, err := os.Stat(b.path(f.name)); err == nil {
		return nil // built before, and the version is in the directory's name
	}
	src, err := b.unpack(ctx, f.module)
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", b.path(f.name)}
	if f.prepare != nil {
		replace, err := f.prepare(ctx, b, src)
		if err != nil {
			return err
		}
		args = append(args, "-modfile="+replace)
	}
	return run(ctx, src, []string{"GOFLAGS=-mod=mod -buildvcs=false", "GOWORK=off"}, "go", append(args, "./"+f.pkg)...)
}

// unpack downloads a module and copies it, once, so that its go.mod can be changed.
func (b *builder) unpack(ctx context.Context, module string) (string, error) {
	name, version, _ := strings.Cut(module, "@")
	dst := filepath.Join(b.dir, "src", filepath.Base(name)+"@"+version)
	if _, err := os.Stat(filepath.Join(dst, "go.mod")); err == nil {
		return dst, nil
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = os.TempDir()
	out, err := cmd.Output()
	var found struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &found); jsonErr != nil || found.Error != "" {
		return "", fmt.Errorf("downloading %s: %s %w", module, found.Error, err)
	}
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return "", err
	}
	if err := os.CopyFS(dst, os.DirFS(found.Dir)); err != nil {
		return "", err
	}
	return dst, filepath.WalkDir(dst, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	})
}

// modfile copies a module's go.mod and go.sum and changes the copy.
func modfile(ctx context.Context, dir, name string, edits ...string) (string, error) {
	path := filepath.Join(dir, name+".mod")
	for from, to := range map[string]string{"go.mod": path, "go.sum": filepath.Join(dir, name+".sum")} {
		b, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return "", err
		}
	}
	return path, run(ctx, dir, nil, "go", append([]string{"mod", "edit"}, append(edits, path)...)...)
}

// withoutSigsum: witnessctl takes two constants, a hash and an empty tree's root from a module that
// the module proxy does not have.
func withoutSigsum(ctx context.Context, b *builder, dir string) (string, error) {
	stub := filepath.Join(b.dir, "src", "sigsum")
	err := writeFiles(stub, map[string]string{
		"go.mod": "module sigsum.org/sigsum-go\n\ngo 1.24\n",
		"pkg/crypto/crypto.go": `package crypto

import "crypto/sha256"

const (
	HashSize      = 32
	PublicKeySize = 32
)

type Hash [HashSize]byte

type PublicKey [PublicKeySize]byte

func HashBytes(b []byte) Hash { return sha256.Sum256(b) }
`,
		"pkg/merkle/merkle.go": `package merkle

import (
	"crypto/sha256"

	"sigsum.org/sigsum-go/pkg/crypto"
)

func HashEmptyTree() crypto.Hash { return sha256.Sum256(nil) }
`})
	if err != nil {
		return "", err
	}
	return modfile(ctx, dir, "nosigsum", "-replace=sigsum.org/sigsum-go="+stub)
}

// withSubtrees: this version of the witness asks for a function of subtrees in a version of merkle
// that the module proxy does not have. The program leaves subtrees off; the one here refuses them.
func withSubtrees(ctx context.Context, b *builder, dir string) (string, error) {
	copied, err := b.unpack(ctx, merkleModule)
	if err != nil {
		return "", err
	}
	err = writeFiles(copied, map[string]string{"proof/subtree.go": `package proof

import (
	"errors"

	"github.com/transparency-dev/merkle"
)

func VerifySubtreeConsistency(_ merkle.LogHasher, _, _, _ uint64, _ [][]byte, _, _ []byte) error {
	return errors.New("subtrees are not supported")
}
`})
	if err != nil {
		return "", err
	}
	return modfile(ctx, dir, "subtrees", "-replace=github.com/transparency-dev/merkle="+copied)
}

// withNewFormats: with the formats that Tessera asks for itself, it knows no ML-DSA.
func withNewFormats(ctx context.Context, _ *builder, dir string) (string, error) {
	return modfile(ctx, dir, "formats", "-require="+formatsModule)
}

func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command to its end; its output is in the error.
func run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	_, err := output(ctx, dir, env, name, args...)
	return err
}

func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out), err
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
