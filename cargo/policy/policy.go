// Package policy reads zkp.toml, in which readers write down
// which crates must be proven, whom they believe about it, and which
// exceptions they make; and it decides what follows for each package of a lock
// file.
//
// # The file
//
// Every key has a default, and an unknown key is an error. Template is a
// commented example.
//
//	version = 1                    # of this format; must be there
//	trust = ["trust.policy"]       # c2sp.org/tlog-policy files, relative to zkp.toml;
//	                               # default: *.policy in the user's directory for them
//	development = false            # true: believe UNSAFE development keys and logs without witnesses
//	programs = ["my.program"]      # programs to accept beside those that ship with cratelog
//	max-age = "30d"                # of the cosigned checkpoint; "0", the default: any age
//	allow-unproven = ["Cargo.lock"]
//	evidence = ["https://evidence.example/", "dir"] # where evidence lies that logs need not be asked for
//	registry-backed = ["log.example/x"] # origins of logs that you hold to take only what the registry
//	                               # lists: crates are uploaded first, and then logged; default: none
//	require = "none"               # or "all", or ["serde", "tokio@1.50.0", "my-*"]
//	warn = "none"                  # likewise: crates of which a warning says that they are not proven
//	exceptions = "zkp-exceptions.toml" # file of generated exceptions, see Exceptions; default: none
//	left-out = "warn"              # or "refuse": crates that lack a file that their manifest names
//	crlf = "attributes"            # files with CRLF where the commit has LF: if .gitattributes of the
//	                               # commit say so; or "allow" all, or "refuse" all
//	opening = "optional"           # or "required" of all that must be proven, or a list as for
//	                               # require of crates that must be proven and opened
//	trusted-publishing = "ignore"  # or "agree": the commit that the registry's API says a crate was
//	                               # published from, where it says one, must be the proven one
//
//	[git]
//	allow = ["https://git.example/x"] # repositories whose packages need no proof under "all"
//
//	[registry."sparse+https://registry.example/index/"] # an index as in Cargo.lock, or crates-io
//	require = "all"                # of its crates; default: as above
//	ignore = ["our-*"]             # these need no proof after all
//	logs = ["log.example/x"]       # origins of logs that may be asked about its crates; default:
//	                               # none, for crates-io all of the trust files
//	evidence = ["https://evidence.registry.example/"] # default: the directories of the one above, for
//	                               # crates-io all of it
//
//	[[exception]]                  # this crate needs no proof, until then
//	crate = "x"
//	version = "1.2.3"              # default: every version
//	reason = "..."
//	expires = "2027-01-31"         # the last day on which it counts, in UTC
//	registry = "sparse+https://registry.example/index/" # default: cargo's own
//
//	[[allow]]                      # this crate may be worse than others, until then: one of three or more
//	crate = "x"
//	version = "1.2.3"              # default: every version
//	unproven = ["Cargo.toml"]      # files that may be unproven, or left out
//	crlf = true                    # any file may have CRLF where the commit has LF
//	without-opening = true         # it needs no opening, though opening says so
//	reason = "..."
//	expires = "2027-01-31"
//
//	[[expect]]                     # this crate must be proven, and stand there
//	crate = "x"
//	version = "1.2.3"              # default: every version
//	path = "crates/x"              # in its repository, "" for the root; default: anywhere
//	commits = ["..."]              # one of these; default: any
//	signed-by = ["keys/x.pub"]     # files of public keys, relative to zkp.toml: ssh keys, one a line, or
//	                               # armored OpenPGP keys; one of all these must have signed the commit,
//	                               # which takes an opening; default: anybody, nobody
//
//	[builds]                       # whom to believe that a binary is what a crate compiles to
//	set = "rebuilders.set"         # file of the set of builders (package build), relative to zkp.toml
//	digest = "..."                 # SHA-256 of that file, hex
//	need = 3                       # so many members must say so
//	tolerate = 0                   # so many may say otherwise; 1 only with a hidden set and need >= 3
//	log = "log.example/x"          # origin of the log that counts; default: all of the trust files
//	until = 5000                   # entries of the log at this index and above do not count; default: all do
//	without = ["NAME"]             # members of a named set who do not count any more
//	toolchains = ["..."]           # ids that are accepted, hex
//	environments = ["..."]         # likewise
//	max-age = "7d"                 # of the cosigned checkpoint, the default; not offline
//	require-source = "all"         # the source of all compiled crates must be proven, or "crate": of the
//	                               # crate itself only; default: all, unless the commit's own lock file
//	                               # chose the versions
//
// Each trust file stands for itself: its logs, its witnesses, its quorum. A
// bundle must satisfy the one that lists its log, so no two files may list the
// same log.
//
// # Names
//
// What demands a proof is read generously: case does not matter, and "-" is as
// good as "_", as the registries have it. What excuses from one is read to the
// letter.
package policy

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"cratelog/client"
	"cratelog/entry"
	"cratelog/internal/durable"
	"cratelog/proofcheck"
)

