package verdict

// abouts say of each reason what happened, as docs/cargo.md does.
var abouts = map[string]string{
	"not-logged":           "no log that is trusted has an entry for this version",
	"no-claim":             "the log holds the version, and no claim about it that the policy counts",
	"withheld":             "a log says that it has no entry, and does not show it",
	"void":                 "the log holds another checksum for the version, by an entry that was first",
	"no-seal":              "the log does not show what else it holds: its tree ends in no valid seal",
	"another-crate":        "the `.crate` is not the one that the entry, or the lock file, names",
	"source-tampered":      "what cargo would unpack or build is not what the lock file names",
	"index-differs":        "the registry's index names other dependencies or features than the proven `Cargo.toml`",
	"files":                "the files do not follow from the claim, or the archive is refused",
	"unproven":             "files are unproven that the policy wants proven",
	"proof":                "the proof does not hold: the log accepted a false entry, and evidence of it is kept",
	"program":              "the proof is of a program that the policy does not accept",
	"not-included":         "the log's tree does not hold the entry",
	"log-signature":        "no valid signature of the log",
	"cosignature":          "a witness's line does not verify",
	"quorum":               "too few witnesses cosigned",
	"no-witnesses":         "the trust file asks for none",
	"stale":                "cosigned longer ago than `max-age`",
	"unknown-log":          "the bundle is of a log that no trust file lists",
	"fork":                 "the log signed two histories; evidence is kept",
	"consistency":          "nothing shows that the log's tree continues the one it showed before",
	"malformed-bundle":     "the bundle is not in that format",
	"malformed-checkpoint": "the checkpoint is not in that format",
	"malformed-entry":      "the entry is not in that format",
	"policy":               "the trust file cannot be used",
	"not-downloaded":       "the `.crate` is not on this disk",
	"index-not-seen":       "no line of the registry's index for the crate was seen, or none that can be read",
	"not-cached":           "the bundle is not in the cache, and `--offline`",
	"unreachable":          "the log did not answer",
	"registry":             "the crate is of a registry about whose crates the policy lets no log be asked",
	"unexpected":           "the crate's source stands elsewhere than `[[expect]]` says",
	"crlf":                 "files have CRLF line ends where the commit has LF, and `crlf` does not allow that",
	"no-opening":           "the policy wants an opening, and there is none, or it shows nothing",
	"contradicted":         "the commit's own objects contradict the claim: its program's keys were forged with; evidence is kept",
	"signed-by":            "the commit is not signed with a key that `signed-by` names",
	"left-out":             "the `.crate` lacks a file that its manifest names, and `left-out = \"refuse\"`",
	"trusted-publishing":   "the registry says that it was published from another commit than the proven one",
	"another-binary":       "no builder made this binary",
	"builders":             "only members who do not count, or of sets that the policy does not list, say what it is",
	"too-few":              "fewer members of the set say so than `need`",
	"dissent":              "more members say otherwise than `tolerate`",
	"toolchain":            "it was built with another toolchain than the policy lists",
	"environment":          "it was built in another environment than the policy lists",
	"lock":                 "it was not built from the `Cargo.lock` in the `.crate`, or what was compiled does not stand there",
	"sources":              "crates that were compiled into it are not proven, and must be",
	"malformed-builds":     "the file of builds is not one, or its list of crates is another than the builders'",
	"no-builders":          "the policy has no `[builds]`",
	"no-log":               "no trust file names a log that could be asked",
	"not-verifiable":       "there is no `.crate` that could be verified, or nothing could be checked",
}

// About says in a clause what a reason is about: Error.Reason, or not-verifiable.
func About(reason string) string {
	if text := abouts[reason]; text != "" {
		return text
	}
	return "it could not be checked"
}
