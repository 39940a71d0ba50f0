package ceremony

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cs "github.com/consensys/gnark/constraint/bn254"
	"golang.org/x/sys/unix"

	"cratelog/client"
	"cratelog/crate"
	"cratelog/entry"
	"cratelog/internal/fixture"
	"cratelog/internal/loopback"
	"cratelog/proofcheck"
	"cratelog/prover"
	"cratelog/prover/git"
)

// tiny makes the smallest segments, so that a small crate takes several.
const tiny = 1

// BenchmarkKeysFromACeremonyProveForEveryone is the whole way: three parties make the keys
// of a circuit, attacks on the way are refused, the keys are exported, fetched from a log
// outside of development mode by a prover, and the proof is accepted by that log and by a
// client that has the program on its list. It is a benchmark as it takes minutes: .ci/long
// runs it, and it logs what each step took. What it shows of ceremonies the tests show
// with a smaller circuit.
func BenchmarkKeysFromACeremonyProveForEveryone(b *testing.B) {
	for b.Loop() {
		ceremonyToClient(b)
	}
}

func ceremonyToClient(t testing.TB) {
	fixture.Need(t, "git")
	begin, worked := time.Now(), cpuSeconds(t)
	progress := func(what string, _ time.Duration) {
		t.Logf("%6.1f s, %6.1f s of a processor: %s", time.Since(begin).Seconds(), cpuSeconds(t)-worked, what)
	}
	dir := filepath.Join(t.TempDir(), "c")
	f, err := Init(dir, Source(tiny), "")
	fatalIf(t, err)
	fatalIf(t, threePartiesIn(f, dir, func(phase, party int, sent string) {
		if party == 1 {
			attack(t, f, dir, phase, sent)
		}
	}, progress))
	r, err := f.Verify(t.Context(), progress)
	fatalIf(t, err)
	if len(r.Contributions) != 6 {
		t.Errorf("%d contributions", len(r.Contributions))
	}
	var program, key bytes.Buffer
	fatalIf(t, r.Export(t.Context(), &program, &key, progress))
	progress("proving and logging", 0)
	p := proveAndLog(t, program.Bytes(), key.Bytes())
	if p.Origin != r.Program.Origin || p.Solo() != "" {
		t.Errorf("the program is %v", p)
	}
	progress("done", 0)
}

// An organisation's first day: it makes keys alone, and its log serves and accepts them.
func TestASoloKeyProvesForEveryone(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes keys, and proves")
	}
	fixture.Need(t, "git")
	var program, key bytes.Buffer
	_, err := Solo(t.Context(), "Example Org", Source(tiny), &program, &key, nil)
	fatalIf(t, err)
	if p := proveAndLog(t, program.Bytes(), key.Bytes()); p.Solo() != "Example Org" {
		t.Errorf("the program is %v", p)
	}
}

