//go:build pkcs11

package signer

import (
	"crypto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/fixture"
)

// softHSM is where distributions put the library of softhsm2.
func softHSM(t *testing.T) string {
	for _, name := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so"} {
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	fixture.Skip(t, "softhsm2 is not installed")
	return ""
}

// TestAKeyInADeviceSigns: softhsm2 is the device, and OpenSC's pkcs11-tool makes the keys.
func TestAKeyInADeviceSigns(t *testing.T) {
	fixture.Need(t, "softhsm2-util", "pkcs11-tool")
	module, dir := softHSM(t), t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	write(t, conf, "directories.tokendir = "+dir+"\nobjectstore.backend = file\n", 0o600)
	t.Setenv("SOFTHSM2_CONF", conf)
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v: %s", name, args, err, out)
		}
	}
	make := func(label, id string, kind ...string) {
		run("pkcs11-tool", append([]string{"--module", module, "--token-label", "log", "--login", "--pin", "1234", "--keypairgen",
			"--label", label, "--id", id}, kind...)...)
	}
	run("softhsm2-util", "--init-token", "--free", "--label", "log", "--pin", "1234", "--so-pin", "123456")
	make("log key", "01", "--key-type", "EC:edwards25519")
	make("twice", "02", "--key-type", "EC:edwards25519")
	make("twice", "03", "--key-type", "EC:edwards25519")
	make("rsa", "04", "--key-type", "rsa:2048")
	write(t, filepath.Join(dir, "pin"), "1234\n", 0o600)
	settings := filepath.Join(dir, "logd.toml")
	more := "?module-path=" + module + "&pin-source=pin"
	key, err := Open(settings, "pkcs11:token=log;object=log%20key"+more, Settings{})
	fatalIf(t, err)
	wantSigns(t, key)
	byID, err := Open(settings, "pkcs11:token=log;object=twice;id=%03"+more, Settings{})
	fatalIf(t, err)
	wantSigns(t, byID)
	if _, err := key.Sign(nil, make64(), crypto.Hash(0)); err != nil {
		t.Error(err)
	}
	t.Run("a session that ended", func(t *testing.T) {
		k := key.(*bounded).inner.(*token)
		fatalIf(t, k.ctx.CloseSession(k.session))
		wantSigns(t, key)
	})
	write(t, filepath.Join(dir, "wrong"), "9999\n", 0o600)
	for uri, want := range map[string]string{
		"token=log;object=twice" + more:                                      "not exactly one Ed25519 key",
		"token=log;object=absent" + more:                                     "not exactly one Ed25519 key",
		"token=log;object=rsa" + more:                                        "not exactly one Ed25519 key",
		"token=other;object=log%20key" + more:                                `0 tokens with the label "other"`,
		"token=log" + more:                                                   "an object or an id",
		"token=log;object=x;object=y" + more:                                 "stands twice",
		"token=log;object=x?module-path=" + module + "&pin-value=1234":       "a PIN never stands in a setting",
		"token=log;object=x?module-path=" + module:                           "pin-source is missing",
		"token=log;object=x?module-path=lib.so&pin-source=pin":               "absolute path",
		"token=log;object=x?module-path=/absent.so&pin-source=pin":           "no PKCS#11 library",
		"token=log;object=log%20key?pin-source=absent&module-path=" + module: "absent",
	} {
		wantNoKey(t, settings, "pkcs11:"+uri, Settings{}, want)
	}
	if strings.Contains(module, " ") {
		t.Error("the path of the library has a space")
	}
}

func make64() []byte { return make([]byte, 64) }
