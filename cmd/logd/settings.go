package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/config"
	"cratelog/config/signer"
	"cratelog/crate"
	"cratelog/internal/durable"
	"cratelog/internal/web"
	"cratelog/log"
	"cratelog/proofcheck"
)

// settings is the file that config/logd.example.toml explains.
type settings struct {
	Origin      string   `toml:"origin"`
	Listen      string   `toml:"listen"`
	Keys        []string `toml:"keys"`
	Storage     string   `toml:"storage"` // posix or s3
	Tree        string   `toml:"tree"`
	State       string   `toml:"state"`
	Trust       string   `toml:"trust"`
	Readers     string   `toml:"trust_for_readers"`
	Programs    []string `toml:"programs"`
	Withdrawn   []string `toml:"withdrawn"`
	ProvingKeys string   `toml:"proving_keys"`
	Openings    string   `toml:"openings"`
	OpeningsMax int64    `toml:"openings_bytes"`
	Development bool     `toml:"development"`
	Monitor     string   `toml:"monitor"`
	Builds      builds   `toml:"builds"`

	S3      s3Table      `toml:"s3"`
	Cluster clusterTable `toml:"cluster"`

	Registries       []registryTable `toml:"registry"`
	RegistryRequests int             `toml:"registry_requests"`

	Shards []log.Shard `toml:"shard"`

	Predecessors []predecessor `toml:"predecessor"`
	Mirrors      []log.Mirror  `toml:"mirror"`
	log.Timing
	log.Limits
	Door      log.Door `toml:"door"`
	LogFormat string   `toml:"log_format"` // text or json
	signer.Settings
	ShutdownTimeout config.Duration `toml:"shutdown_timeout"`
	CrateBytes      int64           `toml:"crate_bytes"`
	InflatedBytes   int64           `toml:"inflated_bytes"`
	CrateFiles      int             `toml:"crate_files"`
	Debug           bool            `toml:"debug"`
}

// registryTable is a [[registry]] that the log asks.
type registryTable struct {
	Index     string `toml:"index"`
	Subject   string `toml:"subject"`
	TokenFile string `toml:"token_file"`
}

// maxRegistryToken bounds the file of a registry's token.
const maxRegistryToken = 4 << 10

// load reads what the table names.
func (t registryTable) load(path string) (r log.Registry, err error) {
	if t.Index == "" {
		return r, errors.New("index is missing: the URL of the registry's sparse index")
	}
	r = log.Registry{Subject: t.Subject, Index: t.Index}
	if t.TokenFile != "" {
		token, err := durable.Read(config.Beside(path, t.TokenFile), maxRegistryToken)
		if err != nil {
			return r, fmt.Errorf("token_file: %w", err)
		}
		r.Token = strings.TrimSpace(string(token))
		if r.Token == "" || strings.ContainsFunc(r.Token, func(c rune) bool { return c < ' ' || c > '~' }) {
			return r, fmt.Errorf("token_file: %s does not hold one line of printable characters, a token", t.TokenFile)
		}
	}
	return r, r.Check()
}

func loadRegistries(path string, tables []registryTable) (out []log.Registry, err error) {
	for i, t := range tables {
		r, err := t.load(path)
		if err != nil {
			return nil, fmt.Errorf("%s: [[registry]] number %d: %w", path, i+1, err)
		}
		out = append(out, r)
	}
	return out, nil
}

// builds is the section that says which build claims are taken.
type builds struct {
	Sets         []string `toml:"sets"` // files
	Withdrawn    []string `toml:"withdrawn"`
	Toolchains   []string `toml:"toolchains"`
	Environments []string `toml:"environments"`
}

