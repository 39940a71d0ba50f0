//go:build !pkcs11

package signer

import (
	"crypto"
	"errors"
)

func openToken(string, string) (crypto.Signer, error) {
	return nil, errors.New("this program was built without PKCS#11, which needs cgo: build it with -tags pkcs11")
}
