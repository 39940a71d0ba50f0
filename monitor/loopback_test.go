package monitor

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"cratelog/evidence"
	"cratelog/internal/forge"
	"cratelog/internal/loopback"
	"cratelog/internal/testlog"
	"cratelog/monitor/store"
)

// The real log server, three real witnesses, real proofs.
func TestARealLogIsFollowedAndConvictedWhenItsKeySignsAnotherTree(t *testing.T) {
	ctx, origin := t.Context(), "log.example/real"
	real := testlog.Must(loopback.Start(ctx, loopback.Config{Origin: origin, Dir: t.TempDir()}))
	defer real.Close()
	f := testlog.Must(forge.Default())
	submit := func(n int) {
		t.Helper()
		raw, e, err := f.Crate(fmt.Sprintf("crate-%d", n), "1.0.0", "// a crate")
		fatalIf(t, err)
		b := testlog.Must(e.Marshal())
		_, err = real.Log.Submit(ctx, b, bytes.NewReader(raw), nil)
		fatalIf(t, err)
	}
	dir := t.TempDir()
	s := testlog.Must(store.Create(ctx, filepath.Join(dir, "monitor.db")))
	defer s.Close()
	m, err := New(ctx, Config{Logs: []LogConfig{{Origin: origin, Policy: real.Policy}}, Store: s, EvidenceDir: dir, Proofs: real.Proofs,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	fatalIf(t, err)
	for n := range 3 {
		submit(n)
		// A witness that the quorum did not need may show nothing yet.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			sum := testlog.Must(m.Once(ctx))
			if sum.ExitCode() == 0 && sum.Logs[0].Verified >= int64(2*(n+1)) { // each with a seal
				break
			}
			if time.Now().After(deadline) || sum.Security != 0 {
				t.Fatalf("after %d entries: %+v", n+1, sum)
			}
		}
	}
	if p := testlog.Must(s.Position(ctx, 1)); p.Sealed != p.Verified || p.WrongSeal != -1 || len(m.Sealed(origin)) == 0 {
		t.Errorf("%+v", p)
	}
	views := testlog.Must(s.Views(ctx, 1))
	if len(views) != 1+3 {
		t.Errorf("%d views", len(views))
	}
	for _, v := range views {
		if v.Size < 1 || v.Error != "" || v.Source != sourceLog && v.Cosigned.IsZero() {
			t.Errorf("view %+v", v)
		}
	}
	signed := testlog.Sign(testlog.Head(origin, 2, tlog.Hash{1}), real.Signer)
	c, err := m.Gossip(ctx, signed, "gossip")
	if err != nil || c.Verdict != store.Inconsistent {
		t.Fatalf("%+v, %v", c, err)
	}
	found, err := s.Findings(ctx, store.FindingQuery{Class: store.Security, Standing: true, Limit: 100})
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	e := testlog.Must(evidence.Read(filepath.Join(dir, found[0].Evidence+".evidence")))
	keys := testlog.Must(evidence.NewKeys([]string{real.VKey}, nil))
	if verdict, err := evidence.Verify(e, keys, nil); err != nil || verdict.Who != "log "+origin || !verdict.Transferable {
		t.Errorf("%+v, %v", verdict, err)
	}
}
