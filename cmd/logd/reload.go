package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"

	"cratelog/build"
	"cratelog/internal/daemon"
	"cratelog/log"
	"cratelog/proofcheck"
)

// logLevel is what the program's one logger says at least.
var logLevel slog.LevelVar

func setLogLevel(debug bool) {
	logLevel.Set(slog.LevelInfo)
	if debug {
		logLevel.Set(slog.LevelDebug)
	}
}

// atStart are the settings that hold from the start to the end of the program.
var atStart = []string{"origin", "listen", "storage", "tree", "state", "shutdown_timeout", "log_format", "door.connections"}

// reloader takes over the settings file again.
type reloader struct {
	file     string
	accepted programs
	log      *log.Live
	fatal    context.CancelCauseFunc // ends the program
	lost     chan error              // gets why this process can be the sequencer no longer

	settings settings
	cfg      log.Config
}

// serve serves until ctx ends, and reloads at each signal.
func (r *reloader) serve(ctx context.Context, hup *daemon.Reloads, server *http.Server, l net.Listener) error {
	logger, deadline := r.cfg.Logger, r.settings.ShutdownTimeout.Duration
	ctx, r.fatal = context.WithCancelCause(ctx)
	var reloads sync.WaitGroup
	reloads.Go(func() { hup.OnReload(ctx, logger, r.reload) })
	reloads.Go(func() {
		select {
		case err := <-r.lost:
			r.fatal(err)
			server.Close() // nothing that is under way comes to a good end
		case <-ctx.Done():
		}
	})
	err := daemon.Serve(ctx, server, l, logger, deadline)
	cause := context.Cause(ctx)
	if errors.Is(cause, log.ErrLost) {
		return cause // a reload may be waiting for what this process has lost
	}
	r.fatal(nil)
	reloads.Wait()
	if errors.Is(cause, log.ErrDead) {
		err = errors.Join(err, cause)
	}
	return err
}

// reload takes over all of the settings, or nothing, and returns the names of those that changed.
func (r *reloader) reload(ctx context.Context) (changes []string, err error) {
	s, cfg, err := loadFor(r.file, r.cfg.ReadOnly)
	if err != nil {
		return nil, err
	}
	if cfg.Proofs, err = r.accepted(s.Programs, s.Development); err != nil {
		return nil, err
	}
	cfg.Logger, cfg.Problems = r.cfg.Logger, r.cfg.Problems
	if cfg.Cluster != nil && r.cfg.Cluster != nil {
		cfg.Cluster.Lost = r.cfg.Cluster.Lost
	}
	changes = changed(&r.settings, &s, &r.cfg, &cfg)
	for _, name := range changes {
		if slices.Contains(atStart, name) || strings.HasPrefix(name, "s3.") || strings.HasPrefix(name, "cluster.") {
			return nil, fmt.Errorf("%s: %s changed: that needs a restart", r.file, name)
		}
	}
	if slices.ContainsFunc(changes, func(name string) bool { return name != "debug" }) {
		if err := r.log.Reload(ctx, cfg); err != nil {
			if errors.Is(err, log.ErrDead) {
				r.fatal(err)
			}
			return nil, err
		}
	}
	setLogLevel(s.Debug)
	r.settings, r.cfg = s, cfg
	return changes, nil
}

// changed names the settings that differ, and those whose files do.
func changed(oldSettings, newSettings *settings, old, next *log.Config) (names []string) {
	differ(reflect.ValueOf(*oldSettings), reflect.ValueOf(*newSettings), "", &names)
	add := func(name string, is bool) {
		if is && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add("keys", !slices.Equal(vkeys(old), vkeys(next)))
	add("trust", !bytes.Equal(old.Policy, next.Policy))
	add("programs", !slices.Equal(programIDs(old.Proofs), programIDs(next.Proofs)))
	add("builds.sets", !slices.EqualFunc(old.Builds.Sets, next.Builds.Sets,
		func(a, b *build.Set) bool { return a.Root() == b.Root() && a.Name == b.Name }))
	if a, b := old.Cluster, next.Cluster; a != nil && b != nil {
		add("cluster.database_file", a.Tree.Database != b.Tree.Database)
		add("cluster.memory_file", a.Memory != b.Memory)
		add("cluster.secret_file", !bytes.Equal(a.Secret, b.Secret))
		add("s3.credentials_file", a.Tree.AccessKey != b.Tree.AccessKey || a.Tree.SecretKey != b.Tree.SecretKey)
	}
	add("registry", !reflect.DeepEqual(old.Registries, next.Registries))
	slices.Sort(names)
	return names
}

func vkeys(cfg *log.Config) []string {
	all := []string{cfg.VKey}
	for _, k := range cfg.MoreKeys {
		all = append(all, k.VKey)
	}
	return all
}

func programIDs(p log.Proofs) (ids [][32]byte) {
	for _, program := range p.Programs() {
		ids = append(ids, proofcheck.Program.ID(program))
	}
	return ids
}

// differ adds the names of the settings below prefix that differ.
func differ(a, b reflect.Value, prefix string, names *[]string) {
	for i := range a.NumField() {
		field := a.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
		switch {
		case name == "-" || !field.IsExported() && !field.Anonymous:
		case field.Anonymous && name == "":
			differ(a.Field(i), b.Field(i), prefix, names)
		case field.Type.Kind() == reflect.Struct && field.Type.NumField() > 1:
			differ(a.Field(i), b.Field(i), prefix+name+".", names)
		case !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()):
			*names = append(*names, prefix+name)
		}
	}
}
