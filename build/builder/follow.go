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
	c, err := checkpoint(ctx, f.Log, f.Policy)
	if err != nil {
		return nil, err
	}
	next, err := f.next(c.Size)
	if err != nil {
		return nil, err
	}
	if next > c.Size {
		return nil, fmt.Errorf("the log at %s shows %d entries, and %d were followed: it is another log, or an old state "+
			"of it",
			f.Log.URL, c.Size, next)
	}
	end := min(c.Size, next+maxFollowed)
	err = walk(ctx, f.Log, c, next, end, func(_ uint64, e *entry.Entry) error {
		if _, ok := e.Claim.(*entry.Source); !ok || e.Subject.Registry != f.Registry {
			return nil
		}
		p := Program{Name: e.Subject.Name, Version: e.Subject.Version}
		return os.MkdirAll(filepath.Join(f.Dir, p.dir()), 0o700)
	})
	if err != nil {
		return nil, err
	}
	if err := durable.Write(filepath.Join(f.Dir, followedFile), fmt.Appendf(nil, "%d\n", end), 0o600); err != nil {
		return nil, err
	}
	return listed(f.Dir)
}

// checkpoint returns a log's latest checkpoint, if the policy believes it, and its tree ends in a seal or is empty.
func checkpoint(ctx context.Context, log *client.Log, policy *client.Policy) (client.Checkpoint, error) {
	signed, err := log.Checkpoint(ctx)
	if err != nil {
		return client.Checkpoint{}, fmt.Errorf("reading the log at %s: %w", log.URL, err)
	}
	c, err := policy.CheckCheckpoint(signed)
	if err == nil {
		err = log.Tiles(c).Sealed(ctx)
	}
	if err != nil {
		return client.Checkpoint{}, fmt.Errorf("reading the log at %s: %w", log.URL, err)
	}
	return c, nil
}

// walk calls f for the entries of a log's tree from an index up to another one. What is no entry is a
// monitor's affair, and left out.
func walk(ctx context.Context, log *client.Log, c client.Checkpoint, from, to int64,
	f func(uint64, *entry.Entry) error) error {
	tiles := log.Tiles(c)
	for i := from; i < to; i++ {
		part, err := tiles.Part(ctx, uint64(i))
		if err != nil {
			return fmt.Errorf("reading the log at %s: %w", log.URL, err)
		}
		e, err := entry.Parse(part.Entry)
		if err != nil {
			continue
		}
		if err := f(uint64(i), e); err != nil {
			return err
		}
	}
	return nil
}

// A Said is what a build entry of a log says, of which crate.
type Said struct {
	Subject entry.Subject
	client.BuildRow
}

// AllBuilds reads a whole log, and calls f for each build entry. So the log learns nothing about what is
// looked for. It returns how many entries there are.
func AllBuilds(ctx context.Context, log *client.Log, policy *client.Policy, f func(Said) error) (int64, error) {
	c, err := checkpoint(ctx, log, policy)
	if err != nil {
		return 0, err
	}
	return c.Size, walk(ctx, log, c, 0, c.Size, func(index uint64, e *entry.Entry) error {
		row, ok, err := rowOf(index, e)
		if err != nil || !ok {
			return err
		}
		return f(Said{e.Subject, row})
	})
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
