package publish

import (
	"encoding/json"
	"fmt"
	"slices"

	"cratelog/cargo"
	"cratelog/cargo/credential"
	"cratelog/internal/outcome"
)

// target is the registry that is published to.
type target struct {
	name    string   // as cargo's configuration calls it
	index   string   // as the configuration writes it; "" if it does not say
	private bool     // it demands a token for reading, as far as is known
	ours    bool     // our provider reads the token, and cargo may say that it is ignored
	flags   []string // --config, for each call that is about the registry
	env     []string // for cargo publish only: the token
}

// adHoc is the name of a registry that only a --index names.
const adHoc = "cargo-zkp-index"

// newTarget decides where to publish, as cargo does.
func newTarget(s *credential.Settings, registry, index string, members []*member) (*target, error) {
	t := &target{name: registry}
	switch {
	case registry != "" && index != "":
		return nil, outcome.Usagef("publish takes --registry or --index, not both")
	case registry != "":
	case index != "":
		if t.name = s.Named(index); t.name == "" {
			t.name, t.index = adHoc, index
			t.flags = config("registries."+adHoc+".index", index)
		}
	case len(members[0].Publish) == 1:
		t.name = members[0].Publish[0]
	default:
		t.name = s.Default()
	}
	for _, m := range members {
		if m.Publish != nil && !slices.Contains(m.Publish, t.name) {
			return nil, outcome.Refusef("%s may not be published to the registry %s: \"publish\" in its Cargo.toml lists %q\n"+
				"name the registry with --registry; members of several registries are published one registry at a time",
				m, t.name, m.Publish)
		}
	}
	if t.index == "" {
		known, err := s.Registry(t.name)
		if err != nil {
			return nil, err
		}
		t.index = known.Index
	}
	return t, nil
}

// indexOf returns the index of the registry, "" for cargo's default one.
func (t *target) indexOf() string {
	if t.name == cargo.DefaultSource {
		return ""
	}
	return t.index
}

// registryFlags tell cargo the registry, also where it is the one that cargo would
// take: if its source is replaced, as by our proxy, cargo wants it named.
func (t *target) registryFlags() []string {
	return append(slices.Clone(t.flags), "--registry", t.name)
}

// guard returns the flags by which cargo publish asks our credential provider before
// it uploads. The provider compares what cargo is about to upload with the file
// exactly, and leaves the token to whatever gives it otherwise.
//
// A registry's own credential-provider is asked by ours. Where there is none, ours
// stands behind the others in the list of all registries', so that cargo asks it
// first, and then the others. A private registry needs the former: if that list names
// one provider, ours stands in front of that one.
func (t *target) guard(s *credential.Settings, program, exactly, token string,
	env func(string) string) ([]string, error) {
	if token != "" {
		// cargo does not ask if it is given --token.
		t.env = []string{credential.TokenVariable(t.name) + "=" + token}
	}
	known, err := s.Registry(t.name)
	if err != nil {
		return nil, err
	}
	const alias = "cargo-zkp-publish"
	command := []string{program, "--exactly", exactly}
	all, err := s.Global()
	if err != nil {
		return nil, err
	}
	words := known.Provider
	switch {
	case words != nil || !t.private:
	case len(all) == 0:
		words = []string{"cargo:token"}
	case len(all) == 1:
		words = all[0]
	default:
		return nil, outcome.Refusef("the registry %s demands a token for reading, and "+
			"registry.global-credential-providers lists several providers\nname the one that gives its token as "+
			"credential-provider in [registries.%s] of cargo's configuration", t.name, t.name)
	}
	if words != nil {
		if token != "" {
			words = []string{"cargo:token"}
		}
		t.ours = words[0] == "cargo:token"
		if _, err := credential.Command(words, nil); err != nil {
			return nil, fmt.Errorf("the credential-provider of the registry %s: %w", t.name, err)
		}
		var value any = []string{alias}
		if known.AsText {
			value = alias
		}
		return append(config("credential-alias."+alias, slices.Concat(command, []string{"--"}, words)),
			config(credential.Table(t.name)+".credential-provider", value)...), nil
	}
	if env(credential.GlobalVariable) != "" {
		return nil, outcome.Refusef("the environment sets %s, whose providers cargo would ask before ours, so what it "+
			"uploads could not be held to what was proved\nset registry.global-credential-providers in cargo's configuration "+
			"instead", credential.GlobalVariable)
	}
	list := []string{alias}
	if token != "" || len(all) == 0 {
		list = []string{"cargo:token", alias}
	}
	return append(config("credential-alias."+alias, append(command, "--next")),
		config("registry.global-credential-providers", list)...), nil
}

// config is a --config of cargo's. What JSON writes for strings and lists of them is
// TOML as well.
func config(key string, value any) []string {
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // strings only
	}
	return []string{"--config", key + "=" + string(b)}
}
