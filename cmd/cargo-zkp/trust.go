package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

const trustUsage = `Show the trust files that count here, and take newer ones that their maintainers signed.

Usage: cargo zkp trust show [OPTIONS]
       cargo zkp trust update [URL|FILE] [OPTIONS]

"cargo zkp trust update --help" tells the options.
`

// trustVerb is the verbs about trust files.
func trustVerb(ctx context.Context, sh *shell, args []string) error {
	verbs := map[string]func(context.Context, *shell, []string) error{"show": trustShow, "update": trustUpdate}
	if len(args) > 0 && verbs[args[0]] != nil {
		return verbs[args[0]](ctx, sh, args[1:])
	}
	if len(args) > 0 && slices.Contains([]string{"-h", "--help"}, args[0]) {
		fmt.Fprint(sh.stdout, trustUsage)
		return nil
	}
	return outcome.Usagef("the verbs of cargo zkp trust are show and update [URL|FILE]")
}

// trustShow tells whom the trust files believe, and who may change them.
func trustShow(_ context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "trust show", "", "Tell whom the trust files believe, who may change them, and who signed them.")
	var b believe
	b.register(fs)
	if _, err := parseUpTo(0, fs, args, ""); err != nil {
		return err
	}
	ws, _ := workspace("") // outside of workspaces the user's own policy counts
	p, err := b.trusting(ws)
	if err != nil {
		return err
	}
	for _, f := range p.Trust {
		t, err := client.ParseTrust(f.Text)
		if err != nil {
			return outcome.Refuse(fmt.Errorf("%s: %w", shorten(f.Path), err))
		}
		fmt.Fprintf(sh.stdout, "%s\n", visible(shorten(f.Path)+"\n"+describeTrust(t)))
	}
	return nil
}

