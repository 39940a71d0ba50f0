// Package credential is a credential provider of cargo's that gives a token for
// publishing only if the very .crate that cargo is about to upload is in the log.
//
// # Where it stands
//
// cargo asks its credential provider before it uploads, and tells name, version and
// SHA-256 of the .crate (cargo's reference, "Credential Provider Protocol"). Serve
// answers with an error that cargo shows, and stops at, unless
//
//   - there is a bundle, in the directory where "cargo zkp publish" keeps what it
//     made or in a log that the reader's policy names; and
//   - the policy accepts it, with its proof, checkpoint, witnesses and quorum; and
//   - its entry is about this name, this version and this SHA-256.
//
// The token itself is another provider's: see Source.
//
// # What it cannot do
//
// It keeps an honest person, or an honest machine, from publishing what is not
// proven. It is not a defense against the holder of the token: cargo takes a token from
// --token and another provider from --config, and then does not ask.
//
// It never answers "not found" when cargo asks for a token for reading, with which
// each publication begins: cargo would turn to the next provider, keep that one's
// token for the whole run, and never ask for the publication.
package credential

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"cratelog/cargo"
)

// maxLine bounds one message of the protocol in bytes.
const maxLine = 1 << 20

// PluginFlag is the one argument with which cargo starts a provider.
const PluginFlag = "--cargo-plugin"

// Request is what cargo asks. Its fields are those of the protocol.
type Request struct {
	V        int `json:"v"`
	Registry struct {
		IndexURL string   `json:"index-url"`
		Name     string   `json:"name"` // "" if cargo knows only the index
		Headers  []string `json:"headers"`
	} `json:"registry"`
	Kind      string   `json:"kind"`      // get, login, logout
	Operation string   `json:"operation"` // of get: read, publish, yank, unyank, owners
	Name      string   `json:"name"`
	Version   string   `json:"vers"`
	Checksum  string   `json:"cksum"` // SHA-256 in hex
	Args      []string `json:"args"`  // what the configuration names behind the program

	raw []byte
}

// Upload is what cargo is about to upload.
type Upload struct {
	Name, Version string
	SHA256        [32]byte
	Index         string // of the registry, as cargo writes it
}

// A Check decides about an upload. Its error is for people: the first line says what
// is wrong, further lines why, and what to do.
type Check func(ctx context.Context, u Upload) error

// A Source gives answers that hold tokens: those of another provider.
type Source interface {
	// Ask returns the one line that answers the request.
	Ask(ctx context.Context, r *Request) ([]byte, error)
}

// Provider is a credential provider that was set up by the arguments of a request.
type Provider struct {
	Check Check
	Token Source
}

// Serve speaks the protocol on in and out until in ends. setUp makes a provider of a
// request's arguments. The error is one of in or out; whatever is wrong with a
// request is answered to cargo.
func Serve(ctx context.Context, in io.Reader, out io.Writer, setUp func(args []string) (*Provider, error)) error {
	if _, err := io.WriteString(out, "{\"v\":[1]}\n"); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		answer := answer(ctx, bytes.Clone(lines.Bytes()), setUp)
		if _, err := out.Write(append(bytes.TrimRight(answer, "\n"), '\n')); err != nil {
			return err
		}
	}
	return lines.Err()
}

func answer(ctx context.Context, line []byte, setUp func([]string) (*Provider, error)) []byte {
	r, err := parseRequest(line)
	if err != nil {
		return refusal(err)
	}
	p, err := setUp(r.Args)
	if err != nil {
		return refusal(fmt.Errorf("the credential provider's arguments in cargo's configuration are wrong\n%w", err))
	}
	b, err := p.answer(ctx, r)
	if err != nil {
		return refusal(err)
	}
	return b
}

func parseRequest(line []byte) (*Request, error) {
	r := &Request{raw: line}
	if err := json.Unmarshal(line, r); err != nil {
		return nil, errors.New("cargo's request to the credential provider is not the JSON that was expected")
	}
	if r.V != 1 {
		return nil, fmt.Errorf("cargo asks in version %d of the credential provider protocol, and only 1 is known; "+
			"install a newer cratelog", r.V)
	}
	return r, nil
}

