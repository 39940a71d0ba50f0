package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cratelog/cargo/proxy"
	"cratelog/cargo/registry"
	"cratelog/internal/registrytest"
)

// aWorkspace is one whose files are there.
func aWorkspace(t *testing.T) proxy.Workspace {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Cargo.toml")
	fatalIf(t, os.WriteFile(file, nil, 0o644))
	return proxy.Workspace{Manifest: file, Policy: file, Trust: []string{file}, Programs: []string{file}}
}

func TestAnIDStandsForAllThatNamesThePolicyAndForNothingElse(t *testing.T) {
	w := aWorkspace(t)
	ids := map[string]string{w.ID(): "itself"}
	for what, change := range map[string]func(w *proxy.Workspace){
		"manifest": func(w *proxy.Workspace) { w.Manifest += "x" }, "policy": func(w *proxy.Workspace) { w.Policy = "" },
		"trust": func(w *proxy.Workspace) { w.Trust = append(w.Trust, "x") }, "programs": func(w *proxy.Workspace) { w.Programs = nil },
		"programs for trust": func(w *proxy.Workspace) { w.Trust, w.Programs = nil, append(w.Trust, w.Programs...) },
		"development":        func(w *proxy.Workspace) { w.Development = true }, "offline": func(w *proxy.Workspace) { w.Offline = true },
		"index": func(w *proxy.Workspace) { w.Index = "https://example.com/" },
	} {
		other := w
		change(&other)
		if same := ids[other.ID()]; same != "" {
			t.Errorf("%s: the same ID as of %s", what, same)
		}
		ids[other.ID()] = what
	}
	fatalIf(t, os.WriteFile(w.Policy, []byte("changed"), 0o644))
	if ids[w.ID()] != "itself" {
		t.Error("the ID has changed with what a file says")
	}
}

