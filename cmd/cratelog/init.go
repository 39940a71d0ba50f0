package main

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cratelog/circuit"
	"cratelog/circuit/ceremony"
	"cratelog/client"
	"cratelog/config"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/monitor/store"
	"cratelog/proofcheck"
	"cratelog/witness"
)

// plan is what init makes.
type plan struct {
	dir       string // made as a whole, or not at all
	origin    string // of the log
	name      string // who could forge with the key
	witnesses int
	host      string // where all programs listen
	port      int    // of the log; the monitor has the next one, then come the witnesses
	url       string // of the log, for its readers
	blocks    int    // of a segment of the circuit
}

const maxWitnesses = 9

func (p *plan) register(fs *flag.FlagSet) {
	fs.StringVar(&p.origin, "origin", "", "`NAME` of the log for ever, a URL without a scheme (default: the host and the "+
		"path of --url, or else the name of DIR, and the year)")
	fs.StringVar(&p.name, "name", "", "`NAME` of who makes the proving key and could forge with it, shown to readers "+
		"(default: the origin)")
	fs.IntVar(&p.witnesses, "witnesses", 2, "`N` witnesses, of which more than half must cosign, at most "+
		strconv.Itoa(maxWitnesses))
	fs.StringVar(&p.host, "listen", "127.0.0.1", "`HOST` to listen on: an address of this machine")
	fs.IntVar(&p.port, "port", 8300, "`PORT` of the log; the monitor takes the next one, and the witnesses those after "+
		"it; 0: any that are free")
	fs.StringVar(&p.url, "url", "", "`URL` at which readers reach the log, https if they are on other machines (default: "+
		"where it listens)")
	fs.IntVar(&p.blocks, "blocks", circuit.SegmentBlocks, "`N` SHA-1 blocks in a segment of the circuit: fewer serve "+
		"tests, their keys are made sooner, and proofs are larger")
}

func initialize(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fs := flag.NewFlagSet("cratelog init", flag.ContinueOnError)
	p := &plan{}
	p.register(fs)
	if p.dir, err = parse(fs, args); err != nil {
		return err
	}
	if err := p.check(time.Now()); err != nil {
		return err
	}
	p.dir = filepath.Clean(p.dir)
	if err := empty(p.dir); err != nil { // before its ports, which it may be using
		return err
	}
	if err := p.free(); err != nil {
		return err
	}
	if err := p.make(ctx, stderr); ctx.Err() != nil && err != nil {
		return errors.New("interrupted: nothing is left of what was begun")
	} else if err != nil {
		return err
	}
	return p.say(stdout)
}

// check fills in what was left out, and refuses what cannot be.
func (p *plan) check(now time.Time) error {
	if p.witnesses < 1 || p.witnesses > maxWitnesses {
		return outcome.Usagef("--witnesses is 1 to %d, not %d: without one, nothing shows that the log has one history",
			maxWitnesses, p.witnesses)
	}
	if p.port < 0 || p.port+1+p.witnesses > 65535 {
		return outcome.Usagef("--port is 0 to %d, not %d", 65534-p.witnesses, p.port)
	}
	if p.blocks < 1 || p.blocks > ceremony.MaxBlocks {
		return outcome.Usagef("--blocks is 1 to %d, not %d", ceremony.MaxBlocks, p.blocks)
	}
	ip := net.ParseIP(p.host)
	switch {
	case ip == nil && p.host != "localhost":
		return outcome.Usagef("--listen is an IP address of this machine, or localhost, not %q; the address that readers "+
			"use is --url", p.host)
	case ip != nil && !ip.IsLoopback() && p.url == "":
		return outcome.Usagef("--listen %s is for other machines, which speak https only: put TLS before the log, and "+
			"name its address with --url https://... (docs/your-own-log.md)", p.host)
	}
	return p.names(now)
}

// names finds the log's origin and the key's name.
func (p *plan) names(now time.Time) error {
	if p.url != "" {
		u, err := url.Parse(p.url)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" ||
			u.Fragment != "" {
			return outcome.Usagef("--url %q is no URL of a log: https://HOST or https://HOST/PATH", p.url)
		}
		p.origin = cmp.Or(p.origin, path.Join(u.Hostname(), u.Path, strconv.Itoa(now.Year())))
	}
	abs, err := filepath.Abs(p.dir)
	if err != nil {
		return err
	}
	p.origin = cmp.Or(p.origin, filepath.Base(abs)+"/"+strconv.Itoa(now.Year()))
	if err := config.CheckKeyName(p.origin); err != nil {
		return outcome.Usagef("the log's origin: %w; choose one with --origin", err)
	}
	p.name = cmp.Or(p.name, p.origin)
	if _, err := proofcheck.SoloOrigin(p.name); err != nil {
		return outcome.Usagef("%w; choose one with --name", err)
	}
	return nil
}

