package web

import (
	"time"

	"cratelog/monitor/store"
)

// What the API answers, and what the pages show: both are made of these values,
// so that a page and its JSON twin cannot say different things. Hashes, ids and
// keys are lower-case hexadecimal, times are RFC 3339 in UTC, sizes and indices
// count entries. Addresses begin with a slash and are relative to the monitor.
// Fields are added, never renamed or removed, as long as they stand below /v1.

// logJSON is one log as this monitor sees it.
type logJSON struct {
	Origin     string       `json:"origin"`
	VKeys      []string     `json:"vkeys"` // every key that this monitor ever trusted for it
	URL        string       `json:"url"`
	State      string       `json:"state"`      // ok, backlog, stale, quorum-lost, trouble, findings or empty
	Class      store.Class  `json:"class"`      // info, operational or security
	Statement  string       `json:"statement"`  // the state as a sentence
	Size       uint64       `json:"size"`       // of the largest consistent or pending signed checkpoint
	Downloaded uint64       `json:"downloaded"` // entries that it holds
	Verified   uint64       `json:"verified"`   // entries whose proofs were checked here, and that make up root
	Root       string       `json:"root"`       // of the first verified entries, rebuilt here
	Backlog    backlogJSON  `json:"backlog"`
	Results    resultsJSON  `json:"results"`
	Findings   findingCount `json:"findings"` // not acknowledged
	Seals      sealsJSON    `json:"seals"`

	Checkpoint *checkpointJSON `json:"checkpoint"` // the largest, null if none was seen
	// AgeSeconds counts from when the quorum last cosigned, without witnesses from when a
	// checkpoint was last shown; -1: never.
	AgeSeconds int64         `json:"checkpoint_age_seconds"`
	Witnesses  []witnessJSON `json:"witnesses"`
	Mirrors    []mirrorJSON  `json:"mirrors"`
	Programs   []programJSON `json:"programs"` // the most used first
	// MorePrograms is how many are not listed.
	MorePrograms int `json:"more_programs"`
	// Development is true if entries have proofs of development keys: UNSAFE.
	Development bool         `json:"development"`
	Growth      []growthJSON `json:"growth"`
	Page        string       `json:"page"`
}

type backlogJSON struct {
	Download uint64 `json:"download"`
	Verify   uint64 `json:"verify"`
}

// resultsJSON counts entries by what their verification here gave.
type resultsJSON struct {
	Verified uint64 `json:"verified"`
	Failed   uint64 `json:"failed"`
	Pending  uint64 `json:"pending"`
}

// sealsJSON says how the seals of a log agree with what this monitor makes of its entries.
type sealsJSON struct {
	Count       uint64  `json:"count"`        // at their places
	Void        uint64  `json:"void"`         // elsewhere: they say nothing
	VoidEntries uint64  `json:"void_entries"` // that give a version another checksum than it has
	Compared    uint64  `json:"compared"`     // below this index all seals were compared
	WrongSince  *uint64 `json:"wrong_since"`  // index from which on no seal agreed, null if the last one did
	Statement   string  `json:"statement"`
}

type findingCount struct {
	Security    uint64 `json:"security"`
	Operational uint64 `json:"operational"`
	Info        uint64 `json:"info"`
}

type growthJSON struct {
	Time time.Time `json:"time"`
	Size uint64    `json:"size"`
}

// witnessJSON is a witness of the trust file, and its newest view of one log.
type witnessJSON struct {
	Log      string     `json:"log"`
	Name     string     `json:"name"` // in the monitor's trust file
	KeyName  string     `json:"key_name"`
	VKey     string     `json:"vkey"`
	URL      string     `json:"url"`
	Size     *uint64    `json:"size"` // of its last checkpoint, null if none was seen
	Lag      *uint64    `json:"lag"`  // entries behind the log's largest checkpoint
	Cosigned *time.Time `json:"cosigned"`
	Seen     *time.Time `json:"seen"`    // when the monitor last had an answer of it
	Problem  string     `json:"problem"` // what its last poll failed with, "" if it did not
	Tried    *time.Time `json:"-"`       // when that poll was: what else is shown may be newer
}

