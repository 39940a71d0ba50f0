package credential

import "path/filepath"

// Dir is the directory target/zkp of a workspace. For each crate, "cargo zkp publish" keeps in
// NAME-VERSION/ of it
//
//	NAME-VERSION.crate       what was proved
//	NAME-VERSION.entry       the proof
//	NAME-VERSION.opening     the git objects themselves, if they are public
//	NAME-VERSION.tlog-proof  the bundle
//
// so that a run that ended early is taken up where it stopped. Check what is read from it as
// if it came from a stranger.
type Dir string

// What the names of the files end in.
const (
	ExtCrate   = ".crate"
	ExtEntry   = ".entry"
	ExtOpening = ".opening"
	ExtBundle  = ".tlog-proof"
)

// File returns where a file about a crate lies.
func (d Dir) File(name, version, ext string) string {
	both := name + "-" + version
	return filepath.Join(string(d), both, both+ext)
}
