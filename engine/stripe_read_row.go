package engine

import (
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// readState is how far a read has come.
type readState uint8

const (
	readIdle   readState = iota
	readFlying           // io is under way
	readGood             // data is verified, in buf
)

// unitRead is the read of a run of one unit.
type unitRead struct {
	state  readState
	late   bool // under way, and others were asked
	lo, hi int  // bytes of the unit
	m      *member
	place  layout.Fragment // where it is read
	io     *drive.FrameIO
	began  time.Time
	again  time.Time // when to think of others again
	data   []byte
	buf    *ioring.Buffer
}

// portion is what is wanted of one row: bytes [lo, hi) of data units a to b, where
// lo counts in a and hi in b.
//
// Each of these units is read from its own fragment. Where that cannot be done, or
// takes too long, the same span of as many fragments as there are data units is
// read, and what is wanted is computed. Of a mirrored blob every fragment holds the
// unit, so that one of them is read from the start.
type portion struct {
	r      *stripeReader
	row    int64
	a, b   int
	lo, hi int
	wait   bool       // a first buffer may be waited for
	held   int        // buffers
	want   []unitRead // by data unit
	mend   bool       // others are asked
	src    []unitRead // by fragment, of the span; nil: never mended
	lost   uint32     // fragments given up
	bad    uint32     // of them, those that do not verify
	hung   uint32     // of them, those whose drives did not answer
	passed uint32     // fragments not to be asked now; see lean
	slow   bool       // the fragment asked last was late; see lean
	last   bool       // drives taken out of service are asked, too
	moves  int
	err    error // the first that a fragment was lost by
}

// end returns the stored byte behind the portion.
func (p *portion) end() int64 {
	g := &p.r.at.geo
	return p.row*g.Row() + int64(p.b)*g.Unit + int64(p.hi)
}

// cut leaves out the units behind b.
func (p *portion) cut(b int) {
	if b < p.b {
		p.b, p.hi = b, p.r.at.geo.UnitLen(p.row, b)
	}
}

// wanted returns the bytes of unit i that are wanted.
func (p *portion) wanted(i int) (lo, hi int) {
	if lo, hi = 0, p.hi; i == p.a {
		lo = p.lo
	}
	if i < p.b {
		hi = p.r.at.geo.UnitLen(p.row, i)
	}
	return lo, hi
}

// span returns the bytes of fragment j's unit that computing takes; none where the
// unit does not reach so far, and counts as zeros.
func (p *portion) span(j int) (lo, hi int) {
	g := &p.r.at.geo
	if lo, hi = p.lo, p.hi; p.a < p.b {
		lo, hi = 0, g.UnitLen(p.row, p.a) // no unit behind is longer
	}
	return lo, max(lo, min(hi, g.UnitLen(p.row, j)))
}

// covers reports whether s, of fragment j, is of the whole span.
func (p *portion) covers(s *unitRead, j int) bool {
	lo, hi := p.span(j)
	return s.lo <= lo && hi <= s.hi
}

// usable returns the drive of fragment j if it may be asked.
func (p *portion) usable(v *driveView, j int) *member {
	f := &p.r.at.blob.Fragments[j]
	if p.lost>>j&1 != 0 || len(f.Extents) == 0 {
		return nil
	}
	m := v.byID[f.Drive]
	if m == nil || m.d == nil || !m.readable() && !(p.last && m.is() == DriveFailed) {
		return nil
	}
	return m
}

// begin starts the reads of a portion. wait allows it to wait for its first buffer;
// it makes do with fewer units where there are no more. errTight: none were begun.
func (p *portion) begin(wait bool) error {
	e := p.r.e
	v := e.drives.now()
	e.reads.hedger.watch(v, time.Now())
	e.reads.hedger.earn(p.b - p.a + 1)
	p.wait = wait
	if p.r.at.geo.Data == 1 {
		p.mend = true
		return p.gather(v)
	}
	spared := -1 // fragments that need not be avoided; -1: not counted yet
	for i := p.a; i <= p.b; i++ {
		m := p.usable(v, i)
		if m != nil && (m.is() == DriveSuspect || e.reads.hedger.avoid(m)) {
			if spared < 0 {
				spared = p.spared(v)
			}
			if spared >= p.r.at.geo.Data {
				m = nil
			}
		}
		if m == nil {
			p.mend = true
			continue
		}
		lo, hi := p.wanted(i)
		err := p.launch(&p.want[i], i, m, lo, hi)
		if errors.Is(err, errTight) && i > p.a {
			p.cut(i - 1)
			break
		}
		if err != nil {
			return err
		}
	}
	if p.mend {
		return p.gather(v)
	}
	return nil
}

// wants reports whether the portion's first unit has to be computed.
func (p *portion) wants() bool {
	m := p.usable(p.r.e.drives.now(), p.a)
	return p.r.at.geo.Data > 1 && (m == nil || m.avoid())
}

// spared counts the fragments whose drives need not be avoided.
func (p *portion) spared(v *driveView) (n int) {
	for j := range p.r.at.frags {
		lo, hi := p.span(j)
		m := p.usable(v, j)
		if lo == hi || m != nil && m.is() != DriveSuspect && !m.tempo.slow.Load() && !m.avoid() {
			n++
		}
	}
	return n
}

// launch starts reading bytes [lo, hi) of fragment j's unit.
func (p *portion) launch(s *unitRead, j int, m *member, lo, hi int) error {
	f := &p.r.at.frags[j]
	buf, err := p.buffer(f.ReadSize(p.row, lo, hi))
	if err != nil {
		return err
	}
	m.tempo.inFlight.Add(1)
	*s = unitRead{state: readFlying, lo: lo, hi: hi, m: m, place: p.r.at.blob.Fragments[j], began: time.Now()}
	s.io = m.d.StartRead(f, p.row, lo, hi, buf)
	s.io.Notify(p.r.wake)
	return nil
}

// buffer takes a buffer, for the first of which it may wait: never while it holds
// another, or readers could wait for one another for ever.
func (p *portion) buffer(size int) (*ioring.Buffer, error) {
	var buf *ioring.Buffer
	var err error
	if p.wait && p.held == 0 {
		buf, err = p.r.arena.Get(p.r.ctx, size)
	} else if buf, err = p.r.arena.TryGet(size); errors.Is(err, ioring.ErrExhausted) {
		err = errTight
	}
	if err != nil {
		return nil, driveError(err)
	}
	p.held++
	return buf, nil
}

// tightMost is how long a reader waits for what it has asked for when there is no
// memory to ask others.
const tightMost = 3 * hedgeOld / 2

// settle waits until all that is wanted is there.
func (p *portion) settle() error {
	p.wait = true // from now on it is the reader's only portion
	begun := time.Now()
	for {
		p.collect()
		if p.complete() {
			break
		}
		if p.mend {
			if err := p.compute(); err != nil {
				return err
			} else if p.complete() {
				break
			}
			err := p.gather(p.r.e.drives.now())
			if errors.Is(err, errTight) && p.aloft() && time.Since(begun) < tightMost {
				err = nil // it is tried again
			}
			if err != nil {
				return err
			}
			if !p.aloft() {
				if err := p.revive(); err != nil {
					return err
				}
				continue
			}
		}
		if err := p.pause(); err != nil {
			return err
		}
	}
	for j := range p.src {
		p.release(&p.src[j])
	}
	return nil
}

// shares calls fn for every read, with the number of its fragment.
func (p *portion) shares(fn func(s *unitRead, j int)) {
	for i := p.a; i <= p.b; i++ {
		fn(&p.want[i], i)
	}
	for j := range p.src {
		fn(&p.src[j], j)
	}
}

// release gives back what s, a read of p, has.
func (p *portion) release(s *unitRead) {
	switch s.state {
	case readIdle:
		return
	case readFlying:
		if s.late {
			p.r.e.straggle(s.m, s.io)
		} else {
			s.m.tempo.inFlight.Add(-1)
			s.io.Release()
		}
	case readGood:
		s.buf.Release()
	}
	p.held--
	*s = unitRead{}
}

// drop gives back everything.
func (p *portion) drop() {
	p.shares(func(s *unitRead, _ int) { p.release(s) })
}

// aloft reports whether a read is under way.
func (p *portion) aloft() (any bool) {
	p.shares(func(s *unitRead, _ int) { any = any || s.state == readFlying })
	return any
}

// collect takes in what has been answered.
func (p *portion) collect() {
	p.shares(func(s *unitRead, j int) {
		if s.state != readFlying || !s.io.Poll(0) {
			return
		}
		data, err := s.io.Wait()
		s.m.tempo.inFlight.Add(-1)
		if err == nil {
			s.state, s.late, s.data, s.buf = readGood, false, data, s.io.Take()
			s.io.Release()
			s.io = nil
			return
		}
		s.io.Release()
		p.held--
		gone := *s
		*s = unitRead{}
		p.lose(j, &gone, err)
	})
}

// lose gives fragment j up, which s did not get because of cause, unless it has moved
// away from where s read. Only one that is known not to have moved counts as bad.
func (p *portion) lose(j int, s *unitRead, cause error) {
	p.mend = true
	moved, err := p.r.at.moved(j, &s.place)
	if err == nil && moved && p.moves < movesMost {
		p.moves++
		return
	}
	p.lost |= 1 << j
	if p.err == nil {
		p.err = cause
	}
	corrupt := errors.Is(cause, drive.ErrCorrupt)
	if corrupt {
		p.bad |= 1 << j
	}
	if errors.Is(cause, drive.ErrTimeout) {
		p.hung |= 1 << j
	}
	// What a drive in service refuses to read is as good as corrupt.
	refused := s.m.readable() && !errors.Is(cause, drive.ErrTimeout) && !errors.Is(cause, drive.ErrFailed) && !errors.Is(cause, ioring.ErrClosed)
	if (corrupt || refused) && err == nil && !moved && p.r.at.geo.Parity > 0 {
		p.r.e.suspectFragment(p.r.at.slot, p.r.at.blob.ID, j)
	}
}

// revive is called when too few fragments can be read and nothing is under way. It
// returns nil when there is more to be tried: places that fragments have moved to, and
// once, drives that were taken out of service, and those that refused again.
func (p *portion) revive() error {
	if p.moves < movesMost {
		old := p.r.at.blob.Fragments
		if err := p.r.at.again(); err != nil {
			return err
		}
		moved := false
		for j := range old {
			if !samePlace(&old[j], &p.r.at.blob.Fragments[j]) {
				p.lost, p.bad, moved = p.lost&^(1<<j), p.bad&^(1<<j), true
			}
		}
		if moved {
			p.moves++
			return nil
		}
	}
	if !p.last {
		lost, bad := p.lost, p.bad
		p.last, p.lost, p.bad = true, p.hung, 0
		if j, _ := p.pick(p.r.e.drives.now()); j >= 0 {
			return nil
		}
		p.lost, p.bad = lost, bad
	}
	return p.failure()
}

// failure tells why the portion cannot be had: Unavailable when it can again once
// drives are back.
func (p *portion) failure() error {
	g := &p.r.at.geo
	v := p.r.e.drives.now()
	kind, there, gone := Corrupt, 0, 0
	for j := range p.r.at.frags {
		f := &p.r.at.blob.Fragments[j]
		lo, hi := p.span(j)
		switch {
		case lo < hi && (len(f.Extents) == 0 || p.bad>>j&1 != 0):
			gone++
		case lo == hi || p.lost>>j&1 == 0 && v.drive(f.Drive) != nil:
			there++
		}
	}
	if g.Fragments()-gone >= g.Data {
		kind = Unavailable
	}
	err := fmt.Errorf("%w: blob %s, row %d: %d of %d, %d are needed", errTooFew, p.r.at.blob.ID, p.row, there, g.Fragments(), g.Data)
	if p.err != nil {
		err = fmt.Errorf("%w: %w", err, p.err)
	}
	return fail(kind, err)
}

// pause waits for an answer, or until a read is late.
func (p *portion) pause() error {
	const tick = 50 * time.Millisecond // so that a client that goes away is noticed
	now := time.Now()
	until := now.Add(tick)
	var first *unitRead
	several, hedged := false, false
	p.shares(func(s *unitRead, _ int) {
		if s.state != readFlying || hedged {
			return
		}
		if first == nil {
			first = s
		} else {
			several = true
		}
		if s.late {
			return
		}
		at := s.began.Add(s.m.tempo.late())
		if s.again.After(at) {
			at = s.again
		}
		if !at.After(now) {
			if hedged = p.hedge(s, now); hedged {
				return
			}
			at = now.Add(hedgeLeast)
			s.again = at
		}
		if at.Before(until) {
			until = at
		}
	})
	switch {
	case hedged:
	case !several || !p.mend:
		// All are needed, so one is as good to wait for as another, and to wait for
		// one costs less than to be woken by each.
		first.io.Poll(until.Sub(now))
	default:
		timer := time.NewTimer(until.Sub(now))
		defer timer.Stop()
		select {
		case <-p.r.wake:
		case <-timer.C:
		case <-p.r.ctx.Done():
		}
	}
	if err := p.r.ctx.Err(); err != nil {
		return driveError(err)
	}
	return nil
}

// hedge decides whether others are to be asked because of s.
func (p *portion) hedge(s *unitRead, now time.Time) bool {
	n := p.lacking(s)
	if p.choices(p.r.e.drives.now()) < n || !p.r.e.reads.hedger.allow(&s.m.tempo, now.Sub(s.began), s.m.d.InFlightSince(), n) {
		return false
	}
	s.late, p.mend = true, true
	return true
}
