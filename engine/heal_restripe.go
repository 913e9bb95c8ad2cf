package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
)

// restriper writes a blob anew, spread as the drives of today allow, under the same id:
// an encrypted payload is bound to it, and the stored bytes stay as they are. They are
// read as any reader reads them, row by row of the new geometry. Memory is held within
// a row only.
type restriper struct {
	h      *healer
	slot   meta.Slot
	from   layout.Blob
	source *located
	s      *staged // the new places
	g      layout.Geometry
	code   *erasure.Code
	weight int64 // bytes of the arena that a row takes
}

// restripe spreads a blob anew over the drives that can be written, with so many parity
// fragments. errNoPlace: they are too few, or have no room.
func (h *healer) restripe(slot meta.Slot, from *layout.Blob, parity int) error {
	r := &restriper{h: h, slot: slot, from: *from}
	err := r.place(parity)
	if err == nil {
		err = r.write()
	}
	if err == nil {
		return r.commit()
	}
	if r.s != nil {
		r.s.drop()
	}
	if b, ok, lookErr := meta.Locate(h.e.store, slot, from.ID); lookErr == nil && (!ok || !sameShape(&b, from)) {
		return nil // it is gone, or somebody was faster
	}
	return err
}

func sameShape(a, b *layout.Blob) bool { return a.Kind == b.Kind && a.Geometry() == b.Geometry() }

// place chooses the new geometry, and sets space aside.
func (r *restriper) place(parity int) (err error) {
	e := r.h.e
	if r.source, err = e.locate(r.slot, &r.from); err != nil {
		return err
	}
	s := &staged{e: e, blob: layout.Blob{ID: r.from.ID, Size: r.from.Size}}
	s.homes, err = e.drives.place(r.h.ctx, &s.blob, parity, func(drives int) layout.Geometry {
		return e.writers.geometry(s.blob.Size, drives, parity)
	})
	if err != nil {
		if KindOf(err) == NoSpace {
			err = fmt.Errorf("%w: %w", errNoPlace, err)
		}
		return err
	}
	r.s, r.g = s, s.blob.Geometry()
	if s.quorum = r.g.Fragments(); s.blob.Missing() > 0 {
		return errNoPlace
	}
	r.code, err = erasure.New(r.g.Data, r.g.Parity)
	r.weight = min(int64(r.g.Fragments())*loanSize(int(r.g.Unit)), e.writers.most)
	return err
}

// write writes the payload and makes it durable.
func (r *restriper) write() error {
	for row := range r.g.Rows() {
		if err := r.h.yield.work(r.h.ctx, func() error { return r.row(row) }); err != nil {
			return err
		}
	}
	ios := make([]*drive.FrameIO, len(r.s.homes))
	for i, m := range r.s.homes {
		ios[i] = m.d.StartSync()
	}
	return r.await(ios)
}

// await waits for everything that was begun.
func (r *restriper) await(ios []*drive.FrameIO) (err error) {
	for i, io := range ios {
		if io == nil {
			continue
		}
		if _, e := io.Wait(); e != nil {
			r.s.homes[i].doubt()
			err = errors.Join(err, e)
		}
		io.Release()
	}
	return err
}

// row writes one row. As a copy does, it takes its share of the arena before it reads,
// so that readers are all that it waits for from then on.
func (r *restriper) row(row int64) (err error) {
	ctx, writers := r.h.ctx, r.h.e.writers
	if err := writers.acquire(ctx, r.weight); err != nil {
		return err
	}
	defer writers.release(r.weight)
	n := r.g.Fragments()
	bufs, units, ios := make([]*ioring.Buffer, n), make([][]byte, n), make([]*drive.FrameIO, n)
	defer func() {
		for _, b := range bufs {
			if b != nil {
				b.Release()
			}
		}
	}()
	for i, m := range r.s.homes {
		size := r.g.UnitLen(row, i)
		if size == 0 {
			continue
		}
		if bufs[i], err = m.buffer(ctx, size); err != nil {
			return err
		}
		units[i] = bufs[i].Bytes()[drive.HeaderSize:][:size]
	}
	if err := r.read(row, units[:r.g.Data]); err != nil {
		return err
	}
	if err := r.encode(units); err != nil {
		return err
	}
	for i, m := range r.s.homes {
		if bufs[i] != nil {
			f := drive.FragmentOf(&r.s.blob, i)
			ios[i] = m.d.StartWrite(&f, row, bufs[i], len(units[i]))
			bufs[i] = nil // it is the transfer's
		}
	}
	if err := r.await(ios); err != nil {
		return err
	}
	for _, u := range units {
		r.h.bytes.Add(uint64(len(u)))
	}
	return nil
}

