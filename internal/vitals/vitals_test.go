package vitals

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cratelog/internal/web"
)

func TestAFullDiskIsAProblemAndSoIsAReadOnlyOne(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name  string
		space space
		err   error
		words string // "" for none
	}{
		{"room", space{free: gib, size: 10 * gib, inodes: 1 << 20, total: 1 << 21}, nil, ""},
		{"small, with room", space{free: 1 << 20, size: 2 << 20}, nil, ""},
		{"not measured", space{}, nil, ""},
		{"at the reserve", space{free: reserve, size: 10 * gib}, nil, ""},
		{"below the reserve", space{free: reserve - 1, size: 10 * gib}, nil, "the disk of the tree (/t) has 67108863 bytes left"},
		{"small and full", space{free: 4096, size: 2 << 20}, nil, "has 4096 bytes left of 2097152"},
		{"no inodes", space{free: gib, size: 10 * gib, inodes: 999, total: 1 << 20}, nil, "has room for 999 more files"},
		{"read-only", space{free: gib, size: 10 * gib, readOnly: true}, nil, "is read-only"},
		{"gone", space{}, errors.New("no such file"), "does not answer: no such file"},
	} {
		r := NewRoom(Place{"tree", "/t"})
		r.measure = func(string) (space, error) { return tt.space, tt.err }
		got := strings.Join(r.Full(), "\n")
		if (got == "") != (tt.words == "") || !strings.Contains(got, tt.words) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestFewFileDescriptorsAreAProblem(t *testing.T) {
	for _, tt := range []struct {
		used, limit uint64
		err         error
		words       string
	}{
		{900, 1000, nil, ""}, {901, 1000, nil, "901 of 1000 file descriptors"}, {5, 0, nil, ""},
		{0, 0, errors.New("too many open files"), "no file can be opened: too many open files"},
	} {
		r := NewRoom()
		r.files = func() (uint64, uint64, error) { return tt.used, tt.limit, tt.err }
		got := strings.Join(r.Problems(), "\n")
		if (got == "") != (tt.words == "") || !strings.Contains(got, tt.words) {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestMeasurementsAreOfThisMachineAndOncePerSecond(t *testing.T) {
	s, err := statfs(t.TempDir())
	if err != nil || s.size == 0 || s.free > s.size {
		t.Errorf("%+v %v", s, err)
	}
	if used, limit, err := descriptors(); err != nil || used < 3 || limit < used {
		t.Errorf("%d of %d descriptors, %v", used, limit, err)
	}
	n := 0
	r := NewRoom(Place{"tree", "/t"})
	r.measure = func(string) (space, error) { n++; return space{free: 1, size: 1}, nil }
	r.Full()
	r.Problems()
	if n != 1 {
		t.Errorf("measured %d times at once", n)
	}
	r.at = time.Now().Add(-2 * second)
	if r.Full(); n != 2 {
		t.Errorf("measured %d times in two seconds", n)
	}
}

func TestProbesAnswerInWords(t *testing.T) {
	var why []string
	p := Probes{Ready: func(context.Context) []string { return why }, Health: func(context.Context) (any, Health) {
		h := Of(append(why, "more"))
		return struct {
			Health
			Size int `json:"size"`
		}{h, 7}, h
	}}
	h := (&web.Server{Name: "test", Log: slog.New(slog.DiscardHandler)}).Handler(p.Routes())
	get := func(path string) (int, map[string]any) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be cached", path)
		}
		var body map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body["version"] == "" {
			t.Errorf("%s: %v %s", path, err, w.Body)
		}
		return w.Code, body
	}
	for _, want := range []struct {
		path  string
		why   []string
		code  int
		first string
	}{
		{"/livez", []string{"halted"}, 200, ""}, {"/readyz", nil, 200, ""}, {"/readyz", []string{"halted"}, 503, "halted"},
		{"/healthz", []string{"halted"}, 503, "halted"}, {"/healthz", nil, 503, "more"},
	} {
		why = want.why
		code, body := get(want.path)
		problems := body["problems"].([]any)
		if code != want.code || body["ok"] != (code == 200) || want.first == "" != (len(problems) == 0) ||
			want.first != "" && problems[0] != want.first {
			t.Errorf("%s with %v: %d %v", want.path, want.why, code, body)
		}
	}
	if _, body := get("/healthz"); body["size"] != 7.0 {
		t.Errorf("what the server adds is missing: %v", body)
	}
}

func TestEveryServerSaysWhatItIsBuiltFrom(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(NewRoom(Place{"tree", t.TempDir()}).Collectors()...)
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{"cratelog_build_info": true, "cratelog_disk_free_bytes": true, "process_open_fds": true,
		"process_max_fds": true}
	for _, m := range all {
		delete(missing, m.GetName())
	}
	if len(missing) > 0 {
		t.Errorf("not collected: %v", missing)
	}
}