// mirrorJSON is a further place of the same log, and what it last showed.
type mirrorJSON struct {
	URL     string     `json:"url"`
	Size    *uint64    `json:"size"`
	Lag     *uint64    `json:"lag"`
	Seen    *time.Time `json:"seen"`
	Problem string     `json:"problem"`
	Tried   *time.Time `json:"-"`
}

// programJSON says what a proof is a proof of, and how far to trust its key.
type programJSON struct {
	ID          string `json:"id"`
	Known       bool   `json:"known"` // the monitor accepts its proofs; the rest is empty if not
	System      string `json:"system"`
	Claim       string `json:"claim"`
	Blocks      int    `json:"blocks"`    // of a segment; 0 for other claims than source/2
	Parameter   string `json:"parameter"` // the size of the circuit, in words
	Origin      string `json:"origin"`
	Trust       string `json:"trust"`       // the origin, and who could forge
	Development bool   `json:"development"` // UNSAFE: anyone can forge its proofs
	Entries     uint64 `json:"entries,omitempty"`
}

// cosignatureJSON is a witness's statement that this monitor has verified.
type cosignatureJSON struct {
	Witness string    `json:"witness"`
	KeyName string    `json:"key_name"`
	Time    time.Time `json:"time"`
}

// checkpointJSON is one tree head that the log has signed, whether or not it is
// honest.
type checkpointJSON struct {
	Log          string            `json:"log"`
	Size         uint64            `json:"size"`
	Root         string            `json:"root"`
	Verdict      string            `json:"verdict"` // consistent, inconsistent or pending
	Statement    string            `json:"statement"`
	Quorum       bool              `json:"quorum"` // the witnesses of the monitor's trust file suffice
	Witnessed    *time.Time        `json:"witnessed"`
	Cosignatures []cosignatureJSON `json:"cosignatures"`
	Source       string            `json:"source"`
	Seen         time.Time         `json:"seen"`
	Note         string            `json:"note"` // byte for byte
	Fork         bool              `json:"fork"` // the log signed two trees of this size, or the root is not ours
	File         string            `json:"file"` // the note by itself
	Page         string            `json:"page"`
}

// entryJSON is one entry of a log.
type entryJSON struct {
	Log   string    `json:"log"`
	Index uint64    `json:"index"`
	Leaf  string    `json:"leaf"` // RFC 6962 leaf hash
	Seen  time.Time `json:"seen"` // when this monitor first had it
	// Logged is the first time that witnesses put on a checkpoint with it, null if unknown.
	Logged *time.Time `json:"logged"`
	Bytes  int        `json:"bytes"`
	// Kind is "entry", or what the leaf is else: seal, start, void-seal, void-start; "" of what cannot be read.
	Kind  string     `json:"kind"`
	Seal  *sealJSON  `json:"seal"`  // of a seal, null else
	Start *startJSON `json:"start"` // of a start, null else
	Void  *voidJSON  `json:"void"`  // of an entry that no reader takes, null else

	Verification verificationJSON `json:"verification"`

	// Malformed says why the entry cannot be read; the fields below are empty then.
	Malformed string       `json:"malformed,omitempty"`
	Registry  string       `json:"registry"` // "default", or the index of another one
	Crate     string       `json:"crate"`
	Version   string       `json:"version"`
	Checksum  string       `json:"checksum"` // SHA-256 of the .crate
	Yanked    bool         `json:"yanked"`   // so the registry's index said, when it was last asked
	Accused   bool         `json:"accused"`  // a security finding is about it
	Claim     string       `json:"claim"`
	Commit    string       `json:"commit"`
	CommitURL string       `json:"commit_url,omitempty"`
	Path      string       `json:"path"` // of the package in the repository, "" for its root
	Files     string       `json:"files"`
	Coverage  coverageJSON `json:"coverage"`
	Build     *buildJSON   `json:"build"` // of a claim about a build, null of others
	Program   programJSON  `json:"program"`

	Page    string `json:"page"`
	LogPage string `json:"log_page"`
	Raw     string `json:"raw"`
	Bundle  string `json:"bundle"`
}

// sealJSON is what a seal says: of the leaves before it.
type sealJSON struct {
	Rules uint64 `json:"rules"` // of the map
	Size  uint64 `json:"size"`  // number of leaves
	Root  string `json:"root"`  // of their map
}

