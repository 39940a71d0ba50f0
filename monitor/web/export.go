package web

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// exportBatch is after how many entries an export is flushed.
const exportBatch = 1000

// export writes the entries that the filters choose one by one, the oldest first. They
// are read in pages, so that an export of a large log costs little memory and delays no
// other reader. What is appended meanwhile may be part of it. An error in the middle cuts
// the connection, so that a part cannot pass for the whole.
func (s *Server) export(q *request, contentType, name string, write func(entryJSON) error, flush func() error) error {
	find, err := s.entryQuery(q)
	if err != nil {
		return err
	}
	q.w.Header().Set("Content-Type", contentType)
	q.w.Header().Set("Cache-Control", "no-cache")
	download(q.w, name)
	if q.r.Method == http.MethodHead {
		return nil
	}
	n, failed := 0, error(nil)
	control := http.NewResponseController(q.w)
	view := s.viewer(q.ctx(), q.logs)
	for e, err := range s.cfg.Store.AllEntries(q.ctx(), find) {
		var v entryJSON
		if failed = err; err == nil {
			v, failed = view(e)
		}
		if failed == nil {
			failed = write(v)
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
		if q.ctx().Err() == nil {
			s.cfg.Log.Error("an export was cut off", "path", q.r.URL.Path, "entries", n, "err", failed)
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
var csvHeader = []string{"log", "index", "leaf", "seen", "logged", "crate", "version", "checksum", "claim", "commit",
	"path", "unproven", "program", "development", "state", "reason", "registry", "crlf", "binary", "artifact", "root", "tag",
	"builder", "kind", "void"}

func csvRow(e entryJSON) []string {
	logged := ""
	if e.Logged != nil {
		logged = rfc3339(e.Logged)
	}
	unproven, _ := json.Marshal(e.Coverage.Unproven) // of strings: it cannot fail
	crlf, _ := json.Marshal(e.Coverage.CRLF)
	path := "/" + e.Path // so that no cell can begin like a formula of a spreadsheet
	if e.Kind != "entry" || e.Build != nil {
		path = ""
	}
	void := "" // or the checksum that counts
	if e.Void != nil {
		void = e.Void.Checksum
	}
	b := e.Build
	if b == nil {
		b = new(buildJSON)
	}
	return []string{
		e.Log, strconv.FormatUint(e.Index, 10), e.Leaf, rfc3339(e.Seen), logged,
		e.Crate, e.Version, e.Checksum, e.Claim, e.Commit, path, string(unproven), e.Program.ID,
		strconv.FormatBool(e.Program.Development), e.Verification.State, e.Verification.Reason,
		e.Registry, string(crlf), b.Binary, b.Artifact, b.Root, b.Tag, b.Builder, e.Kind, void,
	}
}

func (s *Server) exportCSV(q *request) error {
	out := csv.NewWriter(q.w)
	header := sync.OnceValue(func() error { return out.Write(csvHeader) })
	return s.export(q, "text/csv; charset=utf-8", "entries.csv", func(e entryJSON) error {
		return errors.Join(header(), out.Write(csvRow(e)))
	}, func() error {
		err := header()
		out.Flush()
		return errors.Join(err, out.Error())
	})
}

func (s *Server) exportNDJSON(q *request) error {
	out := json.NewEncoder(q.w)
	return s.export(q, "application/x-ndjson", "entries.ndjson", func(e entryJSON) error { return out.Encode(e) },
		func() error { return nil })
}
