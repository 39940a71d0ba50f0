package evidence

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/build"
	"cratelog/index"
	"cratelog/internal/durable"
)

const header = "cratelog/evidence/v2\n"

// Parse reads an evidence file. It is strict: what it accepts, Marshal writes again byte
// by byte. It verifies nothing. Errors are ErrMalformed.
func Parse(b []byte) (*Evidence, error) {
	if len(b) > MaxSize {
		return nil, malformed("it has %d bytes, at most %d are read", len(b), MaxSize)
	}
	rest, ok := bytes.CutPrefix(b, []byte(header))
	if first, _, _ := bytes.Cut(b, []byte("\n")); !ok {
		what := fmt.Sprintf("its first line is not %q", header[:len(header)-1])
		if why := durable.Altered(first); why != "" {
			what += ": " + why
		}
		return nil, malformed("%s", what)
	}
	p := &parser{rest: rest, e: new(Evidence)}
	for len(p.rest) > 0 {
		if err := p.part(); err != nil {
			return nil, err
		}
		// More than any form of evidence has is refused before it takes memory.
		if len(p.e.Sources) > maxSources || len(p.e.Notes) > 2 || len(p.e.Entries) > 2 || len(p.e.Statements) > 2 ||
			len(p.e.Sets) > 2 || len(p.e.Lookups) > 2 {
			return nil, malformed("it has more than %d sources, 2 notes or 2 entries, or 2 statements, sets or look-ups", maxSources)
		}
	}
	again, err := p.e.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, b) {
		return nil, malformed("it is not in its one encoding: a part is repeated, out of order, or written in another way")
	}
	return p.e, nil
}

// parser reads any parts in any order; Marshal, which Parse compares with, checks which may
// stand together.
type parser struct {
	rest []byte
	e    *Evidence
}

// part reads one line, and the bytes that belong to it.
func (p *parser) part() error {
	line, rest, ended := bytes.Cut(p.rest, []byte("\n"))
	if !ended {
		return malformed("its last line does not end in a newline")
	}
	p.rest = rest
	word, s, _ := strings.Cut(string(line), " ")
	e := p.e
	switch word {
	case "kind":
		e.Kind = Kind(s)
	case "observed":
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return malformed("the time %q is not of RFC 3339", clip(s))
		}
		e.Observed = t.UTC()
	case "source":
		e.Sources = append(e.Sources, s)
	case "witness":
		e.Witness = s
	case "reason":
		e.Reason = Reason(s)
	case "registry":
		e.Registry.Name = s
	case "served":
		return p.served(s)
	case "line":
		url, line, _ := strings.Cut(s, " ")
		b, err := decode(line)
		e.Registry.URL, e.Registry.Line = url, b
		return err
	case "program":
		var err error
		e.Program, err = p.block(s, MaxProgram)
		return err
	case "set":
		set, err := p.block(s, build.MaxSet)
		e.Sets = append(e.Sets, set)
		return err
	case "statement":
		x, err := decode(s)
		e.Statements = append(e.Statements, x)
		return err
	case "crate":
		c, err := decode(s)
		e.Crate = c
		return err
	case "list":
		l, err := decode(s)
		e.List = l
		return err
	case "opening":
		o, err := decode(s)
		e.Opening = o
		return err
	case "note":
		n, err := p.block(s, MaxNote)
		e.Notes = append(e.Notes, n)
		return err
	case "entry":
		return p.entry(s)
	case "lookup":
		return p.lookup(s)
	case "path", "root", "hash":
		return p.hash(word, s)
	default:
		return malformed("there is no part %q", clip(word))
	}
	return nil
}

func (p *parser) served(s string) error {
	what, sum, _ := strings.Cut(s, " ")
	h, err := hex.DecodeString(sum)
	if err != nil || len(h) != 32 || what != "index" && what != "crate" && what != "line" {
		return malformed("the line \"served %s\" is not \"index\", \"crate\" or \"line\" and 64 hex digits", clip(s))
	}
	p.e.Registry.Index, p.e.Registry.SHA256 = what != "crate", [32]byte(h)
	return nil
}

// block cuts off the bytes that follow a line with their length.
func (p *parser) block(length string, most int) ([]byte, error) {
	n, err := number(length)
	if err != nil {
		return nil, err
	}
	if n > int64(most) || n > int64(len(p.rest)) {
		return nil, malformed("a part of %d bytes does not fit: at most %d are allowed, and %d are left", n, most, len(p.rest))
	}
	block := bytes.Clone(p.rest[:n])
	if block == nil {
		block = []byte{}
	}
	p.rest = p.rest[n:]
	return block, nil
}

func (p *parser) entry(s string) error {
	index, leaf, ok := strings.Cut(s, " ")
	n, err := number(index)
	if err != nil {
		return err
	}
	b, err := decode(leaf)
	if err != nil || !ok {
		return malformed("an entry is not an index, a space, and base64")
	}
	p.e.Entries = append(p.e.Entries, Leaf{Index: n, Bytes: b})
	return nil
}

func (p *parser) lookup(s string) error {
	key, rest, _ := strings.Cut(s, " ")
	value, proof, ok := strings.Cut(rest, " ")
	k, err1 := decode(key)
	v, err2 := decode(value)
	path, err3 := decode(proof)
	if errors.Join(err1, err2, err3) != nil || !ok || len(k) != index.KeySize {
		return malformed("a look-up is not a key of %d bytes, a value and a proof, in base64", index.KeySize)
	}
	if len(v) == 0 {
		v = nil
	}
	p.e.Lookups = append(p.e.Lookups, Lookup{index.Key(k), v, path})
	return nil
}

func (p *parser) hash(word, s string) error {
	b, err := decode(s)
	if err != nil || len(b) != tlog.HashSize {
		return malformed("a %s is not the padded base64 of 32 bytes", word)
	}
	e, h := p.e, tlog.Hash(b)
	switch {
	case word == "root":
		e.Root = &h
	case word == "hash":
		e.Hashes = append(e.Hashes, h)
	case len(e.Entries) == 0:
		return malformed("a path stands before the entry that it belongs to")
	default:
		l := &e.Entries[len(e.Entries)-1]
		l.Path = append(l.Path, h)
	}
	return nil
}

func number(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n >= maxTreeSize || strconv.FormatInt(n, 10) != s {
		return 0, malformed("%q is not a decimal number below 2^62 without leading zeros", clip(s))
	}
	return n, nil
}

// decode decodes standard base64; that it is the one encoding, Parse compares.
func decode(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, malformed("a part is not in padded base64")
	}
	return b, nil
}
