package main

import (
	"context"
	"math"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// An open loop sends operations at times that were fixed before: operation k at
// start + k/rate, whether those before it have been answered or not. Operations
// that find every connection busy wait in a bounded backlog, and their latency
// counts from the time fixed for them, so a server that stalls is seen by all who
// would have come meanwhile (no coordinated omission).
const (
	// lateBy is when an operation counts as sent late. The generator's own
	// wake-ups take some tens of microseconds.
	lateBy = time.Millisecond
	// drainMost is how long the backlog is worked off after the measured time. What
	// is left then is dropped too: a server far behind would hold the run up.
	drainMost = 5 * time.Second
	// defaultBacklog is the most operations that wait for a connection.
	defaultBacklog = 1024
)

// tally is what a dispatcher counts, of operations meant for the measured time.
type tally struct{ intended, dropped int64 }

// timetable hands out tickets, the times of operations, on a fixed schedule.
// Times count from the start of the cell.
type timetable struct {
	rate     float64       // per second
	from, to time.Duration // the measured time; nothing is sent from to on
	now      func() time.Duration
	wait     func(until time.Duration) bool // false: give up
}

// run puts each ticket into tickets when its time has come; those that find it
// full are dropped. It closes tickets at the end.
func (s *timetable) run(tickets chan<- time.Duration) (sum tally) {
	defer close(tickets)
	for k := int64(0); ; k++ {
		at := time.Duration(math.Round(float64(k) / s.rate * float64(time.Second)))
		if at >= s.to || s.now() < at && !s.wait(at) {
			return sum
		}
		counts := at >= s.from
		if counts {
			sum.intended++
		}
		select {
		case tickets <- at:
		default:
			if counts {
				sum.dropped++
			}
		}
	}
}

// dispatch runs the timetable of c in real time. It sleeps in the kernel, on a
// thread of its own with the finest timer slack: the runtime's timers are up to a
// millisecond late on an idle machine.
func (c *cell) dispatch(ctx context.Context, ph *phases) tally {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // it must not end: a child that it started would be killed
	if unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) == nil {
		defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) }() // the default again
	}
	s := timetable{rate: c.rate, from: ph.from.Sub(ph.start), to: ph.to.Sub(ph.start), now: func() time.Duration { return time.Since(ph.start) }}
	s.wait = func(until time.Duration) bool {
		for left := until - s.now(); left > 0 && ctx.Err() == nil; left = until - s.now() {
			ts := unix.NsecToTimespec(int64(min(left, 100*time.Millisecond)))
			_ = unix.Nanosleep(&ts, nil) // interrupted: the loop sleeps again
		}
		return ctx.Err() == nil
	}
	return s.run(ph.tickets)
}

// workOpen sends an operation for each ticket until there are no more.
func (c *cell) workOpen(ctx context.Context, ph *phases, cl *client, w *worker) error {
	for ticket := range ph.tickets {
		if ctx.Err() != nil {
			return nil
		}
		at, begun := ph.start.Add(ticket), time.Now()
		if begun.After(ph.to.Add(drainMost)) {
			if ph.meant(at) {
				w.dropped++
			}
			continue
		}
		kind, sent, err := c.operate(cl, ph.next.Add(1)-1, begun)
		if err != nil {
			return err
		}
		ended := time.Now()
		w.done += ph.share(sent, ended)
		if ph.meant(at) {
			w.hists[kind].record(ended.Sub(at))
			w.sent++
			if begun.Sub(at) > lateBy {
				w.late++
			}
		}
	}
	return nil
}
