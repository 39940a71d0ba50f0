// Command ceremony makes the keys of a source program, alone or together with people who
// need not trust each other. See usage below and docs/ceremony.md.
//
// Exit status: 0 all is well; 1 the transcript, a contribution or a beacon is refused;
// 2 the command line is wrong; 3 it could not be done or checked: the ceremony is not
// finished, a file cannot be read or written, or it was interrupted.
package main

import "cratelog/internal/daemon"

func main() { daemon.Main("ceremony", run) }
