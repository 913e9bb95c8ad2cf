package engine

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/meta"
)

// epochShards spreads the counters of readers over cache lines.
const epochShards = 16

// epochs tells the purger when every reader that could have seen a record has
// either pinned it or gone. A reader enters an epoch, looks a record up, pins
// its version and leaves. The purger scans the delete queue, begins a new epoch
// and waits for the old one to empty: who entered later can no longer find what
// the scan found, because the batch that queues a blob also unlinks it.
type epochs struct {
	now    atomic.Uint32
	shards [epochShards]struct {
		in [2]atomic.Int64 // readers, by parity of their epoch
		_  [48]byte
	}
}

// epoch is a reader's ticket.
type epoch struct{ in *atomic.Int64 }

func (e epoch) leave() { e.in.Add(-1) }

func (e *epochs) enter() epoch {
	s := &e.shards[rand.Uint32()%epochShards]
	for {
		now := e.now.Load()
		in := &s.in[now&1]
		in.Add(1)
		// A turn between the load and the add would have missed us.
		if e.now.Load() == now {
			return epoch{in}
		}
		in.Add(-1)
	}
}

// turn begins a new epoch and returns once the old one is empty. One caller at
// a time. It returns false when stop was closed first.
func (e *epochs) turn(stop <-chan struct{}) bool {
	old := e.now.Load()
	if !e.empty(old+1, stop) { // of the epoch before, which a turn that was stopped did not wait for
		return false
	}
	e.now.Add(1)
	return e.empty(old, stop)
}

// empty returns once nobody is in the epochs of the parity of epoch.
func (e *epochs) empty(epoch uint32, stop <-chan struct{}) bool {
	for i := range e.shards {
		for wait := time.Duration(0); e.shards[i].in[epoch&1].Load() != 0; wait = min(wait+10*time.Microsecond, time.Millisecond) {
			select {
			case <-stop:
				return false
			case <-time.After(wait):
			}
		}
	}
	return true
}

// pinShards spreads pins over locks.
const pinShards = 64

// pins counts the readers of each version.
type pins struct {
	readers atomic.Int64
	shards  [pinShards]struct {
		mu sync.Mutex
		n  map[meta.Version]int
		_  [40]byte
	}
}

// pin holds v against the purger. The caller is within an epoch.
func (p *pins) pin(v meta.Version) {
	s := &p.shards[v[15]%pinShards]
	s.mu.Lock()
	if s.n == nil {
		s.n = make(map[meta.Version]int)
	}
	s.n[v]++
	s.mu.Unlock()
	p.readers.Add(1)
}

func (p *pins) unpin(v meta.Version) {
	p.readers.Add(-1)
	s := &p.shards[v[15]%pinShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n[v]--; s.n[v] <= 0 {
		delete(s.n, v)
	}
}

func (p *pins) pinned(v meta.Version) bool {
	s := &p.shards[v[15]%pinShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n[v] > 0
}
