package registry

import (
	"fmt"
	"strings"
)

// platform returns the target of a dependency with the spaces and commas of a cfg
// expression in one form, as cargo writes it. What cargo cannot read it returns as it
// is: it is equal to nothing but itself.
func platform(target string) string {
	inner, ok := strings.CutPrefix(target, "cfg(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return target
	}
	var b strings.Builder
	b.WriteString("cfg(")
	before := ""
	for rest := strings.TrimSuffix(inner, ")"); ; {
		token, after, err := cfgToken(rest)
		if err != nil {
			return target
		}
		if before == "," && token != ")" && token != "" {
			b.WriteString(", ")
		}
		if token == "" {
			return b.String() + ")"
		}
		switch {
		case token == ",":
			if before == "," || before == "(" || before == "" {
				return target // no expression
			}
		case token == "=":
			b.WriteString(" = ")
		case word(token) && (word(before) || strings.HasPrefix(before, `"`)):
			return target // no expression
		default:
			b.WriteString(token)
		}
		before, rest = token, after
	}
}

// cfgToken cuts the first token off a cfg expression: ( ) , = a string with its
// quotes, or a word. "" is the end.
func cfgToken(s string) (token, rest string, err error) {
	s = strings.TrimLeft(s, " ")
	switch {
	case s == "":
		return "", "", nil
	case strings.Contains("(),=", s[:1]):
		return s[:1], s[1:], nil
	case s[0] == '"':
		if end := strings.IndexByte(s[1:], '"'); end >= 0 {
			return s[:end+2], s[end+2:], nil
		}
	default:
		end := 0
		for end < len(s) && (s[end] == '_' || s[end] == '#' || alphanumeric(s[end])) {
			end++
		}
		if end > 0 {
			return s[:end], s[end:], nil
		}
	}
	return "", "", fmt.Errorf("%s is not part of a cfg expression", quote(s))
}

func word(token string) bool { return token != "" && (token[0] == '_' || alphanumeric(token[0])) }
