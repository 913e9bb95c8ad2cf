package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// patternSize is the size of the random block that contents are windows of. It
// is prime, so that windows that begin at different offsets never line up with
// each other's frames.
const patternSize = 16<<20 - 3

// pattern is the content of every object: object seed holds the block, repeated,
// from a byte that the seed picks.
type pattern struct{ mem []byte }

func newPattern() *pattern {
	mem := make([]byte, patternSize)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(mem) // never fails, by its contract
	return &pattern{mem}
}

// window is the part of an object's content that is still to come.
type window struct {
	p    *pattern
	at   int
	left int64
}

func (p *pattern) window(seed uint64, size int64) window {
	// Fibonacci hashing spreads consecutive seeds over the block.
	return window{p, int((seed * 0x9E3779B97F4A7C15 >> 20) % patternSize), size}
}

// skip moves on by n bytes of the object without using them up.
func (w *window) skip(n int64) { w.at = int((int64(w.at) + n) % patternSize) }

// next returns up to most bytes of content, which alias the block, and moves on.
func (w *window) next(most int) []byte {
	n := min(int64(most), w.left, int64(patternSize-w.at))
	b := w.p.mem[w.at : w.at+int(n)]
	w.at = (w.at + int(n)) % patternSize
	w.left -= n
	return b
}

// check compares got with the content that comes next, and moves on.
func (w *window) check(got []byte) error {
	if int64(len(got)) > w.left {
		return fmt.Errorf("%d bytes more than the object has", int64(len(got))-w.left)
	}
	for len(got) > 0 {
		want := w.next(len(got))
		if !bytes.Equal(want, got[:len(want)]) {
			return fmt.Errorf("wrong content, %d bytes before the end or earlier", w.left)
		}
		got = got[len(want):]
	}
	return nil
}
