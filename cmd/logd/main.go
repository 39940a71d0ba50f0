// Command logd is the log server: it accepts crate proofs, and serves the
// transparent log of them. See usage in run.go and docs/operating.md.
package main

import "cratelog/internal/daemon"

func main() { daemon.Main("logd", run) }
