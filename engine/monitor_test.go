package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// watchful is brisk with nothing healed on other drives.
func newWatchRig(t *testing.T, drives int, deadline time.Duration) *rig {
	t.Helper()
	r := newRig(t, rigOptions{drives: drives, arena: 64 << 20, deadline: deadline, cfg: Config{Timing: brisk}})
	r.bucket("b")
	return r
}

// A drive that fails in one of the ways is taken out of service, without an error that
// a client would see, and is as good as new when it comes back.
func TestEjection(t *testing.T) {
	for _, c := range []struct {
		name     string
		deadline time.Duration
		hurt     func(d *faultio.Device)
	}{
		{"gone", 0, func(d *faultio.Device) { d.Break(faultio.Gone) }},
		{"errors", 0, func(d *faultio.Device) { d.Inject(faultio.Rule{Err: faultio.ErrIO, Code: ioring.OpRead}) }},
		{"hung", 500 * time.Millisecond, func(d *faultio.Device) { d.Break(faultio.Hung) }},
		{"flips", 0, func(d *faultio.Device) { d.Inject(faultio.Rule{Flip: true, Code: ioring.OpRead}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newWatchRig(t, 5, c.deadline)
			want := r.stock("b", 9, 1)
			c.hurt(r.devs[2])
			for end := time.Now().Add(20 * time.Second); r.member(2).is() != DriveFailed; {
				r.holds("b", want)
				r.put("b", "new", content(5, 800_000))
				if time.Now().After(end) {
					t.Fatalf("%+v", r.member(2).d.Health())
				}
			}
			if s := r.e.Status().Drives[2]; s.Err == nil || s.State != DriveFailed || s.Cause == nil {
				t.Fatalf("%+v", s)
			}
			if err := r.e.Err(); err != nil {
				t.Fatal(err)
			}
			r.holds("b", want)
			r.reattach(2)
			r.healed()
			r.whole()
			r.holds("b", want)
			r.stop()
		})
	}
}

// With as many drives out as parity makes up for, one that fails now and then is
// suspect, and stays; so does one that answers nothing for a while. One that is gone
// goes all the same.
func TestNoEjection(t *testing.T) {
	r := newWatchRig(t, 4, 300*time.Millisecond)
	want := r.stock("b", 6, 1)
	r.waitFor("a survey", func() bool { return r.e.HealStatus().Settled })
	r.e.FailDrive(r.id(0), faultio.ErrGone)
	r.e.FailDrive(r.id(1), faultio.ErrGone)
	r.devs[2].Inject(faultio.Rule{Err: faultio.ErrIO, Code: ioring.OpWrite, Chance: 0.5})
	for end := time.Now().Add(20 * time.Second); r.member(2).d.Health().Failing == nil; {
		r.e.Put(context.Background(), putRequest("b", "new", content(5, 800_000)))
		if time.Now().After(end) {
			t.Fatalf("%+v", r.member(2).d.Health())
		}
	}
	r.waitState(2, DriveSuspect)
	time.Sleep(20 * time.Millisecond)
	if s := r.member(2).is(); s != DriveSuspect {
		t.Fatal(s)
	}
	r.holds("b", want)
	r.devs[2].Heal()
	r.devs[3].Break(faultio.Hung)
	fetch(r.e, "b", "1-2", 0)
	r.waitState(3, DriveSuspect)
	time.Sleep(20 * time.Millisecond)
	if s := r.member(3).is(); s != DriveSuspect {
		t.Fatal(s)
	}
	r.devs[3].Break(faultio.Gone)
	for range 20 {
		fetch(r.e, "b", "1-2", 0)
	}
	r.waitState(3, DriveFailed)
	r.reattach(3)
	for _, i := range []int{0, 1} {
		r.reattach(i)
	}
	r.healed()
	r.holds("b", want)
	r.stop()
}

// The only drive is never taken out, whatever it does.
func TestOnlyDriveStays(t *testing.T) {
	r := newWatchRig(t, 1, 200*time.Millisecond)
	want := r.stock("b", 6, 1)
	r.devs[0].Inject(faultio.Rule{Err: faultio.ErrIO, Code: ioring.OpRead})
	for range 30 {
		_, _, err := fetch(r.e, "b", "1-2", 0)
		wantKind(t, err, Unavailable)
	}
	r.waitState(0, DriveSuspect)
	if r.e.Err() != nil {
		t.Fatal(r.e.Err())
	}
	r.devs[0].Heal()
	r.holds("b", want)
	r.put("b", "new", content(9, 500_000))
	r.stop()
}

// A drive of which a sync fails takes no writes any more, and is emptied.
func TestEvacuation(t *testing.T) {
	r := newWatchRig(t, 6, 0)
	want := map[string][]byte{}
	for i := range 8 {
		want[fmt.Sprint(i)] = content(uint64(i), 100_000)
		r.put("b", fmt.Sprint(i), want[fmt.Sprint(i)])
	}
	r.devs[1].Inject(faultio.Rule{Code: ioring.OpSync, Err: faultio.ErrIO})
	for i := 0; r.member(1).is() != DriveReadOnly; i++ {
		key := fmt.Sprint("new", i)
		want[key] = content(uint64(100+i), 100_000)
		r.put("b", key, want[key])
		time.Sleep(time.Millisecond)
	}
	r.waitFor("the drive to be empty", func() bool {
		s := r.e.HealStatus()
		return s.Settled && len(s.Tasks) == 0 && r.e.Status().Drives[1].Fragments == 0
	})
	if s := r.e.Status().Drives[1]; s.Fragments != 0 || s.Err == nil {
		t.Fatalf("%+v", s)
	}
	r.healed()
	r.whole()
	r.holds("b", want)
	if err := r.e.ForgetDrive(context.Background(), r.id(1)); err != nil {
		t.Fatal(err)
	}
	r.stop()
}

// Closing does not wait for a device that hangs.
func TestCloseWithHungDrive(t *testing.T) {
	r := newWatchRig(t, 4, 100*time.Millisecond)
	want := r.stock("b", 6, 1)
	r.devs[1].Break(faultio.Hung)
	r.holds("b", want)
	begun := time.Now()
	r.e.cfg.Timing.CloseWait = 300 * time.Millisecond
	if err := r.e.Close(context.Background()); err != nil {
		t.Log(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Fatal(took)
	}
	r.devs[1].Heal()
}
