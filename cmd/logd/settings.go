package main

import (
	"encoding/hex"
	"fmt"
	"time"

	"cratelog/build"
	"cratelog/client"
	"cratelog/config"
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
	Key         string   `toml:"key"`
	Tree        string   `toml:"tree"`
	State       string   `toml:"state"`
	Trust       string   `toml:"trust"`
	Programs    []string `toml:"programs"`
	Withdrawn   []string `toml:"withdrawn"`
	ProvingKeys string   `toml:"proving_keys"`
	Openings    string   `toml:"openings"`
	OpeningsMax int64    `toml:"openings_bytes"`
	Development bool     `toml:"development"`
	Monitor     string   `toml:"monitor"`
	Builds      builds   `toml:"builds"`
	log.Timing
	log.Limits
	Door            log.Door        `toml:"door"`
	LogFormat       string          `toml:"log_format"` // text or json
	ShutdownTimeout config.Duration `toml:"shutdown_timeout"`
	CrateBytes      int64           `toml:"crate_bytes"`
	InflatedBytes   int64           `toml:"inflated_bytes"`
	CrateFiles      int             `toml:"crate_files"`
	Debug           bool            `toml:"debug"`
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

// load reads the settings file at path and the files that it names, which are
// relative to its directory.
func load(path string) (settings, log.Config, error) {
	def := log.DefaultCrateLimits()
	s := settings{
		CrateBytes: def.Compressed, InflatedBytes: def.Inflated, CrateFiles: def.Files,
		ShutdownTimeout: config.Duration{Duration: time.Minute}, LogFormat: "text",
	}
	if err := config.LoadTOML(path, &s); err != nil {
		return s, log.Config{}, err
	}
	if err := config.Require(path, "logd", map[string]string{
		"origin": s.Origin, "listen": s.Listen, "key": s.Key, "tree": s.Tree, "state": s.State, "trust": s.Trust,
	}); err != nil {
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
	keys := s.ProvingKeys
	if keys != "" {
		keys = config.Beside(path, keys)
	}
	trust, err := durable.Read(config.Beside(path, s.Trust), client.MaxPolicySize)
	if err != nil {
		return s, log.Config{}, err
	}
	signer, vkey, err := config.LogSigner(config.Beside(path, s.Key), s.Origin)
	if err != nil {
		return s, log.Config{}, err
	}
	return s, log.Config{
		Origin: s.Origin, Signer: signer, VKey: vkey,
		TreeDir: config.Beside(path, s.Tree), StateDir: config.Beside(path, s.State), KeysDir: keys,
		Withdrawn: withdrawn, Builds: taken, Openings: s.Openings, OpeningsBytes: s.OpeningsMax,
		Policy: trust, Development: s.Development, Monitor: s.Monitor, Timing: s.Timing, Limits: s.Limits, Door: s.Door,
	}, nil
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
