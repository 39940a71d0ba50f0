package prover

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	groth16 "github.com/consensys/gnark/backend/groth16/bn254"

	"cratelog/proofcheck"
)

// server is a log with one proving key, which does with each request what its script says.
type server struct {
	list   string
	asked  []int64 // from which bytes
	script []func(from int64) (io.Reader, int64, error)
}

func (s *server) ProvingKeys(context.Context) ([]byte, error) { return []byte(s.list), nil }

func (s *server) ProvingKey(ctx context.Context, _ [32]byte, from int64) (io.ReadCloser, int64, error) {
	s.asked = append(s.asked, from)
	if len(s.asked) > len(s.script) {
		return nil, 0, fmt.Errorf("the server is down (asked %d times)", len(s.asked))
	}
	r, at, err := s.script[len(s.asked)-1](from)
	return io.NopCloser(r), at, err
}

// fileKey is a proving key as a file, and what a server may do with it.
type fileKey []byte

func (k fileKey) rest(from int64) (io.Reader, int64, error) {
	return bytes.NewReader(k[from:]), from, nil
}

func (k fileKey) all(int64) (io.Reader, int64, error) { return bytes.NewReader(k), 0, nil }

// until is an answer that breaks off before a byte of the file.
func (k fileKey) until(end int64) func(int64) (io.Reader, int64, error) {
	return func(from int64) (io.Reader, int64, error) { return broken(k[from:max(end, from)]), from, nil }
}

func broken(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), failing{}) }

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

var testKey = fileKey(strings.Repeat("proving key ", 1000))

func offerOf(k fileKey) *Offer {
	return &Offer{proofcheck.Program{ProvingKey: sha256.Sum256(k)}, int64(len(k))}
}

// fetches fetches the test key from a server, in fake time.
func fetches(t *testing.T, s *server, cache string) (path string, err error) {
	synctest.Test(t, func(t *testing.T) { path, err = FetchKey(t.Context(), s, offerOf(testKey), cache, nil) })
	return path, err
}

func TestAKeyIsFetchedAcrossInterruptions(t *testing.T) {
	k := testKey
	down := func(int64) (io.Reader, int64, error) { return nil, 0, errors.New("connection refused") }
	type script = []func(int64) (io.Reader, int64, error)
	for name, c := range map[string]struct {
		part   []byte // there before
		script script
		asked  []int64
	}{
		"at once":                        {nil, script{k.rest}, []int64{0}},
		"with one break":                 {nil, script{k.until(500), k.rest}, []int64{0, 500}},
		"with several":                   {nil, script{k.until(500), down, down, k.until(501), k.until(9000), k.rest}, []int64{0, 500, 500, 500, 501, 9000}},
		"after an earlier run":           {k[:700], script{k.rest}, []int64{700}},
		"all but the name":               {k, nil, nil},
		"from a server without parts":    {nil, script{k.until(500), k.all}, []int64{0, 500}},
		"the beginning was damaged":      {append([]byte("x"), k[1:700]...), script{k.rest, k.rest}, []int64{700, 0}},
		"another key's beginning":        {bytes.Repeat([]byte("x"), len(k)), script{k.rest}, []int64{0}},
		"what was there was longer":      {append(bytes.Clone(k), 'x'), script{k.rest}, []int64{0}},
		"cut off without an error":       {nil, script{func(int64) (io.Reader, int64, error) { return bytes.NewReader(k[:9]), 0, nil }, k.rest}, []int64{0, 9}},
		"an error after the last byte":   {nil, script{func(int64) (io.Reader, int64, error) { return broken(k), 0, nil }}, []int64{0}},
		"an earlier run, then no parts":  {k[:700], script{k.all}, []int64{700}},
		"damaged, and the server breaks": {[]byte("x"), script{k.until(500), k.rest, k.until(20), k.rest}, []int64{1, 500, 0, 20}},
	} {
		cache := t.TempDir()
		path := filepath.Join(cache, fmt.Sprintf("%x.pk", sha256.Sum256(k)))
		if c.part != nil {
			fatalIf(t, os.WriteFile(path+".part", c.part, 0o600))
		}
		s := &server{script: c.script}
		got, err := fetches(t, s, cache)
		if err != nil || got != path {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, k) {
			t.Errorf("%s: another file, %v", name, err)
		}
		if fmt.Sprint(s.asked) != fmt.Sprint(c.asked) {
			t.Errorf("%s: asked from %v, want %v", name, s.asked, c.asked)
		}
		if _, err := os.Lstat(path + ".part"); !os.IsNotExist(err) {
			t.Errorf("%s: the part is still there", name)
		}
		if again, err := fetches(t, &server{}, cache); err != nil || again != path {
			t.Errorf("%s: fetched again: %v", name, err)
		}
	}
}

