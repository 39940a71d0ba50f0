package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"cratelog/config"
	"cratelog/config/signer"
	"cratelog/internal/web"
	"cratelog/witness"
)

// settings is the file that config/witness.example.toml explains.
type settings struct {
	Name      string            `toml:"name"`
	Listen    string            `toml:"listen"`
	Database  string            `toml:"database"`
	Keys      []string          `toml:"keys"`
	Monitor   string            `toml:"monitor"`
	Disabled  []string          `toml:"disabled"`
	MaxListed int               `toml:"max_listed"`
	Bastion   []bastionSettings `toml:"bastion"`
	List      []listSettings    `toml:"list"`
	signer.Settings
	Log []struct {
		Origin string `toml:"origin"`
		VKey   string `toml:"vkey"`
	} `toml:"log"`
}

type listSettings struct {
	From  string          `toml:"from"` // https URL or file
	Every config.Duration `toml:"every"`
}

type bastionSettings struct {
	Address string `toml:"address"` // host:port
	Key     string `toml:"key"`
	Roots   string `toml:"roots"` // PEM file; "": those of the system
}

const (
	defaultEvery = time.Hour
	shortest     = time.Minute
	longest      = 7 * 24 * time.Hour
)

// load reads the settings file at path. File names in it are relative to its directory.
func load(path string, logger *slog.Logger) (settings, witness.Config, error) {
	var s settings
	if err := config.LoadTOML(path, &s); err != nil {
		return s, witness.Config{}, err
	}
	if err := config.Require(path, "witness", map[string]string{
		"name": s.Name, "listen": s.Listen, "database": s.Database,
	}); err != nil {
		return s, witness.Config{}, err
	}
	cfg := witness.Config{Name: s.Name, DBPath: config.Beside(path, s.Database), Logger: logger,
		Monitor: s.Monitor, Disabled: s.Disabled, MaxListed: s.MaxListed}
	if err := s.check(path); err != nil {
		return s, cfg, fmt.Errorf("%s: %w", path, err)
	}
	for _, l := range s.Log {
		cfg.Logs = append(cfg.Logs, witness.Log{Origin: l.Origin, VKey: l.VKey})
	}
	return s, cfg, nil
}

// loadKeys is load, and opens the keys.
func loadKeys(path string, logger *slog.Logger) (settings, witness.Config, error) {
	s, cfg, err := load(path, logger)
	if err != nil {
		return s, cfg, err
	}
	if cfg.Signers, err = readKeys(path, s.Keys, s.Settings); err != nil {
		return s, cfg, err
	}
	cfg.Check = keyFiles(path, s.Keys)
	return s, cfg, nil
}

func readKeys(path string, files []string, elsewhere signer.Settings) ([]crypto.Signer, error) {
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: the setting \"keys\" is missing; make a key with: witness keygen", path)
	}
	var signers []crypto.Signer
	for _, file := range files {
		key, err := signer.Open(path, file, elsewhere)
		if err != nil {
			return nil, fmt.Errorf("%s: keys: %w", path, err)
		}
		signers = append(signers, key)
	}
	return signers, nil
}

// keyFiles returns a check that the key files are still there, and the same: the keys are in memory, and
// without their files the next start fails. What was no file at the start is not looked at.
func keyFiles(path string, files []string) func() []string {
	was := make(map[string][]byte)
	for _, file := range files {
		if text, err := config.ReadKeyFile(config.Beside(path, file)); err == nil {
			was[config.Beside(path, file)] = text
		}
	}
	return func() []string {
		var problems []string
		for file, text := range was {
			switch now, err := config.ReadKeyFile(file); {
			case err != nil:
				problems = append(problems, fmt.Sprintf("a key is in memory, and its file cannot be read any more, so the witness will "+
					"not start again: %v", err))
			case !bytes.Equal(now, text):
				problems = append(problems, fmt.Sprintf("the key file %s has changed since the start; restart to use it", file))
			}
		}
		slices.Sort(problems)
		return problems
	}
}

// check looks at settings that have a form of their own, and puts defaults in.
func (s *settings) check(path string) error {
	if err := config.CheckKeyName(s.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if s.Monitor != "" {
		if err := web.CheckAddress(s.Monitor); err != nil {
			return fmt.Errorf("monitor: %w", err)
		}
	}
	if s.MaxListed < 0 {
		return fmt.Errorf("max_listed: %d is no number of logs", s.MaxListed)
	}
	for i := range s.List {
		if err := s.List[i].check(path); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	for i, b := range s.Bastion {
		host, port, err := net.SplitHostPort(b.Address)
		switch {
		case err != nil || host == "" || port == "":
			return fmt.Errorf("bastion: the address %q is not \"host:port\"", b.Address)
		case b.Key == "":
			return fmt.Errorf("bastion: the key of %s is missing; make one with: witness keygen", b.Address)
		case slices.Contains(s.Keys, b.Key):
			return fmt.Errorf("bastion: %s is a key of the witness; a bastion has one of its own", b.Key)
		case slices.ContainsFunc(s.Bastion[:i], func(o bastionSettings) bool { return o.Address == b.Address }):
			return fmt.Errorf("bastion: %s is there twice", b.Address)
		}
	}
	return nil
}

func (l *listSettings) check(path string) error {
	if l.Every.Duration == 0 {
		l.Every.Duration = defaultEvery
	}
	if l.Every.Duration < shortest || l.Every.Duration > longest {
		return fmt.Errorf("every: %v is not from %v to %v", l.Every.Duration, shortest, longest)
	}
	if !strings.Contains(l.From, "://") {
		if l.From == "" {
			return fmt.Errorf("the setting \"from\" is missing: an https URL, or a file")
		}
		l.From = config.Beside(path, l.From)
		return nil
	}
	u, err := url.Parse(l.From)
	if err != nil || u.Host == "" || u.User != nil || !private(u) {
		return fmt.Errorf("from: %q is not an https URL; nobody vouches for a list but the server it comes from", l.From)
	}
	return nil
}

// private says whether nobody on the way to a URL can change what comes from there.
func private(u *url.URL) bool {
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && err == nil && ip.IsLoopback()
}

// bastionKey reads the key of a bastion.
func bastionKey(path string, b bastionSettings) (ed25519.PrivateKey, error) {
	key, err := config.ReadKey(config.Beside(path, b.Key))
	if err != nil {
		return nil, fmt.Errorf("%s: bastion: %w", path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: bastion: %s holds a key of type %T; a bastion wants Ed25519", path, b.Key, key)
	}
	return private, nil
}
