package checksum

import (
	"bytes"
	"crypto/md5"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestLend: digests of several sets at a time, each of which lends its memory, settles
// it in its own time and spoils it at once, are those of the bytes written.
func TestLend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		var wg sync.WaitGroup
		for stream := range uint64(rapid.IntRange(1, 4).Draw(t, "streams")) {
			wg.Go(func() {
				if err := lendOne(rand.New(rand.NewPCG(seed, stream))); err != "" {
					t.Errorf("stream %d: %s", stream, err)
				}
			})
		}
		wg.Wait()
	})
}

// lendOne runs one set and returns what is wrong.
func lendOne(rng *rand.Rand) string {
	want := Wanted{MD5: rng.IntN(8) > 0, PayloadSHA256: rng.IntN(4) == 0, Extra: Algorithm(rng.IntN(int(SHA256) + 1))}
	want.Short = rng.IntN(4) == 0
	s := NewSet(want)
	defer s.Release()
	data := make([]byte, 1+rng.IntN(300_000))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	mem := bytes.Clone(data)
	lendFrom, stopAt := rng.IntN(len(data)), -1
	if rng.IntN(4) == 0 {
		stopAt = rng.IntN(len(data))
	}
	settled, lent := 0, false
	for at := 0; at < len(data); {
		if !lent && at >= lendFrom {
			s.Lend()
			lent = true
		}
		if stopAt >= 0 && at >= stopAt {
			if whole := s.StopLending(); whole != (settled == at || !want.MD5) {
				return "StopLending does not tell whether bytes were not settled"
			}
			clear(mem)
			return ""
		}
		n := min(1+rng.IntN(70_000), len(data)-at)
		_, _ = s.Write(mem[at : at+n])
		if at += n; !lent || want.Short {
			settled = at
		}
		if rng.IntN(3) == 0 {
			to := rng.IntN(at + 1)
			s.Settle(int64(to))
			settled = max(settled, to)
			clear(mem[:settled])
		}
	}
	sum := s.MD5()
	clear(mem)
	switch h := want.Extra.New(); {
	case want.MD5 && sum != md5.Sum(data), !want.MD5 && sum != [16]byte{}:
		return "MD5"
	case h == nil:
	default:
		h.Write(data)
		if !bytes.Equal(s.Extra(), h.Sum(nil)) {
			return "extra"
		}
	}
	if !s.StopLending() {
		return "nothing is left to settle, and yet something is"
	}
	return ""
}
