package crate

import (
	"slices"
	"strings"
)

// isRootOf says whether the Cargo.toml of a directory makes it the root of the workspace of a
// package: it has a [workspace] that does not exclude the package, unless the package names its
// workspace itself.
func (c *Crate) isRootOf(dir string, content []byte, pkg string) bool {
	workspace := tableOf(content, "workspace")
	if workspace == nil {
		return false
	}
	if named, _ := c.author()["workspace"].(string); named != "" {
		return true
	}
	below := strings.TrimPrefix(strings.TrimPrefix(join(pkg, manifestFile), dir), "/")
	return !holds(workspace["exclude"], below) || holds(workspace["members"], below)
}

// holds says whether one of a list of directories holds a path, all seen from one directory. As
// cargo does here, it takes patterns for plain names, and follows no "..".
func holds(list any, path string) bool {
	dirs, _ := list.([]any)
	names := strings.Split(path, "/")
	return slices.ContainsFunc(dirs, func(d any) bool {
		dir, ok := d.(string)
		if !ok || strings.HasPrefix(dir, "/") {
			return false
		}
		want := slices.DeleteFunc(strings.Split(dir, "/"), func(n string) bool { return n == "" || n == "." })
		return len(want) <= len(names) && slices.Equal(want, names[:len(want)])
	})
}