// startJSON is what a start says of the log before this one.
type startJSON struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"` // of its tree at its end
	Tree   string `json:"tree"` // root of that tree
	Root   string `json:"root"` // of the map of its versions
}

// voidJSON says why an entry is void: its version has another checksum in the log.
type voidJSON struct {
	Checksum string  `json:"checksum"` // that the version has
	First    *uint64 `json:"first"`    // the entry that fixed it, null if the log before this one did
}

// verificationJSON says in which of three states an entry is: verified, that is
// here, by this monitor; pending, that is shown but not verified; or failed.
type verificationJSON struct {
	State     string `json:"state"`
	Statement string `json:"statement"`
	Reason    string `json:"reason,omitempty"` // the kind of the finding about it, in whatever state
	Detail    string `json:"detail,omitempty"`
}

// buildJSON is what a claim about a build says, and who says it.
type buildJSON struct {
	Binary      string `json:"binary"`
	Target      string `json:"target"`
	Artifact    string `json:"artifact"` // SHA-256 of the binary
	Toolchain   string `json:"toolchain"`
	Environment string `json:"environment"`
	Recipe      uint64 `json:"recipe"`
	Lock        string `json:"lock"`     // SHA-256 of the Cargo.lock in the .crate
	Compiled    string `json:"compiled"` // SHA-256 of the list of compiled crates
	Request     string `json:"request"`
	Result      string `json:"result"`
	Root        string `json:"root"` // of the set of builders
	Tag         string `json:"tag"`  // of the builder, for this request

	Set     string `json:"set"`     // name of the set, "" if this monitor does not know it
	Members int    `json:"members"` // of the set, 0 if this monitor does not know it
	Builder string `json:"builder"` // who signed with his name, "" if he is hidden
	Who     string `json:"who"`     // all that in words
}

// coverageJSON says which files of the .crate the claim covers. What is in
// neither list is proven to be in the commit.
type coverageJSON struct {
	Summary    string   `json:"summary"`
	Derived    []string `json:"derived"`
	Unproven   []string `json:"unproven"`
	Outside    []string `json:"outside"`
	Submodules []string `json:"submodules"`
	Executable []string `json:"executable"` // executable in the commit, and not in the .crate
	CRLF       []string `json:"crlf"`       // with CRLF line ends where the commit has LF
	Attributes []string `json:"attributes"` // the commit's .gitattributes that say so of some
	Links      int      `json:"links"`
	Manifest   bool     `json:"manifest"`  // Cargo.toml is among the derived
	Workspace  *string  `json:"workspace"` // directory of the workspace's root, null if none is claimed
}

// proofJSON is an inclusion proof under a checkpoint that the store holds.
type proofJSON struct {
	Checkpoint checkpointJSON `json:"checkpoint"`
	Path       []string       `json:"path"` // RFC 6962, the leaf's sibling first
}

// entryDetail is an entry with all that stands around it.
type entryDetail struct {
	entryJSON
	Data      []byte       `json:"data"`      // the entry's bytes, base64
	Inclusion *proofJSON   `json:"inclusion"` // null as long as no checkpoint covers it
	Proof     *chainJSON   `json:"proof"`     // null if the entry has none that can be read
	Opening   *openingJSON `json:"opening"`   // null if the log served none, or was not asked

	// NamesCommit says whether the .crate itself names the commit; null if this monitor has not
	// looked into it. CommitStatement says it in words.
	NamesCommit     *bool  `json:"names_commit"`
	CommitStatement string `json:"commit_statement"`
	// Repository is what the .crate's Cargo.toml names: claimed, not proven. RepositoryURL is the
	// commit there.
	Repository    string `json:"repository_claimed,omitempty"`
	RepositoryURL string `json:"repository_claimed_url,omitempty"`

	// Trusted is what the registry's API says of how the release was published; null if it was not asked.
	Trusted *publicationJSON `json:"trusted_publishing"`

	Verify *verifyJSON `json:"verify"` // null of what cannot be verified by a command

	Findings []findingJSON `json:"findings"` // about this entry
	Earlier  []entryJSON   `json:"earlier"`  // of the same crate, the newest first
	Later    []entryJSON   `json:"later"`    // of the same crate, the oldest first
}

