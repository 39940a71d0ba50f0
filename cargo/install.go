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
	"strings"

	"github.com/pelletier/go-toml/v2"

	"cratelog/internal/durable"
)

// A Proxy is a source replacement in a configuration file.
type Proxy struct {
	Name          string // of the source that replaces: [source.NAME]
	URL           string // base of its sparse index, without "sparse+"; http or https, with "/" at the end
	Replaced      string // name of the source that is replaced, such as DefaultSource
	ReplacedIndex string // index of that, if it is not the default one
}

// The lines of ours in a configuration file stand between one that begins with beginLine, and
// endLine.
const (
	beginLine = "# cargo zkp proxy %s: begin"
	remedy    = "; cargo zkp proxy --uninstall takes these lines away"
	madeFile  = " (in a new file)" // which goes with them
	endLine   = "# cargo zkp proxy %s: end"
)

// InstallProxy writes the lines for a proxy into the configuration file at path, which it
// makes if need be, and returns whether it changed anything. Lines of an earlier InstallProxy
// for the same name are replaced, all else stays as it is. It refuses if the source is
// already replaced by another, if [source.NAME] is there and not ours, and if cargo would not
// read the file. The file is exchanged in one step.
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
	content := bytes.Join([][]byte{old[:start], p.lines(made), old[end:]}, nil)
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
	p.Name = name
	rest := bytes.Join([][]byte{old[:start], old[end:]}, nil)
	if err := p.onlyOurs(path, old, rest); err != nil {
		return false, err
	}
	if made && len(rest) == 0 {
		return true, os.Remove(path)
	}
	return true, replaceFile(path, rest)
}

func (p Proxy) check() error {
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !strings.HasSuffix(p.URL, "/") ||
		u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("the proxy's URL %q must be http or https and end with a slash", p.URL)
	}
	for _, s := range []string{p.Name, p.Replaced} {
		if s == "" || join("", s) != s || p.Name == p.Replaced {
			return fmt.Errorf("the sources' names %q and %q must be two, of letters, digits, - and _ only", p.Name, p.Replaced)
		}
	}
	if (p.Replaced == DefaultSource) != (p.ReplacedIndex == "") {
		return fmt.Errorf("the index of the replaced source %s must be given if and only if it is not %s", p.Replaced,
			DefaultSource)
	}
	return nil
}

// lines returns what is written, with the marks around it.
func (p Proxy) lines(made bool) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, beginLine, p.Name)
	if made {
		b.WriteString(madeFile)
	}
	fmt.Fprintf(&b, remedy+"\n[source.%s]\n", p.Replaced)
	if p.ReplacedIndex != "" {
		fmt.Fprintf(&b, "registry = %s\n", tomlString(p.ReplacedIndex))
	}
	fmt.Fprintf(&b, "replace-with = %s\n\n[source.%s]\nregistry = %s\n", tomlString(p.Name), p.Name,
		tomlString("sparse+"+p.URL))
	fmt.Fprintf(&b, endLine+"\n", p.Name)
	return b.Bytes()
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
	if with, ok := get(sources[p.Replaced], "replace-with"); ok {
		return wrong(path, with.key, "already replaces %s with %q; remove that first", p.Replaced, with.value)
	}
	for _, name := range []string{p.Replaced, p.Name} {
		if _, ok := sources[name]; ok {
			return wrong(path, join("source", name), "is already there; remove it first, so that it can be written anew")
		}
	}
	return nil
}

// installed reads back what a block of ours replaces.
func installed(path string, block []byte) (Proxy, error) {
	doc, err := parseTOML(path, block)
	if err != nil {
		return Proxy{}, err
	}
	sources, _ := doc["source"].(table)
	for name, v := range sources {
		if t, ok := v.(table); ok && t["replace-with"] != nil {
			return Proxy{Replaced: name}, nil
		}
	}
	return Proxy{}, wrong(path, "", "has lines between the marks of cargo zkp proxy that it did not write; take them "+
		"out by hand")
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
	ours, _ := sources[p.Name].(table)
	replaced, _ := sources[p.Replaced].(table)
	delete(ours, "registry")
	delete(replaced, "replace-with")
	delete(replaced, "registry")
	for name, t := range map[string]table{p.Name: ours, p.Replaced: replaced} {
		if len(t) == 0 {
			delete(sources, name)
		}
	}
	_, had := b["source"]
	if len(sources) == 0 && !had {
		delete(a, "source")
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
