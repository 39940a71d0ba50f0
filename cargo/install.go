package cargo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"cratelog/internal/durable"
)

// A Proxy is a replacement of cargo's default registry in a configuration file.
type Proxy struct {
	Name   string   // of the lines in the file, of letters, digits, - and _
	Source string   // name of the source: [source.NAME]. cargo prints it
	URL    string   // base of its sparse index, without "sparse+"; http or https, with "/" at the end
	Notes  []string // comments, a line each
}

// The lines of ours in a configuration file stand between one that begins with beginLine, and
// endLine.
const (
	beginLine = "# cargo zkp proxy %s: begin"
	remedy    = "; cargo zkp proxy --uninstall takes these lines away"
	madeFile  = " (in a new file)" // which goes with them
	endLine   = "# cargo zkp proxy %s: end"
)

// defaultLines have cargo's commands that speak to a registry speak to the real one, as if
// nothing were replaced: otherwise they refuse.
const defaultLines = `
# So that cargo publish, search, owner and yank go to the registry itself. cargo info needs
# --registry crates-io.
[registry]
default = "` + DefaultSource + `"
`

// InstallProxy writes the lines for a proxy into the configuration file at path, which it
// makes if need be, and returns whether it changed anything. Lines of an earlier InstallProxy
// for the same name are replaced, all else stays as it is. It refuses if the file already
// replaces the default registry by another, if [source.NAME] is there and not ours, and if
// cargo would not read the file. The file is exchanged in one step.
func InstallProxy(path string, p Proxy) (changed bool, err error) {
	if err := p.check(); err != nil {
		return false, err
	}
	if legacy, err := findFile(filepath.Dir(path), "config"); err != nil {
		return false, err
	} else if legacy != "" && filepath.Base(legacy) == "config" && !sameFile(legacy, path) {
		return false, wrong(legacy, "", "is what cargo reads instead of %s; rename it to config.toml first", path)
	}
	old, isNew, err := readConfig(path)
	if err != nil {
		return false, err
	}
	if n := len(old); n > 0 && old[n-1] != '\n' {
		old = append(old, '\n')
	}
	start, end, made, err := findBlock(path, old, p.Name)
	if err != nil {
		return false, err
	}
	if start == end {
		start, end, made = len(old), len(old), isNew
	}
	rest := bytes.Join([][]byte{old[:start], old[end:]}, nil)
	if err := p.refuse(path, rest); err != nil {
		return false, err
	}
	lines := p.lines(made, !says(rest, "registry"))
	content := bytes.Join([][]byte{old[:start], lines, old[end:]}, nil)
	if err := p.onlyOurs(path, content, rest); err != nil {
		return false, err
	}
	if bytes.Equal(content, old) && !isNew {
		return false, nil
	}
	return true, replaceFile(path, content)
}

// UninstallProxy takes the lines away that InstallProxy wrote for a name, and returns whether
// there were any. A file that InstallProxy made and that has nothing else in it goes too.
func UninstallProxy(path, name string) (changed bool, err error) {
	old, isNew, err := readConfig(path)
	if err != nil || isNew {
		return false, err
	}
	start, end, made, err := findBlock(path, old, name)
	if err != nil || start == end {
		return false, err
	}
	p, err := installed(path, old[start:end])
	if err != nil {
		return false, err
	}
	rest := bytes.Join([][]byte{old[:start], old[end:]}, nil)
	if err := p.onlyOurs(path, old, rest); err != nil {
		return false, err
	}
	if made && len(rest) == 0 {
		return true, os.Remove(path)
	}
	return true, replaceFile(path, rest)
}

// InstalledProxy returns the URL that InstallProxy wrote into a file for a name, "" if it did
// not.
func InstalledProxy(path, name string) (url string, err error) {
	b, isNew, err := readConfig(path)
	if err != nil || isNew {
		return "", err
	}
	start, end, _, err := findBlock(path, b, name)
	if err != nil || start == end {
		return "", err
	}
	p, err := installed(path, b[start:end])
	return p.URL, err
}

// Behind returns where crates of the default registry would come from if it were not replaced
// by sources of these names.
func (c *Config) Behind(names ...string) (Source, error) {
	for _, with := range c.All("source", DefaultSource, "replace-with") {
		name, ok := with.Value.(string)
		if ok && !slices.Contains(names, name) {
			s, err := c.follow(name)
			s.Because = with.File + ", source." + DefaultSource + ".replace-with"
			return s, err
		}
	}
	return c.place(DefaultSource, "")
}

func (p Proxy) check() error {
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.HasSuffix(p.URL, "/") ||
		u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the proxy's URL %q must be http or https and end with a slash", p.URL)
	}
	if p.Name == "" || join("", p.Name) != p.Name || p.Source == "" || p.Source == DefaultSource {
		return fmt.Errorf("the name %q must be of letters, digits, - and _ only, and the source's name %q another than %s",
			p.Name, p.Source, DefaultSource)
	}
	if strings.ContainsAny(strings.Join(p.Notes, ""), "\r\n") {
		return errors.New("a note must be one line")
	}
	return nil
}

