package main

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"

	"cratelog/internal/durable"
)

//go:generate go run . -check -session ../../docs/session.svg

// shown are the steps that the picture of a session has: those that say the same in each run.
var shown = []int{1, 3, 4, 13, 17, 18, 22, 23}

// columns is how wide the picture's terminal is.
const columns = 100

// differs is what another run may say of a step: when, how long it took, how many witnesses were quick.
var differs = regexp.MustCompile(` \([0-9]+ ms\)$|, as of [0-9TZ:-]+|[0-9]+ (witnesses cosigned)`)

// drawSession writes a picture of what the demonstration said, without what is of one run only.
func drawSession(path, said string) error {
	lines := []string{"$ go run ./cmd/demo"}
	for paragraph := range strings.SplitSeq(said, "\n\n") {
		number := 0
		if _, err := fmt.Sscanf(paragraph, "%d. ", &number); err == nil && !slices.Contains(shown, number) {
			if lines[len(lines)-1] != "..." {
				lines = append(lines, "", "...")
			}
			continue
		} else if err != nil && !strings.HasPrefix(paragraph, "All ") {
			continue
		}
		lines = append(lines, "")
		for line := range strings.SplitSeq(strings.TrimSpace(paragraph), "\n") {
			lines = append(lines, wrapped(differs.ReplaceAllString(line, "$1"))...)
		}
	}
	return durable.Write(path, []byte(picture(lines)), 0o644)
}

// wrapped breaks a line where words allow it; what follows is indented.
func wrapped(line string) (out []string) {
	for len(line) > columns {
		at := strings.LastIndexByte(line[:columns+1], ' ')
		if strings.TrimSpace(line[:max(at, 0)]) == "" {
			break
		}
		out, line = append(out, line[:at]), "   "+line[at+1:]
	}
	return append(out, line)
}

// picture is lines of a terminal as SVG, for light and dark surroundings.
func picture(lines []string) string {
	const left, top, step = 20, 34, 18
	var b strings.Builder
	width, height := left*2+columns*8, top+len(lines)*step
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="t" `+
		`font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13">
<title id="t">A session of the demonstration, some of its steps</title>
<style>
  rect { fill: #f4f7fa; stroke: #8796a5 } text { fill: #1c2733; white-space: pre } .n { font-weight: 600 }
  .r { fill: #b3261e } .a { fill: #1a6b35 } .s { fill: #51606f }
  @media (prefers-color-scheme: dark) { rect { fill: #17202a; stroke: #5d6b79 } text { fill: #e6edf3 }
    .r { fill: #ff8a80 } .a { fill: #7ee2a0 } .s { fill: #a5b3c1 } }
</style>
<rect x="1" y="1" width="%d" height="%d" rx="8"/>
`, width, height, width-2, height-2)
	class := ""
	for i, line := range lines {
		switch text := strings.TrimSpace(line); {
		case strings.HasPrefix(text, "Refused") || strings.Contains(text, " refuses "):
			class = "r"
		case strings.HasPrefix(text, "Accepted") || strings.HasPrefix(text, "All "):
			class = "a"
		case text == "..." || text == "" || strings.HasPrefix(text, "$ "):
			class = "s"
		case !strings.HasPrefix(line, " "):
			class = "n"
		}
		if line != "" {
			fmt.Fprintf(&b, "<text class=\"%s\" x=\"%d\" y=\"%d\">%s</text>\n", class, left, top+i*step,
				strings.ReplaceAll(html.EscapeString(line), "  ", "\u00a0\u00a0"))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
