package web

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"cratelog/monitor/store"
)

// plotPoints is about how many points a log's growth is shown with.
const plotPoints = 160

// logView is all that is known of one log.
func (s *Server) logView(ctx context.Context, l *logs, log store.Log) (logJSON, error) {
	p := l.pos[log.ID]
	v := logJSON{
		Origin: log.Origin, VKeys: log.VKeys, URL: log.URL, Page: l.at("/log", log.ID),
		Downloaded: uint64(p.Downloaded), Verified: uint64(p.Verified), Root: hex.EncodeToString(p.Root[:]),
		AgeSeconds: -1, Growth: []growthJSON{}, Programs: []programJSON{},
	}
	newest, any, err := s.cfg.Store.Newest(ctx, log.ID, false)
	if err != nil {
		return v, err
	}
	v.Size = uint64(max(p.Downloaded, newest.Size))
	v.Backlog = backlogJSON{v.Size - v.Downloaded, v.Downloaded - v.Verified}
	if any {
		c := checkpointView(l, newest)
		v.Checkpoint = &c
	}
	good, any, err := s.cfg.Store.Newest(ctx, log.ID, true)
	if err != nil {
		return v, err
	}
	if any {
		at := good.Witnessed
		if at.IsZero() { // the trust file asks for no witness
			at = good.LastSeen
		}
		v.AgeSeconds = max(0, int64(s.cfg.Now().Sub(at).Seconds()))
	}
	tally, err := s.cfg.Store.Tally(ctx, log.ID, p)
	if err != nil {
		return v, err
	}
	v.Results = resultsJSON{uint64(tally.Verified), uint64(tally.Failed), uint64(tally.Pending)}
	if v.Findings, err = s.standing(ctx, log.ID); err != nil {
		return v, err
	}
	if v.Seals, err = s.sealsView(ctx, log.ID, p); err != nil {
		return v, err
	}
	views, err := s.cfg.Store.Views(ctx, log.ID)
	if err != nil {
		return v, err
	}
	v.Witnesses, v.Mirrors = s.witnessViews(log, views, v), mirrorViews(views, v.Size)
	if err := s.programsOf(ctx, log.ID, &v); err != nil {
		return v, err
	}
	growth, err := s.cfg.Store.Growth(ctx, log.ID, plotPoints)
	for _, g := range growth {
		v.Growth = append(v.Growth, growthJSON{g.Time, uint64(g.Size)})
	}
	s.judge(&v)
	return v, err
}

// sealsView says how the seals of a log agree with its entries.
func (s *Server) sealsView(ctx context.Context, log int64, p store.Position) (sealsJSON, error) {
	n, err := s.cfg.Store.CountLeaves(ctx, log)
	v := sealsJSON{Count: uint64(n.Seals), Void: uint64(n.VoidSeals), VoidEntries: uint64(n.VoidEntries), Compared: uint64(p.Sealed)}
	seals := count(v.Count, "seal", "seals")
	switch {
	case p.WrongSeal >= 0:
		v.WrongSince = new(uint64(p.WrongSeal))
		v.Statement = fmt.Sprintf("Since entry %s no seal is of the index that the entries before it make: the log shows its readers "+
			"another one.", number(*v.WrongSince))
	case p.Verified > 0 && p.Sealed == 0:
		v.Statement = "Its seals are not compared with anything yet: see the findings."
	case p.Sealed < p.Verified:
		v.Statement = fmt.Sprintf("Its seals are compared up to entry %s.", number(v.Compared))
	case v.Count == 0:
		v.Statement = "It has no seal yet."
	default:
		v.Statement = fmt.Sprintf("The last of its %s is of the index that this monitor makes of the entries before it: each version has "+
			"one checksum.", seals)
	}
	return v, err
}

func (s *Server) standing(ctx context.Context, log int64) (findingCount, error) {
	n, err := s.cfg.Store.Standing(ctx, log)
	return findingCount{uint64(n[store.Security]), uint64(n[store.Operational]), uint64(n[store.Info])}, err
}

