package client

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/internal/testlog"
)

// TestAFrozenNoteHasOneSpelling: what is read prints back, and nothing else is read.
func TestAFrozenNoteHasOneSpelling(t *testing.T) {
	key, next := testlog.LogKey("log.example/1"), testlog.LogKey("log.example/2")
	p := testlog.Must(ParsePolicy([]byte("log " + key.VKey + "\nquorum none\n")))
	sign := func(text string) []byte { return testlog.Must(note.Sign(&note.Note{Text: text}, key)) }
	good := Frozen{Origin: "log.example/1", Size: 7, Root: tlog.Hash{1}, Time: time.Unix(1e9, 0).UTC()}
	for _, f := range []Frozen{good,
		{Origin: good.Origin, Root: good.Root, Time: good.Time, Successor: next.VKey},
		{Origin: good.Origin, Size: 1 << 40, Time: good.Time, Successor: next.VKey, SuccessorURL: "https://x.example/y",
			Reason: "It is time, says “x”."}} {
		text := testlog.Must(f.Text())
		got := testlog.Must(p.CheckFrozen(sign(text)))
		if got.Signed = nil; !got.Time.Equal(f.Time) || got.Origin != f.Origin || got.Size != f.Size ||
			got.Successor != f.Successor ||
			got.SuccessorURL != f.SuccessorURL || got.Reason != f.Reason {
			t.Errorf("%+v\nwant %+v", got, f)
		}
		if again := testlog.Must(got.Text()); again != text {
			t.Errorf("%q\n%q", again, text)
		}
		// A frozen note is no checkpoint, nor the other way round.
		if _, err := p.CheckCheckpointRules(sign(text), Rules{AllowNoWitnesses: true}); err == nil {
			t.Error("a frozen note is taken for a checkpoint")
		}
	}
	text := testlog.Must(good.Text())
	if _, err := p.CheckFrozen(sign(testlog.Head(good.Origin, 7, tlog.Hash{1}))); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("a checkpoint is taken for a frozen note: %v", err)
	}
	bad := map[string]string{}
	for _, swap := range [][2]string{{"/v1", "/v2"}, {"size 7", "size 07"}, {"size 7", "size -7"}, {"size 7",
		"size 9223372036854775807"}, {"size 7\n", ""},
		{"time 1000000000", "time 1e9"}, {"root A", "root B="}, {"origin ", "origin  "}, {"size 7",
			"size 7\nsize 7"}, {"size 7", "size 7\r"},
		{"cratelog/", "\ncratelog/"}} {
		bad[swap[0]+" as "+swap[1]] = strings.Replace(text, swap[0], swap[1], 1)
	}
	for _, more := range []string{"x\n", "successor \n", "reason \n", "successor x\n",
		"successor " + next.VKey + " ftp://x\n", "successor " + next.VKey + "  https://x\n",
		"reason a\nsuccessor " + next.VKey + "\n", "reason " + strings.Repeat("x", 201) + "\n", "reason a\nreason b\n"} {
		bad["with "+more] = text + more
	}
	for name, text := range bad {
		if f, err := p.CheckFrozen(sign(text)); err == nil {
			t.Errorf("%q is read as %+v", name, f)
		}
	}
	signed := sign(text)
	twice := append(bytes.Clone(signed), bytes.SplitAfter(signed, []byte("\n\n"))[1]...)
	for name, b := range map[string][]byte{"cut": signed[:len(signed)-3], "signed twice": twice,
		"unsigned": []byte(text), "nothing": nil,
		"too large": append(bytes.Clone(signed), bytes.Repeat([]byte("— x aaaaaaaa\n"), MaxFrozenSize/10)...)} {
		if _, err := p.CheckFrozen(b); err == nil {
			t.Errorf("%s is believed", name)
		}
	}
	if _, err := p.CheckFrozen(testlog.Must(note.Sign(&note.Note{Text: text}, testlog.LogKey(good.Origin,
		"another")))); !errors.Is(err, ErrLogSignature) {
		t.Errorf("signed by another key: %v", err)
	}
	other := testlog.Must(ParsePolicy([]byte("log " + next.VKey + "\nquorum none\n")))
	if _, err := other.CheckFrozen(signed); !errors.Is(err, ErrLog) {
		t.Errorf("of a log that is not trusted: %v", err)
	}
	for _, f := range []Frozen{{Origin: "a\nb", Time: good.Time}, {Origin: "a", Time: good.Time, Reason: "a\nb"},
		{Origin: "a", Time: good.Time, SuccessorURL: "https://x.example"}, {Time: time.Unix(-1, 0)}} {
		if text, err := f.Text(); err == nil {
			t.Errorf("%q is said", text)
		}
	}
}
