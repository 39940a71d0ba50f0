// Package client is for those who rely on the log: it decides, offline and with
// a policy that the reader wrote, whether a .crate is the one that a proved,
// logged and witnessed entry is about.
//
// # Bundle
//
// What a log hands out is a bundle: one c2sp.org/tlog-proof@v1 with the entry, and
// what shows that it is not void, in its extra line; see Bundle. Beside the .crate and
// the policy it is all that Verify needs.
//
//	c2sp.org/tlog-proof@v1
//	extra <CBOR with the entry, base64>
//	index 2
//	<hash of the entry's sibling, base64>
//	<further hashes, up to the root's children>
//
//	example.com/log
//	7
//	<root hash, base64>
//
//	— example.com/log <signature of the log, base64>
//	— witness.example <cosignature of a witness, base64>
//
// Of everything above the signature lines there is one encoding only, and every
// byte of it is bound: by the signatures, or by the root hash that they sign.
// The extra line is not authenticated by itself; it is believed because its
// bytes hash to a leaf of the signed tree. What anybody can change without
// breaking a bundle are the signature lines as a whole: their order, lines of
// unknown keys, and cosignatures that the quorum does not need. A line of a
// known key stands there once and verifies, or the bundle is refused.
//
// # Look-up and page
//
// A log shows what it holds of a version, and that it holds nothing, with a look-up, and all that its index
// has of a crate, or of a binary, with pages: see SealedLookup and Page. Both are tlog-proofs of the seal. So a log
// that has no bundle of a version is told from one that withholds it: see Log.Missing.
//
// # Policy
//
// Whom to believe is said by a c2sp.org/tlog-policy file: see ParsePolicy.
//
// # Order of verification
//
// Verify checks the sizes; the bundle's form; the checkpoint: the log's
// signature, the quorum of witnesses, and how old it is; the entry's form; that
// the tree includes it, and ends in a seal whose map gives its version
// this checksum; that its subject is this .crate; its program and its
// proof, as far as it shows without the files; that the files are those of the claim and of
// the proof; and that nothing is unproven, or has other line ends than the commit, that the
// rules do not allow. The first check that fails ends it, with an error
// that wraps one of the Err variables of this package and tells what to do.
//
// What it does not check: that a seal's map is that of the leaves before it, and that
// the log showed everybody else the same tree. The first is for monitors, the second
// for witnesses and State.
package client
