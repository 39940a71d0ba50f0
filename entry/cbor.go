package entry

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// The wire types mirror the CDDL. Byte strings of fixed size are slices here,
// so that a wrong size is seen and named, not cut or filled.

type wireEntry struct {
	Version uint64          `cbor:"1,keyasint"`
	Subject cbor.RawMessage `cbor:"2,keyasint"`
	Claim   cbor.RawMessage `cbor:"3,keyasint"`
	Proof   cbor.RawMessage `cbor:"4,keyasint"`
}

type wireSubject struct {
	Name    string `cbor:"1,keyasint"`
	Version string `cbor:"2,keyasint"`
	SHA256  []byte `cbor:"3,keyasint"`

	Registry string `cbor:"4,keyasint"`
}

type wireSource struct {
	Kind     string     `cbor:"1,keyasint"`
	Version  uint64     `cbor:"2,keyasint"`
	Commit   []byte     `cbor:"3,keyasint"`
	Path     string     `cbor:"4,keyasint"`
	Files    []byte     `cbor:"5,keyasint"`
	Unproven []string   `cbor:"6,keyasint,omitempty"`
	Links    []wireLink `cbor:"7,keyasint,omitempty"`
	Modules  []string   `cbor:"8,keyasint,omitempty"`
	Outside  []string   `cbor:"9,keyasint,omitempty"`

	Workspace  *wireWorkspace `cbor:"10,keyasint,omitempty"`
	Executable []string       `cbor:"11,keyasint,omitempty"`
	CRLF       []string       `cbor:"12,keyasint,omitempty"`

	Attributes []wireAttributes `cbor:"13,keyasint,omitempty"`
	Lock       *wireLock        `cbor:"14,keyasint,omitempty"`
}

type wireWorkspace struct {
	_ struct{} `cbor:",toarray"`

	Path     string
	Manifest []byte
}

type wireAttributes struct {
	_ struct{} `cbor:",toarray"`

	Path    string
	Content []byte
}

type wireLock struct {
	_ struct{} `cbor:",toarray"`

	Path string
	Blob []byte
}

type wireLink struct {
	_ struct{} `cbor:",toarray"`

	Path, Target string
}

type wireProof struct {
	Program []byte   `cbor:"1,keyasint"`
	Parts   [][]byte `cbor:"2,keyasint"`
}

func (s Subject) wire() any {
	return wireSubject{s.Name, s.Version, s.SHA256[:], s.Registry}
}

func (s *Source) statement() any { return s.asWire() }

func (s *Source) wire() (any, error) {
	w := s.asWire()
	if s.Workspace == nil {
		return w, nil
	}
	var err error
	w.Workspace.Manifest, err = s.Workspace.deflate()
	return w, err
}

// asWire is the claim with the workspace's manifest inflated.
func (s *Source) asWire() wireSource {
	w := wireSource{Kind: sourceKind, Version: sourceVersion, Commit: s.Commit[:], Path: s.Path, Files: s.Files[:],
		Unproven: s.Unproven, Modules: s.Submodules, Outside: s.Outside, Executable: s.Executable, CRLF: s.CRLF}
	for _, l := range s.Links {
		w.Links = append(w.Links, wireLink{Path: l.Path, Target: l.Target})
	}
	for _, a := range s.Attributes {
		w.Attributes = append(w.Attributes, wireAttributes{Path: a.Path, Content: a.Content})
	}
	if s.Workspace != nil {
		w.Workspace = &wireWorkspace{Path: s.Workspace.Path, Manifest: s.Workspace.Manifest}
	}
	if s.Lock != nil {
		w.Lock = &wireLock{Path: s.Lock.Path, Blob: s.Lock.Blob[:]}
	}
	return w
}

// Check returns nil if an entry can carry the workspace's manifest.
func (w *Workspace) Check() error {
	if err := w.validate(); err != nil {
		return err
	}
	_, err := w.deflate()
	return err
}

// deflate returns the manifest as the entry carries it.
func (w *Workspace) deflate() ([]byte, error) {
	if w.deflated != nil && bytes.Equal(w.inflated, w.Manifest) {
		return w.deflated, nil
	}
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(w.Manifest); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if b.Len() > maxDeflated {
		return nil, fmt.Errorf("claim: workspace: the manifest has %d bytes deflated, more than the %d that an entry can carry",
			b.Len(), maxDeflated)
	}
	return b.Bytes(), nil
}