// verifyJSON is what a reader runs to check an entry: commands without this monitor.
type verifyJSON struct {
	Show string `json:"show"` // asks the log
	File string `json:"file"` // checks the .crate with the bundle, "" as long as there is none
}

// publicationJSON is what the registry says of the workflow that published a release, beside the
// proven commit. It is the registry's word.
type publicationJSON struct {
	Standing   string    `json:"standing"` // agrees, differs, or none: the registry names no commit
	Provider   string    `json:"provider,omitempty"`
	Repository string    `json:"repository,omitempty"`
	Run        string    `json:"run,omitempty"`
	Commit     string    `json:"commit,omitempty"`
	Asked      time.Time `json:"asked"`
}

// chainJSON is what a proof is about.
type chainJSON struct {
	Segments  int `json:"segments"`
	Objects   int `json:"objects"`    // of git: commits and trees, closed under their references
	ListBytes int `json:"list_bytes"` // length of the list of files

	Statement string `json:"statement"` // what of it this monitor has checked
}

// openingJSON is what the log served as the opening of an entry.
type openingJSON struct {
	State     string `json:"state"`            // holds, objects, contradict, no-verdict or unusable
	SHA256    string `json:"sha256,omitempty"` // of the opening
	Statement string `json:"statement"`
	Detail    string `json:"detail,omitempty"` // of an unusable one: what the log served instead
}

// headJSON is what every list is complete up to, per log.
type headJSON struct {
	Log      string `json:"log"`
	Size     uint64 `json:"size"`     // entries below this index were looked through
	Verified uint64 `json:"verified"` // of them, so many are verified
	Root     string `json:"root"`     // of the first verified entries, rebuilt here
	Page     string `json:"page"`     // of the log
}

type entryList struct {
	Heads   []headJSON  `json:"heads"`
	Entries []entryJSON `json:"entries"`
	Next    *string     `json:"next"` // cursor, null at the end
}

type crateJSON struct {
	Crate string `json:"crate"`
	entryList
}

type checkpointList struct {
	Checkpoints []checkpointJSON `json:"checkpoints"`
	Next        *string          `json:"next"`
}

// findingJSON is something that the monitor found.
type findingJSON struct {
	ID           int64       `json:"id"`
	Log          string      `json:"log"` // "" if it is about no log
	Kind         string      `json:"kind"`
	Class        store.Class `json:"class"` // security, operational or info
	Summary      string      `json:"summary"`
	Detail       string      `json:"detail,omitempty"`
	Found        time.Time   `json:"found"`
	Last         time.Time   `json:"last"`     // when it was seen last
	Count        int64       `json:"count"`    // how often it was seen
	Resolved     *time.Time  `json:"resolved"` // only operational ones can be over
	Acknowledged *time.Time  `json:"acknowledged"`
	Reason       string      `json:"reason,omitempty"` // of the acknowledgement
	Crate        string      `json:"crate,omitempty"`
	Version      string      `json:"version,omitempty"`
	Entry        string      `json:"entry,omitempty"`    // page of the entry that it is about
	Evidence     string      `json:"evidence,omitempty"` // its page
	File         string      `json:"file,omitempty"`     // the evidence file
}

type findingList struct {
	Heads    []headJSON    `json:"heads"`
	Findings []findingJSON `json:"findings"`
	Next     *string       `json:"next"`
	Info     []kindCount   `json:"info"` // what is of class info, by kind
}

// kindCount is how many findings of a kind there are.
type kindCount struct {
	Kind  string `json:"kind"`
	Count int64  `json:"count"`
	Page  string `json:"page"`
}

type evidenceDetail struct {
	SHA256   string        `json:"sha256"`
	Bytes    int           `json:"bytes"`
	File     string        `json:"file"`
	Text     string        `json:"text"` // the file itself, "" if it is not text or too long
	Findings []findingJSON `json:"findings"`
}

type overviewJSON struct {
	Monitor   string        `json:"monitor"`
	Class     store.Class   `json:"class"` // the worst of all logs
	Statement string        `json:"statement"`
	Logs      []logJSON     `json:"logs"`
	Findings  []findingJSON `json:"findings"` // the newest
	Entries   []entryJSON   `json:"entries"`  // the newest
}
