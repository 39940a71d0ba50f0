package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"cratelog/internal/sqlite"
)

// Subscription is an endpoint that is told of new entries and findings about crates.
type Subscription struct {
	ID     int64
	Token  string // ends it
	Secret []byte // key of the signatures
	Prefix string // of the crates' names, folded
	Exact  bool   // of crates of that name only
	URL    string
	Added  time.Time

	Finding  int64     // findings up to this id were told
	Failing  time.Time // since when the endpoint does not take them; zero if it does
	Attempts int       // that have failed in a row
	NextTry  time.Time
}

const selectSubscription = "SELECT id, token, secret, prefix, exact, url, added, finding, failing, attempts, next_try FROM subscriptions "

func scanSubscription(r scanner) (Subscription, error) {
	var s Subscription
	return s, r.Scan(&s.ID, &s.Token, &s.Secret, &s.Prefix, &s.Exact, &s.URL, moment{&s.Added}, &s.Finding,
		moment{&s.Failing}, &s.Attempts, moment{&s.NextTry})
}

// ErrSubscribed: there is a subscription of these crates for this address already.
var ErrSubscribed = errors.New("this address is subscribed to these crates already")

// ErrTooMany: there are as many subscriptions as there may be.
var ErrTooMany = errors.New("this monitor takes no more subscriptions")

// Subscribe remembers a subscription, which is told of what is verified and found from now on. There are at
// most limit of them. It returns ErrSubscribed or ErrTooMany.
func (s *Store) Subscribe(ctx context.Context, x Subscription, limit int) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		var all, same int
		err := tx.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(prefix = ? AND exact = ? AND url = ?), 0) FROM subscriptions",
			x.Prefix, x.Exact, x.URL).Scan(&all, &same)
		switch {
		case err != nil:
			return err
		case same > 0:
			return ErrSubscribed
		case all >= limit:
			return ErrTooMany
		}
		r, err := tx.ExecContext(ctx, "INSERT INTO subscriptions (token, secret, prefix, exact, url, added, finding, failing, "+
			"attempts, next_try) VALUES (?,?,?,?,?,?,(SELECT coalesce(max(id), 0) FROM findings),0,0,0)",
			x.Token, x.Secret, x.Prefix, x.Exact, x.URL, millis(x.Added))
		if err != nil {
			return err
		}
		id, err := r.LastInsertId()
		if err != nil {
			return err
		}
		return exec(ctx, tx, "INSERT INTO subscription_logs (subscription, log, next) SELECT ?, id, verified FROM logs", id)
	})
}

// SubscriptionByToken returns the subscription that a token ends, and whether there is one.
func (r *Reader) SubscriptionByToken(ctx context.Context, token string) (Subscription, bool, error) {
	return sqlite.One(ctx, r.read, scanSubscription, selectSubscription+"WHERE token = ?", token)
}

// DueSubscriptions returns the subscriptions that do not wait.
func (r *Reader) DueSubscriptions(ctx context.Context, now time.Time) ([]Subscription, error) {
	return sqlite.All(ctx, r.read, scanSubscription, selectSubscription+
		"WHERE next_try <= ? OR next_try > ? ORDER BY next_try, id", millis(now), millis(now.Add(longestWait)))
}

// Subscriptions returns all subscriptions.
func (r *Reader) Subscriptions(ctx context.Context) ([]Subscription, error) {
	return sqlite.All(ctx, r.read, scanSubscription, selectSubscription+"ORDER BY id")
}

// CountSubscriptions returns how many subscriptions there are.
func (r *Reader) CountSubscriptions(ctx context.Context) (n int64, err error) {
	return n, r.read.QueryRowContext(ctx, "SELECT count(*) FROM subscriptions").Scan(&n)
}

// Unsubscribe forgets a subscription, and says whether there was one.
func (s *Store) Unsubscribe(ctx context.Context, token string) (bool, error) {
	var found bool
	err := s.tx(ctx, func(tx *sql.Tx) error {
		err := exec(ctx, tx, "DELETE FROM subscription_logs WHERE subscription = (SELECT id FROM subscriptions WHERE token = ?)", token)
		if err != nil {
			return err
		}
		n, err := change(ctx, tx, "DELETE FROM subscriptions WHERE token = ?", token)
		found = n > 0
		return err
	})
	return found, err
}

// News is what a subscription is to be told next.
type News struct {
	Entries  []Entry // verified
	Findings []Finding
	More     bool // there is more behind it
	Moved    bool // much was looked through, so that it is worth noting even if it held nothing

	upTo    map[int64]int64 // by log
	finding int64
}

// News returns at most limit entries and as many findings that a subscription was not told yet.
func (r *Reader) News(ctx context.Context, x Subscription, limit int) (News, error) {
	n := News{upTo: make(map[int64]int64), finding: x.Finding}
	logs, err := r.Logs(ctx)
	if err != nil {
		return n, err
	}
	where, args := byFold(x.Prefix, x.Exact)
	for _, l := range logs {
		p, err := r.Position(ctx, l.ID)
		if err != nil {
			return n, err
		}
		next := int64(0)
		err = r.read.QueryRowContext(ctx, "SELECT coalesce((SELECT next FROM subscription_logs WHERE subscription = ? AND log = ?), 0)",
			x.ID, l.ID).Scan(&next)
		if err != nil {
			return n, err
		}
		left := limit - len(n.Entries)
		found, err := sqlite.All(ctx, r.read, scanEntry, selectEntry+"WHERE log = ? AND idx >= ? AND idx < ? AND +"+where+
			" ORDER BY idx LIMIT ?", append(append([]any{l.ID, next, p.Verified}, args...), left+1)...)
		if err != nil {
			return n, err
		}
		n.upTo[l.ID] = p.Verified
		n.Moved = n.Moved || p.Verified-next >= 1000
		if len(found) > left {
			n.More, n.upTo[l.ID], found = true, found[left].Index, found[:left]
		}
		n.Entries = append(n.Entries, found...)
	}
	// First how far, then what: a finding that is recorded in between is told with the next.
	if err := r.read.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM findings").Scan(&n.finding); err != nil {
		return n, err
	}
	n.Findings, err = sqlite.All(ctx, r.read, scanFinding, selectFinding+"WHERE f.id > ? AND f.id <= ? AND +"+where+
		" ORDER BY f.id LIMIT ?", append(append([]any{x.Finding, n.finding}, args...), limit)...)
	if len(n.Findings) == limit {
		n.More, n.finding = true, n.Findings[limit-1].ID
	}
	return n, err
}

// Told notes that a subscription's endpoint has taken news, or that there were none.
func (s *Store) Told(ctx context.Context, x Subscription, n News) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		for log, next := range n.upTo {
			if err := exec(ctx, tx, "INSERT OR REPLACE INTO subscription_logs (subscription, log, next) SELECT id, ?, ? FROM "+
				"subscriptions WHERE id = ? AND token = ?", log, next, x.ID, x.Token); err != nil {
				return err
			}
		}
		return exec(ctx, tx, "UPDATE subscriptions SET finding = ?, failing = 0, attempts = 0, next_try = 0 WHERE id = ? AND "+
			"token = ?", n.finding, x.ID, x.Token)
	})
}

// NotTold notes that an endpoint did not take news, since when, and when to try again.
func (s *Store) NotTold(ctx context.Context, x Subscription, since, next time.Time) error {
	return exec(ctx, s.write, "UPDATE subscriptions SET failing = ?, attempts = attempts + 1, next_try = ? WHERE id = ? AND "+
		"token = ?", millis(since), millis(next), x.ID, x.Token)
}
