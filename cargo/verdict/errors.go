package verdict

import (
	"errors"
	"fmt"
	"strings"

	"cratelog/cargo/policy"
	"cratelog/client"
)

// Reasons of this package, beside the Err variables of client.
var (
	// ErrUnreachable: a log did not answer.
	ErrUnreachable = errors.New("log not reachable")
	// ErrNotDownloaded: the .crate is not there.
	ErrNotDownloaded = errors.New("not downloaded")
	// ErrNotCached: the bundle is not in the cache, and nothing may be fetched.
	ErrNotCached = errors.New("no bundle in the cache")
	// ErrNoLog: the policy names no log that could be asked.
	ErrNoLog = errors.New("no log to ask")
	// ErrUnreadable: a file could not be read.
	ErrUnreadable = errors.New("not readable")
	// ErrSourceTampered: the unpacked source is not what the .crate holds.
	ErrSourceTampered = errors.New("unpacked source differs from the .crate")
	// ErrIndexDiffers: cargo would take other dependencies or features than are proven.
	ErrIndexDiffers = errors.New("the index differs from Cargo.toml")
	// ErrIndexNotSeen: what cargo will take from the index could not be compared.
	ErrIndexNotSeen = errors.New("no index line to compare")
	// ErrNoClaim: the log holds the version, and no claim about it that the policy counts.
	ErrNoClaim = errors.New("no claim that counts")
	// ErrInterrupted: the caller did not wait for the end.
	ErrInterrupted = errors.New("interrupted")
	// ErrRegistry: the policy lets no log be asked about crates of that registry.
	ErrRegistry = errors.New("no log may be asked about that registry's crates")
	// ErrUnexpected: the source stands elsewhere than the policy expects.
	ErrUnexpected = errors.New("not the place that the policy expects")
	// ErrLeftOut: the .crate lacks what its manifest names, and the policy refuses that.
	ErrLeftOut = errors.New("files left out")
	// ErrNoOpening: the policy asks for an opening, and there is none that shows the claim.
	ErrNoOpening = errors.New("no opening")
	// ErrContradicted: the commit's own objects say something else than the claim.
	ErrContradicted = errors.New("contradicted by the commit itself")
	// ErrSigner: the commit is not signed by whom the policy names.
	ErrSigner = errors.New("not signed by whom the policy names")
	// ErrTrusted: the registry says that it was published from another commit.
	ErrTrusted = errors.New("published from another commit")
	// ErrNoBuilds: the policy says nothing about binaries.
	ErrNoBuilds = errors.New("nobody is believed about binaries")
	// ErrAnotherBinary: no builder made this binary.
	ErrAnotherBinary = errors.New("another binary")
	// ErrBuilders: nobody who counts says what the file is.
	ErrBuilders = errors.New("no builder that the policy believes")
	// ErrToolchain: it was built with a toolchain that the policy does not list.
	ErrToolchain = errors.New("another toolchain")
	// ErrEnvironment: it was built in an environment, or by a recipe, that the policy does not list.
	ErrEnvironment = errors.New("another environment")
	// ErrDissent: more members say otherwise than the policy tolerates.
	ErrDissent = errors.New("builders disagree")
	// ErrTooFew: fewer members say so than the policy needs.
	ErrTooFew = errors.New("too few builders")
	// ErrLock: the binary was not built from the lock file of its crate.
	ErrLock = errors.New("another lock file")
	// ErrSources: crates that were compiled are not proven.
	ErrSources = errors.New("compiled crates are not proven")
	// ErrState: what the state directory remembers cannot be used.
	ErrState = errors.New("state not usable")
)

