package client

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"cratelog/entry"
	"cratelog/index"
)

// Bounds of what a log answers about its index.
const (
	MaxPageSize = 2 << 20 // bytes of a page
	MaxRows     = 4096    // of a page
	maxRow      = 72      // bytes of a value

	// TooManyRows is the reason of a log that is asked for a page of more rows: the halves are to be asked for.
	TooManyRows = "too-many-rows"
)

// A Head is a checkpoint whose tree ends in a seal: a c2sp.org/tlog-proof@v1 of the seal.
type Head struct {
	Index      uint64 // of the seal: the size of the tree less 1
	Checkpoint []byte // signed note; ends in a newline
	Seal       Seal
}

// Check verifies the checkpoint, and that its tree ends in the seal. Errors are those of CheckCheckpointRules,
// and ErrSeal.
func (h *Head) Check(policy *Policy, rules Rules) (Checkpoint, *entry.Seal, error) {
	c, err := policy.CheckCheckpointRules(h.Checkpoint, rules)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	seal, err := h.Seal.Check(c)
	if err == nil && h.Index != seal.Size {
		err = refuse(ErrSeal, "it says that the seal of %q stands as number %d, and it is number %d", clip(c.Origin),
			h.Index, seal.Size)
	}
	return c, seal, err
}

// A SealedLookup is what a log answers about a version: which checksum it has in this log, or that it has none.
// It is a c2sp.org/tlog-proof@v1 of the seal under a checkpoint, with this extra line:
//
//	lookup = {
//	  2: seal,
//	  4: version / bstr .size 0,     ; the value of the version's key in the sealed map, empty if it has none
//	  5: mapproof,                   ; of either
//	}
//
// The rest is as in a Bundle.
type SealedLookup struct {
	Head
	Version Lookup
}

type wireLookup struct {
	Seal  []byte `cbor:"2,keyasint"`
	Value []byte `cbor:"4,keyasint"`
	Proof []byte `cbor:"5,keyasint"`
}

// ParseLookup reads a look-up in its one encoding. Errors are ErrBundle.
func ParseLookup(b []byte) (*SealedLookup, error) {
	return parseSealed(b, MaxBundleSize, func(p *Proof, w wireLookup) (*SealedLookup, error) {
		return &SealedLookup{Head{p.Index, p.Checkpoint, Seal{w.Seal, p.Hashes}}, lookup(w.Value, w.Proof)}, nil
	})
}

// Marshal returns the one encoding of s. It fails if s is not what ParseLookup could return.
func (s *SealedLookup) Marshal() ([]byte, error) {
	if err := errors.Join(s.Seal.bounded(ErrBundle), s.Version.bounded(ErrBundle)); err != nil {
		return nil, err
	}
	return marshalSealed(&Proof{s.Index, s.Seal.Hashes, s.Checkpoint, nil}, MaxBundleSize,
		wireLookup{s.Seal.Leaf, s.Version.Value, s.Version.Proof})
}

// Held is what a log holds of a version.
type Held struct {
	Checkpoint    Checkpoint // as of which
	Logged        bool       // else it is proven that the log holds nothing about it
	index.Version            // if Logged
}

// Check verifies a look-up of a version. Errors are those of Head.Check.
func (s *SealedLookup) Check(policy *Policy, rules Rules, registry, name, version string) (*Held, error) {
	c, seal, err := s.Head.Check(policy, rules)
	if err != nil {
		return nil, err
	}
	v, there, err := s.Version.Check(seal, registry, name, version)
	if err != nil {
		return nil, err
	}
	return &Held{c, there, v}, nil
}

// A Page holds all rows that a log's index has under a prefix: of a crate, of a binary, or of any other part.
// It is a c2sp.org/tlog-proof@v1 of the seal under a checkpoint, with this extra line:
//
//	page = {
//	  2: seal,
//	  6: [*4096 row],                ; in the order of their keys
//	  7: mapproof,                   ; that these are all
//	}
//	row = [bstr .size 97, bstr .size (1..72)]  ; key, value
type Page struct {
	Head
	Rows  []index.Row
	Proof []byte
}

type wirePage struct {
	Seal  []byte    `cbor:"2,keyasint"`
	Rows  []wireRow `cbor:"6,keyasint"`
	Proof []byte    `cbor:"7,keyasint"`
}

type wireRow struct {
	_ struct{} `cbor:",toarray"`

	Key, Value []byte
}

// ParsePage reads a page in its one encoding. Errors are ErrBundle.
func ParsePage(b []byte) (*Page, error) {
	return parseSealed(b, MaxPageSize, func(p *Proof, w wirePage) (*Page, error) {
		out := &Page{Head: Head{p.Index, p.Checkpoint, Seal{w.Seal, p.Hashes}}, Proof: w.Proof}
		for i, r := range w.Rows {
			if len(r.Key) != index.KeySize {
				return nil, refuse(ErrBundle, "the key of row %d has %d bytes, and keys have %d", i, len(r.Key), index.KeySize)
			}
			out.Rows = append(out.Rows, index.Row{Key: index.Key(r.Key), Value: r.Value})
		}
		return out, nil
	})
}

