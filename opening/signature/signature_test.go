package signature

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
	"golang.org/x/crypto/ssh"

	"cratelog/internal/gitobject"
)

const (
	head = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@example.org> 1700000000 +0000\n" +
		"committer A <a@example.org> 1700000000 +0000\n"
	body = "\nA commit\n\ngpgsig in the text is text\n"
)

// sign returns a commit with a signature as git writes it.
func sign(armored string) []byte {
	lines := strings.ReplaceAll(strings.TrimSuffix(armored, "\n"), "\n", "\n ")
	return []byte(head + "gpgsig " + lines + "\n" + body)
}

func newSSH(t *testing.T, key any) ssh.AlgorithmSigner {
	t.Helper()
	s, err := ssh.NewSignerFromKey(key)
	fatalIf(t, err)
	return s.(ssh.AlgorithmSigner)
}

// armorSSH signs a message as ssh-keygen -Y sign does; edit changes what is in the signature.
func armorSSH(t *testing.T, by ssh.AlgorithmSigner, algorithm, message string, edit func(*sshsig)) string {
	t.Helper()
	s := sshsig{1, string(by.PublicKey().Marshal()), "git", "", "sha512", ""}
	if edit != nil {
		edit(&s)
	}
	sum := sha512.Sum512([]byte(message))
	to := append([]byte(magic), ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{s.Namespace, s.Reserved, s.Hash,
		string(sum[:])})...)
	sig, err := by.SignWithAlgorithm(rand.Reader, to, algorithm)
	fatalIf(t, err)
	s.Signature = string(ssh.Marshal(sig))
	return string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: append([]byte(magic), ssh.Marshal(s)...)}))
}

func keysOf(t *testing.T, text string) *Keys {
	t.Helper()
	k, err := ParseKeys([]byte(text))
	fatalIf(t, err)
	return k
}

func line(by ssh.Signer, name string) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(by.PublicKey())), "\n") + " " + name + "\n"
}

func TestSSHSignatures(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	fatalIf(t, err)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	fatalIf(t, err)
	by, another := newSSH(t, key), newSSH(t, other)
	keys := keysOf(t, "# maintainers\n\n"+line(by, "first maintainer"))
	good := armorSSH(t, by, ssh.KeyAlgoED25519, head+body, nil)
	s, err := Check(sign(good), keys)
	fatalIf(t, err)
	if !s.Known || s.Name != "first maintainer" || s.Key != "ssh "+ssh.FingerprintSHA256(by.PublicKey()) {
		t.Errorf("signed by %+v", s)
	}
	if s, err := Check(sign(good), keysOf(t, line(another, "x"))); err != nil || s.Known || s.Name != "" {
		t.Errorf("with another key named: %+v, %v", s, err)
	}
	if s, err := Check(sign(good), nil); err != nil || s.Known {
		t.Errorf("without keys: %+v, %v", s, err)
	}
	for name, commit := range map[string][]byte{
		"another message":   bytes.Replace(sign(good), []byte("A commit"), []byte("B commit"), 1),
		"another tree":      bytes.Replace(sign(good), []byte("4b825"), []byte("5b825"), 1),
		"a header more":     bytes.Replace(sign(good), []byte("gpgsig -"), []byte("parent 0\ngpgsig -"), 1),
		"for a file":        sign(armorSSH(t, by, ssh.KeyAlgoED25519, head+body, func(s *sshsig) { s.Namespace = "file" })),
		"version 2":         sign(armorSSH(t, by, ssh.KeyAlgoED25519, head+body, func(s *sshsig) { s.Version = 2 })),
		"hash named sha256": sign(armorSSH(t, by, ssh.KeyAlgoED25519, head+body, func(s *sshsig) { s.Hash = "sha256" })),
		"hash named md5":    sign(armorSSH(t, by, ssh.KeyAlgoED25519, head+body, func(s *sshsig) { s.Hash = "md5" })),
		"another's key in it": sign(armorSSH(t, another, ssh.KeyAlgoED25519, head+body,
			func(s *sshsig) { s.Key = string(by.PublicKey().Marshal()) })),
		"two signatures":  bytes.Replace(sign(good), []byte("\n\nA commit"), []byte("\ngpgsig x\n\nA commit"), 1),
		"another hash's":  bytes.Replace(sign(good), []byte("\n\nA commit"), []byte("\ngpgsig-sha256 x\n\nA commit"), 1),
		"no armor":        sign("x"),
		"empty":           sign(""),
		"only begun":      sign(beginSSH),
		"something after": sign(good + "x\n"),
	} {
		if s, err := Check(commit, keys); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %+v, %v, want ErrSignature", name, s, err)
		}
	}
	if _, err := Check([]byte(head+body), keys); !errors.Is(err, ErrUnsigned) {
		t.Errorf("an unsigned commit: %v", err)
	}
}

