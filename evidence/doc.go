// Package evidence is what one party shows to another when a log or a witness has
// cheated: files that carry all that is needed to check them, but the keys of the
// accused. This comment is the specification of the format.
//
// A file is text: UTF-8, lines that end in LF, at most 16 MiB (MaxSize). There is one
// encoding of everything. In the ABNF of RFC 5234:
//
//	file      = "cratelog/evidence/v2" LF
//	            "kind" SP kind LF
//	            "observed" SP time LF
//	            *8("source" SP text LF)
//	            [witness] [reason] [registry] [program] *2set *2statement [crate] [list] [opening]
//	            *2note *2entry *2lookup [root] *hash
//	kind      = "fork-same-size" / "fork-prefix" / "cosigner-fork" / "false-entry"
//	          / "entry-root-mismatch" / "stale" / "registry-mismatch"
//	          / "opening-contradiction" / "builder-contradiction"
//	          / "unsealed" / "index-omission" / "index-phantom"
//	time      = <RFC 3339, UTC, whole seconds, with "Z">
//	text      = <1 to 1024 bytes of printable UTF-8, no space at either end>
//	witness   = "witness" SP <name of the key> "+" 8hex LF
//	reason    = "reason" SP ("malformed" / "unknown-program" / "proof-invalid" / "files") LF
//	registry  = "registry" SP text LF
//	            "served" SP ("index" / "crate" / "line") SP 64hex LF
//	            ["line" SP url SP base64 LF]      ; of the index, with "served line"
//	program   = "program" SP length LF *OCTET     ; a program file, see package proofcheck
//	set       = "set" SP length LF *OCTET         ; a set file, see package build
//	statement = "statement" SP base64 LF          ; an entry, which need not be in any log
//	crate     = "crate" SP base64 LF              ; a .crate
//	list      = "list" SP base64 LF               ; a claim's list of files, see package crate
//	opening   = "opening" SP base64 LF            ; git objects, see package opening
//	note      = "note" SP length LF *OCTET        ; a c2sp.org/signed-note
//	entry     = "entry" SP number SP [base64] LF *63("path" SP base64 LF)
//	lookup    = "lookup" SP base64 SP [base64] SP [base64] LF
//	                                              ; key, value, proof: see package index
//	root      = "root" SP base64 LF
//	hash      = "hash" SP base64 LF
//	length    = number                            ; of the bytes in the lines that follow
//	url       = <text without a space>
//	number    = <decimal, below 2^62, without leading zeros>
//	hex       = DIGIT / %x61-66                   ; lower case
//	base64    = <standard, padded, canonical; 32 bytes in path, root and hash>
//
// Notes, programs and sets stand there byte by byte as they were found, a note with all of
// its signature lines, those of unknown keys too. They end in LF. A note's text is a
// c2sp.org/tlog-checkpoint; all notes of a file have one origin.
//
// # Kinds
//
// Fork of equal size (fork-same-size): two notes with one size and two roots, the one
// with the smaller root first. Both are signed by the log.
//
// Fork of different sizes (fork-prefix): the note with the smaller size first; then the
// root that the larger tree has at the smaller size, and the RFC 6962 consistency proof
// from there to the larger tree. The proof holds, and the root is not the smaller note's:
// so the larger tree does not begin with the smaller one. A consistency proof that merely
// fails would show nothing: an attacker can make one up.
//
// Fork of a cosigner (cosigner-fork): the line witness names a key, which cosigned two
// notes that show a fork of one of those two forms. It convicts the witness, whether or
// not the log signed them.
//
// False entry (false-entry): a note that the log signed, an entry with its index and
// inclusion path, and the reason: "malformed", its bytes are neither an entry nor a seal nor a start; "proof-invalid",
// its proof does not hold, whose program may be in the file: if the list is there, whose SHA-256
// the claim has, the proof does not hold for this list, and else it shows nothing by itself;
// "files", its subject is not what it claims, a .crate that is in the file unless it is too
// large for it;
// "unknown-program", the reader does not know the program, which convicts nobody.
//
// Root not made of the entries (entry-root-mismatch): a note of the log, and the hashes of
// the tree's leaves as they were captured: of each 256 leaves the root of their subtree, then
// the leaves that are left over. They lead to another root. What the log served is known from
// the captor alone, so others must download the entries themselves to see it; for a
// tree without entries it is proof.
//
// Contradicted by its own commit (opening-contradiction): a note that the log signed, an entry, the
// list of its claim, and objects of the claim's commit, as in an opening, of which the last says
// something else than the list; the entry's program may be in the file. The proof holds, and cannot
// be honest, which convicts the program: whoever made its keys, or has their secrets, forged it.
// The log could not know.
//
// A builder who contradicts himself (builder-contradiction): two entries about one build, with one tag,
// and two results, the one that is smaller as bytes first, and the set files of their roots, in this
// order, or one if both have the same root. There is no note, because a log includes only one of them:
// the proofs speak for themselves. Both hold, and the builder is in both sets. It convicts the builder,
// if he signed by name, or if all who contributed to a phase of a ceremony would have had to conspire to
// forge it. Under other keys it shows nothing about anybody: whoever has their secrets writes such a
// pair in the name of any member. The entries' program may be in the file; where its keys come from, the reader
// must know from somewhere else.
//
// Unsealed (unsealed): a note of the log, and the last leaf of its tree, which is no seal of the leaves
// before it. A seal of rules, or a leaf of a format, that the reader does not know convicts nobody.
//
// Left out of the index (index-omission): a note of the log; a leaf that its tree includes, and the last
// one, which is a seal; and a look-up in the map of the seal. The leaf is an entry that inserts the key,
// and the look-up shows that it does not stand there, or that a later leaf was the first. Or the leaf is the
// start at index 0: then there is a look-up of the same key in the start's map, which has a version there,
// while the map of the seal has nothing, or another value.
//
// Not in the log, but in the index (index-phantom): the same, of a key that the map of the seal has. The
// value names the first of the two leaves, which does not insert it: it inserts no such key, or
// another value. If the value counts in a log before this one, that leaf is the one at index 0: no start, or
// a start whose map, by a second look-up, does not have the key. There is the seal alone if the value names no
// leaf before the seal, or has not the form that the key's kind has.
//
// Of all three a log has signed what it sealed itself. An honest one may include an entry of another checksum
// than the first one of its version, which is void, and one that says what another one says: neither convicts
// anybody. A map whose root is another one than its seal says, and that gives no look-up which is wrong, everybody
// sees who adds the leaves up, and no file can show it.
//
// Stale (stale) and registry-mismatch convict nobody. The first is a note of the log
// and when it was seen. The second is an entry that a note of the log includes, and what checksum
// a registry's index had, or its .crate, at that time; or the line of the index at the URL, which
// has the entry's checksum, but says something else than the Cargo.toml of that .crate, which is
// in the file unless it is too large for it. A registry signs nothing.
//
// # What is not authenticated
//
// The time of observation, the sources, the registry's lines, names in the file of a hidden set, and
// signature lines that Verify does not need are the captor's word.
package evidence
