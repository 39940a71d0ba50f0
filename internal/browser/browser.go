// Package browser drives a headless Chromium for tests: it opens pages at a width and in a color
// scheme, looks at them, and tells what is wrong with them. It speaks the DevTools protocol over a pipe, so
// that nothing listens on a port. The browser resolves no name but loopback's addresses.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Program is what Start runs.
const Program = "chromium"

// patience is for one answer of the browser. Machines that run many tests are slow.
const patience = 2 * time.Minute

// Browser is one running browser. Its methods may be called from several goroutines.
type Browser struct {
	ctx  context.Context
	cmd  *exec.Cmd
	in   *os.File
	dir  string        // profile
	done chan struct{} // closed when nothing more can be read

	mu      sync.Mutex // protects what follows, and writes to in
	last    int
	waiting map[int]chan message
	pages   map[string]*Page // by session: a page's own, and those of its workers
}

// message is one of the protocol, in either direction.
type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  any             `json:"params,omitempty"`
	Raw     json.RawMessage `json:"-"` // params of an event
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// Start starts a browser with a new profile. It ends with Close, or with ctx.
func Start(ctx context.Context) (*Browser, error) {
	dir, err := os.MkdirTemp("", "cratelog-browser-")
	if err != nil {
		return nil, err
	}
	b := &Browser{ctx: ctx, dir: dir, done: make(chan struct{}),
		waiting: map[int]chan message{}, pages: map[string]*Page{}}
	args := []string{"--headless", "--remote-debugging-pipe", "--user-data-dir=" + dir, "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-gpu",
		"--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb",
		"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // which Chromium refuses to do without for root
	}
	theirs, in, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, theirs.Close(), in.Close(), os.RemoveAll(dir))
	}
	b.in = in
	b.cmd = exec.CommandContext(ctx, Program, args...)
	b.cmd.ExtraFiles = []*os.File{theirs, theirOut} // 3 and 4, as the pipe wants them
	err = b.cmd.Start()
	theirs.Close()
	theirOut.Close()
	if err != nil {
		return nil, errors.Join(err, in.Close(), out.Close(), os.RemoveAll(dir))
	}
	go b.read(out)
	return b, nil
}

// Close ends the browser and removes its profile.
func (b *Browser) Close() error {
	_ = b.call("", "Browser.close", nil, nil) // or it goes when its pipe does
	b.in.Close()
	select {
	case <-b.done:
	case <-time.After(20 * time.Second):
		_ = b.cmd.Process.Kill()
	}
	_ = b.cmd.Wait() // how it ends is its own affair
	var err error
	for range 50 { // its children may still write
		if err = os.RemoveAll(b.dir); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// read hands what the browser says to whom it concerns. Messages end with a zero byte.
func (b *Browser) read(out *os.File) {
	defer close(b.done)
	defer out.Close()
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			message
			Params json.RawMessage `json:"params"`
		}
		if json.Unmarshal(bytes.TrimSuffix(line, []byte{0}), &m) != nil {
			continue
		}
		m.Raw = m.Params
		b.mu.Lock()
		answer, page := b.waiting[m.ID], b.pages[m.Session]
		delete(b.waiting, m.ID)
		b.mu.Unlock()
		switch {
		case m.Method == "" && answer != nil:
			answer <- m.message
		case m.Method != "" && page != nil:
			page.event(m.message)
		}
	}
}

// send sends a command and returns where its answer will be.
func (b *Browser) send(session, method string, params any) (chan message, error) {
	answer := make(chan message, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	text, err := json.Marshal(message{ID: b.last, Session: session, Method: method, Params: params})
	if err != nil {
		return nil, err
	}
	b.waiting[b.last] = answer
	_, err = b.in.Write(append(text, 0))
	return answer, err
}

// call sends a command and waits for its answer, which is decoded to result unless that is nil.
func (b *Browser) call(session, method string, params, result any) error {
	answer, err := b.send(session, method, params)
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m := <-answer:
		switch {
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-b.done:
		return fmt.Errorf("%s: the browser has ended", method)
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("%s: no answer in %v", method, patience)
	}
}

// object is a JSON object.
type object = map[string]any
