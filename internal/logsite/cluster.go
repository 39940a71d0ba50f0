package logsite

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cratelog/client"
	"cratelog/internal/clustertest"
)

// Cluster is one log on several machines: processes of logd, three witnesses, two databases and a store. Each logd
// reaches all of them, and the others it, by links of its own, so that it can be cut off alone. One that ends is
// started again, as a supervisor does.
type Cluster struct {
	Dir              string
	Nodes            []*Node
	Database, Memory *clustertest.DB
	Store            *clustertest.Store
	Policy           *client.Policy // of the log's readers
	PolicyFile       string         // that holds it

	bin       string // where the programs are
	site      *Site  // has the witnesses
	witnesses []member
	closers   []func() error
	ending    chan struct{}
	running   sync.WaitGroup // supervisors
}

// Node is a logd of a cluster.
type Node struct {
	Name, URL string
	Config    string // file with its settings

	// By which it reaches the rest of the cluster, and the rest reaches it.
	Database, Memory, Store, Peers *clustertest.Link
	Witnesses                      []*clustertest.Link
	Gate                           *clustertest.Gate // before the store, behind the link

	peers   string // address at which it listens for the others
	output  *os.File
	current atomic.Pointer[clustertest.Program]
	ends    atomic.Int64
}

// ClusterConfig says how a cluster is made.
type ClusterConfig struct {
	Nodes    int                // processes of logd
	Leads    int                // how many of them may be the sequencer
	Settings string             // lines for all settings files
	Cluster  string             // lines for their table [cluster]
	Store    *clustertest.Store // nil: one in this process
}

// restartAfter is how soon a supervisor starts again what has ended.
const restartAfter = 500 * time.Millisecond

