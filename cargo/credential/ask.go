package credential

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"cratelog/cargo"
)

// AskToken asks the providers that cargo would ask, in its order, for a token for reading,
// with which cargo begins each publication. index is the registry's as cargo writes it, "" if
// that is not known. known is false where a provider is a part of cargo that nobody else can
// ask, or would have to know the index. The error says how to get a token, or what a provider
// said.
func (s *Settings) AskToken(ctx context.Context, name, index string) (token string, known bool, err error) {
	own, err := s.Registry(name)
	if err != nil {
		return "", true, err
	}
	providers := [][]string{own.Provider}
	if own.Provider == nil {
		if providers, err = s.Global(); err != nil {
			return "", true, err
		}
		slices.Reverse(providers)
	}
	if len(providers) == 0 {
		providers = [][]string{{"cargo:token"}}
	}
	r := &Request{V: 1, Kind: "get", Operation: "read"}
	registry := map[string]string{"index-url": index}
	if r.Registry.IndexURL = index; name != cargo.DefaultSource { // which cargo does not name
		r.Registry.Name, registry["name"] = name, name
	}
	r.raw, err = json.Marshal(map[string]any{"v": r.V, "registry": registry, "kind": r.Kind, "operation": r.Operation})
	if err != nil {
		return "", true, err
	}
	for _, words := range providers {
		token, found, known, err := s.ask(ctx, words, name, r)
		if found || !known || err != nil {
			return token, known, err
		}
	}
	r.Registry.Name = name
	return "", true, noToken(r)
}

// ask asks one provider.
func (s *Settings) ask(ctx context.Context, words []string, name string,
	r *Request) (token string, found, known bool, err error) {
	switch {
	case words[0] == "cargo:token":
		token = s.Token(name)
		return token, token != "", true, nil
	case slices.Contains(words, "--next"): // it leaves the token to the next
		return "", false, true, nil
	case r.Registry.IndexURL == "", strings.HasPrefix(words[0], "cargo:") && words[0] != "cargo:token-from-stdout":
		return "", false, false, nil
	}
	source, err := Command(words, nil)
	if err != nil {
		return "", false, true, err
	}
	b, err := source.Ask(ctx, r)
	if err != nil {
		return "", false, true, err
	}
	token, found, err = readAnswer(b)
	return token, found, true, err
}
