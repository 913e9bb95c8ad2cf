package policy

import (
	"errors"
	"fmt"
	"strings"
)

// maxVariables in one string.
const maxVariables = 8

// segment is a piece of a string with wildcards and variables.
type segment struct {
	kind segmentKind
	slot uint8  // of a variable: its place among the string's
	text string // literal text, or the variable's key
	// A variable's default.
	hasDefault bool
	def        string
}

type segmentKind uint8

const (
	segText segmentKind = iota
	segStar
	segOne
	segVariable
)

// syntax says what is special in a string.
type syntax struct {
	wild      bool // "*" and "?" are wildcards
	variables bool // "${…}" are variables
}

// split takes a string apart. Adjacent literal pieces and adjacent stars are
// joined.
func (sx syntax) split(text string) ([]segment, error) {
	var segs []segment
	vars := 0
	literal := func(s string) {
		switch n := len(segs); {
		case s == "":
		case n > 0 && segs[n-1].kind == segText:
			segs[n-1].text += s
		default:
			segs = append(segs, segment{kind: segText, text: s})
		}
	}
	for text != "" {
		i := 0
		for i < len(text) && !sx.special(text[i:]) {
			i++
		}
		literal(text[:i])
		if text = text[i:]; text == "" {
			break
		}
		switch text[0] {
		case '*':
			if n := len(segs); n == 0 || segs[n-1].kind != segStar {
				segs = append(segs, segment{kind: segStar})
			}
			text = text[1:]
		case '?':
			segs = append(segs, segment{kind: segOne})
			text = text[1:]
		default:
			seg, n, err := variable(text)
			if err != nil {
				return nil, err
			}
			if text = text[n:]; seg.kind == segText {
				literal(seg.text)
				continue
			}
			if vars++; vars > maxVariables {
				return nil, fmt.Errorf("more than %d variables", maxVariables)
			}
			segs = append(segs, seg)
		}
	}
	return segs, nil
}

func (sx syntax) special(s string) bool {
	return sx.wild && (s[0] == '*' || s[0] == '?') || sx.variables && strings.HasPrefix(s, "${")
}

// variable reads "${…}" at the beginning of text and tells its length.
func variable(text string) (segment, int, error) {
	for _, c := range [...]string{"*", "?", "$"} {
		if strings.HasPrefix(text[2:], c+"}") {
			return segment{kind: segText, text: c}, 4, nil
		}
	}
	end := strings.IndexAny(text[2:], "},") + 2
	if end < 2 {
		return segment{}, 0, errors.New(`variable without "}"`)
	}
	name := text[2:end]
	key, err := checkKey(name)
	if err != nil {
		return segment{}, 0, fmt.Errorf("variable %q: %w", clip(name), err)
	}
	seg := segment{kind: segVariable, text: key}
	if text[end] == '}' {
		return seg, end + 1, nil
	}
	rest := strings.TrimLeft(text[end+1:], " ")
	quoted, ok := strings.CutPrefix(rest, "'")
	def, after, closed := strings.Cut(quoted, "'")
	if !ok || !closed || !strings.HasPrefix(after, "}") {
		return segment{}, 0, fmt.Errorf("variable %q: its default must be like ${key, 'text'}", clip(name))
	}
	seg.hasDefault, seg.def = true, def
	return seg, len(text) - len(after) + 1, nil
}

// resolve looks variables up. It is false when one has neither value nor
// default. A key with several values has none as a variable
// ("Multivalued context keys").
func resolve(segs []segment, c *lookups, values *[maxVariables]string) bool {
	for i := range segs {
		s := &segs[i]
		if s.kind != segVariable {
			continue
		}
		v, ok := s.value(c)
		if !ok {
			return false
		}
		values[s.slot] = v
	}
	return true
}

func (s *segment) value(c *lookups) (string, bool) {
	switch v := c.get(s.text); {
	case len(v) == 1:
		return v[0], true
	case len(v) == 0 && s.hasDefault:
		return s.def, true
	}
	return "", false
}
