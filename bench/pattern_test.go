package main

import (
	"bytes"
	"testing"
)

func content(p *pattern, seed uint64, size int64) []byte {
	w := p.window(seed, size)
	var out []byte
	for w.left > 0 {
		out = append(out, w.next(1<<20)...)
	}
	return out
}

func TestPatternChecksItsOwn(t *testing.T) {
	p := newPattern()
	for _, size := range []int64{0, 1, 4096, patternSize, patternSize + 1, 2*patternSize + 77} {
		body := content(p, 7, size)
		if int64(len(body)) != size {
			t.Fatalf("%d bytes, want %d", len(body), size)
		}
		w := p.window(7, size)
		for rest := body; len(rest) > 0; {
			n := min(len(rest), 100_003)
			if err := w.check(rest[:n]); err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			rest = rest[n:]
		}
		if w.left != 0 {
			t.Fatalf("size %d: %d bytes left", size, w.left)
		}
		if err := w.check([]byte{0}); err == nil {
			t.Fatal("one byte too many passes")
		}
	}
}

func TestPatternFindsOneWrongByte(t *testing.T) {
	p := newPattern()
	const size = 8192
	for _, at := range []int{0, 1, 4095, size - 1} {
		body := content(p, 3, size)
		body[at] ^= 1
		w := p.window(3, size)
		if err := w.check(body); err == nil {
			t.Fatalf("a wrong byte at %d passes", at)
		}
	}
}

func TestPatternsDiffer(t *testing.T) {
	p := newPattern()
	seen := map[string]uint64{}
	for seed := range uint64(20000) {
		b := string(content(p, seed, 32))
		if other, ok := seen[b]; ok {
			t.Fatalf("objects %d and %d begin alike", seed, other)
		}
		seen[b] = seed
	}
	if bytes.Equal(content(p, 1, 4096), content(p, 2, 4096)) {
		t.Fatal("two objects are equal")
	}
}
