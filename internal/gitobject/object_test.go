package gitobject

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestParseTreeRefuses(t *testing.T) {
	id := strings.Repeat("i", 20)
	file := func(name string) string { return "100644 " + name + "\x00" + id }
	dir := func(name string) string { return "40000 " + name + "\x00" + id }
	for name, c := range map[string]struct{ tree, want string }{
		"no space":                   {"100644", "ends within the mode"},
		"no NUL":                     {"100644 a", "ends within the name"},
		"short id":                   {"100644 a\x00" + id[:19], `ends within the id of its entry "a"`},
		"bytes after":                {file("a") + "1", "ends within the mode"},
		"no name":                    {file(""), "without a name"},
		"dot":                        {file("."), `of the name "."`},
		"dot dot":                    {dir(".."), `of the name ".."`},
		"slash":                      {file("a/b"), "contains a slash"},
		"no mode":                    {" a\x00" + id, `has the mode ""`},
		"leading zero":               {"040000 a\x00" + id, `has the mode "040000"`},
		"not octal":                  {"100684 a\x00" + id, `has the mode "100684"`},
		"unknown type":               {"130000 a\x00" + id, `has the mode "130000"`},
		"link with permissions":      {"120777 a\x00" + id, `has the mode "120777"`},
		"unsorted":                   {file("b") + file("a"), `"a" stands after "b"`},
		"directory sorted as a file": {dir("a") + file("a.b"), `"a.b" stands after "a"`},
		"file sorted as a directory": {file("a.b") + file("a"), `"a" stands after "a.b"`},
		"twice":                      {file("a") + file("a"), `the name "a" twice`},
		"twice, file and directory":  {file("a") + file("a.b") + dir("a"), `the name "a" twice`},
		"dot git":                    {dir(".git"), "takes for"},
		"dot git in capitals":        {file(".GiT"), "takes for"},
		"dot git of NTFS":            {dir("git~1"), "takes for"},
		"dot git with a dot":         {dir(".git. ."), "takes for"},
		"dot git with a stream":      {dir(".git::$INDEX_ALLOCATION"), "takes for"},
		"dot git behind a backslash": {dir(`a\.git`), "takes for"},
		"dot git of HFS+":            {dir(".g\u200cit"), "takes for"},
		"id of zeros":                {"100644 a\x00" + strings.Repeat("\x00", 20), "an id of zeros"},
	} {
		_, err := ParseTree([]byte(c.tree))
		refused(t, name, err, c.want)
	}
	good := file(".gitignore") + file(".gitx") + file("a-b") + file("a.b") + dir("a") + file("a0") + "100664 old\x00" + id + "160000 sub\x00" + id
	if e, err := ParseTree([]byte(good)); err != nil || len(e) != 8 {
		t.Errorf("git's own order: %d entries, %v", len(e), err)
	}
	if e, err := ParseTree(nil); err != nil || len(e) != 0 {
		t.Errorf("the empty tree: %v, %v", e, err)
	}
}

func TestParseCommitRefuses(t *testing.T) {
	tree := "tree " + strings.Repeat("a", 40) + "\n"
	for name, content := range map[string]string{
		"empty":        "",
		"no tree":      "author a\n",
		"short id":     "tree abcd\nauthor a\n",
		"upper case":   "tree " + strings.Repeat("A", 40) + "\nauthor a\n",
		"not hex":      "tree " + strings.Repeat("g", 40) + "\nauthor a\n",
		"no line feed": "tree " + strings.Repeat("a", 40) + " author a\n",
		"64 digits":    "tree " + strings.Repeat("a", 64) + "\nauthor a\n",
		"nothing else": tree,
		"two trees":    tree + tree,
	} {
		if _, err := ParseCommit([]byte(content)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseCommit([]byte(tree + "author a\n")); err != nil {
		t.Error(err)
	}
}

func FuzzParseTree(f *testing.F) {
	f.Add([]byte("100644 a\x00aaaaaaaaaaaaaaaaaaaa40000 b\x00bbbbbbbbbbbbbbbbbbbb"))
	f.Add([]byte("160000 sub\x00aaaaaaaaaaaaaaaaaaaa"))
	f.Fuzz(func(t *testing.T, content []byte) {
		entries, err := ParseTree(content)
		if err != nil {
			return
		}
		var again bytes.Buffer
		for _, e := range entries {
			fmt.Fprintf(&again, "%s %s\x00%s", e.Mode, e.Name, e.ID[:])
		}
		if !bytes.Equal(again.Bytes(), content) {
			t.Errorf("%q reads as %+v, which is %q", content, entries, again.Bytes())
		}
	})
}

// refused checks that an error says a word.
func refused(t *testing.T, what string, err error, word string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), word) {
		t.Errorf("%s: %v, want a word on %q", what, err, word)
	}
}
