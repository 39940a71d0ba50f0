package durable

import "bytes"

// NotText says in a sentence why bytes are not the UTF-8 text that they should be, or "". It
// is for what did not parse, and knows what shells, editors, git and servers put in place of
// a file.
func NotText(b []byte) string {
	switch {
	case bytes.HasPrefix(b, []byte{0xff, 0xfe}), bytes.HasPrefix(b, []byte{0xfe, 0xff}),
		len(b) > 1 && b[0] != b[1] && (b[0] == 0 || b[1] == 0):
		return "it is UTF-16, as some shells and editors write files, and must be UTF-8"
	case bytes.HasPrefix(b, []byte("\xef\xbb\xbf")):
		return "it begins with a byte order mark, as some editors write one; save it as UTF-8 without it"
	case bytes.HasPrefix(b, []byte("version https://git-lfs.")):
		return "it is a pointer of Git LFS, not the file itself; run \"git lfs pull\""
	case bytes.HasPrefix(bytes.TrimLeft(b, " \r\n"), []byte("<")):
		return "it is a web page, not the file itself: something on the way answered instead of the server"
	}
	return ""
}

// Altered is NotText for a text whose lines end in LF alone.
func Altered(b []byte) string {
	if why := NotText(b); why != "" || !bytes.Contains(b, []byte("\r")) {
		return why
	}
	return "its line endings are CRLF, as git (core.autocrlf) or an editor leaves them, and must be LF alone; " +
		"in a repository, give such files the attribute -text in .gitattributes and check them out again"
}