func (p *Provider) answer(ctx context.Context, r *Request) ([]byte, error) {
	switch r.Kind {
	case "get":
		if err := p.allow(ctx, r); err != nil {
			return nil, err
		}
	case "login", "logout":
	default:
		// SPEC: "operation-not-supported": The provider does not support the requested operation.
		return []byte(`{"Err":{"kind":"operation-not-supported"}}`), nil
	}
	b, err := p.Token.Ask(ctx, r)
	if _, next := p.Token.(Next); next || err != nil || r.Kind != "get" {
		return b, err
	}
	return strict(b, r)
}

// allow decides whether a token is given. What cargo may come to use one for, and this
// program does not know, might publish.
func (p *Provider) allow(ctx context.Context, r *Request) error {
	switch r.Operation {
	case "read", "owners", "yank", "unyank":
		return nil
	case "publish":
		u, err := r.upload()
		if err != nil {
			return err
		}
		return p.Check(ctx, u)
	}
	return fmt.Errorf("cargo wants a token for the operation %q, which this version does not know, so it gives none\n"+
		"install a newer cratelog, or do this without its credential provider", r.Operation)
}

func (r *Request) upload() (Upload, error) {
	u := Upload{Name: r.Name, Version: r.Version, Index: r.Registry.IndexURL}
	sum, err := hex.DecodeString(r.Checksum)
	if err != nil || len(sum) != len(u.SHA256) || u.Name == "" || u.Version == "" {
		return u, errors.New("cargo did not tell name, version and checksum of what it is about to upload, so it cannot be " +
			"checked")
	}
	u.SHA256 = [32]byte(sum)
	return u, nil
}

// failure is an answer that gives no token.
type failure struct {
	Kind    string   `json:"kind"`
	Message string   `json:"message"`
	Causes  []string `json:"caused-by"`
}

// strict rewrites another provider's answer to a request for a token, so that cargo
// neither keeps the token nor uses it for anything else: it would not ask again.
func strict(b []byte, r *Request) ([]byte, error) {
	token, found, err := readAnswer(b)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, noToken(r)
	}
	return tokenAnswer(token)
}

// readAnswer reads another provider's answer to a request for a token.
func readAnswer(b []byte) (token string, found bool, err error) {
	var in struct {
		Ok *struct {
			Token *string `json:"token"`
		}
		Err *failure
	}
	// What cannot be read is not shown: it may hold the token.
	if err := json.Unmarshal(b, &in); err != nil || (in.Ok == nil) == (in.Err == nil) ||
		in.Ok != nil && in.Ok.Token == nil {
		return "", false, errors.New("the credential provider that is to give the token answered something else than the " +
			"protocol allows")
	}
	if in.Ok != nil {
		return *in.Ok.Token, true, nil
	}
	switch in.Err.Kind {
	case "not-found", "url-not-supported":
		return "", false, nil
	}
	return "", false, errors.New(strings.Join(append([]string{"the credential provider that is to give the token " +
		"failed: " + cmp.Or(in.Err.Message, in.Err.Kind)}, in.Err.Causes...), "\n"))
}

func noToken(r *Request) error {
	name := r.Registry.Name
	if name == "" {
		return fmt.Errorf("no token was found for the registry with the index %s", r.Registry.IndexURL)
	}
	return fmt.Errorf("no token was found for the registry %s\nset %s, or run: cargo login --registry %s --config "+
		"'%s.credential-provider=\"cargo:token\"'",
		name, variable(name, "TOKEN"), name, Table(name))
}

// Table is the table of cargo's configuration that is about a registry.
func Table(name string) string {
	if name == cargo.DefaultSource {
		return "registry"
	}
	return "registries." + name
}

// tokenAnswer tells cargo a token, to be used once.
func tokenAnswer(token string) ([]byte, error) {
	type get struct {
		Kind        string `json:"kind"`
		Token       string `json:"token"`
		Cache       string `json:"cache"`
		Independent bool   `json:"operation_independent"`
	}
	return json.Marshal(map[string]get{"Ok": {"get", token, "never", false}})
}

// notFound makes cargo ask the next provider.
func notFound() []byte { return []byte(`{"Err":{"kind":"not-found"}}`) }

// refusal tells cargo an error: each line is a message of its own, as cargo shows
// causes.
func refusal(err error) []byte {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	b, err := json.Marshal(map[string]failure{"Err": {"other", lines[0], lines[1:]}})
	if err != nil {
		return []byte(`{"Err":{"kind":"other","message":"the refusal cannot be written","caused-by":[]}}`)
	}
	return b
}
