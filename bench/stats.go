package main

import (
	"fmt"
	"slices"
)

// spread is what the rounds of one figure gave.
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"min"`
	High   float64 `json:"max"`
}

// spreadOf returns the median, least and greatest of values; zeros of none. The
// median of an even number is the mean of the two in the middle.
func spreadOf(values []float64) (s spread) {
	if len(values) == 0 {
		return s
	}
	v := slices.Clone(values)
	slices.Sort(v)
	n := len(v)
	return spread{Median: (v[(n-1)/2] + v[n/2]) / 2, Low: v[0], High: v[n-1]}
}

// ratioOf divides round by round, so that what a round met is in both, and
// returns the spread of the quotients. Rounds in which either is unknown (0) are
// left out; nil: there are none.
func ratioOf(values, base []float64) *spread {
	var q []float64
	for i := range min(len(values), len(base)) {
		if values[i] > 0 && base[i] > 0 {
			q = append(q, values[i]/base[i])
		}
	}
	if len(q) == 0 {
		return nil
	}
	s := spreadOf(q)
	return &s
}

// text writes a ratio with its spread.
func (s *spread) text() string {
	if s == nil {
		return "–"
	}
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Low), number(s.High))
}
