// Command witness cosigns the checkpoints of transparency logs, as
// c2sp.org/tlog-witness says. See usage below and docs/operating.md.
package main

import "cratelog/internal/daemon"

func main() { daemon.Main("witness", run) }
