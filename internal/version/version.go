// Package version says which version of cratelog a program is. There is no number in the code: the
// go command writes the tag and the commit that a program is built from into it, as "go version -m"
// shows. So a program cannot be called 0.1.0 that is not built from the commit with the tag v0.1.0.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"golang.org/x/mod/module"
)

// String is "0.1.0" for a program that was built from a tagged commit, without changes. For all
// others it is "development build of COMMIT", with 12 digits, and " with changes" if the files were
// not those of the commit; or "development build" where the go command did not learn the commit.
func String() string { return read().version }

// Commit returns the first 12 digits of the commit that the program was built from, or "" where the go
// command did not learn it.
func Commit() string { return read().rev }

// Line is what --version prints about a program: its name, String, and in parentheses the commit and
// its day, as far as they are known, the Go version, and the system.
func Line(program string) string {
	b := read()
	return fmt.Sprintf("%s %s (%s)", program, b.version, strings.Join(append(b.commit, runtime.Version(),
		runtime.GOOS+"/"+runtime.GOARCH), ", "))
}

// Asked reports whether the arguments of a program ask for its version only.
func Asked(args []string) bool {
	return len(args) == 1 && slices.Contains([]string{"--version", "-version", "-V", "version"}, args[0])
}

// built is what is known of a build.
type built struct {
	version string
	rev     string   // the commit's first digits
	commit  []string // its first digits and its day, if there are any
}

var read = sync.OnceValue(func() built {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return built{version: "development build"}
	}
	return of(info)
})

// of reads what the go command has written. A build in a clone has vcs settings; one of a module
// that was downloaded has the version only.
func of(info *debug.BuildInfo) (b built) {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	number, meta, _ := strings.Cut(info.Main.Version, "+")
	commit := settings["vcs.revision"]
	if rev, err := module.PseudoVersionRev(number); err == nil && commit == "" {
		commit = rev
	}
	commit = commit[:min(len(commit), 12)]
	b.rev = commit
	changed := strings.Contains(meta, "dirty") || settings["vcs.modified"] == "true"
	if commit != "" {
		day, _, _ := strings.Cut(settings["vcs.time"], "T")
		b.commit = []string{strings.TrimSpace(commit + " " + day)}
	}
	tagged := strings.HasPrefix(number, "v") && !module.IsPseudoVersion(number)
	switch {
	case tagged && !changed:
		b.version = number[1:]
	case commit == "":
		b.version = "development build"
	default:
		b.version, b.commit = "development build of "+commit, b.commit[:0]
		if changed {
			b.version += " with changes"
		}
	}
	return b
}