func TestRSASignaturesNeedSHA2AndALongKey(t *testing.T) {
	long, err := rsa.GenerateKey(rand.Reader, minRSABits)
	fatalIf(t, err)
	by := newSSH(t, long)
	keys := keysOf(t, line(by, "rsa"))
	if s, err := Check(sign(armorSSH(t, by, ssh.KeyAlgoRSASHA512, head+body, nil)), keys); err != nil || !s.Known {
		t.Errorf("with SHA-512: %+v, %v", s, err)
	}
	if s, err := Check(sign(armorSSH(t, by, ssh.KeyAlgoRSA, head+body, nil)), keys); !errors.Is(err, ErrSignature) {
		t.Errorf("with SHA-1: %+v, %v", s, err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	fatalIf(t, err)
	if _, err := ParseKeys([]byte(line(newSSH(t, short), "short"))); err == nil {
		t.Error("a key of 1024 bits is accepted")
	}
	if s, err := Check(sign(armorSSH(t, newSSH(t, short), ssh.KeyAlgoRSASHA512, head+body, nil)), nil); err == nil {
		t.Errorf("a signature of a short key: %+v", s)
	}
}

// entity makes an OpenPGP key, valid from a time on.
func entity(t *testing.T, name string, from time.Time, lifetime uint32) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA,
		Time: func() time.Time { return from }, KeyLifetimeSecs: lifetime})
	fatalIf(t, err)
	return e
}

func exported(t *testing.T, e *openpgp.Entity) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	fatalIf(t, err)
	fatalIf(t, e.Serialize(w))
	fatalIf(t, w.Close())
	return b.String() + "\n"
}

func armorPGP(t *testing.T, by *openpgp.Entity, message string, at time.Time) string {
	t.Helper()
	var b bytes.Buffer
	fatalIf(t, openpgp.ArmoredDetachSign(&b, []*openpgp.Entity{by}, strings.NewReader(message),
		&openpgp.SignParams{Config: &packet.Config{Time: func() time.Time { return at }}}))
	return b.String() + "\n"
}

func TestOpenPGPSignatures(t *testing.T) {
	year := 365 * 24 * time.Hour
	now := time.Now()
	from := now.Add(-3 * year)
	by, another := entity(t, "first", from, uint32((2*year).Seconds())), entity(t, "second", from, 0)
	keys := keysOf(t, exported(t, by)+"\n"+exported(t, another))
	good := armorPGP(t, by, head+body, from.Add(year))
	s, err := Check(sign(good), keys)
	fatalIf(t, err)
	if !s.Known || !strings.Contains(s.Name, "first@example.org") || !strings.HasPrefix(s.Key, "OpenPGP ") {
		t.Errorf("signed by %+v", s)
	}
	if s, err := Check(sign(armorPGP(t, another, head+body, now)), keys); err != nil || !s.Known {
		t.Errorf("by the second key: %+v, %v", s, err)
	}
	if s, err := Check(sign(good), keysOf(t, exported(t, another))); err != nil || s.Known {
		t.Errorf("with another key named: %+v, %v", s, err)
	}
	for name, commit := range map[string][]byte{
		"another message":    bytes.Replace(sign(good), []byte("A commit"), []byte("B commit"), 1),
		"over nothing":       sign(armorPGP(t, by, "", from.Add(year))),
		"a key as signature": sign(strings.ReplaceAll(exported(t, by), "PUBLIC KEY BLOCK", "SIGNATURE")),
		"two packets":        sign(twice(t, good)),
		"no armor":           sign(beginPGP + "\nxxxx\n-----END PGP SIGNATURE-----"),
	} {
		if s, err := Check(commit, keys); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %+v, %v, want ErrSignature", name, s, err)
		}
	}
}

