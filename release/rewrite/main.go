// Command rewrite gives the module another path, in place:
//
//	go run ./release/rewrite example.org/team/cratelog
//
// The path stands in go.mod; every import follows from it, and what the docs tell to install. Labels of
// formats ("cratelog/program/v2") stay as they are: they are hashed, and no path.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

func main() {
	if len(os.Args) != 2 || strings.HasPrefix(os.Args[1], "-") {
		fmt.Fprintln(os.Stderr, "usage: go run ./release/rewrite PATH\n\nGives the module in this directory the path PATH, "+
			"in go.mod, imports and docs.")
		os.Exit(2)
	}
	n, err := rewrite(".", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "rewrite:", err)
		os.Exit(3)
	}
	fmt.Printf("%d files changed; look at them with git diff\n", n)
}

// rewriter changes one path into another, in the module at root.
type rewriter struct {
	root, from, to string
	prose          *regexp.Regexp // a path in a text that is not Go
}

// rewrite gives the module at root the path to, and returns how many files that changed.
func rewrite(root, to string) (changed int, err error) {
	if err := module.CheckPath(to); err != nil {
		return 0, err
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return 0, fmt.Errorf("this is no root of a module: %w", err)
	}
	f, err := modfile.Parse("go.mod", mod, nil)
	if err != nil {
		return 0, err
	} else if f.Module == nil {
		return 0, errors.New("go.mod names no module")
	}
	r := &rewriter{root, f.Module.Mod.Path, to, regexp.MustCompile(`(^|[\s"'` + "`" + `(=])` +
		regexp.QuoteMeta(f.Module.Mod.Path) + `(/[a-z0-9/_-]+)`)}
	if err := f.AddModuleStmt(to); err != nil {
		return 0, err
	}
	if mod, err = f.Format(); err != nil {
		return 0, err
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if path != root && (d.Name() == ".git" || d.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		did, err := r.file(path)
		if did {
			changed++
		}
		return err
	})
	if err != nil {
		return changed, err
	}
	return changed + 1, os.WriteFile(filepath.Join(root, "go.mod"), mod, 0o644)
}

// file rewrites a file if its kind is one that names packages.
func (r *rewriter) file(path string) (changed bool, err error) {
	change := r.text
	switch filepath.Ext(path) {
	case ".go":
		change = func(b []byte) ([]byte, error) { return r.code(path, b) }
	case ".md", ".yml", ".sh", "":
	default:
		return false, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	after, err := change(b)
	if err != nil || bytes.Equal(b, after) {
		return false, err
	}
	return true, os.WriteFile(path, after, 0o644)
}

// code rewrites the imports of a Go file; and in e2e, whose tests look at packages, all strings that
// are the path of a folder.
func (r *rewriter) code(path string, b []byte) ([]byte, error) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, b, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	tests := strings.HasPrefix(filepath.ToSlash(path), filepath.ToSlash(filepath.Join(r.root, "e2e"))+"/")
	var found []*ast.BasicLit
	for _, i := range f.Imports {
		found = append(found, i.Path)
	}
	if tests {
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING && !slices.Contains(found, s) {
				found = append(found, s)
			}
			return true
		})
	}
	slices.SortFunc(found, func(a, b *ast.BasicLit) int { return int(b.Pos() - a.Pos()) }) // the last first
	for _, s := range found {
		value, err := strconv.Unquote(s.Value)
		rest, ok := strings.CutPrefix(value, r.from+"/")
		if err != nil || !ok || !r.folder(rest) {
			continue
		}
		at := files.Position(s.Pos()).Offset
		b = slices.Concat(b[:at], []byte(strconv.Quote(r.to+"/"+rest)), b[at+len(s.Value):])
	}
	if len(found) == 0 {
		return b, nil
	}
	return format.Source(b)
}

// text rewrites what names a folder of the module.
func (r *rewriter) text(b []byte) ([]byte, error) {
	return r.prose.ReplaceAllFunc(b, func(m []byte) []byte {
		parts := r.prose.FindSubmatch(m)
		if !r.folder(strings.Trim(string(parts[2]), "/")) {
			return m
		}
		return slices.Concat(parts[1], []byte(r.to), parts[2])
	}), nil
}

// folder reports whether the module has a folder; the empty name is the module itself.
func (r *rewriter) folder(name string) bool {
	info, err := os.Stat(filepath.Join(r.root, filepath.FromSlash(name)))
	return err == nil && info.IsDir()
}
