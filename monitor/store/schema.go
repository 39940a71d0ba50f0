package store

// schema: times are milliseconds since 1970, 0 for never; hashes and ids are raw
// bytes; "log" is logs.id. Rows are never deleted but for entries above the
// verified size with their builds (RewindEntries), watches, subscriptions, authorizations, registry retries, and openings
// that are not served any more before they were checked.
const schema = `
CREATE TABLE logs (
	id            INTEGER PRIMARY KEY,
	origin        TEXT NOT NULL UNIQUE,
	vkeys         TEXT NOT NULL,              -- every key ever trusted, one a line
	url           TEXT NOT NULL,
	added         INTEGER NOT NULL,
	downloaded    INTEGER NOT NULL DEFAULT 0, -- entries in the table entries
	verified      INTEGER NOT NULL DEFAULT 0, -- of them, those that gave a signed root
	verified_root BLOB NOT NULL,
	verified_range BLOB NOT NULL,             -- roots of the perfect subtrees, left to right
	sealed        INTEGER NOT NULL DEFAULT 0, -- of the verified leaves, those that the map was made of, and seals compared
	map_root      BLOB NOT NULL DEFAULT x'',  -- of the map of those leaves; '' of none
	wrong_seal    INTEGER NOT NULL DEFAULT -1, -- index from which on no seal agreed with the map; -1: the last one did
	registry      INTEGER NOT NULL DEFAULT 0, -- entries compared with the registry
	recheck       INTEGER NOT NULL DEFAULT 0, -- of them, those compared again; -1 when it is not time to
	recheck_began INTEGER NOT NULL DEFAULT 0, -- when comparing again began
	openings      INTEGER NOT NULL DEFAULT 0, -- entries whose opening the log was asked for
	reopen        INTEGER NOT NULL DEFAULT 0, -- of them, those asked for again; -1 when it is not time to
	reopen_began  INTEGER NOT NULL DEFAULT 0  -- when asking again began
) STRICT;

CREATE TABLE entries (
	id         INTEGER PRIMARY KEY,
	log        INTEGER NOT NULL REFERENCES logs(id),
	idx        INTEGER NOT NULL,
	leaf_hash  BLOB NOT NULL,
	identity   BLOB NOT NULL,    -- zeros if the entry does not parse, as all below
	name       TEXT NOT NULL,
	version    TEXT NOT NULL,
	sha256     BLOB NOT NULL,
	kind       TEXT NOT NULL,    -- of the claim; of what is no entry: 'seal', 'start', 'void-seal' or 'void-start'
	commit_id  BLOB NOT NULL,
	path       TEXT NOT NULL,    -- in the repository
	unproven   TEXT NOT NULL,    -- JSON list of paths, '' for none
	links      INTEGER NOT NULL, -- numbers of items
	submodules INTEGER NOT NULL,
	outside    INTEGER NOT NULL,
	workspace  INTEGER NOT NULL, -- 1: Cargo.toml derives from a workspace's manifest too
	program    BLOB NOT NULL,
	logged     INTEGER NOT NULL, -- first time that witnesses put on a checkpoint with it
	covered    INTEGER NOT NULL, -- size of that checkpoint
	first_seen INTEGER NOT NULL,
	verdict    TEXT NOT NULL,    -- 'ok' or 'bad'
	reason     TEXT NOT NULL,    -- '' or a finding's kind
	detail     TEXT NOT NULL,
	registry   TEXT NOT NULL,    -- that the crate is published in, as the entry names it
	data       BLOB NOT NULL,
	UNIQUE (log, idx)
) STRICT;
CREATE INDEX entries_by_version  ON entries (name, version, log, idx);
CREATE INDEX entries_by_sha256   ON entries (sha256);
CREATE INDEX entries_by_commit   ON entries (commit_id);
CREATE INDEX entries_by_identity ON entries (identity, log, idx);
CREATE INDEX entries_by_leaf     ON entries (leaf_hash);
CREATE INDEX entries_by_time     ON entries (first_seen);
CREATE INDEX entries_with_reason ON entries (log, idx) WHERE reason != '';

-- Tiles of c2sp.org/tlog-tiles made of our own leaf hashes, the last ones partial.
CREATE TABLE tiles (
	log   INTEGER NOT NULL,
	level INTEGER NOT NULL,
	n     INTEGER NOT NULL,
	data  BLOB NOT NULL,
	PRIMARY KEY (log, level, n)
) STRICT;

CREATE TABLE checkpoints (
	id         INTEGER PRIMARY KEY,
	log        INTEGER NOT NULL REFERENCES logs(id),
	size       INTEGER NOT NULL,
	root       BLOB NOT NULL,
	signed     TEXT NOT NULL,    -- text, and every verified signature line that we saw
	source     TEXT NOT NULL,    -- who showed it first
	first_seen INTEGER NOT NULL,
	last_seen  INTEGER NOT NULL,
	verdict    TEXT NOT NULL,    -- 'consistent', 'inconsistent' or 'pending'
	accepted   INTEGER NOT NULL, -- 1: it satisfies the log's trust file
	witnessed  INTEGER NOT NULL, -- when the quorum cosigned, 0 if it did not
	UNIQUE (log, size, root)
) STRICT;
CREATE INDEX checkpoints_by_verdict ON checkpoints (log, verdict, size);
CREATE TABLE cosignatures (
	checkpoint INTEGER NOT NULL REFERENCES checkpoints(id),
	witness    TEXT NOT NULL,    -- name in the trust file
	key_name   TEXT NOT NULL,
	key_id     INTEGER NOT NULL,
	time       INTEGER NOT NULL, -- newest that we saw
	PRIMARY KEY (checkpoint, key_name, key_id)
) STRICT;

-- What each source (witness, mirror, the log itself) shows of each log.
CREATE TABLE views (
	log      INTEGER NOT NULL REFERENCES logs(id),
	source   TEXT NOT NULL,
	url      TEXT NOT NULL,
	size     INTEGER NOT NULL, -- of its last valid checkpoint, -1 if none
	root     BLOB NOT NULL,
	largest  INTEGER NOT NULL, -- size that it ever showed, -1 if none
	cosigned INTEGER NOT NULL, -- time of the witness's cosignature on it
	tried    INTEGER NOT NULL,
	seen     INTEGER NOT NULL, -- last valid answer
	changed  INTEGER NOT NULL, -- when its size last changed
	error    TEXT NOT NULL,    -- of the last try, '' if it was well
	failing  INTEGER NOT NULL, -- since when tries fail, 0 if they do not
	PRIMARY KEY (log, source)
) STRICT;

CREATE TABLE findings (
	id         INTEGER PRIMARY KEY,
	key        TEXT NOT NULL,
	log        INTEGER NOT NULL, -- 0: of no log
	kind       TEXT NOT NULL,
	class      TEXT NOT NULL,
	summary    TEXT NOT NULL,
	detail     TEXT NOT NULL,
	evidence   TEXT NOT NULL,    -- hex SHA-256 that names the file, '' for none
	idx        INTEGER NOT NULL, -- of an entry, -1 for none
	name       TEXT NOT NULL,
	version    TEXT NOT NULL,
	watch      INTEGER NOT NULL, -- 0: not a watch's
	first_seen INTEGER NOT NULL,
	last_seen  INTEGER NOT NULL,
	count      INTEGER NOT NULL,
	resolved   INTEGER NOT NULL, -- 0: it stands
	ack_by     TEXT NOT NULL,
	ack_why    TEXT NOT NULL,
	acked      INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX findings_standing ON findings (key) WHERE resolved = 0;
CREATE INDEX findings_by_class ON findings (class, resolved, id);
CREATE INDEX findings_by_crate ON findings (name, version) WHERE name != '';

CREATE TABLE deliveries (
	id       INTEGER PRIMARY KEY,
	finding  INTEGER NOT NULL REFERENCES findings(id),
	channel  TEXT NOT NULL,
	event    TEXT NOT NULL,    -- 'found' or 'resolved'
	state    TEXT NOT NULL,    -- 'pending', 'delivered' or 'dropped'
	attempts INTEGER NOT NULL,
	next_try INTEGER NOT NULL,
	error    TEXT NOT NULL,
	done     INTEGER NOT NULL,
	UNIQUE (finding, channel, event)
) STRICT;
CREATE INDEX deliveries_pending ON deliveries (channel, next_try) WHERE state = 'pending';

CREATE TABLE watches (
	id      INTEGER PRIMARY KEY,
	kind    TEXT NOT NULL,
	value   TEXT NOT NULL,
	channel TEXT NOT NULL,
	note    TEXT NOT NULL,
	added   INTEGER NOT NULL,
	UNIQUE (kind, value, channel)
) STRICT;
CREATE TABLE authorizations (
	id      INTEGER PRIMARY KEY,
	name    TEXT NOT NULL,
	version TEXT NOT NULL,
	sha256  BLOB,
	by      TEXT NOT NULL,
	added   INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	UNIQUE (name, version, sha256)
) STRICT;

-- Entries about which the registry is asked again.
CREATE TABLE registry_retries (
	log      INTEGER NOT NULL,
	idx      INTEGER NOT NULL,
	since    INTEGER NOT NULL,
	next_try INTEGER NOT NULL,
	why      TEXT NOT NULL, -- what went wrong, '' if it does not know the release
	PRIMARY KEY (log, idx)
) STRICT;

-- What the registry's index says of entries' releases, where there is more than a checksum.
CREATE TABLE releases (
	log    INTEGER NOT NULL,
	idx    INTEGER NOT NULL,
	proven BLOB NOT NULL,    -- digest of what the line must say, '' if Cargo.toml was not seen
	yanked INTEGER NOT NULL, -- 1: yanked, when last looked at
	PRIMARY KEY (log, idx)
) STRICT;

-- What was looked for in the .crate of entries, where it was downloaded and holds what is claimed.
CREATE TABLE crates (
	log          INTEGER NOT NULL,
	idx          INTEGER NOT NULL,
	repository   TEXT NOT NULL,    -- of its Cargo.toml, '' for none; nobody has checked it
	names_commit INTEGER NOT NULL, -- 1: it names the claim's commit itself
	PRIMARY KEY (log, idx)
) STRICT;

-- What the log served as openings of entries.
CREATE TABLE openings (
	log      INTEGER NOT NULL,
	idx      INTEGER NOT NULL,
	state    TEXT NOT NULL,    -- see the constants OpeningHolds and so on
	sha256   BLOB NOT NULL,    -- of the opening, zeros if none was read
	since    INTEGER NOT NULL, -- when it became so
	next_try INTEGER NOT NULL, -- when it is asked for again, 0 for never
	why      TEXT NOT NULL,    -- of 'unusable': what the log served instead
	PRIMARY KEY (log, idx)
) STRICT;
CREATE INDEX openings_again ON openings (log, next_try) WHERE next_try != 0;

-- What entries about builds say, in the order in which this database first held them.
CREATE TABLE builds (
	id      INTEGER PRIMARY KEY,
	log     INTEGER NOT NULL,
	idx     INTEGER NOT NULL,
	request BLOB NOT NULL,
	result  BLOB NOT NULL,
	root    BLOB NOT NULL, -- of the set of builders
	tag     BLOB NOT NULL, -- of the builder
	binary  TEXT NOT NULL,
	target  TEXT NOT NULL,
	UNIQUE (log, idx)
) STRICT;
CREATE INDEX builds_by_request ON builds (request, tag, root);

-- Entries that give a version another checksum than it has in their log.
CREATE TABLE voids (
	log   INTEGER NOT NULL,
	idx   INTEGER NOT NULL,
	first INTEGER NOT NULL, -- index of the entry that fixed the checksum, -1 if the log before this one has it
	sha256 BLOB NOT NULL,   -- that the version has
	PRIMARY KEY (log, idx)
) STRICT;

-- What people ask for: names without regard to case and hyphens, and claimed repositories.
CREATE INDEX entries_by_fold    ON entries (replace(lower(name), '-', '_'), name, version) WHERE name != '';
CREATE INDEX entries_by_kind    ON entries (kind, log);
CREATE INDEX entries_by_program ON entries (program);
CREATE INDEX findings_by_fold   ON findings (replace(lower(name), '-', '_')) WHERE name != '';
CREATE INDEX crates_by_repository ON crates (lower(repository)) WHERE repository != '';

-- Endpoints of readers who asked to be told, and have confirmed it.
CREATE TABLE subscriptions (
	id       INTEGER PRIMARY KEY,
	token    TEXT NOT NULL UNIQUE, -- in the address that ends it
	secret   BLOB NOT NULL,        -- key of the signatures
	prefix   TEXT NOT NULL,        -- of crates' names, folded
	exact    INTEGER NOT NULL,     -- 1: the whole name
	url      TEXT NOT NULL,
	added    INTEGER NOT NULL,
	finding  INTEGER NOT NULL,     -- findings up to this id were told
	failing  INTEGER NOT NULL,     -- since when its endpoint does not take them, 0 if it does
	attempts INTEGER NOT NULL,     -- that have failed in a row
	next_try INTEGER NOT NULL,
	UNIQUE (prefix, exact, url)
) STRICT;
CREATE TABLE subscription_logs (
	subscription INTEGER NOT NULL,
	log          INTEGER NOT NULL,
	next         INTEGER NOT NULL, -- entries below this index were told
	PRIMARY KEY (subscription, log)
) STRICT;

-- What the registry's API says of how entries' releases were published, where it was asked.
CREATE TABLE publications (
	log        INTEGER NOT NULL,
	idx        INTEGER NOT NULL,
	asked      INTEGER NOT NULL,
	provider   TEXT NOT NULL, -- all '' if it says nothing
	repository TEXT NOT NULL,
	run        TEXT NOT NULL,
	commit_id  TEXT NOT NULL, -- hex
	PRIMARY KEY (log, idx)
) STRICT;
`
