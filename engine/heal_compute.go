package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/ioring"
)

// frameBytes returns the buffer bytes that n payload bytes of a frame take.
func frameBytes(n int) int {
	return drive.HeaderSize + (n+drive.BlockSize-1)/drive.BlockSize*drive.BlockSize
}

// loanSize returns the bytes of the arena that a buffer for n payload bytes takes.
func loanSize(n int) int64 { return ioring.LoanSize(frameBytes(n)) }

// buffer takes a buffer for a frame of n payload bytes, of the arena that all drives
// share. The caller holds a share of it.
func (m *member) buffer(ctx context.Context, n int) (*ioring.Buffer, error) {
	return m.d.Arena().Get(ctx, frameBytes(n))
}

// source is a fragment that others are computed from.
type source struct {
	number int
	m      *member // nil: the fragment is empty in this row
	io     *drive.FrameIO
}

// compute fills the buffers of targets with a row's units, from those of other
// fragments.
func (w *work) compute(targets []*target, row int64) error {
	longest := 0
	for _, t := range targets {
		buf, err := t.m.buffer(w.ctx, t.n)
		if err != nil {
			return err
		}
		t.buf = buf
		longest = max(longest, t.n)
	}
	for lo := 0; lo < longest; lo += w.span {
		if err := w.computeSpan(targets, row, lo, min(lo+w.span, w.g.UnitLen(row, 0))); err != nil {
			return err
		}
	}
	return nil
}

// computeSpan is compute for bytes [lo, hi) of the units.
func (w *work) computeSpan(targets []*target, row int64, lo, hi int) error {
	n := w.g.Fragments()
	units, have, want := make([][]byte, n), make([]bool, n), make([]bool, n)
	sources := w.sources(row, lo)
	defer func() {
		for _, s := range sources {
			if s.io != nil {
				s.io.Release()
			}
		}
	}()
	if err := w.read(sources, row, lo, hi, units, have); err != nil {
		return err
	}
	for _, t := range targets {
		to := min(hi, t.n)
		if to <= lo {
			continue
		}
		unit := t.buf.Bytes()[drive.HeaderSize+lo : drive.HeaderSize+to]
		if have[t.number] { // a fragment that is bad elsewhere
			copy(unit, units[t.number])
			continue
		}
		want[t.number], units[t.number] = true, unit
	}
	return w.code.Reconstruct(units, have, want)
}

// sources returns the fragments to compute others from, the best first: those that
// hold nothing of this part of the row and cost nothing, those on drives that are
// well, and last those that failed before, of which this part may be good.
func (w *work) sources(row int64, lo int) (list []*source) {
	for i := range w.blob.Fragments {
		f := &w.blob.Fragments[i]
		if w.g.UnitLen(row, i) <= lo {
			list = append(list, &source{number: i})
			continue
		}
		m := w.scene.view.byID[f.Drive]
		if len(f.Extents) == 0 || m == nil || !m.readable() {
			continue
		}
		list = append(list, &source{number: i, m: m})
	}
	rank := func(s *source) int {
		switch {
		case s.m == nil:
			return 0
		case w.poor[s.number], w.bad&(1<<s.number) != 0:
			return 3
		case s.m.is() != DriveActive && s.m.is() != DriveDraining:
			return 2
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b *source) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

// read fills units from as many sources as it takes, all at once, and others in the
// place of those that fail.
func (w *work) read(sources []*source, row int64, lo, hi int, units [][]byte, have []bool) error {
	var cause error
	next, flying, got := 0, []*source(nil), 0
	for got < w.g.Data {
		for got+len(flying) < w.g.Data && next < len(sources) {
			s := sources[next]
			next++
			if s.m == nil {
				have[s.number] = true
				got++
				continue
			}
			f := drive.FragmentOf(&w.blob, s.number)
			to := min(hi, w.g.UnitLen(row, s.number))
			buf, err := s.m.d.Arena().Get(w.ctx, f.ReadSize(row, lo, to))
			if err != nil {
				return err
			}
			s.io = s.m.d.StartRead(&f, row, lo, to, buf)
			flying = append(flying, s)
		}
		if len(flying) == 0 {
			return fmt.Errorf("%w: %d of %d: %w", errLost, got, w.g.Data, cmp.Or(cause, errNoDrive))
		}
		s := flying[0]
		flying = flying[1:]
		payload, err := s.io.Wait()
		if err != nil {
			cause = err
			w.failed(s.number, err)
			s.io.Release()
			s.io = nil
			if errors.Is(err, context.Canceled) {
				return err
			}
			continue
		}
		units[s.number], have[s.number] = payload, true
		got++
	}
	return nil
}
