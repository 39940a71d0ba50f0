package client

import (
	"encoding/base64"
	"errors"
)

var errBase64 = errors.New("not padded standard base64 in its one encoding")

// decodeBase64 decodes standard, padded base64. The standard library ignores
// line ends and, without Strict, the last bits; both would be a second encoding.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, errBase64
	}
	return b, nil
}

// clip shortens what came from outside, for error texts.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
