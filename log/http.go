package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"time"

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
		Log: l.log, Refusal: answer, Proxies: l.door.proxies, Access: l.access, Cross: true}
	return server.Handler(append(web.Look(), l.routes()...))
}

// routes is the table that /v1/openapi.json describes.
func (l *Log) routes() []web.Route {
	return append(l.probes().Routes(), []web.Route{
		{Pattern: "POST /v1/submit", Handler: l.submit},
		{Pattern: "GET /v1/submissions/{identity}", Handler: l.submission},
		{Pattern: "GET /v1/crates/{name}", Handler: l.crateVersions},
		{Pattern: "GET /v1/crates/{name}/{version}", Handler: l.crateVersion},
		{Pattern: "GET /v1/crates/{name}/{version}/claims", Handler: l.crateClaims},
		{Pattern: "GET /v1/crates/{name}/{version}/builds", Handler: l.crateBuilds},
		{Pattern: "GET /v1/lookup/{name}/{version}", Handler: l.lookup},
		{Pattern: "GET /v1/index", Handler: l.anyPage},
		{Pattern: "GET /v1/index/{name}", Handler: l.cratePage},
		{Pattern: "GET /v1/artifacts/{sha256}", Handler: l.artifact},
		{Pattern: "GET /v1/lists/{sha256}", Handler: l.compiledList},
		{Pattern: "GET /v1/contradictions", Handler: l.listContradictions},
		{Pattern: "GET /v1/contradictions/{number}", Handler: l.oneContradiction},
		{Pattern: "GET /v1/entries/{index}", Handler: l.entryBundle},
		{Pattern: "GET /v1/entries/by-leaf/{hash}", Handler: l.entryByLeaf},
		{Pattern: "GET /v1/entries/by-identity/{identity}", Handler: l.entriesByIdentity},
		{Pattern: "GET /v1/proof/inclusion", Handler: l.inclusion},
		{Pattern: "GET /v1/proof/consistency", Handler: l.consistency},
		{Pattern: "GET /v1/openings/{identity}", Handler: l.serveOpening},
		{Pattern: "PUT /v1/openings/{identity}", Handler: l.takeOpening},
		{Pattern: "GET /v1/log", Handler: l.about},
		{Pattern: "GET /v1/openapi.json", Handler: l.openAPI},
		{Pattern: "GET /v1/keys", Handler: l.listKeys},
		{Pattern: "GET /v1/keys/{hash}", Handler: l.provingKey},
		{Pattern: "GET /checkpoint", Handler: l.checkpoint},
		{Pattern: "GET /frozen", Handler: l.frozenNote},
		{Pattern: "GET /tile/{path...}", Handler: l.tile},
		{Pattern: "GET /metrics", Handler: web.Plain(promhttp.HandlerFor(l.metrics.registry,
			promhttp.HandlerOpts{}).ServeHTTP)},
		{Pattern: "GET /trust.policy", Handler: l.trust},
		{Pattern: "GET /{$}", Handler: l.page},
	}...)
}

// status is the one place where a reason becomes a status code.
func status(reason Reason) int {
	switch reason {
	case MalformedRequest, MalformedEntry:
		return http.StatusBadRequest
	case NotFound:
		return http.StatusNotFound
	case Frozen:
		return http.StatusGone
	case ReadOnly:
		return http.StatusForbidden
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case VersionConflict, BuilderContradiction, VoidEntry:
		return http.StatusConflict
	case EntryTooLarge, CrateTooLarge, OpeningTooLarge, ListTooLarge, TooManyRows:
		return http.StatusRequestEntityTooLarge
	case UnknownProgram, UnknownClaim, CrateMismatch, CrateRefused, ProofInvalid, ProgramWithdrawn, TooManyClaims,
		OpeningRefused, BuildRefused, SetWithdrawn, ListRefused, SourceMissing, SourceRefused, TooManyBuilds,
		RegistryRefused, RegistryMismatch:
		return http.StatusUnprocessableEntity
	case OpeningsFull:
		return http.StatusInsufficientStorage
	case Timeout:
		return http.StatusRequestTimeout
	case TooManyRequests:
		return http.StatusTooManyRequests
	case StorageFailed, Overloaded, NotPublished, Halted, ShuttingDown, NotInRegistry, RegistryUnavailable, Starting:
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
	if errors.Is(err, errDamaged) {
		x = refuse(Damaged, err, "What was asked for is damaged on this log's disk, and is not handed out. "+
			"The operator has been told. The signed checkpoints stand.")
	} else if !errors.As(err, &x) && errors.Is(err, errUnread) {
		x = later(StorageFailed, 2*time.Second, err, "The log cannot read its tree now: try again later.")
	} else if x == nil {
		return nil
	}
	return &web.Refusal{Status: status(x.Reason), Reason: string(x.Reason), RetryAfter: x.RetryAfter,
		Body: refusalBody{x.Reason, x.Message, x.Index, string(x.Bundle)}}
}

// submit takes multipart/form-data with the parts entry, crate and, perhaps, opening, or of a build
// claim entry, list and, perhaps, source, in this order and nothing else, and answers with the bundle.
func (l *Log) submit(w http.ResponseWriter, r *http.Request) error {
	var bundle []byte
	err := l.withForm(w, r, func(ctx context.Context, f *form) error {
		part, err := f.next("entry", false)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(part, entry.MaxSize+1))
		if err != nil {
			return refuse(MalformedRequest, err, "The part entry could not be read to its end.")
		}
		second, third := "crate", "opening"
		s, err := l.parse(data)
		if s != nil {
			web.Note(r, slog.String("crate", s.entry.Subject.Name), slog.String("version", s.entry.Subject.Version))
			if s.build != nil {
				second, third = "list", "source"
			}
		}
		bundle, err = l.submitted(ctx, s, err, &partReader{form: f, name: second},
			&partReader{form: f, name: third, last: true})
		return err
	})
	if err != nil {
		return err
	}
	return writeBundle(w, bundle)
}

