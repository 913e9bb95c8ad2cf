package engine

import (
	"slices"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// share is what of all blobs lies on one drive.
type share struct {
	fragments, bytes int64 // payload
	leaving          int64 // of the fragments, those to be made anew or moved
	leavingBytes     int64
	reason           reason
}

// survey sums up all blobs.
type survey struct {
	at                       time.Time // zero: there was none yet
	ended                    time.Time // the same, on the clock of the machine
	took                     time.Duration
	changes                  uint64 // of the healer, when it began
	degraded, unhealed, lost int64
	unprotected              share // blobs
	drives                   map[layout.DriveID]*share
}

// surveyShare bounds the share of time that surveys take: one in so many.
const surveyShare = 4

// pause returns how long to wait before the next survey.
func (sv *survey) pause(now time.Time) time.Duration {
	return surveyShare*sv.took - now.Sub(sv.ended)
}

// task is HealTask's state.
type task struct {
	kind        string
	born        uint64 // healer.changes: surveys from before do not know of it
	started     time.Time
	total, left int64 // payload bytes; left as of the last survey,
	fragments   int64 // and this, too
	since       int64 // made since the last survey
	sinceFrags  int64
	waiting     error
	pace        pace
}

func (t *task) made(bytes int64) {
	t.since += bytes
	t.sinceFrags++
	t.pace.add(time.Now(), bytes)
}

// pace measures a rate over the last seconds.
type pace struct {
	buckets [paceSeconds]int64
	at      int64 // second of the newest bucket
	first   int64 // second of the first that counts
}

const paceSeconds = 16

func (p *pace) turn(now time.Time) {
	s := now.Unix()
	if p.first == 0 || s-p.at >= paceSeconds {
		*p = pace{at: s, first: s}
	}
	for ; p.at < s; p.at++ {
		p.buckets[(p.at+1)%paceSeconds] = 0
	}
}

func (p *pace) add(now time.Time, n int64) {
	p.turn(now)
	p.buckets[p.at%paceSeconds] += n
}

// rate returns bytes per second.
func (p *pace) rate(now time.Time) float64 {
	if p.first == 0 {
		return 0
	}
	p.turn(now)
	var sum int64
	for _, b := range p.buckets {
		sum += b
	}
	return float64(sum) / float64(min(paceSeconds, p.at-p.first+1))
}

// look surveys all blobs and brings the tasks up to date.
func (h *healer) look() error {
	changes, begun := h.changes.Load(), time.Now()
	bad, err := h.badOnes()
	if err != nil {
		return err
	}
	sv := survey{changes: changes, drives: make(map[layout.DriveID]*share)}
	err = h.everyBlob(func(s *scene, ref *meta.BackRef) { sv.add(s, &ref.Blob, bad[ref.Blob.ID]) })
	if err != nil {
		return err
	}
	sv.at, sv.ended, sv.took = h.e.now(), time.Now(), time.Since(begun)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.survey = sv
	h.updateTasks()
	return nil
}

// badMost bounds the memory of badOnes; the rest is not counted as degraded.
const badMost = 1 << 16

// badOnes returns the fragments on the repair queue that do not verify.
func (h *healer) badOnes() (map[layout.BlobID]uint32, error) {
	bad := make(map[layout.BlobID]uint32)
	var at meta.BlobCursor
	for n := 0; n < HealQueueMost; n += healBatch {
		list, err := meta.Repairs(h.e.store, at, healBatch)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if list[i].Bad != 0 && len(bad) < badMost {
				bad[list[i].Blob.ID] = list[i].Bad
			}
			at = meta.BlobCursor{Slot: list[i].Slot, Blob: list[i].Blob.ID}
		}
		if len(list) < healBatch {
			break
		}
	}
	return bad, nil
}

// add adds a blob.
func (sv *survey) add(s *scene, b *layout.Blob, bad uint32) {
	st := s.stand(b, bad)
	for _, c := range []struct {
		is bool
		n  *int64
	}{{st.degraded, &sv.degraded}, {st.stuck, &sv.unhealed}, {st.lost, &sv.lost}} {
		if c.is {
			*c.n++
		}
	}
	if s.unprotected(b) {
		sv.unprotected.leaving++
		sv.unprotected.leavingBytes += b.Size
	}
	g := b.Geometry()
	for i := range b.Fragments {
		f := &b.Fragments[i]
		size := g.FragmentSize(i)
		if len(f.Extents) == 0 || size == 0 {
			continue
		}
		on := sv.drives[f.Drive]
		if on == nil {
			on = &share{}
			sv.drives[f.Drive] = on
		}
		on.fragments++
		on.bytes += size
		if r := s.reason(f, false); r != reasonNone {
			on.leaving++
			on.leavingBytes += size
			on.reason = r
		}
	}
}

// updateTasks makes, updates and ends tasks by the survey. h.mu is held.
func (h *healer) updateTasks() {
	now := h.e.now()
	wanted := make(map[layout.DriveID]*share)
	balance := &share{}
	for id, on := range h.survey.drives {
		switch {
		case on.leaving == 0:
		case on.reason == reasonBalance:
			balance.leaving += on.leaving
			balance.leavingBytes += on.leavingBytes
		default:
			wanted[id] = on
		}
	}
	switch {
	case !h.balance.Load():
	case balance.leaving > 0:
		balance.reason = reasonBalance
		wanted[layout.DriveID{}] = balance
	default:
		h.endBalance(h.survey.changes)
	}
	if h.survey.unprotected.leaving > 0 {
		wanted[protectTask()] = &h.survey.unprotected
	}
	for id := range h.tasks {
		if wanted[id] == nil && h.tasks[id].born <= h.survey.changes {
			h.log.Info("done", "task", h.tasks[id].kind, "drive", id, "bytes", h.tasks[id].total, "took", now.Sub(h.tasks[id].started))
			delete(h.tasks, id)
		}
	}
	for id, on := range wanted {
		t := h.tasks[id]
		if t == nil {
			t = &task{kind: h.kind(id, on.reason), started: now, total: on.leavingBytes}
			h.tasks[id] = t
			h.log.Info("begun", "task", t.kind, "drive", id, "fragments", on.leaving, "bytes", on.leavingBytes)
		}
		t.left, t.fragments, t.since, t.sinceFrags = on.leavingBytes, on.leaving, 0, 0
		t.total = max(t.total, t.left)
	}
}

