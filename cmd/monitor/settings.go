package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/cargo/registry"
	"cratelog/config"
	"cratelog/entry"
	"cratelog/internal/daemon"
	"cratelog/internal/durable"
	"cratelog/monitor"
	"cratelog/monitor/alert"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
)

// settings is the file that config/monitor.example.toml explains.
type settings struct {
	Database  string `toml:"database"`
	Evidence  string `toml:"evidence"`
	Listen    string `toml:"listen"`
	Name      string `toml:"name"`
	PublicURL string `toml:"public_url"`
	Operator  string `toml:"operator"`
	Contact   string `toml:"contact"`
	Since     string `toml:"since"`

	BrowserVerify string `toml:"browser_verify"`

	Log []logSettings `toml:"log"`

	Development   bool     `toml:"development"`
	Programs      []string `toml:"programs"`
	AllowUnproven []string `toml:"allow_unproven"`
	AllowHTTP     bool     `toml:"allow_http"`
	Openings      bool     `toml:"openings"`

	Builds struct {
		Sets []string `toml:"sets"`
	} `toml:"builds"`

	Registry struct {
		Index     string `toml:"index"`
		Name      string `toml:"name"`
		Subject   string `toml:"subject"`
		TokenFile string `toml:"token_file"`
		Contents  bool   `toml:"contents"`
		Trusted   bool   `toml:"trusted_publishing"`
		monitor.RegistryTiming
	} `toml:"registry"`

	monitor.Timing
	ShutdownTimeout config.Duration `toml:"shutdown_timeout"`

	Repositories map[string]string `toml:"repositories"`

	Subscriptions struct {
		Enabled      bool `toml:"enabled"`
		Max          int  `toml:"max"`
		AllowPrivate bool `toml:"allow_private"`
	} `toml:"subscriptions"`
	Channel []alert.Config `toml:"channel"`
}

// logSettings is a table [[log]].
type logSettings struct {
	Trust     string            `toml:"trust"`
	URL       string            `toml:"url"`
	Mirrors   []string          `toml:"mirrors"`
	Witnesses map[string]string `toml:"witnesses"`
}

// setup is a settings file with what it names.
type setup struct {
	settings
	path string
}

// maxToken bounds the file of the registry's token.
const maxToken = 64 << 10

// parseSettings parses the flags of a command, and reads the settings file that they name.
func parseSettings(fs *flag.FlagSet, args []string) (*setup, error) {
	file := fs.String("config", "", "settings `FILE`")
	if err := daemon.Parse(fs, args, "config"); err != nil {
		return nil, err
	}
	return loadSettings(*file)
}

// loadSettings reads a settings file and checks what every command needs.
func loadSettings(path string) (*setup, error) {
	s := &setup{path: path}
	s.Openings = true
	s.ShutdownTimeout.Duration = 10 * time.Second
	if err := config.LoadTOML(path, &s.settings); err != nil {
		return nil, err
	}
	for _, required := range []struct{ key, value string }{{"database", s.Database}, {"evidence", s.Evidence}} {
		if required.value == "" {
			return nil, fmt.Errorf("%s: the setting %q is missing; see config/monitor.example.toml", path, required.key)
		}
	}
	u, err := url.Parse(s.PublicURL)
	if s.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%s: public_url: %q is not an http or https URL", path, s.PublicURL)
	}
	if s.Subscriptions.Enabled && s.PublicURL == "" {
		return nil, fmt.Errorf("%s: subscriptions need public_url: every message has the address that ends them", path)
	}
	if s.Subscriptions.Max < 0 {
		return nil, fmt.Errorf("%s: subscriptions: max: %d is less than none", path, s.Subscriptions.Max)
	}
	return s, nil
}

// beside resolves a file name found in the settings file.
func (s *setup) beside(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(s.path), name)
}

func (s *setup) database() string { return s.beside(s.Database) }
func (s *setup) evidence() string { return s.beside(s.Evidence) }

