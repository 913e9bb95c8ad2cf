package policy

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"
)

// compileValues makes what condition.compare takes. Its error names the value.
func (op *operator) compileValues(values []string, variables bool) (any, error) {
	switch op.kind {
	case kindString, kindLike:
		return compileStrings(values, syntax{wild: op.kind == kindLike, variables: variables})
	case kindFold:
		return compileFolded(values, syntax{variables: variables})
	case kindNumeric:
		limits, err := each(values, parseDecimal)
		return &numbers{op.cmp, limits}, err
	case kindDate:
		limits, err := each(values, parseInstant)
		return &dates{op.cmp, limits}, err
	case kindBool:
		want, err := each(values, parseBool)
		return bools(want), err
	case kindBinary:
		raw, err := each(values, parseBinary)
		return literals(raw), err
	case kindIP:
		ranges, err := each(values, parseRange)
		return addresses(ranges), err
	case kindARN:
		return compileARNs(values, syntax{wild: true, variables: variables})
	case kindNull:
		_, err := each(values, parseBool)
		for i := range values {
			values[i] = lower(values[i])
		}
		return nil, err
	}
	return nil, errors.New("unknown operator")
}

// valueError names the value that is at fault.
type valueError struct {
	value string
	err   error
}

func (e *valueError) Error() string { return `"` + clip(e.value) + `": ` + e.err.Error() }

func each[T any](values []string, parse func(string) (T, error)) ([]T, error) {
	out := make([]T, 0, len(values))
	for _, v := range values {
		t, err := parse(v)
		if err != nil {
			return nil, &valueError{v, err}
		}
		out = append(out, t)
	}
	return out, nil
}

// patterns matches strings, exact ones too.
type patterns []pattern

func compileStrings(values []string, sx syntax) (patterns, error) {
	return each(values, func(v string) (pattern, error) {
		segs, err := sx.split(v)
		return compile(segs, false), err
	})
}

func (ps patterns) match(value string, c *lookups) outcome {
	best := no
	for i := range ps {
		switch ps[i].match(value, c) {
		case yes:
			return yes
		case unknown:
			best = unknown
		}
	}
	return best
}

// folded matches strings whatever their case (Unicode simple folding).
type folded [][]segment

func compileFolded(values []string, sx syntax) (folded, error) { return each(values, sx.split) }

// match allocates where a value holds variables.
func (f folded) match(value string, c *lookups) outcome {
	best := no
	for _, segs := range f {
		text, ok := expand(segs, c)
		switch {
		case !ok:
			best = unknown
		case strings.EqualFold(text, value):
			return yes
		}
	}
	return best
}

// expand gives the text of a string without wildcards.
func expand(segs []segment, c *lookups) (string, bool) {
	switch {
	case len(segs) == 0:
		return "", true
	case len(segs) == 1 && segs[0].kind == segText:
		return segs[0].text, true
	}
	var b strings.Builder
	for i := range segs {
		text := segs[i].text
		if segs[i].kind == segVariable {
			v, ok := segs[i].value(c)
			if !ok {
				return "", false
			}
			text = v
		}
		if !c.spend(1 + len(text)/bytesPerStep) {
			return "", false
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// literals matches exact strings: what BinaryEquals' base64 stands for.
type literals []string

func parseBinary(s string) (string, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		return "", errors.New("must be base64")
	}
	return string(raw), nil
}

func (l literals) match(value string) outcome {
	for _, s := range l {
		if s == value {
			return yes
		}
	}
	return no
}

type bools []bool

func parseBool(s string) (bool, error) {
	switch {
	case strings.EqualFold(s, "true"):
		return true, nil
	case strings.EqualFold(s, "false"):
		return false, nil
	}
	return false, errors.New("must be true or false")
}

func (b bools) match(value string) outcome {
	got, err := parseBool(value)
	if err != nil {
		return unknown
	}
	for _, want := range b {
		if want == got {
			return yes
		}
	}
	return no
}

// addresses are ranges of IP addresses.
type addresses []netip.Prefix

// parseRange reads an address or a CIDR range, whose host bits do not matter.
func parseRange(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return p, errors.New(`must be an IP address or a range like "203.0.113.0/24"`)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return p, errors.New("a range of IPv4 addresses in IPv6 form must be within ::ffff:0:0/96")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

func (a addresses) match(value string) outcome {
	ip, err := netip.ParseAddr(value)
	if err != nil {
		return unknown
	}
	ip = ip.Unmap().WithZone("")
	for _, p := range a {
		if p.Contains(ip) {
			return yes
		}
	}
	return no
}

// arns matches the six parts of an ARN apart.
type arns []arnPattern

type arnPattern [arnParts]pattern

const arnParts = 6

func compileARNs(values []string, sx syntax) (arns, error) {
	return each(values, func(v string) (arnPattern, error) {
		segs, err := sx.split(v)
		if err != nil {
			return arnPattern{}, err
		}
		return compileARN(segs)
	})
}

// compileARN takes an ARN apart at the colons of its literal text: those within
// variables are not the ARN's.
func compileARN(segs []segment) (arnPattern, error) {
	var parts [arnParts][]segment
	n := 0
	for _, s := range segs {
		for s.kind == segText && n < arnParts-1 {
			before, after, ok := strings.Cut(s.text, ":")
			if !ok {
				break
			}
			if before != "" {
				parts[n] = append(parts[n], segment{kind: segText, text: before})
			}
			n++
			s.text = after
		}
		if s.kind != segText || s.text != "" {
			parts[n] = append(parts[n], s)
		}
	}
	var out arnPattern
	if len(segs) == 1 && segs[0].kind == segStar {
		for i := range out {
			out[i] = compile(segs, false)
		}
		return out, nil
	}
	if n != arnParts-1 {
		return out, errors.New(`must be an ARN: six parts divided by ":"`)
	}
	for i := range out {
		out[i] = compile(parts[i], false)
	}
	return out, nil
}

func (a arns) match(value string, c *lookups) outcome {
	var parts [arnParts]string
	rest, ok := value, true
	for i := range arnParts - 1 {
		if parts[i], rest, ok = strings.Cut(rest, ":"); !ok {
			return unknown
		}
	}
	parts[arnParts-1] = rest
	best := no
	for i := range a {
		switch a[i].match(&parts, c) {
		case yes:
			return yes
		case unknown:
			best = unknown
		}
	}
	return best
}

// match is no if a part differs, whatever variables the others hold.
func (a *arnPattern) match(parts *[arnParts]string, c *lookups) outcome {
	worst := yes
	for i := range a {
		switch a[i].match(parts[i], c) {
		case no:
			return no
		case unknown:
			worst = unknown
		}
	}
	return worst
}
