package main

import (
	"errors"

	"cratelog/internal/outcome"
)

// usageError is a mistake on the command line.
func usageError(text string) error { return outcome.Usagef("%s", text) }

// violation wraps an error that is an answer: the check was made, and failed.
type violation struct{ error }

func (v violation) Unwrap() error { return v.error }

func outcomeOf(err error) outcome.Code {
	var v violation
	if errors.As(err, &v) {
		return outcome.Refused
	}
	return outcome.Of(err)
}
