package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"golang.org/x/sync/errgroup"

	"cratelog/cargo"
	"cratelog/cargo/credential"
	"cratelog/cargo/policy"
	"cratelog/cargo/verdict"
	"cratelog/client"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// doctorVerb looks for what keeps cratelog from working on this machine.
func doctorVerb(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "doctor", "", `Look at what cargo zkp needs on this machine, and say how to mend what is broken: PATH, cargo,
git, keys, cache, policy, trust files, logs and clock, proxy, credential provider, sandbox.`)
	d := &doctor{ctx: ctx}
	d.believe.register(fs)
	manifestFlag(fs, &d.manifestPath)
	format := fs.String("message-format", "human", "`FORMAT` of the answer: human or json")
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	if *format != "human" && *format != "json" {
		return outcome.Usagef("--message-format is human or json, not %q", *format)
	}
	for _, look := range []func(){d.path, d.programs, d.directories, d.keys, d.policy, d.logs, d.proxy, d.provider} {
		look()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	var err error
	if *format == "json" {
		err = printJSON(sh, struct {
			Format  string    `json:"format"`
			Healthy bool      `json:"healthy"`
			Checks  []finding `json:"checks"`
		}{"cratelog/doctor/v1", d.count(broken) == 0, d.found})
	} else {
		err = d.human(sh)
	}
	if n := d.count(broken); err == nil && n > 0 {
		return outcome.Refusef("broken: %d of %d that were looked at", n, len(d.found))
	}
	if n := d.count(warning); err == nil && n > 0 {
		sh.Status("Finished", "nothing is broken; warnings: %d", n)
	} else if err == nil {
		sh.Status("Finished", "nothing is broken")
	}
	return err
}

// What a finding says: its Status.
const (
	healthy = "ok"
	warning = "warning"
	broken  = "broken"
	skipped = "skipped"
)

// A finding is what doctor has to say about one thing.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Text   string `json:"text"`
	Fix    string `json:"fix,omitempty"`
}

type doctor struct {
	ctx          context.Context
	believe      believe
	manifestPath string
	loaded       *policy.Policy // nil if it cannot be used
	found        []finding
}

func (d *doctor) say(check, status, fix, format string, args ...any) {
	d.found = append(d.found, finding{check, status, printable(fmt.Sprintf(format, args...)), fix})
}

func (d *doctor) count(status string) (n int) {
	for _, f := range d.found {
		if f.Status == status {
			n++
		}
	}
	return n
}

func (d *doctor) human(sh *shell) error {
	w := tabwriter.NewWriter(sh.stdout, 0, 0, 2, ' ', 0)
	for _, f := range d.found {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Status, f.Check, f.Text)
		for line := range strings.Lines(f.Fix) {
			fmt.Fprintf(w, "\t\t  -> %s\n", strings.TrimSpace(line))
		}
	}
	return w.Flush()
}

// path looks for this program where cargo does.
func (d *doctor) path() {
	self, err := os.Executable()
	if err != nil {
		d.say("path", warning, "", "the path of this program is not known: %v", err)
		return
	}
	var bin string
	if home, err := cargo.Home(); err == nil { // SPEC: cargo looks in its home's bin at first
		bin, _ = exec.LookPath(filepath.Join(home, "bin", "cargo-zkp"))
	}
	if bin == "" {
		bin, _ = exec.LookPath("cargo-zkp")
	}
	switch {
	case bin == "" && filepath.Base(self) != "cargo-zkp" && filepath.Base(self) != "cargo-zkp.exe":
		d.say("path", broken, "call the program cargo-zkp, and put its directory on the PATH",
			"cargo finds no cargo-zkp; this program is %s", self)
	case bin == "":
		d.say("path", broken, `export PATH="$PATH:`+filepath.Dir(self)+`"`, "cargo finds no cargo-zkp; it is %s, and not on the PATH", self)
	case !sameProgram(bin, self):
		d.say("path", warning, "remove one of the two", "cargo zkp runs %s, and this is %s", bin, self)
	default:
		d.say("path", healthy, "", "cargo zkp runs %s", bin)
	}
}

