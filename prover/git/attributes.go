package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Attributes returns what git makes of files, of the attributes named, by path and name: as the
// .gitattributes of the commit say, and info/attributes of the repository. What is not set is
// left out.
func (s *Snapshot) Attributes(ctx context.Context, paths []string,
	names ...string) (map[string]map[string]string, error) {
	index, err := s.attributeFiles(ctx, paths)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "cratelog-index-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	at, err := Run(ctx, s.repo.dir, "rev-parse", "--absolute-git-dir")
	if err != nil {
		return nil, err
	}
	// A work tree and an index with nothing but those files in it: git before 2.40 takes no commit.
	env := append(Environment(os.Environ()), "GIT_DIR="+strings.TrimRight(at, "\r\n"), "GIT_WORK_TREE="+tmp,
		"GIT_INDEX_FILE="+filepath.Join(tmp, "index"), "GIT_ATTR_NOSYSTEM=1")
	if _, err := runWith(ctx, tmp, env, index, "update-index", "-z", "--index-info"); err != nil {
		return nil, err
	}
	args := append([]string{"-c", "core.attributesFile=" + os.DevNull,
		"check-attr", "--cached", "-z", "--stdin"}, names...)
	out, err := runWith(ctx, tmp, env, strings.Join(paths, "\x00")+"\x00", args...)
	if err != nil {
		return nil, err
	}
	found := map[string]map[string]string{}
	for f := strings.Split(out, "\x00"); len(f) >= 3; f = f[3:] {
		if f[2] == "unspecified" {
			continue
		}
		if found[f[0]] == nil {
			found[f[0]] = map[string]string{}
		}
		found[f[0]][f[1]] = f[2]
	}
	return found, nil
}

// attributeFiles lists the .gitattributes above some paths, as update-index --index-info reads it.
func (s *Snapshot) attributeFiles(ctx context.Context, paths []string) (string, error) {
	var index strings.Builder
	seen := map[string]bool{}
	for _, p := range paths {
		for dir := p; dir != ""; {
			dir = strings.TrimSuffix(parent(dir), "/")
			if seen[dir] {
				break
			}
			seen[dir] = true
			at := path.Join(dir, ".gitattributes")
			e, err := s.Entry(ctx, at)
			if errors.As(err, new(*NotFoundError)) || errors.As(err, new(*NotDirectoryError)) {
				continue
			} else if err != nil {
				return "", err
			}
			if e.Mode == ModeFile || e.Mode == ModeExecutable {
				fmt.Fprintf(&index, "%s %x\t%s\x00", e.Mode, e.ID, at)
			}
		}
	}
	return index.String(), nil
}

// parent returns the directory of a path, with a slash at its end; "" for the root.
func parent(p string) string {
	dir, _ := path.Split(p)
	return dir
}
