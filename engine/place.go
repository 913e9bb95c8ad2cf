package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

const (
	// doubtFor is how long a drive that refused a write is passed over while others
	// are to be had. A body is read once, so a write that meets the error cannot go on
	// elsewhere: it has to do without a fragment, or its client has to come again.
	doubtFor = 30 * time.Second
	// freeAge is how long a drive's free space is believed, for the purpose of taking
	// turns: to ask for it costs a system call.
	freeAge = 20 * time.Millisecond
	// maxWidth is the most drives that one blob is spread over.
	maxWidth = 16
)

// room is what placing remembers of a drive.
type driveRoom struct {
	free    atomic.Int64 // bytes
	asked   atomic.Int64 // when free was, ns since the Unix epoch
	doubted atomic.Int64 // when a write last gave the drive up, ns since the Unix epoch
}

// look returns the drive's free bytes, 1 or more: a full drive keeps its place, for
// garbage may be about to go.
func (r *driveRoom) look(d *drive.Drive, now time.Time) int64 {
	asked := r.asked.Load()
	if now.UnixNano()-asked >= int64(freeAge) && r.asked.CompareAndSwap(asked, now.UnixNano()) {
		_, _, free := d.Usage()
		r.free.Store(free)
	}
	return max(1, r.free.Load())
}

// refused returns when the drive last refused a write, or the zero time.
func (m *member) refused() time.Time {
	at := m.d.LastWriteError()
	if ns := m.room.doubted.Load(); ns > 0 && time.Unix(0, ns).After(at) {
		at = time.Unix(0, ns)
	}
	return at
}

// doubt has the drive passed over for a while.
func (m *member) doubt() { m.room.doubted.Store(time.Now().UnixNano()) }

// candidate is a drive in service.
type candidate struct {
	*member
	free    int64     // bytes
	turn    int64     // the greatest comes first
	refused time.Time // when it last refused a write
}

// order returns the drives that new fragments may go to, beginning with those whose
// turn it is, and apart from them those that are to be used only where the others do
// not suffice: suspect ones, and those that refused a write lately, the last to do so
// last. take tells how many of so many good drives will be used.
func (s *driveSet) order(take func(drives int) int) (good, doubtful []candidate) {
	all := s.now().all
	if len(all) == 1 { // free space, a system call away, decides nothing
		if all[0].writable() {
			good = []candidate{{member: all[0]}}
		}
		return good, nil
	}
	now := time.Now()
	good = make([]candidate, 0, len(all))
	for _, m := range all {
		if !m.writable() {
			continue
		}
		c := candidate{member: m, refused: m.refused()}
		if m.is() == DriveSuspect || !c.refused.IsZero() && now.Sub(c.refused).Abs() < doubtFor {
			doubtful = append(doubtful, c)
			continue
		}
		c.free = m.room.look(m.d, now)
		good = append(good, c)
	}
	s.turn(good, take(len(good)))
	slices.SortFunc(doubtful, func(a, b candidate) int { return a.refused.Compare(b.refused) })
	return good, doubtful
}

// turn puts the n drives whose turn it is first. In the long run each drive's share
// of turns is that of its free space.
func (s *driveSet) turn(list []candidate, n int) {
	if n >= len(list) || n < 1 {
		return
	}
	var total int64
	for i := range list {
		total += list[i].free
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		c := &list[i]
		// A drive with more than an nth of all space cannot have what it deserves.
		c.turn = min(max(c.credit.Load()+c.free, -2*total), 2*total)
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(b.turn, a.turn) })
	for i := range list {
		c := &list[i]
		if i < n {
			c.turn -= total / int64(n)
		}
		c.credit.Store(c.turn)
	}
}

