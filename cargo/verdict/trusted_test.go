package verdict

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestThatARegistryNamesNoWorkflowIsAskedAgain: what it names is settled; that it names nothing may be a fault.
func TestThatARegistryNamesNoWorkflowIsAskedAgain(t *testing.T) {
	_, p, wants := hello(t, dev)
	c := newCarrying(t, p)
	w := wants[0]
	data, asked := "null", 0
	c.reg.Meddle(func(out http.ResponseWriter, q *http.Request) bool {
		if !strings.Contains(q.URL.Path, "/api/v1/crates/") {
			return false
		}
		asked++
		fmt.Fprintf(out, `{"version":{"crate":%q,"num":%q,"trustpub_data":%s}}`, w.Name, w.Version, data)
		return true
	})
	commit := strings.Repeat("a", 40)
	says := func(when string, offline bool, standing string, times int) {
		t.Helper()
		asked = 0
		answer, err := c.check(func(cfg *Config) { cfg.Offline = offline }).Trusted(t.Context(), w.pkg(), w.Checksum,
			commit)
		if err != nil || answer.Standing != standing || asked != times {
			t.Errorf("%s: %+v, %v; asked %d times, want %s and %d", when, answer, err, asked, standing, times)
		}
	}
	says("first", false, NoneHas, 1)
	data = fmt.Sprintf(`{"provider":"github","repository":"octo/hello","run_id":"42","sha":%q}`, commit)
	p.at = now.Add(silenceAge - time.Second)
	says("within days", false, NoneHas, 0)
	p.at = now.Add(-time.Hour)
	says("by a clock that went back, offline", true, NoneHas, 0)
	says("by a clock that went back", false, Agrees, 1)

	c.forget()
	data = "null"
	p.at = now
	says("first", false, NoneHas, 1)
	data = fmt.Sprintf(`{"provider":"github","repository":"octo/hello","run_id":"42","sha":%q}`, commit)
	p.at = now.Add(silenceAge)
	says("later, offline", true, NoneHas, 0)
	says("later", false, Agrees, 1)
	data = "null"
	p.at = now.Add(100 * silenceAge)
	says("much later", false, Agrees, 0) // what it named once it named
}
