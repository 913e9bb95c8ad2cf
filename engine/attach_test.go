package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// A drive joins while clients are active, and is written to.
func TestAttachNew(t *testing.T) {
	r := newHealRig(t, 3, brisk)
	want := r.stock("b", 6, 1)
	if p := r.e.clusterParity(); p != 1 {
		t.Fatal(p)
	}
	stop := r.load("b", 2)
	a, b := r.join(), r.join()
	r.waitFor("the new drives to be used", func() bool {
		_, one, _ := r.member(a).d.Usage()
		_, two, _ := r.member(b).d.Usage()
		return one > 0 && two > 0
	})
	stop()
	if p := r.e.clusterParity(); p != 2 {
		t.Fatal(p)
	}
	r.holds("b", want)
	r.healed()
	r.whole()
	r.stop()
}

func TestAttachRefuses(t *testing.T) {
	r := newHealRig(t, 4, calm)
	r.stock("b", 6, 1)
	d := r.e.drives.now().all[0].d
	wantKind(t, r.e.AttachDrive(context.Background(), d), Conflict)
	for _, err := range []error{
		r.e.DrainDrive(layout.DriveID{1}, true),
		r.e.ReplaceDrive(layout.DriveID{1}, r.id(0)),
		r.e.ReplaceDrive(r.id(0), layout.DriveID{1}),
		r.e.ForgetDrive(context.Background(), layout.DriveID{1}),
	} {
		wantKind(t, err, NoDrive)
	}
	wantKind(t, r.e.ReplaceDrive(r.id(0), r.id(0)), Conflict)

	// A device that has not answered everything cannot come back, for what it has yet to
	// write may land on what others have written since.
	r.devs[1].Break(faultio.Hung)
	frag := r.e.drives.now().all[1].d
	_ = frag.StartSync() // never answered
	r.e.FailDrive(r.id(1), errors.New("hung"))
	time.Sleep(20 * time.Millisecond)
	if r.e.Detached(r.id(1)) {
		t.Fatal("a device with operations in flight is closed")
	}
	wantKind(t, r.e.AttachDrive(context.Background(), d), Conflict)
	r.reattach(1)
	r.healed()
	r.stop()
}

// Drives fail and come back all the time, while clients are active: nobody sees an
// error, nothing is lost, and the free space is right in the end.
func TestFailAndReturnUnderLoad(t *testing.T) {
	r := newHealRig(t, 6, calm)
	want := r.stock("b", 9, 1)
	stop := r.load("b", 3)
	rng := rand.New(rand.NewPCG(1, 2))
	rounds := 12
	if testing.Short() || raceDetector {
		rounds = 4
	}
	// At most two rounds with one drive each, or one with two, go by without waiting for
	// the repairs: more than that, and a blob has lost more than parity 2 makes up for.
	settled := true
	for range rounds {
		a := rng.IntN(6)
		b := (a + 1 + rng.IntN(5)) % 6
		pair := settled && rng.IntN(3) > 0
		r.e.FailDrive(r.id(a), faultio.ErrGone)
		time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		if pair {
			r.e.FailDrive(r.id(b), faultio.ErrGone)
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
			r.reattach(b)
		}
		r.reattach(a)
		if settled = pair || !settled || rng.IntN(2) == 0; settled {
			r.healed()
		} else {
			r.waitFor("the queue to be empty", func() bool { return r.e.HealStatus().Queue == 0 })
		}
	}
	stop()
	r.healed()
	r.whole()
	r.holds("b", want)
	r.stop()
}

// Three drives are out: what needs them cannot be read, and is there again when one of
// them is back. Nothing is deleted.
func TestTooManyOut(t *testing.T) {
	r := newHealRig(t, 6, calm)
	want := map[string][]byte{"wide": content(1, 4<<20)}
	r.put("b", "wide", want["wide"])
	for i := range 3 {
		r.pull(i)
	}
	r.stopAll()
	r.start()
	_, _, err := fetch(r.e, "b", "wide", 0)
	wantKind(t, err, Unavailable)
	r.waitFor("the survey", func() bool { return r.e.HealStatus().Settled })
	if s := r.e.HealStatus(); s.Lost != 1 || s.Degraded != 1 || s.Unhealed != 1 {
		t.Fatalf("%+v", s)
	}
	r.put("b", "new", content(2, 1<<20))
	want["new"] = content(2, 1<<20)
	if err := r.e.Err(); err != nil {
		t.Fatal(err)
	}
	r.push(0)
	r.holds("b", want)
	r.push(1)
	r.push(2)
	r.healed()
	r.whole()
	r.holds("b", want)
	r.stop()
}

func TestDriveTexts(t *testing.T) {
	seen := map[string]bool{}
	for s := DriveActive; s <= DriveAttaching; s++ {
		if name := s.String(); name == "" || seen[name] {
			t.Fatal(s, name)
		}
		seen[s.String()] = true
	}
	for drives, parity := range []int{0, 0, 1, 1, 2, 2, 2, 2, 2} {
		if AutoParity(drives) != parity {
			t.Fatal(drives, AutoParity(drives))
		}
	}
}

func TestSetParity(t *testing.T) {
	r := newHealRig(t, 5, calm)
	for _, c := range []struct{ set, want int }{{0, 2}, {ParityNone, 0}, {1, 1}, {4, 4}, {-5, 0}, {9, 4}} {
		if r.e.SetParity(c.set); r.e.clusterParity() != c.want {
			t.Fatal(c, r.e.clusterParity())
		}
	}
	r.stop()
}
