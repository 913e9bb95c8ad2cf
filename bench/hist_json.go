package main

import (
	"bytes"
	"strconv"
	"time"
)

// distribution is a histogram in the report: pairs of a latency in µs, the upper
// end of a bucket (1.6 % wide at most), and the operations in it, ascending.
// Empty buckets are left out. The last latency is the maximum.
type distribution [][2]float64

func (h *histogram) distribution() distribution {
	var out distribution
	for i, n := range h.counts {
		if n > 0 {
			top := min(time.Duration(bucketTop(i)), h.max) // #nosec G115: bounded by max
			out = append(out, [2]float64{micros(top), float64(n)})
		}
	}
	return out
}

// MarshalJSON writes all pairs into one line's worth of text, numbers as short as
// they can be.
func (d distribution) MarshalJSON() ([]byte, error) {
	out := []byte{'['}
	for i, pair := range d {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendFloat(append(out, '['), pair[0], 'f', -1, 64)
		out = append(strconv.AppendFloat(append(out, ','), pair[1], 'f', -1, 64), ']')
	}
	return append(out, ']'), nil
}

// compactPairs takes indented JSON and puts each latency_distribution on one line.
func compactPairs(text []byte) []byte {
	const mark = `"latency_distribution": `
	out := make([]byte, 0, len(text))
	for {
		before, rest, found := bytes.Cut(text, []byte(mark))
		out = append(out, before...)
		if !found {
			return out
		}
		out = append(out, mark...)
		depth, i := 0, 0
		for ; i < len(rest) && (i == 0 || depth > 0); i++ {
			switch c := rest[i]; c {
			case '[':
				depth++
				out = append(out, c)
			case ']':
				depth--
				out = append(out, c)
			case ' ', '\n':
			default:
				out = append(out, c)
			}
		}
		text = rest[i:]
	}
}