// reserve sets extents for a blob of one fragment aside on the first drive that has
// room.
func (s *driveSet) reserve(ctx context.Context, size int64) (*member, []layout.Extent, error) {
	good, doubtful := s.order(func(int) int { return 1 })
	err := errNoDrives
	for _, c := range append(good, doubtful...) {
		exts, e := c.d.Reserve(ctx, size)
		if e == nil {
			return c.member, exts, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		// That a drive is full tells the client more than that one is broken.
		if err == errNoDrives || errors.Is(e, drive.ErrNoSpace) {
			err = e
		}
	}
	if err == errNoDrives {
		return nil, nil, fail(Unavailable, err)
	}
	return nil, nil, driveError(err)
}

// place chooses the geometry of a striped blob for the drives that can take it now,
// and sets space aside for its fragments. It fills in b and returns the drives, by
// fragment; nil for one that has to wait for a drive, where fewer than 1 + parity can
// be written. geometry tells how the blob is spread over so many drives.
func (s *driveSet) place(ctx context.Context, b *layout.Blob, parity int, geometry func(drives int) layout.Geometry) ([]*member, error) {
	good, doubtful := s.order(func(n int) int { g := geometry(n); return g.Fragments() })
	writable := len(good) + len(doubtful)
	err := fail(Unavailable, errNoDrives)
	for writable > 0 {
		least := min(1+parity, writable)
		if short := least - len(good); short > 0 {
			short = min(short, len(doubtful))
			good, doubtful = append(good, doubtful[:short]...), doubtful[short:]
		}
		if len(good) < least {
			break // the others are full
		}
		g := geometry(len(good))
		b.Kind, b.Data, b.Parity, b.Unit = layout.KindStriped, uint8(g.Data), uint8(g.Parity), g.Unit
		b.Fragments = make([]layout.Fragment, g.Fragments())
		homes := make([]*member, g.Fragments())
		chosen := good[:min(len(good), len(homes))]
		bad, e := full(b, chosen)
		if e == nil {
			bad, e = reserveAll(ctx, b, homes, chosen)
		}
		if e == nil {
			return homes, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !errors.Is(e, drive.ErrNoSpace) {
			good[bad].doubt()
			writable--
		}
		if KindOf(err) != NoSpace {
			err = driveError(e)
		}
		good = slices.Delete(good, bad, bad+1)
	}
	b.Fragments = nil
	return nil, err
}

// full returns the index of a drive that has no room for a fragment of b, and the
// error that to reserve it there would end in after all attempts to grow.
func full(b *layout.Blob, drives []candidate) (bad int, err error) {
	f := drive.FragmentOf(b, 0)
	need := f.DiskSize()
	for i := range drives {
		c := &drives[i]
		if c.free < need { // as of a moment ago
			if _, _, c.free = c.d.Usage(); c.free < need {
				return i, fmt.Errorf("%w: drive %s: %d bytes", drive.ErrNoSpace, c.id, need)
			}
		}
	}
	return 0, nil
}

// reserveAll deals the fragments of b to drives, beginning anywhere, so that data and
// parity spread evenly, and sets space aside for them. It returns the index of a drive
// that has none, and keeps nothing then.
func reserveAll(ctx context.Context, b *layout.Blob, homes []*member, drives []candidate) (bad int, err error) {
	first := rand.IntN(len(drives))
	for i := range drives {
		at := (first + i) % len(drives)
		f := drive.FragmentOf(b, i)
		exts, err := drives[at].d.ReserveFragment(ctx, &f)
		if err != nil {
			for k := range i {
				homes[k].d.Free(b.Fragments[k].Extents)
			}
			return at, err
		}
		homes[i] = drives[at].member
		b.Fragments[i] = layout.Fragment{Drive: homes[i].id, Extents: exts}
	}
	return 0, nil
}

// usage sums up the free bytes of the drives in service.
func (s *driveSet) usage() (free int64) {
	for _, m := range s.now().all {
		if m.writable() {
			_, _, f := m.d.Usage()
			free += f
		}
	}
	return free
}

// parityFor returns the number of parity fragments that a request gets: never more
// than the other drives of the cluster can take.
func (e *Engine) parityFor(request int) int {
	switch request {
	case ParityDefault:
		request = e.clusterParity()
	case ParityNone:
		request = 0
	}
	return max(0, min(request, layout.MaxParity, e.drives.staying()-1))
}

// geometry returns how a payload is spread over so many drives. A row fits into what
// one writer may hold.
func (w *writers) geometry(size int64, drives, parity int) layout.Geometry {
	n := min(drives, maxWidth, int(w.most/ioring.SmallBuffer))
	n = max(n, 1+parity)
	unit := int64(layout.MaxUnit)
	switch {
	case int64(n)*ioring.MediumBuffer > w.most:
		unit = ioring.SmallBuffer - drive.HeaderSize
	case int64(n)*ioring.LargeBuffer > w.most:
		unit = ioring.MediumBuffer - drive.HeaderSize
	}
	return erasure.ChooseWithin(size, n-parity, parity, unit)
}

// place places the staged blob, with so many parity fragments. When the drives are
// full, it waits for garbage to be purged if that would make room: at most for the
// grace period.
func (s *staged) place(ctx context.Context, parity int) error {
	try := func() error { return s.placeOnce(ctx, parity) }
	err := try()
	if KindOf(err) != NoSpace {
		return err
	}
	g := s.e.writers.geometry(s.blob.Size, s.e.drives.staying(), parity)
	wait := s.e.purger.pressure(s.blob.Size / int64(g.Data) * int64(g.Fragments()))
	defer wait.stop()
	for KindOf(err) == NoSpace && wait.next(ctx) {
		err = try()
	}
	return err
}

// placeOnce chooses a blob's kind, too. Who wants no redundancy gets a striped blob of one
// fragment; what has none because there is none to be had is of KindSingle, and is
// protected once there are drives for it.
func (s *staged) placeOnce(ctx context.Context, parity int) (err error) {
	b := &s.blob
	if parity > 0 || s.bare {
		s.homes, err = s.e.drives.place(ctx, b, parity, func(drives int) layout.Geometry {
			if parity == 0 {
				drives = 1
			}
			return s.e.writers.geometry(b.Size, drives, parity)
		})
		if s.quorum = s.writeQuorum(); err == nil && len(s.blob.Fragments)-s.blob.Missing() < s.quorum {
			s.drop()
			s.blob.Fragments = nil
			err = fail(Unavailable, errNoDrives)
		}
		return err
	}
	m, exts, err := s.e.drives.reserve(ctx, b.Size)
	if err != nil {
		return err
	}
	b.Kind = layout.KindSingle
	b.Fragments = []layout.Fragment{{Drive: m.id, Extents: exts}}
	s.homes, s.quorum = []*member{m}, 1
	return nil
}

// writeQuorum returns how many fragments of a striped blob have to be durable: with a
// parity of two or more, one more than are needed to read it.
func (s *staged) writeQuorum() int {
	if s.blob.Parity >= 2 {
		return int(s.blob.Data) + 1
	}
	return int(s.blob.Data)
}
