package credential

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"cratelog/internal/durable"
)

// askTimeout bounds what another provider may take: it may be asking a person.
const askTimeout = 5 * time.Minute

// Command returns the source that a provider's words name, as cargo's configuration
// has them: cargo:token, cargo:token-from-stdout PROGRAM ARGS, or a program that
// speaks the protocol. The other providers that are parts of cargo cannot be asked
// from outside of it: see Next.
func Command(words []string, settings func() (*Settings, error)) (Source, error) {
	switch {
	case len(words) == 0:
		return nil, errors.New("name the provider that gives the token")
	case words[0] == "cargo:token":
		if len(words) > 1 {
			return nil, errors.New("cargo:token takes no arguments")
		}
		return tokenFile{settings}, nil
	case words[0] == "cargo:token-from-stdout":
		if len(words) < 2 {
			return nil, errors.New("cargo:token-from-stdout needs the program that prints the token")
		}
		return printer(words[1:]), nil
	case strings.HasPrefix(words[0], "cargo:"):
		return nil, fmt.Errorf("%s is a part of cargo and cannot be asked from outside of it\n"+
			"list it in registry.global-credential-providers, and behind it this provider with --next", words[0])
	}
	return spawned(words), nil
}

// tokenFile gives what cargo:token would give. It keeps nothing.
type tokenFile struct {
	settings func() (*Settings, error)
}

func (s tokenFile) Ask(ctx context.Context, r *Request) ([]byte, error) {
	if r.Kind != "get" {
		return nil, keepsNothing(r)
	}
	found, err := s.settings()
	if err != nil {
		return nil, err
	}
	name := r.Registry.Name
	if name == "" {
		name = found.Named(r.Registry.IndexURL)
	}
	token := ""
	if name != "" {
		token = found.Token(name)
	}
	if token == "" {
		return nil, noToken(r)
	}
	return tokenAnswer(token)
}

// keepsNothing answers login and logout.
func keepsNothing(r *Request) error {
	flag := ""
	if r.Registry.Name != "" {
		flag = fmt.Sprintf("\nrun: cargo %s --registry %s --config '%s.credential-provider=\"cargo:token\"'", r.Kind,
			r.Registry.Name, Table(r.Registry.Name))
	}
	return fmt.Errorf("cargo-zkp only reads tokens, so it cannot %s%s", r.Kind, flag)
}

// Next is the source that leaves the token to the provider that stands before this
// one in registry.global-credential-providers. cargo must be given something when it
// asks for a token for reading (see the package comment): it gets a word that is no
// token. cargo sends that nowhere unless the registry demands a token for reading; such
// a registry refuses it, or Next does if cargo tells that it is one.
type Next struct{}

// Ask returns what makes cargo turn to the next provider.
func (Next) Ask(_ context.Context, r *Request) ([]byte, error) {
	switch {
	case r.Kind != "get" || r.Operation == "publish":
		return notFound(), nil
	case len(r.Registry.Headers) > 0:
		return nil, errors.New("this registry demands a token for reading, which cargo-zkp --next cannot leave to another " +
			"provider\nname the provider behind \"--\" in the registry's own credential-provider")
	}
	return tokenAnswer("none")
}

// printer is a program whose first line of output is the token, as cargo has it for
// cargo:token-from-stdout.
type printer []string

func (p printer) Ask(ctx context.Context, r *Request) ([]byte, error) {
	if r.Kind != "get" {
		return nil, keepsNothing(r)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p[0], p[1:]...)
	cmd.Env = append(os.Environ(), "CARGO_REGISTRY_INDEX_URL="+r.Registry.IndexURL)
	if r.Registry.Name != "" {
		cmd.Env = append(cmd.Env, "CARGO_REGISTRY_NAME_OPT="+r.Registry.Name)
	}
	out := &durable.Buffer{Limit: maxLine}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, os.Stderr, time.Second
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s, which is to print the token, failed: %w", p[0], err)
	}
	lines := strings.Split(strings.TrimRight(out.String(), "\r\n"), "\n")
	if len(lines) != 1 || lines[0] == "" {
		return nil, fmt.Errorf("%s, which is to print the token, did not print one line", p[0])
	}
	return tokenAnswer(strings.TrimRight(lines[0], "\r"))
}

// spawned is a program that speaks the protocol.
type spawned []string

func (s spawned) Ask(ctx context.Context, r *Request) ([]byte, error) {
	request, err := s.request(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s[0], PluginFlag)
	cmd.Stderr, cmd.WaitDelay = os.Stderr, time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the credential provider %s cannot be run: %w", s[0], err)
	}
	answer, talkErr := talk(in, out, request)
	in.Close()
	// It has said all that matters; how it ends does not.
	_, _ = io.Copy(io.Discard, io.LimitReader(out, maxLine))
	waitErr := cmd.Wait()
	if talkErr != nil {
		if waitErr != nil {
			talkErr = waitErr
		}
		return nil, fmt.Errorf("the credential provider %s did not answer: %w", s[0], talkErr)
	}
	return answer, nil
}

// request is the request with the provider's own arguments.
func (s spawned) request(r *Request) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(r.raw, &fields); err != nil {
		return nil, err
	}
	delete(fields, "args")
	if len(s) > 1 {
		args, err := json.Marshal([]string(s[1:]))
		if err != nil {
			return nil, err
		}
		fields["args"] = args
	}
	b, err := json.Marshal(fields)
	return append(b, '\n'), err
}

// talk reads the greeting, sends the request and reads the answer.
func talk(in io.Writer, out io.Reader, request []byte) ([]byte, error) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxLine)
	next := func() ([]byte, error) {
		if lines.Scan() {
			return lines.Bytes(), nil
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
		return nil, io.ErrUnexpectedEOF
	}
	hello, err := next()
	if err != nil {
		return nil, err
	}
	var greeting struct {
		V []int `json:"v"`
	}
	if json.Unmarshal(hello, &greeting) != nil {
		return nil, errors.New("its greeting is not that of a credential provider")
	}
	if !slices.Contains(greeting.V, 1) {
		return nil, errors.New("it does not speak version 1 of the protocol")
	}
	if _, err := in.Write(request); err != nil {
		return nil, err
	}
	answer, err := next()
	return bytes.Clone(answer), err
}