// cpuSeconds is how long this process has worked: what counts where others do too.
func cpuSeconds(t testing.TB) float64 {
	t.Helper()
	var u unix.Rusage
	fatalIf(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// attack sends to the coordinator what an attacker might in place of a contribution.
func attack(t testing.TB, f *Folder, dir string, phase int, sent string) {
	t.Helper()
	good := read(t, sent)
	for _, at := range []int{len(good) / 3, len(good) - 1} {
		bad := slices.Clone(good)
		bad[at] ^= 1
		if err := accept(t, f, bad); !errors.Is(err, ErrTampered) && !errors.Is(err, ErrOrder) {
			t.Errorf("phase %d: tampered with: %v", phase, err)
		}
	}
	replayed := glob(t, dir, nameOf(phase, 1, [32]byte{})[:len("phase1-0001-")]+"*")[0]
	refused(t, accept(t, f, read(t, replayed)), ErrReplayed, "counts once")

	// Segments of another size.
	_, err := openWith(dir, func(Circuit) (*cs.R1CS, error) { return Source(tiny + 1).compile() })
	refused(t, err, ErrWrongCircuit, "constraint system")
}

// proveAndLog has a log outside of development mode serve and accept exported keys, proves a
// crate with what the log offers, logs it, and checks the bundle. It returns the program.
func proveAndLog(t testing.TB, program, key []byte) proofcheck.Program {
	t.Helper()
	p, err := proofcheck.ParseProgram(program)
	fatalIf(t, err)
	if p.Development() || p.ProvingKey != sha256.Sum256(key) {
		t.Fatalf("the program is %v", p)
	}
	served := t.TempDir()
	write(t, filepath.Join(served, fmt.Sprintf("%x", p.ProvingKey)), key)
	w, err := loopback.Start(t.Context(), loopback.Config{Origin: "ceremony.example/log", Dir: t.TempDir(),
		Programs: []proofcheck.Program{p}, KeysDir: served})
	fatalIf(t, err)
	defer func() { fatalIf(t, w.Close()) }()

	keys := &prover.Keyring{Cache: t.TempDir(), Log: &client.Log{URL: w.URL}}
	offered, err := keys.Ask(t.Context())
	fatalIf(t, err)
	if offered == nil || offered.ID() != p.ID() || keys.Development() {
		t.Fatalf("the log's program is %v", offered)
	}
	e, raw := proveTiny(t, keys)
	if e.Proof.Program != p.ID() {
		t.Fatalf("it is proven with the program %x", e.Proof.Program)
	}
	data, err := e.Marshal()
	fatalIf(t, err)
	bundle, err := w.Log.Submit(t.Context(), data, bytes.NewReader(raw), nil)
	fatalIf(t, err)
	list, err := proofcheck.New([]proofcheck.Program{p})
	fatalIf(t, err)
	if _, err := client.Verify(raw, bundle, w.Policy, list, client.Rules{}); err != nil {
		t.Errorf("a client with the program on its list: %v", err)
	}
	shipped, err := proofcheck.Load(nil, true)
	fatalIf(t, err)
	if _, err := client.Verify(raw, bundle, w.Policy, shipped, client.Rules{}); !errors.Is(err, entry.ErrUnknownProgram) {
		t.Errorf("a client without it: %v", err)
	}
	return p
}

// proveTiny proves a crate of two files.
func proveTiny(t testing.TB, keys *prover.Keyring) (*entry.Entry, []byte) {
	t.Helper()
	dir := t.TempDir()
	var raw bytes.Buffer
	z := gzip.NewWriter(&raw)
	w := tar.NewWriter(z)
	for _, f := range [][2]string{{"Cargo.toml", "[package]\nname = \"tiny\"\nversion = \"1.0.0\"\n"}, {"lib.rs", ""}} {
		write(t, filepath.Join(dir, f[0]), []byte(f[1]))
		fatalIf(t, w.WriteHeader(&tar.Header{Format: tar.FormatGNU, Mode: 0o644, Name: "tiny-1.0.0/" + f[0],
			Size: int64(len(f[1]))}))
		_, err := w.Write([]byte(f[1]))
		fatalIf(t, err)
	}
	fatalIf(t, errors.Join(w.Close(), z.Close()))
	c, err := crate.Read(raw.Bytes(), "tiny", "1.0.0", crate.DefaultLimits)
	fatalIf(t, err)

	commit, root := commitAll(t, dir), ""
	repo, err := git.Open(t.Context(), dir)
	fatalIf(t, err)
	defer repo.Close()
	plan, err := prover.NewPlan(t.Context(), c, repo, prover.Source{Commit: &commit, Path: &root})
	fatalIf(t, err)
	e, err := keys.Prove(t.Context(), plan, nil)
	fatalIf(t, err)
	return e, raw.Bytes()
}

// commitAll makes a directory a repository of one commit.
func commitAll(t testing.TB, dir string) [20]byte {
	t.Helper()
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	var out []byte
	for _, args := range []string{"init -q --object-format=sha1", "add -A",
		"-c user.name=a -c user.email=a@b.example commit -q -m tiny", "rev-parse HEAD"} {
		cmd := exec.CommandContext(t.Context(), "git", strings.Fields(args)...)
		cmd.Dir = dir
		var err error
		if out, err = cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	id, err := hex.DecodeString(strings.TrimSpace(string(out)))
	fatalIf(t, err)
	return [20]byte(id)
}
