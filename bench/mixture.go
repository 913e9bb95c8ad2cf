package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// mixture is how often each operation comes in row MIXED, in parts of the sum.
type mixture struct {
	parts [4]int // by the order of mixtureOps
	sum   int
}

// mixtureOps are the operations of MIXED, in the order that results have.
func mixtureOps() []string { return []string{"GET", "HEAD", "PUT", "DELETE"} }

// parseMixture takes "GET=45,HEAD=30,PUT=15,DELETE=10". DELETE deletes what PUT
// stored in the same row, so it cannot come more often.
func parseMixture(text string) (m mixture, err error) {
	for part := range strings.SplitSeq(text, ",") {
		op, share, _ := strings.Cut(strings.TrimSpace(part), "=")
		i := slices.Index(mixtureOps(), strings.ToUpper(op))
		n, err := strconv.Atoi(share)
		if i < 0 || err != nil || n < 0 || n > 1000 || m.parts[max(i, 0)] != 0 {
			return m, fmt.Errorf("-mixture: %q: want OP=N once each, of GET, HEAD, PUT, DELETE", part)
		}
		m.parts[i] = n
		m.sum += n
	}
	if m.sum == 0 || m.parts[3] > m.parts[2] {
		return m, fmt.Errorf("-mixture %q: want some of anything, and no more DELETEs than PUTs", text)
	}
	return m, nil
}

// pick draws an operation: its index in mixtureOps.
func (m *mixture) pick() int { return m.at(rand.IntN(m.sum)) }

func (m *mixture) at(n int) int {
	for i, share := range m.parts {
		if n < share {
			return i
		}
		n -= share
	}
	return 0
}
