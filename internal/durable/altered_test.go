package durable

import (
	"strings"
	"testing"
)

func TestWhatAlteredATextIsNamed(t *testing.T) {
	const text = "first line\nindex 2\n\nlast line\n"
	utf16 := func(s string) (out string) {
		for _, c := range []byte(s) {
			out += string([]byte{c, 0})
		}
		return out
	}
	for altered, want := range map[string]string{
		text: "", "": "", "x": "",
		strings.ReplaceAll(text, "\n", "\r\n"):           "CRLF",
		strings.ReplaceAll(text, "\n", "\r"):             "CRLF",
		"\xef\xbb\xbf" + text:                            "byte order mark",
		"\xff\xfe" + utf16(text):                         "UTF-16",
		utf16(text):                                      "UTF-16",
		"\x00" + utf16(text):                             "UTF-16",
		"version https://git-lfs.example/spec/v1\noid x": "Git LFS",
		"\n<!DOCTYPE html><title>Log in</title>\n":       "web page",
	} {
		if got := Altered([]byte(altered)); got == "" != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want a word on %q", altered, got, want)
		}
	}
}
