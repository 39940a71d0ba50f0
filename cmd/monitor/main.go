// Command monitor follows transparency logs of crate proofs and believes nothing that it
// has not computed itself. See usage below and docs/monitoring.md.
package main

import (
	"context"
	"io"

	"cratelog/internal/daemon"
)

const usage = `monitor follows transparency logs of crate proofs.

	monitor init -config FILE         create the monitor's empty database, once
	monitor run -config FILE [-ready-file FILE]
	                                  follow the logs, alert and serve until SIGINT or
	                                  SIGTERM
	monitor check -config FILE [-json]
	                                  look at all that run would, and change nothing
	monitor once -config FILE [-json] look at everything once, alert, and say how it is
	monitor watch -config FILE [-crate NAME | -prefix TEXT | -path PATH | -commit HEX]
	        [-channel NAME] [-note TEXT] [-remove NUMBER]
	                                  report entries that match; without a flag: list
	                                  the watches
	monitor authorize -config FILE [-crate NAME -version VERSION [-sha256 HEX]
	        [-days N] -by NAME] [-remove NUMBER]
	                                  announce a release, so that watches do not report
	                                  it; without a flag: list what is announced
	monitor query -config FILE entries | entry KEY | raw KEY | bundle KEY | crate NAME |
	        checkpoints | checkpoint SIZE | findings | statistics | logs | witnesses
	        [--PARAMETER VALUE]...    answer from the database as the web API does; the
	                                  parameters are those of docs/monitor-api.md
	monitor export -config FILE csv|ndjson [--PARAMETER VALUE]...
	                                  print the history of all entries, or of some
	monitor verify-evidence FILE --trust FILE [--program FILE]...
	        [--crate FILE] [--development] [--json]
	                                  say what an evidence file shows, with the keys of
	                                  a trust file alone
	monitor test-alert -config FILE [-channel NAME]
	                                  send a test over the alert channels
	monitor ack -config FILE -by NAME -why TEXT NUMBER...
	                                  note who has taken care of findings, so that they
	                                  do not page again

Exit status: 0 all is well, or the evidence holds; 1 once: a security finding stands,
check: a check failed, verify-evidence: it does not hold, query: there is no such thing; 2 the command line is
wrong; 3 something could not be read or reached, or once: an operational finding stands.
`

func main() { daemon.Main("monitor", run) }

var verbs = map[string]daemon.Verb{
	"init":            initialize,
	"run":             runMonitor,
	"check":           check,
	"once":            once,
	"watch":           watch,
	"authorize":       authorize,
	"query":           query,
	"export":          export,
	"verify-evidence": verifyEvidence,
	"test-alert":      testAlert,
	"ack":             ack,
}

// run is the whole program: it does what args say until that is done or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return daemon.Run(ctx, usage, verbs, args, stdout, stderr)
}
