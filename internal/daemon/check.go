package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// Checks are what the verb check of a program looks at before it is started. Nothing is written.
type Checks struct{ all []check }

type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"` // what is wrong, and what to do; or what was found
}

// Add records the outcome of a check.
func (c *Checks) Add(name string, err error) {
	if err != nil {
		c.all = append(c.all, check{Name: name, Text: err.Error()})
		return
	}
	c.all = append(c.all, check{Name: name, OK: true})
}

// Note records a good outcome with words.
func (c *Checks) Note(name, format string, args ...any) {
	c.all = append(c.all, check{name, true, fmt.Sprintf(format, args...)})
}

// Report prints all outcomes, for people or as JSON, and returns a refusal if a check failed.
func (c *Checks) Report(w io.Writer, asJSON bool) error {
	failed := 0
	for _, k := range c.all {
		if !k.OK {
			failed++
		}
	}
	var b strings.Builder
	for _, k := range c.all {
		word := "ok  "
		if !k.OK {
			word = "FAIL"
		}
		fmt.Fprintf(&b, "%s  %s\n", word, strings.TrimSuffix(k.Name+": "+strings.ReplaceAll(k.Text, "\n", "\n      "), ": "))
	}
	if asJSON {
		b.Reset()
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		err := enc.Encode(struct {
			OK     bool    `json:"ok"`
			Checks []check `json:"checks"`
		}{failed == 0, c.all})
		if err != nil {
			return err
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if failed > 0 {
		return outcome.Refusef("%d of %d checks failed", failed, len(c.all))
	}
	return nil
}

// Writable checks that a program could write in a directory, or make it if it is not there.
func Writable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := filepath.Dir(filepath.Clean(dir))
		if parent == dir {
			return err
		}
		if err := Writable(parent); err != nil {
			return fmt.Errorf("%s does not exist, and could not be made: %w", dir, err)
		}
		return nil
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	if err := mayWrite(dir); err != nil {
		return fmt.Errorf("this user cannot write in %s: %w", dir, err)
	}
	return nil
}

// Listen checks that an address can be listened on, or that who listens is ours: the program itself,
// running. ours looks at what it answers at a path.
func (c *Checks) Listen(ctx context.Context, name, address, path string, ours func(body []byte) bool) {
	l, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		err = l.Close()
	case ours(get(ctx, address, path)):
		c.Note(name, "it is running there")
		return
	}
	c.Add(name, err)
}

// get returns what a server at an address answers, or nothing.
func get(ctx context.Context, address, path string) []byte {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return nil
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, err := durable.ReadAll(resp.Body, 1<<20)
	if err != nil {
		return nil
	}
	return body
}
