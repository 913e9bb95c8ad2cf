package engine

import (
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
)

// TestWishesStay: what an administrator wants of a drive holds, whichever member stands
// for it when he says so.
func TestWishesStay(t *testing.T) {
	now := time.Now()
	id, other := layout.DriveID{1}, layout.DriveID{2}
	s := &driveSet{}
	s.view.Store(&driveView{})
	old := newAbsent(id, DriveFailed, now)
	s.put(old, now)
	coming := newAbsent(id, DriveAttaching, now)
	s.wish(id, now, func(m *member) { m.drain.Store(true) }) // while coming is made
	s.put(coming, now)
	if !coming.drain.Load() || coming.is() != DriveAttaching {
		t.Errorf("attaching: drain %v, %s", coming.drain.Load(), coming.is())
	}
	s.wish(id, now, func(m *member) { m.successor.Store(&other) })
	s.put(old, now) // it could not be attached
	if to := old.successor.Load(); !old.drain.Load() || to == nil || *to != other || old.is() != DriveFailed {
		t.Errorf("not attached: drain %v, successor %v, %s", old.drain.Load(), to, old.is())
	}
	back := newAbsent(id, DriveActive, now)
	s.put(back, now)
	if back.is() != DriveDraining {
		t.Errorf("a drive that is to be drained is %s", back.is())
	}
	s.wish(id, now, func(m *member) {
		m.drain.Store(false)
		m.successor.Store(nil)
	})
	if back.is() != DriveActive {
		t.Errorf("a drive that is to stay is %s", back.is())
	}
	if s.wish(other, now, func(*member) { t.Error("called for no drive") }) != nil {
		t.Error("an unknown drive was found")
	}
}

// TestForgottenStaysOpen: the device of a forgotten drive counts until it is closed.
func TestForgottenStaysOpen(t *testing.T) {
	s := &driveSet{}
	s.view.Store(&driveView{})
	m := &member{id: layout.DriveID{1}, gone: make(chan struct{})}
	s.leave(m)
	e := &Engine{drives: s}
	if e.Detached(m.id) {
		t.Error("detached before its device is closed")
	}
	close(m.gone)
	if !e.Detached(m.id) || len(s.open()) != 0 {
		t.Error("not detached")
	}
}

// TestStoppedTurn: after a turn that was given up, the next one waits for those that
// the first did not wait for.
func TestStoppedTurn(t *testing.T) {
	var e epochs
	in := e.enter()
	stop := make(chan struct{})
	close(stop)
	if e.turn(stop) {
		t.Fatal("a turn did not wait for who is in")
	}
	done := make(chan struct{})
	go func() {
		e.turn(nil)
		close(done)
	}()
	select {
	case <-done:
		t.Error("the next turn did not wait for who is in")
	case <-time.After(50 * time.Millisecond):
	}
	in.leave()
	<-done
}

// TestScrubIsRemembered: a scrub that was begun, or stopped, just before the end is, or
// is not, running after it.
func TestScrubIsRemembered(t *testing.T) {
	r := newRig(t, rigOptions{})
	for range 5 {
		if err := r.e.StartScrub(ScrubOptions{Rate: 1}); err != nil {
			t.Fatal(err)
		}
		suspect := r.e.drives.now().all[0].id
		r.e.scrub.suspect(suspect)
		r.restart()
		r.e.scrub.mu.Lock()
		turn := r.e.scrub.st.Started
		r.e.scrub.mu.Unlock()
		if turn.IsZero() {
			t.Fatal("a scrub that was begun is forgotten")
		}
		r.e.StopScrub()
		r.restart()
		if r.e.ScrubStatus().Running {
			t.Fatal("a scrub that was stopped goes on")
		}
	}
	r.stop()
}
