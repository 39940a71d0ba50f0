package proofcheck

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A program's origin says who could forge its proofs. There are three kinds, each with one
// spelling:
//
//	development             anyone: the secrets of the key are published
//	solo: NAME              whoever ran the setup (`ceremony solo`) under that name
//	ceremony:HASH           all contributors of a phase together; HASH is the transcript's
//	ceremony:HASH ptau:HASH the same, with phase 1 from the powers-of-tau file of the second hash
//
// A HASH is a SHA-256 in lower-case hex. Anyone can write any of them into a program file:
// an origin says what to ask for, not what is so.
const (
	// OriginDevelopment marks a key whose secrets anyone can compute. A verifier that
	// accepts its proofs accepts forgeries.
	OriginDevelopment = "development"

	// OriginSolo begins the origin of a key that one operator made alone; a name follows.
	OriginSolo = "solo: "

	originCeremony = "ceremony:"
	originPtau     = " ptau:"

	maxSolo = 64 // bytes of the name of who ran a solo setup
)

// soloName is for names that stand in lines and on pages beside our own words.
var soloName = regexp.MustCompile(`^[A-Za-z0-9]+([ ._@+/-][A-Za-z0-9]+)*$`)

// SoloOrigin is the origin of keys that one operator made alone, who is called by name.
func SoloOrigin(name string) (string, error) {
	if len(name) > maxSolo || !soloName.MatchString(name) {
		return "", fmt.Errorf("%q is no name for the origin of a key: it has at most %d ASCII letters and digits, "+
			"and single characters of \"._@+/-\" and spaces between them", name, maxSolo)
	}
	return OriginSolo + name, nil
}

// CeremonyOrigin is the origin of the keys of a ceremony, by its transcript hash, and by the
// SHA-256 in hex of the powers-of-tau file from which phase 1 starts, or "".
func CeremonyOrigin(transcript [32]byte, ptau string) string {
	origin := originCeremony + hex.EncodeToString(transcript[:])
	if ptau != "" {
		origin += originPtau + ptau
	}
	return origin
}

// checkOrigin refuses what is of no kind of origin.
func checkOrigin(origin string) error {
	switch {
	case origin == "":
		return errors.New("program: the origin of the key is missing")
	case origin == OriginDevelopment:
		return nil
	}
	if name, solo := strings.CutPrefix(origin, OriginSolo); solo {
		if _, err := SoloOrigin(name); err != nil {
			return fmt.Errorf("program: %w", err)
		}
		return nil
	}
	hashes, held := strings.CutPrefix(origin, originCeremony)
	transcript, file, imported := strings.Cut(hashes, originPtau)
	if !held || !isHash(transcript) || imported && !isHash(file) {
		return fmt.Errorf("program: the origin of the key, %.100q, is none of \"development\", \"solo: NAME\", "+
			"\"ceremony:HASH\" and \"ceremony:HASH ptau:HASH\", with SHA-256 hashes in lower-case hex", origin)
	}
	return nil
}

func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == 32 && hex.EncodeToString(b) == s
}

// Development says that the program's key is a development key.
func (p Program) Development() bool { return p.Origin == OriginDevelopment }

// Solo returns the name of the operator who made the program's key alone, or "".
func (p Program) Solo() string {
	name, solo := strings.CutPrefix(p.Origin, OriginSolo)
	if !solo {
		return ""
	}
	return name
}

// Forgers says who could forge the program's proofs, where that is not all contributors of a
// ceremony together: then it is "".
func (p Program) Forgers() string {
	switch {
	case p.Development():
		return "anyone could forge"
	case p.Solo() != "":
		return "whoever ran it could forge; nobody else"
	}
	return ""
}

// Trust is the program's origin with what it means, for people.
func (p Program) Trust() string {
	if who := p.Forgers(); who != "" {
		return p.Origin + " -- " + who
	}
	return p.Origin
}
