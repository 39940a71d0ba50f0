package alert

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"cratelog/config"
	"cratelog/internal/durable"
	"cratelog/monitor/store"
)

// Config is one channel in the settings, a table [[channel]].
type Config struct {
	Name string `toml:"name"` // lower-case letters, digits and -
	Type string `toml:"type"` // "webhook", "command" or "mail"

	// MinClass is the least class to send: "security", "operational" (the default) or "info".
	MinClass store.Class `toml:"min_class"`
	// Kinds are the only kinds of findings to send, of those classes; empty for all.
	Kinds []string `toml:"kinds"`
	// Heartbeat is how often to say that the monitor lives; 0 for never.
	Heartbeat config.Duration `toml:"heartbeat"`
	// Timeout bounds one attempt; 0 for 15 s.
	Timeout config.Duration `toml:"timeout"`

	URL        string `toml:"url"`         // webhook: https, or http
	SecretFile string `toml:"secret_file"` // webhook: key of the signature, 16 to 1024 bytes; may be absent
	PublicOnly bool   `toml:"public_only"` // webhook: refuse private and local addresses

	Command []string `toml:"command"` // command, mail: program with its arguments, an absolute path
	From    string   `toml:"from"`    // mail
	To      []string `toml:"to"`      // mail
}

const defaultTimeout = 15 * time.Second

var nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

// Open makes the channels of the settings. Files are relative to dir.
func Open(configs []Config, dir string) ([]Channel, error) {
	var all []Channel
	var errs []error
	seen := make(map[string]bool)
	for i, c := range configs {
		ch, err := c.open(dir)
		if err == nil && seen[c.Name] {
			err = errors.New("there are two channels of this name")
		}
		if seen[c.Name] = true; err != nil {
			errs = append(errs, fmt.Errorf("channel %d (%q): %w", i+1, clip(c.Name, 64), err))
			continue
		}
		all = append(all, ch)
	}
	return all, errors.Join(errs...)
}

func (c Config) open(dir string) (Channel, error) {
	if !nameShape.MatchString(c.Name) {
		return nil, errors.New("name: 1 to 64 lower-case letters, digits and -")
	}
	if c.MinClass != "" && c.MinClass.Rank() == 0 {
		return nil, fmt.Errorf(`min_class: %q is not "security", "operational" or "info"`, c.MinClass)
	}
	if c.Timeout.Duration == 0 {
		c.Timeout.Duration = defaultTimeout
	}
	if err := c.onlyOf(map[string][]string{
		"webhook": {"url", "secret_file", "public_only"}, "command": {"command"}, "mail": {"command", "from", "to"},
	}); err != nil {
		return nil, err
	}
	switch c.Type {
	case "webhook":
		return c.webhook(dir)
	case "command":
		return c.hook()
	}
	return c.mail()
}

// onlyOf refuses settings that do not belong to the type.
func (c Config) onlyOf(types map[string][]string) error {
	mine, known := types[c.Type]
	if !known {
		return fmt.Errorf(`type: %q is not "webhook", "command" or "mail"`, c.Type)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"url", c.URL != ""}, {"secret_file", c.SecretFile != ""}, {"public_only", c.PublicOnly},
		{"command", c.Command != nil}, {"from", c.From != ""}, {"to", c.To != nil},
	} {
		if f.set && !slices.Contains(mine, f.name) {
			return fmt.Errorf("%s: a %s has no such setting", f.name, c.Type)
		}
	}
	return nil
}

func (c Config) webhook(dir string) (Channel, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Fragment != "" {
		return nil, errors.New("url: not an http or https URL") // it may hold a secret, so it is not shown
	}
	var secret []byte
	if c.SecretFile != "" {
		if secret, err = readSecret(dir, c.SecretFile); err != nil {
			return nil, err
		}
	}
	return newWebhook(c.Name, u, secret, c.Timeout.Duration, c.PublicOnly), nil
}

// readSecret reads the key of a webhook's signature: the file's bytes without a newline at
// the end.
func readSecret(dir, name string) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	b, err := durable.Read(name, 1026)
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	b = []byte(strings.TrimRight(string(b), "\r\n"))
	if len(b) < 16 || len(b) > 1024 {
		return nil, fmt.Errorf("secret_file: %s holds %d bytes; 16 to 1024 are needed", name, len(b))
	}
	return b, nil
}

func (c Config) hook() (Channel, error) {
	p, err := newProgram(c.Command, c.Timeout.Duration)
	if err != nil {
		return nil, err
	}
	return &command{named(c.Name), p}, nil
}

func (c Config) mail() (Channel, error) {
	p, err := newProgram(c.Command, c.Timeout.Duration)
	if err != nil {
		return nil, err
	}
	m := &mailer{named: named(c.Name), program: p}
	if m.from, err = address("from", c.From); err != nil {
		return nil, err
	}
	if len(c.To) == 0 || len(c.To) > 100 {
		return nil, errors.New("to: 1 to 100 addresses are needed")
	}
	for _, to := range c.To {
		a, err := address("to", to)
		if err != nil {
			return nil, err
		}
		m.to = append(m.to, a)
	}
	return m, nil
}

func address(key, s string) (*mail.Address, error) {
	a, err := mail.ParseAddress(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%s: %q is not a mail address", key, clip(s, 80))
	}
	return a, nil
}

// Routes says which channels take what.
type Routes []Config

// For returns the names of the channels for a finding. asked is the channel that a watch
// names, if any: it alone is used then, whatever its settings, if it exists.
func (r Routes) For(class store.Class, kind, asked string) []string {
	names := []string{}
	for _, c := range r {
		if asked != "" && c.Name == asked {
			return []string{asked}
		}
		least := c.MinClass
		if least == "" {
			least = store.Operational
		}
		if class.Rank() >= least.Rank() && class.Rank() > 0 && (len(c.Kinds) == 0 || slices.Contains(c.Kinds, kind)) {
			names = append(names, c.Name)
		}
	}
	return names
}
