package main

import (
	"runtime"
	"testing"
	"time"
)

func TestGrowthReachesTheFloor(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, gcMost}, {1, gcMost}, {heapFloor / 20, gcMost}, {heapFloor / 4, 300}, {heapFloor / 2, 100},
		{heapFloor * 2 / 3, gcLeast}, {heapFloor - 1, gcLeast}, {heapFloor, gcDefault}, {1 << 40, gcDefault}, {1<<64 - 1, gcDefault},
	} {
		if got := growth(c.live); got != c.want {
			t.Errorf("live %d: %d%%, want %d%%", c.live, got, c.want)
		}
	}
	for live := uint64(1 << 20); live < 1<<32; live += 1 << 20 {
		goal := live + live*uint64(growth(live))/100
		if goal > max(heapFloor, 2*live) || live < heapFloor && goal > heapFloor*3/2 {
			t.Fatalf("live %d: the heap may grow to %d", live, goal)
		}
	}
}

func TestCollectorFollowsWhatIsLive(t *testing.T) {
	var live uint64
	var sets []int
	var cycles uint64
	now := time.Unix(1e9, 0)
	c := &collector{
		cycles:  func() uint64 { cycles++; return cycles },
		percent: gcDefault, live: func() uint64 { return live }, set: func(p int) { sets = append(sets, p) },
		last: now, now: func() time.Time { now = now.Add(time.Second); return now },
	}
	for _, live = range []uint64{
		heapFloor / 4,               // 300
		heapFloor/4 + heapFloor/100, // nearly the same
		heapFloor / 2,               // the default
		heapFloor * 3,               // still
		heapFloor / 8,               // 700
		heapFloor/2 - 1,             // the default again: 100.0…
	} {
		c.tune()
	}
	live = heapFloor / 4
	c.tune() // 300
	now = now.Add(gcBusy)
	c.tune() // idle: the default
	c.tune() // busy: 300
	cycles-- // asked for
	c.tune()
	want := []int{300, 100, 700, 100, 300, 100, 300, 100}
	if len(sets) != len(want) {
		t.Fatalf("set %v, want %v", sets, want)
	}
	for i := range want {
		if sets[i] != want[i] {
			t.Fatalf("set %v, want %v", sets, want)
		}
	}
}

// Each collection has the next one tuned.
func TestCollectorRunsAfterEachCollection(t *testing.T) {
	ran := make(chan struct{})
	done := make(chan struct{})
	c := &collector{percent: gcDefault, set: func(int) {}, now: time.Now, last: time.Now(), live: func() uint64 {
		select {
		case ran <- struct{}{}:
		case <-done:
		}
		return heapFloor
	}}
	c.cycles = func() uint64 { return c.seen + 1 }
	c.arm()
	for range 3 {
		for again := true; again; {
			runtime.GC()
			select {
			case <-ran:
				again = false
			default:
				runtime.Gosched()
			}
		}
	}
	close(done)
}

func TestCollectorLeavesTheEnvironmentItsWord(t *testing.T) {
	for _, env := range []string{"GOGC=50", "GOGC=off", "GOMEMLIMIT=100MiB"} {
		if !tunedByEnvironment([]string{"HOME=/", env}) {
			t.Errorf("%s is not seen", env)
		}
	}
	if tunedByEnvironment([]string{"HOME=/", "GOGC=", "XGOGC=1"}) {
		t.Error("nothing was set")
	}
}
