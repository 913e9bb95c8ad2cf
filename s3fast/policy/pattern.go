package policy

import (
	"strings"
	"unicode/utf8"
)

// pattern is a compiled string with wildcards: "*" stands for any characters,
// none and "/" included, "?" for exactly one character (one code point; a byte
// that is not UTF-8 counts as one). There is no escape (AWS IAM User Guide,
// "IAM JSON policy elements: Resource", "Using wildcards in resource ARNs").
type pattern struct {
	head string // before the first wildcard
	rest string // from the first wildcard on; "" if there is none
	fold bool   // ignore ASCII case; head and rest are in lower case
}

func compile(text string, fold bool) pattern {
	if fold {
		text = strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				return r | 0x20
			}
			return r
		}, text)
	}
	for strings.Contains(text, "**") {
		text = strings.ReplaceAll(text, "**", "*")
	}
	i := strings.IndexAny(text, "*?")
	if i < 0 {
		i = len(text)
	}
	return pattern{head: text[:i], rest: text[i:], fold: fold}
}

// match does not allocate. It takes at most len(s) × len(pattern) steps, and
// one pass for the usual forms: a literal, or a literal followed by "*".
func (p *pattern) match(s string) bool {
	if len(s) < len(p.head) {
		return false
	}
	for i := 0; i < len(p.head); i++ {
		if !p.same(p.head[i], s[i]) {
			return false
		}
	}
	s = s[len(p.head):]
	switch p.rest {
	case "":
		return s == ""
	case "*":
		return true
	}
	return p.glob(s)
}

func (p *pattern) same(want, c byte) bool {
	if p.fold && 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return want == c
}

// glob matches rest against the whole of s. It remembers only the last star: if
// what follows does not fit, the star swallows one character more. An earlier
// star never needs to be taken up again, since the last one can swallow whatever
// it would have.
func (p *pattern) glob(s string) bool {
	at, pos := 0, 0       // in rest, in s
	star, resume := -1, 0 // the last star, and where in s it ends for now
	for pos < len(s) {
		switch {
		case at < len(p.rest) && p.rest[at] == '*':
			star, resume = at, pos
			at++
		case at < len(p.rest) && p.rest[at] == '?':
			at++
			pos += width(s[pos:])
		case at < len(p.rest) && p.same(p.rest[at], s[pos]):
			at++
			pos++
		case star >= 0:
			resume += width(s[resume:])
			at, pos = star+1, resume
		default:
			return false
		}
	}
	for at < len(p.rest) && p.rest[at] == '*' {
		at++
	}
	return at == len(p.rest)
}

// width of the first character of s in bytes.
func width(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}