// lines returns what is written, with the marks around it.
func (p Proxy) lines(made, withDefault bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, beginLine, p.Name)
	if made {
		b.WriteString(madeFile)
	}
	b.WriteString(remedy + "\n")
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "# %s\n", note)
	}
	fmt.Fprintf(&b, "[source.%s]\nreplace-with = %s\n\n[%s]\nregistry = %s\n", DefaultSource, tomlString(p.Source),
		join("source", p.Source), tomlString("sparse+"+p.URL))
	if withDefault {
		b.WriteString(defaultLines)
	}
	fmt.Fprintf(&b, endLine+"\n", p.Name)
	return b.Bytes()
}

// says is whether a file has a key at its top.
func says(b []byte, key string) bool {
	doc, err := parseTOML("", b)
	return err != nil || doc[key] != nil
}

func tomlString(s string) string {
	b, err := toml.Marshal(map[string]string{"k": s})
	if err != nil {
		panic(err) // a string can always be written
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(b), "k = "), "\n")
}

// refuse says why the proxy cannot be added to a file without its lines.
func (p Proxy) refuse(path string, rest []byte) error {
	doc, err := parseTOML(path, rest)
	if err != nil {
		return err
	}
	sources := map[string]table{}
	if err := merge(sources, doc, path, "source"); err != nil {
		return err
	}
	if with, ok := get(sources[DefaultSource], "replace-with"); ok {
		return wrong(path, with.key, "already replaces %s with %q; remove these lines first; the proxy asks a mirror "+
			"that is named with --index URL, or stands in the configuration of a directory above or of cargo's home",
			DefaultSource, with.value)
	}
	for _, name := range []string{DefaultSource, p.Source} {
		if _, ok := sources[name]; ok {
			return wrong(path, join("source", name), "is already there; remove it first, so that it can be written anew")
		}
	}
	return nil
}

// installed reads back the source and URL of a block of ours.
func installed(path string, block []byte) (p Proxy, err error) {
	doc, err := parseTOML(path, block)
	if err != nil {
		return p, err
	}
	sources, _ := doc["source"].(table)
	replaced, _ := sources[DefaultSource].(table)
	p.Source, _ = replaced["replace-with"].(string)
	ours, _ := sources[p.Source].(table)
	at, _ := ours["registry"].(string)
	p.URL, _ = strings.CutPrefix(at, "sparse+")
	if p.Source == "" || p.URL == "" {
		return p, wrong(path, "", "has lines between the marks of cargo zkp proxy that it did not write; take them "+
			"out by hand")
	}
	return p, nil
}

// onlyOurs checks that a file with the lines says what it says without them, and ours: that
// nothing else stands in our tables, or would end up in other ones.
func (p Proxy) onlyOurs(path string, with, without []byte) error {
	a, err := parseTOML(path, with)
	if err != nil {
		return err
	}
	b, err := parseTOML(path, without)
	if err != nil {
		return err
	}
	sources, _ := a["source"].(table)
	ours, _ := sources[p.Source].(table)
	replaced, _ := sources[DefaultSource].(table)
	delete(ours, "registry")
	delete(replaced, "replace-with")
	for name, t := range map[string]table{p.Source: ours, DefaultSource: replaced} {
		if len(t) == 0 {
			delete(sources, name)
		}
	}
	_, had := b["source"]
	if len(sources) == 0 && !had {
		delete(a, "source")
	}
	if registry, _ := a["registry"].(table); b["registry"] == nil && len(registry) == 1 &&
		registry["default"] == DefaultSource {
		delete(a, "registry")
	}
	if !reflect.DeepEqual(a, b) {
		return wrong(path, "", "has lines that belong to those of cargo zkp proxy, or the other way round; put a table's "+
			"header before what follows them")
	}
	return nil
}

// findBlock returns where the lines for a name stand, and whether the file was made for
// them; start == end if they are not there.
func findBlock(path string, b []byte, name string) (start, end int, made bool, err error) {
	first, last := fmt.Sprintf(beginLine, name), fmt.Sprintf(endLine, name)
	at := 0
	for line := range bytes.Lines(b) {
		text := strings.TrimRight(string(line), "\r\n")
		if more, ok := strings.CutPrefix(text, first); ok {
			if end != 0 {
				return 0, 0, false, wrong(path, "", "has the lines of cargo zkp proxy twice; take one out by hand")
			}
			start, end, made = at, -1, strings.HasPrefix(more, madeFile)
		}
		at += len(line)
		if text == last && end == -1 {
			end = at
		}
	}
	if end == -1 {
		return 0, 0, false, wrong(path, "", "has the first line of cargo zkp proxy but not the last; take them out by hand")
	}
	return start, end, made, nil
}

func readConfig(path string) (b []byte, isNew bool, err error) {
	b, err = durable.Read(path, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, true, nil
	}
	return b, false, err
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// replaceFile exchanges a file's content in one step. A link is followed, the mode stays.
func replaceFile(path string, content []byte) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return durable.Write(path, content, mode)
}