func sameProgram(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// programs looks at those that are run.
func (d *doctor) programs() {
	for _, p := range []struct {
		check, program string
		missing        string // status if it is not there
		major, minor   int    // of the oldest that will do; 0, 0 if that is not known
		why, fix       string
	}{
		{"cargo", cargoBin(), broken, 1, 68, "sparse registries, of which the proxy is one",
			"install Rust with rustup, or bring it up to date: rustup update stable"},
		{"git", "git", warning, 0, 0, "prove, which reads repositories", "install git"},
		{"bwrap", "bwrap", skipped, 0, 8, "rebuild, which runs in its sandbox", "install the package bubblewrap"},
	} {
		if p.check == "bwrap" && runtime.GOOS != "linux" {
			d.say(p.check, skipped, "", "rebuild runs on Linux only")
			continue
		}
		text, version, err := versionOf(d.ctx, p.program)
		switch {
		case err != nil:
			d.say(p.check, p.missing, p.fix, "%s does not run; it is needed by %s: %v", p.program, p.why, err)
		case version[0] < p.major || version[0] == p.major && version[1] < p.minor:
			d.say(p.check, p.missing, p.fix, "%s; %d.%d or later is needed by %s", text, p.major, p.minor, p.why)
		default:
			d.say(p.check, healthy, "", "%s", text)
		}
	}
}

var versionNumber = regexp.MustCompile(`\b(\d{1,6})\.(\d{1,6})`)

// versionOf runs a program to ask for its version.
func versionOf(ctx context.Context, program string) (text string, version [2]int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", version, err
	}
	text, _, _ = strings.Cut(strings.TrimSpace(string(out[:min(len(out), 500)])), "\n")
	m := versionNumber.FindStringSubmatch(text)
	if m == nil {
		return "", version, fmt.Errorf("it names no version: %.100q", text)
	}
	version[0], _ = strconv.Atoi(m[1])
	version[1], _ = strconv.Atoi(m[2])
	return text, version, nil
}

// directories looks whether what must be kept can be.
func (d *doctor) directories() {
	cache, state, err := verdict.Dirs()
	if err != nil {
		d.say("directories", broken, "set HOME", "%v", err)
		return
	}
	for _, dir := range []struct{ check, path, fix string }{
		{"cache", cache, "make it writable, or set XDG_CACHE_HOME"},
		{"state", state, "make it writable, or set XDG_STATE_HOME; it must be kept: by it a log is caught that shows " +
			"another history"},
	} {
		err := os.MkdirAll(dir.path, 0o700)
		if err == nil {
			var f *durable.File
			if f, err = durable.Create(dir.path); err == nil {
				f.Discard()
				f.Close()
			}
		}
		if err != nil {
			d.say(dir.check, broken, dir.fix, "%s cannot be written: %v", dir.path, err)
			continue
		}
		files, err := weigh(d.ctx, dir.path)
		if err != nil {
			d.say(dir.check, warning, dir.fix, "%s cannot be read: %v", dir.path, err)
			continue
		}
		d.say(dir.check, healthy, "", "%s, %s in %d files", dir.path, sizeText(stock{pieces: files}.size()), len(files))
	}
}

// keys lists the proving keys.
func (d *doctor) keys() {
	cache, _, err := verdict.Dirs()
	if err != nil {
		return // which was said
	}
	files, err := weigh(d.ctx, filepath.Join(cache, "keys"))
	if err != nil {
		d.say("keys", warning, "", "the proving keys cannot be read: %v", err)
		return
	}
	var size int64
	n, unsafe := 0, 0
	for _, f := range files {
		if size += f.size; strings.HasSuffix(f.path, ".pk") {
			n++
			if strings.Contains(filepath.Base(f.path), "-unsafe") {
				unsafe++
			}
		}
	}
	switch {
	case n == 0:
		d.say("keys", healthy, "", "no proving key yet: the first prove makes or fetches one")
	case unsafe > 0:
		d.say("keys", healthy, "", "proving keys: %d, %s; UNSAFE development keys among them: %d", n, sizeText(size), unsafe)
	default:
		d.say("keys", healthy, "", "proving keys: %d, %s", n, sizeText(size))
	}
}

