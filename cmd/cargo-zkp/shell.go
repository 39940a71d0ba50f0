package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/prover"
)

// shell writes as cargo does: what was asked for to standard output, all else to
// standard error, each line behind a right-aligned green verb.
type shell struct {
	stdout, stderr io.Writer
	color, tty     bool
	quiet, verbose bool // -q, -v

	read func(page) // if not nil: gets the help of a verb, in place of the person
}

// setColor is the option --color.
func (sh *shell) setColor(when string) error {
	switch when {
	case "auto":
		sh.color = sh.tty && os.Getenv("NO_COLOR") == ""
	case "always", "never":
		sh.color = when == "always"
	default:
		return fmt.Errorf("must be auto, always or never")
	}
	return nil
}

func newShell(stdout, stderr io.Writer) *shell {
	sh := &shell{stdout: stdout, stderr: stderr}
	if f, ok := stderr.(*os.File); ok {
		sh.tty = term.IsTerminal(int(f.Fd()))
	}
	if sh.setColor(os.Getenv("CARGO_TERM_COLOR")) != nil {
		sh.setColor("auto")
	}
	return sh
}

func (sh *shell) paint(code, s string) string {
	if !sh.color {
		return s
	}
	return "\x1b[1;" + code + "m" + s + "\x1b[0m"
}

// visible is a text in which a terminal obeys nothing but the ends of lines: strangers wrote parts of what
// is told.
func visible(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Status prints one line of progress.
func (sh *shell) Status(verb, format string, args ...any) {
	if sh.quiet {
		return
	}
	fmt.Fprintf(sh.stderr, "%s %s\n", sh.paint("32", fmt.Sprintf("%12s", verb)), visible(fmt.Sprintf(format, args...)))
}

func (sh *shell) Warn(format string, args ...any) {
	if sh.quiet {
		return
	}
	text := strings.ReplaceAll(visible(fmt.Sprintf(format, args...)), "\n", "\n  ")
	fmt.Fprintf(sh.stderr, "%s: %s\n", sh.paint("33", "warning"), text)
}

// complain prints an error that is one of several.
func (sh *shell) complain(text string) {
	fmt.Fprintf(sh.stderr, "%s: %s\n", sh.paint("31", "error"), strings.ReplaceAll(visible(text), "\n", "\n  "))
}

// fail prints an error and returns its exit code.
func (sh *shell) fail(err error) int {
	code := outcome.Of(err)
	if code != outcome.OK {
		sh.complain(err.Error())
	}
	return int(code)
}

// Steps returns a Progress that prints each step and shows how much of it is done, and how long it
// will still take; done ends it.
func (sh *shell) Steps() (p prover.Progress, done func()) {
	var mu sync.Mutex
	var stop chan struct{}
	var wg sync.WaitGroup
	end := func() {
		if stop != nil {
			close(stop)
			wg.Wait()
			stop = nil
		}
	}
	begin := func(s prover.Step) {
		mu.Lock()
		defer mu.Unlock()
		end()
		guess := ""
		if s.Expect >= 2*time.Second {
			guess = fmt.Sprintf(" (about %d s)", int(s.Expect.Round(time.Second).Seconds()))
		}
		sh.Status("Working", "%s%s", s.What, guess)
		if sh.quiet || !sh.tty && s.Share == nil {
			return
		}
		now := make(chan struct{})
		stop = now
		wg.Go(func() { sh.tick(s, now) })
	}
	return begin, func() {
		mu.Lock()
		defer mu.Unlock()
		end()
	}
}

// tick shows how long a step has taken and, if that is known, how much is done, until stop: on a
// terminal every second as a bar, elsewhere a line at each tenth.
func (sh *shell) tick(s prover.Step, stop chan struct{}) {
	begin := time.Now()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for said := 0; ; {
		select {
		case <-stop:
			if sh.tty {
				fmt.Fprint(sh.stderr, "\r\x1b[K")
			}
			return
		case <-t.C:
			share, left := pace(s, time.Since(begin))
			text, percent := left, int(100*share)
			if s.Share != nil {
				text = fmt.Sprintf("%d percent, %s", percent, left)
			}
			switch {
			case sh.tty:
				fmt.Fprintf(sh.stderr, "\r%12s [%s] %s\x1b[K", "", filled(share), text)
			case percent/10 > said:
				said = percent / 10
				sh.Status("", "%s", text)
			}
		}
	}
}

// pace returns how much of a step is done, negative if that cannot be told, and in words how long it
// will still take: from how long the first part took, or, before there is one, from the guess.
func pace(s prover.Step, took time.Duration) (share float64, left string) {
	rest := s.Expect - took
	switch {
	case s.Share != nil:
		if share = s.Share(); share >= 0.05 {
			rest = time.Duration(float64(took) * (1 - share) / share)
		}
	case s.Expect > 0:
		share = min(float64(took)/float64(s.Expect), 0.95) // it is not done before it says so
	default:
		share = -1
	}
	if rest < time.Second/2 {
		return share, fmt.Sprintf("%d s", int(took.Seconds()))
	}
	return share, fmt.Sprintf("about %d s left", int(rest.Round(time.Second).Seconds()))
}

// filled is the inside of a progress bar; a negative share is none.
func filled(share float64) string {
	full := int(barWidth * max(0, min(share, 1)))
	return strings.Repeat("=", full) + strings.Repeat(" ", barWidth-full)
}

// bar is a progress bar on a terminal, and nothing elsewhere.
type bar struct {
	sh    *shell
	shown time.Time
}

// barWidth is the width of the bar in columns.
const barWidth = 28

// set shows how much is done. It draws at most ten times a second.
func (b *bar) set(done, total int) {
	if !b.sh.tty || b.sh.quiet || total == 0 || time.Since(b.shown) < 100*time.Millisecond {
		return
	}
	b.shown = time.Now()
	fmt.Fprintf(b.sh.stderr, "\r%s [%s] %d/%d crates", b.sh.paint("36", fmt.Sprintf("%12s", "Checking")),
		filled(float64(done)/float64(total)), done, total)
}

func (b *bar) clear() {
	if !b.shown.IsZero() {
		fmt.Fprint(b.sh.stderr, "\r\x1b[K")
	}
}

// output is a file that appears as a whole. It is opened before long work begins, so that a
// place that cannot be written is found first.
type output struct {
	*durable.File
	path string
}

func newOutput(path string) (*output, error) {
	f, err := durable.Create(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return &output{f, path}, nil
}

// commit writes the content and gives the file its name.
func (o *output) commit(content []byte) error {
	if _, err := o.Write(content); err != nil {
		return err
	}
	return o.Replace(o.path, 0o644)
}
