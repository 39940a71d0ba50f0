package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cratelog/internal/testlog"
	"cratelog/monitor/web"
)

// TestTheProgramForBrowsersIsReadOrNamed: a monitor does not start with one that it cannot serve.
func TestTheProgramForBrowsersIsReadOrNamed(t *testing.T) {
	dir := t.TempDir()
	log := testlog.Of("log.example/1", 1)
	trust := log.Trust("https://log.example/")
	packed := testlog.Must(web.PackChecker("go1.26.8", nil, []byte("\x00asm\x01\x00\x00\x00")))
	for name, content := range map[string][]byte{"good.tar": packed, "cut.tar": packed[:len(packed)/2], "log.policy": trust} {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	s := &setup{path: filepath.Join(dir, "monitor.toml")}
	s.Log = []logSettings{{Trust: "log.policy"}}
	for name, says := range map[string]string{"": "", "good.tar": "", "cut.tar": "make it with go run ./monitor/web/verify/pack", "none.tar": "none.tar"} {
		s.BrowserVerify = name
		c, err := s.webConfig(nil, nil, nil, nil, nil)
		if (err == nil) != (says == "") || err != nil && (!strings.Contains(err.Error(), "browser_verify: ") || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %v, want %q", name, err, says)
		}
		if good := name == "good.tar"; (c.Checker != nil) != good || (string(c.Trust["log.example/1"]) == string(trust)) != good {
			t.Errorf("%q: %+v", name, c)
		}
	}
}
