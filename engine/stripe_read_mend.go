package engine

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
)

// complete reports whether all that is wanted is there, and has it in want then.
func (p *portion) complete() bool {
	for i := p.a; i <= p.b; i++ {
		if p.want[i].state != readGood && p.read(i) == nil {
			return false
		}
	}
	for i := p.a; i <= p.b; i++ {
		w := &p.want[i]
		if s := p.read(i); w.state != readGood {
			p.release(w)
			*w, *s = *s, unitRead{}
		}
		lo, hi := p.wanted(i)
		w.data, w.lo, w.hi = w.data[lo-w.lo:hi-w.lo], lo, hi
	}
	return true
}

// read returns the read of src that holds data unit i, or nil.
func (p *portion) read(i int) *unitRead {
	for j := range p.src {
		if s := &p.src[j]; s.state == readGood && (j == i || p.r.at.geo.Data == 1) {
			return s
		}
	}
	return nil
}

// source returns the read that reads, or has read, fragment j's span; or nil.
func (p *portion) source(j int) *unitRead {
	if p.src != nil && p.src[j].state != readIdle {
		return &p.src[j]
	}
	if p.a <= j && j <= p.b {
		if w := &p.want[j]; w.state != readIdle && p.covers(w, j) {
			return w
		}
	}
	return nil
}

// lacking returns how many fragments are to be asked beyond those that are there or
// may be expected; but is not expected any more.
func (p *portion) lacking(but *unitRead) int {
	n := p.r.at.geo.Data
	for j := range p.r.at.frags {
		if lo, hi := p.span(j); lo == hi {
			n--
		} else if s := p.source(j); s != nil && s != but && !s.late {
			n--
		}
	}
	return max(0, n)
}

// askable reports whether nobody has asked fragment j yet.
func (p *portion) askable(j int) bool {
	if lo, hi := p.span(j); lo == hi || p.passed>>j&1 != 0 || p.source(j) != nil {
		return false
	}
	return j < p.a || j > p.b || p.want[j].state != readFlying
}

// choices counts the fragments that could be asked.
func (p *portion) choices(v *driveView) (n int) {
	for j := range p.r.at.frags {
		if p.askable(j) && p.usable(v, j) != nil {
			n++
		}
	}
	return n
}

// pick chooses a fragment to ask: where nothing speaks against the drive, then where
// least is under way, then in turn. -1: there is none.
func (p *portion) pick(v *driveView) (best int, m *member) {
	n := len(p.r.at.frags)
	first := int(p.r.e.reads.hedger.turn.Add(1) % uint32(n)) // #nosec G115: below 20
	least := int64(0)
	best = -1
	for x := range n {
		j := (first + x) % n
		c := p.usable(v, j)
		if c == nil || !p.askable(j) {
			continue
		}
		rank := int64(c.tempo.inFlight.Load())
		switch {
		case !c.readable():
			rank += 3 << 32
		case c.avoid():
			rank += 2 << 32
		case c.is() == DriveSuspect || c.tempo.slow.Load():
			rank += 1 << 32
		}
		if best < 0 || rank < least {
			best, m, least = j, c, rank
		}
	}
	return best, m
}

// gather asks as many fragments as it takes, if there are any left to ask. It is
// errTight when there is no buffer.
func (p *portion) gather(v *driveView) error {
	if p.src == nil {
		p.src = make([]unitRead, p.r.at.geo.Fragments())
	}
	for n := p.lacking(nil); n > 0; n-- {
		j, m := p.pick(v)
		if j < 0 {
			return nil
		}
		lo, hi := p.span(j)
		if err := p.launch(&p.src[j], j, m, lo, hi); err != nil {
			return err
		}
	}
	return nil
}

// codeRow is the units of a row, as package erasure takes them.
type codeRow struct {
	units      [layout.MaxData + layout.MaxParity][]byte
	have, want [layout.MaxData + layout.MaxParity]bool
}

// reconstruct computes what is wanted.
func (p *portion) reconstruct(u *codeRow) error {
	n := len(p.r.at.frags)
	if err := p.r.code.Reconstruct(u.units[:n], u.have[:n], u.want[:n]); err != nil {
		return fail(KindInternal, fmt.Errorf("blob %s, row %d: %w", p.r.at.blob.ID, p.row, err))
	}
	p.r.e.reads.computed.Add(1)
	return nil
}

