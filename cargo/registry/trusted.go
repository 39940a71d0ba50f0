package registry

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Trusted is what a registry says about the workflow that published a release: it had an identity of
// its own, and no token of a person ("trusted publishing"). Texts have at most maxTrusted bytes.
type Trusted struct {
	Provider   string `json:"provider"`   // "github", "gitlab", or another
	Repository string `json:"repository"` // OWNER/NAME there
	Run        string `json:"run"`        // the workflow's run, or the job
	Commit     string `json:"commit"`     // id of the git commit, hex
}

const (
	maxVersionSize = 4 << 20 // bytes of what the API says about one release
	maxTrusted     = 300
	trustedTime    = 30 * time.Second
)

// Trusted asks the registry's web API, which learns by it that the release is of interest, what it
// says about its publication: nil if nothing, also where a registry has no such API. sum is the
// .crate's SHA-256: an answer about other bytes is an error.
//
// SPEC: the index does not say it; GET API/api/v1/crates/NAME/VERSION does, where API stands in
// config.json, as {"version": {"crate", "num", "checksum", "trustpub_data": null or
// {"provider": "github", "repository", "run_id", "sha"} or
// {"provider": "gitlab", "project_path", "job_id", "sha"}}}.
func (x *Index) Trusted(ctx context.Context, name, version string, sum [32]byte) (*Trusted, error) {
	if err := checkRelease(name, version); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, trustedTime)
	defer cancel()
	c, err := x.Config(ctx)
	if err != nil {
		return nil, err
	}
	if c.API == "" {
		return nil, nil
	}
	u, err := url.Parse(c.API)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, fmt.Errorf(`the registry's config.json: "api" is not a plain URL: %s`, quote(c.API))
	}
	token := ""
	if c.Auth {
		token = x.Token
	}
	address := strings.TrimRight(c.API, "/") + "/api/v1/crates/" + name + "/" + escape(version)
	resp, err := x.get(ctx, address, http.Header{"Accept": {"application/json"}}, token, true)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := read(resp, maxVersionSize)
	if err != nil {
		return nil, err
	}
	t, err := parseTrusted(b, name, version, sum)
	if err != nil {
		return nil, fmt.Errorf("what the registry's API says of %s v%s: %w", name, version, err)
	}
	return t, nil
}

func parseTrusted(b []byte, name, version string, sum [32]byte) (*Trusted, error) {
	all, err := object(b)
	if err != nil {
		return nil, err
	}
	says, err := object(all["version"])
	if err != nil {
		return nil, fmt.Errorf(`"version": %w`, err)
	}
	var crate, num, checksum string
	err = errors.Join(field(says, "crate", &crate, true), field(says, "num", &num, true), field(says, "checksum", &checksum, false))
	switch {
	case err != nil:
		return nil, err
	case crate != name || num != version:
		return nil, fmt.Errorf("it is about %s %s", quote(crate), quote(num))
	case checksum != "" && checksum != hex.EncodeToString(sum[:]):
		return nil, fmt.Errorf("it is about a .crate with the SHA-256 %s, and not %x", quote(checksum), sum)
	}
	data := says["trustpub_data"]
	if data == nil || string(data) == "null" {
		return nil, nil
	}
	t, err := parseTrustpub(data)
	if err != nil {
		return nil, fmt.Errorf(`"trustpub_data": %w`, err)
	}
	return t, nil
}

func parseTrustpub(data json.RawMessage) (*Trusted, error) {
	says, err := object(data)
	if err != nil {
		return nil, err
	}
	t := &Trusted{}
	repository, run := "repository", "run_id"
	if err := field(says, "provider", &t.Provider, true); err != nil {
		return nil, err
	}
	if t.Provider == "gitlab" {
		repository, run = "project_path", "job_id"
	}
	known := t.Provider == "gitlab" || t.Provider == "github"
	err = errors.Join(field(says, repository, &t.Repository, known), field(says, run, &t.Run, known), field(says, "sha", &t.Commit, true))
	if err != nil {
		return nil, err
	}
	for _, s := range []string{t.Provider, t.Repository, t.Run} {
		if len(s) > maxTrusted {
			return nil, fmt.Errorf("a text in it has more than %d bytes", maxTrusted)
		}
	}
	if id, err := hex.DecodeString(t.Commit); err != nil || len(id) != 20 && len(id) != 32 || hex.EncodeToString(id) != t.Commit {
		return nil, fmt.Errorf(`"sha" is not the id of a commit: %s`, quote(t.Commit))
	}
	return t, nil
}
