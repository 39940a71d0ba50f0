package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cratelog/internal/fixture"
	"cratelog/internal/logsite"
)

// TestALogOnSeveralMachinesKeepsItsWord runs a log of two processes, with databases, a store and witnesses, while
// clients submit all the time. Its sequencer is killed, and stopped past its lease, and the database is killed. Crates
// with true proofs go in at one front end and are verified at the other. bench/failover does more of it, for
// longer, and measures.
func TestALogOnSeveralMachinesKeepsItsWord(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts many programs")
	}
	fixture.Need(t, "mariadbd", "mariadb-install-db")
	c, err := logsite.StartCluster(t.Context(), filepath.Dir(program(t, "logd")), t.TempDir(),
		logsite.ClusterConfig{Nodes: 2, Leads: 2, Cluster: "lease = \"4s\"\nadd_deadline = \"2s\"\n"})
	fatalIf(t, err)
	defer func() {
		fatalIf(t, c.Close())
		for _, n := range c.Nodes {
			if t.Failed() {
				t.Logf("%s:\n%s", n.Name, read(t, filepath.Join(c.Dir, n.Name+".log")))
			}
		}
	}()
	load := logsite.StartLoad(t.Context(), c, 10)
	dir := t.TempDir()
	var files []string
	for i, fault := range []func(*logsite.Node) error{
		(*logsite.Node).Kill,
		func(n *logsite.Node) error {
			fatalIf(t, n.Pause())
			time.Sleep(6 * time.Second) // past its lease
			return n.Continue()
		},
		func(*logsite.Node) error {
			fatalIf(t, c.Database.Kill())
			return c.Database.Start(t.Context())
		},
	} {
		fatalIf(t, load.Calm(t.Context()))
		file := copyFixture(t, fixtures[i], dir)
		files = append(files, file)
		zkp(t, "submit", file, "--log", c.Nodes[i%2].URL).want(t, 0, "Finished")
		n, err := c.Sequencer(t.Context())
		fatalIf(t, err)
		begin := time.Now()
		fatalIf(t, fault(n))
		outage, err := load.Outage(t.Context(), begin)
		fatalIf(t, err)
		t.Logf("fault %d, of %s: %v without a bundle", i, n.Name, outage)
	}
	fatalIf(t, load.Finish())
	for i, file := range files {
		verify := []string{"verify", file, "--trust", c.PolicyFile, "--development"}
		zkp(t, verify...).want(t, 0, "Finished")
		fatalIf(t, os.Remove(bundleOf(file))) // the front end that did not take it makes it anew
		zkp(t, append(verify, "--log", c.Nodes[(i+1)%2].URL)...).want(t, 0, "Finished")
	}
	b, err := c.Audit(t.Context(), load.Ledger)
	if err != nil {
		t.Error(err)
	}
	if b != nil && b.Entries != b.Acknowledged+len(files) {
		t.Errorf("the log has %d entries, and %d were acknowledged", b.Entries, b.Acknowledged+len(files))
	}
}
