package store

import (
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Log is a log that this monitor follows, or once followed.
type Log struct {
	ID     int64
	Origin string
	VKeys  []string // every key ever trusted for it
	URL    string
	Added  time.Time
}

// Position says how far a log was followed.
type Position struct {
	Downloaded int64       // entries that are stored and checked
	Verified   int64       // of them, those whose tree has given a signed root
	Root       tlog.Hash   // of the tree of the verified entries
	Range      []tlog.Hash // roots of its perfect subtrees, left to right
	Sealed     int64       // verified leaves that the map was made of, and whose seals were compared with it
	MapRoot    [32]byte    // root of the map of those leaves; zeros if there are none
	WrongSeal  int64       // index from which on no seal agreed with the map; -1: the last one did, or there is none
	Registry   int64       // entries that were compared with the registry
	Recheck    int64       // of them, those that were compared again since Rechecking; -1 when it is not time to
	Rechecking time.Time   // zero if they never were
	Openings   int64       // entries whose opening the log was asked for
	Reopen     int64       // of them, those asked for again since Reopening; -1 when it is not time to
	Reopening  time.Time   // zero if they never were
}

// Verdicts of an entry.
const (
	OK  = "ok"
	Bad = "bad"
)

// Kinds of leaves that are no entries. They say nothing of crates.
const (
	KindSeal      = "seal"       // at its place
	KindVoidSeal  = "void-seal"  // which says nothing
	KindStart     = "start"      // the first leaf
	KindVoidStart = "void-start" // another one
)

// Entry is one leaf of a log with what was found out about it. Of a leaf that
// does not parse, everything that the entry would say is zero.
type Entry struct {
	Place int64 // in the order in which this database first held all entries; set when read
	Log   int64
	Index int64

	LeafHash   tlog.Hash
	Identity   [32]byte
	Registry   string // entry.DefaultRegistry, or the index of another one
	Name       string
	Version    string
	SHA256     [32]byte
	Kind       string // of the claim; of what is no entry one of the constants KindSeal and so on
	Commit     [20]byte
	Path       string   // of the package in the repository
	Unproven   []string // files that are not proven
	Links      int      // symbolic links that the proof followed
	Submodules int
	Outside    int  // files from outside of the package
	Workspace  bool // Cargo.toml is derived with the manifest of a workspace
	Program    [32]byte
	Build      *Build // to be stored, of a claim about a build; not set when read

	Logged    time.Time // earliest time that witnesses put on Covered; zero if unknown
	Covered   int64     // size of the first checkpoint that we saw with this entry
	FirstSeen time.Time
	Verdict   string // OK or Bad: its form, program and proof
	Reason    string // the kind of the finding about it, "" if there is none
	Detail    string
	Data      []byte // the leaf's bytes
}

// Unchecked says that an entry is Bad only because the monitor does not know its program, or its kind of claim, and
// so did not check it.
func (e *Entry) Unchecked() bool {
	return e.Verdict == Bad && (e.Reason == UnknownProgram || e.Reason == UnknownClaim)
}

// Reasons of entries that were not checked.
const (
	UnknownProgram = "unknown-program"
	UnknownClaim   = "unknown-claim"
)

// Void says that an entry gives a version another checksum than it has in the entry's log.
type Void struct {
	Log, Index int64
	First      int64    // the entry that fixed the checksum; -1 if the log before this one did
	SHA256     [32]byte // that the version has
}

// Verdicts of a checkpoint.
const (
	Consistent   = "consistent"   // its root is that of our tree of its size
	Inconsistent = "inconsistent" // it is not
	Pending      = "pending"      // our tree is not that large yet
)

// Checkpoint is a checkpoint that the log's key has signed: one for each pair of
// size and root hash, from whatever source.
type Checkpoint struct {
	ID        int64
	Log       int64
	Size      int64
	Root      tlog.Hash
	Signed    []byte // text, and the union of the verified signature lines that were seen
	Source    string // who showed it first: "log", "witness NAME", "mirror URL", "gossip"
	FirstSeen time.Time
	LastSeen  time.Time
	Verdict   string
	Accepted  bool      // its signatures satisfy the trust file
	Witnessed time.Time // when the quorum cosigned it; zero if it did not

	Cosignatures []Cosignature
}

// Cosignature is a witness's verified signature on a checkpoint.
type Cosignature struct {
	Witness string // name in the trust file
	KeyName string
	KeyID   uint32
	Time    time.Time // the newest that was seen
}

// View is what a source shows of a log: a witness ("witness NAME"), a mirror
// ("mirror URL"), or the log itself ("log").
type View struct {
	Log      int64
	Source   string
	URL      string
	Size     int64 // of its last valid checkpoint, -1 if there was none
	Root     tlog.Hash
	Largest  int64     // the largest size that it ever showed and that is not inconsistent, -1 if there is none
	Cosigned time.Time // by the witness
	Tried    time.Time
	Seen     time.Time // last valid answer
	Changed  time.Time // when Size last changed
	Error    string    // of the last try
	Failing  time.Time // since when; zero if the last try was well
}

// Class says what kind of concern a finding is.
type Class string

// The classes, the gravest first.
const (
	Security    Class = "security"    // a log, witness, registry or prover cheated
	Operational Class = "operational" // something does not answer, or is late
	Info        Class = "info"        // worth knowing
)

// Rank is larger for graver classes, and 0 for what is not a class.
func (c Class) Rank() int { return 1 + slices.Index([]Class{Info, Operational, Security}, c) }

// Finding is something that the monitor found, once.
type Finding struct {
	ID       int64
	Key      string // what it is about; no two standing findings share one
	Log      int64  // 0 if it is about no log
	Origin   string // of the log; set when read
	Kind     string // a word from the list in docs/monitoring.md
	Class    Class
	Summary  string // one sentence
	Detail   string // more of them, "" for none
	Evidence string // hex SHA-256 of the evidence file, which is its name; "" for none
	Index    int64  // of the entry that it is about, -1 for none
	Name     string // of the crate, "" for none
	Version  string
	Watch    int64 // the watch that asked for it, 0 for none

	FirstSeen time.Time
	LastSeen  time.Time
	Count     int64     // how often it was seen
	Resolved  time.Time // zero while it stands; only operational ones are resolved

	AckBy  string // who acknowledged it, "" if it is not
	AckWhy string
	Acked  time.Time
}

// Events of a delivery.
const (
	Found    = "found"
	Resolved = "resolved"
)

// Delivery is one alert for one channel.
type Delivery struct {
	ID       int64
	Finding  Finding
	Channel  string
	Event    string // Found or Resolved
	State    string // "pending", "delivered" or "dropped"
	Attempts int
	NextTry  time.Time
	Error    string    // of the last attempt
	Done     time.Time // zero while it is pending
}

// Kinds of watches.
const (
	WatchCrate  = "crate"  // a crate's name
	WatchPrefix = "prefix" // the beginning of crates' names
	WatchPath   = "path"   // a package's path in its repository
	WatchCommit = "commit" // a git commit id in hex
)

// Watch asks for a finding about every new entry that it matches.
type Watch struct {
	ID      int64
	Kind    string // one of the constants
	Value   string
	Channel string // the alert channel to use, "" for all that take info
	Note    string
	Added   time.Time
}

// Authorization announces a release, so that watches do not report it.
type Authorization struct {
	ID      int64
	Name    string
	Version string
	SHA256  *[32]byte // nil for any checksum
	By      string
	Added   time.Time
	Expires time.Time // zero for never
}

// Retry is an entry about which the registry is asked again.
type Retry struct {
	Log, Index int64
	Since      time.Time // when this went wrong first
	NextTry    time.Time
	Why        string // what the registry answered, "" if it does not know the release
}

// Release is what the registry's index said of an entry's release.
type Release struct {
	Log, Index int64
	Proven     []byte // digest of what the index line must say (registry.Summary), nil if it is not known
	Yanked     bool
}

// Publication is what the registry's API says of how the release of an entry was published: by a
// workflow that had an identity of its own, at a commit. Without a Commit it says nothing.
type Publication struct {
	Log, Index                        int64
	Asked                             time.Time
	Provider, Repository, Run, Commit string
}

// Crate is what the .crate of an entry says that the entry does not.
type Crate struct {
	Log, Index  int64
	Repository  string // of its Cargo.toml: claimed, not proven; "" if it names none
	NamesCommit bool   // it names the claim's commit itself
}

// States of an opening.
const (
	OpeningHolds      = "holds"      // the commit's own objects show the claim
	OpeningObjects    = "objects"    // its objects are the commit's, but there was no .crate to compare them with
	OpeningContradict = "contradict" // the commit's own objects contradict the claim
	OpeningNoVerdict  = "no-verdict" // an object is one that git refuses, or an attack on SHA-1
	OpeningUnusable   = "unusable"   // what the log served is none, or it did not serve it
)

// Opening is what the log served as the opening of an entry.
type Opening struct {
	Log, Index int64
	State      string
	SHA256     [32]byte  // of the opening; zeros if none was read
	Since      time.Time // when it became so
	NextTry    time.Time // when it is asked for again; zero for never
	Why        string    // OpeningUnusable: what the log served instead
}
