// Package testdata embeds the crates of this folder, which make.sh makes, and
// their entries, for programs that show or measure cratelog at work.
package testdata

import "embed"

// Files holds NAME-VERSION.crate and NAME-VERSION.entry.
//
//go:embed *.crate *.entry
var Files embed.FS
