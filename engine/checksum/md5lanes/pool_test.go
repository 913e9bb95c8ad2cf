package md5lanes

import (
	"crypto/md5"
	"runtime"
	"sync"
	"testing"
)

func TestALeaderDoesNoMoreThanItNeeds(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		small, large := noise(70_000), noise(4<<20)
		leader, other := newDigest(p), newDigest(p)
		other.Start(large)
		leader.Start(small)
		leader.Start(small)
		leader.Wait(int64(len(small)))
		// A quantum may go on past the need.
		if limit := int64(len(small)) + quantum*blockSize; leader.hashed > limit || other.hashed > limit {
			t.Errorf("for %d bytes, %d of its own and %d of another were hashed", len(small), leader.hashed, other.hashed)
		}
		if p.kernel.width() > 1 && other.hashed < int64(len(small)/2) {
			t.Errorf("beside %d bytes, only %d of another were hashed", leader.hashed, other.hashed)
		}
		if got, want := other.Sum(), md5.Sum(large); got != want {
			t.Errorf("MD5 of the other is %x, not %x", got, want)
		}
		_ = leader.Sum()
		idle(t, p)
	})
}

// full returns a batch all lanes of which are taken by Digests that somebody
// waits for.
func full(t *testing.T, p *pool) *batch {
	t.Helper()
	b := &batch{kernel: p.kernel}
	for range p.kernel.width() {
		d := newDigest(p)
		d.Start(noise(100))
		d.need = d.end
		p.unlist(d)
		b.add(d)
	}
	p.leaders++
	return b
}

// queue puts a Digest that is waited for into p, as its owner does.
func queue(p *pool) *Digest {
	d := newDigest(p)
	d.Start(noise(100))
	p.pending.remove(d)
	d.need = d.end
	p.wanted.pushBack(d, inWanted)
	return d
}

func TestLanesAreSharedInTurn(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(x *lane) // lane 3, and lane 0, of the leader
		moves bool
	}{
		{"a lane that is new keeps its place", func(*lane) {}, false},
		{"a lane that had its turn makes room", func(x *lane) { x.turn = turnSize }, true},
		{"a lane nobody waits for makes room", func(x *lane) { x.digest.need = 0 }, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(avx512) // nothing is hashed
			b := full(t, p)
			leader, third := b.lane[0].digest, b.lane[3].digest
			test.spoil(&b.lane[0])
			test.spoil(&b.lane[3])
			first, second := queue(p), queue(p)
			p.fill(b)
			if got := first.place == inLane; got != test.moves {
				t.Errorf("the first in line got a lane: %v", got)
			}
			if got := third.place != inLane; got != test.moves {
				t.Errorf("lane 3 was given away: %v", got)
			}
			if b.lane[0].digest != leader || second.place != inWanted {
				t.Errorf("the leader's lane, or more than one, was given away")
			}
		})
	}
}

func TestStopWaitsForTheLeaderOfItsLane(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		d := newDigest(p)
		d.Start(noise(1 << 20))
		b := &batch{kernel: p.kernel}
		p.mu.Lock()
		p.unlist(d)
		b.add(d)
		p.mu.Unlock()
		stopped := make(chan struct{})
		go func() {
			d.Stop()
			close(stopped)
		}()
		for asleep := false; !asleep; {
			p.mu.Lock()
			asleep = d.waiting
			p.mu.Unlock()
			runtime.Gosched()
		}
		select {
		case <-stopped:
			t.Error("Stop returned while its memory was in use")
		default:
		}
		b.run()
		p.mu.Lock()
		p.settle(b)
		p.mu.Unlock()
		b.sendTokens()
		<-stopped
		if b.count != 0 || d.count != 0 {
			t.Errorf("after Stop there are %d lanes, %d pieces", b.count, d.count)
		}
		idle(t, p)
	})
}

// TestPiecesThatAdjoinAreOne: a body that comes in small reads is queued as far as
// one that comes in large ones.
func TestPiecesThatAdjoinAreOne(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		data := noise(1<<20 + 5)
		for _, step := range []int{100, 16 << 10} {
			d := newDigest(p)
			for rest := data; len(rest) > 0; rest = rest[min(step, len(rest)):] {
				d.Start(rest[:min(step, len(rest))])
			}
			if d.hashed > 0 {
				t.Errorf("in pieces of %d bytes, Start has hashed %d of %d", step, d.hashed, d.end)
			}
			if got, want := d.Sum(), md5.Sum(data); got != want {
				t.Errorf("in pieces of %d bytes, MD5 is %x, not %x", step, got, want)
			}
		}
		idle(t, p)
	})
}

// TestAdjoiningPiecesAreReadOnlyOnceGiven has pieces grow while they are hashed: what
// follows a piece changes until it is given as well.
func TestAdjoiningPiecesAreReadOnlyOnceGiven(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		var all sync.WaitGroup
		for seed := range 4 {
			all.Go(func() {
				data := noise(300_000)
				mem := make([]byte, len(data))
				d := newDigest(p)
				for at, step := 0, 1+seed; at < len(data); step = step*7%1999 + 1 {
					n := copy(mem[at:min(at+step, len(mem))], data[at:])
					d.Start(mem[at:][:n])
					if at += n; step%5 == 0 {
						d.Wait(int64(at - n/2))
					}
				}
				if got, want := d.Sum(), md5.Sum(data); got != want {
					t.Errorf("MD5 is %x, not %x", got, want)
				}
			})
		}
		all.Wait()
		idle(t, p)
	})
}

// TestCrumbsHoldNobodyUp: a lane with a block or two does not end everybody's quantum.
func TestCrumbsHoldNobodyUp(t *testing.T) {
	forEach(t, func(t *testing.T, p *pool) {
		if p.kernel.width() == 1 {
			t.Skip("one lane")
		}
		for _, n := range []int{64, 200} {
			large, crumbs := newDigest(p), newDigest(p)
			data, few := noise(64<<10), noise(n)
			large.Start(data)
			crumbs.Start(few)
			b := &batch{kernel: p.kernel}
			for _, d := range []*Digest{large, crumbs} {
				p.unlist(d)
				b.add(d)
			}
			b.run()
			if got := b.lane[0].done; got < quantum*blockSize {
				t.Errorf("beside %d bytes, a quantum took %d", n, got)
			}
			p.leaders++
			p.settle(b)
			for b.count > 0 {
				p.putBack(b.remove(b.count - 1))
			}
			p.leaders--
			if got, want := crumbs.Sum(), md5.Sum(few); got != want {
				t.Errorf("MD5 of %d bytes is %x, not %x", n, got, want)
			}
			if got, want := large.Sum(), md5.Sum(data); got != want {
				t.Errorf("beside %d bytes, MD5 is %x, not %x", n, got, want)
			}
		}
		idle(t, p)
	})
}
