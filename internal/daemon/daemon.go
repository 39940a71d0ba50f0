// Package daemon is what the programs that serve have in common: how they read a command line, make
// and show keys, check their settings before they start, tell files and systemd that they are ready,
// take settings over again, and stop.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"cratelog/config"
	"cratelog/internal/durable"
	"cratelog/internal/outcome"
	"cratelog/internal/version"
)

// A Verb does what args say until that is done or ctx ends.
type Verb func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// Main is a whole program: it ends with the exit code of what run returns. ctx ends with
// SIGINT or SIGTERM. Each program knows --version.
func Main(program string, run Verb) {
	if version.Asked(os.Args[1:]) {
		fmt.Println(version.Line(program))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(outcome.Exit(program, err, os.Stderr))
}

// Run does the verb that args begin with. Each program knows help, and help of each verb: its part of
// the usage, and its flags. A mistake is said in a sentence, with where help is.
func Run(ctx context.Context, usage string, verbs map[string]Verb, args []string, stdout, stderr io.Writer) error {
	program, _, _ := strings.Cut(usage, " ")
	if len(args) == 0 {
		return outcome.Usagef("no command is given\n\"%s help\" lists them", program)
	}
	if IsHelp(args[0]) || args[0] == "help" {
		if len(args) == 1 {
			_, err := io.WriteString(stdout, usage)
			return err
		}
		args = []string{args[1], "--help"}
	}
	verb := verbs[args[0]]
	if verb == nil {
		return outcome.Usagef("there is no command %q\n\"%s help\" lists them", args[0], program)
	}
	err := verb(ctx, args[1:], stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		if err := explain(stdout, usage, args[0], err); err != nil {
			return err
		}
	}
	if outcome.Of(err) == outcome.Usage {
		return outcome.Usagef("%w\n\"%s help %s\" tells how to call it", err, program, args[0])
	}
	return err
}

// IsHelp says whether an argument asks for help.
func IsHelp(arg string) bool { return slices.Contains([]string{"-h", "-help", "--help"}, arg) }

// asked is that help is asked for of a verb with flags.
type asked struct{ fs *flag.FlagSet }

func (asked) Error() string { return flag.ErrHelp.Error() }
func (asked) Unwrap() error { return flag.ErrHelp }

// explain prints what usage says of a verb, and the flags that why has.
func explain(w io.Writer, usage, verb string, why error) error {
	program, _, _ := strings.Cut(usage, " ")
	var b strings.Builder
	in := false
	for line := range strings.Lines(usage) {
		if rest, ok := strings.CutPrefix(line, "\t"+program+" "); ok {
			in = strings.HasPrefix(rest, verb+" ")
		} else if strings.TrimSpace(line) == "" {
			in = false
		}
		if in {
			b.WriteString(line)
		}
	}
	var a asked
	if errors.As(why, &a) {
		a.fs.SetOutput(&b)
		b.WriteString("\n")
		a.fs.PrintDefaults()
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ParseBetween parses the flags of a command, which may stand before, between and after its
// arguments. It returns those.
func ParseBetween(fs *flag.FlagSet, args []string) ([]string, error) {
	fs.SetOutput(io.Discard) // outcome.Exit prints the error
	var others []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			return nil, asked{fs}
		} else if err != nil {
			return nil, outcome.Misuse(err)
		}
		if fs.NArg() == 0 {
			return others, nil
		}
		others, args = append(others, fs.Arg(0)), fs.Args()[1:]
	}
}

// Parse parses the flags of a command, which takes no other arguments, and requires
// those named to be given.
func Parse(fs *flag.FlagSet, args []string, required ...string) error {
	others, err := ParseBetween(fs, args)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return outcome.Usagef("%s takes no argument %q", fs.Name(), others[0])
	}
	for _, name := range required {
		if fs.Lookup(name).Value.String() == "" {
			return outcome.Usagef("%s needs -%s", fs.Name(), name)
		}
	}
	return nil
}

// Keys are the verbs keygen and vkey.
type Keys struct {
	Name  string                                                     // the flag that names a key: origin or name
	Types map[string]func(path string, passphrase []byte) error      // make a key file; ed25519 is the default
	VKey  func(path, name string, passphrase []byte) (string, error) // of a key file
	All   func(settings string) (vkeys []string, err error)          // of the keys that a settings file names
}

