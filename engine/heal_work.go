package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
)

var (
	errLost  = errors.New("too few fragments can be read")
	errStale = errors.New("a drive went out of service meanwhile")
	// errRetry: a fragment that was to be copied does not read; it is to be computed.
	errRetry = errors.New("source given up")
)

// target is a fragment being made.
type target struct {
	lack
	m    *member
	frag drive.Fragment
	buf  *ioring.Buffer // the present row's unit, at drive.HeaderSize
	n    int            // bytes of it
	err  error          // why it was given up
}

// work makes fragments of one blob. It holds memory only within a row, and within
// the writers' share of the arena.
type work struct {
	h       *healer
	ctx     context.Context
	slot    meta.Slot
	blob    layout.Blob
	g       layout.Geometry
	scene   *scene
	code    *erasure.Code
	bad     uint32 // fragments known not to verify
	found   uint32 // of them, those that were found by this work
	poor    [layout.MaxData + layout.MaxParity]bool
	targets []*target
	span    int   // payload bytes of a unit that are read at a time
	weight  int64 // bytes of the arena that a row takes
}

// reserve finds a place for every lack that can have one. The error is of one that
// cannot.
func (w *work) reserve(lacks []lack) (err error) {
	held := w.scene.taken(&w.blob)
	for i := range lacks {
		l := &lacks[i]
		list, e := w.scene.candidates(l, held)
		for _, m := range list {
			t := &target{lack: *l, m: m, frag: drive.Fragment{
				Blob: w.blob.ID, Number: l.number, Size: w.g.FragmentSize(l.number), Unit: w.g.Unit,
			}}
			if t.frag.Extents, e = m.d.ReserveFragment(w.ctx, &t.frag); e == nil {
				w.targets = append(w.targets, t)
				held[m.id] = l.number
				break
			}
			if l.only && m.id == l.prefer && !errors.Is(e, drive.ErrNoSpace) {
				break
			}
		}
		if e != nil {
			if errors.Is(e, drive.ErrNoSpace) {
				e = errNoPlace
			}
			err = e
		}
	}
	return err
}

// run makes the fragments, row by row, and makes them durable.
func (w *work) run() error {
	w.measure()
	var err error
	if w.code, err = erasure.New(w.g.Data, w.g.Parity); err != nil {
		return err
	}
	for row := range w.g.Rows() {
		for {
			err := w.h.yield.work(w.ctx, func() error { return w.row(row) })
			if err == nil {
				break
			}
			if !errors.Is(err, errRetry) {
				return err
			}
		}
		if err := w.alive(); err != nil {
			return err
		}
	}
	return w.sync()
}

// measure decides how much memory a row takes: units are read whole where the share
// of the arena that repairs may take at a time allows, else in spans.
func (w *work) measure() {
	w.span = int(w.g.Unit)
	most := w.h.e.writers.most / 2
	sum := func() int64 {
		return int64(len(w.targets))*loanSize(int(w.g.Unit)) + int64(w.g.Data)*loanSize(w.span)
	}
	if w.weight = sum(); w.weight > most {
		w.span = min(w.span, ioring.SmallBuffer-drive.HeaderSize)
		w.weight = sum()
	}
	w.weight = min(w.weight, w.h.e.writers.most)
}

// alive returns an error when no target is left.
func (w *work) alive() error {
	var err error
	for _, t := range w.targets {
		if t.err == nil {
			return nil
		}
		err = t.err
	}
	return err
}

// row makes one row's units.
func (w *work) row(row int64) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	writers := w.h.e.writers
	if err := writers.acquire(w.ctx, w.weight); err != nil {
		return err
	}
	defer writers.release(w.weight)
	defer w.dropBuffers()
	var computed []*target
	for _, t := range w.targets {
		if t.n = w.g.UnitLen(row, t.number); t.n == 0 || t.err != nil {
			continue
		}
		if t.source == nil {
			computed = append(computed, t)
			continue
		}
		if err := w.copy(t, row); err != nil {
			return err
		}
	}
	if len(computed) > 0 {
		if err := w.compute(computed, row); err != nil {
			return err
		}
	}
	w.write(row)
	return nil
}

