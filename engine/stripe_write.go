package engine

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// stripeDepth is the most rows of one payload in memory: one being read from the body
// while the other is written.
const stripeDepth = 2

// stripeWriter writes a striped payload. Rows go from the body into the buffers of
// their data units, which the parity units are computed from; then every unit is on
// its way to its drive at once. A drive that fails or does not answer in time is given
// up, and the write goes on without it as long as its quorum is left.
type stripeWriter struct {
	s     *staged
	g     layout.Geometry
	code  *erasure.Code
	arena *ioring.Arena
	frags []stripeFragment
	alive int   // fragments not given up
	cause error // why the first of them was, or that one drive was full

	rows   [stripeDepth]stripeRow
	depth  int // rows that may be held
	weight int64
	gate   *semaphore.Weighted
	units  [][]byte // of the row at hand
	read   int64    // bytes of the body
	lent   drive.Lender
}

// stripeFragment is a fragment being written.
type stripeFragment struct {
	m    *member // nil: given up, or without a drive from the start
	f    drive.Fragment
	lost bool // given up
}

// stripeRow is the memory of one row, by fragment.
type stripeRow struct {
	bufs []*ioring.Buffer // nil: in flight, or not there
	ios  []*drive.FrameIO // nil: not in flight
	heap [][]byte         // takes the place of a buffer that the device keeps
	made bool
	end  int64 // of the row's payload, in bytes from the body's first
}

// writeStriped streams the payload to the drives that it was placed on, durably. The
// fragments of drives that had to be given up are missing afterwards.
func (s *staged) writeStriped(ctx context.Context, in io.Reader) error {
	g := s.blob.Geometry()
	code, err := erasure.New(g.Data, g.Parity)
	if err != nil {
		return err
	}
	n := g.Fragments()
	w := &stripeWriter{s: s, g: g, code: code, frags: make([]stripeFragment, n), units: make([][]byte, n)}
	for i, m := range s.homes {
		if m != nil {
			w.frags[i] = stripeFragment{m: m, f: drive.FragmentOf(&s.blob, i)}
			w.arena = m.d.Arena()
			w.alive++
		}
	}
	if err := w.admit(ctx); err != nil {
		return err
	}
	w.lent, _ = in.(drive.Lender)
	err = w.run(ctx, in)
	if err != nil && w.lent != nil {
		w.lent.StopLending()
	}
	for i := range w.rows {
		w.wait(&w.rows[i])
	}
	if err == nil {
		err = w.sync()
	}
	w.finish()
	return err
}

// admit waits for the writer's share of the arena. Two rows are better than one, but
// no reason to wait.
func (w *stripeWriter) admit(ctx context.Context) error {
	writers := w.s.e.writers
	copies := int64(w.g.Fragments())
	if w.g.Data == 1 {
		copies = int64(w.alive)
	}
	w.weight = copies * ioring.LoanSize(w.bufferBytes())
	w.gate = writers.large
	if w.g.Rows() == 1 {
		w.gate = writers.gate(w.weight)
	} else if w.gate.TryAcquire(2 * w.weight) {
		w.depth = 2
		return nil
	}
	w.depth = 1
	return writers.enter(ctx, w.gate, w.weight)
}

// bufferBytes returns the bytes that a frame takes.
func (w *stripeWriter) bufferBytes() int {
	return drive.HeaderSize + int(min(w.g.Unit, (w.g.Size+drive.HeaderSize-1)&^(drive.HeaderSize-1)))
}

// run reads and starts every row. The error is the body's, or the arena's, or tells
// that the quorum is lost.
func (w *stripeWriter) run(ctx context.Context, in io.Reader) error {
	for row, slot := int64(0), 0; row < w.g.Rows(); row++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := &w.rows[slot]
		w.wait(r)
		if err := w.check(); err != nil {
			return err
		}
		if err := w.makeRow(ctx, r); err != nil {
			return err
		}
		if err := w.fill(r, row, in); err != nil {
			return err
		}
		if err := w.encode(); err != nil {
			return err
		}
		w.start(r, row)
		if w.depth == 1 && row+1 < w.g.Rows() && w.gate.TryAcquire(w.weight) {
			w.depth = 2
		}
		slot = (slot + 1) % w.depth
	}
	return nil
}

