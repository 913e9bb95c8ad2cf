package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

var errBatchFull = errors.New("batch is full")

// failureMost bounds the memory of failures; beyond it, repairs that fail are tried
// again in every round.
const failureMost = 1 << 14

// failureKept is how long the failure of a repair that was due is remembered.
const failureKept = 10 * time.Minute

// failure is the memory of a repair that failed.
type failure struct {
	tries int
	until time.Time // not to be tried again before
}

// job is one blob to look after.
type job struct {
	slot   meta.Slot
	id     layout.BlobID
	bad    uint32 // fragments that do not verify
	queued bool   // it is on the repair queue
}

// submit has a worker do the job, and waits for a free one. A job that failed lately,
// or is being done, is passed over.
func (h *healer) submit(j job) {
	h.mu.Lock()
	f := h.failures[j.id]
	skip := h.flying[j.id] || f != nil && time.Now().Before(f.until)
	if !skip {
		h.flying[j.id] = true
	}
	h.mu.Unlock()
	if skip {
		return
	}
	h.slots <- struct{}{}
	h.workers.Add(1)
	go func() {
		defer h.workers.Done()
		err := h.do(j)
		<-h.slots
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.flying, j.id)
		switch {
		case err == nil, h.ctx.Err() != nil:
			delete(h.failures, j.id)
		default:
			h.note(j, err)
		}
	}()
}

// note remembers that a job failed. h.mu is held.
func (h *healer) note(j job, err error) {
	f := h.failures[j.id]
	if f == nil {
		f = &failure{}
		if len(h.failures) < failureMost {
			h.failures[j.id] = f
		}
	}
	pause := h.e.cfg.Timing.Retry << min(f.tries, 6)
	f.tries++
	switch {
	case waiting(err):
		pause = h.e.cfg.Timing.Rescan
	case errors.Is(err, errLost):
		pause = max(pause, h.e.cfg.Timing.Rescan)
		if f.tries == 1 {
			h.log.Error("too few fragments can be read", "blob", j.id, "err", err)
			if j.bad != 0 {
				h.e.scrub.unmended()
			}
		}
	default:
		h.errs.Add(1)
		h.last = err
		h.log.Warn("cannot heal", "blob", j.id, "err", err)
	}
	f.until = time.Now().Add(pause)
}

// retry returns when the first failed repair is to be tried again; zero: none is. It
// passes over those that were due before the round that began at begun and were not
// tried in it: their blobs are gone, or lack nothing any more, or are for a walk to
// find. After a while they are forgotten. h.mu is held.
func (h *healer) retry(begun time.Time) (first time.Time) {
	for id, f := range h.failures {
		switch {
		case begun.Sub(f.until) > failureKept:
			delete(h.failures, id)
		case f.until.Before(begun):
		case first.IsZero() || f.until.Before(first):
			first = f.until
		}
	}
	return first
}

// waiting reports whether err says that nothing can be done until something changes.
func waiting(err error) bool { return errors.Is(err, errNoPlace) || errors.Is(err, errSuccessor) }

// do does a job.
func (h *healer) do(j job) error {
	blob, ok, err := meta.Locate(h.e.store, j.slot, j.id)
	if err != nil || !ok {
		return err
	}
	w := &work{h: h, ctx: h.ctx, slot: j.slot, blob: blob, g: blob.Geometry(), scene: h.scene(), bad: j.bad}
	lacks := w.scene.lacks(&blob, j.bad)
	if len(lacks) == 0 && w.scene.unprotected(&blob) && w.scene.enough(w.scene.parity) {
		err := h.restripe(j.slot, &blob, w.scene.parity)
		h.explainProtect(err)
		return err
	}
	if len(lacks) == 0 {
		if j.queued && w.blob.Missing() == 0 && j.bad == 0 {
			return h.unqueue(j)
		}
		return nil
	}
	if there := w.sources(0, 0); len(there) < w.g.Data {
		return fmt.Errorf("%w: %d, and it takes %d", errLost, len(there), w.g.Data)
	}
	defer w.discard()
	placeless := w.reserve(lacks)
	if errors.Is(placeless, errNoPlace) && w.cramped(lacks) {
		w.discard()
		err := h.restripe(j.slot, &blob, w.g.Parity)
		h.explain(lacks, nil, err)
		return err
	}
	h.explain(lacks, w.targets, placeless)
	if len(w.targets) == 0 {
		return placeless
	}
	if err = w.run(); err != nil && w.overtaken() {
		return nil // what does not read is others' by now
	}
	h.report(j, w)
	if err != nil {
		return err
	}
	moved, err := w.commit()
	if moved > 0 {
		h.moved.Store(true)
	}
	if err == nil {
		err = w.lagging()
	}
	if err == nil {
		err = placeless
	}
	return err
}

// overtaken reports whether the blob was purged, or a fragment moved, since the work
// began.
func (w *work) overtaken() bool {
	b, ok, err := meta.Locate(w.h.e.store, w.slot, w.blob.ID)
	return err == nil && (!ok || !slices.EqualFunc(b.Fragments, w.blob.Fragments, func(a, b layout.Fragment) bool { return samePlace(&a, &b) }))
}

// lagging returns why a target was given up, if one was.
func (w *work) lagging() error {
	for _, t := range w.targets {
		if t.err != nil {
			return t.err
		}
	}
	return nil
}

// unqueue takes a blob off the repair queue that lacks nothing.
func (h *healer) unqueue(j job) error {
	return h.e.mutate(context.Background(), j.slot, &meta.MoveFragments{Slot: j.slot, Blob: j.id})
}

// report queues the fragments that proved bad as sources.
func (h *healer) report(j job, w *work) {
	found := w.found &^ j.bad
	for _, t := range w.targets {
		if t.err == nil {
			found &^= 1 << t.number // it is being made anew
		}
	}
	if found == 0 {
		return
	}
	cmd := &meta.QueueRepair{Slot: j.slot, Blob: j.id, Bad: found, Now: h.e.now().UnixNano()}
	if err := h.e.mutate(context.Background(), j.slot, cmd); err != nil {
		h.log.Error("cannot queue a repair", "blob", j.id, "err", err)
		return
	}
	h.e.degraded()
}

// count counts a fragment that was made.
func (h *healer) count(t *target) {
	if t.reason.moves() {
		h.movedFragments.Add(1)
	} else {
		h.repaired.Add(1)
		h.changes.Add(1)
	}
	if t.reason == reasonBad {
		h.mended.Add(1)
		h.e.scrub.mended()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	id := t.from.Drive
	if t.reason == reasonBalance {
		id = layout.DriveID{}
	}
	if task := h.tasks[id]; task != nil && len(t.from.Extents) > 0 && t.reason != reasonBad {
		task.made(t.frag.Size)
	}
}

// explain notes for the tasks why fragments got no place.
func (h *healer) explain(lacks []lack, got []*target, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range lacks {
		task := h.tasks[lacks[i].from.Drive]
		if task == nil || len(lacks[i].from.Extents) == 0 {
			continue
		}
		task.waiting = err
		for _, t := range got {
			if t.number == lacks[i].number {
				task.waiting = nil
			}
		}
	}
}
