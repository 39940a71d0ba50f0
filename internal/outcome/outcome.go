// Package outcome is the vocabulary in which programs end: an error is a refusal, a
// mistake in usage, or leaves the question unchecked, and each has its exit code.
package outcome

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// Code is an exit code.
type Code int

// Exit codes.
const (
	OK        Code = iota // all is as asked
	Refused               // the check was made, and the answer is no
	Usage                 // the command line, or a reader's policy, is wrong
	Unchecked             // the check could not be made: something cannot be read, reached or written
	Restart               // the program had to end, and is to be started again
)

// coded is an error with the exit code that it stands for.
type coded struct {
	code Code
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// Refuse marks err as the answer of a check that was made, and failed. It keeps nil.
func Refuse(err error) error { return mark(Refused, err) }

// Refusef is Refuse of fmt.Errorf.
func Refusef(format string, args ...any) error { return Refuse(fmt.Errorf(format, args...)) }

// Misuse marks err as the caller's mistake. It keeps nil.
func Misuse(err error) error { return mark(Usage, err) }

// Usagef is Misuse of fmt.Errorf.
func Usagef(format string, args ...any) error { return Misuse(fmt.Errorf(format, args...)) }

// Again marks err as what made a program end that is to be started again. It keeps nil.
func Again(err error) error { return mark(Restart, err) }

func mark(code Code, err error) error {
	if err == nil {
		return nil
	}
	return &coded{code, err}
}

// Of returns the code that err stands for: the outermost mark's, and Unchecked if there
// is none. A request for help is OK.
func Of(err error) Code {
	var c *coded
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return OK
	case errors.As(err, &c):
		return c.code
	}
	return Unchecked
}

// Exit prints the error that ended a program, and returns the exit code. Where the error begins with
// the package of the program, which is its name, but log of logd, the program's name stands for it.
func Exit(program string, err error, stderr io.Writer) int {
	code := Of(err)
	if code != OK {
		text := strings.TrimPrefix(err.Error(), strings.TrimSuffix(program, "d")+": ")
		fmt.Fprintf(stderr, "%s: %s\n", program, text)
	}
	return int(code)
}