// programsOf counts the programs of a log's verified entries, the most used first.
func (s *Server) programsOf(ctx context.Context, log int64, v *logJSON) error {
	counts, err := s.programs.count(ctx, s.cfg.Store, log, int64(v.Verified))
	for id, n := range counts {
		p := s.programView(id)
		p.Entries = uint64(n)
		v.Programs = append(v.Programs, p)
		v.Development = v.Development || p.Development
	}
	slices.SortFunc(v.Programs, func(a, b programJSON) int {
		if a.Entries != b.Entries {
			return int(b.Entries) - int(a.Entries)
		}
		return strings.Compare(a.ID, b.ID)
	})
	if more := len(v.Programs) - maxPrograms; more > 0 {
		v.Programs, v.MorePrograms = v.Programs[:maxPrograms], more
	}
	return err
}

// maxPrograms is how many programs of a log are listed: a log that accepts anything
// can hold as many as entries.
const maxPrograms = 50

// witnessViews are the witnesses of the log's trust file with what they last showed.
func (s *Server) witnessViews(log store.Log, views []store.View, v logJSON) []witnessJSON {
	out := []witnessJSON{}
	policy := s.cfg.Policies[log.Origin]
	if policy == nil {
		return out
	}
	for _, wit := range policy.Witnesses() {
		w := witnessJSON{Log: log.Origin, Name: wit.Name, KeyName: wit.KeyName, VKey: wit.VKey, URL: wit.URL}
		for _, view := range views {
			if view.Source == "witness "+wit.Name {
				w.show(view, v.Size)
			}
		}
		if v.Checkpoint != nil {
			w.showCosignature(*v.Checkpoint)
		}
		out = append(out, w)
	}
	return out
}

func mirrorViews(views []store.View, size uint64) []mirrorJSON {
	out := []mirrorJSON{}
	for _, view := range views {
		if base, ok := strings.CutPrefix(view.Source, "mirror "); ok {
			var w witnessJSON // a mirror has all of it but cosignatures
			w.show(view, size)
			out = append(out, mirrorJSON{base, w.Size, w.Lag, w.Seen, w.Problem, w.Tried})
		}
	}
	return out
}

// show takes over what a witness's own endpoint showed.
func (w *witnessJSON) show(view store.View, size uint64) {
	w.Seen, w.Cosigned, w.Problem = timeOrNull(view.Seen), timeOrNull(view.Cosigned), view.Error
	w.Tried = timeOrNull(view.Tried)
	if view.Size >= 0 {
		w.observe(uint64(view.Size), size)
	}
}

func (w *witnessJSON) observe(has, size uint64) {
	lag := uint64(0)
	if has < size {
		lag = size - has
	}
	w.Size, w.Lag = &has, &lag
}

// showCosignature takes over what a witness's cosignature on the newest checkpoint
// shows: that it has seen that size, be its endpoint asked or not.
func (w *witnessJSON) showCosignature(newest checkpointJSON) {
	for _, g := range newest.Cosignatures {
		if g.KeyName != w.KeyName {
			continue
		}
		if w.Size == nil || *w.Size < newest.Size {
			w.observe(newest.Size, newest.Size)
		}
		if w.Cosigned == nil || w.Cosigned.Before(g.Time) {
			w.Cosigned = timeOrNull(g.Time)
		}
	}
}

