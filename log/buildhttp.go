package log

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"cratelog/build"
	"cratelog/entry"
	"cratelog/internal/web"
)

// Bounds of the lists of one answer.
const (
	maxBuilds         = 512
	maxArtifacts      = 256
	maxContradictions = 256
)

// aboutBuilds is what /v1/log says of build claims.
type aboutBuilds struct {
	Sets         []aboutSet `json:"sets"`
	Toolchains   []string   `json:"toolchains"`
	Environments []string   `json:"environments"`
	Recipes      []int      `json:"recipes"`
	Named        string     `json:"named_program"` // id of the program of builders who sign with their names
}

type aboutSet struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Members   int    `json:"members"`
	Root      string `json:"root"`
	SHA256    string `json:"sha256"`              // of the set file
	Withdrawn bool   `json:"withdrawn,omitempty"` // nothing new is accepted of it
}

func (l *Log) aboutBuilds() *aboutBuilds {
	if len(l.setOrder) == 0 {
		return nil
	}
	b := &aboutBuilds{Toolchains: hexes(l.cfg.Builds.Toolchains), Environments: hexes(l.cfg.Builds.Environments),
		Recipes: []int{entry.Recipe1}, Named: fmt.Sprintf("%x", build.NamedProgram)}
	for _, root := range l.setOrder {
		s := l.sets[root]
		b.Sets = append(b.Sets, aboutSet{s.Name, string(s.Kind), s.members, fmt.Sprintf("%x", root),
			fmt.Sprintf("%x", s.Digest()), s.withdrawn})
	}
	return b
}

func hexes(ids [][32]byte) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = hex.EncodeToString(id[:])
	}
	return out
}

// buildsBody is the JSON of the build claims about a crate version, in the order of the log.
type buildsBody struct {
	Builds []buildBody `json:"builds"`
	Next   *uint64     `json:"next,omitempty"` // from here on more are listed; absent: that is all
	Size   uint64      `json:"size"`           // of the published tree in which this is all
}

type buildBody struct {
	Index    uint64 `json:"index"`
	Program  string `json:"program"`
	Binary   string `json:"binary"`
	Target   string `json:"target"`
	Artifact string `json:"artifact"`
	Compiled string `json:"compiled"`
	Request  string `json:"request"`
	Result   string `json:"result"`
	Root     string `json:"root"`
	Tag      string `json:"tag"`
}

// crateBuilds lists the published build claims about a crate version, but for those that are void: all of
// them, page by page, so that no builder has to ask for his own. That they are all, pages of the index show.
func (l *Log) crateBuilds(w http.ResponseWriter, r *http.Request) error {
	k, from, err := parseBuildsQuery(r)
	if err != nil {
		return refuse(MalformedRequest, err, "The request is not one for the builds of a crate version: %v.", err)
	}
	head, err := l.head()
	if err != nil {
		return err
	}
	sum, err := l.checksum(head, k)
	if err != nil {
		return err
	}
	b := buildsBody{Builds: []buildBody{}, Size: head.size}
	most := cmp.Or(l.cfg.testingOnlyPage, maxBuilds)
	rows, err := l.index.builds(r.Context(), k, sum, from, b.Size, most+1)
	if err != nil {
		return err
	}
	if len(rows) > most {
		b.Next = &rows[most].idx
		rows = rows[:most]
	}
	for _, row := range rows {
		b.Builds = append(b.Builds, buildBody{row.idx, fmt.Sprintf("%x", row.program), row.binary, row.target,
			fmt.Sprintf("%x", row.artifact), fmt.Sprintf("%x", row.compiled), fmt.Sprintf("%x", row.request),
			fmt.Sprintf("%x", row.result), fmt.Sprintf("%x", row.root), fmt.Sprintf("%x", row.tag)})
	}
	return web.SendJSON(w, r, b)
}

// parseBuildsQuery reads a request strictly: an unknown, repeated or malformed parameter is an error.
func parseBuildsQuery(r *http.Request) (k versionKey, from uint64, err error) {
	s := entry.Subject{Registry: entry.DefaultRegistry, Name: r.PathValue("name"), Version: r.PathValue("version")}
	if err := entry.CheckName(s.Name); err != nil {
		return k, 0, err
	}
	if err := entry.CheckVersion(s.Version); err != nil {
		return k, 0, err
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return k, 0, fmt.Errorf("the query is not URL-encoded")
	}
	for key, all := range values {
		switch {
		case len(all) != 1:
			return k, 0, fmt.Errorf("the query gives %q more than once", key)
		case key == "registry":
			s.Registry = all[0]
			if err := entry.CheckRegistry(s.Registry); err != nil {
				return k, 0, err
			}
		case key == "from":
			from, err = strconv.ParseUint(all[0], 10, 63)
			if err != nil || strconv.FormatUint(from, 10) != all[0] {
				return k, 0, fmt.Errorf("the query's from is not an index of the log")
			}
		default:
			return k, 0, fmt.Errorf("the query has no parameter %q; it takes registry and from", key)
		}
	}
	return keyOf(s), from, nil
}

