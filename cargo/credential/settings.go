package credential

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"cratelog/cargo"
)

// Settings are what cargo's configuration says about registries and their tokens: the files
// that cargo.LoadConfig finds, credentials.toml in cargo's home, and the environment.
// Options --config of cargo are not seen.
type Settings struct {
	config *cargo.Config
	cwd    string
}

// ReadSettings reads cargo's configuration as cargo, started in cwd, would. home is
// CARGO_HOME; env is os.Getenv.
func ReadSettings(cwd, home string, env func(string) string) (*Settings, error) {
	config, err := cargo.LoadConfig(cwd, home)
	if err != nil {
		return nil, err
	}
	config.Env = env
	if err := config.ReadCredentials(); err != nil {
		return nil, err
	}
	return &Settings{config, cwd}, config.CheckTokens()
}

// text is the first of some values that is a string and not empty.
func text(values []cargo.Value) string {
	for _, v := range values {
		if s, ok := v.Value.(string); ok && s != "" {
			return s
		}
	}
	return ""
}

// about returns what the files say at a key of a registry. Of the default registry cargo
// asks [registry] only, and passes [registries.crates-io] over.
func (s *Settings) about(name, key string) []cargo.Value {
	if name == cargo.DefaultSource {
		return s.config.All("registry", key)
	}
	return s.config.All("registries", name, key)
}

// Registry is what the configuration says about one registry.
type Registry struct {
	Index string // as in the configuration, "sparse+URL" or a git URL; "" if it does not say
	// Provider is the program with its arguments that the registry's own
	// credential-provider names, after aliases; nil if it has none. Names that begin
	// with "cargo:" are parts of cargo.
	Provider []string
	// AsText says that the configuration writes it as one string, not as a list. cargo
	// lays a string over a string only, and a list over a list.
	AsText bool
}

// Default returns the name of the registry that cargo publishes to if none is named.
func (s *Settings) Default() string {
	if v := s.config.Env("CARGO_REGISTRY_DEFAULT"); v != "" {
		return v
	}
	if v := text(s.config.All("registry", "default")); v != "" {
		return v
	}
	return cargo.DefaultSource
}

// Registry returns what is known of a registry by its name.
func (s *Settings) Registry(name string) (r Registry, err error) {
	r.Index, _ = s.config.Registry(name)
	given := s.about(name, "credential-provider")
	r.AsText = slices.ContainsFunc(given, func(v cargo.Value) bool { _, text := v.Value.(string); return text })
	if v := s.config.Env(variable(name, "CREDENTIAL_PROVIDER")); v != "" {
		given = []cargo.Value{{File: filepath.Join(s.cwd, ".cargo", "config.toml"), Value: v}}
	}
	if len(given) > 0 {
		r.Provider, err = s.program(given[0])
	}
	return r, err
}

// GlobalVariable is the environment variable for registry.global-credential-providers.
// Its providers are asked before those of --config.
const GlobalVariable = "CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS"

// Global returns the providers of registry.global-credential-providers in the files,
// each a program with its arguments; cargo asks the last one first.
func (s *Settings) Global() (all [][]string, err error) {
	for _, v := range slices.Backward(s.config.All("registry", "global-credential-providers")) {
		list, ok := v.Value.([]any)
		if !ok {
			return nil, errors.New("cargo's configuration has registry.global-credential-providers that is not a list")
		}
		for _, item := range list {
			if _, ok := item.(string); !ok {
				return nil, errors.New("cargo's configuration has registry.global-credential-providers that is not " +
					"a list of strings")
			}
			p, err := s.program(cargo.Value{File: v.File, Value: item})
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
	}
	return all, nil
}

// Named returns the name of the registry that has an index, "" if none has.
func (s *Settings) Named(index string) string {
	for _, v := range s.config.All("registries") {
		names, _ := v.Value.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if r, _ := names[name].(map[string]any); r["index"] == index && index != "" {
				return name
			}
		}
	}
	return ""
}

// Token returns the token that cargo's own provider cargo:token would give for a
// registry: that of the environment, or of credentials.toml, or of the settings.
// "" is none.
func (s *Settings) Token(name string) string {
	if v := s.config.Env(variable(name, "TOKEN")); v != "" {
		return v
	}
	return text(s.about(name, "token"))
}

// program resolves a credential-provider: a string of words or a list, an alias, a
// program beside the settings.
func (s *Settings) program(v cargo.Value) ([]string, error) {
	words, err := wordsOf(v.Value)
	if err != nil {
		return nil, err
	}
	if len(words) == 1 && !strings.HasPrefix(words[0], "cargo:") { // what is cargo's own has no alias
		if alias := s.config.All("credential-alias", words[0]); len(alias) > 0 {
			v = alias[0]
			if words, err = wordsOf(v.Value); err != nil {
				return nil, err
			}
		}
	}
	if strings.ContainsRune(words[0], '/') && !filepath.IsAbs(words[0]) {
		// It is seen from the directory that .cargo is in.
		words[0] = filepath.Join(filepath.Dir(filepath.Dir(v.File)), words[0])
	}
	return words, nil
}

// wordsOf reads a program with its arguments: one string, or a list of them.
func wordsOf(v any) ([]string, error) {
	var out []string
	switch v := v.(type) {
	case string:
		out = strings.Fields(v)
	case []any:
		for _, item := range v {
			word, ok := item.(string)
			if !ok {
				return nil, errors.New("cargo's configuration has a credential-provider that is not a list of strings")
			}
			out = append(out, word)
		}
	}
	if len(out) == 0 || out[0] == "" {
		return nil, errors.New("cargo's configuration has a credential-provider that names no program")
	}
	return out, nil
}

// variable is the name of the environment variable for a key of a registry.
func variable(registry, key string) string {
	if registry == cargo.DefaultSource {
		return "CARGO_REGISTRY_" + key
	}
	return "CARGO_REGISTRIES_" + strings.ToUpper(strings.ReplaceAll(registry, "-", "_")) + "_" + key
}

// TokenVariable is the environment variable from which cargo:token takes the token
// for a registry.
func TokenVariable(registry string) string { return variable(registry, "TOKEN") }
