package engine

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
)

const ms = time.Millisecond

// Extra reads are some in a hundred, but for drives that seem to hang.
func TestHedgeBudget(t *testing.T) {
	var h hedger
	var tm tempo
	if h.allow(&tm, hedgeLeast-1, 0, 1) {
		t.Error("a read was late too soon")
	}
	extra := 0
	for range 10_000 {
		h.earn(1)
		if h.allow(&tm, 20*ms, 20*ms, 1) {
			extra++
		}
	}
	if most := 10_000*hedgeShare/100 + hedgeSaved; extra > most || extra < most/2 {
		t.Errorf("%d extra reads for 10,000, want at most %d", extra, most)
	}
	if h.allow(&tm, 20*ms, 20*ms, hedgeSaved) {
		t.Error("a budget that is used up allowed more")
	}
	for range 100 {
		if !h.allow(&tm, hedgeOld, 0, 4) || !h.allow(&tm, 20*ms, hedgeOld, 4) {
			t.Fatal("a drive that seems to hang was waited for")
		}
	}
	for range 100 * hedgeSaved {
		h.earn(1)
	}
	if !h.allow(&tm, 20*ms, 20*ms, hedgeSaved) {
		t.Error("nothing was saved up")
	}
	if n := h.hedged.Load(); n != uint64(extra)+201 {
		t.Errorf("%d hedged", n)
	}
}

// A drive is patient with itself only as far as the others are as slow.
func TestVerdicts(t *testing.T) {
	l := func(p50, p99 time.Duration) drive.Latency { return drive.Latency{Count: 100, P50: p50, P99: p99} }
	none := drive.Latency{}
	for name, c := range map[string]struct {
		reads []drive.Latency
		want  []verdict
	}{
		"unknown":    {[]drive.Latency{none, none}, []verdict{{}, {}}},
		"fast":       {[]drive.Latency{l(ms, 2*ms), l(ms, 2*ms), none}, []verdict{{late: 10 * ms}, {late: 10 * ms}, {late: 10 * ms}}},
		"disks":      {[]drive.Latency{l(8*ms, 40*ms), l(9*ms, 50*ms), l(7*ms, 30*ms)}, []verdict{{late: 120 * ms}, {late: 120 * ms}, {late: 90 * ms}}},
		"a tail":     {[]drive.Latency{l(ms, 5*ms), l(ms, 400*ms), l(ms, 6*ms)}, []verdict{{late: 15 * ms}, {late: 18 * ms}, {late: 18 * ms}}},
		"one slow":   {[]drive.Latency{l(ms, 5*ms), l(50*ms, 60*ms), l(ms, 5*ms)}, []verdict{{late: 15 * ms}, {late: 15 * ms, slow: true}, {late: 15 * ms}}},
		"one of two": {[]drive.Latency{l(ms, 5*ms), l(50*ms, 60*ms)}, []verdict{{late: 15 * ms}, {late: 15 * ms, slow: true}}},
		"all slow":   {[]drive.Latency{l(60*ms, 70*ms), l(50*ms, 60*ms)}, []verdict{{late: 180 * ms}, {late: 180 * ms}}},
		"alone":      {[]drive.Latency{l(60*ms, 70*ms)}, []verdict{{late: 210 * ms}}},
		"not slow":   {[]drive.Latency{l(ms, ms), l(19*ms, 20*ms), l(ms, ms)}, []verdict{{late: 10 * ms}, {late: 10 * ms}, {late: 10 * ms}}},
	} {
		for i, got := range verdicts(c.reads) {
			if got != c.want[i] {
				t.Errorf("%s: drive %d: %+v, want %+v", name, i, got, c.want[i])
			}
		}
	}
}

func TestAvoid(t *testing.T) {
	var tm tempo
	if tm.late() != hedgeLeast || tm.avoid(hedgeOld) || !tm.avoid(hedgeOld+1) {
		t.Error("a drive of which nothing is known")
	}
	tm.after.Store(int64(500 * ms))
	if tm.late() != 500*ms || tm.avoid(400*ms) || !tm.avoid(501*ms) {
		t.Error("a drive that takes its time")
	}
	tm.left.Store(stragglersFew - 1)
	if tm.avoid(0) {
		t.Error("few stragglers")
	}
	tm.left.Store(stragglersFew)
	if !tm.avoid(0) {
		t.Error("many stragglers")
	}
	tm.left.Store(0)
	tm.hung.Store(true)
	if !tm.avoid(0) {
		t.Error("operations beyond the deadline")
	}
}

// Of a slow drive a read now and then is a probe.
func TestSlowIsProbed(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1, cfg: Config{Timing: lasting}})
	m := r.e.drives.now().all[0]
	m.tempo.slow.Store(true)
	probes := 0
	for range 10 * slowProbe {
		if !r.e.reads.hedger.avoid(m) {
			probes++
		}
	}
	if probes != 10 {
		t.Errorf("%d probes, want 10", probes)
	}
	r.stop()
}
