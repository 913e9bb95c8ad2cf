package drive

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/ioring"
)

// The window covers the last 50 to 60 seconds in slots of 10.
const (
	windowSlots = 6
	slotTime    = int64(10 * time.Second)
)

// window counts the events of the last minute. Anyone may add to it without a
// lock; an event that meets the turn of a slot may be lost.
type window struct {
	slots [windowSlots]slot
}

// slot counts the events of ten seconds.
type slot struct {
	turn                                          atomic.Int64 // number of the ten seconds, from 1; 0: never used
	ops, reads, errors, timeouts, stalls, corrupt atomic.Uint64
	read, write                                   histogram
}

// at returns the slot of now, nanoseconds on the drive's clock.
func (w *window) at(now int64) *slot {
	turn := now/slotTime + 1
	s := &w.slots[turn%windowSlots]
	if old := s.turn.Load(); old != turn && s.turn.CompareAndSwap(old, turn) {
		for _, c := range []*atomic.Uint64{&s.ops, &s.reads, &s.errors, &s.timeouts, &s.stalls, &s.corrupt} {
			c.Store(0)
		}
		s.read.clear()
		s.write.clear()
	}
	return s
}

// each calls fn for the slots of the minute before now.
func (w *window) each(now int64, fn func(s *slot)) {
	turn := now/slotTime + 1
	for i := range w.slots {
		if s := &w.slots[i]; s.turn.Load() > max(0, turn-windowSlots) {
			fn(s)
		}
	}
}

// counts are the events of a minute.
type counts struct{ ops, reads, errors, timeouts, stalls, corrupt uint64 }

func (w *window) counts(now int64) (c counts) {
	w.each(now, func(s *slot) {
		c.ops += s.ops.Load()
		c.reads += s.reads.Load()
		c.errors += s.errors.Load()
		c.timeouts += s.timeouts.Load()
		c.stalls += s.stalls.Load()
		c.corrupt += s.corrupt.Load()
	})
	return c
}

// latency sums up the latencies of reads or writes.
func (w *window) latency(now int64, code ioring.Code) Latency {
	var sum [buckets]uint64
	var l Latency
	w.each(now, func(s *slot) {
		h := &s.read
		if code == ioring.OpWrite {
			h = &s.write
		}
		for i := range h.counts {
			n := uint64(h.counts[i].Load())
			sum[i] += n
			l.Count += n
		}
		l.Max = max(l.Max, time.Duration(h.max.Load()))
	})
	l.P50, l.P99 = min(quantile(&sum, l.Count, 50), l.Max), min(quantile(&sum, l.Count, 99), l.Max)
	return l
}

// quantile returns the upper bound of the bucket in which the given percentage
// of the total ends.
func quantile(sum *[buckets]uint64, total, percent uint64) time.Duration {
	if total == 0 {
		return 0
	}
	rank := (total*percent + 99) / 100
	var seen uint64
	for i, n := range sum {
		if seen += n; seen >= rank {
			return upper(i)
		}
	}
	return upper(buckets - 1)
}

// Buckets are log-linear: 4 to each power of two of microseconds, so that a
// latency is told to within a fifth, from 1 µs to more than an hour.
const buckets = 4 * 32

// histogram counts latencies.
type histogram struct {
	counts [buckets]atomic.Uint32
	max    atomic.Int64
}

func (h *histogram) clear() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
	h.max.Store(0)
}

// add counts a latency in nanoseconds.
func (h *histogram) add(ns int64) {
	h.counts[bucketOf(ns)].Add(1)
	for {
		old := h.max.Load()
		if ns <= old || h.max.CompareAndSwap(old, ns) {
			return
		}
	}
}

// bucketOf returns the bucket of a latency.
func bucketOf(ns int64) int {
	us := uint64(max(0, ns)) / 1000
	if us < 4 {
		return int(us)
	}
	log := bits.Len64(us) - 1 // at least 2
	return min(4*(log-1)+int(us>>(log-2)&3), buckets-1)
}

// upper returns the end of bucket i.
func upper(i int) time.Duration {
	if i < 4 {
		return time.Duration(i+1) * time.Microsecond
	}
	log := i/4 + 1
	return time.Duration(uint64(i%4+5)<<(log-2)) * time.Microsecond
}