// describeTrust says what a trust file says, in indented lines.
func describeTrust(t *client.Trust) string {
	var b strings.Builder
	if t.Maintained() {
		fmt.Fprintf(&b, "  trust file %s, number %d; the next one must be signed by %d of:\n", t.Name, t.Sequence,
			t.Threshold)
		signed := t.SignedBy(t)
		for _, vkey := range t.Maintainers {
			name, _, _ := strings.Cut(vkey, "+")
			did := "has not signed this one"
			if slices.Contains(signed, name) {
				did = "signed this one"
			}
			fmt.Fprintf(&b, "    %s (%s)\n", name, did)
		}
		if len(signed) < t.Threshold {
			b.WriteString("  WARNING: it is not signed by so many itself; it was changed by hand, or is not finished\n")
		}
	} else {
		b.WriteString("  names no maintainers: a newer one cannot be checked, but for where you get it from\n")
	}
	for _, l := range t.Policy.Logs() {
		fmt.Fprintf(&b, "  log %s, key %08x\n", l.Origin, l.KeyID)
	}
	for _, w := range t.Policy.Witnesses() {
		fmt.Fprintf(&b, "  witness %s: %s, key %08x\n", w.Name, w.KeyName, w.KeyID)
	}
	if !t.Policy.NeedsWitnesses() {
		b.WriteString("  asks for no witnesses\n")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// trustUpdate takes a newer trust file in the place of the one at hand.
func trustUpdate(ctx context.Context, sh *shell, args []string) error {
	fs := newFlags(sh, "trust update", "[URL|FILE]", `Take a newer trust file in the place of the one at hand: from its log, or from URL or FILE. It
must be signed by as many of the maintainers that the one at hand names as that asks for, and by as
many of its own. What changes is shown, and nothing is changed without a yes. Where the one at hand
names no maintainers nothing can be checked: --unsigned takes the new one all the same, once you
have compared it with a copy from a source that you trust.`)
	var b believe
	b.register(fs)
	yes := fs.Bool("yes", false, "take it without being asked, once it is checked")
	unsigned := fs.Bool("unsigned", false, "take what no maintainer at hand has signed, where the one at hand names none")
	from, err := parseUpTo(1, fs, args, "URL or FILE")
	if err != nil {
		return err
	}
	ws, _ := workspace("")
	p, err := b.trusting(ws)
	if err != nil {
		return err
	}
	if len(p.Trust) > 1 {
		return outcome.Usagef("there are %d trust files; say with --trust which one is to be updated", len(p.Trust))
	}
	at := p.Trust[0]
	now, err := client.ParseTrust(at.Text)
	if err != nil {
		return outcome.Refuse(fmt.Errorf("%s: %w", shorten(at.Path), err))
	}
	file, where, err := newerTrust(ctx, at, from, b.offline)
	if err != nil {
		return err
	}
	next, err := client.ParseTrust(file)
	if err != nil {
		return outcome.Refuse(fmt.Errorf("%s: %w", where, err))
	}
	if len(next.Policy.Logs()) == 0 {
		return outcome.Refusef("%s lists no log, so with it nothing would be believed", where)
	}
	if err := mayFollow(sh, now, next, where, *unsigned); err != nil {
		return err
	}
	if bytes.Equal(now.Text, next.Text) && (now.Maintained() || bytes.Equal(now.File, next.File)) {
		sh.Status("Finished", "%s is up to date", shorten(at.Path))
		return nil
	}
	fmt.Fprint(sh.stdout, visible(difference(now.File, next.File)))
	if !*yes {
		if err := agree(sh, fmt.Sprintf("Take this in the place of %s?", shorten(at.Path))); err != nil {
			return err
		}
	}
	path, err := filepath.EvalSymlinks(at.Path)
	if err != nil {
		return err
	}
	if err := durable.Write(path, next.File, 0o644); err != nil {
		return err
	}
	sh.Status("Updated", "%s", shorten(at.Path))
	return nil
}

// newerTrust fetches the newer file. A URL may be that of a log, or of its trust file.
func newerTrust(ctx context.Context, at policy.Trust, from []string, offline bool) (file []byte, where string,
	err error) {
	where = ""
	if len(from) == 1 {
		where = from[0]
	} else {
		for _, l := range at.Policy.Logs() {
			where = l.URL
			if where != "" {
				break
			}
		}
		if where == "" {
			return nil, "", outcome.Usagef("%s gives no URL for its log: say where the newer trust file is", shorten(at.Path))
		}
	}
	if u, err := url.Parse(where); err != nil || u.Host == "" {
		file, err := durable.Read(where, client.MaxPolicySize)
		return file, where, err
	}
	if offline {
		return nil, "", outcome.Usagef("with --offline the newer trust file must be a file")
	}
	log := &client.Log{URL: strings.TrimSuffix(strings.TrimSuffix(where, "/"), "/trust.policy"), UserAgent: userAgent}
	file, err = log.TrustFile(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", where, err)
	}
	return file, where, err
}

// mayFollow says who signed what is to come, or that nobody did.
func mayFollow(sh *shell, now, next *client.Trust, where string, unsigned bool) error {
	if now.Maintained() {
		if err := now.CheckUpdate(next); err != nil {
			return outcome.Refuse(fmt.Errorf("%s: %w", where, err))
		}
		if next.Sequence > now.Sequence {
			sh.Status("Checked", "trust file %s, number %d after %d, signed by %s", next.Name, next.Sequence, now.Sequence,
				strings.Join(next.SignedBy(now), ", "))
		}
		return nil
	}
	if bytes.Equal(now.File, next.File) {
		return nil
	}
	if !unsigned {
		return outcome.Refusef("the trust file at hand names no maintainers, so nothing shows that %s comes from "+
			"those who wrote it: compare it with a copy from a source that you trust, then take it with --unsigned. Its SHA-256 is %x", where,
			sha256.Sum256(next.File))
	}
	sh.Warn("the new trust file is NOT signed by anybody whom the one at hand names; its SHA-256 is %x",
		sha256.Sum256(next.File))
	if next.Maintained() {
		sh.Warn("from now on, %d of its %d maintainers decide whom you believe", next.Threshold, len(next.Maintainers))
	}
	return nil
}

// maxShownLine bounds a line of a difference: a post-quantum key has 1,800 bytes.
const maxShownLine = 160

// difference shows the lines that only one of two trust files has, signatures aside.
func difference(old, next []byte) string {
	lines := func(file []byte) []string {
		text, _, _ := bytes.Cut(file, []byte("\n# signed\n"))
		return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	}
	only := func(a, b []string, sign string) string {
		left := make(map[string]int)
		for _, l := range b {
			left[l]++
		}
		var out strings.Builder
		for _, l := range a {
			if left[l]--; left[l] < 0 {
				if len(l) > maxShownLine {
					l = l[:maxShownLine] + fmt.Sprintf("... (%d bytes)", len(l))
				}
				fmt.Fprintf(&out, "%s %s\n", sign, l)
			}
		}
		return out.String()
	}
	out := only(lines(old), lines(next), "-") + only(lines(next), lines(old), "+")
	if out == "" {
		return "only the order of its lines, or who signed it, is another\n"
	}
	return out
}

// agree asks the person at the terminal.
func agree(sh *shell, question string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return outcome.Usagef("nothing is changed: look at what is above, and say --yes to take it")
	}
	fmt.Fprintf(sh.stderr, "%s [y/N] ", visible(question))
	return agreed(os.Stdin)
}

func agreed(in io.Reader) error {
	line, err := bufio.NewReader(io.LimitReader(in, 1<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if word := strings.ToLower(strings.TrimSpace(line)); word == "y" || word == "yes" {
		return nil
	}
	return outcome.Refusef("nothing is changed")
}