// makeRow takes the buffers of a row, once. The writer has been admitted with them, so
// that it waits for readers at most, who wait for no writer.
func (w *stripeWriter) makeRow(ctx context.Context, r *stripeRow) error {
	if r.made {
		return nil
	}
	n := w.g.Fragments()
	if r.bufs == nil {
		r.bufs, r.ios, r.heap = make([]*ioring.Buffer, n), make([]*drive.FrameIO, n), make([][]byte, n)
	}
	for i := range r.bufs {
		if w.frags[i].m == nil && (w.g.Data == 1 || w.frags[i].lost) || r.bufs[i] != nil {
			continue // no drive will see it
		}
		var err error
		if r.bufs[i], err = w.arena.Get(ctx, w.bufferBytes()); err != nil {
			return err
		}
	}
	r.made = true
	return nil
}

// payload returns the memory for n bytes of unit i.
func (w *stripeWriter) payload(r *stripeRow, i, n int) []byte {
	if b := r.bufs[i]; b != nil {
		return b.Bytes()[drive.HeaderSize:][:n]
	}
	if r.heap[i] == nil {
		r.heap[i] = make([]byte, w.g.Unit)
	}
	return r.heap[i][:n]
}

// fill reads a row's data units from the body.
func (w *stripeWriter) fill(r *stripeRow, row int64, in io.Reader) error {
	for i := range w.units {
		n := w.g.UnitLen(row, i)
		w.units[i] = nil
		if n == 0 || w.g.Data == 1 && i > 0 && w.frags[i].m == nil {
			continue
		}
		w.units[i] = w.payload(r, i, n)
		if i >= w.g.Data {
			continue
		}
		got, err := io.ReadFull(in, w.units[i])
		w.read += int64(got)
		r.end = w.read
		if err != nil {
			return err
		}
	}
	return nil
}

// encode computes the parity units.
func (w *stripeWriter) encode() error {
	if w.g.Data > 1 {
		return w.code.Encode(w.units)
	}
	for _, u := range w.units[1:] {
		copy(u, w.units[0])
	}
	return nil
}

// start has a row written.
func (w *stripeWriter) start(r *stripeRow, row int64) {
	for i := range w.frags {
		f := &w.frags[i]
		if n := len(w.units[i]); n > 0 && f.m != nil {
			r.ios[i] = f.m.d.StartWrite(&f.f, row, r.bufs[i], n)
			r.bufs[i] = nil
		}
	}
}

// wait waits until nothing of a row is in flight, or its device's deadline is over,
// and until the body does not read its memory any more.
func (w *stripeWriter) wait(r *stripeRow) {
	for _, op := range r.ios {
		if op != nil {
			_, _ = op.Wait() // tells the same below
		}
	}
	if w.lent != nil {
		w.lent.Settle(r.end)
	}
	for i, op := range r.ios {
		if op == nil {
			continue
		}
		_, err := op.Wait()
		r.ios[i] = nil
		r.bufs[i] = op.Take()
		op.Release()
		if err != nil {
			w.giveUp(i, err)
		}
	}
}

// sync makes what was written durable, on all drives at once.
func (w *stripeWriter) sync() error {
	if err := w.check(); err != nil {
		return err
	}
	ios := w.rows[0].ios
	for i := range w.frags {
		if m := w.frags[i].m; m != nil {
			ios[i] = m.d.StartSync()
		}
	}
	for i, op := range ios {
		if op == nil {
			continue
		}
		_, err := op.Wait()
		ios[i] = nil
		op.Release()
		if err != nil {
			w.giveUp(i, err)
		}
	}
	return w.check()
}

// giveUp goes on without a fragment.
func (w *stripeWriter) giveUp(i int, err error) {
	f := &w.frags[i]
	if f.m == nil {
		return
	}
	f.m.doubt()
	w.s.e.log.Warn("a write goes on without a drive", "drive", f.m.id, "blob", w.s.blob.ID, "fragment", i, "err", err)
	f.m, f.lost = nil, true
	w.alive--
	if w.cause == nil || errors.Is(err, drive.ErrNoSpace) {
		w.cause = err
	}
}

// check returns why too few fragments are left, or nil.
func (w *stripeWriter) check() error {
	if w.alive < w.s.quorum {
		return w.cause
	}
	return nil
}

// finish gives up the memory, and the space of fragments that were given up.
func (w *stripeWriter) finish() {
	for i := range w.rows {
		for _, b := range w.rows[i].bufs {
			if b != nil {
				b.Release()
			}
		}
	}
	w.gate.Release(int64(w.depth) * w.weight)
	for i := range w.frags {
		if w.frags[i].lost {
			w.s.giveUp(i)
		}
	}
}
