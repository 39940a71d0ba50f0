// Package alert tells people, and their programs, what a monitor has found: by
// webhook, by a command, or by mail through a local command.
//
// # Delivery
//
// Which channels a finding goes to is decided once, when it is recorded (Routes), and stands
// in the monitor's store with the finding, in one transaction. A Dispatcher takes it from there
// and delivers, each channel by itself: what is wrong with one channel concerns no other,
// and never the monitor. It tries again until it succeeds, ever more slowly.
//
// An alert is sent once to each channel, unless the monitor dies, or its store fails, between
// the sending and the note that it was sent: then it is sent once more, with the same
// ID. A receiver that must not see it twice remembers the IDs.
//
// # Trust
//
// The words of an alert come in part from logs and registries. Here they lose their control
// characters, and nothing of them reaches a shell, a header, or an address.
package alert

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"cratelog/monitor/store"
)

// Events of an alert.
const (
	Found     = store.Found    // there is something new
	Resolved  = store.Resolved // an operational trouble is over
	Heartbeat = "heartbeat"    // the monitor lives, and says how things are
	Test      = "test"         // the operator tries whether alerts arrive
)

// Alert is one message. In JSON it is what webhooks and commands receive; fields may be
// added, none will go.
type Alert struct {
	ID      string      `json:"id"`    // the same each time that it is sent, and no other's
	Event   string      `json:"event"` // one of the constants; more may come
	Class   store.Class `json:"class"`
	Kind    string      `json:"kind"` // of the finding, as docs/monitoring.md lists them
	Time    time.Time   `json:"time"` // when it was found
	Log     string      `json:"log,omitempty"`
	Summary string      `json:"summary"`        // one sentence
	Text    string      `json:"text,omitempty"` // more of them

	Finding int64  `json:"finding,omitempty"` // number, for monitor ack
	Crate   string `json:"crate,omitempty"`
	Version string `json:"version,omitempty"`

	Evidence     string `json:"evidence,omitempty"`      // SHA-256 of the file, in hex
	EvidenceURL  string `json:"evidence_url,omitempty"`  // where others can fetch it
	EvidenceFile string `json:"evidence_file,omitempty"` // where it lies on the monitor's machine
	URL          string `json:"url,omitempty"`           // page about the finding
}

// Channel is one way to deliver alerts.
type Channel interface {
	// Name is the channel's name in the settings and in the store.
	Name() string
	// Send delivers an alert, within a time that the channel bounds itself. Nil means that the
	// other side has taken it. An error may be a *LaterError.
	Send(ctx context.Context, a Alert) error
}

// named is a channel's name.
type named string

func (n named) Name() string { return string(n) }

// LaterError says that the other side asked to wait.
type LaterError struct {
	After time.Duration
	Err   error
}

func (e *LaterError) Error() string {
	return fmt.Sprintf("%v; it asks to wait %v", e.Err, e.After)
}

// Unwrap returns Err.
func (e *LaterError) Unwrap() error { return e.Err }

// clean returns a copy of a whose words hold no control characters, but line feeds in Text.
func (a Alert) clean() Alert {
	for _, s := range []*string{&a.ID, &a.Event, &a.Kind, &a.Log, &a.Summary, &a.Crate, &a.Version, &a.Evidence,
		&a.EvidenceURL, &a.EvidenceFile, &a.URL} {
		*s = oneLine(*s)
	}
	lines := strings.Split(a.Text, "\n")
	for i := range lines {
		lines[i] = oneLine(lines[i])
	}
	a.Text = strings.Join(lines, "\n")
	a.Class = store.Class(oneLine(string(a.Class)))
	a.Time = a.Time.UTC()
	return a
}

// oneLine replaces what is not printable, and what reverses the direction of text.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r != ' ' && !unicode.IsPrint(r) || unicode.Is(unicode.Cf, r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// clip shortens s to at most n bytes, at a character's end.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

// body is the message as text, for people.
func (a Alert) body() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", a.Summary)
	if a.Text != "" {
		fmt.Fprintf(&b, "%s\n\n", a.Text)
	}
	for _, f := range [][2]string{
		{"Class", string(a.Class)}, {"Kind", a.Kind}, {"Event", a.Event}, {"Log", a.Log},
		{"Crate", strings.TrimSpace(a.Crate + " " + a.Version)},
		{"Time", a.Time.Format(time.RFC3339)}, {"Page", a.URL}, {"Evidence", a.EvidenceURL}, {"File", a.EvidenceFile},
		{"SHA-256", a.Evidence}, {"Id", a.ID},
	} {
		if f[1] != "" {
			fmt.Fprintf(&b, "%-9s %s\n", f[0]+":", f[1])
		}
	}
	if a.Evidence != "" {
		fmt.Fprintf(&b, "\nTo check the evidence, with your own trust file: monitor verify-evidence %s.evidence "+
			"--trust FILE\n", a.Evidence)
	}
	if a.Finding > 0 && a.Event == Found {
		fmt.Fprintf(&b, "\nWhen it is taken care of: monitor ack %d\n", a.Finding)
	}
	return b.String()
}
