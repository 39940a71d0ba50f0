// Package build is what attestations of builds say and who makes them.
package build

import (
	"crypto/sha256"
	"errors"

	"cratelog/entry"
)

// NamedProgram is the program of attestations by name.
var NamedProgram = sha256.Sum256([]byte("cratelog/program/v2\nnote\nbuild/1\n"))

// VerifyNamed checks an attestation by name.
func VerifyNamed(*entry.Entry) (member string, err error) {
	return "", errors.New("named attestations are not known")
}
