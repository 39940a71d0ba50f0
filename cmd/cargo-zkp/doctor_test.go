package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cratelog/internal/outcome"
	"cratelog/log"
)

// diagnosis runs doctor and returns what it says of one check.
func (d *depot) diagnosis(code outcome.Code, args ...string) map[string][]finding {
	d.t.Helper()
	out, _ := d.call(code, append([]string{"doctor", "--message-format", "json"}, args...)...)
	var r struct {
		Format  string
		Healthy bool
		Checks  []finding
	}
	fatalIf(d.t, json.Unmarshal([]byte(out), &r))
	if r.Format != "cratelog/doctor/v1" || r.Healthy != (code == outcome.OK) {
		d.t.Errorf("%s", out)
	}
	by := map[string][]finding{}
	for _, f := range r.Checks {
		by[f.Check] = append(by[f.Check], f)
		if f.Status == broken && f.Fix == "" {
			d.t.Errorf("broken, and no word about what to do: %+v", f)
		}
	}
	return by
}

// has wants a finding of a check with a status that says some words.
func has(t *testing.T, by map[string][]finding, check, status string, words ...string) {
	t.Helper()
	for _, f := range by[check] {
		all := !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(f.Text+f.Fix, w) })
		if f.Status == status && all {
			return
		}
	}
	t.Errorf("%s: no %s with %q in %+v", check, status, words, by[check])
}

// onPath makes this test's program cargo-zkp, and has cargo find it.
func onPath(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	fatalIf(t, err)
	dir := t.TempDir()
	name := "cargo-zkp"
	if filepath.Ext(self) == ".exe" {
		name += ".exe"
	}
	if err := os.Link(self, filepath.Join(dir, name)); err != nil {
		fatalIf(t, os.Symlink(self, filepath.Join(dir, name)))
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestADoctorFindsAHealthyMachineHealthy(t *testing.T) {
	d := proven(t)
	onPath(t)
	dir := d.project(asked)
	d.settings(dir, "")
	d.mustCargo("generate-lockfile")
	by := d.diagnosis(outcome.OK)
	for check, words := range map[string]string{"path": "cargo zkp runs", "cargo": "cargo 1.", "git": "git version", "cache": "files", "state": "files",
		"keys": "no proving key yet", "workspace": dir, "policy": "can be read", "trust": "logs: 1, witnesses:", "clock": "it goes as that of depot.example/log",
		"log": "depot.example/log has 2 entries; its witnesses cosigned"} {
		has(t, by, check, healthy, words)
	}
	has(t, by, "proxy", skipped, "not installed")
	has(t, by, "policy", warning, "UNSAFE development keys")
	has(t, by, "names", warning, "anybody can be the first to log a version of any name in depot.example/log", "[[registry]]")
	d.settings(dir, "registry-backed = [\"depot.example/log\"]\n")
	has(t, d.diagnosis(outcome.OK), "names", warning, "it says of itself that it asks none")
	fatalIf(t, d.log.Log.SetRegistries([]log.Registry{{Subject: "default", Index: "https://127.0.0.1:1/"}}, 0))
	has(t, d.diagnosis(outcome.OK), "names", healthy, "depot.example/log takes only what the registry lists, by your policy")
	d.settings(dir, "")
	has(t, d.diagnosis(outcome.OK), "names", warning, "your policy does not say so", `registry-backed = ["depot.example/log"]`)
	has(t, d.diagnosis(outcome.OK, "--offline"), "logs", skipped, "--offline")
	out, errs := d.call(outcome.OK, "doctor")
	tells(t, out+errs, "ok       path", "nothing is broken")
}

func TestADoctorSaysWhatIsBroken(t *testing.T) {
	d := proven(t)
	dir := d.project(asked)
	d.settings(dir, "")
	t.Run("nobody finds the program", func(t *testing.T) {
		has(t, d.diagnosis(outcome.Refused), "path", broken, "cargo finds no cargo-zkp")
	})
	onPath(t)
	t.Run("no cargo", func(t *testing.T) {
		t.Setenv("CARGO", filepath.Join(dir, "none"))
		has(t, d.diagnosis(outcome.Refused), "cargo", broken, "does not run", "rustup")
	})
	t.Run("old cargo", func(t *testing.T) {
		old := filepath.Join(dir, "old")
		fatalIf(t, os.WriteFile(old, []byte("#!/bin/sh\necho cargo 1.56.0\n"), 0o755))
		t.Setenv("CARGO", old)
		has(t, d.diagnosis(outcome.Refused), "cargo", broken, "cargo 1.56.0; 1.68 or later", "rustup update")
	})
	t.Run("a cache that is a file", func(t *testing.T) {
		file := filepath.Join(dir, "file")
		put(t, file, "")
		t.Setenv("XDG_CACHE_HOME", file)
		has(t, d.diagnosis(outcome.Refused), "cache", broken, "cannot be written")
	})
	t.Run("a policy with a mistake", func(t *testing.T) {
		d.settings(dir, "require = \"most\"\n")
		has(t, d.diagnosis(outcome.Refused), "policy", broken, "zkp.toml", "most")
		d.settings(dir, "")
	})
	t.Run("the proxy does not run", func(t *testing.T) {
		if code := run(t.Context(), []string{"proxy", "--install", "--listen", d.address, "--index", d.registry.Index}, os.Stderr, os.Stderr); code != 0 {
			t.Fatalf("exit %d", code)
		}
		has(t, d.diagnosis(outcome.Refused), "proxy", broken, "nothing runs at "+d.address, "cargo zkp proxy")
		fatalIf(t, os.RemoveAll(filepath.Join(os.Getenv("XDG_STATE_HOME"), "cratelog", "proxy")))
		has(t, d.diagnosis(outcome.Refused), "proxy", broken, "no workspace was installed with this ID", "--install")
		fatalIf(t, os.RemoveAll(filepath.Join(dir, ".cargo")))
	})
	t.Run("another log at the address", func(t *testing.T) {
		trust, err := os.ReadFile(d.log.File)
		fatalIf(t, err)
		put(t, filepath.Join(dir, "other.policy"), strings.ReplaceAll(string(trust), d.log.URL, d.registry.URL))
		d.settings(dir, "")
		put(t, filepath.Join(dir, "zkp.toml"), "version = 1\ndevelopment = true\ntrust = [\"other.policy\"]\n")
		has(t, d.diagnosis(outcome.Refused), "log", broken, "depot.example/log does not answer", "URL")
	})
}

func TestADoctorComparesClocks(t *testing.T) {
	now := time.Now()
	for off, status := range map[time.Duration]string{0: healthy, maxSkew - time.Second: healthy, -maxSkew + time.Second: healthy,
		maxSkew + time.Second: broken, -maxSkew - time.Second: broken, -9000 * time.Hour: broken} {
		d := &doctor{}
		d.clock("log.example/x", now.Add(off), now, now)
		if len(d.found) != 1 || d.found[0].Status != status {
			t.Errorf("%s: %+v", off, d.found)
		}
	}
	d := &doctor{}
	if d.clock("log.example/x", time.Time{}, now, now); len(d.found) != 0 {
		t.Errorf("without a date: %+v", d.found)
	}
}