func TestAWorkspacesFileSaysExactlyWhatHasItsID(t *testing.T) {
	all, w := proxy.Workspaces(t.TempDir()), aWorkspace(t)
	fatalIf(t, all.Add(w))
	path := filepath.Join(string(all), w.ID()+".json")
	text, err := os.ReadFile(path)
	fatalIf(t, err)
	if got, err := all.Get(w.ID()); err != nil || got.ID() != w.ID() {
		t.Errorf("%+v, %v", got, err)
	}
	for what, bad := range map[string]string{
		"an unknown key":   strings.Replace(string(text), `"policy"`, `"x": 1, "policy"`, 1),
		"another policy":   strings.Replace(string(text), `"policy": "`, `"policy": "/x`, 1),
		"other spaces":     " " + string(text),
		"something behind": string(text) + "{}",
		"no index":         strings.Replace(string(text), `"index": ""`, `"index": null`, 1),
		"nothing":          "", "no JSON": "{", "too much": strings.Repeat(" ", 2<<20),
	} {
		fatalIf(t, os.WriteFile(path, []byte(bad), 0o600))
		if got, err := all.Get(w.ID()); err == nil || errors.Is(err, proxy.ErrNotInstalled) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	for _, id := range []string{"", "..", w.ID()[1:], strings.ToUpper(w.ID()), "0123456789abcdef", "../" + w.ID()} {
		if _, err := all.Get(id); !errors.Is(err, proxy.ErrNotInstalled) {
			t.Errorf("%q: %v", id, err)
		}
	}
	fatalIf(t, os.WriteFile(filepath.Join(string(all), "notes.txt"), nil, 0o600))
	if ids, err := all.IDs(); err != nil || len(ids) != 1 || ids[0] != w.ID() {
		t.Errorf("%q, %v", ids, err)
	}
	fatalIf(t, errors.Join(all.Remove(w.ID()), all.Remove(w.ID())))
	if _, err := all.Get(w.ID()); !errors.Is(err, proxy.ErrNotInstalled) {
		t.Errorf("removed: %v", err)
	}
}

// served is a server before a registry with leaf 1.0.0, which the workspaces' judges accept, or
// refuse where there is a policy.
func served(t *testing.T, given *proxy.Workspace) (s *proxy.Server, base string, opened *atomic.Int32) {
	t.Helper()
	r, dir := registrytest.New(t), openDir(t, t.TempDir(), 0)
	r.Add("leaf", "1.0.0")
	opened = &atomic.Int32{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	s, err := proxy.NewServer(proxy.ServerConfig{Base: front.URL, Workspaces: proxy.Workspaces(t.TempDir()), Given: given, Log: quiet,
		Open: func(ctx context.Context, w proxy.Workspace, base string) (*proxy.Proxy, error) {
			opened.Add(1)
			if w.Index == "https://example.com/down/" {
				return nil, &registry.StatusError{URL: w.Index, Status: 503, RetryAfter: "7"}
			}
			j := newJudge()
			if w.Policy != "" {
				j.set("leaf 1.0.0", fmt.Errorf("%s says no", w.Policy))
			}
			return proxy.New(ctx, proxy.Config{Upstream: &registry.Index{URL: r.Index}, Judge: j, Base: base, Dir: dir})
		}})
	fatalIf(t, err)
	t.Cleanup(s.Close)
	return s, front.URL, opened
}

func TestEachWorkspaceIsServedUnderItsOwnPolicy(t *testing.T) {
	s, base, opened := served(t, nil)
	strict := aWorkspace(t)
	lax := strict
	lax.Policy = ""
	for _, w := range []proxy.Workspace{strict, lax} {
		answers(t, base+"/"+w.ID()+"/index/config.json", http.StatusForbidden, `run "cargo zkp proxy --install"`)
		fatalIf(t, s.Workspaces.Add(w)) // it runs already
	}
	answers(t, base+"/"+strict.ID()+"/d/leaf/1.0.0", http.StatusForbidden, strict.Policy+" says no")
	answers(t, base+"/"+lax.ID()+"/d/leaf/1.0.0", http.StatusOK, "")
	answers(t, base+"/"+strict.ID()+"/d/leaf/1.0.0", http.StatusForbidden, strict.Policy+" says no") // although it is kept now
	answers(t, base+"/"+lax.ID()+"/index/config.json", http.StatusOK, base+"/"+lax.ID()+"/d/")
	answers(t, base+"/"+lax.ID()+"/", http.StatusOK, base+"/"+lax.ID()+"/index/")
	if n := opened.Load(); n != 2 {
		t.Errorf("%d proxies were opened for two workspaces", n)
	}
	for _, path := range []string{"/index/config.json", "/index/le/af/leaf", "/d/leaf/1.0.0", "/explain/leaf/1.0.0", "/0123456789abcde/index/config.json",
		"/" + strings.ToUpper(lax.ID()) + "/index/config.json"} {
		answers(t, base+path, http.StatusForbidden, "names no workspace")
	}
	for _, path := range []string{"/" + lax.ID() + "/../index/config.json", "//index/config.json"} {
		if code, body, _ := get(t, base+path); code == http.StatusOK {
			t.Errorf("%s: %s", path, body)
		}
	}
	answers(t, base+"/0123456789abcdef/index/config.json", http.StatusForbidden, "no workspace was installed")
	answers(t, base+"/", http.StatusOK, "This is a cratelog proxy")
	fatalIf(t, s.Workspaces.Remove(lax.ID()))
	answers(t, base+"/"+lax.ID()+"/d/leaf/1.0.0", http.StatusForbidden, "no workspace was installed")
	fatalIf(t, os.Remove(strict.Manifest))
	answers(t, base+"/"+strict.ID()+"/index/config.json", http.StatusForbidden, "moved")
}

func TestARegistryThatIsDownIsAskedAgain(t *testing.T) {
	s, base, opened := served(t, nil)
	w := aWorkspace(t)
	w.Index = "https://example.com/down/"
	fatalIf(t, s.Workspaces.Add(w))
	for range 2 {
		code, _, h := get(t, base+"/"+w.ID()+"/index/config.json")
		if code != http.StatusServiceUnavailable || h.Get("Retry-After") != "7" {
			t.Errorf("%d, %v", code, h)
		}
	}
	if n := opened.Load(); n != 2 {
		t.Errorf("it was opened %d times", n)
	}
}

func TestAGivenWorkspaceNeedsNoInstallation(t *testing.T) {
	w := aWorkspace(t)
	w.Policy = ""
	s, base, _ := served(t, &w)
	answers(t, base+"/"+w.ID()+"/d/leaf/1.0.0", http.StatusOK, "")
	answers(t, base+"/d/leaf/1.0.0", http.StatusForbidden, "names no workspace")
	fatalIf(t, s.ServeAll(t.Context()))
	answers(t, base+"/d/leaf/1.0.0", http.StatusOK, "")
	answers(t, base+"/index/config.json", http.StatusOK, base+"/d/")
	answers(t, base+"/0123456789abcdef/d/leaf/1.0.0", http.StatusForbidden, "no workspace was installed")
}