// slugs name the reasons for machines. They do not change.
var slugs = []struct {
	reason error
	slug   string
}{
	{client.ErrFork, "fork"},
	{ErrSourceTampered, "source-tampered"},
	{ErrIndexDiffers, "index-differs"},
	{ErrIndexNotSeen, "index-not-seen"},
	{ErrContradicted, "contradicted"},
	{ErrSigner, "signed-by"},
	{ErrNoOpening, "no-opening"},
	{ErrNotDownloaded, "not-downloaded"},
	{ErrUnreachable, "unreachable"},
	{ErrNotCached, "not-cached"},
	{ErrNoLog, "no-log"},
	{ErrUnreadable, "unreadable"},
	{ErrInterrupted, "interrupted"},
	{ErrState, "state"},
	{ErrRegistry, "registry"},
	{ErrUnexpected, "unexpected"},
	{ErrLeftOut, "left-out"},
	{ErrTrusted, "trusted-publishing"},
	{ErrNoBuilds, "no-builders"},
	{ErrAnotherBinary, "another-binary"},
	{ErrBuilders, "builders"},
	{ErrToolchain, "toolchain"},
	{ErrEnvironment, "environment"},
	{ErrDissent, "dissent"},
	{ErrTooFew, "too-few"},
	{ErrLock, "lock"},
	{ErrSources, "sources"},
	{client.ErrJoined, "malformed-builds"},
	{ErrNoClaim, "no-claim"},
	{client.ErrNotLogged, "not-logged"},
	{client.ErrWithheld, "withheld"},
	{client.ErrPolicy, "policy"},
	{client.ErrBundle, "malformed-bundle"},
	{client.ErrCheckpoint, "malformed-checkpoint"},
	{client.ErrLog, "unknown-log"},
	{client.ErrLogSignature, "log-signature"},
	{client.ErrCosignature, "cosignature"},
	{client.ErrQuorum, "quorum"},
	{client.ErrNoWitnesses, "no-witnesses"},
	{client.ErrStale, "stale"},
	{client.ErrEntry, "malformed-entry"},
	{client.ErrInclusion, "not-included"},
	{client.ErrSeal, "no-seal"},
	{client.ErrVoid, "void"},
	{client.ErrSubject, "another-crate"},
	{client.ErrProgram, "program"},
	{client.ErrProof, "proof"},
	{client.ErrFiles, "files"},
	{client.ErrUnproven, "unproven"},
	{client.ErrConsistency, "consistency"},
	{client.ErrCRLF, "crlf"},
}

// Error is why a crate is not verified, in words.
type Error struct {
	Status  Status // Violation or Unchecked
	Reason  string // for machines: one of the slugs in docs/cargo.md, "error" for others
	Message string // what is wrong: a phrase without a full stop
	Remedy  string // what to do next, likewise; may be empty

	err error
}

// Error returns two sentences, if there is a remedy.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + ". " + e.Remedy + "."
}

// Unwrap returns what the error wraps: one of this package's or of client's Err
// variables, in general.
func (e *Error) Unwrap() error { return e.err }

// Explain takes an error of a Verdict apart. It is not nil unless err is; Status is
// set only if err is a *Error already.
func Explain(err error) *Error {
	if err == nil {
		return nil
	}
	e := &Error{Reason: "error", Message: err.Error(), err: err}
	for _, s := range slugs {
		if errors.Is(err, s.reason) {
			e.Reason = s.slug
			break
		}
	}
	var ours *Error
	var theirs *client.Error
	switch {
	case errors.As(err, &ours) && err.Error() == ours.Error():
		e.Message, e.Remedy, e.Status = ours.Message, ours.Remedy, ours.Status
	case errors.As(err, &theirs) && err.Error() == theirs.Error():
		e.Message, e.Remedy = splitAdvice(theirs)
	}
	return e
}

// splitAdvice divides the text of a client.Error where its advice begins.
func splitAdvice(e *client.Error) (message, remedy string) {
	what := e.What
	if e.Err != nil {
		what += ": " + e.Err.Error()
	}
	message = e.Reason.Error() + ": " + what
	rest, ok := strings.CutPrefix(e.Error(), message+". ")
	if !ok {
		return e.Error(), ""
	}
	return message, strings.TrimSuffix(rest, ".")
}

// both is an error that is two, the first of which is the reason.
func both(reason, err error) error { return fmt.Errorf("%w: %w", reason, err) }

func refuse(reason error, remedy, format string, args ...any) error {
	return &Error{Message: fmt.Sprintf(format, args...), Remedy: remedy, err: reason}
}

