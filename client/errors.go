package client

import "fmt"

// Reasons for which Verify and the functions that it is made of refuse. They are
// wrapped in an *Error, which says more; compare with errors.Is.
var (
	// ErrPolicy: the policy cannot be used. See also *PolicyError.
	ErrPolicy error = &reason{"trust file not usable",
		"Correct the trust file; nothing is believed without one"}
	// ErrBundle: the bundle, or the look-up or page, is not a strict c2sp.org/tlog-proof@v1 with what it should hold.
	ErrBundle error = &reason{"malformed bundle",
		"Fetch the bundle again; if it stays like this, tell the log's operator"}
	// ErrCheckpoint: the checkpoint is not a strict c2sp.org/tlog-checkpoint.
	ErrCheckpoint error = &reason{"malformed checkpoint",
		"Fetch it again; if it stays like this, tell the log's operator"}
	// ErrLog: the checkpoint is of a log that the policy does not list.
	ErrLog error = &reason{"unknown log",
		"Get a bundle of a log that the trust file lists; add a log to it only if you trust it"}
	// ErrLogSignature: no signature of the log that the checkpoint names, or a bad one.
	ErrLogSignature error = &reason{"no valid signature of the log",
		"Do not use the crate: anyone can have written this bundle. Fetch it again from the log itself"}
	// ErrCosignature: a line of a known witness does not verify.
	ErrCosignature error = &reason{"bad cosignature",
		"Do not use the crate. Fetch the bundle again; if it stays like this, tell the log's operator and the witness"}
	// ErrQuorum: too few of the policy's witnesses cosigned.
	ErrQuorum error = &reason{"too few witnesses",
		"Do not use the crate yet: a log alone can show two people two different things. Fetch a bundle " +
			"that more witnesses have cosigned"}
	// ErrNoWitnesses: the policy asks for no witness, and the rules do not allow that.
	ErrNoWitnesses error = &reason{"no witnesses asked for",
		"Name witnesses and a quorum in the trust file"}
	// ErrStale: the checkpoint is older than the rules allow.
	ErrStale error = &reason{"stale checkpoint",
		"Fetch a newer bundle. If there is none, the log has stopped or is hidden from you; check your " +
			"own clock as well"}
	// ErrEntry: the bytes in the extra line are no entry.
	ErrEntry error = &reason{"malformed entry",
		"Fetch the bundle again; if your program is old, a newer one may know this entry's format"}
	// ErrInclusion: the log's tree does not hold the entry at this index.
	ErrInclusion error = &reason{"entry not in the log",
		"Do not use the crate: what was shown is not what the log signed. Fetch the bundle again from the log itself"}
	// ErrSeal: it is not shown that the tree ends in a seal of the log's index, or that the index says what it must.
	ErrSeal error = &reason{"no valid seal",
		"Do not use the crate: this does not show what else the log holds. Fetch the bundle again; if it stays like " +
			"this, keep it and tell the monitors"}
	// ErrWithheld: the log says that it holds nothing, and does not show it.
	ErrWithheld error = &reason{"the log withholds what it holds",
		"Do not take it for not logged. Ask again, or a mirror of the log; if it stays like this, tell the monitors"}
	// ErrVoid: the log holds another checksum for the version, which was first.
	ErrVoid error = &reason{"void entry",
		"Do not use the .crate: the version's one checksum in this log is another one. Tell the crate's owner and " +
			"the monitors"}
	// ErrSubject: the entry is about another .crate.
	ErrSubject error = &reason{"another crate",
		"Do not use the .crate. Download it again; if it stays like this, the bytes you were served are " +
			"not those that were proved"}
	// ErrProgram: the proof is of a program that the verifier does not accept.
	ErrProgram error = &reason{"program not accepted",
		"Do not use the crate. If you trust whoever made the program's key, get its file from them and name it with " +
			"--program, or under programs in zkp.toml; a newer version of this tool may hold it"}
	// ErrProof: the proof does not hold. A log must never have accepted it.
	ErrProof error = &reason{"proof does not hold",
		"Do not use the crate, and keep the bundle: it shows that the log accepted a false entry. Tell " +
			"the log's operator and the monitors"}
	// ErrFiles: the .crate is not acceptable, or holds other files than the claim.
	ErrFiles error = &reason{"files do not match the claim",
		"Do not use the crate, and tell its author and the monitors"}
	// ErrUnproven: the claim leaves out files that the rules want proven.
	ErrUnproven error = &reason{"unproven files",
		"Look at these files yourself and allow them in your rules, or do not use the crate"}
	// ErrCRLF: files have CRLF line ends where the commit has LF, and the rules want the commit's.
	ErrCRLF error = &reason{"other line ends than the commit's",
		"Allow that in your rules if it is as harmless as it looks: nothing else differs, but include_str and " +
			"include_bytes see it"}
	// ErrJoined: the file is no joined file.
	ErrJoined error = &reason{"malformed file of builds",
		"Get it again, or make it with cargo zkp verify --binary FILE --join OUT"}
)

// ErrTrust: a trust file may not take the place of the one at hand; see Trust.CheckUpdate.
var ErrTrust error = &reason{"no successor of the trust file",
	"Keep the trust file that you have, and ask those who maintain it, by another way than this one"}

// Reasons of State.
var (
	// ErrFork: a log signed two different trees of the same size. See *ForkError.
	ErrFork error = &reason{"the log signed two different trees",
		"Do not use this log. Keep the evidence and give it to the monitors and the witnesses: it " +
			"convinces anyone who knows the log's key"}
	// ErrConsistency: nothing shows that a checkpoint continues another one.
	ErrConsistency error = &reason{"not shown to be consistent",
		"Fetch the checkpoint and the proof again from the log itself. If it stays like this, tell the " +
			"monitors; a proof that fails is no evidence yet"}
)

// reason is what the Err variables are: a short name, and what to do about it.
type reason struct{ name, advice string }

func (r *reason) Error() string { return r.name }

// Error says why something was refused. Its text is for people: what is wrong,
// and what to do next.
type Error struct {
	Reason error  // one of the Err variables of this package
	What   string // what is wrong, and in which file or field
	Err    error  // the cause, if another package named one; else nil
}

// Error returns two sentences: what is wrong, and what to do next.
func (e *Error) Error() string {
	s := e.cause()
	if r, ok := e.Reason.(*reason); ok {
		s += ". " + r.advice + "."
	}
	return s
}

// cause is the first of the sentences, without its period.
func (e *Error) cause() string {
	s := e.What
	if r, ok := e.Reason.(*reason); ok {
		s = r.name + ": " + s
	}
	if c, ok := e.Err.(*Error); ok {
		return s + ": " + c.cause()
	} else if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the reason and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

func refuse(reason error, format string, args ...any) error {
	return &Error{Reason: reason, What: fmt.Sprintf(format, args...)}
}

func refuseErr(reason, cause error, format string, args ...any) error {
	return &Error{Reason: reason, What: fmt.Sprintf(format, args...), Err: cause}
}
