package md5lanes

import (
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

var _ io.Writer = (*Digest)(nil)

// The test suite of RFC 1321, appendix A.5.
var vectors = []struct{ text, sum string }{
	{"", "d41d8cd98f00b204e9800998ecf8427e"},
	{"a", "0cc175b9c0f1b6a831c399e269772661"},
	{"abc", "900150983cd24fb0d6963f7d28e17f72"},
	{"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
	{"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
	{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"},
	{"12345678901234567890123456789012345678901234567890123456789012345678901234567890", "57edf4a22be3c955ac49da2e2107b67a"},
}

func TestVectorsOfTheRFC(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		for _, v := range vectors {
			whole, bytewise := newDigest(p), newDigest(p)
			whole.Start([]byte(v.text))
			for i := range len(v.text) {
				bytewise.Start([]byte(v.text[i : i+1]))
			}
			for _, d := range []*Digest{whole, bytewise} {
				if sum := d.Sum(); hex.EncodeToString(sum[:]) != v.sum {
					t.Errorf("MD5 of %q is %x, not %s", v.text, sum, v.sum)
				}
			}
		}
	})
}

func TestEveryLengthAroundTheBlocks(t *testing.T) {
	data := noise(5 * blockSize)
	forEach(t, func(t *testing.T, p *pool) {
		d := newDigest(p)
		for n := range len(data) + 1 {
			for _, cut := range []int{0, n / 2, n - n%blockSize} {
				d.Reset()
				d.Start(data[:cut])
				d.Start(data[cut:n])
				if got, want := d.Sum(), md5.Sum(data[:n]); got != want {
					t.Fatalf("MD5 of %d bytes, cut at %d, is %x, not %x", n, cut, got, want)
				}
			}
		}
	})
}

func TestASumInTheMiddle(t *testing.T) {
	data := noise(1000)
	forEach(t, func(t *testing.T, p *pool) {
		d := newDigest(p)
		for at := 0; at < len(data); at += 100 {
			d.Start(data[at : at+100])
			if got, want := d.Sum(), md5.Sum(data[:at+100]); got != want {
				t.Fatalf("MD5 of the first %d bytes is %x, not %x", at+100, got, want)
			}
		}
	})
}

func TestAnythingAfterStopIsHarmless(t *testing.T) {
	data := noise(3 << 10)
	forEach(t, func(t *testing.T, p *pool) {
		d := newDigest(p)
		d.Start(data)
		d.Stop()
		d.Start(data)
		d.Wait(1 << 40)
		d.Wait(-1)
		_ = d.Sum()
		d.Stop()
		d.Reset()
		d.Start(data)
		if got, want := d.Sum(), md5.Sum(data); got != want {
			t.Errorf("MD5 after a Reset is %x, not %x", got, want)
		}
		idle(t, p)
	})
}

// idle checks that the pool knows nothing any more.
func idle(t interface{ Errorf(string, ...any) }, p *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending.len+p.wanted.len+p.leaders+p.spare != 0 || p.pending.head != nil || p.wanted.tail != nil {
		t.Errorf("an idle pool has %d pending, %d wanted, %d leaders, %d spare lanes",
			p.pending.len, p.wanted.len, p.leaders, p.spare)
	}
}

// move is one call on a Digest.
type move struct {
	what string
	n    int
}

// moves draws what one goroutine does with its Digest.
var moves = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) move {
	return move{
		what: rapid.SampledFrom([]string{"start", "start", "start", "start", "wait", "sum", "write", "stop", "yield"}).Draw(t, "what"),
		n:    rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 5000), rapid.IntRange(0, 200_000)).Draw(t, "n"),
	}
}), 0, 24)

func TestAnyMovesOfManyStreams(t *testing.T) {
	for _, k := range kernels() {
		t.Run(k.String(), func(t *testing.T) { rapid.Check(t, func(t *rapid.T) { play(t, k) }) })
	}
}

