package body

import (
	"bytes"
	"crypto/md5"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// TestLend: in every form, memory may be spoilt once it is settled; a caller that
// reads up to io.EOF is told of every claim that is wrong, one that stops lending in
// the middle gets nothing more.
func TestLend(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	data := pattern(200_000)
	sum, wrong := md5.Sum(data), md5.Sum(nil)
	for name, u := range uploads(data, []int{65536, 65536, 65536, 3392}) {
		for _, claim := range [][]byte{nil, sum[:], wrong[:]} {
			for _, stopAt := range []int{0, -1, 100_000, len(data)} {
				wire := u.wire()
				o := u.options(&splitReader{bytes.NewReader(wire), rng, 90_000}, wire)
				o.MD5 = claim
				r, err := NewReader(o)
				if err != nil {
					t.Fatal(err)
				}
				got, err := lendAll(r, rng, stopAt)
				switch stopped := stopAt == 100_000; {
				case stopped && !errors.Is(err, errStopped):
					t.Errorf("%s: stopped at %d: %v", name, stopAt, err)
				case stopped:
				case bytes.Equal(claim, wrong[:]):
					if !errors.Is(err, ErrContentMD5) {
						t.Errorf("%s: wrong Content-MD5: %v", name, err)
					}
				case err != io.EOF || !bytes.Equal(got, data) || r.MD5() != sum || !bytes.Equal(r.Checksum(), u.sum()):
					t.Errorf("%s, stop at %d: %d bytes, %v, MD5 %x", name, stopAt, len(got), err, r.MD5())
				}
				r.Close()
			}
		}
	}
}

// lendAll reads r to its end. At stopAt, if positive, it stops lending: at the
// payload's end after settling everything, before that without.
func lendAll(r *Reader, rng *rand.Rand, stopAt int) (got []byte, err error) {
	mem := make([]byte, 200_001)
	at := 0
	r.Lend()
	for err == nil {
		if stopAt > 0 && at >= stopAt {
			if at == 200_000 {
				r.Settle(int64(at))
			}
			r.StopLending()
			clear(mem[:at])
			stopAt = -1
		}
		var n int
		n, err = r.Read(mem[at:min(len(mem), at+1+rng.IntN(50_000))])
		got = append(got, mem[at:at+n]...)
		if at += n; rng.IntN(2) == 0 {
			off := rng.IntN(at + 1)
			if stopAt > 0 {
				off = min(off, max(at-1, 0)) // some are lent when the lending stops
			}
			r.Settle(int64(off))
			clear(mem[:off])
		}
	}
	return got, err
}
