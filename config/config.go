// Package config loads what an operator writes: settings files and key files.
//
// Settings are one TOML file per program, read by [LoadTOML]. It is strict: a
// key that the program does not know, or knows under another spelling, is an
// error, because a misspelt setting that is silently ignored is a guard that
// is silently off.
//
// Keys are PEM files (PKCS#8, or encrypted: see [ParseKey]) that only their owner may read.
// [NewLogSigner] and [NewCosignatureSigner] turn them, and keys that package signer finds elsewhere,
// into the signers of c2sp.org/signed-note, and return the verifier key (vkey) to give to others.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"cratelog/internal/durable"
	bounded "cratelog/internal/toml"
)

// MaxTOML is the largest settings file that [LoadTOML] reads, in bytes.
const MaxTOML = 1 << 20

// maxKeys is how many keys it may have: go-toml takes time by their square.
const maxKeys = 10000

// LoadTOML reads the TOML file at path into the struct that into points to.
//
// Field names come from the "toml" tag and are matched exactly. An unknown key,
// a wrong type, or a syntax error yields an error that names the file, the line
// and the key. A byte order mark is skipped. Fields that the file does not mention keep the value they had,
// so the caller can fill in defaults first. Embedded structs lend their fields. On error
// *into is left as it was.
func LoadTOML(path string, into any) error {
	dst := reflect.ValueOf(into)
	if dst.Kind() != reflect.Pointer || dst.IsNil() || dst.Elem().Kind() != reflect.Struct {
		return errors.New("config: LoadTOML needs a pointer to a struct")
	}
	data, err := durable.Read(path, MaxTOML)
	if err != nil {
		return err
	}
	data = bytes.TrimPrefix(data, []byte(bounded.BOM))
	if why := durable.NotText(data); why != "" {
		return fmt.Errorf("%s: %s", path, why)
	}
	var wrong *bounded.Error
	if errors.As(bounded.CheckKeys(data, maxKeys), &wrong) {
		if wrong.Limit {
			return fmt.Errorf("%s %w", path, wrong)
		}
		// go-toml tells key and column, and is shown no more than it needs.
		lines := bytes.SplitAfter(data, []byte("\n"))
		data = bytes.Join(lines[:min(wrong.Line, len(lines))], nil)
	}
	// go-toml also matches names that differ in case, so that "listen" and "Listen" could both
	// stand in a file and one of them would win; and it takes time by the square of unknown keys.
	if wrong == nil {
		if err := checkSpelling(path, data, dst.Type().Elem()); err != nil {
			return err
		}
	}
	tmp := reflect.New(dst.Type().Elem())
	tmp.Elem().Set(dst.Elem())
	dec := toml.NewDecoder(bytes.NewReader(data))
	if wrong == nil {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(tmp.Interface()); err != nil {
		return describe(path, err)
	}
	if wrong != nil {
		return fmt.Errorf("%s %w", path, wrong)
	}
	dst.Elem().Set(tmp.Elem())
	return nil
}

// describe turns a go-toml error into sentences with file, line and key.
func describe(path string, err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			line, _ := strict.Errors[i].Position()
			all = append(all, unknownKey(path, line, strings.Join(strict.Errors[i].Key(), ".")))
		}
		return errors.Join(all...)
	}
	var dec *toml.DecodeError
	if errors.As(err, &dec) {
		line, column := dec.Position()
		msg := strings.TrimPrefix(dec.Error(), "toml: ")
		if key := dec.Key(); len(key) > 0 {
			if m := otherType.FindStringSubmatch(msg); m != nil {
				msg = "must be " + kind(m[1])
			}
			return fmt.Errorf("%s line %d: key %q: %s", path, line, strings.Join(key, "."), msg)
		}
		return fmt.Errorf("%s line %d, column %d: not valid TOML: %s", path, line, column, msg)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// otherType is what go-toml says of a value of another type than the field, which it names.
var otherType = regexp.MustCompile(`^cannot (?:decode TOML .* into|store .* in a) (?:struct field \S+ of type )?(.+)$`)

// kind says in words what a field of a Go type takes.
func kind(goType string) string {
	goType = strings.TrimLeft(goType, "*")
	switch {
	case goType == "string":
		return `text in quotes, like "x"`
	case goType == "[]string":
		return `a list of texts, like ["x"]`
	case goType == "bool":
		return "true or false, without quotes"
	case strings.HasPrefix(goType, "int"), strings.HasPrefix(goType, "uint"), strings.HasPrefix(goType, "float"):
		return "a number, without quotes"
	case strings.HasPrefix(goType, "[]"), goType == "slice":
		return "a list of tables, each below its name in double brackets: [[...]]"
	}
	return "a table, below its name in brackets: [...]"
}

func unknownKey(path string, line int, key string) error {
	if len(key) > maxKeyShown {
		key = key[:maxKeyShown] + "..."
	}
	return fmt.Errorf("%s line %d: unknown key %q; correct its spelling or remove it", path, line, key)
}

const (
	maxKeyShown = 100 // bytes of an unknown key that are shown
	maxUnknown  = 10  // unknown keys that are told
)

// speller walks every key of a document beside a type and collects those that are not spelt
// as the fields' tags say.
type speller struct {
	path   string
	parser unstable.Parser
	errs   []error
}

func checkSpelling(path string, data []byte, t reflect.Type) error {
	s := &speller{path: path}
	s.parser.Reset(data)
	table, name := t, ""
	for s.parser.NextExpression() && len(s.errs) < maxUnknown {
		switch e := s.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table, name = s.descend(t, "", e)
		case unstable.KeyValue:
			s.value(table, name, e)
		}
	}
	return errors.Join(append(s.errs, s.parser.Error())...)
}

