package proofcheck

import (
	"errors"
	"fmt"

	"cratelog/internal/durable"
)

// ErrNoPrograms says that a verifier would refuse every proof. Load does not return it: a
// reader who accepts no program is well served, a log or a monitor is not.
var ErrNoPrograms = errors.New("no proof program is accepted: " +
	"the one that ships with this version has a development key, with which anyone can make false proofs; " +
	"name program files in programs, which ceremony solo or a ceremony made, or set development = true for trying things out")

// maxFiles is the most program files that Load takes.
const maxFiles = 256

// Load decides which programs are accepted: those that ship with cratelog and then those
// of program files, but programs with development keys only if development is true. A file
// may hold a program that ships. The verifier accepts no program if nothing is left. An
// error holds all mistakes in the files.
func Load(files []string, development bool) (*Verifier, error) {
	if len(files) > maxFiles {
		return nil, fmt.Errorf("%d program files are named, and at most %d are read", len(files), maxFiles)
	}
	shipped, err := Embedded()
	if err != nil {
		return nil, err
	}
	var accepted []Program
	from := map[[32]byte]string{}
	for _, p := range shipped {
		if !p.Development() || development {
			accepted, from[p.ID()] = append(accepted, p), "cratelog"
		}
	}
	var errs []error
	for _, file := range files {
		p, err := ReadProgram(file)
		switch first := from[p.ID()]; {
		case err != nil:
			errs = append(errs, err)
		case p.Development() && !development:
			errs = append(errs, fmt.Errorf("%s has a development key, with which anyone can make false proofs; "+
				"leave it out, or accept development keys (development = true, or --development) to try things out", file))
		case first == "cratelog":
		case first != "":
			errs = append(errs, fmt.Errorf("the program of %s is listed twice, also as %s; remove one of them", file, first))
		default:
			accepted, from[p.ID()] = append(accepted, p), file
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return New(accepted)
}

// ReadProgram reads a program file.
func ReadProgram(path string) (Program, error) {
	text, err := durable.Read(path, MaxProgramFile)
	if err != nil {
		return Program{}, fmt.Errorf("the program file cannot be read: %w", err)
	}
	p, err := ParseProgram(text)
	if err != nil {
		return Program{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}
