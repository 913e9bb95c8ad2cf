package policy

import (
	"strings"
	"unicode/utf8"
)

// pattern is a compiled string with wildcards and variables: "*" stands for any
// characters, none and "/" included, "?" for exactly one character (one code
// point; a byte that is not UTF-8 counts as one). There is no escape but ${*}
// and ${?} ("IAM JSON policy elements: Resource", "IAM policy elements:
// Variables and tags"). A variable stands for its value, taken literally.
type pattern struct {
	head string    // literal text before segs
	segs []segment // the rest
	form form
	fold bool  // ignore ASCII case
	vars uint8 // variables in segs
}

// form of the rest, for the usual ones to be quick.
type form uint8

const (
	formExact  form = iota // nothing
	formPrefix             // one star
	formGlob               // anything
)

// fits tells quickly most strings that do not match: by their length, and by
// where the literal text before a wildcard ends. (Of ARNs and of actions the
// beginnings are alike.)
func (p *pattern) fits(s string) bool {
	n := len(p.head)
	return n <= len(s) && (n == len(s) || p.form != formExact) && (n == 0 || s[n-1]|0x20 == p.head[n-1]|0x20)
}

// match does not allocate. It takes one pass for the usual forms: a literal, or a
// literal followed by "*". Others may take len(s) × len(pattern) steps, which
// lookups bounds.
func (p *pattern) match(s string, c *lookups) outcome {
	if len(s) < len(p.head) || p.form == formExact && len(s) != len(p.head) || !p.same(s[:len(p.head)], p.head) {
		return no
	}
	switch {
	case p.form != formGlob:
		return yes
	case p.vars > 0:
		return p.matchVariables(s[len(p.head):], c)
	case p.glob(s[len(p.head):], nil, c):
		return yes
	}
	return no
}

// matchVariables is unknown if a variable has neither value nor default.
func (p *pattern) matchVariables(s string, c *lookups) outcome {
	var values [maxVariables]string
	if !resolve(p.segs, c, &values) {
		return unknown
	}
	if p.glob(s, &values, c) {
		return yes
	}
	return no
}

// same compares texts of equal length. Mostly even folded ones are written
// alike; those that are not, being actions, differ at the end rather than at
// the beginning.
func (p *pattern) same(s, want string) bool {
	return s == want || p.fold && sameFolded(s, want)
}

func sameFolded(s, want string) bool {
	for i := len(want) - 1; i >= 0; i-- {
		if s[i] != want[i] && lowerByte(s[i]) != lowerByte(want[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// glob matches the segments against the whole of s. It remembers only the last
// star: if what follows does not fit, the star swallows one character more. An
// earlier star never needs to be taken up again, since the last one can swallow
// whatever it would have. Once the decision's steps are spent nothing matches.
func (p *pattern) glob(s string, values *[maxVariables]string, c *lookups) bool {
	at, pos := 0, 0       // in segs, in s
	star, resume := -1, 0 // the last star, and where in s it ends for now
	for at < len(p.segs) || pos < len(s) {
		if !c.spend(1) {
			return false
		}
		if at < len(p.segs) {
			seg := &p.segs[at]
			text := seg.text
			switch seg.kind {
			case segStar:
				if at++; at == len(p.segs) {
					return true
				}
				if pos = p.next(s, pos, at, c); pos < 0 {
					return false
				}
				star, resume = at, pos
				continue
			case segOne:
				if pos < len(s) {
					at++
					pos += width(s[pos:])
					continue
				}
				return false // a longer star would leave still less
			case segVariable:
				text = values[seg.slot]
			}
			if seg.kind != segOne && len(s)-pos >= len(text) && p.same(s[pos:pos+len(text)], text) {
				at++
				pos += len(text)
				continue
			}
		}
		if star < 0 || resume == len(s) {
			return false
		}
		if resume = p.next(s, resume+width(s[resume:]), star, c); resume < 0 {
			return false
		}
		at, pos = star, resume
	}
	return true
}

// next returns where in s[pos:] the segment after a star can match at the
// earliest, or -1.
func (p *pattern) next(s string, pos, at int, c *lookups) int {
	if p.fold || p.segs[at].kind != segText {
		return pos
	}
	i := strings.Index(s[pos:], p.segs[at].text)
	if i < 0 {
		c.spend((len(s) - pos) / bytesPerStep)
		return -1
	}
	c.spend(i / bytesPerStep)
	return pos + i
}

// bytesPerStep is what is searched or copied in the time of a step.
const bytesPerStep = 32

// width of the first character of s in bytes.
func width(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// compile makes a pattern of segments.
func compile(segs []segment, fold bool) pattern {
	p := pattern{fold: fold}
	for _, s := range segs {
		if s.kind == segVariable {
			s.slot = p.vars
			p.vars++
		}
		p.segs = append(p.segs, s)
	}
	if len(p.segs) > 0 && p.segs[0].kind == segText {
		p.head = p.segs[0].text
		p.segs = p.segs[1:]
	}
	switch {
	case len(p.segs) == 0:
		p.form = formExact
	case len(p.segs) == 1 && p.segs[0].kind == segStar:
		p.form = formPrefix
	default:
		p.form = formGlob
	}
	return p
}

// lower lowers ASCII letters.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			return rune(lowerByte(byte(r)))
		}
		return r
	}, s)
}
