package evidence

import (
	"fmt"

	"golang.org/x/mod/sumdb/note"
)

// Keys are those of the logs and witnesses that a reader knows. No other key is ever
// convicted. The zero value holds none.
type Keys struct {
	logs, witnesses []note.Verifier
}

// NewKeys takes vkeys of logs, whose names are the origins, and of witnesses. A trust file
// lists both: client.Policy.Logs and Witnesses.
func NewKeys(logs, witnesses []string) (Keys, error) {
	var k Keys
	for _, s := range logs {
		v, err := ParseVKey(s)
		if err != nil {
			return Keys{}, err
		}
		k.logs = append(k.logs, v)
	}
	for _, s := range witnesses {
		v, err := ParseVKey(s)
		if err == nil && !v.Cosigns {
			err = fmt.Errorf("the vkey %q is a log's, not a witness's", clip(s))
		}
		if err != nil {
			return Keys{}, err
		}
		k.witnesses = append(k.witnesses, v)
	}
	return k, nil
}

// signedBy says whether the key's line in the note verifies. Each key is looked for alone, so
// that no line of another key, however bad, can hide what this key signed.
func signedBy(signed []byte, v note.Verifier) bool {
	_, err := note.Open(signed, note.VerifierList(v))
	return err == nil
}

// checkLog is nil if a known key of the log signed every note of e.
func (k Keys) checkLog(e *Evidence, origin string) error {
	known := false
	for i, n := range e.Notes {
		ok := false
		for _, v := range k.logs {
			if v.Name() == origin {
				known, ok = true, ok || signedBy(n, v)
			}
		}
		switch {
		case !known:
			return fmt.Errorf("%w: no key of the log %q is known; use a trust file that lists it", ErrUnknownKey, clip(origin))
		case !ok:
			return fmt.Errorf("%w: no known key of the log %q has signed note %d; anyone can have written it",
				ErrUnknownKey, clip(origin), i+1)
		}
	}
	return nil
}

// cosigners returns the known witness keys whose cosignatures stand on all notes of e,
// as "<name>+<id>", but for the one that e is about.
func (k Keys) cosigners(e *Evidence) []string {
	var all []string
	for _, v := range k.witnesses {
		everywhere := true
		for _, n := range e.Notes {
			everywhere = everywhere && signedBy(n, v)
		}
		if id := keyID(v); everywhere && id != e.Witness {
			all = append(all, id)
		}
	}
	return all
}

// checkWitness is nil if the key that e is about is known, and cosigned both notes.
func (k Keys) checkWitness(e *Evidence) error {
	for _, v := range k.witnesses {
		if keyID(v) != e.Witness {
			continue
		}
		for i, n := range e.Notes {
			if !signedBy(n, v) {
				return fmt.Errorf("%w: the witness key %s has not cosigned note %d", ErrUnknownKey, e.Witness, i+1)
			}
		}
		return nil
	}
	return fmt.Errorf("%w: no witness key %s is known; use a trust file that lists it", ErrUnknownKey, clip(e.Witness))
}

func keyID(v note.Verifier) string { return fmt.Sprintf("%s+%08x", v.Name(), v.KeyHash()) }
