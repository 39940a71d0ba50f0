package log

import (
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"cratelog/entry"
	"cratelog/internal/version"
	"cratelog/internal/web"
	"cratelog/opening"
	"cratelog/proofcheck"
)

// Handler returns the log's whole web surface. The server around it must set
// timeouts; bodies are limited here.
func (l *Log) Handler() http.Handler {
	server := web.Server{Name: "log", Nothing: "There is nothing at this address; /v1/log says what this log is.",
		Log: l.log, Refusal: answer}
	return server.Handler(append(append(web.Look(), l.probes().Routes()...), []web.Route{
		{Pattern: "POST /v1/submit", Handler: l.submit},
		{Pattern: "GET /v1/crates/{name}/{version}", Handler: l.crateVersion},
		{Pattern: "GET /v1/crates/{name}/{version}/claims", Handler: l.crateClaims},
		{Pattern: "GET /v1/crates/{name}/{version}/builds", Handler: l.crateBuilds},
		{Pattern: "GET /v1/artifacts/{sha256}", Handler: l.artifact},
		{Pattern: "GET /v1/lists/{sha256}", Handler: l.compiledList},
		{Pattern: "GET /v1/contradictions", Handler: l.listContradictions},
		{Pattern: "GET /v1/contradictions/{number}", Handler: l.oneContradiction},
		{Pattern: "GET /v1/entries/{index}", Handler: l.entryBundle},
		{Pattern: "GET /v1/openings/{identity}", Handler: l.serveOpening},
		{Pattern: "PUT /v1/openings/{identity}", Handler: l.takeOpening},
		{Pattern: "GET /v1/log", Handler: l.about},
		{Pattern: "GET /v1/keys", Handler: l.listKeys},
		{Pattern: "GET /v1/keys/{hash}", Handler: l.provingKey},
		{Pattern: "GET /checkpoint", Handler: web.Plain(l.checkpoint)},
		{Pattern: "GET /tile/{path...}", Handler: web.Plain(l.tile)},
		{Pattern: "GET /metrics", Handler: web.Plain(promhttp.HandlerFor(l.metrics.registry,
			promhttp.HandlerOpts{}).ServeHTTP)},
		{Pattern: "GET /trust.policy", Handler: l.trust},
		{Pattern: "GET /{$}", Handler: l.page},
	}...))
}

// status is the one place where a reason becomes a status code.
func status(reason Reason) int {
	switch reason {
	case MalformedRequest, MalformedEntry:
		return http.StatusBadRequest
	case NotFound:
		return http.StatusNotFound
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case VersionConflict, BuilderContradiction:
		return http.StatusConflict
	case EntryTooLarge, CrateTooLarge, OpeningTooLarge, ListTooLarge:
		return http.StatusRequestEntityTooLarge
	case UnknownProgram, UnknownClaim, CrateMismatch, CrateRefused, ProofInvalid, ProgramWithdrawn, TooManyClaims,
		OpeningRefused, BuildRefused, SetWithdrawn, ListRefused, SourceMissing, SourceRefused, TooManyBuilds:
		return http.StatusUnprocessableEntity
	case OpeningsFull:
		return http.StatusInsufficientStorage
	case Overloaded, NotPublished, Halted, ShuttingDown:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// refusalBody is the JSON of every error.
type refusalBody struct {
	Reason  Reason  `json:"reason"`
	Message string  `json:"message"`
	Index   *uint64 `json:"index,omitempty"`
	Bundle  string  `json:"bundle,omitempty"`
}

// answer is what those who asked see of an error.
func answer(err error) *web.Refusal {
	var x *Refusal
	if !errors.As(err, &x) {
		return nil
	}
	return &web.Refusal{Status: status(x.Reason), RetryAfter: x.RetryAfter,
		Body: refusalBody{x.Reason, x.Message, x.Index, string(x.Bundle)}}
}

// submit takes multipart/form-data with the parts entry, crate and, perhaps, opening, or of a build
// claim entry, list and, perhaps, source, in this order and nothing else, and answers with the bundle.
func (l *Log) submit(w http.ResponseWriter, r *http.Request) error {
	var bundle []byte
	err := l.withForm(w, r, func(f *form) error {
		part, err := f.next("entry", false)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(part, entry.MaxSize+1))
		if err != nil {
			return refuse(MalformedRequest, err, "The part entry could not be read to its end.")
		}
		submit, second, third := l.Submit, "crate", "opening"
		if e, err := entry.Parse(data); err == nil && e.Claim.Kind() == kindBuild {
			submit, second, third = l.SubmitBuild, "list", "source"
		}
		bundle, err = submit(r.Context(), data, &partReader{form: f, name: second}, &partReader{form: f, name: third, last: true})
		return err
	})
	if err != nil {
		return err
	}
	return writeBundle(w, bundle)
}

// withForm lets f read a bounded form. What f leaves of it is read too: a client that still
// writes would not see an early answer.
func (l *Log) withForm(w http.ResponseWriter, r *http.Request, f func(*form) error) error {
	const overhead = 64 << 10 // boundaries and part headers
	r.Body = http.MaxBytesReader(w, r.Body, l.limits.Crate.Compressed+entry.MaxSize+opening.MaxSize+overhead)
	parts, err := r.MultipartReader()
	if err != nil {
		err = refuse(MalformedRequest, err, "The body must be multipart/form-data with the parts that the interface names.")
	} else {
		err = f(&form{parts, r.Body})
	}
	io.Copy(io.Discard, r.Body)
	return err
}

const theParts = "entry, crate and perhaps opening, or of a build entry, list and perhaps source"

// form is the body of a request, read part by part.
type form struct {
	parts *multipart.Reader
	body  io.Reader
}

// next opens the next part, which must have this name. The error is io.EOF itself where the
// form ends instead of a part that may be missing, which is the last.
func (f *form) next(name string, last bool) (*multipart.Part, error) {
	part, err := f.parts.NextPart()
	switch {
	case err == io.EOF && last:
		return nil, f.drain()
	case err != nil:
		return nil, refuse(MalformedRequest, err, "The part %s is missing, or the body is cut off.", name)
	case part.FormName() != name:
		return nil, refuse(MalformedRequest, nil,
			"The parts must be %s, in this order; another part stands where %s belongs.", theParts, name)
	}
	return part, nil
}

// drain reads what follows the form, and then returns io.EOF: from there on net/http sees
// the client leave, and ends the context.
func (f *form) drain() error {
	if _, err := io.Copy(io.Discard, f.body); err != nil {
		return refuse(MalformedRequest, err, "The body could not be read to its end.")
	}
	return io.EOF
}

// partReader is a part that follows others, opened at the first Read, when those have been
// found worth it. The last one may be missing, and ends well only where the form ends.
type partReader struct {
	form *form
	name string
	last bool
	part *multipart.Part
	read bool // a byte of it
}

func (p *partReader) Read(b []byte) (int, error) {
	if p.part == nil {
		part, err := p.form.next(p.name, p.last)
		if err != nil {
			return 0, err
		}
		p.part = part
	}
	n, err := p.part.Read(b)
	p.read = p.read || n > 0
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return n, refuse(CrateTooLarge, err, "The request has more than %d bytes, the limit of this log.",
			tooLarge.Limit)
	case err == io.EOF && p.last:
		return n, p.end()
	}
	return n, err
}