func (h *healer) kind(id layout.DriveID, r reason) string {
	switch m := h.e.drives.now().byID[id]; {
	case id == protectTask():
		return "protect"
	case r == reasonBalance:
		return taskRebalance
	case r == reasonOut, m != nil && m.successor.Load() != nil:
		return "rebuild"
	}
	return "drain"
}

// taskRebalance is the kind of the task that evens out the drives.
const taskRebalance = "rebalance"

// begin makes a task that somebody has just asked for, so that it is there before the
// next survey knows what it comes to.
func (h *healer) begin(id layout.DriveID, kind string) {
	h.mu.Lock()
	if kind == taskRebalance {
		h.balance.Store(true) // before the change: a survey that knows of that sees it
	}
	born := h.changes.Add(1)
	if h.tasks[id] == nil {
		h.tasks[id] = &task{kind: kind, started: h.e.now()}
	}
	h.tasks[id].born, h.tasks[id].kind = born, kind
	h.mu.Unlock()
	h.changed()
}

// due reports whether a walk has something to do.
func (h *healer) due() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tasks) > 0 || h.sweep && h.survey.degraded > 0
}

// next returns how long to sleep after a round that began at begun.
func (h *healer) next(begun time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	wait := time.Hour
	now := time.Now()
	if h.survey.changes != h.changes.Load() {
		wait = max(0, h.survey.pause(now))
	}
	retry := h.retry(begun)
	if !retry.IsZero() {
		wait = min(wait, retry.Sub(now))
	}
	if len(h.failures) >= failureMost || len(h.tasks) > 0 {
		wait = min(wait, h.e.cfg.Timing.Rescan)
	}
	if !retry.IsZero() {
		wait = max(wait, 4*now.Sub(begun))
	}
	h.again = time.Time{}
	if h.survey.degraded > 0 { // blobs may have been deleted since, or not be on the queue
		// Counted from the survey: however many rounds there are, this one comes.
		h.again = h.survey.at.Add(max(h.e.cfg.Timing.Rescan, 5*surveyShare*h.survey.took))
		wait = min(wait, h.again.Sub(h.e.now()))
	}
	for id := range h.survey.drives { // drives that will have been out for long enough
		m := h.e.drives.now().byID[id]
		if m != nil && !m.is().out() {
			continue
		}
		since := h.opened
		if m != nil {
			since = time.Unix(0, m.since.Load())
		}
		if left := h.e.cfg.Timing.ProtectAfter - h.e.now().Sub(since); left > 0 {
			wait = min(wait, left)
			if at := h.e.now().Add(left); h.again.IsZero() || at.Before(h.again) {
				h.again = at
			}
		}
	}
	return max(wait, time.Millisecond)
}

// status describes the state.
func (h *healer) status() HealStatus {
	queue := h.countQueue()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := HealStatus{
		Queue: queue, Degraded: h.survey.degraded, Unhealed: h.survey.unhealed, Lost: h.survey.lost, Walked: h.survey.at,
		Unprotected: h.survey.unprotected.leaving,
		Repaired:    h.repaired.Load(), Moved: h.movedFragments.Load(), Bytes: h.bytes.Load(), Errors: h.errs.Load(),
	}
	s.Settled = !h.busy.Load() && h.survey.changes == h.changes.Load()
	if h.last != nil {
		s.LastError = h.last.Error()
	}
	now := time.Now()
	for id, t := range h.tasks {
		left := max(0, t.left-t.since)
		task := HealTask{
			Drive: id, Kind: t.kind, Total: t.total, Done: t.total - left, Fragments: max(0, t.fragments-t.sinceFrags),
			Started: t.started, Rate: t.pace.rate(now),
		}
		if task.Rate > 0 {
			task.ETA = time.Duration(float64(left) / task.Rate * float64(time.Second))
		}
		if id == protectTask() {
			task.Drive = layout.DriveID{}
		}
		if t.waiting != nil {
			task.Waiting = t.waiting.Error()
		}
		s.Tasks = append(s.Tasks, task)
	}
	slices.SortFunc(s.Tasks, func(a, b HealTask) int { return a.Started.Compare(b.Started) })
	return s
}

// queueAge is how long a count of the repair queue is believed while it is long.
const queueAge = 2 * time.Second

// countQueue counts the repair queue.
func (h *healer) countQueue() int64 {
	h.mu.Lock()
	n, at := h.queue, h.counted
	h.mu.Unlock()
	if n > healBatch && time.Since(at) < queueAge {
		return n
	}
	n, err := meta.CountRepairs(h.e.store, HealQueueMost)
	if err != nil {
		h.log.Error("cannot count the repair queue", "err", err)
		return 0
	}
	h.mu.Lock()
	h.queue, h.counted = n, time.Now()
	h.mu.Unlock()
	return n
}
