package engine

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
)

// Bounds of hedging: of asking other drives when one is late.
const (
	hedgeLeast = 10 * time.Millisecond  // no read is late before
	hedgeOld   = 100 * time.Millisecond // a read of this age need not be saved up for
	hedgeShare = 5                      // reads beyond the needed ones, per 100 of these
	hedgeSaved = 16                     // that may be saved up
	hedgeLook  = time.Second            // between looks at the drives' latencies

	slowLeast = 20 * time.Millisecond // a drive whose median is below is not slow
	slowTimes = 8                     // nor one that is not this much slower than the others
	slowProbe = 32                    // of so many reads, one goes to a slow drive all the same

	stragglersFew  = 4  // reads left behind in flight, from which a drive is avoided
	stragglersMost = 64 // that are watched, per drive
)

// tempo is how a drive answers readers of this engine. The zero tempo is that of a
// drive of which nothing is known.
type tempo struct {
	inFlight atomic.Int32
	after    atomic.Int64 // ns until a read is late; 0: not known
	slow     atomic.Bool  // far slower than the others
	hung     atomic.Bool  // operations have outlived the drive's deadline
	left     atomic.Int32 // reads given up as late that are in flight
}

// late returns how long a read of the drive may take before others are asked.
func (t *tempo) late() time.Duration {
	return max(hedgeLeast, time.Duration(t.after.Load()))
}

// stuck reports whether the drive hangs, as far as the age of its oldest read in
// flight tells.
func (t *tempo) stuck(oldest time.Duration) bool { return oldest > max(hedgeOld, t.late()) }

// avoid reports whether a read had better go elsewhere: one that does not may only
// add to the buffers that the drive holds on to.
func (t *tempo) avoid(oldest time.Duration) bool {
	return t.hung.Load() || t.left.Load() >= stragglersFew || t.stuck(oldest)
}

// avoid is tempo.avoid for the present moment.
func (m *member) avoid() bool { return m.tempo.avoid(m.d.InFlightSince()) }

// hedger decides when reads are late enough to ask other drives. It keeps what that
// costs below hedgeShare of all reads, except where a drive seems to hang. The zero
// hedger is ready.
type hedger struct {
	spent atomic.Int64 // hundredths of a read, of hedgeSaved reads
	look  atomic.Int64 // when to look at latencies again, ns since the Unix epoch
	turn  atomic.Uint32

	hedged atomic.Uint64 // reads that others were asked because of
}

// earn counts n reads that are needed.
func (h *hedger) earn(n int) {
	if h.spent.Load() > 0 && h.spent.Add(int64(-n*hedgeShare)) < 0 {
		h.spent.Store(0) // races lose a few hundredths
	}
}

// allow reports whether n more reads may be made because one of the drive's, age
// old, is late. oldest is the age of the drive's oldest read in flight.
func (h *hedger) allow(t *tempo, age, oldest time.Duration, n int) bool {
	if age < t.late() {
		return false
	}
	if max(age, oldest) < hedgeOld {
		cost := int64(n) * 100
		if h.spent.Add(cost) > hedgeSaved*100 {
			h.spent.Add(-cost)
			return false
		}
	}
	h.hedged.Add(1)
	return true
}

// avoid is member.avoid that leaves slow drives out, too, but for a probe now and
// then, without which nobody would learn that one has recovered.
func (h *hedger) avoid(m *member) bool {
	if m.tempo.slow.Load() && h.turn.Add(1)%slowProbe != 0 {
		return true
	}
	return m.avoid()
}

// verdict is what follows from the latencies of drives.
type verdict struct {
	late time.Duration
	slow bool
}

// verdicts judges drives by one another. A read is late after three times its drive's
// 99th percentile, or the median drive's where that is less: a drive whose own
// percentiles have gone up is no reason to be patient with it.
func verdicts(reads []drive.Latency) []verdict {
	var p50, p99 []time.Duration
	for _, l := range reads {
		if l.Count > 0 {
			p50, p99 = append(p50, l.P50), append(p99, l.P99)
		}
	}
	out := make([]verdict, len(reads))
	if len(p50) == 0 {
		return out
	}
	slices.Sort(p50)
	slices.Sort(p99)
	// The lower of two in the middle: of two drives, the faster tells what is usual.
	mid50, mid99 := p50[(len(p50)-1)/2], p99[(len(p99)-1)/2]
	for i, l := range reads {
		own := mid99
		if l.Count > 0 {
			own = min(own, l.P99)
		}
		out[i] = verdict{late: max(hedgeLeast, 3*own), slow: l.P50 > slowLeast && l.P50 > slowTimes*mid50}
	}
	return out
}

// watch looks at the drives' latencies when it is time to.
func (h *hedger) watch(v *driveView, now time.Time) {
	at := h.look.Load()
	// When it is further away than it can be, the clock has been set back.
	if wait := time.Duration(at - now.UnixNano()); wait > 0 && wait <= hedgeLook || !h.look.CompareAndSwap(at, now.Add(hedgeLook).UnixNano()) {
		return
	}
	members := make([]*member, 0, len(v.all))
	reads := make([]drive.Latency, 0, len(v.all))
	for _, m := range v.all {
		if m.readable() {
			health := m.d.Health()
			m.tempo.hung.Store(health.Hung > 0)
			members, reads = append(members, m), append(reads, health.Reads)
		}
	}
	for i, p := range verdicts(reads) {
		members[i].tempo.after.Store(int64(p.late))
		members[i].tempo.slow.Store(p.slow)
	}
}

// straggle leaves a read that is late to itself. The drive is remembered for it until
// it has answered, or its deadline has passed.
func (e *Engine) straggle(m *member, io *drive.FrameIO) {
	t := &m.tempo
	if t.left.Add(1) > stragglersMost {
		t.left.Add(-1)
		t.inFlight.Add(-1)
		io.Release()
		return
	}
	if e.gate.look() != nil { // it is closing, and its devices are waited for
		t.left.Add(-1)
		t.inFlight.Add(-1)
		io.Release()
		return
	}
	go func() {
		defer e.gate.leave()
		_, _ = io.Wait() // nobody wants the bytes any more
		io.Release()
		t.inFlight.Add(-1)
		t.left.Add(-1)
	}()
}