// compute makes the wanted units that are not there, if enough others are.
func (p *portion) compute() error {
	var u codeRow
	had := 0
	for j := range p.r.at.frags {
		lo, hi := p.span(j)
		s := p.source(j)
		if u.have[j] = lo == hi || s != nil && s.state == readGood; !u.have[j] {
			continue
		}
		if had++; lo < hi {
			u.units[j] = s.data[lo-s.lo : hi-s.lo]
		}
	}
	if had < p.r.at.geo.Data {
		return nil
	}
	var made [layout.MaxData]unitRead
	var err error
	for i := p.a; i <= p.b && err == nil; i++ {
		if p.want[i].state == readGood || u.have[i] {
			continue
		}
		s := unitRead{state: readGood}
		s.lo, s.hi = p.span(i)
		if s.buf, err = p.buffer(s.hi - s.lo); err == nil {
			s.data = s.buf.Bytes()[:s.hi-s.lo]
			u.units[i], u.want[i], made[i] = s.data, true, s
		}
	}
	if err == nil {
		err = p.reconstruct(&u)
	}
	for i := range made {
		switch s := &made[i]; {
		case s.state == readIdle:
		case err != nil:
			p.release(s)
		default:
			p.release(&p.want[i])
			p.want[i] = *s
		}
	}
	return err
}

const (
	// leanMost is how many portions are computed at a time without room in the arena.
	leanMost = 8
	// leanStep is how much of a unit is: as much as a small buffer holds.
	leanStep = 2 * layout.UnitStep
)

// leanMemory is the spans of as many fragments as a unit is computed from.
type leanMemory [layout.MaxData][]byte

// span returns leanStep bytes for fragment n.
func (m *leanMemory) span(n int) []byte {
	if m[n] == nil {
		m[n] = make([]byte, leanStep)
	}
	return m[n]
}

// lean makes do with what of the portion lies in its first leanStep bytes, and with
// one small buffer, for which it waits: fragments are asked one after the other, and
// what they hold is kept elsewhere meanwhile. Nothing is held at the beginning. Who
// has lean memory waits for buffers only, and who has a buffer does not wait for it.
func (p *portion) lean() (err error) {
	p.cut(p.a)
	p.hi = min(p.hi, (p.lo/leanStep+1)*leanStep)
	p.mend, p.wait, p.passed = true, true, 0
	g := &p.r.at.geo
	if p.src == nil {
		p.src = make([]unitRead, g.Fragments())
	}
	var u codeRow
	var mem *leanMemory
	defer func() {
		if p.passed = 0; mem != nil {
			p.r.e.reads.lean <- mem
		}
	}()
	had, taken, patient := 0, uint32(0), false
	for j := range g.Fragments() {
		if lo, hi := p.span(j); lo == hi {
			u.have[j] = true
			had++
		}
	}
	for had < g.Data {
		v := p.r.e.drives.now()
		j, m := p.a, p.usable(v, p.a)
		if g.Data == 1 || m == nil || !p.askable(j) || m.avoid() {
			j, m = p.pick(v)
		}
		switch {
		case j < 0 && !patient:
			patient, p.passed = true, taken
			continue
		case j < 0:
			if err := p.revive(); err != nil {
				return err
			}
			continue
		case mem == nil && g.Data > 1 && j != p.a:
			if mem, err = p.r.e.reads.memory(p.r.ctx); err != nil {
				return err
			}
		}
		p.passed |= 1 << j
		if err := p.ask(j, m, patient); err != nil {
			return err
		}
		if p.complete() {
			return nil
		}
		if s := &p.src[j]; s.state == readGood {
			kept := mem.span(had)
			u.units[j] = kept[:copy(kept, s.data)]
			u.have[j], taken = true, taken|1<<j
			had++
			p.release(s)
		} else if p.lost>>j&1 == 0 && !p.slow {
			p.passed &^= 1 << j // it has moved
		}
	}
	return p.leanCompute(&u)
}

// leanCompute makes the wanted unit's span of what lean has gathered.
func (p *portion) leanCompute(u *codeRow) (err error) {
	s := unitRead{state: readGood}
	s.lo, s.hi = p.span(p.a)
	if s.buf, err = p.buffer(s.hi - s.lo); err != nil {
		return err
	}
	s.data = s.buf.Bytes()[:s.hi-s.lo]
	u.units[p.a], u.want[p.a] = s.data, true
	if err := p.reconstruct(u); err != nil {
		p.release(&s)
		return err
	}
	p.want[p.a] = s
	return nil
}

// ask reads fragment j's span into src and waits for it: unless it is to be patient,
// only until it is late.
func (p *portion) ask(j int, m *member, patient bool) error {
	lo, hi := p.span(j)
	s := &p.src[j]
	p.slow = false
	if err := p.launch(s, j, m, lo, hi); err != nil {
		return err
	}
	late := time.NewTimer(m.tempo.late())
	defer late.Stop()
	due := late.C
	if patient {
		due = nil
	}
	for {
		if p.collect(); s.state != readFlying {
			return nil
		}
		select {
		case <-p.r.wake:
		case <-due:
			if p.collect(); s.state != readFlying {
				return nil
			}
			p.slow, s.late = true, true
			p.release(s)
			return nil
		case <-p.r.ctx.Done():
			return driveError(p.r.ctx.Err())
		}
	}
}