// policy looks at zkp.toml and at whom it believes.
func (d *doctor) policy() {
	place := d.believe.Place
	place.UserDir = policy.UserDir()
	asks, packages, err := known(d.manifestPath, &place)
	if err != nil {
		d.say("workspace", broken, "correct what it names; cargo metadata may tell more", "%v", err)
	} else if place.Root == "" {
		d.say("workspace", skipped, "", "there is no Cargo.toml here: your own policy counts")
	} else {
		d.say("workspace", healthy, "", "%s", place.Root)
	}
	path, err := place.Find()
	if err == nil {
		d.loaded, err = place.Load()
	}
	if err != nil {
		d.say("policy", broken, "correct it; cargo zkp policy check says when it can be used", "%v", err)
		return
	}
	r := policy.Check(path, place.UserDir, asks, packages, time.Now())
	if len(d.believe.Trust)+len(d.believe.Programs) == 0 && !d.believe.Development && r.Err == nil {
		for _, f := range r.Faults {
			d.say("policy", broken, "", "%s", f)
		}
		for _, w := range r.Warnings {
			d.say("policy", warning, "", "%s", w)
		}
	}
	if path == "" {
		d.say("policy", healthy, "cargo zkp init --from-lock --trust PATH writes one, with a log's trust file and program",
			"there is no zkp.toml: what the manifests ask for must be proven")
	} else {
		d.say("policy", healthy, "", "%s can be read", path)
	}
	for _, t := range d.loaded.Trust {
		quorum := "it asks for no witness"
		if t.Policy.NeedsWitnesses() {
			quorum = "its quorum can be met"
		}
		d.say("trust", healthy, "", "%s: logs: %d, witnesses: %d; %s", t.Path, len(t.Policy.Logs()),
			len(t.Policy.Witnesses()), quorum)
	}
	if d.loaded.TrustDir != "" {
		d.say("trust", healthy, "", "trust files were looked for in %s: %d", d.loaded.TrustDir, len(d.loaded.Trust))
	}
}

// logs asks each log for its newest checkpoint, and compares clocks.
func (d *doctor) logs() {
	if d.loaded == nil {
		return
	}
	if d.believe.offline {
		d.say("logs", skipped, "", "no log is asked with --offline")
		return
	}
	type asked struct {
		trust policy.Trust
		log   client.PolicyLog
	}
	var all []asked
	for _, t := range d.loaded.Trust {
		for _, l := range t.Policy.Origins() {
			all = append(all, asked{t, l})
		}
	}
	const most = 64
	if len(all) > most {
		d.say("logs", warning, "", "%d logs are asked of %d", most, len(all))
		all = all[:most]
	}
	found := make([][]finding, len(all))
	var g errgroup.Group
	g.SetLimit(8)
	for i, a := range all {
		g.Go(func() error {
			found[i] = askLog(d.ctx, d.loaded, a.trust, a.log)
			return nil
		})
	}
	g.Wait() // there are no errors
	d.found = append(d.found, slices.Concat(found...)...)
}