// StartCluster starts the programs in bin, whose files come into dir, and waits until the log publishes.
func StartCluster(ctx context.Context, bin, dir string, cfg ClusterConfig) (c *Cluster, err error) {
	c = &Cluster{Dir: dir, bin: bin, site: &Site{Dir: dir}, Store: cfg.Store, ending: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.Database, err = c.database(ctx, "database"); err != nil {
		return c, err
	}
	if c.Memory, err = c.database(ctx, "memory"); err != nil {
		return c, err
	}
	if c.Store == nil {
		if c.Store, err = clustertest.StartFakeStore(ctx); err != nil {
			return c, err
		}
		c.closers = append(c.closers, c.Store.Close)
	}
	c.closers = append(c.closers, c.site.Close)
	vkey, witnesses, err := c.site.begin(ctx, bin)
	if err != nil {
		return c, err
	}
	c.witnesses, c.PolicyFile = witnesses, filepath.Join(dir, "trust.policy")
	if err := c.readPolicy(vkey); err != nil {
		return c, err
	}
	database, err := c.Database.Database(ctx)
	if err != nil {
		return c, err
	}
	memory, err := c.Memory.Database(ctx)
	if err != nil {
		return c, err
	}
	if err := c.secrets(); err != nil {
		return c, err
	}
	for i := range cfg.Nodes {
		n := &Node{Name: fmt.Sprintf("logd%d", i+1)}
		c.Nodes = append(c.Nodes, n)
		if err := c.connect(n); err != nil {
			return c, err
		}
		if err := c.write(n, cfg, vkey, database, memory, i < cfg.Leads); err != nil {
			return c, err
		}
		if n.output, err = os.Create(filepath.Join(dir, n.Name+".log")); err != nil {
			return c, err
		}
		c.running.Go(func() { c.supervise(n) })
	}
	return c, c.Ready(ctx)
}

func (c *Cluster) database(ctx context.Context, name string) (*clustertest.DB, error) {
	dir := filepath.Join(c.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	d, err := clustertest.StartMariaDB(ctx, dir)
	if err == nil {
		c.closers = append(c.closers, d.Kill) // nobody wants its files
	}
	return d, err
}

func (c *Cluster) readPolicy(vkey string) error {
	if err := c.site.writePolicy("trust.policy", vkey, c.witnesses); err != nil {
		return err
	}
	text, err := os.ReadFile(c.PolicyFile)
	if err == nil {
		c.Policy, err = client.ParsePolicy(text)
	}
	return err
}

// link makes a link that ends with the cluster.
func (c *Cluster) link(target string) (*clustertest.Link, error) {
	k, err := clustertest.NewLink(target)
	if err == nil {
		c.closers = append(c.closers, k.Close)
	}
	return k, err
}

// connect makes a node's links.
func (c *Cluster) connect(n *Node) (err error) {
	if n.Gate, err = clustertest.NewGate(c.Store.Address); err != nil {
		return err
	}
	c.closers = append(c.closers, n.Gate.Close)
	address, err := clustertest.Port()
	if err != nil {
		return err
	}
	n.URL = "http://" + address
	if n.peers, err = clustertest.Port(); err != nil {
		return err
	}
	for _, k := range []struct {
		to     **clustertest.Link
		target string
	}{{&n.Database, c.Database.Address}, {&n.Memory, c.Memory.Address}, {&n.Store, n.Gate.Address}, {&n.Peers, n.peers}} {
		if *k.to, err = c.link(k.target); err != nil {
			return err
		}
	}
	for _, w := range c.witnesses {
		k, err := c.link(strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			return err
		}
		n.Witnesses = append(n.Witnesses, k)
	}
	return nil
}

// secrets writes the files that all nodes share.
func (c *Cluster) secrets() error {
	return errors.Join(c.secret("secret", hex.EncodeToString(random())),
		c.secret("credentials", c.Store.AccessKey+"\n"+c.Store.SecretKey))
}

func random() []byte {
	b := make([]byte, 32)
	rand.Read(b)
	return b
}

func (c *Cluster) secret(name, text string) error {
	return os.WriteFile(filepath.Join(c.Dir, name), []byte(text+"\n"), 0o600)
}

// write writes a node's settings, and the files that they name.
func (c *Cluster) write(n *Node, cfg ClusterConfig, vkey, database, memory string, lead bool) error {
	n.Config = filepath.Join(c.Dir, n.Name+".toml")
	witnesses := slices.Clone(c.witnesses)
	for i := range witnesses {
		witnesses[i].url = "http://" + n.Witnesses[i].Address
	}
	leads := ""
	if lead {
		leads = fmt.Sprintf("lead = true\npeers_listen = %q\naddress = \"http://%s\"\n", n.peers, n.Peers.Address)
	}
	text := fmt.Sprintf(`origin = %q
listen = %q
storage = "s3"
keys = ["log.pem"]
state = "%[3]s-state"
trust = "%[3]s.policy"
development = true
%[4]s
[door]
access_log = "off"
[s3]
bucket = %[5]q
endpoint = %[6]q
region = %[7]q
path_style = true
credentials_file = "credentials"
[cluster]
database_file = "%[3]s-database"
memory_file = "%[3]s-memory"
secret_file = "secret"
%[8]s%[9]s`, Origin, strings.TrimPrefix(n.URL, "http://"), n.Name, cfg.Settings, c.Store.Bucket, clustertest.Endpoint(n.Store.Address),
		c.Store.Region, leads, cfg.Cluster)
	return errors.Join(os.WriteFile(n.Config, []byte(text), 0o644),
		c.site.writePolicy(n.Name+".policy", vkey, witnesses),
		c.secret(n.Name+"-database", c.Database.DSN(n.Database.Address, database)),
		c.secret(n.Name+"-memory", c.Memory.DSN(n.Memory.Address, memory)))
}

// supervise starts a node's logd, again and again, until the cluster ends.
func (c *Cluster) supervise(n *Node) {
	for {
		p := clustertest.NewProgram(n.Name, func() *exec.Cmd {
			cmd := exec.Command(filepath.Join(c.bin, "logd"), "serve", "-config", n.Config)
			cmd.Stderr = n.output
			return cmd
		}, nil)
		if err := p.Launch(); err != nil {
			fmt.Fprintln(n.output, err)
		} else {
			n.current.Store(p)
			select {
			case <-p.Ended():
				n.ends.Add(1)
				fmt.Fprintf(n.output, "-- %s ended: %v\n", time.Now().Format(time.TimeOnly), p.Err())
			case <-c.ending:
				if err := p.Stop(); err != nil {
					fmt.Fprintln(n.output, err)
				}
				return
			}
		}
		select {
		case <-time.After(restartAfter):
		case <-c.ending:
			return
		}
	}
}

// Ends is how often the node's process has ended so far.
func (n *Node) Ends() int64 { return n.ends.Load() }

// Kill is kill -9 of the node's process. Its supervisor starts it again.
func (n *Node) Kill() error { return n.current.Load().Kill() }

// Pause stops the node's process as it is, and Continue lets it go on.
func (n *Node) Pause() error    { return n.current.Load().Pause() }
func (n *Node) Continue() error { return n.current.Load().Continue() }

// Isolate lets nothing pass between the node and the rest of the cluster, but for clients, and tells nobody.
func (n *Node) Isolate() { n.each((*clustertest.Link).Blackhole) }

// Heal makes all of the node's links whole.
func (n *Node) Heal() { n.each((*clustertest.Link).Heal) }

func (n *Node) each(f func(*clustertest.Link)) {
	for _, k := range append([]*clustertest.Link{n.Database, n.Memory, n.Store, n.Peers}, n.Witnesses...) {
		f(k)
	}
}

// Ready waits until every node serves, and one of them is the sequencer.
func (c *Cluster) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		_, err := c.Sequencer(ctx)
		for _, n := range c.Nodes {
			if err == nil {
				_, err = Fetch(ctx, n.URL+"/readyz")
			}
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster is not ready: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Sequencer returns the node that says that it is the sequencer.
func (c *Cluster) Sequencer(ctx context.Context) (*Node, error) {
	var errs []error
	for _, n := range c.Nodes {
		soon, cancel := context.WithTimeout(ctx, 3*time.Second)
		is, err := metric(soon, n.URL, "cratelog_sequencer")
		cancel()
		if err == nil && is == 1 {
			return n, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(append(errs, errors.New("no node is the sequencer"))...)
}

// CPU returns the processor time that the nodes' present processes have taken so far together, in seconds.
func (c *Cluster) CPU() (sum float64, err error) {
	for _, n := range c.Nodes {
		used, err := metric(context.Background(), n.URL, "process_cpu_seconds_total")
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// Audit compares a ledger with the log as the first node serves it, and with what the witnesses saw; has a monitor
// look at the log, whose program is built with the others; and ends the nodes, and compares what each of them has. The
// balance is nil if it could not be drawn.
func (c *Cluster) Audit(ctx context.Context, l *Ledger) (*Balance, error) {
	b, err := l.Balance(ctx, c.Nodes[0].URL)
	if err == nil {
		err = b.witnessed(ctx, c.witnesses)
	}
	if err != nil {
		return nil, err
	}
	err = errors.Join(b.Err(), c.watch(ctx))
	c.Halt()
	for _, n := range c.Nodes {
		err = errors.Join(err, c.call(ctx, "logd", "fsck", "-config", n.Config))
	}
	return b, err
}

// watch has a monitor look at the log once.
func (c *Cluster) watch(ctx context.Context) error {
	file := filepath.Join(c.Dir, "monitor.toml")
	text := fmt.Sprintf("database = \"monitor.db\"\nevidence = \"evidence\"\nlisten = \"127.0.0.1:0\"\ndevelopment = true\n"+
		"openings = false\n[[log]]\ntrust = %q\nurl = %q\n", filepath.Base(c.PolicyFile), c.Nodes[0].URL)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	return errors.Join(c.call(ctx, "monitor", "init", "-config", file), c.call(ctx, "monitor", "once", "-config", file))
}

// call runs a program that must find nothing wrong.
func (c *Cluster) call(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(c.bin, program), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, args[0], err, out)
	}
	return nil
}

// Halt ends the nodes, and leaves the rest of the cluster running. It may be called again.
func (c *Cluster) Halt() {
	select {
	case <-c.ending:
	default:
		close(c.ending)
	}
	c.running.Wait()
}

// Close ends everything.
func (c *Cluster) Close() error {
	c.Halt()
	var errs []error
	for i := len(c.closers) - 1; i >= 0; i-- {
		errs = append(errs, c.closers[i]())
	}
	c.closers = nil
	for _, n := range c.Nodes {
		if n.output != nil {
			errs = append(errs, n.output.Close())
			n.output = nil
		}
	}
	return errors.Join(errs...)
}

// Checkpoint returns the checkpoint that the node shows.
func (n *Node) Checkpoint(ctx context.Context) ([]byte, error) {
	return Fetch(ctx, n.URL+"/checkpoint")
}
