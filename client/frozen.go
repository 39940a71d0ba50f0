package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// frozenLabel is the first line of a frozen note. No checkpoint has the second line that follows it, so that
// neither can be taken for the other.
const frozenLabel = "cratelog/frozen/v1"

// Bounds of a frozen note.
const (
	MaxFrozenSize   = 16 << 10 // with its signatures
	maxFrozenReason = 200      // bytes
)

// Frozen is a log's signed word that it has ended: it signs no tree of another size after it. A checkpoint of
// more entries, or of another root, convicts the log together with it.
type Frozen struct {
	Origin string
	Size   int64     // of the last tree
	Root   tlog.Hash // of it
	Time   time.Time // when the log was frozen, whole seconds

	// Where it goes on; "" if nowhere, or if that is not said.
	Successor    string // vkey of the log
	SuccessorURL string // may be "" beside a vkey

	Reason string // a sentence, printable, at most 200 bytes; may be ""
	Signed []byte // the note as it was checked
}

// Text returns what is signed:
//
//	cratelog/frozen/v1
//	origin <origin>
//	size <decimal>
//	root <base64>
//	time <seconds since 1970>
//	successor <vkey> [<url>]      (may be missing)
//	reason <text>                 (may be missing)
//
// An error says what a note cannot say.
func (f *Frozen) Text() (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\norigin %s\nsize %d\nroot %v\ntime %d\n", frozenLabel, f.Origin, f.Size, f.Root, f.Time.Unix())
	if f.Successor != "" {
		b.WriteString("successor " + f.Successor)
		if f.SuccessorURL != "" {
			b.WriteString(" " + f.SuccessorURL)
		}
		b.WriteString("\n")
	}
	if f.Reason != "" {
		b.WriteString("reason " + f.Reason + "\n")
	}
	switch got, err := parseFrozen(b.String()); {
	case err != nil:
		return "", err
	case got.Origin != f.Origin || got.Size != f.Size || got.Root != f.Root || got.Time.Unix() != f.Time.Unix() ||
		got.Successor != f.Successor || got.SuccessorURL != f.SuccessorURL || got.Reason != f.Reason:
		return "", errors.New("it has a line break, or a field that cannot stand in a note")
	}
	return b.String(), nil
}

// parseFrozen reads what Text writes, strictly.
func parseFrozen(text string) (f Frozen, err error) {
	rest := text
	line := func(key string, optional bool) (string, bool) {
		head, tail, ok := strings.Cut(rest, "\n")
		value, is := strings.CutPrefix(head, key)
		if err != nil || !ok || !is {
			if !optional && err == nil {
				err = fmt.Errorf("the line %q is missing", strings.TrimSpace(key))
			}
			return "", false
		}
		rest = tail
		return value, true
	}
	if label, _ := line(frozenLabel, false); label != "" {
		err = errors.New("it is of another format")
	}
	f.Origin, _ = line("origin ", false)
	size, _ := line("size ", false)
	root, _ := line("root ", false)
	at, _ := line("time ", false)
	successor, has := line("successor ", true)
	reason, reasoned := line("reason ", true)
	switch {
	case err != nil:
		return f, err
	case rest != "":
		return f, errors.New("it has further lines")
	case has && successor == "", reasoned && reason == "", len(reason) > maxFrozenReason:
		return f, fmt.Errorf("a line is empty, or the reason has more than %d bytes", maxFrozenReason)
	case strings.ContainsFunc(text, func(c rune) bool { return c != '\n' && !strconv.IsPrint(c) }):
		return f, errors.New("it has characters that cannot be printed")
	}
	f.Reason = reason
	if f.Size, err = frozenNumber(size); err == nil {
		var seconds int64
		seconds, err = frozenNumber(at)
		f.Time = time.Unix(seconds, 0).UTC()
	}
	if err != nil {
		return f, err
	}
	if f.Root, err = tlog.ParseHash(root); err != nil || f.Root.String() != root {
		return f, errors.New("its root is not 32 bytes in base64")
	}
	if has {
		f.Successor, f.SuccessorURL, has = strings.Cut(successor, " ")
		if has && plainURL(f.SuccessorURL) == nil {
			return f, errors.New("the successor's URL is not an absolute http or https URL")
		}
		if _, err := ParsePolicy([]byte("log " + f.Successor + "\nquorum none\n")); err != nil {
			return f, errors.New("the successor's key is no vkey of a log")
		}
	}
	return f, nil
}

func frozenNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > MaxTreeSize || strconv.FormatInt(n, 10) != text {
		return 0, errors.New("a number is not in its one spelling, or too large")
	}
	return n, nil
}

// CheckFrozen verifies that a log of the policy says that it has ended. Witnesses do not cosign that: it takes
// nothing from what they cosigned. Errors are ErrPolicy, ErrCheckpoint, ErrLog and ErrLogSignature.
func (p *Policy) CheckFrozen(signed []byte) (Frozen, error) {
	switch {
	case p == nil || len(p.logs) == 0:
		return Frozen{}, refuse(ErrPolicy, "the trust file lists no log")
	case len(signed) > MaxFrozenSize:
		return Frozen{}, refuse(ErrCheckpoint, "the frozen note has %d bytes, at most %d are read", len(signed),
			MaxFrozenSize)
	}
	text, _, _ := bytes.Cut(signed, []byte("\n\n"))
	f, err := parseFrozen(string(text) + "\n")
	if err != nil {
		return Frozen{}, refuseErr(ErrCheckpoint, err, "it is no frozen note")
	}
	known := make(verifiers)
	for _, l := range p.logs {
		if l.Origin == f.Origin {
			known[keyRef{l.Origin, l.KeyID}] = l.verifier
		}
	}
	if len(known) == 0 {
		return Frozen{}, refuse(ErrLog, "the frozen note names the log %q, the trust file lists %s", clip(f.Origin),
			p.origins())
	}
	n, err := note.Open(signed, known)
	if err != nil {
		return Frozen{}, refuseErr(ErrLogSignature, err, "the frozen note of %q", clip(f.Origin))
	}
	if err := checkLines(signed[len(n.Text)+1:], known); err != nil {
		return Frozen{}, err
	}
	if n.Text != string(text)+"\n" {
		return Frozen{}, refuse(ErrCheckpoint, "the text of the frozen note is not what was read")
	}
	f.Signed = bytes.Clone(signed)
	return f, nil
}

// String is a sentence for people. The log wrote all of it.
func (f *Frozen) String() string {
	s := fmt.Sprintf("the log %q says that it has ended at %s with %d entries", clip(f.Origin),
		f.Time.Format(time.DateOnly), f.Size)
	if f.Reason != "" {
		s += fmt.Sprintf(" (%q)", f.Reason)
	}
	switch {
	case f.Successor != "":
		s += ", and that its successor is " + f.Successor
		if f.SuccessorURL != "" {
			s += " at " + f.SuccessorURL
		}
	default:
		s += ", and names no successor"
	}
	return s
}

// Frozen fetches the note with which the log says that it has ended, for Policy.CheckFrozen; nil if the log
// says no such thing.
func (l *Log) Frozen(ctx context.Context) ([]byte, error) {
	b, err := l.get(ctx, MaxFrozenSize, "", "frozen")
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		return nil, nil
	}
	return b, err
}