// end is called at the end of the last part.
func (p *partReader) end() error {
	if !p.read {
		return refuse(MalformedRequest, nil, "The part %s is empty: leave it out if there is none.", p.name)
	}
	if _, err := p.form.parts.NextPart(); err != io.EOF {
		return refuse(MalformedRequest, err, "The parts must be %s, and nothing else.", theParts)
	}
	return p.form.drain()
}

// aboutBody is the JSON of /v1/log.
type aboutBody struct {
	Origin      string         `json:"origin"`
	VKey        string         `json:"vkey"`
	Version     string         `json:"version"` // of logd
	Development bool           `json:"development"`
	Size        uint64         `json:"size"`
	Programs    []aboutProgram `json:"programs"`
	Openings    string         `json:"openings"`         // whose are kept: submitter, any or off
	Builds      *aboutBuilds   `json:"builds,omitempty"` // which build claims are taken; absent: none
	Witnesses   []aboutWitness `json:"witnesses"`
	Limits      aboutLimits    `json:"limits"`
}

type aboutProgram struct {
	ID        string `json:"id"`
	System    string `json:"system"`
	Kind      string `json:"kind"`
	Blocks    int    `json:"blocks"`          // of a segment; of source claims
	Depth     int    `json:"depth,omitempty"` // of a set's tree; of build claims
	Origin    string `json:"origin"`
	Withdrawn bool   `json:"withdrawn,omitempty"` // nothing new is accepted under it
}

// Trust says who could forge, where that is not all contributors of a ceremony together.
func (p aboutProgram) Trust() string { return proofcheck.Program{Origin: p.Origin}.Forgers() }

type aboutWitness struct {
	Name string `json:"name"`
	VKey string `json:"vkey"`
}

type aboutLimits struct {
	EntryBytes int   `json:"entry_bytes"`
	CrateBytes int64 `json:"crate_bytes"`
}

func (l *Log) aboutBody() aboutBody {
	b := aboutBody{
		Origin: l.cfg.Origin, VKey: l.cfg.VKey, Version: version.String(), Development: l.cfg.Development, Size: l.published.head().size,
		Openings: l.cfg.Openings, Limits: aboutLimits{entry.MaxSize, l.limits.Crate.Compressed},
	}
	for _, p := range l.cfg.Proofs.Programs() {
		b.Programs = append(b.Programs, aboutProgram{
			ID: fmt.Sprintf("%x", p.ID()), System: p.System, Kind: p.Claim, Blocks: p.Blocks, Depth: p.Depth, Origin: p.Origin,
			Withdrawn: !l.programs[p.ID()],
		})
	}
	b.Builds = l.aboutBuilds()
	for _, w := range l.witnesses {
		b.Witnesses = append(b.Witnesses, aboutWitness{w.Name, w.VKey})
	}
	return b
}

func (l *Log) about(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-cache")
	web.WriteJSON(w, http.StatusOK, l.aboutBody())
	return nil
}
