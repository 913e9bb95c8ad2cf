package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"time"
)

const (
	// heapFloor is the size of heap, in bytes, below which the collector is not
	// worth its time under load. What is live of a busy daemon is 30–45 MiB, which
	// the runtime's default collects at 60–90; a listing a millisecond fills
	// that dozens of times a second.
	heapFloor = 112 << 20
	// gcDefault is the runtime's own growth between collections, in percent of
	// what is live. It holds for heaps larger than heapFloor.
	gcDefault = 100
	// gcLeast is the growth where what is live comes near heapFloor: twice that
	// would be more memory than a daemon with the default caches is to have.
	gcLeast = 50
	// gcMost bounds the growth where next to nothing is live.
	gcMost = 1000
	// gcBusy is how soon after one another collections come in a busy daemon. In
	// one that is not they cost nothing, and memory is better left to others.
	gcBusy = 20 * time.Second
)

// collector lets the heap grow to heapFloor between collections, however little
// of it is live. It runs after each collection and needs no timer.
//
// Only a busy daemon is given that much: an idle one goes back to the runtime's
// default, and what its last load left is given back by idleTrimmer.
type collector struct {
	live    func() uint64     // bytes that the last collection found live
	cycles  func() uint64     // collections so far that nobody asked for
	set     func(percent int) // debug.SetGCPercent, which stops the world for a moment
	now     func() time.Time
	percent int       // as set
	last    time.Time // the last collection
	seen    uint64    // cycles then
}

// tuned is what a collection leaves behind for the next one to find.
type tuned struct {
	_ *byte // pointers keep it out of blocks that it would share with others
	_ [2]uintptr
}

// tunedByEnvironment tells whether GOGC or GOMEMLIMIT is set: they are the
// administrator's word.
func tunedByEnvironment(environ []string) bool {
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if (name == "GOGC" || name == "GOMEMLIMIT") && value != "" {
			return true
		}
	}
	return false
}

// startCollector tunes the garbage collector from now on.
func startCollector() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	cycles := []metrics.Sample{{Name: "/gc/cycles/automatic:gc-cycles"}}
	c := &collector{
		percent: gcDefault,
		now:     time.Now,
		last:    time.Now(),
		live: func() uint64 {
			metrics.Read(sample)
			return sample[0].Value.Uint64()
		},
		cycles: func() uint64 {
			metrics.Read(cycles)
			return cycles[0].Value.Uint64()
		},
		set: func(percent int) { debug.SetGCPercent(percent) },
	}
	c.arm()
}

// arm has tune run after the next collection.
func (c *collector) arm() {
	runtime.AddCleanup(new(tuned), func(c *collector) {
		c.tune()
		c.arm()
	}, c)
}

// tune sets the growth for what is live now. Small changes are not worth it. A
// collection that was asked for, as idleTrimmer does twice in a row, is no sign of load.
func (c *collector) tune() {
	now, cycles, percent := c.now(), c.cycles(), gcDefault
	if now.Sub(c.last) < gcBusy && cycles != c.seen {
		percent = growth(c.live())
	}
	c.last, c.seen = now, cycles
	if diff := percent - c.percent; diff > c.percent/8 || -diff > c.percent/8 || percent == gcDefault && diff != 0 {
		c.percent = percent
		c.set(percent)
	}
}

// growth is how much the heap may grow, in percent of what is live, for it to
// reach heapFloor; of a heap larger than that the runtime's own.
func growth(live uint64) int {
	if live >= heapFloor {
		return gcDefault
	}
	return int(max(gcLeast, min(heapFloor*100/max(live, 1)-100, gcMost))) // #nosec G115: bounded
}