// value checks the key of the key-value pair e below t, which has a name, and the keys of the
// inline tables in its value.
func (s *speller) value(t reflect.Type, name string, e *unstable.Node) {
	t, name = s.descend(t, name, e)
	s.inline(t, name, e.Value())
}

func (s *speller) inline(t reflect.Type, name string, v *unstable.Node) {
	if v.Kind != unstable.InlineTable && v.Kind != unstable.Array {
		return
	}
	for it := v.Children(); it.Next() && len(s.errs) < maxUnknown; {
		if v.Kind == unstable.InlineTable {
			s.value(t, name, it.Node())
		} else {
			s.inline(t, name, it.Node())
		}
	}
}

// descend follows the dotted key of e from type t. A nil type means that what
// lies there is not a struct of ours, and anything goes.
func (s *speller) descend(t reflect.Type, name string, e *unstable.Node) (reflect.Type, string) {
	for it := e.Key(); it.Next(); {
		key := string(it.Node().Data)
		name = strings.TrimPrefix(name+"."+key, ".")
		for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			t = t.Elem()
		}
		switch {
		case t != nil && t.Kind() == reflect.Map:
			t = t.Elem()
		case t != nil && t.Kind() == reflect.Struct:
			field, ok := fieldNamed(t, key)
			if !ok {
				s.errs = append(s.errs, unknownKey(s.path, s.parser.Shape(it.Node().Raw).Start.Line, name))
				return nil, name
			}
			t = field
		default:
			t = nil
		}
	}
	return t, name
}

func fieldNamed(t reflect.Type, name string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("toml") == "" {
			if field, ok := fieldNamed(f.Type, name); ok {
				return field, true
			}
			continue
		}
		tag, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
		if tag == "" {
			tag = f.Name
		}
		if tag == name && tag != "-" {
			return f.Type, true
		}
	}
	return nil, false
}

// Require refuses settings that are missing in the file at path. program is the one whose
// example file explains them.
func Require(path, program string, settings map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if settings[key] == "" {
			return fmt.Errorf("%s: the setting %q is missing; see config/%s.example.toml", path, key, program)
		}
	}
	return nil
}

// Beside resolves a file name found in the settings file at path: it is relative to the
// directory of that file.
func Beside(path, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// Duration is a time.Duration that a settings file writes as "30s" or "1m30s".
type Duration struct{ time.Duration }

// UnmarshalText parses the notation of [time.ParseDuration]; negative values
// are refused.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration; write it like \"30s\" or \"1m30s\"", text)
	}
	d.Duration = v
	return nil
}
