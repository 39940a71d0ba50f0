package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"cratelog/cargo/policy"
	"cratelog/client"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
)

func TestAllVersionsOfACrateAreShown(t *testing.T) {
	d := proven(t)
	trust := []string{"--trust", d.log.File, "--development"}
	const want = "hello-proof@0.1.0  entry 0  depot.example/log  "
	d.zkp(outcome.OK, []string{want}, append([]string{"show", "--versions", "Hello_Proof"}, trust...)...)
	out, _ := d.call(outcome.OK, append([]string{"show", "--versions", "hello-proof", "--message-format", "json"}, trust...)...)
	var all struct{ Versions []listed }
	fatalIf(t, json.Unmarshal([]byte(out), &all))
	if len(all.Versions) != 1 || all.Versions[0].Version != "0.1.0" || len(all.Versions[0].Checksum) != 64 {
		t.Errorf("%s", out)
	}
	d.zkp(outcome.Refused, []string{"no log that is trusted has an entry about absent in cargo's default registry\n"}, append([]string{"show", "--versions", "absent"}, trust...)...)
	d.zkp(outcome.Usage, []string{"of a NAME alone"}, append([]string{"show", "--versions", "hello-proof@0.1.0"}, trust...)...)
	d.zkp(outcome.Usage, []string{"--offline forbids"}, append([]string{"show", "--versions", "--offline", "hello-proof"}, trust...)...)
}

// TestADoctorSaysThatALogHasEnded, where it goes on, and when it did not end.
func TestADoctorSaysThatALogHasEnded(t *testing.T) {
	key, next := testlog.LogKey("log.example/1"), testlog.LogKey("log.example/2")
	f := client.Frozen{Origin: "log.example/1", Size: 7, Root: tlog.Hash{1}, Time: time.Unix(1e9, 0), Successor: next.VKey,
		SuccessorURL: "https://log.example/2", Reason: "The year is over."}
	signed := testlog.Must(note.Sign(&note.Note{Text: testlog.Must(f.Text())}, key))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/frozen":
			w.Write(signed)
		case "/v1/log":
			json.NewEncoder(w).Encode(map[string]any{"vkey": key.VKey, "shards": []map[string]string{{"origin": "log.example/1", "vkey": key.VKey},
				{"origin": "log.example/2", "vkey": next.VKey, "url": "https://log.example/2"},
				{"origin": "log.example/3", "vkey": testlog.LogKey("log.example/3").VKey, "url": "https://log.example/3"}}})
		}
	}))
	defer srv.Close()
	parsed := testlog.Must(client.ParsePolicy([]byte("log " + key.VKey + "\nquorum none\n")))
	trust := policy.Trust{Path: "trust.policy", Policy: parsed}
	p := &policy.Policy{Trust: []policy.Trust{trust}}
	look := func(c client.Checkpoint) map[string][]finding {
		d := &doctor{}
		d.end(t.Context(), p, trust, &client.Log{URL: srv.URL}, c)
		by := map[string][]finding{}
		for _, f := range d.found {
			by[f.Check] = append(by[f.Check], f)
		}
		return by
	}
	same := client.Checkpoint{Origin: f.Origin, Size: 7, Root: f.Root}
	has(t, look(same), "log", warning, "has ended at 2001-09-09 with 7 entries", "The year is over.", "add it to trust.policy: log "+next.VKey+" https://log.example/2")
	has(t, look(same), "log", skipped, "names another log of its operator, which is not in your trust file: log.example/3")
	grown, forked := same, same
	grown.Size, forked.Root = 8, tlog.Hash{2}
	has(t, look(grown), "log", broken, "ended with 7 entries, and shows a tree of 8")
	has(t, look(forked), "log", broken, "convict")
	signed[len(signed)-9] ^= 1
	has(t, look(same), "log", warning, "does not verify")
	signed = []byte("x")
	has(t, look(same), "log", warning, "does not verify")
	if text := look(same)["log"][0].Text; strings.Contains(text, "\n") {
		t.Errorf("%q", text)
	}
}

// TestADoctorSaysThatALogHasEndedHoweverOldItsLastCheckpointIs: max-age is passed one day, for ever. Nothing is
// said then of who could take a name, and a trust file that its maintainers sign is not to be edited.
func TestADoctorSaysThatALogHasEndedHoweverOldItsLastCheckpointIs(t *testing.T) {
	then := time.Unix(1e9, 0)
	l := testlog.New("log.example/1", 1, func() time.Time { return then })
	l.Add([]byte("leaf"))
	l.Publish()
	next := testlog.LogKey("log.example/2").VKey
	f := client.Frozen{Origin: "log.example/1", Size: 2, Root: l.Tree.Root(2), Time: then, Successor: next}
	signed := testlog.Must(note.Sign(&note.Note{Text: testlog.Must(f.Text())}, l.Key))
	l.Intercept(testlog.Answer("/frozen", http.StatusOK, signed))
	srv := httptest.NewServer(l)
	defer srv.Close()
	maintained := "# cratelog trust/v1 x.example\n# sequence 1\n# threshold 1\n# maintainer " + testlog.LogKey("alice.example").VKey + "\n"
	for head, fix := range map[string]string{"": "add it to trust.policy: log " + next, maintained: "cargo zkp trust update"} {
		text := append([]byte(head), l.Trust(srv.URL)...)
		trust := policy.Trust{Path: "trust.policy", Text: text, Policy: testlog.Must(client.ParsePolicy(text))}
		p := &policy.Policy{Trust: []policy.Trust{trust}, MaxAge: time.Hour}
		by := map[string][]finding{}
		for _, f := range askLog(t.Context(), p, trust, trust.Policy.Logs()[0]) {
			by[f.Check] = append(by[f.Check], f)
		}
		has(t, by, "log", broken, "max-age")
		has(t, by, "log", warning, "has ended at 2001-09-09", fix)
		if len(by["names"]) > 0 {
			t.Errorf("who can take a name in a log that has ended? %v", by["names"])
		}
	}
}
