package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"cratelog/client"
	"cratelog/config"
	"cratelog/config/signer"
	"cratelog/internal/daemon"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// trustKeys are the keys of those who maintain trust files: Ed25519, for notes.
var trustKeys = daemon.Keys{
	Name:  "name",
	Types: map[string]func(string, []byte) error{"ed25519": config.GenerateEncryptedKey},
	VKey: func(path, name string, passphrase []byte) (string, error) {
		key, err := config.ReadEncryptedKey(path, passphrase)
		if err != nil {
			return "", err
		}
		_, vkey, err := config.NewLogSigner(key, name)
		return vkey, err
	},
}

// trust is the verbs for those who maintain a trust file.
func trust(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	verbs := map[string]daemon.Verb{"keygen": trustKeys.Keygen, "sign": signTrust}
	if len(args) > 0 && verbs[args[0]] != nil {
		return verbs[args[0]](ctx, args[1:], stdout, stderr)
	}
	if len(args) > 0 && daemon.IsHelp(args[0]) {
		return flag.ErrHelp
	}
	return outcome.Usagef("the verbs of cratelog trust are keygen and sign")
}

// signTrust adds a maintainer's signature to a trust file.
func signTrust(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("trust sign", flag.ContinueOnError)
	key := fs.String("key", "", "the maintainer's `KEY`: a file, or a key elsewhere, as in config/logd.example.toml")
	name := fs.String("name", "", "the key's `NAME`, where one public key has several")
	old := fs.String("before", "", "the trust `FILE` that readers have now, if a maintainer of that is to sign too")
	var s signer.Settings
	fs.StringVar(&s.Passphrase, "passphrase-file", "", "the passphrase of the key stands in `FILE`")
	file, err := parse(fs, args)
	if err != nil {
		return err
	}
	if *key == "" {
		return outcome.Usagef("trust sign needs -key")
	}
	next, err := readTrust(file)
	if err != nil {
		return err
	}
	var before *client.Trust
	if *old != "" {
		if before, err = readTrust(*old); err != nil {
			return err
		}
	}
	secret, err := signer.Open("", *key, s)
	if err != nil {
		return err
	}
	for _, vkey := range maintainers(next, before) {
		named, _, _ := strings.Cut(vkey, "+")
		if *name != "" && named != *name {
			continue
		}
		signer, have, err := config.NewLogSigner(secret, named)
		if err != nil || have != vkey {
			continue
		}
		signed, err := next.Sign(signer, before)
		if err != nil {
			return err
		}
		if err := durable.Write(file, signed, 0o644); err != nil {
			return err
		}
		return sayTrust(stdout, signed, before)
	}
	return outcome.Refusef("the key %s is of no maintainer of %s: put its vkey there, or name the trust file "+
		"before it with -before",
		*key, file)
}

func maintainers(files ...*client.Trust) (vkeys []string) {
	for _, f := range files {
		if f != nil {
			vkeys = append(vkeys, f.Maintainers...)
		}
	}
	return vkeys
}

func readTrust(path string) (*client.Trust, error) {
	text, err := durable.Read(path, client.MaxPolicySize)
	if err != nil {
		return nil, err
	}
	t, err := client.ParseTrust(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if !t.Maintained() {
		return nil, outcome.Refusef("%s does not begin with \"# cratelog trust/v1\" and its maintainers "+
			"(docs/formats.md)", path)
	}
	return t, nil
}

// sayTrust says who has signed, and whether readers will take it.
func sayTrust(w io.Writer, file []byte, before *client.Trust) error {
	t, err := client.ParseTrust(file)
	if err != nil {
		return err
	}
	own := t.SignedBy(t)
	fmt.Fprintf(w, "trust file %s, number %d: signed by %d of the %d that it asks for (%s)\n", t.Name, t.Sequence,
		len(own),
		t.Threshold, strings.Join(own, ", "))
	if before == nil {
		return nil
	}
	if err := before.CheckUpdate(t); err != nil {
		fmt.Fprintf(w, "readers of number %d do not take it yet: %v\n", before.Sequence, err)
		return nil
	}
	_, err = fmt.Fprintf(w, "readers of number %d take it\n", before.Sequence)
	return err
}