// load reads the files that the section names, which are relative to the settings at path.
func (b builds) load(path string) (out log.Builds, err error) {
	for _, name := range b.Sets {
		set, err := build.ReadSet(config.Beside(path, name))
		if err != nil {
			return out, err
		}
		out.Sets = append(out.Sets, set)
	}
	for _, list := range []struct {
		name string
		from []string
		to   *[][32]byte
	}{
		{"withdrawn", b.Withdrawn, &out.Withdrawn}, {"toolchains", b.Toolchains, &out.Toolchains},
		{"environments", b.Environments, &out.Environments},
	} {
		if *list.to, err = ids(list.from); err != nil {
			return out, fmt.Errorf("%s: [builds] %s: %w", path, list.name, err)
		}
	}
	return out, nil
}

// predecessor is a [[predecessor]]: a log for which this one goes on, or which went before that.
type predecessor struct {
	Origin string `toml:"origin"`
	VKey   string `toml:"vkey"`
	Trust  string `toml:"trust"` // a trust file, in the place of vkey
	From   string `toml:"from"`  // a directory, or an http or https URL
}

// load reads what the table names.
func (p predecessor) load(path string) (out log.Predecessor, err error) {
	if p.Origin == "" || p.From == "" || (p.VKey == "") == (p.Trust == "") {
		return out, errors.New("it needs origin, from, and one of vkey and trust")
	}
	out = log.Predecessor{Origin: p.Origin, Policy: []byte("log " + p.VKey + "\nquorum none\n"), From: p.From}
	if p.Trust != "" {
		if out.Policy, err = durable.Read(config.Beside(path, p.Trust), client.MaxPolicySize); err != nil {
			return out, fmt.Errorf("trust: %w", err)
		}
	}
	if !out.Remote() {
		out.From = config.Beside(path, p.From)
	}
	return out, out.Check()
}