// inflate returns the manifest that an entry carries.
func inflate(deflated []byte) ([]byte, error) {
	if n := len(deflated); n < 1 || n > maxDeflated {
		return nil, fmt.Errorf("claim: workspace: the deflated manifest is %d bytes long, must be 1 to %d", n, maxDeflated)
	}
	r := bytes.NewReader(deflated) // a ByteReader: nothing behind the stream is read
	b, err := io.ReadAll(io.LimitReader(flate.NewReader(r), MaxManifest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("claim: workspace: the manifest is no stream of DEFLATE: %w", err)
	case len(b) > MaxManifest:
		return nil, fmt.Errorf("claim: workspace: the manifest has more than %d bytes", MaxManifest)
	case r.Len() > 0:
		return nil, fmt.Errorf("claim: workspace: %d bytes follow the deflated manifest", r.Len())
	}
	return b, nil
}

// Inflated is how many bytes a workspace's manifest takes in a parsed entry. Its encoding can have a thousandth of
// that: whoever keeps many entries must count it.
func (e *Entry) Inflated() int {
	if s, ok := e.Claim.(*Source); ok && s.Workspace != nil {
		return len(s.Workspace.Manifest) + len(s.Workspace.inflated)
	}
	return 0
}

func (p Proof) wire() any {
	return wireProof{p.Program[:], p.Parts}
}

// The two modes are constants in all but name: the options are fixed, so that
// an error could only be a mistake in them.
var (
	encMode = must(encOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		NaN:               cbor.NaNDecodeForbidden,
		Inf:               cbor.InfDecodeForbidden,
		MaxNestedLevels:   4,
		MaxArrayElements:  maxCRLF,
		MaxMapPairs:       16,
	}.DecMode())
)

func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.IndefLength = cbor.IndefLengthForbidden
	o.TagsMd = cbor.TagsForbidden
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic("entry: CBOR options: " + err.Error())
	}
	return v
}

// Marshal validates the entry and returns its one encoding.
// The error names the field that is wrong.
func (e *Entry) Marshal() ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	claim, err := e.Claim.wire()
	if err != nil {
		return nil, err
	}
	w := wireEntry{Version: formatVersion}
	for _, part := range []struct {
		name string
		to   *cbor.RawMessage
		from any
	}{
		{"subject", &w.Subject, e.Subject.wire()},
		{"claim", &w.Claim, claim},
		{"proof", &w.Proof, e.Proof.wire()},
	} {
		b, err := encMode.Marshal(part.from)
		if err != nil {
			return nil, fmt.Errorf("encoding the entry's %s: %w", part.name, err)
		}
		*part.to = b
	}
	b, err := encMode.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("encoding the entry: %w", err)
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("the entry is %d bytes long, more than the %d that a log accepts", len(b), MaxSize)
	}
	return b, nil
}

// Parse decodes an entry and checks all of it: size, shape, every limit, and
// that b is the one encoding of what it says. It does not verify the proof.
// The error names the field that is wrong. The result does not alias b.
func Parse(b []byte) (*Entry, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("the entry is %d bytes long, more than the %d that a log accepts", len(b), MaxSize)
	}
	e, err := decode(b)
	if err != nil {
		return nil, err
	}
	again, err := e.Marshal()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(b, again) {
		return nil, errors.New("the entry is not in its canonical encoding (RFC 8949, section 4.2.1): " +
			"encode it with deterministic CBOR")
	}
	return e, nil
}

func decode(b []byte) (*Entry, error) {
	var w wireEntry
	if err := decMode.Unmarshal(b, &w); err != nil && w.Version <= formatVersion {
		return nil, fmt.Errorf("the entry is not the CBOR that the format asks for: %w", err)
	}
	if w.Version != formatVersion {
		err := fmt.Errorf("the entry's format version is %d; only version %d is known", w.Version, formatVersion)
		if w.Version > formatVersion {
			err = &unknownClaim{err.Error()}
		}
		return nil, err
	}
	var e Entry
	var err error
	if e.Subject, err = decodeSubject(w.Subject); err != nil {
		return nil, err
	}
	if e.Claim, err = decodeClaim(w.Claim); err != nil {
		return nil, err
	}
	if e.Proof, err = decodeProof(w.Proof); err != nil {
		return nil, err
	}
	return &e, nil
}

