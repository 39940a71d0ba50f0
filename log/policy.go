package log

import (
	"errors"
	"fmt"
	"net/url"
	"slices"

	"cratelog/client"
)

// parsePolicy reads the trust file as a log needs it: it must name this log with one of the keys that
// sign, every witness must be reachable, and there must be a quorum. Several witnesses may have one URL:
// those are keys of one witness, the old and the new one, or of two kinds.
func parsePolicy(text []byte, origin string, keys []Key) (*client.Policy, error) {
	p, err := client.ParsePolicy(text)
	if err != nil {
		return nil, err
	}
	if !p.NeedsWitnesses() {
		return nil, errors.New("the trust file asks for no witnesses (quorum none): " +
			"a log without witnesses can show different trees to different readers, and is refused")
	}
	for _, w := range p.Witnesses() {
		if w.URL == "" {
			return nil, fmt.Errorf("the trust file gives no URL for the witness %s: the log must reach every witness", w.Name)
		}
		if _, err := endpointOf(w.URL); err != nil {
			return nil, fmt.Errorf("the trust file's URL for the witness %s: %w", w.Name, err)
		}
	}
	for _, l := range p.Logs() {
		if l.Origin == origin && slices.ContainsFunc(keys, func(k Key) bool { return k.VKey == l.VKey }) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("the trust file does not name this log: add the line \"log %s\"", keys[0].VKey)
}

// endpointOf is the address at which a witness takes checkpoints (c2sp.org/tlog-witness).
func endpointOf(prefix string) (string, error) {
	u, err := url.Parse(prefix)
	if err != nil {
		return "", err
	}
	return u.JoinPath("/add-checkpoint").String(), nil
}
