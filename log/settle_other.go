//go:build !linux

package log

import "errors"

// settle cannot tell when Tessera's goroutines have ended.
func settle(string) error {
	return errors.New("log: taking over settings without a restart works on Linux only; restart")
}
