package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"cratelog/config"
	"cratelog/internal/daemon"
	"cratelog/internal/outcome"
	"cratelog/internal/testlog"
	"cratelog/log"
	"cratelog/log/storage"
	"cratelog/proofcheck"
)

func TestTheSettingsOfSeveralProcesses(t *testing.T) {
	dir := t.TempDir()
	fatalIf(t, config.GenerateKey(filepath.Join(dir, "log-key.pem")))
	vkey := testlog.LogKey("log.example/x").VKey
	for name, text := range map[string]string{
		"trust.policy": "log " + vkey + "\nquorum none\n", "database.dsn": "u:p@tcp(127.0.0.1:1)/tree\n",
		"memory.dsn": "u:p@tcp(127.0.0.1:2)/memory", "s3": "KEY\nSECRET\n", "secret": strings.Repeat("s", 64) + "\n",
		"two": "a\nb\n", "none": "", "odd": "a\tb\n",
	} {
		fatalIf(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	fatalIf(t, os.WriteFile(filepath.Join(dir, "open"), []byte("x\n"), 0o644))
	fatalIf(t, os.Chmod(filepath.Join(dir, "open"), 0o644))
	const (
		posix = "tree = \"tree\"\n"
		s3    = "storage = \"s3\"\n"
		key   = "keys = [\"log-key.pem\"]\n"
		store = "[s3]\nbucket = \"b\"\nendpoint = \"http://127.0.0.1:3\"\npath_style = true\ncredentials_file = \"s3\"\n"
		files = "[cluster]\ndatabase_file = \"database.dsn\"\nmemory_file = \"memory.dsn\"\nsecret_file = \"secret\"\n"
		lead  = "lead = true\npeers_listen = \"127.0.0.1:0\"\naddress = \"http://127.0.0.1:4\"\nlease = \"4s\"\nadd_deadline = \"1s\"\n"
	)
	read := func(text string, readOnly bool) (log.Config, error) {
		file := filepath.Join(dir, "logd.toml")
		fatalIf(t, os.WriteFile(file, []byte("origin = \"log.example/x\"\nlisten = \"127.0.0.1:0\"\nstate = \"state\"\ntrust = \"trust.policy\"\n"+text), 0o644))
		_, cfg, err := loadFor(file, readOnly)
		return cfg, err
	}
	want := log.Cluster{Tree: storage.S3{Endpoint: "http://127.0.0.1:3", Bucket: "b", PathStyle: true, AccessKey: "KEY", SecretKey: "SECRET",
		Database: "u:p@tcp(127.0.0.1:1)/tree", AddDeadline: time.Second}, Memory: "u:p@tcp(127.0.0.1:2)/memory",
		Secret: []byte(strings.Repeat("s", 64)), Lead: true, Lease: 4 * time.Second, Address: "http://127.0.0.1:4"}
	cfg, err := read(s3+key+store+files+lead, false)
	fatalIf(t, err)
	if !reflect.DeepEqual(*cfg.Cluster, want) || cfg.TreeDir != "" || cfg.Signer == nil {
		t.Errorf("%+v", *cfg.Cluster)
	}
	for _, text := range []string{s3 + store + files, s3 + key + store + files} { // a front end reads no key
		if cfg, err := read(text, false); err != nil || cfg.Signer != nil || cfg.VKey != vkey || cfg.Cluster.Lead {
			t.Errorf("%s: %+v, %v", text, cfg, err)
		}
	}
	if cfg, err := read(s3+store+strings.ReplaceAll(files, "secret_file = \"secret\"\n", ""), true); err != nil || !cfg.ReadOnly || cfg.Cluster == nil {
		t.Errorf("for reading: %+v, %v", cfg, err)
	}
	if cfg, err := read("storage = \"posix\"\n"+posix+key, false); err != nil || cfg.Cluster != nil || cfg.TreeDir == "" {
		t.Errorf("of one machine: %+v, %v", cfg, err)
	}
	without := func(text, line string) string {
		var kept []string
		for _, l := range strings.SplitAfter(text, "\n") {
			if !strings.HasPrefix(l, line+" = ") {
				kept = append(kept, l)
			}
		}
		return strings.Join(kept, "")
	}
	whole := s3 + key + store + files + lead
	for text, words := range map[string]string{
		"storage = \"nfs\"\n" + posix + key:                      "it must be posix or s3",
		key + store:                                              "are for storage",
		posix + key + files:                                      "are for storage",
		s3 + key + posix + store + files:                         "tree is for storage",
		s3 + store + files + lead:                                "keys",
		without(whole, "bucket"):                                 "s3.bucket",
		without(whole, "database_file"):                          "cluster.database_file",
		without(whole, "memory_file"):                            "cluster.memory_file",
		without(whole, "secret_file"):                            "cluster.secret_file",
		without(whole, "address"):                                "they need it",
		without(whole, "peers_listen"):                           "they need it",
		without(whole, "lead"):                                   "they need it",
		whole + "leads = true\n":                                 "leads",
		strings.Replace(whole, "\"database.dsn\"", "\"two\"", 1): "must hold 1 lines, and has 2",
		strings.Replace(whole, "credentials_file = \"s3\"", "credentials_file = \"secret\"", 1): "must hold 2 lines, and has 1",
		strings.Replace(whole, "\"memory.dsn\"", "\"none\"", 1):                                 "is empty",
		strings.Replace(whole, "\"memory.dsn\"", "\"odd\"", 1):                                  "printable ASCII",
		strings.Replace(whole, "\"secret\"", "\"open\"", 1):                                     "open",
		strings.Replace(whole, "\"secret\"", "\"missing\"", 1):                                  "cluster.secret_file",
	} {
		if _, err := read(text, false); err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "logd.toml") ||
			strings.Contains(err.Error(), "u:p@") {
			t.Errorf("%s\n%s: %v", text, words, err)
		}
	}
}

// noProofs are those of no program.
type noProofs struct{ log.Proofs }

func (noProofs) Programs() []proofcheck.Program { return nil }

// TestASecretThatChangedIsNotSaidToBeTheSame: the file's name is, and what is in it takes a restart.
func TestASecretThatChangedIsNotSaidToBeTheSame(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) { fatalIf(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)) }
	files := map[string][2]string{
		"database": {"u:p@tcp(127.0.0.1:1)/tree", "u:q@tcp(127.0.0.1:1)/tree"},
		"memory":   {"u:p@tcp(127.0.0.1:2)/memory", "u:q@tcp(127.0.0.1:2)/memory"},
		"secret":   {strings.Repeat("s", 64), strings.Repeat("t", 64)}, "credentials": {"KEY\nSECRET", "KEY\nOTHER"},
	}
	for name, text := range files {
		write(name, text[0])
	}
	write("trust", "log "+testlog.LogKey("log.example/x").VKey+"\nquorum none\n")
	write("logd.toml", `origin = "log.example/x"
listen = "127.0.0.1:0"
state = "state"
trust = "trust"
storage = "s3"
[s3]
bucket = "b"
credentials_file = "credentials"
[cluster]
database_file = "database"
memory_file = "memory"
secret_file = "secret"
`)
	accepted := func([]string, bool) (log.Proofs, error) { return noProofs{}, nil }
	r := &reloader{file: filepath.Join(dir, "logd.toml"), accepted: accepted}
	var err error
	r.settings, r.cfg, err = loadFor(r.file, false)
	fatalIf(t, err)
	r.cfg.Proofs = noProofs{}
	if changes, err := r.reload(t.Context()); err != nil || len(changes) > 0 {
		t.Errorf("the same: %q, %v", changes, err)
	}
	for name, text := range files {
		write(name, text[1])
		changes, err := r.reload(t.Context())
		want := name + "_file changed: that needs a restart"
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), text[1]) {
			t.Errorf("%s: %q, %v", name, changes, err)
		}
		write(name, text[0])
	}
}