// Marshal returns the one encoding of p. It fails if p is not what ParsePage could return.
func (p *Page) Marshal() ([]byte, error) {
	if err := p.Seal.bounded(ErrBundle); err != nil {
		return nil, err
	}
	if len(p.Rows) > MaxRows || len(p.Proof) > maxPath {
		return nil, refuse(ErrBundle, "it has %d rows and a proof of %d bytes, and at most %d and %d are read",
			len(p.Rows), len(p.Proof), MaxRows, maxPath)
	}
	rows := make([]wireRow, len(p.Rows))
	for i := range p.Rows {
		if n := len(p.Rows[i].Value); n < 1 || n > maxRow {
			return nil, refuse(ErrBundle, "the value of row %d has %d bytes, and values have 1 to %d", i, n, maxRow)
		}
		rows[i] = wireRow{Key: p.Rows[i].Key[:], Value: p.Rows[i].Value}
	}
	return marshalSealed(&Proof{p.Index, p.Seal.Hashes, p.Checkpoint, nil}, MaxPageSize,
		wirePage{p.Seal.Leaf, rows, p.Proof})
}

// Check verifies that the page's rows are all that the log's index has under a prefix, as of the checkpoint that
// it returns. A page without rows shows that of a root that does not lie only; see index.Prefix.Around, and
// Log.Everything, which asks for what shows it of every root. Errors are those of Head.Check.
func (p *Page) Check(policy *Policy, rules Rules, under index.Prefix) (Checkpoint, error) {
	c, _, err := p.sealed(policy, rules, under)
	return c, err
}

// sealed is Check, and returns the seal.
func (p *Page) sealed(policy *Policy, rules Rules, under index.Prefix) (Checkpoint, *entry.Seal, error) {
	c, seal, err := p.Head.Check(policy, rules)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	if err := index.VerifyPrefix(seal.Root, under, p.Rows, p.Proof); err != nil {
		return Checkpoint{}, nil, refuseErr(ErrSeal, err, "the %d rows of the log's index under a prefix of %d bits",
			len(p.Rows), under.Bits())
	}
	return c, seal, nil
}

// Lookup asks what the log's index holds of a version: ParseLookup and SealedLookup.Check say what it is.
// "" is the default registry.
func (l *Log) Lookup(ctx context.Context, registry, name, version string) ([]byte, error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return nil, err
	}
	return l.get(ctx, MaxBundleSize, registryQuery(registry).Encode(), "v1", "lookup", name, version)
}

// Page asks for all rows of the log's index under a prefix: ParsePage and Page.Check say what it is. The error
// is ErrManyRows if they are more than a page has; then the prefix's halves are to be asked for.
func (l *Log) Page(ctx context.Context, under index.Prefix) ([]byte, error) {
	q := url.Values{"bits": {strconv.Itoa(under.Bits())}}
	if under.Bits() > 0 {
		q.Set("under", hex.EncodeToString(under.Bytes()))
	}
	raw, err := l.get(ctx, MaxPageSize, q.Encode(), "v1", "index")
	if err == nil && inFiles(raw) {
		return l.narrowed(ctx, raw, under)
	}
	return raw, err
}

// CratePage is Page of all that the log's index has of a crate: of index.NamePrefix.
func (l *Log) CratePage(ctx context.Context, registry, name string) ([]byte, error) {
	if err := entry.CheckName(name); err != nil {
		return nil, err
	}
	return l.get(ctx, MaxPageSize, registryQuery(registry).Encode(), "v1", "index", name)
}

// ErrManyRows: the log's index has more rows under a prefix than a page.
var ErrManyRows = errors.New("more rows than a page has")

// ParseLookupQuery reads the query of a request for a look-up, strictly, and returns the registry.
func ParseLookupQuery(name, version, text string) (registry string, err error) {
	if err := errors.Join(entry.CheckName(name), entry.CheckVersion(version)); err != nil {
		return "", err
	}
	q, err := parameters(text, "registry")
	return q["registry"], err
}

// ParsePageQuery reads the query of a request for a page, strictly: of a crate or, if name is "", of any prefix,
// which must be said then.
func ParsePageQuery(name, text string) (under index.Prefix, err error) {
	known := []string{"under", "bits"}
	if name != "" {
		known = append(known, "registry")
		if err := entry.CheckName(name); err != nil {
			return under, err
		}
	}
	q, err := parameters(text, known...)
	if err != nil {
		return under, err
	}
	crate := index.Prefix{}
	if name != "" {
		crate = index.NamePrefix(q["registry"], name)
		if _, has := q["bits"]; !has && q["under"] == "" {
			return crate, nil
		}
	}
	if under, err = parsePrefix(q["bits"], q["under"]); err != nil {
		return under, err
	}
	if k := index.Key(append(under.Bytes(), make([]byte, index.KeySize)...)); under.Bits() < crate.Bits() || !crate.Covers(k) {
		return under, fmt.Errorf("the prefix in the query is not one of the crate %s", name)
	}
	return under, nil
}

