package engine

import (
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring/faultio"
)

// When all drives hang at once it is what they share that hangs: none is taken out, and
// everything goes on when they answer again. Where the test itself is held up, the first
// may have been noticed and taken out long before the others, but never more than the
// cluster can do without.
func TestAllDrivesHang(t *testing.T) {
	for _, c := range []struct {
		drives int
		hang   []int
	}{{6, []int{0, 1, 2, 3, 4, 5}}, {6, []int{1, 3, 5}}, {2, []int{0, 1}}} {
		timing := brisk
		timing.SuspectFor = time.Minute // the machine that runs the test may stand still, too
		r := newRig(t, rigOptions{drives: c.drives, arena: 64 << 20, deadline: 150 * time.Millisecond, cfg: Config{Timing: timing}})
		r.bucket("b")
		want := r.stock("b", 9, 1)
		for _, i := range c.hang {
			r.devs[i].Break(faultio.Hung)
		}
		var wg sync.WaitGroup
		for key := range want {
			wg.Go(func() { _, _, _ = fetch(r.e, "b", key, 0) })
		}
		for _, i := range c.hang {
			r.waitFor("the drives to hang", func() bool { return r.member(i).is().out() || r.member(i).d.Health().Hung > 0 })
		}
		wg.Wait()
		time.Sleep(100 * brisk.HealthTick)
		out := r.countOut()
		if out > r.e.clusterParity() {
			t.Errorf("%d of %d drives hang, and %d were taken out", len(c.hang), c.drives, out)
		}
		for _, i := range c.hang {
			r.devs[i].Heal()
		}
		for _, i := range c.hang {
			r.waitFor("the drives to answer", func() bool { return r.member(i).is().out() || r.member(i).d.Health().Hung == 0 })
		}
		time.Sleep(40 * brisk.HealthTick)
		r.holds("b", want)
		r.put("b", "new", content(7, 900_000))
		if n := r.countOut(); n != out {
			t.Errorf("after %d of %d drives hung, %d are out", len(c.hang), c.drives, n)
		}
		if out == 0 {
			r.healed()
			r.whole()
		}
		r.stop()
	}
}

// countOut counts the drives that are out of service.
func (r *rig) countOut() (n int) {
	for _, m := range r.e.drives.now().all {
		if m.is().out() {
			n++
		}
	}
	return n
}

// A stall of all drives is no reason to take any of them out, a drive that goes on
// being slow by itself afterwards is.
func TestSharedSlowness(t *testing.T) {
	r := newWatchRig(t, 4, 0)
	defer r.stop()
	w := r.e.monitor
	if err := w.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	check := func(i int, slow uint64) checkup {
		c := checkup{m: r.member(i)}
		c.h.Stalls, c.h.Slow = slow, slow > 0
		if slow != c.m.health.slow {
			c.m.health.slow, c.m.health.slowAt = slow, now
		}
		return c
	}
	look := func(slow ...uint64) {
		var list []checkup
		for i, n := range slow {
			list = append(list, check(i, n))
		}
		for i := range list {
			list[i].m.health.judge(w.shared(list, &list[i], now), &list[i].h)
		}
		now = now.Add(time.Second)
	}
	failing := func(i int) bool { return r.member(i).health.warned >= warnings }
	r.e.cfg.Timing.SuspectFor = time.Minute
	look(7, 0, 0, 0)
	if failing(0) { // others may be about to show the same
		t.Fatal("taken out at the first look")
	}
	look(7, 9, 5, 0)
	for range 100 {
		look(7, 9, 5, 0)
		if failing(0) || failing(1) || failing(2) {
			t.Fatal("taken out for what all suffered")
		}
	}
	look(7, 9, 8, 0)
	look(7, 9, 8, 0)
	if !failing(2) || failing(0) || failing(1) {
		t.Fatal("a drive that is slow by itself is to be taken out, and no other")
	}
}
