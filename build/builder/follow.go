package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
)

// maxFollowed bounds the entries that are looked at in one round.
const maxFollowed = 1 << 16

// A Follower finds the programs to rebuild in a log: the versions with a source claim. Which of them have a
// binary shows when they are rebuilt.
type Follower struct {
	Log      *client.Log
	Policy   *client.Policy // with which the log is believed
	Registry string         // of the crates, as in entry.Subject; others are left alone
	Dir      string         // that of Config
	From     int64          // where to begin the first time; negative: with what is logged from now on
}

// followedFile holds the index of the first entry that was not looked at yet.
const followedFile = "FOLLOWED"

// Programs looks at the entries that are new, makes a directory for each of their versions, and returns the
// programs of all directories. The place in the log is kept once the directories are there.
func (f *Follower) Programs(ctx context.Context) ([]Program, error) {
	signed, err := f.Log.Checkpoint(ctx)
	if err != nil {
		return nil, fmt.Errorf("following the log at %s: %w", f.Log.URL, err)
	}
	c, err := f.Policy.CheckCheckpoint(signed)
	if err != nil {
		return nil, fmt.Errorf("following the log at %s: %w", f.Log.URL, err)
	}
	next, err := f.next(c.Size)
	if err != nil {
		return nil, err
	}
	if next > c.Size {
		return nil, fmt.Errorf("the log at %s shows %d entries, and %d were followed: it is another log, or an old state of it",
			f.Log.URL, c.Size, next)
	}
	tiles := f.Log.Tiles(c)
	for end := min(c.Size, next+maxFollowed); next < end; next++ {
		part, err := tiles.Part(ctx, uint64(next))
		if err != nil {
			return nil, fmt.Errorf("following the log at %s: %w", f.Log.URL, err)
		}
		e, err := entry.Parse(part.Entry)
		if err != nil {
			continue // a monitor's affair
		}
		if _, ok := e.Claim.(*entry.Source); ok && e.Subject.Registry == f.Registry {
			p := Program{Name: e.Subject.Name, Version: e.Subject.Version}
			if err := os.MkdirAll(filepath.Join(f.Dir, p.dir()), 0o700); err != nil {
				return nil, err
			}
		}
	}
	if err := durable.Write(filepath.Join(f.Dir, followedFile), fmt.Appendf(nil, "%d\n", next), 0o600); err != nil {
		return nil, err
	}
	return listed(f.Dir)
}

// next returns where to go on.
func (f *Follower) next(size int64) (int64, error) {
	path := filepath.Join(f.Dir, followedFile)
	text, err := durable.Read(path, 64)
	if errors.Is(err, fs.ErrNotExist) {
		if f.From < 0 {
			return size, nil
		}
		return f.From, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(string(text), "\n"), 10, 63)
	if err != nil || fmt.Sprintf("%d\n", n) != string(text) || n > math.MaxInt64 {
		return 0, fmt.Errorf("%s is not the index of an entry: write there at which to go on", path)
	}
	return int64(n), nil
}

// listed returns the programs that have a directory.
func listed(dir string) ([]Program, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []Program
	for _, e := range entries {
		parts := strings.SplitN(e.Name(), "@", 3)
		if !e.IsDir() || len(parts) < 2 {
			continue
		}
		p := Program{Name: parts[0], Version: parts[1]}
		err := errors.Join(entry.CheckName(p.Name), entry.CheckVersion(p.Version))
		if len(parts) == 3 {
			p.Binary = parts[2]
			err = errors.Join(err, entry.CheckBinary(p.Binary))
		}
		if err == nil {
			all = append(all, p)
		}
	}
	return all, nil
}