func (p *plan) at(service int) string { return net.JoinHostPort(p.host, strconv.Itoa(p.port+service)) }

// local is the URL of a service on this machine.
func (p *plan) local(service int) string {
	host := p.host
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(p.port+service))
}

// Services by the distance of their ports to the log's.
const (
	logService = iota
	monitorService
	firstWitness
)

// free finds ports that nobody uses, or says which one of those that are wanted is taken.
func (p *plan) free() error {
	any := p.port == 0
	for try := 1; ; try++ {
		err := p.listen(any)
		if err == nil || !any || try == 100 {
			return err
		}
	}
}

// listen tries all ports. If any will do, it begins at one that the system chooses.
func (p *plan) listen(any bool) error {
	if any {
		l, err := net.Listen("tcp", net.JoinHostPort(p.host, "0"))
		if err != nil {
			return err
		}
		p.port = min(l.Addr().(*net.TCPAddr).Port, 65534-p.witnesses)
		if err := l.Close(); err != nil {
			return err
		}
	}
	for i := range firstWitness + p.witnesses {
		l, err := net.Listen("tcp", p.at(i))
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			return fmt.Errorf("the log, its monitor and its witnesses listen on the ports %d to %d, and one cannot be had: %w\n"+
				"end what listens there, or choose other ports with --port N", p.port, p.port+1+p.witnesses, err)
		}
	}
	return nil
}