// judge says how a log stands: the gravest thing first.
func (s *Server) judge(v *logJSON) {
	verified := fmt.Sprintf("%s of its %s were downloaded, checked one by one, and hashed to a root that the log signed.",
		number(v.Verified), count(v.Size, "entry", "entries"))
	if v.Verified == v.Size && v.Size > 0 {
		verified = fmt.Sprintf("All %s were downloaded, checked one by one, and hashed to the root that the log signed.",
			count(v.Size, "entry", "entries"))
	}
	if v.Size == 0 && v.Checkpoint != nil {
		verified = "The newest checkpoint is of a log without entries."
	}
	switch {
	case v.Findings.Security > 0:
		v.State, v.Class = "findings", store.Security
		v.Statement = fmt.Sprintf("%s that the log or another party cheated. %s",
			standWord(v.Findings.Security, "says", "say"), verified)
	case v.Checkpoint == nil:
		v.State, v.Class = "empty", store.Operational
		v.Statement = "No signed checkpoint of this log was seen yet."
	case v.Findings.Operational > 0:
		v.State, v.Class = "trouble", store.Operational
		v.Statement = fmt.Sprintf("Something is late or does not answer, and nothing shows that a party cheated. %s",
			verified)
	case v.AgeSeconds < 0, !v.Checkpoint.Quorum && v.AgeSeconds > int64(s.cfg.StaleAfter.Seconds()):
		v.State, v.Class = "quorum-lost", store.Operational
		v.Statement = "The newest checkpoint lacks the quorum of the witnesses. " + verified
	case v.AgeSeconds > int64(s.cfg.StaleAfter.Seconds()):
		v.State, v.Class = "stale", store.Operational
		v.Statement = fmt.Sprintf("The newest checkpoint is %s old: the log has stopped, or is hidden from this "+
			"monitor. %s", duration(v.AgeSeconds), verified)
	case v.Backlog.Download+v.Backlog.Verify > 0:
		v.State, v.Class = "backlog", store.Info
		v.Statement = fmt.Sprintf("%s The rest waits: %s to download, %s to verify.", verified,
			number(v.Backlog.Download), number(v.Backlog.Verify))
	default:
		v.State, v.Class = "ok", store.Info
		v.Statement = verified + " " + v.Checkpoint.quorumWords()
	}
}

func standWord(n uint64, one, many string) string {
	if n == 1 {
		return "1 standing finding " + one
	}
	return number(n) + " standing findings " + many
}

// overviewOf is what the front page says.
func (s *Server) overviewOf(q *request) (*overviewJSON, error) {
	ctx, l := q.ctx(), q.logs
	o := &overviewJSON{Monitor: s.cfg.Name, Class: store.Info, Logs: []logJSON{}}
	worse := func(c store.Class) {
		if c.Rank() > o.Class.Rank() {
			o.Class = c
		}
	}
	for _, log := range l.all {
		v, err := s.logView(ctx, l, log)
		if err != nil {
			return nil, err
		}
		o.Logs = append(o.Logs, v)
		worse(v.Class)
	}
	own, err := s.standing(ctx, 0) // about no log: the monitor itself, or a registry
	if err != nil {
		return nil, err
	}
	if own.Security > 0 {
		worse(store.Security)
	} else if own.Operational > 0 {
		worse(store.Operational)
	}
	o.Statement = map[store.Class]string{
		store.Security:    "A log, witness, registry or prover cheated",
		store.Operational: "Nothing was found to be false, but something is late or does not answer",
		store.Info:        "Nothing wrong was found",
	}[o.Class]
	if len(o.Logs) == 0 {
		o.Statement = "This monitor follows no log yet"
	}
	findings, err := s.gravest(ctx, 6)
	if err != nil {
		return nil, err
	}
	entries, err := s.cfg.Store.Entries(ctx, store.EntryQuery{Crates: true, Newest: true, Limit: 8})
	if err != nil {
		return nil, err
	}
	o.Findings = findingViews(findings, l)
	o.Entries, err = s.entryViews(ctx, l, entries)
	return o, err
}

// gravest returns the newest findings but information, those that stand before the others, and of
// those the ones of class security first.
func (s *Server) gravest(ctx context.Context, limit int) ([]store.Finding, error) {
	var out []store.Finding
	for _, q := range []store.FindingQuery{
		{Class: store.Security, Standing: true}, {Class: store.Operational, Standing: true}, {Graver: true},
	} {
		q.Newest, q.Limit = true, limit
		found, err := s.cfg.Store.Findings(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			same := func(have store.Finding) bool { return have.ID == f.ID }
			if len(out) < limit && !slices.ContainsFunc(out, same) {
				out = append(out, f)
			}
		}
	}
	return out, nil
}
