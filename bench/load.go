package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// cell is one measurement: an operation, a size, and how it is driven.
type cell struct {
	name        string
	concurrency int
	bytes       int64 // of content moved by each operation; 0: none counts
	warmUp      time.Duration
	measured    time.Duration // 0: until limit operations are done, no warm-up
	limit       int64         // operations at most; 0: no limit
	atMost      time.Duration // without measured: no operation begins after it; 0: no bound
	rate        float64       // operations per second of an open loop; 0: a closed loop
	backlog     int           // open loop: operations that may wait for a connection
	// next returns the i-th request of the cell; it is called concurrently. A
	// request with a non-nil head is sent with it, else it is signed first.
	next func(i int64) (*request, []byte)
	// perform, if not nil, does the i-th operation in place of next. It returns
	// which of kinds the operation was, 0 where there are none.
	perform func(cl *client, i int64) (kind int, err error)
	kinds   []string
}

// worker is one connection's share of a cell.
type worker struct {
	hists []histogram // by kind: of the operations that counted
	done  float64     // operations: of each, the part that lay in the measured time
	// Open loop: operations meant for the measured time.
	sent, late, dropped int64
	err                 error
}

// phases is what the workers of a cell share.
type phases struct {
	from, to time.Time // the measured time; to is zero in a cell without
	next     atomic.Int64
	last     time.Time // no operation begins after it, if not zero
	tickets  chan time.Duration
	start    time.Time // tickets count from it
}

// share returns the part of an operation, 0…1, that lay in the measured time.
// Counting whole operations would miss, or count twice, most of what large ones
// do: many that share a bottleneck tend to end together.
func (ph *phases) share(begun, ended time.Time) float64 {
	lo, hi := begun, ended
	if lo.Before(ph.from) {
		lo = ph.from
	}
	if !ph.to.IsZero() && hi.After(ph.to) {
		hi = ph.to
	}
	if !hi.After(lo) {
		return 0
	}
	return float64(hi.Sub(lo)) / float64(ended.Sub(begun))
}

// meant tells whether an operation was to be sent in the measured time.
func (ph *phases) meant(at time.Time) bool { return !at.Before(ph.from) && at.Before(ph.to) }

func (c *cell) phases() *phases {
	ph := &phases{start: time.Now()}
	ph.from = ph.start
	if c.measured > 0 {
		ph.from = ph.from.Add(c.warmUp)
		ph.to = ph.from.Add(c.measured)
		ph.last = ph.to
	} else if c.atMost > 0 {
		ph.last = ph.from.Add(c.atMost)
	}
	if c.rate > 0 {
		ph.tickets = make(chan time.Duration, max(1, c.backlog))
	}
	return ph
}

// run runs a cell against t. A failure of any request fails it.
func (c *cell) run(ctx context.Context, t *target, p *pattern) (res result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clients := make([]*client, c.concurrency)
	for i := range clients {
		if clients[i], err = dial(ctx, t, p); err != nil {
			return res, err
		}
		defer clients[i].close()
	}
	if err := resetPeaks(t.pid); err != nil {
		return res, err
	}
	ph := c.phases()
	before, err := measure(t.pid)
	if err != nil {
		return res, err
	}
	workers := make([]worker, c.concurrency)
	var group sync.WaitGroup
	for i := range workers {
		workers[i].hists = make([]histogram, max(1, len(c.kinds)))
		group.Go(func() {
			if err := c.work(ctx, ph, clients[i], &workers[i]); err != nil {
				workers[i].err = err
				cancel(err)
			}
		})
	}
	var drops tally
	if c.rate > 0 {
		group.Go(func() { drops = c.dispatch(ctx, ph) })
	}
	if c.measured > 0 {
		sleep(ctx, time.Until(ph.from))
		before, err = measure(t.pid)
		sleep(ctx, time.Until(ph.to))
	} else {
		group.Wait()
	}
	after, err2 := measure(t.pid)
	group.Wait()
	if err := errors.Join(err, err2, context.Cause(ctx)); err != nil {
		return res, fmt.Errorf("%s: %w", c.name, err)
	}
	res, err = c.report(t, workers, before, after)
	if res.Open != nil {
		res.Open.Intended = drops.intended
		res.Open.Dropped += drops.dropped
	}
	res.issued = ph.next.Load()
	if c.limit > 0 {
		res.issued = min(res.issued, c.limit)
	}
	return res, err
}

// resetPeaks makes the resident memory of a server its peak. A daemon may keep
// its /proc files from its own user; then the peak is that since its start.
func resetPeaks(pid int) error {
	for _, id := range family(pid) {
		if err := resetPeak(id); err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// work sends requests until the cell is over or has failed.
func (c *cell) work(ctx context.Context, ph *phases, cl *client, w *worker) error {
	if c.rate > 0 {
		return c.workOpen(ctx, ph, cl, w)
	}
	begun := time.Now()
	for ctx.Err() == nil && (ph.last.IsZero() || begun.Before(ph.last)) {
		i := ph.next.Add(1) - 1
		if c.limit > 0 && i >= c.limit {
			return nil
		}
		kind, sent, err := c.operate(cl, i, begun)
		if err != nil {
			return err
		}
		ended := time.Now()
		if share := ph.share(sent, ended); share > 0 {
			w.hists[kind].record(ended.Sub(sent))
			w.done += share
		}
		begun = ended
	}
	return nil
}

// operate does operation i and returns its kind and when it was sent, which is
// after its signature unless perform signs it.
func (c *cell) operate(cl *client, i int64, now time.Time) (kind int, sent time.Time, err error) {
	if c.perform != nil {
		kind, err = c.perform(cl, i)
		return kind, now, err
	}
	r, head := c.next(i)
	if head == nil {
		head = cl.t.head(r, now)
		now = time.Now()
	}
	_, err = cl.send(r, head)
	return 0, now, err
}