func (w *work) dropBuffers() {
	for _, t := range w.targets {
		if t.buf != nil {
			t.buf.Release()
			t.buf = nil
		}
	}
}

// copy reads the unit of a fragment that is to be moved.
func (w *work) copy(t *target, row int64) error {
	f := drive.FragmentOf(&w.blob, t.number)
	buf, err := t.source.buffer(w.ctx, t.n)
	if err != nil {
		return err
	}
	io := t.source.d.StartRead(&f, row, 0, t.n, buf)
	_, err = io.Wait()
	if err == nil {
		t.buf = io.Take()
	}
	io.Release()
	if err == nil {
		return nil
	}
	w.failed(t.number, err)
	t.source = nil
	return errRetry
}

// failed notes that a fragment cannot be read.
func (w *work) failed(number int, err error) {
	w.poor[number] = true
	if errors.Is(err, drive.ErrCorrupt) {
		w.bad |= 1 << number
		w.found |= 1 << number
	}
	w.h.log.Debug("a fragment does not read", "blob", w.blob.ID, "fragment", number, "err", err)
}

// write writes the row's units and waits for them.
func (w *work) write(row int64) {
	ios := make([]*drive.FrameIO, len(w.targets))
	for i, t := range w.targets {
		if t.buf != nil {
			ios[i] = t.m.d.StartWrite(&t.frag, row, t.buf, t.n)
			t.buf = nil // it is the transfer's
		}
	}
	for i, io := range ios {
		if io == nil {
			continue
		}
		t := w.targets[i]
		if _, t.err = io.Wait(); t.err == nil {
			w.h.bytes.Add(uint64(t.n))
		} else {
			t.m.doubt()
		}
		io.Release()
	}
}

// sync makes what was written durable.
func (w *work) sync() error {
	ios := make([]*drive.FrameIO, len(w.targets))
	for i, t := range w.targets {
		if t.err == nil {
			ios[i] = t.m.d.StartSync()
		}
	}
	for i, io := range ios {
		if io != nil {
			if _, w.targets[i].err = io.Wait(); w.targets[i].err != nil {
				w.targets[i].m.doubt()
			}
			io.Release()
		}
	}
	return w.alive()
}

// commit moves the fragments in the metadata, and returns how many were.
func (w *work) commit() (moved int, err error) {
	w.h.moves.RLock()
	defer w.h.moves.RUnlock()
	ticket := w.h.e.names.enter()
	defer ticket.leave()
	cmd := &meta.MoveFragments{Slot: w.slot, Blob: w.blob.ID}
	for _, t := range w.targets {
		if t.err == nil && !w.h.e.serves(t.m.d) {
			t.err = errStale
		}
		if t.err == nil {
			to := layout.Fragment{Drive: t.m.id, Extents: t.frag.Extents}
			cmd.Moves = append(cmd.Moves, meta.Move{Number: t.number, From: t.from, To: to})
		}
	}
	if len(cmd.Moves) == 0 {
		return 0, w.alive()
	}
	switch err := w.h.e.mutate(context.Background(), w.slot, cmd); {
	case err != nil && !definite(err):
		w.targets = slices.DeleteFunc(w.targets, func(t *target) bool { return t.err == nil })
		return 0, fmt.Errorf("outcome of a move is unknown: %w", err)
	case err != nil:
		return 0, err
	case !cmd.Moved: // the blob is gone, or somebody was faster
		return 0, nil
	}
	for _, t := range w.targets {
		if t.err != nil {
			continue
		}
		moved++
		if m := w.h.e.drives.now().byID[t.from.Drive]; m != nil && m.d != nil && len(t.from.Extents) > 0 {
			w.h.left.add(m.d, t.from.Extents)
		}
		w.h.count(t)
	}
	w.targets = slices.DeleteFunc(w.targets, func(t *target) bool { return t.err == nil })
	return moved, nil
}

// discard gives back the places of targets that were not committed. What is still
// being written the drive keeps until its device has answered.
func (w *work) discard() {
	for _, t := range w.targets {
		t.m.d.Free(t.frag.Extents)
	}
	w.targets = nil
}
