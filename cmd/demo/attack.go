package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"

	"cratelog/internal/loopback"
)

func checksum(crate []byte) [32]byte { return sha256.Sum256(crate) }

// oneCosignature drops all witnesses' lines but those of the first.
func oneCosignature(bundle []byte) []byte {
	var out []string
	keep := ""
	for line := range strings.Lines(string(bundle)) {
		if name, ok := strings.CutPrefix(line, "— "); ok && !strings.HasPrefix(name, origin+" ") {
			name, _, _ = strings.Cut(name, " ")
			if keep == "" {
				keep = name
			}
			if name != keep {
				continue
			}
		}
		out = append(out, line)
	}
	return []byte(strings.Join(out, ""))
}

// askWitness sends a checkpoint to a witness as an extension of the tree it
// cosigned last, without a proof, and expects to be refused. A witness that the log
// did not need yet is behind; it is asked for the size that it has.
func (s *story) askWitness(w loopback.Witness, size int64, checkpoint []byte) (string, error) {
	ask := func(old string) (int, string, error) {
		body := fmt.Sprintf("old %s\n\n%s", old, checkpoint)
		r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, w.URL+"/add-checkpoint", strings.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return resp.StatusCode, strings.TrimSpace(string(text)), err
	}
	status, text, err := ask(fmt.Sprint(size))
	if err == nil && status == http.StatusConflict {
		status, text, err = ask(text)
	}
	if err != nil {
		return "", err
	}
	if status == http.StatusOK {
		return "", fmt.Errorf("%s cosigned the fork", w.Name)
	}
	return fmt.Sprintf("%s refuses (HTTP %d): %s", w.Name, status, text), nil
}
