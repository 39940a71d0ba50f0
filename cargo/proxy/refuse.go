package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"cratelog/cargo/registry"
)

// maxSentence is how much of a refusal cargo prints, in characters.
const maxSentence = 512

// Refusal says that a crate was judged, and is not handed out.
type Refusal struct {
	Name, Version string
	Sum           [32]byte
	Err           error // the judge's
}

func (e *Refusal) Error() string {
	return fmt.Sprintf("%s v%s is refused: %v", e.Name, e.Version, e.Err)
}

func (e *Refusal) Unwrap() error { return e.Err }

// badRequest is a URL that names no release.
type badRequest struct{ error }

// fail answers with an error.
func (p *Proxy) fail(w http.ResponseWriter, r *http.Request, err error) {
	var no *Refusal
	var changed *registry.ChecksumError
	switch {
	case errors.As(err, &no):
		refuse(w, status(err), p.sentence(no))
	case errors.As(err, &changed):
		refuse(w, status(err), p.sentence(&Refusal{changed.Name, changed.Version, changed.Want, changedBytes{changed}}))
	default:
		fail(w, r, p.Log, err)
	}
}

// fail answers with an error that is no verdict. cargo waits as long before it tries again as
// Retry-After says, and by its own growing measure where the registry says nothing.
func fail(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	code := status(err)
	var upstream *registry.StatusError
	if errors.As(err, &upstream) && upstream.RetryAfter != "" {
		w.Header().Set("Retry-After", upstream.RetryAfter)
	} else if upstream == nil && code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if code != http.StatusNotFound { // cargo asks for names that do not exist
		log.Warn("a request failed", "path", r.URL.Path, "error", err)
	}
	refuse(w, code, "cratelog: "+shorten(err.Error(), maxSentence-len("cratelog: ")))
}

// status is the answer to an error, the one place that turns errors into statuses. cargo tries
// again after 429 and 5xx, and after no other.
func status(err error) int {
	var no *Refusal
	var changed *registry.ChecksumError
	var upstream *registry.StatusError
	var bad *badRequest
	switch {
	case errors.As(err, &no), errors.As(err, &changed):
		return http.StatusForbidden
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.Is(err, registry.ErrNotFound):
		return http.StatusNotFound
	case errors.As(err, &upstream):
		if upstream.Status >= 400 {
			return upstream.Status // the registry's own failure, as cargo would see it
		}
		return http.StatusBadGateway
	case errors.Is(err, errNotYet), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway // the registry could not be reached: as cargo, try again
}

// changedBytes is the judgement of bytes that do not have the index's checksum.
type changedBytes struct{ *registry.ChecksumError }

func (e changedBytes) Error() string {
	return fmt.Sprintf("the registry served other bytes than its index lists (SHA-256 %x, expected %x)", e.Got, e.Want)
}

func (e changedBytes) Remedy() string {
	return "Try again later; if it stays so, tell the registry, and do not build."
}

// sentence is what cargo prints: who refuses what, the reason, the remedy and where
// more is to be read, whole if it fits, with a shorter reason if not.
func (p *Proxy) sentence(no *Refusal) string {
	head := fmt.Sprintf("cratelog refuses %s v%s: ", no.Name, no.Version)
	more := fmt.Sprintf("More: %s/explain/%s/%s", p.Base, no.Name, no.Version)
	reason, what := oneLine(no.Err.Error()), oneLine(remedy(no.Err))
	room := maxSentence - len(head) - len(more) - len("\n\n")
	what = shorten(strings.TrimRight(what, "."), room/2-1) + "."
	reason = shorten(strings.TrimRight(reason, "."), room-utf8.RuneCountInString(what)-1) + "."
	return head + reason + "\n" + what + "\n" + more
}

// remedy is what a judge's error says that one can do, or else what one always can.
func remedy(err error) string {
	var r interface{ Remedy() string }
	if errors.As(err, &r) && r.Remedy() != "" {
		return r.Remedy()
	}
	return "Use another version, ask its publisher for a proof, or allow it in zkp.toml with a reason and a date."
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// shorten cuts a text to a number of characters, at a space if there is one near.
func shorten(s string, limit int) string {
	runes := []rune(s)
	if len(runes) <= limit {
		return s
	}
	cut := string(runes[:max(limit-1, 0)])
	if at := strings.LastIndexByte(cut, ' '); at > len(cut)*2/3 {
		cut = cut[:at]
	}
	return cut + "…"
}

// refuse answers with a text, which cargo prints for all but 404.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	fmt.Fprintln(w, text)
}