// Keygen makes a key file and prints its vkey.
func (k Keys) Keygen(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("keygen", flag.ContinueOnError)
	name := fs.String(k.Name, "", "the key's `NAME`")
	out := fs.String("out", "", "key `FILE` to write")
	kind := new("ed25519")
	secret := fs.String("passphrase-file", "", "encrypt the key with the passphrase in `FILE`")
	types := strings.Join(slices.Sorted(maps.Keys(k.Types)), " or ")
	if len(k.Types) > 1 {
		fs.StringVar(kind, "type", *kind, "`TYPE` of the key: "+types)
	}
	if err := Parse(fs, args, k.Name, "out"); err != nil {
		return err
	}
	if err := config.CheckKeyName(*name); err != nil {
		return outcome.Misuse(err)
	}
	generate := k.Types[*kind]
	if generate == nil {
		return outcome.Usagef("keygen: -type is %s, not %q", types, *kind)
	}
	passphrase, err := readPassphrase(*secret)
	if err != nil {
		return err
	}
	if err := generate(*out, passphrase); err != nil {
		return err
	}
	return k.print(stdout, *out, *name, passphrase)
}

// readPassphrase reads the file that a flag names, if it does.
func readPassphrase(file string) ([]byte, error) {
	if file == "" {
		return nil, nil
	}
	return config.ReadPassphrase("", file)
}

// Show prints the vkey of a key file, or those of a settings file, one a line.
func (k Keys) Show(_ context.Context, args []string, stdout, _ io.Writer) error {
	fs := flag.NewFlagSet("vkey", flag.ContinueOnError)
	name := fs.String(k.Name, "", "the key's `NAME`")
	key := fs.String("key", "", "key `FILE`")
	secret := fs.String("passphrase-file", "", "the passphrase of the key stands in `FILE`")
	settings := fs.String("config", "", "settings `FILE`, instead of the others: the vkey of each of its keys")
	if err := Parse(fs, args); err != nil {
		return err
	}
	if *settings != "" && *key+*name+*secret == "" {
		vkeys, err := k.All(*settings)
		for _, vkey := range vkeys {
			fmt.Fprintln(stdout, vkey)
		}
		return err
	}
	if *settings != "" || *key == "" || *name == "" {
		return outcome.Usagef("vkey needs either -config, or -%s and -key", k.Name)
	}
	passphrase, err := readPassphrase(*secret)
	if err != nil {
		return err
	}
	return k.print(stdout, *key, *name, passphrase)
}

func (k Keys) print(stdout io.Writer, path, name string, passphrase []byte) error {
	vkey, err := k.VKey(path, name, passphrase)
	if err == nil {
		_, err = fmt.Fprintln(stdout, vkey)
	}
	return err
}

// WriteReady writes a URL to a file, whole or not at all: a script waits for it, and
// never reads half a URL. Without a path it does nothing.
func WriteReady(path, url string) error {
	if path == "" {
		return nil
	}
	return durable.Write(path, []byte(url+"\n"), 0o644)
}

// RemoveReady removes what WriteReady wrote.
func RemoveReady(path string) error {
	if path == "" {
		return nil
	}
	return os.Remove(path)
}

// Listen listens on the address that a setting of a file names.
func Listen(address, setting, file string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: end what listens there, or choose another address: the setting %q of %s",
			err, setting, file)
	case err != nil:
		return nil, fmt.Errorf("%w: the setting %q of %s names the address", err, setting, file)
	}
	return l, nil
}

// Serve serves until ctx ends, then lets requests under way finish until the
// deadline. The server must have its timeouts set. The service manager is told when it begins, how
// the program is, and when it stops.
func Serve(ctx context.Context, server *http.Server, l net.Listener, logger *slog.Logger,
	deadline time.Duration) error {
	server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	failed := make(chan error, 1) // buffered: after a signal its reader is gone
	go func() { failed <- server.Serve(l) }()
	notify(logger, ready)
	tending, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { tend(tending, logger, server.Handler) })
	defer running.Wait()
	defer stop()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	notify(logger, stopping, "STATUS=finishing what was begun")
	logger.Info("the server stops")
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadline)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		server.Close()
		return errors.Join(errors.New("requests under way did not finish in time and were cut off"), err)
	}
	return nil
}
