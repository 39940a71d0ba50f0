// Command tokens counts the Go tokens of a checkout, without comments and
// without the semicolons that the scanner puts in, apart for source and tests:
//
//	go run ./bench/tokens [DIR]
//
// A change that leaves fewer and takes nothing away from a user is a good one.
package main

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	source, tests, err := count(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tokens:", err)
		os.Exit(1)
	}
	fmt.Printf("source_tokens %d tokens\ntest_tokens %d tokens\n", source, tests)
}

// count adds up the tokens of every .go file below dir; a file named _test.go is a test.
func count(dir string) (source, tests int, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n := tokens(text)
		if strings.HasSuffix(path, "_test.go") {
			tests += n
		} else {
			source += n
		}
		return nil
	})
	return source, tests, err
}

func tokens(text []byte) int {
	var s scanner.Scanner
	s.Init(token.NewFileSet().AddFile("", -1, len(text)), text, nil, 0)
	for n := 0; ; {
		switch _, kind, literal := s.Scan(); {
		case kind == token.EOF:
			return n
		case kind == token.SEMICOLON && literal != ";":
		default:
			n++
		}
	}
}
