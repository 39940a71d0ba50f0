package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

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

// Failed says whether any check failed.
func (c *Checks) Failed() bool {
	for _, k := range c.all {
		if !k.OK {
			return true
		}
	}
	return false
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

// Free checks that an address can be listened on.
func Free(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return l.Close()
}
