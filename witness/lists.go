package witness

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxList is the largest list of logs that is read, in bytes: some 60,000 logs.
const MaxList = 16 << 20

// listHeader is the first line of a list of logs.
const listHeader = "logs/v0"

// ParseList parses a list of logs in the format logs/v0 of witness-network.org: after a line
// "logs/v0", for each log the lines "vkey", "origin" where that is not the key's name, "qpd" and
// "contact", in this order. Spaces around a line, empty lines and those that begin with "#" do not
// count. A log with a vkey that [Log] does not take comes back among the others and [Witness.Take]
// leaves it out, so that a new kind of key in a list does not cost its other logs. Of qpd and contact the form
// is checked only: no more than the log's key signs can be asked for anyway.
func ParseList(text []byte) ([]Log, error) {
	if len(text) > MaxList {
		return nil, fmt.Errorf("the list has more than %d bytes", MaxList)
	}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("the list is not valid UTF-8")
	}
	p := listParser{next: listHeader}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if err := p.line(line); err != nil {
			return nil, fmt.Errorf("line %d of the list: %w", number, err)
		}
	}
	if p.next != "vkey" {
		return nil, fmt.Errorf("the list ends where a line %q should follow", p.next)
	}
	return p.logs, nil
}

type listParser struct {
	next string // the keyword that must follow; "origin" may be left out
	logs []Log
}

func (p *listParser) line(line string) error {
	if p.next == listHeader {
		if line != listHeader {
			return fmt.Errorf("it is %.40q; a list begins with %q", line, listHeader)
		}
		p.next = "vkey"
		return nil
	}
	key, value, _ := strings.Cut(line, " ")
	value = strings.TrimSpace(value)
	if p.next == "origin" && key == "qpd" {
		p.next = key
	}
	if key != p.next || value == "" {
		return fmt.Errorf("it is %.40q; a line %q with a value should follow", line, p.next)
	}
	switch key {
	case "vkey":
		name, _, _ := strings.Cut(value, "+")
		p.logs, p.next = append(p.logs, Log{Origin: name, VKey: value}), "origin"
	case "origin":
		p.logs[len(p.logs)-1].Origin, p.next = value, "qpd"
	case "qpd":
		if n, err := strconv.ParseInt(value, 10, 32); err != nil || n < 1 || strconv.FormatInt(n, 10) != value {
			return fmt.Errorf("qpd is %.40q and not a number from 1 to 2147483647", value)
		}
		p.next = "contact"
	case "contact":
		p.next = "vkey"
	}
	return nil
}

// Take takes from a list the logs that are not on record, with the keys that the list gives them,
// and cosigns for them from now on, also when the list names them no more. What is on record stays as it is:
// a list never changes the key of a log, brings back one that is disabled, or removes any. Beyond
// Config.MaxListed none is taken. list is the list's name in messages.
func (w *Witness) Take(ctx context.Context, list string, logs []Log) (taken int, err error) {
	w.changing.Lock()
	defer w.changing.Unlock()
	known, err := w.knownKeys(ctx)
	if err != nil {
		return 0, err
	}
	var fresh []Log
	room := w.maxListed - known.listed
	skipped, told := 0, 0
	skip := func(l Log, why string) {
		skipped++
		if told < maxSkips && w.health.first(list+"\x00"+l.Origin+"\x00"+why) {
			told++
			w.log.Warn("a log of a list is not taken", "list", list, "origin", clip(l.Origin), "vkey", clip(l.VKey),
				"why", clip(why))
		}
	}
	for _, l := range logs {
		origin, _, err := l.parse()
		switch keys, there := known.keys[origin]; {
		case err != nil:
			skip(l, err.Error())
		case there && !slices.Contains(keys, l.VKey):
			skip(l, "it is known with another key; if that is right, its operator says so, and [[log]] can have both")
		case there && w.watched(origin) == nil:
			skip(l, "it is disabled: the settings say so, or named it once and do no more; name it in [[log]] to enable it")
		case there: // nothing new
		case origin == w.name:
			skip(l, "its origin is this witness's own name")
		case len(fresh) == room:
			skip(l, fmt.Sprintf("%d logs came from lists, and max_listed allows no more", w.maxListed))
		default:
			fresh = append(fresh, Log{origin, l.VKey})
			known.keys[origin] = []string{l.VKey}
		}
	}
	w.metrics.listed.WithLabelValues(list).Set(float64(len(logs)))
	w.metrics.skipped.WithLabelValues(list).Set(float64(skipped))
	w.metrics.read.WithLabelValues(list).SetToCurrentTime()
	if len(fresh) == 0 {
		return 0, nil
	}
	if err := w.store.take(ctx, list, fresh, w.now()); err != nil {
		return 0, fmt.Errorf("witness: recording the logs of a list: %w", err)
	}
	w.log.Info("logs of a list are taken", "list", list, "logs", len(fresh), slog.Int("listed", known.listed+len(fresh)))
	return len(fresh), w.load(ctx)
}

// Bounds of what is logged of a list each time that it is read.
const (
	maxSkips    = 100  // logs that are not taken; the next time others are told
	maxSkipText = 4096 // bytes of a field
)

func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxSkipText)], "") }

// onRecord is what is known of logs: their keys by origin, and how many came from lists.
type onRecord struct {
	keys   map[string][]string
	listed int
}

func (w *Witness) knownKeys(ctx context.Context) (onRecord, error) {
	keys, err := w.store.keys(ctx)
	if err != nil {
		return onRecord{}, fmt.Errorf("witness: reading the logs: %w", err)
	}
	listed, err := w.store.listed(ctx)
	if err != nil {
		return onRecord{}, fmt.Errorf("witness: reading the logs of lists: %w", err)
	}
	return onRecord{keys, len(listed)}, nil
}