func TestAKeyThatIsNotTheOfferedOneIsNotKept(t *testing.T) {
	k := testKey
	other := fileKey(strings.Repeat("another key ", 1000))
	long := fileKey(string(k) + "x")
	short := func(from int64) (io.Reader, int64, error) { return bytes.NewReader(k[from : len(k)-1]), from, nil }
	for name, c := range map[string]struct {
		want  string
		serve func(from int64) (io.Reader, int64, error)
		keeps bool
	}{
		"other bytes":         {"has the SHA-256", other.rest, false},
		"one byte more":       {"sends more than the 12000 bytes", long.rest, false},
		"no end":              {"sends more than", func(int64) (io.Reader, int64, error) { return endless{}, 0, nil }, false},
		"another part":        {"sends byte 50", func(int64) (io.Reader, int64, error) { return bytes.NewReader(k[50:]), 50, nil }, false},
		"a part after that":   {"sends byte 101", func(int64) (io.Reader, int64, error) { return bytes.NewReader(k[101:]), 101, nil }, false},
		"no last byte":        {"11999 of 12000 bytes are kept", short, true},
		"nothing":             {"100 of 12000 bytes are kept", func(from int64) (io.Reader, int64, error) { return bytes.NewReader(nil), from, nil }, true},
		"a refusal":           {"no such key", func(int64) (io.Reader, int64, error) { return nil, 0, errors.New("no such key") }, true},
		"less each time, all": {"are kept", func(int64) (io.Reader, int64, error) { return broken(k[:7]), 0, nil }, true},
	} {
		cache := t.TempDir()
		path := filepath.Join(cache, fmt.Sprintf("%x.pk", sha256.Sum256(k)))
		fatalIf(t, os.WriteFile(path+".part", k[:100], 0o600))
		s := &server{}
		for range 20 {
			s.script = append(s.script, c.serve)
		}
		_, err := fetches(t, s, cache)
		refused(t, name, err, c.want)
		if len(s.asked) > 10 {
			t.Errorf("%s: asked %d times", name, len(s.asked))
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s: the key is in its place", name)
		}
		if _, err := os.Lstat(path + ".part"); os.IsNotExist(err) == c.keeps {
			t.Errorf("%s: the part: %v", name, err)
		}
		if errors.Is(err, ErrWrongKey) == c.keeps {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestAFetchStopsWhenItIsToldAndGoesOnLater(t *testing.T) {
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{script: []func(int64) (io.Reader, int64, error){func(int64) (io.Reader, int64, error) {
		return io.MultiReader(bytes.NewReader(testKey[:5000]), stopping(cancel), failing{}), 0, nil
	}}}
	var step Step
	_, err := FetchKey(ctx, s, offerOf(testKey), cache, func(s Step) { step = s })
	refused(t, "a cancelled fetch", err, "5000 of 12000 bytes are kept, run again")
	if len(s.asked) != 1 {
		t.Errorf("asked %d times", len(s.asked))
	}
	if share := step.Share(); share < 0.41 || share > 0.42 || !strings.Contains(step.What, "1 MB") {
		t.Errorf("%q is done to %v", step.What, share)
	}
	s = &server{script: []func(int64) (io.Reader, int64, error){testKey.rest}}
	if _, err := fetches(t, s, cache); err != nil || s.asked[0] != 5000 {
		t.Errorf("asked from %v, %v", s.asked, err)
	}
}

// stopping ends a context where it is read.
type stopping context.CancelFunc

func (s stopping) Read([]byte) (int, error) {
	s()
	return 0, io.EOF
}

func TestTwoFetchesOfAKeyDoNotMix(t *testing.T) {
	cache := t.TempDir()
	begun, release := make(chan bool), make(chan bool)
	slow := &server{script: []func(int64) (io.Reader, int64, error){func(int64) (io.Reader, int64, error) {
		close(begun)
		<-release
		return testKey.rest(0)
	}}}
	first := make(chan error, 1)
	go func() {
		_, err := FetchKey(t.Context(), slow, offerOf(testKey), cache, nil)
		first <- err
	}()
	<-begun
	waits := func(s Step) {
		if strings.Contains(s.What, "waiting for another process") {
			close(release)
		}
	}
	if _, err := FetchKey(t.Context(), &server{}, offerOf(testKey), cache, waits); err != nil {
		t.Error("the second:", err)
	}
	if err := <-first; err != nil {
		t.Error("the first:", err)
	}
}

// listOf is a log's list of the keys of programs, each altered.
func listOf(t testing.TB, alter func(map[string]any), programs ...proofcheck.Program) string {
	t.Helper()
	keys := []map[string]any{}
	for _, p := range programs {
		file, err := p.Marshal()
		fatalIf(t, err)
		k := map[string]any{"program": fmt.Sprintf("%x", p.ID()), "origin": p.Origin, "blocks": p.Blocks,
			"sha256": fmt.Sprintf("%x", p.ProvingKey), "size": 12000, "file": json.RawMessage(file)}
		alter(k)
		keys = append(keys, k)
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	fatalIf(t, err)
	return string(text)
}

func TestTheProgramOfALogIsTheFirstThatMayBeUsed(t *testing.T) {
	development, solo := developmentOf(t), soloProgram(t)
	same := func(map[string]any) {}
	for _, c := range []struct {
		development bool
		list        []proofcheck.Program
		want        proofcheck.Program
	}{
		{false, []proofcheck.Program{solo}, solo},
		{false, []proofcheck.Program{development, solo}, solo},
		{true, []proofcheck.Program{development, solo}, development},
	} {
		o, err := Offered(t.Context(), &server{list: listOf(t, same, c.list...)}, c.development)
		fatalIf(t, err)
		if o.Program.ID() != c.want.ID() || o.Size != 12000 {
			t.Errorf("development %v: %+v", c.development, o)
		}
	}
	alter := func(key string, value any) string {
		return listOf(t, func(k map[string]any) { k[key] = value }, solo)
	}
	big := solo
	big.Blocks = maxBlocks + 1
	bigger := listOf(t, same, big)
	nokey := solo
	nokey.ProvingKey = [32]byte{}
	for name, c := range map[string]struct{ list, want string }{
		"a development program":   {listOf(t, same, development), "is a development key"},
		"one that is not served":  {listOf(t, func(k map[string]any) { k["size"] = 0 }, development), "--development says"},
		"nothing":                 {`{"keys":[]}`, "its list is empty"},
		"no list":                 {`{}`, "its list is empty"},
		"no JSON":                 {`<html>`, "the log's list of proving keys"},
		"another id":              {alter("program", strings.Repeat("ab", 32)), "differ about"},
		"another origin":          {alter("origin", "solo: another"), "differ about"},
		"other blocks":            {alter("blocks", 7), "differ about"},
		"another hash":            {alter("sha256", strings.Repeat("ab", 32)), "differ about"},
		"the hash in capitals":    {alter("sha256", strings.ToUpper(fmt.Sprintf("%x", solo.ProvingKey))), "differ about"},
		"no hash":                 {listOf(t, same, nokey), "does not say which proving key"},
		"no size":                 {alter("size", 0), "does not serve the proving key"},
		"a size below nothing":    {alter("size", -1), "is said to have -1 bytes"},
		"a huge size":             {alter("size", maxKey(solo.Blocks)+1), "at most"},
		"huge segments":           {bigger, "at most 256"},
		"no program file":         {alter("file", nil), "unknown proof system"},
		"another program file":    {alter("file", "x"), "program file"},
		"too many":                {`{"keys":[` + strings.Repeat("{},", maxOffers) + `{}]}`, "lists 257 proving keys"},
		"a development key's lie": {strings.ReplaceAll(listOf(t, same, development), `"development"`, `"solo: us"`), "ships with cratelog"},
	} {
		_, err := Offered(t.Context(), &server{list: c.list}, false)
		refused(t, name, err, c.want)
	}
}

func developmentOf(t testing.TB) proofcheck.Program {
	t.Helper()
	shipped, err := proofcheck.Embedded()
	fatalIf(t, err)
	p := shipped[0]
	p.ProvingKey = [32]byte{1}
	return p
}

// soloProgram is a program that does not ship: its alpha is another.
func soloProgram(t testing.TB) proofcheck.Program {
	t.Helper()
	p := developmentOf(t)
	vk := new(groth16.VerifyingKey)
	_, err := vk.ReadFrom(bytes.NewReader(p.Key))
	fatalIf(t, err)
	vk.G1.Alpha.Double(&vk.G1.Alpha)
	var key bytes.Buffer
	_, err = vk.WriteTo(&key)
	fatalIf(t, err)
	p.Origin, p.Key, p.ProvingKey = "solo: test", key.Bytes(), sha256.Sum256(testKey)
	return p
}

// What a log lists is never a panic, and what is taken of it is what its program file says.
func FuzzOffered(f *testing.F) {
	solo := soloProgram(f)
	f.Add([]byte(listOf(f, func(map[string]any) {}, developmentOf(f), solo)), uint16(0), byte(0))
	f.Add([]byte(`{"keys":[{"size":1e400},{"file":[[]]},null]}`), uint16(9), byte(1))
	f.Fuzz(func(t *testing.T, list []byte, at uint16, with byte) {
		if len(list) > 0 {
			list = bytes.Clone(list)
			list[int(at)%len(list)] ^= with
		}
		o, err := Offered(t.Context(), &server{list: string(list)}, false)
		if err == nil && (o.Program.Development() || o.Program.ProvingKey == [32]byte{} || o.Size <= 0 || o.Size > maxKey(o.Program.Blocks)) {
			t.Errorf("taken: %+v", o)
		}
	})
}

func TestAKeyringAsksTheLogForItsProgram(t *testing.T) {
	development, solo := developmentOf(t), soloProgram(t)
	same := func(map[string]any) {}
	both := listOf(t, same, development, solo)
	for name, c := range map[string]struct {
		keyring Keyring
		list    string
		want    *proofcheck.Program // nil: development keys
		refusal string
	}{
		"a solo program":                   {Keyring{}, listOf(t, same, solo), &solo, ""},
		"also behind one for development":  {Keyring{}, both, &solo, ""},
		"a log in development mode":        {Keyring{AllowDevelopment: true}, both, nil, ""},
		"one that serves no key":           {Keyring{AllowDevelopment: true}, `{"keys":[]}`, nil, ""},
		"development keys without consent": {Keyring{}, listOf(t, same, development), nil, "is a development key"},
		"no key without consent":           {Keyring{}, `{"keys":[]}`, nil, "its list is empty"},
		"no answer":                        {Keyring{AllowDevelopment: true}, "<html>", nil, "the log's list"},
		"files are named":                  {Keyring{ProgramFile: "p", KeyFile: "k"}, both, nil, ""},
	} {
		k := c.keyring
		k.Log = &server{list: c.list}
		got, err := k.Ask(t.Context())
		if c.refusal != "" {
			refused(t, name, err, c.refusal)
			continue
		}
		if err != nil || (got == nil) != (c.want == nil) || got != nil && got.ID() != c.want.ID() {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		if k.ProgramFile == "" && k.Development() != (c.want == nil) {
			t.Errorf("%s: development keys are taken for others", name)
		}
		if c.want != nil {
			k.Log = nil // it is not asked twice
			if again, err := k.Ask(t.Context()); err != nil || again != got {
				t.Errorf("%s: %v, %v", name, again, err)
			}
		}
	}
}

func TestAFetchedKeyProves(t *testing.T) {
	x := export(t) // no file of it is named
	cache := t.TempDir()
	list := listOf(t, func(k map[string]any) { k["size"] = len(x.file) }, x.of(t))
	k := &Keyring{Cache: cache, Log: &server{list: list,
		script: []func(int64) (io.Reader, int64, error){fileKey(x.file).until(1 << 20), fileKey(x.file).rest}}}
	program, err := k.Ask(t.Context())
	fatalIf(t, err)
	e, err := k.Prove(t.Context(), plan(t, "hello-proof", "0.1.1"), nil)
	fatalIf(t, err)
	if e.Proof.Program != program.ID() || program.ID() != x.p.ID() {
		t.Errorf("the proof is of the program %x", e.Proof.Program)
	}

	path := filepath.Join(cache, fmt.Sprintf("%x.pk", program.ProvingKey))
	fatalIf(t, os.WriteFile(path, make([]byte, len(x.file)), 0o600))
	k = &Keyring{Cache: cache, Log: &server{list: list}}
	_, err = k.Ask(t.Context())
	fatalIf(t, err)
	_, err = k.Prove(t.Context(), plan(t, "hello-proof", "0.1.1"), nil)
	refused(t, "a damaged key", err, "if the file was damaged here, delete it and run again")
}

// of is the exported program.
func (x exported) of(t *testing.T) proofcheck.Program {
	t.Helper()
	p, err := proofcheck.ReadProgram(x.program)
	fatalIf(t, err)
	return p
}
