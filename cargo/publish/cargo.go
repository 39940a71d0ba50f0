package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cratelog/internal/durable"
	"cratelog/internal/outcome"
)

// Cargo is how cargo is run.
type Cargo struct {
	Program string    // "cargo", or what the environment's CARGO says
	Dir     string    // working directory
	Out     io.Writer // both outputs of cargo package and cargo publish

	// Flags are for every call: --locked, --offline, --frozen, --color, -q, -v.
	Flags []string
	// Manifest is the value of --manifest-path, "" for the one that cargo finds.
	Manifest string
	// TargetDir is where cargo writes, "" for where its configuration says.
	TargetDir string
}

// maxMetadata bounds what cargo metadata may print, in bytes.
const maxMetadata = 64 << 20

// call returns the command of a cargo subcommand.
func (c *Cargo) call(ctx context.Context, verb string, args ...string) *exec.Cmd {
	all := append([]string{verb}, c.Flags...)
	if c.Manifest != "" {
		all = append(all, "--manifest-path", c.Manifest)
	}
	cmd := exec.CommandContext(ctx, c.Program, append(all, args...)...)
	cmd.Dir = c.Dir
	cmd.Env = os.Environ()
	if c.TargetDir != "" {
		cmd.Env = append(cmd.Env, "CARGO_TARGET_DIR="+c.TargetDir) // cargo metadata has no --target-dir
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a subcommand whose output is for the person.
func (c *Cargo) run(ctx context.Context, env []string, verb string, args ...string) error {
	cmd := c.call(ctx, verb, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = c.Out, c.Out
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// metadata is what we need of cargo metadata.
type metadata struct {
	Packages  []*member                  `json:"packages"`
	Members   []string                   `json:"workspace_members"`
	Default   []string                   `json:"workspace_default_members"`
	TargetDir string                     `json:"target_directory"`
	Root      string                     `json:"workspace_root"`
	Metadata  map[string]json.RawMessage `json:"metadata"`
}

// logOf returns the log that [package.metadata.zkp] or [workspace.metadata.zkp]
// names, "" if none.
func logOf(m map[string]json.RawMessage, where string) (string, error) {
	var zkp struct {
		Log string `json:"log"`
	}
	if raw := m["zkp"]; raw != nil {
		if err := json.Unmarshal(raw, &zkp); err != nil {
			return "", fmt.Errorf("[%s.metadata.zkp] is not a table in which log is a string: %w", where, err)
		}
	}
	return zkp.Log, nil
}

// metadata asks cargo for the workspace. It does not touch the network.
func (c *Cargo) metadata(ctx context.Context) (*metadata, error) {
	cmd := c.call(ctx, "metadata", "--format-version", "1", "--no-deps")
	out, said := &durable.Buffer{Limit: maxMetadata}, &durable.Buffer{Limit: maxMetadata}
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("cargo metadata: %w\n%s", err, strings.TrimSpace(said.String()))
	}
	m := &metadata{}
	if err := json.Unmarshal(out.Bytes(), m); err != nil {
		return nil, fmt.Errorf("cargo metadata: %w", err)
	}
	return m, nil
}

// Selection says which members of the workspace are published. The zero value is
// what cargo publishes by default.
type Selection struct {
	Packages  []string // NAME or NAME@VERSION; * and ? stand for characters
	Workspace bool     // every member that may be published
	Exclude   []string // not these, with Workspace
}

// pick returns the members of a selection, those that others depend on first.
func (m *metadata) pick(s Selection) ([]*member, error) {
	if len(s.Exclude) > 0 && !s.Workspace {
		return nil, outcome.Usagef("--exclude can only be used with --workspace")
	}
	var picked []*member
	matched := map[string]bool{}
	for _, p := range m.Packages {
		if !slices.Contains(m.Members, p.ID) {
			continue
		}
		switch {
		case s.Workspace:
			if !p.matches(s.Exclude, matched) && p.mayPublish() {
				picked = append(picked, p)
			}
		case len(s.Packages) > 0:
			if p.matches(s.Packages, matched) {
				picked = append(picked, p)
			}
		case slices.Contains(m.Default, p.ID):
			picked = append(picked, p)
		}
	}
	for _, spec := range slices.Concat(s.Packages, s.Exclude) {
		if !matched[spec] {
			return nil, outcome.Usagef("no member of the workspace at %s is named %q", m.Root, spec)
		}
	}
	if len(picked) == 0 {
		return nil, outcome.Usagef("nothing to publish: no member of the workspace at %s may be published; see "+
			"\"publish\" in Cargo.toml", m.Root)
	}
	for _, p := range picked {
		if !p.mayPublish() {
			return nil, outcome.Refusef("%s says publish = false in its Cargo.toml", p)
		}
	}
	return inOrder(picked), nil
}

// member is one package of the workspace.
type member struct {
	ID           string                     `json:"id"`
	Name         string                     `json:"name"`
	Version      string                     `json:"version"`
	Manifest     string                     `json:"manifest_path"`
	Publish      []string                   `json:"publish"` // registries; null for any
	Dependencies []dependency               `json:"dependencies"`
	Metadata     map[string]json.RawMessage `json:"metadata"`
}

type dependency struct {
	Name string `json:"name"`
	Req  string `json:"req"`
	Kind string `json:"kind"` // "" for normal, dev, build
	Path string `json:"path"`
}

func (p *member) String() string { return p.Name + " v" + p.Version }
func (p *member) spec() string   { return p.Name + "@" + p.Version }

// mayPublish is false for publish = false, which cargo tells as an empty list.
func (p *member) mayPublish() bool { return p.Publish == nil || len(p.Publish) > 0 }

// matches says whether a specification fits, and notes which.
func (p *member) matches(specs []string, matched map[string]bool) bool {
	any := false
	for _, spec := range specs {
		name, version, versioned := strings.Cut(spec, "@")
		if ok, err := path.Match(name, p.Name); err == nil && ok && (!versioned || version == p.Version) {
			matched[spec], any = true, true
		}
	}
	return any
}

// dependsOn says whether cargo must find q in the registry to publish p: a path
// dependency, but for a dev-dependency without a version, which cargo leaves out.
func (p *member) dependsOn(q *member) bool {
	dir := filepath.Dir(q.Manifest)
	return slices.ContainsFunc(p.Dependencies, func(d dependency) bool {
		return d.Path != "" && filepath.Clean(d.Path) == dir && (d.Kind != "dev" || d.Req != "*")
	})
}

// inOrder sorts members so that each comes after those it depends on. cargo refuses
// cycles itself; what is left of one comes last.
func inOrder(members []*member) []*member {
	rest := slices.Clone(members)
	slices.SortFunc(rest, func(a, b *member) int { return strings.Compare(a.Name, b.Name) })
	var out []*member
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, func(p *member) bool {
			return !slices.ContainsFunc(rest, func(q *member) bool { return p != q && p.dependsOn(q) })
		})
		i = max(i, 0)
		out, rest = append(out, rest[i]), slices.Delete(rest, i, i+1)
	}
	return out
}
