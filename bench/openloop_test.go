package main

import (
	"context"
	"testing"
	"time"
)

// clock is time that passes only when somebody waits.
type clock struct{ at time.Duration }

func (c *clock) now() time.Duration { return c.at }
func (c *clock) wait(until time.Duration) bool {
	c.at = until
	return true
}

func TestTimetable(t *testing.T) {
	c := &clock{}
	s := timetable{rate: 100, from: time.Second, to: 3 * time.Second, now: c.now, wait: c.wait}
	tickets := make(chan time.Duration, 1000)
	if sum := s.run(tickets); sum != (tally{intended: 200}) {
		t.Errorf("%+v", sum)
	}
	k := 0
	for at := range tickets {
		if want := time.Duration(k) * 10 * time.Millisecond; at != want {
			t.Fatalf("ticket %d at %s, want %s", k, at, want)
		}
		k++
	}
	if k != 300 || c.at != 2990*time.Millisecond {
		t.Errorf("%d tickets, the last at %s", k, c.at)
	}
}

// A server that takes nothing: the backlog fills, and what does not fit is
// counted from the measured time on.
func TestTimetableDrops(t *testing.T) {
	c := &clock{}
	s := timetable{rate: 10, from: time.Second, to: 3 * time.Second, now: c.now, wait: c.wait}
	tickets := make(chan time.Duration, 15)
	if sum := s.run(tickets); sum != (tally{intended: 20, dropped: 15}) {
		t.Errorf("%+v", sum)
	}
}

// A dispatcher that wakes up late sends all that became due meanwhile, with the
// times they were meant for.
func TestTimetableCatchesUp(t *testing.T) {
	c := &clock{}
	s := timetable{rate: 10, from: 0, to: time.Second, now: c.now}
	s.wait = func(time.Duration) bool { c.at += 450 * time.Millisecond; return true }
	tickets := make(chan time.Duration, 15)
	if sum := s.run(tickets); sum != (tally{intended: 10}) || c.at != 900*time.Millisecond {
		t.Errorf("%+v at %s", sum, c.at)
	}
	for k := range 10 {
		if at := <-tickets; at != time.Duration(k)*100*time.Millisecond {
			t.Errorf("ticket %d at %s", k, at)
		}
	}
	s.wait = func(time.Duration) bool { return false }
	c.at = 0
	if sum := s.run(make(chan time.Duration, 1)); sum.intended != 1 {
		t.Errorf("given up: %+v", sum)
	}
}

// Latency counts from when an operation was to be sent, not from when a
// connection had time for it.
func TestLatencyCountsFromTheIntendedTime(t *testing.T) {
	_, tg := newFakeS3(t, false)
	cl, err := dial(context.Background(), tg, newPattern())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.close()
	const waited = 10 * time.Second
	now := time.Now()
	ph := &phases{start: now.Add(-waited), from: now.Add(-waited), to: now.Add(time.Hour), tickets: make(chan time.Duration, 3)}
	ph.tickets <- 0
	ph.tickets <- waited // now: not late by much, but not early either
	ph.tickets <- 2 * waited
	close(ph.tickets)
	w := &worker{hists: make([]histogram, 1)}
	put := request{method: "PUT", path: "/b/k", size: 10}
	c := &cell{rate: 1, next: func(int64) (*request, []byte) { return &put, nil }}
	if err := c.workOpen(context.Background(), ph, cl, w); err != nil {
		t.Fatal(err)
	}
	if h := &w.hists[0]; h.total != 3 || h.max < waited || h.quantile(0) >= waited {
		t.Errorf("%d latencies, least %s, max %s", h.total, h.quantile(0), h.max)
	}
	if w.sent != 3 || w.late == 0 || w.late == 3 {
		t.Errorf("%d sent, %d of them late", w.sent, w.late)
	}
}

// What is left of the backlog long after the end is dropped, not worked off.
func TestLeftoversAreDropped(t *testing.T) {
	now := time.Now()
	ph := &phases{start: now.Add(-time.Hour), from: now.Add(-time.Hour), to: now.Add(-2 * drainMost), tickets: make(chan time.Duration, 2)}
	ph.tickets <- time.Minute
	ph.tickets <- time.Hour // after the measured time: counts for nothing
	close(ph.tickets)
	w := &worker{hists: make([]histogram, 1)}
	c := &cell{rate: 1, perform: func(*client, int64) (int, error) { t.Error("sent"); return 0, nil }}
	if err := c.workOpen(context.Background(), ph, nil, w); err != nil || w.dropped != 1 || w.sent != 0 {
		t.Errorf("%+v, %v", w.dropped, err)
	}
}

func TestOpenLoopOnAFakeServer(t *testing.T) {
	_, tg := newFakeS3(t, false)
	s := fakeShape()
	s.pool = 1 << 16
	f := newFixture(tg, newPattern(), s)
	for _, op := range []string{"GET", "MIXED", "DELETE"} {
		r := row{op: op, size: 4 << 10, concurrency: 3, rate: 200}
		if err := f.prepare(context.Background(), []row{r}); err != nil {
			t.Fatal(err)
		}
		res, err := f.measure(context.Background(), r)
		if err != nil {
			t.Fatal(err)
		}
		o := res.Open
		if o == nil || o.Rate != 200 || o.Intended < 1 || o.Intended != o.Sent+o.Dropped || uint64(o.Sent) != res.hist.total {
			t.Errorf("%s: %+v of %d latencies", op, o, res.hist.total)
		}
	}
}