func twice(t *testing.T, armored string) string {
	t.Helper()
	block, err := armor.Decode(strings.NewReader(armored))
	fatalIf(t, err)
	var raw, out bytes.Buffer
	_, err = raw.ReadFrom(block.Body)
	fatalIf(t, err)
	w, err := armor.Encode(&out, openpgp.SignatureType, nil)
	fatalIf(t, err)
	_, err = w.Write(append(raw.Bytes(), raw.Bytes()...))
	fatalIf(t, err)
	fatalIf(t, w.Close())
	return out.String()
}

func TestFilesOfKeysAreReadStrictly(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	fatalIf(t, err)
	good := line(newSSH(t, key), "x")
	pgp := exported(t, entity(t, "x", time.Now(), 0))
	for name, text := range map[string]string{
		"empty": "", "comments only": "# nothing\n", "no key": "hello\n", "an option": "no-pty " + good,
		"a principal": "a@example.org " + good, "cut": good[:40] + "\n", "a private key": "-----BEGIN OPENSSH PRIVATE KEY-----\n",
		"both kinds": good + pgp, "OpenPGP that does not end": pgp[:len(pgp)/2], "something behind": pgp + good,
		"dsa": "ssh-dss AAAAB3NzaC1kc3MAAAAA\n",
	} {
		if k, err := ParseKeys([]byte(text)); err == nil {
			t.Errorf("%s: accepted as %+v", name, k)
		}
	}
	all := Join(keysOf(t, good), keysOf(t, pgp))
	if len(all.ssh) != 1 || len(all.pgp) != 1 {
		t.Errorf("both together: %+v", all)
	}
}