// askLog looks at one log.
func askLog(ctx context.Context, p *policy.Policy, t policy.Trust, l client.PolicyLog) []finding {
	d := &doctor{}
	if l.URL == "" {
		d.say("log", warning, "add its URL behind its key in "+t.Path, "%s has no address, so nothing can be fetched from "+
			"it", l.Origin)
		return d.found
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	seen := &dated{next: http.DefaultTransport}
	begin := time.Now()
	log := &client.Log{URL: l.URL, UserAgent: userAgent, HTTP: &http.Client{Timeout: 10 * time.Second, Transport: seen}}
	signed, err := log.Checkpoint(ctx)
	if err != nil {
		d.say("log", broken, "look whether its URL in "+t.Path+" is right, and tell its operator if it is; your own: "+
			"cratelog run DIR", "%s does not answer: %v", l.Origin, err)
		return d.found
	}
	d.clock(l.Origin, seen.date(), begin, time.Now())
	c, err := t.Policy.CheckCheckpointRules(signed, client.Rules{MaxAge: p.MaxAge, Now: time.Now(),
		AllowNoWitnesses: p.Development})
	var unsealed error
	if err == nil && c.Origin == l.Origin {
		unsealed = log.Tiles(c).Sealed(ctx)
	}
	switch {
	case unsealed != nil:
		d.say("log", broken, "tell its operator and the monitors; nothing of it is believed meanwhile", "%s: %v", l.Origin, unsealed)
	case errors.Is(err, client.ErrStale):
		d.say("log", broken, "tell its operator, or allow a greater max-age; if your clock is wrong, set it", "%s: %v",
			l.Origin, err)
		c, err = t.Policy.CheckCheckpointRules(signed, client.Rules{AllowNoWitnesses: p.Development}) // it may have ended
	case err != nil:
		d.say("log", broken, "tell its operator; if its keys or witnesses changed, get its new trust file: "+
			"cargo zkp trust update", "%s: %v", l.Origin, err)
	case c.Origin != l.Origin:
		d.say("log", broken, "correct the URL in "+t.Path, "%s shows the checkpoint of another log, %s", l.Origin, c.Origin)
	case c.Witnessed.IsZero():
		d.say("log", healthy, "", "%s has %d entries; no quorum of witnesses cosigned", l.Origin, c.Size)
	default:
		d.say("log", healthy, "", "%s has %d entries; its witnesses cosigned %s ago", l.Origin, c.Size,
			time.Since(c.Witnessed).Round(time.Second))
	}
	if err != nil || !d.end(ctx, p, t, log, c) {
		d.names(ctx, p, l)
	}
	return d.found
}

// names tells whether anybody can be the first to log a name, by the reader's own settings, and where
// the log says otherwise of itself.
func (d *doctor) names(ctx context.Context, p *policy.Policy, l client.PolicyLog) {
	says, known, err := (&client.Log{URL: l.URL, UserAgent: userAgent, HTTP: &http.Client{Timeout: 10 * time.Second}}).
		UnverifiedRegistries(ctx)
	asks := err == nil && len(says) > 0
	switch {
	case p.RegistryBacked(l.Origin) && known && !asks:
		d.say("names", warning, "ask its operator, or take it out of registry-backed in zkp.toml", "your policy says that "+
			"%s takes only what the registry lists, and it says of itself that it asks none: anybody can take a name there",
			l.Origin)
	case p.RegistryBacked(l.Origin):
		d.say("names", healthy, "", "%s takes only what the registry lists, by your policy", l.Origin)
	case asks:
		d.say("names", warning, "if you believe its operator, registry-backed = ["+strconv.Quote(l.Origin)+"] in zkp.toml",
			"%s says of itself that it takes only what these registries list: %q; your policy does not say so", l.Origin, says)
	default:
		d.say("names", warning, "its operator can name the registry: [[registry]] in logd.toml",
			"anybody can be the first to log a version of any name in %s, before its owner", l.Origin)
	}
}

// end tells whether a log has ended, and which logs its operator names that nobody here trusts.
func (d *doctor) end(ctx context.Context, p *policy.Policy, t policy.Trust, log *client.Log, c client.Checkpoint) (ended bool) {
	add := func(vkey, url string) string {
		if own, err := client.ParseTrust(t.Text); err == nil && len(own.Maintainers) > 0 {
			return "the maintainers of " + t.Path + " can name it in the next one: cargo zkp trust update"
		}
		return "if you trust that log, add it to " + t.Path + ": log " + printable(strings.TrimSpace(vkey+" "+url))
	}
	successor := ""
	trusted := func(vkey string) bool {
		return slices.ContainsFunc(p.Trust, func(t policy.Trust) bool {
			return slices.ContainsFunc(t.Policy.Logs(), func(l client.PolicyLog) bool { return l.VKey == vkey })
		})
	}
	if note, err := log.Frozen(ctx); err == nil && note != nil {
		f, err := t.Policy.CheckFrozen(note)
		fix := ""
		if f.Successor != "" && !trusted(f.Successor) {
			fix = add(f.Successor, f.SuccessorURL)
		}
		switch {
		case err != nil:
			d.say("log", warning, "", "%s shows a note that it has ended, which does not verify: %v", c.Origin, err)
		case f.Origin == c.Origin && (c.Size > f.Size || c.Size == f.Size && c.Root != f.Root):
			d.say("log", broken, "do not use this log, and tell the monitors: its note and its checkpoint convict it",
				"%s has signed that it ended with %d entries, and shows a tree of %d", c.Origin, f.Size, c.Size)
		default:
			ended, successor = true, f.Successor
			d.say("log", warning, fix, "%v", &f)
		}
	}
	about, err := log.About(ctx)
	if err != nil {
		return ended // a log need not say anything about itself
	}
	for _, s := range about.Shards {
		if s.VKey != about.VKey && s.VKey != successor && !trusted(s.VKey) {
			d.say("log", skipped, add(s.VKey, s.URL),
				"%s names another log of its operator, which is not in your trust file: %s", c.Origin, s.Origin)
		}
	}
	return ended
}

// maxSkew is how far ahead a witness's clock may be for max-age (client.Rules).
const maxSkew = 5 * time.Minute

// clock compares this machine's clock with what a log said while it was asked.
func (d *doctor) clock(origin string, said, begin, end time.Time) {
	if said.IsZero() {
		return
	}
	off := max(begin.Sub(said), said.Sub(end))
	if off > maxSkew {
		d.say("clock", broken, "set this machine's clock, for example with timedatectl set-ntp true",
			"it is %s here, and %s for the log %s: max-age and exceptions go wrong", end.UTC().Format(time.RFC3339),
			said.UTC().Format(time.RFC3339), origin)
		return
	}
	d.say("clock", healthy, "", "it goes as that of %s", origin)
}

// dated remembers when the last answer was sent, by its header Date.
type dated struct {
	next http.RoundTripper

	mu   sync.Mutex
	said time.Time
}

func (t *dated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err == nil {
		if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			t.mu.Lock()
			t.said = at
			t.mu.Unlock()
		}
	}
	return resp, err
}