func loadPredecessors(path string, tables []predecessor) (out []log.Predecessor, err error) {
	for i, t := range tables {
		p, err := t.load(path)
		if err != nil {
			return nil, fmt.Errorf("%s: [[predecessor]] number %d: %w", path, i+1, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// load reads the settings file at path and the files that it names, which are
// relative to its directory.
func load(path string) (settings, log.Config, error) { return loadFor(path, false) }

// loadFor is load for a log, or for a copy of one that is only read: that needs no key.
func loadFor(path string, readOnly bool) (settings, log.Config, error) {
	def := log.DefaultCrateLimits()
	s := settings{
		CrateBytes: def.Compressed, InflatedBytes: def.Inflated, CrateFiles: def.Files,
		ShutdownTimeout: config.Duration{Duration: 35 * time.Second}, LogFormat: "text",
	}
	if err := config.LoadTOML(path, &s); err != nil {
		return s, log.Config{}, err
	}
	required := map[string]string{
		"origin": s.Origin, "listen": s.Listen, "keys": strings.Join(s.Keys, ""), "tree": s.Tree, "state": s.State,
		"trust": s.Trust,
	}
	shared, err := s.shared(path)
	if err != nil {
		return s, log.Config{}, err
	}
	keyless := readOnly || shared && !s.Cluster.Lead
	if keyless {
		delete(required, "keys")
	}
	if shared {
		delete(required, "tree")
		s.sharedNeeds(required, readOnly)
	}
	if err := config.Require(path, "logd", required); err != nil {
		return s, log.Config{}, err
	}
	if s.CrateBytes < 1 || s.InflatedBytes < 1 || s.CrateFiles < 1 {
		return s, log.Config{}, fmt.Errorf("%s: crate_bytes, inflated_bytes and crate_files must be at least 1", path)
	}
	if s.LogFormat != "text" && s.LogFormat != "json" {
		return s, log.Config{}, fmt.Errorf("%s: log_format is %q: it must be text or json", path, s.LogFormat)
	}
	if s.Monitor != "" {
		if err := web.CheckAddress(s.Monitor); err != nil {
			return s, log.Config{}, fmt.Errorf("%s: monitor: %w", path, err)
		}
	}
	s.Crate = crate.Limits{Compressed: s.CrateBytes, Inflated: s.InflatedBytes, Files: s.CrateFiles}
	for i, name := range s.Programs {
		s.Programs[i] = config.Beside(path, name)
	}
	withdrawn, err := ids(s.Withdrawn)
	if err != nil {
		return s, log.Config{}, fmt.Errorf("%s: withdrawn: %w", path, err)
	}
	taken, err := s.Builds.load(path)
	if err != nil {
		return s, log.Config{}, err
	}
	registries, err := loadRegistries(path, s.Registries)
	if err != nil {
		return s, log.Config{}, err
	}
	before, err := loadPredecessors(path, s.Predecessors)
	if err != nil {
		return s, log.Config{}, err
	}
	keys := s.ProvingKeys
	if keys != "" {
		keys = config.Beside(path, keys)
	}
	trust, err := durable.Read(config.Beside(path, s.Trust), client.MaxPolicySize)
	if err != nil {
		return s, log.Config{}, fmt.Errorf("%s: trust: %w", path, err)
	}
	var readers []byte
	if s.Readers != "" {
		if readers, err = durable.Read(config.Beside(path, s.Readers), client.MaxPolicySize); err != nil {
			return s, log.Config{}, fmt.Errorf("%s: trust_for_readers: %w", path, err)
		}
	}
	var signers []log.Key
	if keyless {
		signers, err = keysOf(trust, s.Origin)
	} else {
		signers, err = s.openKeys(path)
	}
	if err != nil {
		return s, log.Config{}, err
	}
	tree := config.Beside(path, s.Tree)
	var cluster *log.Cluster
	if shared {
		tree = ""
		if cluster, err = s.cluster(path); err != nil {
			return s, log.Config{}, err
		}
	}
	return s, log.Config{
		Origin: s.Origin, Signer: signers[0].Signer, VKey: signers[0].VKey, MoreKeys: signers[1:],
		TreeDir: tree, Cluster: cluster, StateDir: config.Beside(path, s.State), KeysDir: keys,
		Registries: registries, RegistryRequests: s.RegistryRequests,
		Withdrawn: withdrawn, Builds: taken, Openings: s.Openings, OpeningsBytes: s.OpeningsMax,
		ReadOnly: readOnly, Shards: s.Shards, Predecessors: before, Mirrors: s.Mirrors, Door: s.Door,
		Policy: trust, ReadersPolicy: readers, Development: s.Development, Monitor: s.Monitor, Timing: s.Timing,
		Limits: s.Limits,
	}, nil
}

// openKeys opens the keys that sign, of which there is at least one.
func (s *settings) openKeys(path string) ([]log.Key, error) {
	var all []log.Key
	for _, ref := range s.Keys {
		key, err := signer.Open(path, ref, s.Settings)
		if err != nil {
			return nil, fmt.Errorf("%s: keys: %w", path, err)
		}
		named, vkey, err := config.NewLogSigner(key, s.Origin)
		if err != nil {
			return nil, fmt.Errorf("%s: keys: %q: %w", path, ref, err)
		}
		all = append(all, log.Key{Signer: named, VKey: vkey})
	}
	return all, nil
}

// keysOf returns the keys of a log as a trust file has them, without what signs.
func keysOf(trust []byte, origin string) ([]log.Key, error) {
	p, err := client.ParsePolicy(trust)
	if err != nil {
		return nil, err
	}
	var all []log.Key
	for _, l := range p.Logs() {
		if l.Origin == origin {
			all = append(all, log.Key{VKey: l.VKey})
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("the trust file lists no log with the origin %q", origin)
	}
	return all, nil
}

// ids reads hashes in lower-case hex.
func ids(texts []string) ([][32]byte, error) {
	var out [][32]byte
	for _, text := range texts {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != 32 || hex.EncodeToString(b) != text {
			return nil, fmt.Errorf("%q is no id, a SHA-256 in lower-case hex", text)
		}
		out = append(out, [32]byte(b))
	}
	return out, nil
}

// programs tells which proofs a log accepts: those of shipped programs and of files.
type programs func(files []string, development bool) (log.Proofs, error)

func loadPrograms(files []string, development bool) (log.Proofs, error) {
	return proofcheck.Load(files, development)
}