// make makes everything in a new directory beside dir, which is empty or not there, and which then gets
// its name. Nothing is left of what was not finished.
func (p *plan) make(ctx context.Context, stderr io.Writer) (err error) {
	tmp, err := os.MkdirTemp(filepath.Dir(p.dir), ".cratelog-init-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	fmt.Fprintln(stderr, "making keys and settings")
	if err := p.write(ctx, tmp); err != nil {
		return err
	}
	if err := p.key(ctx, tmp, stderr); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.Remove(p.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(tmp, p.dir)
}

// empty refuses a directory that holds something.
func empty(dir string) error {
	there, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(there) > 0:
		return fmt.Errorf("%s is there already, and nothing in it is touched: run it with \"cratelog run %s\", or name "+
			"another directory for a new log", dir, dir)
	}
	return nil
}

// key makes the program of the log, and its proving key.
func (p *plan) key(ctx context.Context, dir string, stderr io.Writer) error {
	keys := filepath.Join(dir, "log", "keys")
	if err := os.Mkdir(keys, 0o755); err != nil {
		return err
	}
	program, err := durable.Create(filepath.Join(dir, "readers"))
	if err != nil {
		return err
	}
	defer program.Discard()
	key, err := durable.Create(keys)
	if err != nil {
		return err
	}
	defer key.Discard()
	progress := func(what string, expect time.Duration) {
		if expect >= 2*time.Second {
			what += fmt.Sprintf(" (about %v)", expect.Round(time.Second))
		}
		fmt.Fprintln(stderr, what)
	}
	made, err := ceremony.Solo(ctx, p.name, ceremony.Source(p.blocks), program, key, progress)
	if err != nil {
		return err
	}
	return errors.Join(key.CommitNew(filepath.Join(keys, fmt.Sprintf("%x", made.ProvingKey)), 0o644),
		program.CommitNew(filepath.Join(dir, "readers", "program.json"), 0o644))
}

// write makes all but the proving key.
func (p *plan) write(ctx context.Context, dir string) error {
	for _, sub := range []string{"log", "monitor", "readers"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	key := filepath.Join(dir, "log", "log-key.pem")
	if err := config.GenerateKey(key); err != nil {
		return err
	}
	_, vkey, err := config.LogSigner(key, p.origin)
	if err != nil {
		return err
	}
	trust := fmt.Sprintf("# Whom to believe: this log, if %d of its witnesses have cosigned.\nlog %s %s\n", p.quorum(),
		vkey, cmp.Or(p.url, p.local(logService)))
	members := ""
	for i := range p.witnesses {
		line, err := p.witness(ctx, dir, i, vkey)
		if err != nil {
			return err
		}
		trust, members = trust+line, members+" "+witnessName(i)
	}
	trust += fmt.Sprintf("group witnesses %d%s\nquorum witnesses\n", p.quorum(), members)
	if _, err := client.ParsePolicy([]byte(trust)); err != nil {
		return err
	}
	db, err := store.Create(ctx, filepath.Join(dir, "monitor", "monitor.db"))
	if err != nil {
		return err
	}
	return errors.Join(db.Close(), os.Mkdir(filepath.Join(dir, "monitor", "evidence"), 0o755),
		durable.WriteNew(filepath.Join(dir, "readers", "trust.policy"), []byte(trust), 0o644),
		durable.WriteNew(filepath.Join(dir, "log", logSettings), p.logSettings(), 0o644),
		durable.WriteNew(filepath.Join(dir, "monitor", monitorSettings), p.monitorSettings(), 0o644))
}

func (p *plan) quorum() int { return p.witnesses/2 + 1 }

func witnessName(i int) string { return fmt.Sprintf("witness-%d", i+1) }

// witness makes a witness, in a folder of its own that can move, and returns its line of the trust file.
func (p *plan) witness(ctx context.Context, dir string, i int, logKey string) (line string, err error) {
	dir = filepath.Join(dir, witnessName(i))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	file, name := filepath.Join(dir, "witness-key.pem"), p.origin+"/"+witnessName(i)
	if err := config.GenerateKey(file); err != nil {
		return "", err
	}
	key, err := config.ReadKey(file)
	if err != nil {
		return "", err
	}
	w, err := witness.Open(ctx, witness.Config{Name: name, Signers: []crypto.Signer{key}, Create: true,
		Logs: []witness.Log{{Origin: p.origin, VKey: logKey}}, DBPath: filepath.Join(dir, "witness.db")})
	if err != nil {
		return "", err
	}
	line = fmt.Sprintf("witness %s %s %s\n", witnessName(i), w.VKeys()[0], p.local(firstWitness+i))
	return line, errors.Join(w.Close(), durable.WriteNew(filepath.Join(dir, witnessSettings), fmt.Appendf(nil,
		"# All settings: config/witness.example.toml. The database belongs to this name: never restore it from a copy.\n"+
			"name = %q\nlisten = %q\ndatabase = \"witness.db\"\nkeys = [\"witness-key.pem\"]\n\n[[log]]\norigin = %q\nvkey = %q\n",
		name, p.at(firstWitness+i), p.origin, logKey), 0o644))
}

func (p *plan) logSettings() []byte {
	return fmt.Appendf(nil, "# All settings: config/logd.example.toml. Never restore tree or state from a copy.\n"+
		"origin = %q\nlisten = %q\nkeys = [\"log-key.pem\"]\ntree = \"tree\"\nstate = \"state\"\n"+
		"trust = \"../readers/trust.policy\"\nprograms = [\"../readers/program.json\"]\nproving_keys = \"keys\"\n\n"+
		"# Where more people submit than you: the registry that says whose name it is, by its sparse index. The log\n"+
		"# then takes only what that lists, and crates are uploaded before they are logged. subject: \"default\" for\n"+
		"# cargo's default registry; without it, the registry is named by its index.\n"+
		"# [[registry]]\n# index = \"sparse+https://index.example.org/\"\n# subject = \"default\"\n",
		p.origin, p.at(logService))
}

func (p *plan) monitorSettings() []byte {
	return fmt.Appendf(nil, "# All settings: config/monitor.example.toml.\n"+
		"name = %q\nlisten = %q\ndatabase = \"monitor.db\"\nevidence = \"evidence\"\n"+
		"programs = [\"../readers/program.json\"]\npoll = \"5s\"\n\n[[log]]\ntrust = \"../readers/trust.policy\"\nurl = %q\n",
		p.name, p.at(monitorService), p.local(logService))
}

// say tells what was made, and what to do with it.
func (p *plan) say(stdout io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s holds the log %s, %d witnesses and a monitor.\n\nRun all of it until Ctrl-C:\n\n"+
		"    cratelog run %s\n\nor each program by itself:\n\n", p.dir, p.origin, p.witnesses, p.dir)
	services, err := find(p.dir)
	if err != nil {
		return err
	}
	for _, s := range services {
		fmt.Fprintf(&b, "    %s\n", strings.Join(append([]string{s.program}, s.args()...), " "))
	}
	fmt.Fprintf(&b, "\nThen, in a project:\n\n%s\n", next(p.dir, cmp.Or(p.url, p.local(logService))))
	fmt.Fprintf(&b, "Your readers need %s and nothing else of this: the trust file, and the program,\n"+
		"of which they are told \"%s\". The other folders have private keys.\n"+
		"Witnesses that you run yourself cannot show that you have one history: let others run them\n"+
		"(docs/your-own-log.md).\n", filepath.Join(p.dir, "readers"), proofcheck.OriginSolo+p.name)
	_, err = io.WriteString(stdout, b.String())
	return err
}