// absent is what is said of a crate with a SHA-256, zero if it is not known, of which a log has no bundle: cause is what
// client.Log.Missing returned.
func absent(w Want, sum [32]byte, s *source, p *policy.Policy, cause error) error {
	var none *client.NotLoggedError
	if !errors.As(cause, &none) {
		return cause // it withholds
	}
	held := none.Held
	asOf := held.Checkpoint.AsOf()
	switch {
	case held.Logged && sum != ([32]byte{}) && held.SHA256 != sum:
		return refuse(client.ErrSubject, "Find out which of the two the registry has for everybody. A version that was deleted and "+
			"published again has two, of which the first counts here; an exception in zkp.toml excuses it",
			"the log %s holds one checksum for %s %s, %s: %x, by %s; this .crate has %x", s.origin, w.Name, w.Version,
			asOf, held.SHA256, held.By(), sum)
	case held.Logged:
		next := "Have it proven as the policy asks for: with a program that it accepts, of a commit that it expects; or make an " +
			"exception in zkp.toml"
		if held.Inherited {
			next = "Let the trust file name that log too, if you believe it, or have the version proven in this one"
		}
		return refuse(both(ErrNoClaim, client.ErrNotLogged), next,
			"the log %s holds %s %s, by %s, and hands out no claim about it that the policy counts, %s", s.origin, w.Name,
			w.Version, held.By(), asOf)
	}
	url, soon := "URL", ""
	if s.log != nil {
		url = s.log.URL
	}
	if p.RegistryBacked(s.origin) {
		soon = "If it was published within the last minutes, try again soon: this log takes a crate after the upload. "
	}
	if w.Demand.Registry != "" {
		url += " --index " + w.Demand.Registry
	}
	return refuse(client.ErrNotLogged, soon+fmt.Sprintf("Ask its author to publish with a proof, prove it yourself with \"cargo zkp "+
		"prove %s@%s --log %s\", or make an exception in zkp.toml", w.Name, w.Version, url),
		"the log %s has no entry for %s %s (proved not logged, %s): no one has proved this version there", s.origin, w.Name,
		w.Version, asOf)
}

func unreachable(w Want, s *source, err error) error {
	return refuse(both(ErrUnreachable, err), "Try again when the log answers; bundles "+
		"that were fetched before are in the cache",
		"the log %s did not say whether it holds %s %s: %v", s.origin, w.Name, w.Version, err)
}

// besides is unreachable for a crate whose bundle in the cache does not do.
func besides(network, cached error) error {
	return also(network, "the bundle in the cache does not do: ", cached)
}

// also is what is said of a crate if something else is wrong as well.
func also(first error, what string, second error) error {
	e := Explain(first)
	e.Message += "; " + what + Explain(second).Message
	e.err = both(first, second)
	return e
}

// doesNotDo is what is said of a bundle that a place holds and that does not verify.
func doesNotDo(a attempt) error {
	e := Explain(a.err)
	e.Message = "what " + a.place.name + " holds does not do: " + e.Message
	return e
}

func notCached(w Want) error {
	return refuse(ErrNotCached, "Run it once without --offline", "no bundle of %s %s is in the cache, "+
		"and nothing is fetched offline", w.Name, w.Version)
}

func notDownloaded(w Want) error {
	if w.Vendored != "" {
		return refuse(ErrNotDownloaded, "Run cargo zkp vendor "+w.Vendored+", which keeps it beside the sources", "the .crate of %s %s, "+
			"by which %s is compared, is not on this machine", w.Name, w.Version, w.Vendored)
	}
	return refuse(ErrNotDownloaded, "Run cargo fetch first", "the .crate of %s %s is not on this machine", w.Name,
		w.Version)
}

func unreadable(what string, err error) error {
	return refuse(both(ErrUnreadable, err), "", "%s cannot be read: %v", what, err)
}

func tooLarge(what string) error {
	return &client.Error{Reason: client.ErrFiles,
		What: fmt.Sprintf("%s has more than %d bytes, the most that is read", what, limits.Compressed)}
}

// place names the .crate for people.
func (w Want) place() string {
	if w.Path != "" && w.Raw == nil {
		return w.Path
	}
	return fmt.Sprintf("the .crate of %s %s", w.Name, w.Version)
}

func interrupted(err error) error {
	return refuse(both(ErrInterrupted, err), "", "it was stopped before this crate was checked")
}

func noLog(p *policy.Policy) error {
	remedy := "Name a trust file with the URL of a log under trust in " + p.Path
	if p.TrustDir != "" {
		remedy = "Put the trust file of a log that you trust, with its URL, into " + p.TrustDir
	}
	return refuse(ErrNoLog, remedy, "no trust file names a log that could be asked")
}
