package engine

import (
	"context"
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// reads is what readers of striped blobs share.
type reads struct {
	hedger   hedger
	suspects suspects
	lean     chan *leanMemory // leanMost of them; nil: not made yet
	computed atomic.Uint64
	turned   atomic.Uint64 // runs that went on with another geometry
}

func newReads() *reads {
	r := &reads{lean: make(chan *leanMemory, leanMost)}
	for range leanMost {
		r.lean <- nil
	}
	return r
}

// memory waits for lean memory, which goes back to r.lean.
func (r *reads) memory(ctx context.Context) (*leanMemory, error) {
	select {
	case mem := <-r.lean:
		if mem == nil {
			mem = new(leanMemory)
		}
		return mem, nil
	case <-ctx.Done():
		return nil, driveError(ctx.Err())
	}
}

// ReadStats counts what readers met since the engine was opened.
type ReadStats struct {
	Computed uint64 // rows of which something was computed from other fragments
	Hedged   uint64 // reads that took so long that other fragments were asked
	Suspects uint64 // fragments that did not verify, or could not be read, and were put on the repair queue
}

// ReadStats returns the readers' counters.
func (e *Engine) ReadStats() ReadStats {
	r := e.reads
	return ReadStats{Computed: r.computed.Load(), Hedged: r.hedger.hedged.Load(), Suspects: r.suspects.queued.Load()}
}

const (
	suspectsMost  = 1024            // blobs that wait for being queued, or have been of late
	suspectsAgain = 5 * time.Second // a fragment is not reported again before
)

// suspects are blobs with fragments that readers found bad, on their way to the
// repair queue.
type suspects struct {
	mu      sync.Mutex
	waiting map[layout.BlobID]suspect
	told    map[layout.BlobID]suspect
	busy    bool // a goroutine is at work
	queued  atomic.Uint64
}

// suspect is a blob.
type suspect struct {
	slot meta.Slot
	bad  uint32 // fragments, by number
	at   time.Time
}

// suspectFragment has a blob put on the repair queue because a fragment does not
// verify. It does not wait for that, and may forget it when there are too many: who
// reads the blob next will notice again.
func (e *Engine) suspectFragment(slot meta.Slot, blob layout.BlobID, number int) {
	s := &e.reads.suspects
	bit := uint32(1) << number
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.told[blob]; t.bad&bit != 0 && now.Sub(t.at) < suspectsAgain {
		return
	}
	w, ok := s.waiting[blob]
	if !ok && len(s.waiting) >= suspectsMost {
		return
	}
	if s.waiting == nil {
		s.waiting, s.told = make(map[layout.BlobID]suspect), make(map[layout.BlobID]suspect)
	}
	s.waiting[blob] = suspect{slot: slot, bad: w.bad | bit}
	if !s.busy && e.gate.enter() == nil {
		s.busy = true
		go e.reportSuspects()
	}
}

// reportSuspects puts what waits on the repair queue.
func (e *Engine) reportSuspects() {
	defer e.gate.leave()
	s := &e.reads.suspects
	for {
		blob, w, ok := s.next()
		if !ok {
			return
		}
		cmd := &meta.QueueRepair{Slot: w.slot, Blob: blob, Bad: w.bad, Now: e.now().UnixNano()}
		if err := e.mutate(context.Background(), w.slot, cmd); err != nil {
			e.log.Error("a bad fragment could not be put on the repair queue", "blob", blob, "fragments", w.bad, "err", err)
			continue
		}
		s.done(blob, w)
		if cmd.Queued {
			e.log.Warn("blob is to be repaired", "blob", blob, "fragments", w.bad)
			e.degraded()
		}
	}
}

// next takes one of those that wait; false: there are none, and busy is off.
func (s *suspects) next() (layout.BlobID, suspect, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for blob, w := range s.waiting {
		delete(s.waiting, blob)
		return blob, w, true
	}
	s.busy = false
	return layout.BlobID{}, suspect{}, false
}

// done notes that the blob is on the queue.
func (s *suspects) done(blob layout.BlobID, w suspect) {
	s.queued.Add(uint64(bits.OnesCount32(w.bad)))
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.told) >= suspectsMost {
		clear(s.told)
	}
	w.at = time.Now()
	s.told[blob] = w
}
