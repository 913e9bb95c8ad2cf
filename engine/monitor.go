package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
)

// watch is what the monitor remembers of a drive. It is the monitor's alone.
type watch struct {
	trouble uint64    // errors, timeouts and stalls so far
	last    time.Time // when they rose
	slow    uint64    // timeouts and stalls so far
	slowAt  time.Time // when they rose; zero: never
	excused uint64    // of slow, those that are no fault of the drive
	warned  int       // looks in a row that found it failing for being slow
}

// monitor watches the drives' health. What makes a drive failing, package drive
// decides. Whether it is taken out of service depends on what the cluster can do
// without: one that is gone, or answers nothing but errors, is taken out in any case,
// since nothing is lost by it; another one only while fewer drives are out than the
// parity makes up for. The only drive of a cluster stays. A drive that had trouble, or ought to be taken out and is needed, is suspect.
//
// When more drives than the parity makes up for are slow or hang at the same time, or
// the monitor itself was held up, it is the machine or what the drives share that stood
// still. None is taken out then: together they would be missed, and by themselves they
// answer again.
type monitor struct {
	e       *Engine
	excuse  int // looks for which slowness is excused
	quit    chan struct{}
	done    chan struct{}
	closing sync.Once
}

func newMonitor(e *Engine) *monitor {
	return &monitor{e: e, quit: make(chan struct{}), done: make(chan struct{})}
}

// run looks at the drives until close.
func (w *monitor) run() {
	defer close(w.done)
	tick := time.NewTicker(w.e.cfg.Timing.HealthTick)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) > w.e.cfg.Timing.HealthTick+heldUp {
			w.excuse = excuseLooks
		}
		last = now
		w.lookAll()
	}
}

const (
	// heldUp is how late the monitor is when the machine, too, stood still.
	heldUp = time.Second
	// excuseLooks is for how many looks after that slowness is excused.
	excuseLooks = 3
	// together is within what time drives become slow when it is for one cause: the
	// package drive notices a stall within a fraction of its threshold.
	together = 5 * time.Second
	// warnings is how many looks in a row have to find a drive failing for being slow
	// before it is taken out, so that others that share its fate have shown it.
	warnings = 2
)

// checkup is a drive with its health at the moment.
type checkup struct {
	m *member
	h drive.Health
}

// lookAll judges the drives in service.
func (w *monitor) lookAll() {
	now := w.e.now()
	var list []checkup
	for _, m := range w.e.drives.now().all {
		if m.d == nil || m.is().out() {
			continue
		}
		c := checkup{m, m.d.Health()}
		if n := c.h.Timeouts + c.h.Stalls; n != m.health.slow {
			m.health.slow, m.health.slowAt = n, now
		}
		list = append(list, c)
	}
	for i := range list {
		list[i].m.health.judge(w.excuse > 0 || w.shared(list, &list[i], now), &list[i].h)
	}
	w.excuse = max(0, w.excuse-1)
	for i := range list {
		w.look(list[i].m, &list[i].h, now)
	}
}

// judge notes whether a drive is failing for being slow, and whether that is excused.
func (w *watch) judge(excuse bool, h *drive.Health) {
	switch {
	case !h.Slow:
		w.warned = 0
	case excuse:
		w.warned, w.excused = 0, w.slow
	case h.Hung == 0 && w.slow == w.excused:
		w.warned = 0
	default:
		w.warned++
	}
}

// shared reports whether so many drives were slow when c was, or hang as it does, that
// it is not for what is wrong with one of them.
func (w *monitor) shared(list []checkup, c *checkup, now time.Time) bool {
	at := c.m.health.slowAt
	if !c.h.Slow || at.IsZero() {
		return false
	}
	recent := now.Sub(at) <= w.e.cfg.Timing.SuspectFor
	n := 0
	for i := range list {
		o := &list[i]
		apart := o.m.health.slowAt.Sub(at).Abs()
		if c.h.Hung > 0 && o.h.Hung > 0 || recent && !o.m.health.slowAt.IsZero() && apart <= together {
			n++
		}
	}
	return n > max(1, w.e.clusterParity())
}

func (w *monitor) close(ctx context.Context) error {
	w.closing.Do(func() { close(w.quit) })
	return awaitEnd(ctx, w.done, "the health monitor")
}

// look judges one drive.
func (w *monitor) look(m *member, h *drive.Health, now time.Time) {
	if n := h.Errors + h.Timeouts + h.Stalls; n != m.health.trouble {
		m.health.trouble, m.health.last = n, now
	}
	if h.Failing != nil {
		m.health.last = now
		if w.dispensable(m, h) {
			w.e.FailDrive(m.id, h.Failing)
			return
		}
	}
	if err := m.d.Err(); err != nil && !errors.Is(err, drive.ErrTimeout) {
		if w.e.drives.change(m, DriveReadOnly, err, now, DriveActive, DriveSuspect) {
			w.e.log.Error("drive takes no writes any more", "drive", m.id, "err", err)
			w.e.heal.changed()
		}
		return
	}
	doubtful := !m.health.last.IsZero() && now.Sub(m.health.last) < w.e.cfg.Timing.SuspectFor
	switch {
	case doubtful && w.e.drives.change(m, DriveSuspect, trouble(h), now, DriveActive):
		w.e.log.Warn("drive is suspect", "drive", m.id, "cause", m.why())
	case !doubtful && w.e.drives.change(m, DriveActive, nil, now, DriveSuspect):
		w.e.log.Info("drive is not suspect any more", "drive", m.id)
	}
}

// trouble says why a drive is suspect.
func trouble(h *drive.Health) error {
	if h.Failing != nil {
		return h.Failing
	}
	return fmt.Errorf("%d errors, %d timeouts and %d stalls since it was opened", h.Errors, h.Timeouts, h.Stalls)
}

// dispensable reports whether a failing drive is to be taken out of service.
func (w *monitor) dispensable(m *member, h *drive.Health) bool {
	all := w.e.drives.now().all
	if len(all) == 1 {
		return false
	}
	if h.Slow && !h.Gone && m.health.warned < warnings {
		return false
	}
	if h.Gone {
		return true
	}
	// A drive that hangs costs little as long as it is suspect, and may answer again.
	out := 0
	for _, o := range all {
		if o != m && o.is().out() && w.e.heal.holds(o.id) {
			out++
		}
	}
	return out < w.e.clusterParity()
}

// holds reports whether, as far as is known, a drive holds fragments.
func (h *healer) holds(id layout.DriveID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.survey.at.IsZero() || h.survey.drives[id] != nil
}