// TestSignaturesOfGit compares with what git and ssh-keygen themselves write.
func TestSignaturesOfGit(t *testing.T) {
	if testing.Short() {
		t.Skip("starts git and ssh-keygen")
	}
	dir := t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
		}
		return string(out)
	}
	key := filepath.Join(dir, "key")
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the maintainer", "-f", key)
	run("git", "init", "-q", "repo")
	git := func(args ...string) string {
		return run("git", append([]string{"-C", "repo", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "gpg.format=ssh",
			"-c", "user.signingkey=" + key}, args...)...)
	}
	git("commit", "-q", "-S", "--allow-empty", "-m", "A commit\n\nwith text")
	commit := git("cat-file", "commit", "HEAD")
	public, err := os.ReadFile(key + ".pub")
	fatalIf(t, err)
	s, err := Check([]byte(commit), keysOf(t, string(public)))
	fatalIf(t, err)
	if !s.Known || s.Name != "the maintainer" {
		t.Errorf("signed by %+v", s)
	}
	if fields := strings.Fields(run("ssh-keygen", "-lf", key+".pub")); s.Key != "ssh "+fields[1] {
		t.Errorf("the key is %s, ssh-keygen prints %s", s.Key, fields[1])
	}
	id, err := gitobject.Object{Type: gitobject.TypeCommit, Content: []byte(commit)}.ID()
	fatalIf(t, err)
	if want, ok := gitobject.ParseID(strings.TrimSpace(git("rev-parse", "HEAD"))); !ok || id != want {
		t.Errorf("the commit has the id %x, git says %x", id, want)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(head + body))
	f.Add(sign(beginSSH + "U1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----"))
	f.Add(sign(beginPGP + "\niHUEABYKAB0WIQQ=\n-----END PGP SIGNATURE-----"))
	f.Fuzz(func(t *testing.T, commit []byte) {
		s, err := Check(commit, nil)
		if err == nil && s.Known || err != nil && !errors.Is(err, ErrUnsigned) && !errors.Is(err, ErrSignature) {
			t.Errorf("%q: %+v, %v", commit, s, err)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8 x\n"))
	f.Add([]byte(pgpBegin + "\n\nmDMEZQ==\n" + pgpEnd))
	f.Fuzz(func(t *testing.T, text []byte) {
		if k, err := ParseKeys(text); err == nil && len(k.ssh)+len(k.pgp) == 0 {
			t.Errorf("%q holds no key, and is accepted", text)
		}
	})
}

func fatalIf(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestRevokedAndOtherKeysDoNotSign: whatever a signature says of itself.
func TestRevokedAndOtherKeysDoNotSign(t *testing.T) {
	now := time.Now()
	from := now.Add(-365 * 24 * time.Hour)
	at := func(when time.Time) *packet.Config {
		return &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return when }}
	}
	before, after := from.Add(24*time.Hour), from.Add(48*time.Hour)
	for name, c := range map[string]struct {
		revoke func(e *openpgp.Entity) error
		signed time.Time
		ok     bool
	}{
		"good":                   {func(*openpgp.Entity) error { return nil }, after, true},
		"older than its key":     {func(*openpgp.Entity) error { return nil }, from.Add(-time.Hour), false},
		"stolen":                 {func(e *openpgp.Entity) error { return e.Revoke(packet.KeyCompromised, "", at(after)) }, before, false},
		"revoked, no reason":     {func(e *openpgp.Entity) error { return e.Revoke(packet.NoReason, "", at(after)) }, before, false},
		"revoked and used":       {func(e *openpgp.Entity) error { return e.Revoke(packet.KeySuperseded, "", at(before)) }, after, false},
		"signed before it ended": {func(e *openpgp.Entity) error { return e.Revoke(packet.KeyRetired, "", at(after)) }, before, true},
		"its subkey is stolen":   {func(e *openpgp.Entity) error { return e.Subkeys[1].Revoke(packet.KeyCompromised, "", at(after)) }, before, false},
	} {
		e, err := openpgp.NewEntity("first", "", "first@example.org", at(from))
		fatalIf(t, err)
		fatalIf(t, e.AddSigningSubkey(at(from)))
		var signed string
		if c.signed.Before(from) {
			signed = signedBy(t, e.PrivateKey, e.PrimaryKey.KeyId, c.signed)
		} else {
			signed = armorPGP(t, e, head+body, c.signed)
		}
		fatalIf(t, c.revoke(e))
		s, err := Check(sign(signed), keysOf(t, exported(t, e)))
		if ok := err == nil && s.Known; ok != c.ok || err != nil && !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

// signedBy makes a signature with a key and the id of one, at a time at which it need not be one.
func signedBy(t *testing.T, key *packet.PrivateKey, issuer uint64, at time.Time) string {
	t.Helper()
	s := &packet.Signature{Version: key.Version, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA512,
		CreationTime: at, IssuerKeyId: &issuer}
	h := sha512.New()
	_, _ = h.Write([]byte(head + body))
	fatalIf(t, s.Sign(h, key, &packet.Config{Time: func() time.Time { return at }}))
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.SignatureType, nil)
	fatalIf(t, err)
	fatalIf(t, s.Serialize(w))
	fatalIf(t, w.Close())
	return out.String() + "\n"
}

// TestASignatureIsHeldToTheKeyThatItNames: nobody signs in another's name.
func TestASignatureIsHeldToTheKeyThatItNames(t *testing.T) {
	from := time.Now().Add(-24 * time.Hour)
	good, evil := entity(t, "first", from, 0), entity(t, "evil", from, 0)
	keys := keysOf(t, exported(t, good))
	now := time.Now()
	for name, x := range map[string]string{
		"another's key": signedBy(t, evil.PrivateKey, good.PrimaryKey.KeyId, now),
		"no key's id":   signedBy(t, evil.PrivateKey, 0, now),
		"the subkey's":  signedBy(t, evil.PrivateKey, good.Subkeys[0].PublicKey.KeyId, now),
	} {
		if s, err := Check(sign(x), keys); err == nil && s.Known {
			t.Errorf("%s: signed by %+v", name, s)
		}
	}
}
