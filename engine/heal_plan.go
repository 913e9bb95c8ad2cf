package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
)

// Why a fragment that lacks a place does not get one.
var (
	errNoPlace   = errors.New("no drive that holds no other fragment of the blob has room")
	errSuccessor = errors.New("the drive that is to take its fragments is not in service")
)

// lack is a fragment that is to be made anew, or moved.
type lack struct {
	number  int
	from    layout.Fragment
	reason  reason
	source  *member        // holds the fragment, to be copied; nil: it must be computed
	prefer  layout.DriveID // zero: any drive
	only    bool           // prefer, or none
	balance *member        // of reasonBalance: nothing fuller than this one
}

// reason says why a fragment is to be made anew or moved.
type reason uint8

const (
	reasonNone    reason = iota
	reasonMissing        // it has no place
	reasonBad            // it does not verify
	reasonOut            // its drive is out of service
	reasonLeave          // its drive is on its way out, or takes no writes
	reasonBalance        // its drive is fuller than others
)

// moves reports whether the fragment is there, but should be elsewhere.
func (r reason) moves() bool { return r == reasonLeave || r == reasonBalance }

// scene is what decisions about fragments are based on.
type scene struct {
	view     *driveView
	now      time.Time
	opened   time.Time // drives that are no members have been out since
	protect  time.Duration
	parity   int             // that blobs should have
	evacuate bool            // drives that take no writes are evacuated
	fills    map[*member]int // used space in per mille
	balance  bool
	mean     int // of fills
}

func (h *healer) scene() *scene {
	e := h.e
	s := &scene{
		view: e.drives.now(), now: e.now(), opened: h.opened,
		protect: e.cfg.Timing.ProtectAfter, evacuate: e.clusterParity() > 0,
		parity: max(0, min(e.clusterParity(), e.drives.staying()-1)),
		fills:  make(map[*member]int), balance: h.balance.Load(),
	}
	for _, m := range s.view.all {
		if m.writable() {
			s.fills[m] = h.fill(m)
			s.mean += s.fills[m]
		}
	}
	if len(s.fills) > 0 {
		s.mean /= len(s.fills)
	}
	return s
}

// fill returns how much of a drive is in use, in per mille.
func (h *healer) fill(m *member) int {
	total, used, _ := m.d.Usage()
	used -= h.left.on(m.d)
	return int(max(0, used) * 1000 / max(1, total))
}

// since returns from when on the drive has been in its state.
func (s *scene) since(m *member) time.Time {
	if m == nil {
		return s.opened
	}
	return time.Unix(0, m.since.Load())
}

// reason tells whether a fragment must be made anew or moved. bad: it does not
// verify.
func (s *scene) reason(f *layout.Fragment, bad bool) reason {
	if len(f.Extents) == 0 {
		return reasonMissing
	}
	m := s.view.byID[f.Drive]
	if m == nil || m.is().out() {
		if m != nil && m.leaving() || s.now.Sub(s.since(m)) >= s.protect {
			return reasonOut
		}
		return reasonNone
	}
	switch {
	case bad:
		return reasonBad
	case m.leaving(), m.is() == DriveReadOnly && s.evacuate:
		return reasonLeave
	case s.balance && m.writable() && s.fills[m] > s.mean+balanceSlack:
		return reasonBalance
	}
	return reasonNone
}

// balanceSlack is how much fuller, in per mille, than the mean a drive may be, and
// balanceStep how much emptier the drive that takes its fragments must be.
const (
	balanceSlack = 10
	balanceStep  = 20
)

// lacks returns the fragments of a blob that must be made anew or moved.
func (s *scene) lacks(b *layout.Blob, bad uint32) (list []lack) {
	g := b.Geometry()
	for i := range b.Fragments {
		f := &b.Fragments[i]
		if g.FragmentSize(i) == 0 {
			continue
		}
		l := lack{number: i, from: *f, reason: s.reason(f, bad&(1<<i) != 0)}
		m := s.view.byID[f.Drive]
		switch l.reason {
		case reasonNone:
			continue
		case reasonBad:
			l.prefer = f.Drive
		case reasonBalance:
			l.source, l.balance = m, m
		case reasonLeave:
			l.source = m
			if bad&(1<<i) != 0 {
				l.source = nil
			}
		}
		if m != nil {
			if to := m.successor.Load(); to != nil && l.reason != reasonMissing {
				l.prefer = *to
				l.only = s.now.Sub(s.since(s.view.byID[*to])) < s.protect
			}
		}
		list = append(list, l)
	}
	return list
}

// taken returns the drives that hold a fragment of b.
func (s *scene) taken(b *layout.Blob) map[layout.DriveID]int {
	held := make(map[layout.DriveID]int, len(b.Fragments))
	for i := range b.Fragments {
		if f := &b.Fragments[i]; len(f.Extents) > 0 {
			held[f.Drive] = i
		}
	}
	return held
}

// candidates returns the drives that may take a fragment, the best first. held are
// the drives that hold a fragment of the blob, by number. The error tells why there
// are none.
func (s *scene) candidates(l *lack, held map[layout.DriveID]int) ([]*member, error) {
	free := func(m *member) bool {
		number, holds := held[m.id]
		if holds && (number != l.number || l.reason != reasonBad) {
			return false
		}
		return m.writable() && (l.balance == nil || s.fills[m]+balanceStep <= s.fills[l.balance])
	}
	var list []*member
	for _, m := range s.view.all {
		if free(m) {
			list = append(list, m)
		}
	}
	// One that refused a write lately, for want of space perhaps, would again.
	doubtful := func(m *member) int { return boolInt(time.Since(m.refused()).Abs() < doubtFor) }
	slices.SortStableFunc(list, func(a, b *member) int {
		return cmp.Or(
			cmp.Compare(doubtful(a), doubtful(b)),
			cmp.Compare(boolInt(b.id == l.prefer), boolInt(a.id == l.prefer)),
			cmp.Compare(a.is(), b.is()), // suspect ones last
			cmp.Compare(s.fills[a], s.fills[b]),
		)
	})
	if l.only {
		if to := s.view.byID[l.prefer]; to != nil && !to.writable() {
			return nil, fmt.Errorf("%w: %s", errSuccessor, l.prefer)
		}
	}
	if len(list) == 0 {
		return nil, errNoPlace
	}
	return list, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// standing sums up how a blob stands.
type standing struct {
	degraded bool // a fragment is missing, bad, or on a drive that is out of service
	lost     bool // too few fragments can be read
	stuck    bool // degraded, and there are too few drives to change that
}

// stand tells how a blob stands, whatever is done about it.
func (s *scene) stand(b *layout.Blob, bad uint32) (st standing) {
	g := b.Geometry()
	gone, free := 0, len(s.fills)
	for i := range b.Fragments {
		f := &b.Fragments[i]
		if g.FragmentSize(i) == 0 {
			continue
		}
		m := s.view.byID[f.Drive]
		here := len(f.Extents) > 0 && m != nil && m.readable()
		if !here || bad&(1<<i) != 0 {
			gone++
			continue // a bad one can be made anew on the same drive
		}
		if _, ok := s.fills[m]; ok {
			free--
		}
	}
	st.degraded = gone > 0
	st.lost = gone > g.Parity
	st.stuck = gone > free
	return st
}