// answerTime is what an answer may take, from the end of the upload on.
const answerTime = 4 * time.Minute

// withForm lets f read a bounded form, all of which is there before f is called: whoever uploads slowly
// holds nothing that others need. ctx is the request's, with its client; it ends too when the form has to make
// room for others' forms.
func (l *Log) withForm(w http.ResponseWriter, r *http.Request, f func(context.Context, *form) error) error {
	const overhead = 64 << 10 // boundaries and part headers
	most := l.limits.Crate.Compressed + entry.MaxSize + opening.MaxSize + overhead
	boundary, err := formBoundary(r)
	if err == nil {
		err = l.admitRate(r)
	}
	if err == nil && r.ContentLength > most {
		err = refuse(CrateTooLarge, nil, "The request has %d bytes, and this log takes %d at most.", r.ContentLength, most)
	}
	if err != nil {
		l.door.spool.skip(w, r, most)
		return err
	}
	ctx, cancel := context.WithCancel(WithClient(r.Context(), web.Client(r)))
	defer cancel()
	b, err := l.door.spool.read(w, r, most, cancel)
	l.door.rates.charge(web.Client(r), float64(b.size/bytesOfOne))
	var refusal *Refusal
	if errors.As(err, &refusal) && refusal.Reason != Timeout {
		l.door.spool.skip(w, r, most-b.size)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime)) // a recorder in a test has none
	if err != nil {
		return err
	}
	defer b.close()
	web.Received(r)
	body := b.reader()
	err = f(ctx, &form{multipart.NewReader(body, boundary), body, b})
	if cut := b.cutError(); err != nil && cut != nil && r.Context().Err() == nil {
		return cut
	}
	if err != nil && b.unread != nil { // whatever became of it in the form
		return b.unread
	}
	return err
}

// formBoundary returns what stands between the parts.
func formBoundary(r *http.Request) (string, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return "", refuse(MalformedRequest, err, "The body must be multipart/form-data with the parts that the interface names.")
	}
	return params["boundary"], nil
}

const theParts = "entry, crate and perhaps opening, or of a build entry, list and perhaps source"

// form is the body of a request, read part by part.
type form struct {
	parts *multipart.Reader
	body  io.Reader
	kept  *body
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

// drain reads what follows the form, and then returns io.EOF.
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
	if err == io.EOF && p.last {
		return n, p.end()
	}
	return n, err
}

// Close says that nothing of the form is needed any more.
func (p *partReader) Close() error {
	p.form.kept.close()
	return nil
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
	MoreVKeys   []string       `json:"more_vkeys,omitempty"` // of further keys that sign each checkpoint
	Version     string         `json:"version"`              // of logd
	Development bool           `json:"development"`
	Size        uint64         `json:"size"`
	Programs    []aboutProgram `json:"programs"`
	Registries  []string       `json:"registries"`       // whose index is asked, as entries name them; [] if none: anybody may take a name
	Openings    string         `json:"openings"`         // whose are kept: submitter, any or off
	Builds      *aboutBuilds   `json:"builds,omitempty"` // which build claims are taken; absent: none
	Storage     string         `json:"storage"`          // where the tree lies: posix, or s3 if several machines share it
	Role        string         `json:"role,omitempty"`   // of one process of several: front-end or sequencer
	Witnesses   []aboutWitness `json:"witnesses"`
	Limits      aboutLimits    `json:"limits"`
	ReadOnly    bool           `json:"read_only,omitempty"`   // a copy for readers
	Frozen      *aboutFrozen   `json:"frozen,omitempty"`      // the log has ended; absent: it goes on
	Shards      []Shard        `json:"shards,omitempty"`      // other logs of the operator: a hint, nothing to trust
	Predecessor *aboutStart    `json:"predecessor,omitempty"` // the log for which this one goes on; absent: none
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
		Origin: l.cfg.Origin, VKey: l.cfg.VKey, Version: version.String(), Development: l.cfg.Development,
		Size:       l.published.head().size,
		Registries: l.registrySubjects(), Openings: l.cfg.Openings,
		Limits: aboutLimits{entry.MaxSize, l.limits.Crate.Compressed},
	}
	for _, p := range l.cfg.Proofs.Programs() {
		b.Programs = append(b.Programs, aboutProgram{
			ID: fmt.Sprintf("%x", p.ID()), System: p.System, Kind: p.Claim, Blocks: p.Blocks, Depth: p.Depth, Origin: p.Origin,
			Withdrawn: !l.programs[p.ID()],
		})
	}
	for _, k := range l.cfg.MoreKeys {
		b.MoreVKeys = append(b.MoreVKeys, k.VKey)
	}
	b.Storage, b.Role = "posix", l.role()
	if l.cfg.Cluster != nil {
		b.Storage = "s3"
	}
	b.Builds = l.aboutBuilds()
	b.ReadOnly, b.Frozen, b.Shards = l.cfg.ReadOnly, l.aboutFrozen(), l.cfg.Shards
	b.Predecessor = l.aboutStart()
	for _, w := range l.witnesses {
		b.Witnesses = append(b.Witnesses, aboutWitness{w.Name, w.VKey})
	}
	return b
}

func (l *Log) about(w http.ResponseWriter, r *http.Request) error {
	return web.SendJSON(w, r, l.aboutBody())
}