// read fills the data units of a row.
func (r *restriper) read(row int64, units [][]byte) error {
	off := row * r.g.Row()
	src, err := r.source.open(r.h.ctx, off, min(r.g.Row(), r.g.Size-off))
	if err != nil {
		return err
	}
	defer src.Close()
	for _, u := range units {
		if err := src.fill(u); err != nil {
			return err
		}
	}
	return nil
}

// encode computes the parity units.
func (r *restriper) encode(units [][]byte) error {
	if r.g.Data > 1 {
		return r.code.Encode(units)
	}
	for _, u := range units[1:] {
		copy(u, units[0])
	}
	return nil
}

// commit names the new places in the metadata in place of the old ones.
func (r *restriper) commit() error {
	h, e := r.h, r.h.e
	h.moves.RLock()
	defer h.moves.RUnlock()
	if r.s.name() != nil {
		r.s.drop()
		return errStale
	}
	cmd := &meta.Restripe{Slot: r.slot, From: r.from, To: r.s.blob}
	switch err := e.mutate(context.Background(), r.slot, cmd); {
	case err != nil:
		r.s.settle(err)
		return fmt.Errorf("spreading a blob anew: %w", err)
	case !cmd.Moved: // the blob is gone, or somebody was faster
		r.s.drop()
		return nil
	}
	r.s.settle(nil)
	h.moved.Store(true)
	h.changes.Add(1)
	g := r.from.Geometry()
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range r.from.Fragments {
		f := &r.from.Fragments[i]
		if len(f.Extents) == 0 {
			continue
		}
		if m := e.drives.now().byID[f.Drive]; m != nil && m.d != nil {
			h.left.add(m.d, f.Extents)
		}
		if t := h.tasks[f.Drive]; t != nil {
			t.made(g.FragmentSize(i))
		}
		h.movedFragments.Add(1)
	}
	if t := h.tasks[protectTask()]; t != nil && r.from.Kind == layout.KindSingle {
		t.made(r.from.Size)
	}
	return nil
}

// unprotected reports whether a blob has no redundancy though the cluster has: it was
// written when there was none to be had, before an upgrade or on one drive. Who asked for
// none gets a striped blob without parity, which is left alone.
func (s *scene) unprotected(b *layout.Blob) bool {
	return s.parity > 0 && b.Kind == layout.KindSingle && b.Size > 0
}

// enough reports whether a blob with so much parity can be spread over the drives that
// can be written.
func (s *scene) enough(parity int) bool { return parity > 0 && len(s.fills) > parity }

// cramped reports whether a blob is to be spread anew because a fragment has to leave a
// drive that is being removed, and no drive is free for it.
func (w *work) cramped(lacks []lack) bool {
	if w.blob.Kind != layout.KindStriped || !w.scene.enough(w.g.Parity) {
		return false
	}
	for i := range lacks {
		l := &lacks[i]
		m := w.scene.view.byID[l.from.Drive]
		if m == nil || len(l.from.Extents) == 0 || !m.drain.Load() || m.successor.Load() != nil {
			continue
		}
		placed := false
		for _, t := range w.targets {
			placed = placed || t.number == l.number
		}
		if !placed {
			return true
		}
	}
	return false
}

// explainProtect notes for the task why a blob could not be protected.
func (h *healer) explainProtect(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t := h.tasks[protectTask()]; t != nil {
		t.waiting = err
	}
}

// protectTask is the key of the task that protects blobs without redundancy. It is no
// drive's id.
func protectTask() (id layout.DriveID) {
	for i := range id {
		id[i] = 0xFF
	}
	return id
}
