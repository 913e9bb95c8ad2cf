package engine

import (
	"context"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

func newHealRig(t testing.TB, drives int, timing Timing) *rig {
	t.Helper()
	r := newRig(t, rigOptions{drives: drives, arena: 64 << 20, cfg: Config{Timing: timing}})
	r.bucket("b")
	return r
}

// A drive fails in the middle of a write: the write goes on without it, and what is
// missing is made as soon as the drive is back.
func TestRepairAfterReturn(t *testing.T) {
	r := newHealRig(t, 6, brisk)
	want := r.stock("b", 6, 1)
	r.devs[2].Inject(faultio.Rule{Code: ioring.OpWrite, Err: faultio.ErrIO})
	want["large"] = content(7, 5<<20) // on every drive
	r.put("b", "large", want["large"])
	if q := r.e.HealStatus().Queue; q == 0 {
		t.Fatal("nothing was queued")
	}
	r.e.FailDrive(r.id(2), faultio.ErrIO)
	r.holds("b", want)
	for k, v := range r.stock("b", 6, 3) {
		want[k] = v
	}
	if s := r.e.HealStatus(); s.Queue == 0 || s.Lost != 0 {
		t.Fatalf("%+v", s)
	}
	r.reattach(2)
	r.healed()
	r.whole()
	r.holds("b", want)
	if s := r.e.HealStatus(); s.Repaired == 0 || s.Bytes == 0 || s.Moved != 0 {
		t.Fatalf("%+v", s)
	}
	r.stop()
}

// What readers find bad is made anew, on the same drive.
func TestRepairBad(t *testing.T) {
	r := newHealRig(t, 4, calm)
	want := r.stock("b", 6, 1)
	for key := range want {
		blob := r.placed("b", key)
		r.scratch(&blob, 0)
		r.scratch(&blob, 1)
	}
	r.holds("b", want)
	r.waitFor("repairs", func() bool { return r.e.heal.mended.Load() > 0 })
	r.healed()
	r.holds("b", want)
	r.stop()
}

// A replaced drive's fragments are made anew on its successor, also when the engine is
// closed in the middle, and when another drive fails.
func TestReplace(t *testing.T) {
	r := newHealRig(t, 6, calm)
	want := r.stock("b", 30, 1)
	r.devs[1].Break(faultio.Gone)
	r.e.FailDrive(r.id(1), faultio.ErrGone)
	to := r.join()
	r.throttle(true)
	if err := r.e.ReplaceDrive(r.id(1), r.id(to)); err != nil {
		t.Fatal(err)
	}
	r.waitFor("some progress", func() bool { return r.e.HealStatus().Repaired >= 3 })
	st := r.e.HealStatus()
	if len(st.Tasks) != 1 || st.Tasks[0].Kind != "rebuild" || st.Tasks[0].Drive != r.id(1) || st.Tasks[0].Done == 0 {
		t.Fatalf("%+v", st)
	}
	old := r.id(1)
	r.pull(1)
	r.devs[1].Heal()
	r.stopAll()
	r.throttle(false)
	r.start()
	if r.e.Status().Drives[6].State != DriveAbsent {
		t.Fatalf("%+v", r.e.Status().Drives)
	}
	if err := r.e.ReplaceDrive(old, r.id(to)); err != nil {
		t.Fatal(err)
	}
	r.devs[4].Break(faultio.Gone)
	r.e.FailDrive(r.id(4), faultio.ErrGone)
	r.waitFor("the rebuild", func() bool {
		s := r.e.HealStatus()
		return s.Settled && len(s.Tasks) == 0
	})
	r.holds("b", want)
	if err := r.e.ForgetDrive(context.Background(), old); err != nil {
		t.Fatal(err)
	}
	r.reattach(4)
	r.healed()
	r.whole()
	r.holds("b", want)
	r.stop()
}

// A drive that stays away is made up for on drives that have room for another fragment.
func TestProtect(t *testing.T) {
	timing := calm
	timing.ProtectAfter = 50 * time.Millisecond
	r := newHealRig(t, 6, timing)
	want := map[string][]byte{}
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} { // mirrored over three
		want[key] = content(uint64(key[0]), 100_000)
		r.put("b", key, want[key])
	}
	r.e.FailDrive(r.id(0), faultio.ErrGone)
	r.e.FailDrive(r.id(3), faultio.ErrGone)
	time.Sleep(timing.ProtectAfter)
	r.healed()
	r.whole()
	r.holds("b", want)
	for _, i := range []int{0, 3} {
		r.reattach(i)
	}
	r.healed()
	r.whole()
	r.stop()
}

// A drive is emptied while clients are active, and forgotten.
func TestDrain(t *testing.T) {
	r := newHealRig(t, 6, brisk)
	want := r.stock("b", 12, 1)
	if err := r.e.ForgetDrive(context.Background(), r.id(5)); KindOf(err) != Conflict {
		t.Fatal(err)
	}
	stop := r.load("b", 2)
	to := r.join()
	if err := r.e.DrainDrive(r.id(5), true); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the drive to be empty", func() bool { return r.e.ForgetDrive(context.Background(), r.id(5)) == nil })
	stop()
	if r.member(to).is() != DriveActive || r.member(5) != nil {
		t.Fatalf("%+v", r.e.Status().Drives)
	}
	r.healed()
	r.whole()
	r.holds("b", want)
	if s := r.e.HealStatus(); s.Moved == 0 {
		t.Fatalf("%+v", s)
	}
	r.stop()
}

// Where no other drive may take a fragment, it stays, and the task says why.
func TestDrainWaits(t *testing.T) {
	r := newHealRig(t, 3, calm)
	r.e.SetParity(2)
	want := r.stock("b", 6, 1)
	if err := r.e.DrainDrive(r.id(0), true); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the task to wait", func() bool {
		s := r.e.HealStatus()
		return len(s.Tasks) == 1 && s.Tasks[0].Waiting != "" && s.Tasks[0].Kind == "drain" && s.Tasks[0].Fragments > 0
	})
	time.Sleep(20 * time.Millisecond)
	if s := r.e.HealStatus(); s.Degraded != 0 || s.Errors != 0 {
		t.Fatalf("%+v", s)
	}
	r.holds("b", want)
	r.join()
	r.waitFor("the drive to be empty", func() bool { return len(r.e.HealStatus().Tasks) == 0 })
	if err := r.e.ForgetDrive(context.Background(), r.id(0)); err != nil {
		t.Fatal(err)
	}
	r.healed()
	r.whole()
	r.stop()
}

// A new drive gets its share.
func TestRebalance(t *testing.T) {
	r := newRig(t, rigOptions{drives: 4, capacity: 64 << 20, arena: 64 << 20, cfg: Config{Timing: calm}})
	r.bucket("b")
	want := r.stock("b", 60, 1)
	i := r.join()
	_, before, _ := r.member(i).d.Usage()
	r.e.Rebalance(true)
	r.waitFor("rebalancing to end", func() bool { return !r.e.heal.balance.Load() && len(r.e.HealStatus().Tasks) == 0 })
	r.healed()
	r.whole()
	// A blob's other fragments limit where one may go, so it is not perfectly even.
	least, sum := int64(1<<60), int64(0)
	for _, m := range r.e.drives.now().all {
		_, used, _ := m.d.Usage()
		least, sum = min(least, used), sum+used
	}
	if _, now, _ := r.member(i).d.Usage(); before > 0 || least < sum/5*2/3 || now < sum/5*2/3 {
		t.Fatalf("%d bytes before, then %d; the emptiest has %d, all have %d", before, now, least, sum)
	}
	r.holds("b", want)
	r.stop()
}
