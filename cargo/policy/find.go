package policy

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Place says where to look for a policy.
type Place struct {
	Flag     string // what --policy says; "" without
	Metadata string // [workspace.metadata.zkp] policy, relative to Root; "" without
	Root     string // directory of the workspace's Cargo.toml and Cargo.lock; "" without one
	UserDir  string // UserDir's result

	// What a command line says on top of the file that is found. Trust and Programs
	// stand instead of the file's own, if there are any; paths are relative to the
	// working directory.
	Trust, Programs []string
	Development     bool
	RegistryBacked  []string // origins of logs, beside the file's own

	NoFile       bool // no file is looked for: the default policy
	NoExceptions bool // the file of exceptions is not read: it may not be there
}

// NoTrust says that a policy believes no log, and what to do about it.
func (p *Policy) NoTrust() string {
	where := "name its file with --trust (--zkp-trust for the verbs of cargo)"
	if p.TrustDir != "" {
		where += ", or put it into " + p.TrustDir
	}
	return "no trust file says which logs and witnesses to believe; get a log's from a source that you trust and " + where +
		"; cargo zkp init --from-lock --trust PATH takes it, with its program, into a workspace"
}

// Register registers the options that every command line has about whom to believe.
func (p *Place) Register(fs *flag.FlagSet) {
	p.RegisterTrust(fs)
	fs.BoolVar(&p.Development, "development", false, "accept proofs made with UNSAFE development keys, "+
		"which anyone can forge")
}

// RegisterTrust registers --policy and --trust.
func (p *Place) RegisterTrust(fs *flag.FlagSet) {
	fs.StringVar(&p.Flag, "policy", "", "`FILE` that says what must be proven and whom to believe "+
		"(default: the nearest zkp.toml)")
	fs.Func("trust", "`FILE` of logs and witnesses to believe, a C2SP tlog-policy, instead of those "+
		"that the policy names; may be repeated", AppendTo(&p.Trust))
}

// AppendTo is what flag.FlagSet.Func calls for an option that may be repeated.
func AppendTo(list *[]string) func(string) error {
	return func(v string) error {
		*list = append(*list, v)
		return nil
	}
}

// UserDir is the user's directory for settings of cratelog: cratelog below
// os.UserConfigDir; "" where there is no such.
func UserDir() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "cratelog")
}

// Find returns the path of the policy that counts, or "" if there is none: the one
// that Flag names, or Metadata; else zkp.toml in Root or in the nearest directory
// above it, up to the top of the git repository that holds it; else zkp.toml in
// UserDir. Outside of a repository it does not look above Root, where the files
// may be anyone's. A policy that is named and is not there is an error.
func (p Place) Find() (string, error) {
	if p.Flag != "" {
		return p.Flag, mustExist(p.Flag, "--policy")
	}
	if p.Metadata != "" {
		path := filepath.FromSlash(p.Metadata)
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.Root, path)
		}
		return path, mustExist(path, "[workspace.metadata.zkp] policy")
	}
	var dirs []string
	if p.Root != "" {
		var err error
		if dirs, err = upToRepository(p.Root); err != nil {
			return "", err
		}
	}
	if p.UserDir != "" {
		dirs = append(dirs, p.UserDir)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, FileName)
		if found, err := exists(path); err != nil || found {
			return path, err
		}
	}
	return "", nil
}

// Load finds the policy that counts and loads it; without any it is that of Load("").
func (p Place) Load() (*Policy, error) {
	path, err := "", error(nil)
	if !p.NoFile {
		path, err = p.Find()
	}
	if err != nil {
		return nil, err
	}
	f, err := readFile(path)
	if err != nil {
		return nil, err
	}
	f.Backed = slices.Concat(f.Backed, p.RegistryBacked)
	f.Development, f.without = f.Development || p.Development, p.NoExceptions
	for _, o := range []struct{ from, to *[]string }{{&p.Trust, &f.Trust}, {&p.Programs, &f.Programs}} {
		if len(*o.from) == 0 {
			continue
		}
		*o.to = nil
		for _, name := range *o.from {
			abs, err := filepath.Abs(name)
			if err != nil {
				return nil, err
			}
			*o.to = append(*o.to, filepath.ToSlash(abs))
		}
	}
	return f.policy(p.UserDir)
}

// upToRepository returns dir and those above it up to the nearest one with .git
// in it, or dir alone if there is no such.
func upToRepository(dir string) ([]string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	dirs := []string{dir}
	for {
		if found, err := exists(filepath.Join(dir, ".git")); err != nil {
			return nil, err
		} else if found {
			return dirs, nil
		}
		if dir == filepath.Dir(dir) {
			return dirs[:1], nil
		}
		dir = filepath.Dir(dir)
		dirs = append(dirs, dir)
	}
}

// exists fails closed: what cannot be looked at is not passed over.
func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func mustExist(path, who string) error {
	found, err := exists(path)
	if err == nil && !found {
		return fmt.Errorf("%s names %s, which does not exist; correct the name, or write one with cargo zkp init",
			who, path)
	}
	return err
}

// globPolicies lists the *.policy files of a directory, sorted. A directory that
// does not exist has none.
func globPolicies(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".policy") && !strings.HasPrefix(name, ".") {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}
