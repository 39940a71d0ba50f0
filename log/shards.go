package log

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"cratelog/client"
	"cratelog/internal/web"
)

// Shard is another log of the same operator: its predecessor, its successor, or one for another span of time. It is
// a hint where to look. Readers believe the logs of their trust files only.
type Shard struct {
	Origin string `json:"origin" toml:"origin"`
	VKey   string `json:"vkey" toml:"vkey"`
	URL    string `json:"url" toml:"url"`               // without a slash at its end
	From   string `json:"from,omitempty" toml:"from"`   // first day on which it accepts entries, 2026-01-01; "": not said
	Until  string `json:"until,omitempty" toml:"until"` // first day on which it does not any more; "" likewise
	Frozen bool   `json:"frozen,omitempty" toml:"frozen"`
}

// maxShards bounds the list.
const maxShards = 256

func checkShards(shards []Shard) error {
	if len(shards) > maxShards {
		return fmt.Errorf("there are %d shards, and at most %d are listed", len(shards), maxShards)
	}
	seen := map[string]bool{}
	for i, s := range shards {
		fail := func(what string) error { return fmt.Errorf("shard %d: %s", i+1, what) }
		_, err := client.ParsePolicy([]byte("log " + s.VKey + "\nquorum none\n"))
		if strings.ContainsAny(s.VKey, " \n") {
			err = errors.New("it has a space")
		}
		name, _, _ := strings.Cut(s.VKey, "+")
		var days [2]time.Time
		switch {
		case err != nil:
			return fail("its vkey is none of a log: " + err.Error())
		case name != s.Origin:
			return fail(fmt.Sprintf("its origin is %q, and its vkey is named %q: they must be the same", s.Origin, name))
		case seen[s.VKey]:
			return fail("it is listed twice")
		}
		seen[s.VKey] = true
		if err := web.CheckAddress(s.URL); err != nil {
			return fail("url: " + err.Error())
		}
		for j, day := range []string{s.From, s.Until} {
			if day == "" {
				continue
			}
			if days[j], err = time.Parse(time.DateOnly, day); err != nil {
				return fail(fmt.Sprintf("%q is no day such as 2026-01-01", day))
			}
		}
		if s.From != "" && s.Until != "" && !days[0].Before(days[1]) {
			return fail("it ends before it begins")
		}
	}
	return nil
}