func (t *dated) date() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.said
}

// proxy looks where cargo is configured to use it, and whether it runs.
func (d *doctor) proxy() {
	var files []string
	if ws, err := workspace(d.manifestPath); err == nil {
		files = append(files, filepath.Join(ws.Root, ".cargo", "config.toml"))
	}
	if home, err := cargo.Home(); err == nil {
		files = append(files, filepath.Join(home, "config.toml"))
	}
	none := true
	for _, file := range files {
		id, address, err := installedProxy(file)
		if err != nil {
			d.say("proxy", broken, "correct the file, or cargo zkp proxy --uninstall", "%v", err)
		}
		if err != nil || address == "" {
			none = none && err == nil
			continue
		}
		none = false
		d.installed(file, id, address)
	}
	if none {
		d.say("proxy", skipped, "", "it is not installed: cargo zkp build checks what it builds, and plain cargo build "+
			"nothing")
	} else if name := detour(os.Environ()); name != "" {
		d.say("proxy", warning, "export no_proxy=127.0.0.1", "%s has cargo ask another machine for the proxy on this one",
			name)
	}
}

// installed looks at one file that names the proxy.
func (d *doctor) installed(file, id, address string) {
	all, err := workspaces()
	if err != nil {
		return // which was said of the directories
	}
	w, err := all.Get(id)
	if err == nil {
		err = w.Gone()
	}
	if err != nil {
		d.say("proxy", broken, "cargo zkp proxy --install in that workspace, or --uninstall",
			"%s names the proxy's ID %s: %v", file, id, err)
		return
	}
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		d.say("proxy", warning, "", "%s names %s, which is not on this machine alone", file, address)
		return
	}
	conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(d.ctx, "tcp", address)
	if err != nil {
		d.say("proxy", broken, "cargo zkp proxy, or cargo zkp proxy --install --service",
			"%s names it, and nothing runs at %s: cargo cannot download", file, address)
		return
	}
	conn.Close()
	d.say("proxy", healthy, "", "%s: something runs at %s, for %s", file, address, policyText(w))
}

// provider looks whether cargo asks this program before it publishes.
func (d *doctor) provider() {
	home, err := cargo.Home()
	var s *credential.Settings
	if err == nil {
		s, err = credential.ReadSettings(".", home, os.Getenv)
	}
	var programs [][]string
	if err == nil {
		var r credential.Registry
		if r, err = s.Registry(s.Default()); err == nil {
			programs, err = s.Global()
			programs = append(programs, r.Provider)
		}
	}
	if err != nil {
		d.say("credentials", warning, "correct cargo's configuration", "%v", err)
		return
	}
	for _, p := range programs {
		if len(p) > 0 && strings.TrimSuffix(filepath.Base(p[0]), ".exe") == "cargo-zkp" {
			d.say("credentials", healthy, "", "cargo publish gets a token for %s only for what is logged", cmp.Or(s.Default(),
				cargo.DefaultSource))
			return
		}
	}
	d.say("credentials", skipped, "", "cargo-zkp is not cargo's credential provider: plain cargo publish uploads what "+
		"is not proven, too")
}
