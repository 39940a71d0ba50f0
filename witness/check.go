package witness

import (
	"context"
	"fmt"
)

// Check looks at what Open looks at, and writes nothing: the witness may be running. say hears each
// outcome. That the database is no older copy, only Open can tell.
func Check(ctx context.Context, cfg Config, say func(name string, err error)) {
	w := &Witness{name: cfg.Name}
	say("keys", w.addSigners(cfg.Name, cfg.Signers))
	_, err := watch(cfg.Logs)
	say("logs", err)
	say("database", checkDatabase(ctx, cfg))
}

// checkDatabase says whether the database is this witness's, and whether its states can be read.
func checkDatabase(ctx context.Context, cfg Config) error {
	db, err := database.Peek(ctx, cfg.DBPath)
	if err != nil {
		return err
	}
	s := &store{db: db, path: cfg.DBPath, name: cfg.Name}
	defer db.Close()
	if err := s.checkOwner(ctx, cfg.Name); err != nil {
		return fmt.Errorf("database %s: %w", cfg.DBPath, err)
	}
	_, err = s.states(ctx)
	return err
}
