package web

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"strconv"
	"time"
)

// exportBatch is after how many entries an export is flushed.
const exportBatch = 1000

// all walks the entries that the filters of a request choose, the oldest first. They
// are read in pages, so that an export of a large log costs no memory and holds up
// nobody. What is appended meanwhile may be part of it.
func (s *Server) all(r *http.Request) (iter.Seq2[entryJSON, error], error) {
	p, err := parseParams(r, filters...)
	if err != nil {
		return nil, err
	}
	q, err := s.entryQuery(r.Context(), p)
	if err != nil {
		return nil, err
	}
	l, err := s.logs(r.Context())
	if err != nil {
		return nil, err
	}
	return func(yield func(entryJSON, error) bool) {
		for e, err := range s.cfg.Store.AllEntries(r.Context(), q) {
			if err != nil {
				yield(entryJSON{}, err)
				return
			}
			if !yield(s.entryView(l, e), nil) {
				return
			}
		}
	}, nil
}

// export writes entries one by one. An error in the middle cuts the connection, so
// that nobody takes a part for the whole.
func (s *Server) export(w http.ResponseWriter, r *http.Request, contentType, name string, write func(entryJSON) error, flush func() error) error {
	entries, err := s.all(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-cache")
	download(w, name)
	if r.Method == http.MethodHead {
		return nil
	}
	n, failed := 0, error(nil)
	control := http.NewResponseController(w)
	for e, err := range entries {
		if failed = err; err == nil {
			failed = write(e)
		}
		if n++; failed == nil && n%exportBatch == 0 {
			failed = errors.Join(flush(), extend(control))
		}
		if failed != nil {
			break
		}
	}
	if failed == nil {
		failed = flush()
	}
	if failed != nil {
		if r.Context().Err() == nil {
			s.cfg.Log.Error("an export was cut off", "path", r.URL.Path, "entries", n, "err", failed)
		}
		panic(http.ErrAbortHandler)
	}
	return nil
}

// extend sends what was written, and gives the next batch its own time, where the
// connection knows such things.
func extend(c *http.ResponseController) error {
	for _, err := range []error{c.Flush(), c.SetWriteDeadline(time.Now().Add(time.Minute))} {
		if err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
	}
	return nil
}

// csvHeader names the columns. Columns are added at the end, never renamed.
var csvHeader = []string{"log", "index", "leaf", "seen", "logged", "crate", "version", "checksum", "claim", "commit", "path", "unproven", "program", "development", "state", "reason"}

func csvRow(e entryJSON) []string {
	logged := ""
	if e.Logged != nil {
		logged = e.Logged.UTC().Format(time.RFC3339)
	}
	unproven, _ := json.Marshal(e.Coverage.Unproven) // of strings: it cannot fail
	path := "/" + e.Path                             // so that no cell can begin like a formula of a spreadsheet
	if e.Malformed != "" {
		path = ""
	}
	return []string{
		e.Log, strconv.FormatUint(e.Index, 10), e.Leaf, e.Seen.UTC().Format(time.RFC3339), logged,
		e.Crate, e.Version, e.Checksum, e.Claim, e.Commit, path, string(unproven), e.Program.ID,
		strconv.FormatBool(e.Program.Development), e.Verification.State, e.Verification.Reason,
	}
}

func (s *Server) exportCSV(w http.ResponseWriter, r *http.Request) error {
	out := csv.NewWriter(w)
	first := true
	return s.export(w, r, "text/csv; charset=utf-8", "entries.csv", func(e entryJSON) error {
		if first {
			first = false
			if err := out.Write(csvHeader); err != nil {
				return err
			}
		}
		return out.Write(csvRow(e))
	}, func() error {
		if first {
			first = false
			if err := out.Write(csvHeader); err != nil {
				return err
			}
		}
		out.Flush()
		return out.Error()
	})
}

func (s *Server) exportNDJSON(w http.ResponseWriter, r *http.Request) error {
	out := json.NewEncoder(w)
	return s.export(w, r, "application/x-ndjson", "entries.ndjson", func(e entryJSON) error { return out.Encode(e) }, func() error { return nil })
}