// parsePrefix reads a prefix in its one spelling.
func parsePrefix(bits, under string) (p index.Prefix, err error) {
	n, err := strconv.ParseUint(bits, 10, 16)
	key, hexErr := hex.DecodeString(under)
	var k index.Key
	if err != nil || hexErr != nil || len(key) > len(k) {
		return p, errPrefix
	}
	copy(k[:], key)
	if p, err = index.NewPrefix(k, int(n)); err != nil {
		return p, err
	}
	if strconv.Itoa(p.Bits()) != bits || hex.EncodeToString(p.Bytes()) != under {
		return p, errPrefix
	}
	return p, nil
}

var errPrefix = errors.New("the query's \"bits\" is no number of bits from 0 to 776, or its \"under\" is not the least " +
	"number of bytes in lower-case hex that hold so many, with zeros behind")

// parameters reads a query that has some parameters at most, each once. The registry is the default one if it
// is not said.
func parameters(text string, known ...string) (map[string]string, error) {
	v, err := url.ParseQuery(text)
	if err != nil {
		return nil, errors.New("the query is not URL-encoded")
	}
	out := map[string]string{"registry": entry.DefaultRegistry}
	for key, values := range v {
		if !slices.Contains(known, key) || len(values) != 1 {
			return nil, fmt.Errorf("the query has a parameter %.40q, or has it twice; it takes %q", key, known)
		}
		out[key] = values[0]
	}
	return out, entry.CheckRegistry(out["registry"])
}

// NotLoggedError says what a log shows about a version of which it gave no bundle. It is ErrNotLogged. As of a
// checkpoint that is older than one that the reader remembers of the log, it is no answer: the version may have been
// logged since.
type NotLoggedError struct {
	Name, Version string
	Held          Held
}

// Is makes it ErrNotLogged.
func (e *NotLoggedError) Is(target error) bool { return target == ErrNotLogged }

func (e *NotLoggedError) Error() string {
	c := e.Held.Checkpoint
	if !e.Held.Logged {
		return fmt.Sprintf("the log %q proves that it holds nothing about %s %s, %s", clip(c.Origin), e.Name, e.Version, c.AsOf())
	}
	return fmt.Sprintf("the log %q holds %s %s with the SHA-256 %x, by %s, and hands out no claim about it that the "+
		"policy counts, %s", clip(c.Origin), e.Name, e.Version, e.Held.SHA256, e.Held.By(), c.AsOf())
}

// Missing is to be asked once Bundle has said ErrNotLogged, which is the log's word: it has the log show that.
// The error is *NotLoggedError, with the checkpoint as of which it is so, for State to see; ErrWithheld if
// the log shows nothing that holds; else of the network or of a busy log. It is never nil.
func (l *Log) Missing(ctx context.Context, q Query, policy *Policy, rules Rules) error {
	registry := cmp.Or(q.Registry, entry.DefaultRegistry)
	raw, err := l.Lookup(ctx, registry, q.Name, q.Version)
	var status *StatusError
	switch {
	case errors.As(err, &status) && status.Status == http.StatusNotFound:
		if c, empty := l.empty(ctx, policy, rules); empty {
			return &NotLoggedError{q.Name, q.Version, Held{Checkpoint: c}}
		}
		if look, err := l.fromFiles(ctx, registry, q.Name, q.Version); err == nil {
			if held, err := look.Check(policy, rules, registry, q.Name, q.Version); err == nil {
				return &NotLoggedError{q.Name, q.Version, *held}
			}
		}
		return refuse(ErrWithheld, "the log says that %s %s is not logged, and then shows nothing: %v", q.Name, q.Version, err)
	case err != nil:
		return fmt.Errorf("the log says that %s %s is not logged, and does not show it: %w", q.Name, q.Version, err)
	}
	file, err := ParseLookup(raw)
	if err != nil {
		return withheld(q, err)
	}
	held, err := file.Check(policy, rules, registry, q.Name, q.Version)
	if err != nil {
		return withheld(q, err)
	}
	return &NotLoggedError{q.Name, q.Version, *held}
}

// empty says whether a log shows that it holds nothing at all: then there is no seal for a look-up.
func (l *Log) empty(ctx context.Context, policy *Policy, rules Rules) (Checkpoint, bool) {
	raw, err := l.Checkpoint(ctx)
	if err != nil {
		return Checkpoint{}, false
	}
	c, err := policy.CheckCheckpointRules(raw, rules)
	return c, err == nil && c.Size == 0
}

func withheld(q Query, err error) error {
	return refuseErr(ErrWithheld, err, "the log says that %s %s is not logged, and what it shows for that is no answer",
		q.Name, q.Version)
}
