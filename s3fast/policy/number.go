package policy

import (
	"errors"
	"strings"
	"time"
)

// decimal is an exact decimal number: sign, digits without leading zeros, and a
// fraction without trailing zeros. Zero is not negative.
type decimal struct {
	negative bool
	whole    string
	fraction string
}

// parseDecimal reads "-12", "+0.50", ".5" or "5.". It does not allocate.
func parseDecimal(s string) (decimal, error) {
	var d decimal
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.negative = s[0] == '-'
		s = s[1:]
	}
	d.whole, d.fraction, _ = strings.Cut(s, ".")
	digits := func(c byte) bool { return '0' <= c && c <= '9' }
	if d.whole == "" && d.fraction == "" || !consists(d.whole, digits) || !consists(d.fraction, digits) {
		return decimal{}, errors.New("must be a decimal number")
	}
	d.whole = strings.TrimLeft(d.whole, "0")
	d.fraction = strings.TrimRight(d.fraction, "0")
	if d.whole == "" && d.fraction == "" {
		d.negative = false
	}
	return d, nil
}

// compare returns the sign of d minus e.
func (d decimal) compare(e decimal) int {
	switch {
	case d.negative && !e.negative:
		return -1
	case !d.negative && e.negative:
		return 1
	case d.negative:
		d, e = e, d
	}
	if n := len(d.whole) - len(e.whole); n != 0 {
		return n
	}
	if n := strings.Compare(d.whole, e.whole); n != 0 {
		return n
	}
	return strings.Compare(d.fraction, e.fraction)
}

// numbers compares with limits, one of which must hold.
type numbers struct {
	cmp    comparison
	limits []decimal
}

func (n *numbers) match(value string) outcome {
	d, err := parseDecimal(value)
	if err != nil {
		return unknown
	}
	for _, limit := range n.limits {
		if n.cmp.holds(d.compare(limit)) {
			return yes
		}
	}
	return no
}

// instant is a time in seconds and nanoseconds since 1970.
type instant struct {
	seconds int64
	nanos   int32
}

func (a instant) compare(b instant) int {
	switch {
	case a.seconds < b.seconds:
		return -1
	case a.seconds > b.seconds:
		return 1
	}
	return int(a.nanos) - int(b.nanos)
}

// dates compares with limits, one of which must hold.
type dates struct {
	cmp    comparison
	limits []instant
}

func (d *dates) match(value string) outcome {
	at, err := parseInstant(value)
	if err != nil {
		return unknown
	}
	for _, limit := range d.limits {
		if d.cmp.holds(at.compare(limit)) {
			return yes
		}
	}
	return no
}

// parseInstant reads seconds since 1970 (5 to 12 digits), or a date in one of
// W3C's forms of ISO 8601 (W3C NOTE-datetime): YYYY, YYYY-MM, YYYY-MM-DD, or
// the latter with Thh:mm, Thh:mm:ss or Thh:mm:ss.s… and Z, +hh:mm or -hh:mm.
// A date without time begins at 00:00 UTC. Fractions are cut after nine digits.
// It does not allocate.
func parseInstant(s string) (instant, error) {
	bad := errDate
	if len(s) > 4 && len(s) <= 12 && consists(s, func(c byte) bool { return '0' <= c && c <= '9' }) {
		n := int64(0)
		for i := 0; i < len(s); i++ {
			n = n*10 + int64(s[i]-'0')
		}
		return instant{seconds: n}, nil
	}
	f := fields{rest: s}
	year, month, day, hour, minute, second := f.digits(4), 1, 1, 0, 0, 0
	nanos, offset := 0, 0
	if f.rest != "" {
		f.skip('-')
		month = f.digits(2)
	}
	if f.rest != "" {
		f.skip('-')
		day = f.digits(2)
	}
	if f.rest != "" {
		f.skip('T')
		hour = f.digits(2)
		f.skip(':')
		minute = f.digits(2)
		if strings.HasPrefix(f.rest, ":") {
			f.skip(':')
			second = f.digits(2)
			nanos = f.fraction()
		}
		offset = f.zone()
	}
	if f.bad || f.rest != "" || hour > 23 || minute > 59 || second > 59 || month < 1 || month > 12 || day < 1 {
		return instant{}, bad
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day { // 30 February
		return instant{}, bad
	}
	return instant{seconds: t.Unix() - int64(offset), nanos: int32(nanos)}, nil
}

var errDate = errors.New(`must be a date like "2030-01-31T23:59:59Z", or seconds since 1970`)

// fields reads a date from left to right. After a fault bad stays set.
type fields struct {
	rest string
	bad  bool
}

func (f *fields) skip(c byte) {
	if f.rest == "" || f.rest[0] != c {
		f.bad = true
		f.rest = ""
		return
	}
	f.rest = f.rest[1:]
}

func (f *fields) digits(n int) int {
	v := 0
	if len(f.rest) < n {
		f.bad, f.rest = true, ""
		return 0
	}
	for i := range n {
		c := f.rest[i]
		if c < '0' || c > '9' {
			f.bad, f.rest = true, ""
			return 0
		}
		v = v*10 + int(c-'0')
	}
	f.rest = f.rest[n:]
	return v
}

// fraction reads an optional fraction of a second, in nanoseconds.
func (f *fields) fraction() int {
	if f.rest == "" || f.rest[0] != '.' {
		return 0
	}
	v, n := 0, 0
	for f.rest = f.rest[1:]; f.rest != "" && '0' <= f.rest[0] && f.rest[0] <= '9'; f.rest = f.rest[1:] {
		if n < 9 {
			v = v*10 + int(f.rest[0]-'0')
		}
		n++
	}
	f.bad = f.bad || n == 0
	for ; n < 9; n++ {
		v *= 10
	}
	return v
}

// zone reads "Z", "+hh:mm" or "-hh:mm", in seconds east of UTC.
func (f *fields) zone() int {
	if f.rest == "" {
		f.bad = true
		return 0
	}
	sign := 0
	switch f.rest[0] {
	case '+':
		sign = 1
	case '-':
		sign = -1
	}
	if sign == 0 {
		f.skip('Z')
		return 0
	}
	f.rest = f.rest[1:]
	hours := f.digits(2)
	f.skip(':')
	minutes := f.digits(2)
	f.bad = f.bad || hours > 23 || minutes > 59
	return sign * (hours*60 + minutes) * 60
}
