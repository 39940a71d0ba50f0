package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// maxModules bounds a .gitmodules, in bytes.
const maxModules = 256 << 10

// Modules returns what .gitmodules of the commit says: the URLs of submodules by their paths. Nothing
// of it is to be believed; an URL may be an option, a command, or relative.
func (s *Snapshot) Modules(ctx context.Context) (map[string]string, error) {
	e, err := s.Entry(ctx, ".gitmodules")
	if errors.As(err, new(*NotFoundError)) || err == nil && e.Mode != ModeFile && e.Mode != ModeExecutable {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	content, err := s.Blob(ctx, e.ID, maxModules)
	if err != nil {
		return nil, fmt.Errorf(".gitmodules: %w", err)
	}
	// git reads its own format; of a file that is given to it, it follows no include.
	out, err := runWith(ctx, os.TempDir(), Environment(os.Environ()), string(content), "config", "--file", "-",
		"--no-includes", "--null", "--list")
	if err != nil {
		return nil, fmt.Errorf(".gitmodules of commit %x: %w", s.Commit.ID, err)
	}
	paths, urls := map[string]string{}, map[string]string{} // by name
	for item := range strings.SplitSeq(out, "\x00") {
		key, value, _ := strings.Cut(item, "\n")
		name, ok := strings.CutPrefix(key, "submodule.")
		if path, is := strings.CutSuffix(name, ".path"); ok && is {
			paths[path] = value
		} else if url, is := strings.CutSuffix(name, ".url"); ok && is {
			urls[url] = value
		}
	}
	found := map[string]string{}
	for name, path := range paths {
		found[strings.TrimSuffix(path, "/")] = urls[name]
	}
	return found, nil
}