// FileName is the name under which a policy is looked for.
const FileName = "zkp.toml"

// Template is a commented zkp.toml to begin with. As it stands, it
// demands what the manifests ask for and nothing else. Settings that are commented
// out begin with "#" and no space behind it.
//
//go:embed template.toml
var Template string

// A Policy is a zkp.toml with everything that it names. It does not change after
// Load, so it is safe for concurrent use.
type Policy struct {
	Path string // of zkp.toml; "" for none

	Trust    []Trust              // in the order of the file; may be empty
	TrustDir string               // where trust files were looked for by default; "" if the file names its own
	Programs []proofcheck.Program // all accepted ones, those that ship with cratelog first

	// Development accepts programs with UNSAFE development keys, whose proofs anyone
	// can forge, and logs without witnesses.
	Development bool

	MaxAge        time.Duration // of the cosigned checkpoint; 0 for any
	AllowUnproven []string      // paths that any crate may have unproven
	AllowCRLF     client.CRLF   // what any crate may have of CRLF where its commit has LF
	RefuseLeftOut bool          // refuse crates that lack a file that their manifest names
	TrustedAgrees bool          // the commit that a registry says a crate was published from must be the proven one

	Require    []Pattern            // crates that must be proven; All for every one
	Warn       []Pattern            // crates of which it is said if they are not proven; likewise
	Evidence   []string             // places where evidence lies: URLs and directories; see EvidenceFor
	Backed     []string             // origins of logs that take only what the registry lists; see RegistryBacked
	Openings   []Pattern            // crates whose claims must be opened; All for every one that must be proven
	Registries map[string]*Registry // by canonical index; see Of
	Git        []string             // canonical URLs; see GitAllowed
	Exceptions []Exception          // those of zkp.toml, then those of ExceptionsPath
	Allows     []Allow
	Expects    []Expect

	ExceptionsPath string // of the file of generated exceptions; "" for none

	Builds *Builds // whom to believe about binaries; nil: nobody
}

// Trust is one c2sp.org/tlog-policy file.
type Trust struct {
	Path   string
	Text   []byte
	Policy *client.Policy
}

// An Exception excuses a crate from being proven.
type Exception struct {
	Crate    string
	Version  string // "" for every version
	Registry string // canonical index; "" for cargo's default registry
	Reason   string
	Expires  Date
	File     string // of generated exceptions, that it stands in; "" for zkp.toml
}

// An Allow lets a crate be worse than the policy has others.
type Allow struct {
	Exception               // which crate, why, and until when
	Unproven       []string // paths below the package's directory of files that may be unproven or left out
	CRLF           bool     // any of its files may have CRLF where the commit has LF
	WithoutOpening bool     // it needs no opening
}

// Load reads a zkp.toml and every file that it names. Where it names no trust
// files, all of userDir/trust/*.policy are read; userDir is UserDir's result, or
// "" for none. Path "" stands for the policy of a reader who wrote none: what the manifests
// ask for must be proven, and the user's trust files say whom to believe. Errors name the
// file and the key, and all mistakes of the file's own are in one error.
func Load(path, userDir string) (*Policy, error) {
	f, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return f.policy(userDir)
}