// play runs the moves of up to 40 goroutines, in a pool of their own, and holds
// every digest against crypto/md5. A piece is overwritten as soon as it may be.
func play(t *rapid.T, k kernel) {
	p := newPool(k)
	scripts := rapid.SliceOfN(moves, 1, 40).Draw(t, "scripts")
	var wg sync.WaitGroup
	failures := make(chan string, len(scripts))
	for i, script := range scripts {
		wg.Go(func() {
			s := stream{digest: newDigest(p), seed: byte(i)}
			for _, m := range script {
				if err := s.do(m); err != nil {
					failures <- fmt.Sprintf("stream %d, %v: %v", i, m, err)
					break
				}
			}
			s.digest.Stop()
		})
	}
	wg.Wait()
	close(failures)
	for f := range failures {
		t.Errorf("%s", f)
	}
	idle(t, p)
}

// stream is a Digest and what it has been given.
type stream struct {
	digest *Digest
	seed   byte
	whole  []byte
	pieces []piece
}

type piece struct {
	data []byte
	end  int64
}

func (s *stream) do(m move) error {
	switch m.what {
	case "start":
		data := make([]byte, m.n)
		for i := range data {
			data[i] = byte(i*7+i>>8) + s.seed
		}
		s.whole = append(s.whole, data...)
		s.pieces = append(s.pieces, piece{data, int64(len(s.whole))})
		s.digest.Start(data)
	case "wait":
		off := int64(m.n)
		s.digest.Wait(off)
		for len(s.pieces) > 0 && s.pieces[0].end <= off {
			clear(s.pieces[0].data)
			s.pieces = s.pieces[1:]
		}
	case "write":
		data := noise(m.n)
		s.whole = append(s.whole, data...)
		if n, err := s.digest.Write(data); n != len(data) || err != nil {
			return fmt.Errorf("Write returns %d, %v", n, err)
		}
		clear(data)
	case "sum":
		if got, want := s.digest.Sum(), md5.Sum(s.whole); got != want {
			return fmt.Errorf("MD5 of %d bytes is %x, not %x", len(s.whole), got, want)
		}
	case "stop":
		s.digest.Stop()
		for _, p := range s.pieces {
			clear(p.data)
		}
		s.digest.Reset()
		s.whole, s.pieces = nil, nil
	case "yield":
		runtime.Gosched()
	}
	return nil
}

func TestManyStreamsAtFullLoad(t *testing.T) {
	const streams, rounds = 50, 6
	data := noise(300_001)
	want := md5.Sum(data)
	forEach(t, func(t *testing.T, p *pool) {
		var wg sync.WaitGroup
		for i := range streams {
			wg.Go(func() {
				d := newDigest(p)
				for r := range rounds {
					size := 1 + (i*7919+r*104729)%len(data)
					for at := 0; at < len(data); at += size {
						d.Start(data[at:min(at+size, len(data))])
						if (at/size+i)%3 == 0 {
							d.Wait(int64(at))
						}
					}
					if i%5 == 4 && r%2 == 0 {
						d.Stop()
					} else if got := d.Sum(); got != want {
						t.Errorf("stream %d, in pieces of %d: MD5 is %x, not %x", i, size, got, want)
					}
					d.Reset()
				}
			})
		}
		wg.Wait()
		idle(t, p)
	})
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	data := noise(100_000)
	forEach(t, func(t *testing.T, p *pool) {
		ours, other := newDigest(p), newDigest(p)
		if n := testing.AllocsPerRun(20, func() {
			other.Start(data)
			ours.Start(data)
			ours.Wait(5)
			_, _ = ours.Write(data)
			_ = ours.Sum()
			other.Stop()
			ours.Reset()
			other.Reset()
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// FuzzPieces cuts a stream where the fuzzer likes, beside another stream.
func FuzzPieces(f *testing.F) {
	f.Add([]byte("message digest"), uint16(3), uint16(5), uint8(0))
	f.Add(noise(700), uint16(64), uint16(63), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, cut, other uint16, k uint8) {
		p := newPool(kernel(k) % (detect() + 1))
		a, b := newDigest(p), newDigest(p)
		for at, size := 0, 1+int(cut); at < len(data); at += size {
			a.Start(data[at:min(at+size, len(data))])
			b.Start(data[at:min(at+int(other), len(data))])
			if other%3 == 0 {
				a.Wait(int64(at))
			}
		}
		b.Stop()
		if got, want := a.Sum(), md5.Sum(data); got != want {
			t.Errorf("MD5 is %x, not %x", got, want)
		}
		idle(t, p)
	})
}
