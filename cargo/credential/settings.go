package credential

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"cratelog/cargo"
)

const maxSettings = 4 << 20 // of one file, in bytes

// Settings are what cargo's configuration says of registries and of their tokens:
// the files that cargo.LoadConfig finds, CARGO_HOME/credentials.toml, and the
// environment. What stands in cargo's own --config is not seen.
type Settings struct {
	files []settingsFile // the one that counts most first
	env   func(string) string
	cwd   string
}

// settingsFile is one file. It may hold tokens: never print it.
type settingsFile struct {
	base     string // directory that relative programs are seen from
	Registry struct {
		Default            string
		Token              string
		CredentialProvider any      `toml:"credential-provider"`
		Global             []string `toml:"global-credential-providers"`
	}
	Registries map[string]struct {
		Index              string
		Token              string
		CredentialProvider any `toml:"credential-provider"`
	}
	Alias map[string]any `toml:"credential-alias"`
}

// ReadSettings reads cargo's configuration as cargo, started in cwd, would. home is
// CARGO_HOME; env is os.Getenv.
func ReadSettings(cwd, home string, env func(string) string) (*Settings, error) {
	found, err := cargo.LoadConfig(cwd, home)
	if err != nil {
		return nil, err
	}
	s := &Settings{env: env, cwd: cwd}
	// cargo lays credentials over every file of settings. The file without an ending
	// is the old name, and the one that cargo takes where there are both.
	for _, name := range []string{"credentials", "credentials.toml"} {
		err := s.read(filepath.Join(home, name))
		if err == nil {
			break
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	for _, path := range found.Files {
		if err := s.read(path); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Settings) read(path string) error {
	b, err := ReadFile(path, maxSettings)
	if err != nil {
		return err
	}
	// A program is seen from the directory that .cargo is in.
	f := settingsFile{base: filepath.Dir(filepath.Dir(path))}
	if toml.Unmarshal(b, &f) != nil {
		// The parser's message would show the line, and the line may be a token.
		return fmt.Errorf("%s is not the TOML of a cargo configuration; cargo itself tells where it is wrong", path)
	}
	s.files = append(s.files, f)
	return nil
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

// Default returns the name of the registry that cargo publishes to if it is told
// none.
func (s *Settings) Default() string {
	if v := s.env("CARGO_REGISTRY_DEFAULT"); v != "" {
		return v
	}
	for _, f := range s.files {
		if f.Registry.Default != "" {
			return f.Registry.Default
		}
	}
	return cargo.DefaultSource
}

// Registry returns what is known of a registry by its name.
func (s *Settings) Registry(name string) (Registry, error) {
	var r Registry
	var err error
	r.Index = s.env(variable(name, "INDEX"))
	given, base := any(nil), s.cwd
	if v := s.env(variable(name, "CREDENTIAL_PROVIDER")); v != "" {
		given = v
	}
	for _, f := range s.files {
		entry := f.Registries[name]
		if r.Index == "" {
			r.Index = entry.Index
		}
		provider := entry.CredentialProvider
		if name == cargo.DefaultSource && f.Registry.CredentialProvider != nil {
			provider = f.Registry.CredentialProvider
		}
		if given == nil && provider != nil {
			given, base = provider, f.base
		}
		if _, text := provider.(string); text {
			r.AsText = true
		}
	}
	if given != nil {
		r.Provider, err = s.program(given, base)
	}
	return r, err
}

// GlobalVariable is the environment variable for registry.global-credential-providers.
// Its providers are asked before those of --config.
const GlobalVariable = "CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS"

// Global returns the providers of registry.global-credential-providers in the files,
// each a program with its arguments; cargo asks the last one first.
func (s *Settings) Global() ([][]string, error) {
	var all [][]string
	for _, f := range slices.Backward(s.files) {
		for _, text := range f.Registry.Global {
			p, err := s.program(text, f.base)
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
	for _, f := range s.files {
		for name, r := range f.Registries {
			if r.Index == index && index != "" {
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
	if v := s.env(variable(name, "TOKEN")); v != "" {
		return v
	}
	for _, f := range s.files {
		t := f.Registries[name].Token
		if name == cargo.DefaultSource && f.Registry.Token != "" {
			t = f.Registry.Token
		}
		if t != "" {
			return t
		}
	}
	return ""
}

// program resolves a credential-provider: a string of words or a list, an alias, a
// program beside the settings.
func (s *Settings) program(v any, base string) ([]string, error) {
	words, err := wordsOf(v)
	if err != nil {
		return nil, err
	}
	if len(words) == 1 {
		for _, f := range s.files {
			if alias, ok := f.Alias[words[0]]; ok {
				if words, err = wordsOf(alias); err != nil {
					return nil, err
				}
				base = f.base
				break
			}
		}
	}
	if strings.ContainsRune(words[0], '/') && !filepath.IsAbs(words[0]) {
		words[0] = filepath.Join(base, words[0])
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

// ReadFile reads a regular file of at most max bytes.
func ReadFile(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s has more than %d bytes, the most that is read", path, max)
	}
	return b, nil
}

// TokenVariable is the environment variable from which cargo:token takes the token
// for a registry.
func TokenVariable(registry string) string { return variable(registry, "TOKEN") }