// policy reads what the file names.
func (f *file) policy(userDir string) (*Policy, error) {
	p := &Policy{Path: f.path, Development: f.Development, MaxAge: f.maxAge, AllowUnproven: f.AllowUnproven,
		AllowCRLF: crlf[f.CRLF], RefuseLeftOut: f.LeftOut == "refuse", TrustedAgrees: f.Trusted == "agree",
		Backed: f.Backed, Require: f.require, Warn: f.warn, Openings: f.openings, Evidence: f.evidence,
		Registries: f.registries, Git: f.git,
		Exceptions: f.exceptions, Allows: f.allows, Expects: f.expects}
	errTrust := p.loadTrust(f, userDir)
	proofs, err := proofcheck.Load(f.below(f.Programs), f.Development)
	if err != nil {
		err = fmt.Errorf("programs: %w", err)
	}
	if err := errors.Join(errTrust, p.loadSigners(f), p.loadBuilds(f), p.loadExceptions(f), err); err != nil {
		return nil, err
	}
	p.Programs = proofs.Programs()
	return p, nil
}

// loadTrust reads the trust files.
func (p *Policy) loadTrust(f *file, userDir string) error {
	paths := f.below(f.Trust)
	if f.Trust == nil && userDir != "" {
		p.TrustDir = filepath.Join(userDir, "trust")
		var err error
		// An error is about the pattern, so a directory with "[" in its name is not one.
		if paths, err = globPolicies(p.TrustDir); err != nil {
			return fmt.Errorf("the directory of trust files cannot be read: %w", err)
		}
	}
	var errs []error
	seen := map[string]string{}
	for _, path := range paths {
		t, err := readTrust(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, l := range t.Policy.Logs() {
			if other, ok := seen[l.Origin]; ok && other != path {
				errs = append(errs, fmt.Errorf("%s and %s both list the log %q, so that it would not be "+
					"clear whose quorum counts; take it out of one of them", other, path, l.Origin))
			}
			seen[l.Origin] = path
		}
		p.Trust = append(p.Trust, t)
	}
	return errors.Join(errs...)
}

func readTrust(path string) (Trust, error) {
	text, err := durable.Read(path, client.MaxPolicySize)
	if err != nil {
		return Trust{}, fmt.Errorf("the trust file cannot be read: %w", err)
	}
	// Editors of some systems put a mark in front that the parser does not know.
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		return Trust{}, fmt.Errorf("the trust file %s begins with a byte order mark; save it as plain UTF-8", path)
	}
	parsed, err := client.ParsePolicy(text)
	if err != nil {
		return Trust{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(parsed.Logs()) == 0 {
		return Trust{}, fmt.Errorf("%s lists no log, so it makes no log believed; add a log line, or do not name the file",
			path)
	}
	return Trust{path, text, parsed}, nil
}

// RegistryBacked says whether the reader holds the log with an origin to take only what the registry
// lists, so that nobody can take a name there before its owner, and a crate is uploaded before it is
// logged. What a log says of itself does not count.
func (p *Policy) RegistryBacked(origin string) bool { return slices.Contains(p.Backed, origin) }

// Rules returns what client.Verify must demand at a time of the bundle of a crate of cargo's
// default registry.
func (p *Policy) Rules(name, version string, now time.Time) client.Rules {
	return p.RulesFor(Package{Name: name, Version: version}, now)
}

// subject is the registry as an entry names it.
func (p Package) subject() string {
	if indexOf(p.Registry) == "" {
		return entry.DefaultRegistry
	}
	return entry.Registry(p.Registry)
}

// RulesFor is Rules for a package of any registry.
func (p *Policy) RulesFor(pkg Package, now time.Time) client.Rules {
	r := client.Rules{Name: pkg.Name, Version: pkg.Version, AllowUnproven: slices.Clone(p.AllowUnproven),
		AllowCRLF: p.AllowCRLF, Registry: pkg.subject(), MaxAge: p.MaxAge, Now: now,
		AllowNoWitnesses: p.Development}
	index := indexOf(pkg.Registry)
	for _, a := range p.Allows {
		if a.covers(pkg, index) && !a.Expires.Past(now) {
			r.AllowUnproven = append(r.AllowUnproven, a.Unproven...)
			if a.CRLF {
				r.AllowCRLF = client.AnyCRLF
			}
		}
	}
	return r
}