// channels makes the alert channels.
func (s *setup) channels() ([]alert.Channel, error) {
	all, err := alert.Open(s.Channel, filepath.Dir(s.path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return all, nil
}

// withStore opens the database for f.
func (s *setup) withStore(ctx context.Context, f func(db *store.Store) error) error {
	db, err := store.Open(ctx, s.database())
	if err != nil {
		return err
	}
	defer db.Close()
	return f(db)
}

// logs reads the trust files: every log that one of them lists is followed.
func (s *setup) logs() ([]monitor.LogConfig, error) {
	var all []monitor.LogConfig
	for i, l := range s.Log {
		where := fmt.Sprintf("%s: log %d", s.path, i+1)
		if l.Trust == "" {
			return nil, fmt.Errorf("%s: trust: name the trust file (c2sp.org/tlog-policy) with its keys and witnesses", where)
		}
		policy, err := readTrust(s.beside(l.Trust))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		var origins []string
		for _, k := range policy.Logs() {
			if !slices.Contains(origins, k.Origin) {
				origins = append(origins, k.Origin)
			}
		}
		if len(origins) != 1 && (l.URL != "" || len(l.Mirrors) > 0) {
			return nil, fmt.Errorf("%s: url and mirrors are of one log, and %s lists %d; make a trust file for each",
				where, l.Trust, len(origins))
		}
		for _, origin := range origins {
			all = append(all, monitor.LogConfig{Origin: origin, Policy: policy, URL: l.URL,
				Mirrors: l.Mirrors, Witnesses: l.Witnesses})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: there is no log to follow; add a table [[log]], see config/monitor.example.toml",
			s.path)
	}
	return all, nil
}

// proofs is the verifier for the programs that the settings accept.
func (s *setup) proofs() (*proofcheck.Verifier, error) {
	files := make([]string, len(s.Programs))
	for i, name := range s.Programs {
		files[i] = s.beside(name)
	}
	v, err := proofcheck.Load(files, s.Development)
	if err == nil && len(v.Programs()) == 0 {
		err = proofcheck.ErrNoPrograms
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return v, nil
}

// sets reads the files of sets of builders.
func (s *setup) sets() ([]*build.Set, error) {
	var all []*build.Set
	for _, name := range s.Builds.Sets {
		set, err := build.ReadSet(s.beside(name))
		if err != nil {
			return nil, fmt.Errorf("%s: [builds] %w", s.path, err)
		}
		all = append(all, set)
	}
	return all, nil
}

// registry is the way to the registry, nil if none is configured.
func (s *setup) registry() (*registry.Index, error) {
	r := s.Registry
	if r.Index == "" {
		if r.Name != "" || r.TokenFile != "" || r.Contents || r.Trusted {
			return nil, fmt.Errorf("%s: registry: index is missing: the URL of the registry's sparse index", s.path)
		}
		return nil, nil
	}
	index, err := registry.SparseURL(r.Index)
	if err == nil {
		if err = registry.CheckURL(index, s.AllowHTTP); err != nil && registry.CheckURL(index, true) == nil {
			err = fmt.Errorf("%w, or set allow_http", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: registry: index: %w", s.path, err)
	}
	if r.Subject != "" {
		if err := entry.CheckRegistry(r.Subject); err != nil {
			return nil, fmt.Errorf("%s: registry: subject: %w", s.path, err)
		}
	}
	x := &registry.Index{URL: index, UserAgent: monitor.UserAgent, AllowHTTP: s.AllowHTTP}
	if r.TokenFile != "" {
		token, err := durable.Read(s.beside(r.TokenFile), maxToken)
		if err != nil {
			return nil, fmt.Errorf("%s: registry: token_file: %w", s.path, err)
		}
		x.Token = strings.TrimRight(string(token), "\r\n")
	}
	return x, nil
}

// monitorConfig makes the monitor's configuration for an open store.
func (s *setup) monitorConfig(db *store.Store, logger *slog.Logger) (monitor.Config, *proofcheck.Verifier, error) {
	logs, err := s.logs()
	if err != nil {
		return monitor.Config{}, nil, err
	}
	proofs, err := s.proofs()
	if err != nil {
		return monitor.Config{}, nil, err
	}
	reg, err := s.registry()
	if err != nil {
		return monitor.Config{}, nil, err
	}
	sets, err := s.sets()
	if err != nil {
		return monitor.Config{}, nil, err
	}
	if info, err := os.Stat(s.evidence()); err != nil || !info.IsDir() {
		return monitor.Config{}, nil, errors.Join(
			fmt.Errorf("%s: evidence: %s is not a directory; monitor init makes it", s.path, s.evidence()), err)
	}
	routes := alert.Routes(s.Channel)
	cfg := monitor.Config{
		Logs: logs, Store: db, EvidenceDir: s.evidence(), Proofs: proofs,
		ProgramFile: func(id [32]byte) []byte {
			p, ok := proofs.Program(id)
			if !ok {
				return nil
			}
			text, err := p.Marshal()
			if err != nil {
				return nil
			}
			return text
		},
		Forgers: func(id [32]byte) string {
			p, ok := proofs.Program(id)
			if !ok {
				return "it is not known here who made them, and whoever did could forge"
			}
			return p.Forgers()
		},
		Sets:         sets,
		RegistryName: s.Registry.Name, RegistrySubject: s.Registry.Subject, Contents: s.Registry.Contents,
		Openings: s.Openings,
		Timing:   s.Timing, RegistryTiming: s.Registry.RegistryTiming,
		Route: func(f store.Finding, w *store.Watch) []string {
			asked := ""
			if w != nil {
				asked = w.Channel
			}
			return routes.For(f.Class, f.Kind, asked)
		},
		AllowUnproven: s.AllowUnproven, AllowHTTP: s.AllowHTTP, Logger: logger,
	}
	if reg != nil {
		cfg.Registry, cfg.RegistryIndex = reg, "sparse+"+reg.URL
		if s.Registry.Trusted {
			cfg.Publications = reg
		}
	}
	return cfg, proofs, nil
}
