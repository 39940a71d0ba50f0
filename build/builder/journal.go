package builder

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"cratelog/internal/durable"
)

const (
	journalHeader = "cratelog-builder-journal/v1\n"
	maxJournal    = 64 << 20 // bytes; half a million builds
)

// A journal is what a key has attested: one result for each request, for ever.
type journal struct {
	path    string
	text    []byte // of the file
	results map[[32]byte][32]byte
}

// newJournal makes the journal of a new key.
func newJournal(path string, key [32]byte) error {
	if err := durable.WriteNew(path, fmt.Appendf(nil, "%skey %x\n", journalHeader, key), 0o600); err != nil {
		return fmt.Errorf("making the key's journal %s: %w", path, err)
	}
	return nil
}

// readJournal reads the journal of a key.
func readJournal(path string, key [32]byte) (*journal, error) {
	text, err := durable.Read(path, maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the key has no journal %s: without it, it could contradict itself, which unmasks its owner; "+
			"restore the journal and run \"cargo zkp builder status --adopt\", or make a new key with "+
			"\"cargo zkp builder keygen\" and enroll that", path)
	}
	if err != nil {
		return nil, fmt.Errorf("the key's journal: %w", err)
	}
	j, err := parseJournal(text, key)
	if err != nil {
		return nil, fmt.Errorf("the key's journal %s: %w", path, err)
	}
	j.path = path
	return j, nil
}

func parseJournal(text []byte, key [32]byte) (*journal, error) {
	rest, ok := bytes.CutPrefix(text, []byte(journalHeader))
	if !ok || !bytes.HasSuffix(text, []byte("\n")) {
		return nil, fmt.Errorf("it does not begin with the line %q, or does not end with a line feed: restore it",
			journalHeader[:len(journalHeader)-1])
	}
	first, rest, _ := bytes.Cut(rest, []byte("\n"))
	if string(first) != fmt.Sprintf("key %x", key) {
		return nil, errors.New("it is the journal of another key: restore the right one")
	}
	j := &journal{text: text, results: map[[32]byte][32]byte{}}
	line := 2
	for l := range strings.Lines(string(rest)) {
		line++
		b, err := hex.DecodeString(strings.Replace(strings.TrimSuffix(l, "\n"), " ", "", 1))
		if err != nil || len(b) != 64 || journalLine([32]byte(b[:32]), [32]byte(b[32:])) != l {
			return nil, fmt.Errorf("line %d is not a request and a result, each of 64 lower-case hex digits", line)
		}
		request, result := [32]byte(b[:32]), [32]byte(b[32:])
		if _, twice := j.results[request]; twice {
			return nil, fmt.Errorf("line %d has a request that stands there already", line)
		}
		j.results[request] = result
	}
	return j, nil
}

func journalLine(request, result [32]byte) string { return fmt.Sprintf("%x %x\n", request, result) }

// record puts a result on the disk, and nothing if it stands there. With another result of that
// request it fails.
func (j *journal) record(request, result [32]byte) error {
	if old, ok := j.results[request]; ok {
		if old != result {
			return &ContradictionError{Request: request, Said: old, Now: result}
		}
		return nil
	}
	text := append(bytes.Clone(j.text), journalLine(request, result)...)
	if len(text) > maxJournal {
		return fmt.Errorf("the key's journal %s would take more than %d bytes: make a new key and enroll it", j.path, maxJournal)
	}
	if err := durable.Write(j.path, text, 0o600); err != nil {
		return fmt.Errorf("writing the key's journal %s: %w; nothing was attested", j.path, err)
	}
	j.text, j.results[request] = text, result
	return nil
}
