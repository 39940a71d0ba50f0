package git

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"cratelog/internal/fixture"
)

func TestPublicIsWhatAnybodyCanFetch(t *testing.T) {
	repo := fixture.Repo(t)
	path := "/" + filepath.Base(repo)
	commit := fixture.Commit(t, "0.1.0")
	anybody := fixture.ServeGit(t, filepath.Dir(repo), func(*http.Request) bool { return true })
	if err := Fetchable(t.Context(), anybody+path, commit); err != nil {
		t.Errorf("a public repository: %v", err)
	}
	if err := Fetchable(t.Context(), anybody+path, [20]byte{1}); err == nil || !strings.Contains(err.Error(),
		"no commit 01") {
		t.Errorf("a commit that was never pushed: %v", err)
	}
	for _, address := range []string{repo, "file://" + repo, "http://127.0.0.1:1/a", "https://", "git@127.0.0.1:a", "https://u:p@127.0.0.1:1/a"} {
		if err := Public(t.Context(), address, commit); err == nil || !strings.Contains(err.Error(),
			"is not a URL of https") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestPublicIsNotWhatAnOrganisationCanFetch: inside of its network, servers ask nobody.
func TestPublicIsNotWhatAnOrganisationCanFetch(t *testing.T) {
	repo := fixture.Repo(t)
	commit := fixture.Commit(t, "0.1.0")
	asked := fixture.ServeGit(t, filepath.Dir(repo), func(*http.Request) bool { t.Error("it was asked"); return true })
	_, port, _ := strings.Cut(strings.TrimPrefix(asked, "https://"), ":")
	for address, want := range map[string]string{
		asked + "/" + filepath.Base(repo):     "which not everybody reaches",
		"https://localhost:" + port + "/a":    "which not everybody reaches",
		"https://[::1]:" + port + "/a":        "which not everybody reaches",
		"https://[::ffff:10.0.0.1]/a":         "has the address 10.0.0.1",
		"https://192.168.1.2/a":               "which not everybody reaches",
		"https://100.100.1.2/a":               "which not everybody reaches",
		"https://169.254.1.2/a":               "which not everybody reaches",
		"https://[fd00::1]/a":                 "which not everybody reaches",
		"https://192.0.2.1/a?private_token=x": "https://192.0.2.1/a has a query",
		"https://192.0.2.1/a#x":               "https://192.0.2.1/a has a query",
	} {
		if err := Public(t.Context(), address, commit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want a word on %q", address, err, want)
		}
	}
}

// TestPublicUsesNoCredentials gives git every way to a password that works for a clone.
func TestPublicUsesNoCredentials(t *testing.T) {
	repo := fixture.Repo(t)
	path := "/" + filepath.Base(repo)
	commit := fixture.Commit(t, "0.1.0")
	s := fixture.ServeGit(t, filepath.Dir(repo), func(r *http.Request) bool {
		user, password, ok := r.BasicAuth()
		return ok && user == "owner" && password == "secret" || r.Header.Get("X-Key") == "secret"
	})
	home := t.TempDir()
	t.Setenv("HOME", home)
	host := strings.TrimPrefix(s, "https://")
	name, _, _ := strings.Cut(host, ":")
	believe := "[http]\nsslCAInfo = " + os.Getenv("GIT_SSL_CAINFO") + "\n" // for Fetch, which drops the variable
	for what, files := range map[string][2]string{
		"netrc":      {"machine " + name + " login owner password secret\n", ""},
		"a header":   {"", "extraHeader = X-Key: secret\n"},
		"the helper": {"", "[credential]\nhelper = \"!echo username=owner; echo password=secret #\"\n"},
	} {
		fatalIf(t, os.WriteFile(filepath.Join(home, ".netrc"), []byte(files[0]), 0o600))
		fatalIf(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(believe+files[1]), 0o600))
		if _, err := Clones(t.TempDir()).Fetch(t.Context(), s+path, commit); err != nil {
			t.Fatalf("%s: the credentials do not work at all: %v", what, err)
		}
		if err := Fetchable(t.Context(), s+path, commit); err == nil {
			t.Errorf("%s: a private repository is taken for public", what)
		}
	}
}

// TestNoTicketOfTheUserIsShown: a server that asks for one learns nothing from what is fetched as anybody can,
// though the user's settings have git answer, as they do for the user's own fetches.
func TestNoTicketOfTheUserIsShown(t *testing.T) {
	fixture.Need(t, "git", "sh")
	var mu sync.Mutex
	var shown []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if a := r.Header.Get("Authorization"); a != "" {
			shown = append(shown, a)
		}
		w.Header().Set("WWW-Authenticate", "NTLM")
		w.Header().Add("WWW-Authenticate", `Basic realm="private"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer s.Close()
	home, bin := t.TempDir(), t.TempDir()
	t.Setenv("HOME", home)
	fatalIf(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[http]\nemptyAuth = true\n"), 0o600))
	real, err := exec.LookPath("git")
	fatalIf(t, err)
	calls := filepath.Join(bin, "calls")
	script := fmt.Sprintf("#!/bin/sh\necho \"$@\" >>'%s'\nexec '%s' \"$@\"\n", calls, real)
	fatalIf(t, os.WriteFile(filepath.Join(bin, "git"), []byte(script), 0o755))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))

	dir, commit := t.TempDir(), [20]byte{1}
	user := asUser()
	user.env = append(user.env, "GIT_ALLOW_PROTOCOL=http", "GIT_TERMINAL_PROMPT=0")
	_, err = user.run(t.Context(), dir, "", "ls-remote", "--", s.URL+"/a")
	if err == nil || len(shown) == 0 {
		t.Fatalf("the user's own git shows nothing, so that this test sees nothing: %v", err)
	}
	shown = nil
	fatalIf(t, os.Remove(calls))
	a := &Anonymous{Clones: Clones(dir)}
	at := Remote{URL: s.URL + "/a"}
	if _, err := a.Fetch(t.Context(), at, commit); err == nil {
		t.Error("it was fetched")
	}
	if _, err := a.Tags(t.Context(), at); err == nil {
		t.Error("it has tags")
	}
	if err := Fetchable(t.Context(), "https"+strings.TrimPrefix(s.URL, "http")+"/a", commit); err == nil {
		t.Error("it can be fetched")
	}
	if len(shown) > 0 {
		t.Errorf("the server was told %q", shown)
	}
	b, err := os.ReadFile(calls)
	fatalIf(t, err)
	asked := 0
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " fetch ") || strings.Contains(line, " ls-remote ") {
			if asked++; !strings.Contains(line, "-c http.emptyAuth=false ") {
				t.Errorf("git connects with the settings of its version: %s", line)
			}
		}
	}
	if asked < 4 {
		t.Errorf("git connected %d times:\n%s", asked, b)
	}
}
