package main

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"cratelog/entry"
	"cratelog/internal/forge"
	"cratelog/internal/logsite"
)

// attacker is an attack: n goroutines that call do again and again, from one address or each from its own.
type attacker struct {
	name   string
	n      int
	files  int // that logd may have open; 0: as this process
	spread bool
	corpus func() ([]logsite.Submission, error)
	do     func(work)
}

// work is one call of an attack.
type work struct {
	url, from string
	n, k      int // of the goroutine, and of the call
	subs      []logsite.Submission
	requests  *atomic.Int64
}

var attacks = []attacker{
	{name: "idle"},
	{name: "silent_32", n: 32, do: silent},
	{name: "silent_320", n: 320, do: silent},
	{name: "drip_32", n: 32, corpus: one, do: drip},
	{name: "drip_320", n: 320, corpus: one, do: drip},
	{name: "drip_320_many", n: 320, corpus: one, do: drip, spread: true},
	{name: "proofs_64", n: 64, corpus: one, do: falseProof},
	{name: "proofs_64_many", n: 64, corpus: one, do: falseProof, spread: true},
	{name: "bombs_32", n: 32, corpus: bombs, do: bomb},
	{name: "bombs_32_many", n: 32, corpus: bombs, do: bomb, spread: true},
	{name: "sockets_1100", n: 1100, files: 1024, do: silent},
}

func dial(w work) net.Conn {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(w.from)}, Timeout: 10 * time.Second}
	c, err := d.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		time.Sleep(100 * time.Millisecond)
		return nil
	}
	w.requests.Add(1)
	return c
}

// silent connects, and says nothing until it is cut off.
func silent(w work) {
	if c := dial(w); c != nil {
		io.Copy(io.Discard, c)
		c.Close()
	}
}

// drip uploads a true entry, and then a byte of its .crate every few seconds.
func drip(w work) {
	c := dial(w)
	if c == nil {
		return
	}
	defer c.Close()
	s := w.subs[0]
	fmt.Fprintf(c, "POST /v1/submit HTTP/1.1\r\nHost: log\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", s.Type,
		len(s.Body))
	const first = 1024
	c.Write(s.Body[:first])
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c)
		close(gone)
	}()
	for i := first; i < len(s.Body); i++ {
		select {
		case <-gone:
			return
		case <-time.After(5 * time.Second):
		}
		if _, err := c.Write(s.Body[i : i+1]); err != nil {
			return
		}
	}
}

func one() ([]logsite.Submission, error) { return logsite.Make("attack", 1, 100_000) }

// falseProof submits a claim of its own with another's proof. Its .crate is short: it will not be read.
func falseProof(w work) {
	e, err := entry.Parse(w.subs[0].Entry)
	if err != nil {
		panic(err)
	}
	src := e.Claim.(*entry.Source)
	rand.Read(src.Commit[:])
	b, err := e.Marshal()
	if err != nil {
		panic(err)
	}
	s, err := logsite.NewSubmission(b, []byte("no archive"))
	if err != nil {
		panic(err)
	}
	send(w, s)
}

// clients are kept, one for each goroutine.
var clients = make(chan func(n int, from string) *http.Client, 1)

func init() {
	kept := map[int]*http.Client{}
	clients <- func(n int, from string) *http.Client {
		if kept[n] == nil {
			kept[n] = logsite.Client(from, 1)
		}
		return kept[n]
	}
}

func send(w work, s logsite.Submission) {
	get := <-clients
	c := get(w.n, w.from)
	clients <- get
	w.requests.Add(1)
	if _, _, err := logsite.Submit(c, w.url, s); err != nil {
		time.Sleep(100 * time.Millisecond)
	}
}

// bombs are .crates of half a megabyte with 500 MB in them, and proofs that hold.
func bombs() ([]logsite.Submission, error) {
	f, err := forge.Default()
	if err != nil {
		return nil, err
	}
	small, e, err := f.Crate("small", "1.0.0", "")
	if err != nil {
		return nil, err
	}
	list, err := forge.List(small, e) // of another .crate: that is found out after this one is read
	if err != nil {
		return nil, err
	}
	content := strings.Repeat("\n", 1_000_000)
	var subs []logsite.Submission
	for i := range 4 {
		name := fmt.Sprintf("bomb-%d", i)
		files := []forge.File{forge.Manifest(name, "1.0.0")}
		for j := range 500 {
			files = append(files, forge.File{Path: fmt.Sprintf("src/%d.rs", j), Content: content})
		}
		raw, err := forge.Pack(name, "1.0.0", files...)
		if err != nil {
			return nil, err
		}
		e := &entry.Entry{Subject: entry.Subject{Registry: entry.DefaultRegistry, Name: name, Version: "1.0.0",
			SHA256: sha256.Sum256(raw)}, Claim: &entry.Source{Commit: sha1.Sum([]byte(name))}}
		if err := f.Prove(e, list); err != nil {
			return nil, err
		}
		b, err := e.Marshal()
		if err != nil {
			return nil, err
		}
		s, err := logsite.NewSubmission(b, raw)
		if err != nil {
			return nil, err
		}
		subs = append(subs, s)
	}
	return subs, nil
}

func bomb(w work) { send(w, w.subs[(w.n+w.k)%len(w.subs)]) }
