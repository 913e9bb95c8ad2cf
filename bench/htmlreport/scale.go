package htmlreport

import (
	"math"
	"strconv"
	"strings"
)

// largest is the largest magnitude that is drawn: sums and differences of such
// values are finite.
const largest = 1e300

// smallest is the smallest value on a logarithmic axis.
const smallest = 1e-300

// finite tells whether v can be drawn at all.
func finite(v float64) bool { return math.Abs(v) <= largest } // false for NaN

// scale maps values to pixels: value lo to pixel from, value hi to pixel to.
type scale struct {
	log      bool
	lo, hi   float64 // lo < hi; on a log scale positive
	from, to float64
	ticks    []float64              // ascending, within [lo, hi]
	name     func(v float64) string // prints a tick; nil for numbers
}

// at gives the pixel of v, which is clipped to the scale's ends.
func (s *scale) at(v float64) float64 {
	var part float64
	if s.log {
		if v <= s.lo {
			return s.from
		}
		part = (math.Log(v) - math.Log(s.lo)) / (math.Log(s.hi) - math.Log(s.lo)) // v/lo may be infinite
	} else {
		part = (v - s.lo) / (s.hi - s.lo)
	}
	return s.from + (s.to-s.from)*min(max(part, 0), 1)
}

// newScale makes a scale whose ends and ticks are round numbers (1, 2 or 5 times
// a power of ten) and that holds lo to hi, with about as many ticks as there is
// room for. Of three decades or less, a logarithmic one also has ticks at 2 and 5.
func newScale(log bool, lo, hi float64) scale {
	if log {
		return logScale(lo, hi, 9)
	}
	return linearScale(lo, hi, 6)
}

func linearScale(lo, hi float64, n int) scale {
	// A range too small for its numbers, or none, is widened around them.
	if least := max(math.Abs(lo), math.Abs(hi)) * 1e-9; hi-lo <= max(least, smallest) {
		if least < smallest {
			least = 1
		}
		lo, hi = lo-least, hi+least
	}
	step := roundUp((hi - lo) / float64(n))
	first, last := math.Floor(lo/step), math.Ceil(hi/step)
	s := scale{lo: first * step, hi: last * step}
	for i := first; i <= last; i++ {
		s.ticks = append(s.ticks, i*step)
	}
	return s
}

func logScale(lo, hi float64, n int) scale {
	lo, hi = roundDown(lo), roundUp(hi)
	if lo >= hi {
		hi = roundUp(lo * 1.5)
	}
	s := scale{log: true, lo: lo, hi: hi}
	first, last := int(math.Floor(math.Log10(lo))), int(math.Ceil(math.Log10(hi)))
	every, steps := 1, []float64{1}
	switch decades := math.Log10(hi) - math.Log10(lo); {
	case 3*decades <= float64(n)+0.5:
		steps = []float64{1, 2, 5}
	case decades > float64(n):
		every = int(math.Ceil(decades / float64(n)))
	}
	for e := first; e <= last; e += every {
		for _, m := range steps {
			if v := m * math.Pow10(e); v >= lo*(1-1e-9) && v <= hi*(1+1e-9) {
				s.ticks = append(s.ticks, v)
			}
		}
	}
	return s
}

// roundUp gives the smallest 1, 2 or 5 times a power of ten that is not below v,
// roundDown the largest that is not above it; v is positive.
func roundUp(v float64) float64 {
	base := math.Pow10(int(math.Floor(math.Log10(v))))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*base*(1+1e-9) {
			return m * base
		}
	}
	return 10 * base
}

func roundDown(v float64) float64 {
	base := math.Pow10(int(math.Floor(math.Log10(v))))
	for _, m := range []float64{5, 2} {
		if v >= m*base*(1-1e-9) {
			return m * base
		}
	}
	return base
}

// number prints v with three significant digits, or all those before the point
// up to a million: 0.00123, 1.20, 45.6, 789, 12,345, 1.23M.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case !finite(v):
		return "–"
	case v == 0:
		return "0"
	case a >= 1e15 || a < 1e-5:
		return significant(v, 3)
	case a >= 999_999.5:
		for _, u := range units() {
			if a >= u.size*0.9999995 {
				return digits(v/u.size) + u.name
			}
		}
	}
	return digits(v)
}

type unit struct {
	name string
	size float64
}

func units() [3]unit { return [3]unit{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}} }

// digits prints v, between 1e-5 and 1e6 in magnitude, with three significant
// digits or more.
func digits(v float64) string {
	after := 0
	for a := math.Abs(v); a < 99.95 && after < 8; a *= 10 {
		after++
	}
	return group(strconv.FormatFloat(v, 'f', after, 64))
}

// labels prints the ticks, with as many digits as tell them apart.
func (s *scale) labels() []string {
	out := make([]string, len(s.ticks))
	if s.name == nil && (s.log || len(s.ticks) < 2) {
		s.name = short
	}
	if s.name != nil {
		for i, v := range s.ticks {
			out[i] = s.name(v)
		}
		return out
	}
	// Of a linear scale, all ticks have the same unit and the decimals of a step.
	step, most := s.ticks[1]-s.ticks[0], max(math.Abs(s.lo), math.Abs(s.hi))
	size, unit := 1.0, ""
	for _, u := range units() {
		if most >= u.size && step >= u.size/1000 {
			size, unit = u.size, u.name
			break
		}
	}
	after := int(math.Ceil(-math.Log10(step/size) - 1e-9))
	for i, v := range s.ticks {
		switch {
		case math.Abs(v) < step/2:
			out[i] = "0" // not -0, nor what rounding leaves
		case most >= 1e15 || after > 9:
			out[i] = apart(v, most/step)
		default:
			out[i] = group(strconv.FormatFloat(v/size, 'f', max(after, 0), 64)) + unit
		}
	}
	return out
}

// apart prints v with the significant digits that tell it from its neighbours on
// an axis whose largest value is ratio times its step.
func apart(v, ratio float64) string {
	if ratio <= 100 && finite(v) {
		return number(v)
	}
	return significant(v, max(3, int(math.Ceil(math.Log10(ratio)))+1))
}

// significant prints v with up to n significant digits, and an exponent where that is
// shorter.
func significant(v float64, n int) string {
	return strings.Replace(strconv.FormatFloat(v, 'g', n, 64), "-", "−", 1)
}

// short is number without zeros that say nothing: 1, not 1.00.
func short(v float64) string {
	text := number(v)
	if strings.ContainsRune(text, 'e') || !strings.ContainsRune(text, '.') {
		return text
	}
	end := strings.TrimRight(text, "TGM")
	return strings.TrimSuffix(strings.TrimRight(end, "0"), ".") + text[len(end):]
}

// group puts commas between thousands and a minus where a hyphen was.
func group(text string) string {
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "−", text[1:]
	}
	whole, rest, point := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if point {
		rest = "." + rest
	}
	return sign + whole + rest
}
