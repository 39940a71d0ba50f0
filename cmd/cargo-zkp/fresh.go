package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cratelog/cargo"
	"cratelog/cargo/verdict"
	"cratelog/internal/durable"
)

// freshLock sees to it that Cargo.lock is what cargo would build from: it asks cargo. With
// --locked a lock file that cargo would change is an error, and so is one of which that cannot
// be found out; otherwise cargo changes it, or it is said that it could not. Where there is no
// lock file, planLock goes on.
func freshLock(ctx context.Context, sh *shell, b believe, o lockOptions) error {
	ws, err := workspace(o.manifestPath)
	if err != nil {
		return err
	}
	text, err := readFile(ws.LockPath, cargo.MaxLock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	memo, state := freshMemo(ws, text)
	if known, err := durable.Read(memo, int64(len(state))); err == nil && state != "" && string(known) == state {
		return nil
	}
	if known, err := askFresh(ctx, sh, b, o, ws); err != nil || !known {
		return err
	}
	// Not if cargo changed it: the next time finds out about the new one.
	after, err := readFile(ws.LockPath, cargo.MaxLock)
	if err != nil || string(after) != string(text) || state == "" {
		return err
	}
	if err := durable.WriteCache(memo, []byte(state)); err != nil {
		sh.Warn("cargo will be asked about %s again next time: %v", shorten(ws.LockPath), err)
	}
	return nil
}

// askFresh asks cargo, at first without the network; known says whether cargo could tell.
func askFresh(ctx context.Context, sh *shell, b believe, o lockOptions, ws *cargo.Workspace) (known bool, err error) {
	update := func(more ...string) error {
		return callCargo(ctx, "cargo update", append([]string{"update", "--workspace", "--manifest-path",
			ws.Manifest}, more...)...)
	}
	if err = update("--locked", "--offline"); err == nil {
		return true, nil
	}
	switch {
	case o.locked && !b.offline:
		err = update("--locked") // it may know too little of a registry to tell
	case !o.locked && b.offline:
		err = update("--offline")
	case !o.locked:
		sh.Status("Running", "cargo update --workspace, which brings %s up to date", shorten(ws.LockPath))
		err = update()
		if err != nil && ctx.Err() == nil && o.afresh && fromDirectory(ws) {
			err = runAfresh(ctx, sh, "update", "--workspace", "--manifest-path", ws.Manifest)
		}
	}
	if err == nil || ctx.Err() != nil {
		return true, ctx.Err()
	}
	if !o.locked {
		sh.Warn("cargo could not bring %s up to date, so it may build other crates than are looked at here: %v",
			shorten(ws.LockPath), err)
		return false, nil
	}
	return false, fmt.Errorf("%s is not up to date, or cargo cannot tell whether it is, and --locked forbids to "+
		"change it\n%w", shorten(ws.LockPath), err)
}

// fromDirectory says whether cargo is configured to take the default registry's crates from a
// directory, which has no newer ones.
func fromDirectory(ws *cargo.Workspace) bool {
	home, err := cargo.Home()
	if err != nil {
		return false
	}
	cfg, err := cargo.LoadConfig(ws.Root, home)
	if err != nil {
		return false
	}
	from, err := cfg.Default()
	return err == nil && from.Kind == "directory"
}

// freshMemo names the file that says in which state cargo last found a workspace's lock file to
// be up to date, and the state that it is in now: a hash over the lock file, the manifests,
// cargo's configuration, which cargo it is, and where git indexes stand: once one has moved, cargo
// reads other lines than its cache has, until it is asked. It is "" if that cannot be told.
func freshMemo(ws *cargo.Workspace, lock []byte) (path, state string) {
	cache, _, err := verdict.Dirs()
	if err != nil {
		return "", ""
	}
	home, err := cargo.Home()
	if err != nil {
		return "", ""
	}
	h := sha256.New()
	fmt.Fprintf(h, "cratelog/fresh/v2\n%q %x %q\n", cargoBin(), ws.Digest, home)
	for _, dir := range []string{ws.Root, "."} {
		cfg, err := cargo.LoadConfig(dir, home)
		if err != nil || len(cfg.All("patch")) > 0 { // whose manifests are not among those
			return "", ""
		}
		fmt.Fprintf(h, "%x\n", cfg.Digest())
	}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		cargos := strings.HasPrefix(name, "CARGO_") || strings.HasPrefix(name, "RUSTUP_")
		if cargos && name != "CARGO_MAKEFLAGS" && !strings.HasSuffix(name, "_TOKEN") {
			fmt.Fprintf(h, "%q\n", v)
		}
	}
	heads, err := cargo.IndexHeads(home)
	if err != nil {
		return "", ""
	}
	fmt.Fprintf(h, "%q\n", heads)
	h.Write(lock)
	file := fmt.Sprintf("%x", sha256.Sum256([]byte(ws.Manifest)))
	return filepath.Join(cache, "locks", file), fmt.Sprintf("%x\n", h.Sum(nil))
}