// TestAProcessThatIsLostWaitsForNothing: neither for requests under way, nor for a reload.
func TestAProcessThatIsLostWaitsForNothing(t *testing.T) {
	under := make(chan struct{})
	server := newServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(under)
		<-r.Context().Done()
	}))
	l := testlog.Must(net.Listen("tcp", "127.0.0.1:0"))
	r := &reloader{lost: make(chan error, 1), cfg: log.Config{Logger: slog.New(slog.DiscardHandler)}}
	r.settings.ShutdownTimeout = config.Duration{Duration: time.Hour}
	done := make(chan error)
	go func() { done <- r.serve(t.Context(), daemon.CatchReloads(), server, l) }()
	go func() {
		if resp, err := http.Get("http://" + l.Addr().String()); err == nil {
			resp.Body.Close()
		}
	}()
	<-under
	r.lost <- fmt.Errorf("%w: the lease is lost", log.ErrLost)
	select {
	case err := <-done:
		if !errors.Is(err, log.ErrLost) || outcome.Of(outcome.Again(err)) != outcome.Restart {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits")
	}
}

func TestTesseraSaysOnlyWhatIsOfUse(t *testing.T) {
	var out bytes.Buffer
	h := slog.New(ofTessera{slog.NewTextHandler(&out, nil), newSaid()}).With("a", 1).Handler()
	now := time.Now()
	says := func(after time.Duration, message string, want string) {
		t.Helper()
		out.Reset()
		fatalIf(t, h.Handle(t.Context(), slog.NewRecord(now.Add(after), slog.LevelInfo, message, 0)))
		if got := out.String(); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q after %v: it says %q, want %q", message, after, got, want)
		}
	}
	says(0, "Here be dragons!\n  .==.", "")
	says(0, "Running in non-AWS mode - see storage/aws/README.md for more details.", "")
	says(0, "Failed to fetch old checkpoint: file does not exist", "")
	says(0, "publishCheckpoint: guard: "+log.ErrEarly.Error(), "")
	says(0, "GarbageCollect failed: the store", "GarbageCollect")
	says(0, "publishCheckpoint: request 1 failed", "request 1")
	says(time.Second, "publishCheckpoint: request 2 failed", "")
	says(time.Second, "integrateEntries: request 3 failed", "request 3")
	says(59*time.Second, "publishCheckpoint: request 4 failed", "")
	says(60*time.Second, "publishCheckpoint: request 5 failed", "more_since=2")
	says(61*time.Second, "publishCheckpoint: request 6 failed", "")
	for i := range 1000 {
		says(0, fmt.Sprint(i, ": new"), "new")
	}
}
