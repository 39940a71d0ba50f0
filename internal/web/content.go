package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Send answers a GET with bytes, with a part of them, or with 304 if the reader has them already.
func Send(w http.ResponseWriter, r *http.Request, contentType string, b []byte) error {
	Content(w, r, contentType, Tag(b), b)
	return nil
}

// SendJSON answers a GET with a value that cannot fail to encode, as Send does.
func SendJSON(w http.ResponseWriter, r *http.Request, v any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	return Send(w, r, "application/json", b.Bytes())
}

// Tag returns the strong entity tag of an answer that follows from parts, in their order.
func Tag(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(strconv.AppendInt(nil, int64(len(p)), 10))
		h.Write([]byte{0})
		h.Write(p)
	}
	return `"` + hex.EncodeToString(h.Sum(nil)[:16]) + `"`
}

// Content answers a GET or HEAD with bytes that have an entity tag, by RFC 9110: with 304 if the reader has
// them, with 206 if one range of them is asked for. What may be kept must be asked for again, unless the
// header says otherwise already.
func Content(w http.ResponseWriter, r *http.Request, contentType, tag string, b []byte) {
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Content-Type", contentType)
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-cache")
	}
	if strings.Contains(r.Header.Get("Range"), ",") { // many small parts cost more than the whole
		r = r.Clone(r.Context())
		r.Header.Del("Range")
	}
	if h.Get("Content-Encoding") != "" {
		h.Set("Content-Length", strconv.Itoa(len(b))) // which ServeContent leaves to us
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

// Has says whether the reader has what an entity tag names, and then answers so: it saves making it.
func Has(w http.ResponseWriter, r *http.Request, tag string) bool {
	for have := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if have = strings.TrimPrefix(strings.TrimSpace(have), "W/"); have == tag || have == "*" {
			w.Header().Set("ETag", tag)
			if w.Header().Get("Cache-Control") == "" {
				w.Header().Set("Cache-Control", "no-cache")
			}
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}

// AcceptsGzip says whether a request accepts the content coding gzip.
func AcceptsGzip(r *http.Request) bool {
	accepts := false // what "*" says counts where gzip is not named
	for item := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		coding, weight, _ := strings.Cut(item, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "gzip" && coding != "x-gzip" && coding != "*" {
			continue
		}
		q := 1.0
		if text, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(weight, " ", "")), "q="); ok {
			q, _ = strconv.ParseFloat(text, 64) // what is no number accepts nothing
		}
		if coding != "*" {
			return q > 0
		}
		accepts = q > 0
	}
	return accepts
}

// preflightAge is how long a browser may remember what a preflight told it, in seconds.
const preflightAge = "86400"

// methods are those that routes have.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut}

// allowed returns the methods that an address takes.
func allowed(r *http.Request, mux *http.ServeMux) []string {
	var out []string
	probe := *r
	for _, probe.Method = range methods {
		if _, pattern := mux.Handler(&probe); pattern != "" {
			out = append(out, probe.Method)
		}
	}
	return out
}

// open lets every web page read an answer, and tells it which headers it may see. With Cross that is so of
// all methods, and OPTIONS is answered here, a preflight of CORS among them; open says whether it was.
func (s *Server) open(w http.ResponseWriter, r *http.Request, mux *http.ServeMux) bool {
	h := w.Header()
	if s.Cross || r.Method == http.MethodGet || r.Method == http.MethodHead {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "ETag, Retry-After, Content-Range, Accept-Ranges, Allow")
	}
	if !s.Cross || r.Method != http.MethodOptions {
		return false
	}
	all := allowed(r, mux)
	if len(all) == 0 {
		return false
	}
	if slices.Contains(all, http.MethodGet) {
		all = append(all, http.MethodHead)
	}
	all = append(all, http.MethodOptions)
	h.Set("Allow", strings.Join(all, ", "))
	h.Set("Cache-Control", "no-store")
	if r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", strings.Join(all, ", "))
		h.Set("Access-Control-Allow-Headers", "Content-Type, Range, If-Range, If-None-Match, Cache-Control")
		h.Set("Access-Control-Max-Age", preflightAge)
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