// artifactBody is the JSON of what build claims say about a binary.
type artifactBody struct {
	Artifacts []artifactRow `json:"artifacts"`
	More      bool          `json:"more,omitempty"` // not all are listed
}

type artifactRow struct {
	Registry string `json:"registry"`
	Name     string `json:"name"`
	Version  string `json:"version"`
	SHA256   string `json:"sha256"` // of the .crate
	Binary   string `json:"binary"`
	Target   string `json:"target"`
	Index    uint64 `json:"index"` // of the first entry that says so
}

// artifact says of which crates and binaries builders have made a file.
func (l *Log) artifact(w http.ResponseWriter, r *http.Request) error {
	sum, err := pathHash(r, "A binary has the address of its SHA-256 in lower-case hex.")
	if err != nil {
		return err
	}
	head, err := l.head()
	if err != nil {
		return err
	}
	rows, err := l.index.artifact(r.Context(), sum, head.size, maxArtifacts+1)
	if err != nil {
		return err
	}
	b := artifactBody{Artifacts: []artifactRow{}, More: len(rows) > maxArtifacts}
	for _, row := range rows[:min(len(rows), maxArtifacts)] {
		if sum, err := l.checksum(head, row.versionKey); err != nil {
			return err
		} else if sum != row.sha256 {
			continue // it is void
		}
		b.Artifacts = append(b.Artifacts, artifactRow{row.registry, row.name, row.version, fmt.Sprintf("%x", row.sha256),
			row.binary, row.target, row.idx})
	}
	return web.SendJSON(w, r, b)
}

// pathHash reads the SHA-256 in an address.
func pathHash(r *http.Request, sentence string) ([32]byte, error) {
	text := r.PathValue("sha256")
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 32 || hex.EncodeToString(b) != text {
		return [32]byte{}, refuse(NotFound, nil, "%s", sentence)
	}
	return [32]byte(b), nil
}

// compiledList serves a list of compiled crates, which does not change.
func (l *Log) compiledList(w http.ResponseWriter, r *http.Request) error {
	sum, err := pathHash(r, "A list of compiled crates has the address of its SHA-256 in lower-case hex.")
	if err != nil {
		return err
	}
	raw, found, err := l.builds.list(r.Context(), sum)
	if errors.Is(err, errDamaged) {
		l.damages.report(listName(sum), err)
	}
	if err == nil && found {
		l.damages.report(listName(sum), nil)
		found, err = l.index.hasList(r.Context(), sum)
	}
	if err == nil && !found {
		err = refuse(NotFound, nil, "This log holds no list of compiled crates with this SHA-256.")
	}
	if err != nil {
		return err
	}
	web.Immutable(w)
	return web.Send(w, r, "text/plain; charset=utf-8", raw)
}

// contradictionsBody is the JSON of the evidence against builders.
type contradictionsBody struct {
	Contradictions []contradictionBody `json:"contradictions"`
	Next           int64               `json:"next,omitempty"` // from here on more are listed; absent: that is all
}

type contradictionBody struct {
	Number int64  `json:"number"`
	SHA256 string `json:"sha256"` // of the file at /v1/contradictions/NUMBER
}

// listContradictions lists the evidence against builders, page by page.
func (l *Log) listContradictions(w http.ResponseWriter, r *http.Request) error {
	from, err := int64(0), error(nil)
	if query := r.URL.RawQuery; query != "" {
		text, ok := strings.CutPrefix(query, "from=")
		if from, err = strconv.ParseInt(text, 10, 64); !ok || err != nil || strconv.FormatInt(from, 10) != text || from < 0 {
			return refuse(MalformedRequest, err, "The query is not from=NUMBER, with the number of a contradiction.")
		}
	}
	all, err := l.builds.contradictions(r.Context(), from, maxContradictions+1)
	if err != nil {
		return err
	}
	b := contradictionsBody{Contradictions: append([]contradictionBody{}, all...)}
	if len(all) > maxContradictions {
		b.Next = all[maxContradictions].Number
		b.Contradictions = all[:maxContradictions]
	}
	return web.SendJSON(w, r, b)
}

// oneContradiction serves a file of package evidence.
func (l *Log) oneContradiction(w http.ResponseWriter, r *http.Request) error {
	text := r.PathValue("number")
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != text {
		return refuse(NotFound, nil, "A contradiction has the address of its number; /v1/contradictions lists them.")
	}
	file, found, err := l.builds.contradiction(r.Context(), n)
	if err == nil && !found {
		err = refuse(NotFound, nil, "This log holds no contradiction with this number; /v1/contradictions lists them.")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "public, max-age=86400")
	return web.Send(w, r, "application/octet-stream", file)
}