func decodeSubject(b cbor.RawMessage) (Subject, error) {
	var w wireSubject
	if err := decodePart("subject", b, &w); err != nil {
		return Subject{}, err
	}
	s := Subject{Registry: w.Registry, Name: w.Name, Version: w.Version}
	if err := fixed("subject: sha256", s.SHA256[:], w.SHA256); err != nil {
		return Subject{}, err
	}
	return s, nil
}

func decodeClaim(b cbor.RawMessage) (Claim, error) {
	var all map[uint64]cbor.RawMessage
	if err := decodePart("claim", b, &all); err != nil {
		return nil, err
	}
	var kind string
	if err := decodePart("claim: kind", all[1], &kind); err != nil {
		return nil, err
	}
	switch kind {
	case sourceKind:
		return decodeSource(b)
	case buildKind:
		return decodeBuild(b)
	}
	return nil, &unknownClaim{fmt.Sprintf("claim: kind %q is not known; only %q and %q are", kind, sourceKind, buildKind)}
}

func decodeSource(b []byte) (Claim, error) {
	var w wireSource
	if err := decodePart("claim", b, &w); err != nil {
		return nil, err
	}
	if w.Version != sourceVersion {
		return nil, &unknownClaim{fmt.Sprintf("claim: version %d of kind %q is not known; only version %d is",
			w.Version, sourceKind, sourceVersion)}
	}
	s := &Source{Path: w.Path, Unproven: w.Unproven, Submodules: w.Modules, Outside: w.Outside,
		Executable: w.Executable, CRLF: w.CRLF}
	for _, l := range w.Links {
		s.Links = append(s.Links, Link{l.Path, l.Target})
	}
	for _, a := range w.Attributes {
		s.Attributes = append(s.Attributes, Attributes{a.Path, a.Content})
	}
	if w.Workspace != nil {
		manifest, err := inflate(w.Workspace.Manifest)
		if err != nil {
			return nil, err
		}
		s.Workspace = &Workspace{w.Workspace.Path, manifest, w.Workspace.Manifest, bytes.Clone(manifest)}
	}
	if w.Lock != nil {
		s.Lock = &Lock{Path: w.Lock.Path}
		if err := fixed("claim: lock", s.Lock.Blob[:], w.Lock.Blob); err != nil {
			return nil, err
		}
	}
	if err := fixed("claim: commit", s.Commit[:], w.Commit); err != nil {
		return nil, err
	}
	if err := fixed("claim: files", s.Files[:], w.Files); err != nil {
		return nil, err
	}
	return s, nil
}

// ErrUnknownClaim: the claim is of a kind, or a version of it, or the entry of a version of
// the format, that this package does not know. A newer one may: unlike any other error of
// Parse, it does not say that the entry is wrong.
var ErrUnknownClaim = errors.New("the claim is of an unknown kind")

type unknownClaim struct{ text string }

func (e *unknownClaim) Error() string        { return e.text }
func (e *unknownClaim) Is(target error) bool { return target == ErrUnknownClaim }

func decodeProof(b cbor.RawMessage) (Proof, error) {
	var w wireProof
	if err := decodePart("proof", b, &w); err != nil {
		return Proof{}, err
	}
	p := Proof{Parts: w.Parts}
	if err := fixed("proof: program", p.Program[:], w.Program); err != nil {
		return Proof{}, err
	}
	return p, nil
}

func decodePart(field string, b cbor.RawMessage, into any) error {
	if len(b) == 0 {
		return fmt.Errorf("%s: is missing from the entry", field)
	}
	if err := decMode.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: is not the CBOR that the format asks for: %w", field, err)
	}
	return nil
}

func fixed(field string, dst, src []byte) error {
	if len(src) != len(dst) {
		return fmt.Errorf("%s: is %d bytes long, must be %d", field, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}
