package engine

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
)

// Choices of Config.Parity, PutRequest.Parity and PutPartRequest.Parity. A positive
// number is that of the parity fragments, at most layout.MaxParity.
const (
	ParityDefault = 0  // of a request: the engine's; of the engine: AutoParity
	ParityNone    = -1 // no redundancy
)

// AutoParity returns the parity that a cluster of so many drives has unless it is
// told otherwise: as many drives may fail at a time. 1 drive: 0; 2 (a mirror) and 3
// (2+1): 1; from 4 on: 2.
func AutoParity(drives int) int {
	switch {
	case drives <= 1:
		return 0
	case drives <= 3:
		return 1
	}
	return 2
}

// DriveState says what the engine does with a drive.
type DriveState int32

// States of a drive.
const (
	// DriveActive is read and written.
	DriveActive DriveState = iota
	// DriveSuspect had errors or was slow lately: it is read and written where
	// others do not suffice.
	DriveSuspect
	// DriveReadOnly takes no writes any more (a sync failed, say), but is read.
	DriveReadOnly
	// DriveFailed was taken out of service and is neither read nor written.
	DriveFailed
	// DriveAbsent belongs to the cluster and is not there.
	DriveAbsent
	// DriveDraining is read, and its fragments are moved to other drives.
	DriveDraining
	// DriveAttaching is on its way into service: which of its space is in use is
	// being found out. It is neither read nor written yet.
	DriveAttaching
)

var driveStates = [...]string{"active", "suspect", "read-only", "failed", "absent", "draining", "attaching"}

// String returns the state's name as administrators see it.
func (s DriveState) String() string { return driveStates[s] }

// out reports whether the drive gives no data.
func (s DriveState) out() bool {
	return s == DriveFailed || s == DriveAbsent || s == DriveAttaching
}

// member is a drive of the cluster.
type member struct {
	id     layout.DriveID
	d      *drive.Drive // nil: absent
	state  atomic.Int32 // DriveState
	cause  atomic.Pointer[error]
	since  atomic.Int64 // when the state began, ns since the Unix epoch
	credit atomic.Int64 // free space not yet honoured with a turn
	room   driveRoom
	gone   chan struct{} // closed when the device of a failed drive has been
	// drain is an administrator's wish, which outlasts failures and returns. It and
	// successor are stored with the driveSet's mu held; see wish.
	drain atomic.Bool
	// successor gets the fragments of a drive that was replaced; nil: any does.
	successor atomic.Pointer[layout.DriveID]
	// unfit is why the drive cannot hold what the metadata names there; found at start.
	unfit  atomic.Pointer[error]
	health watch // the monitor's
	tempo  tempo // the readers'; see hedge.go
}

// newMember makes a member of a drive that is there.
func newMember(d *drive.Drive, state DriveState, now time.Time) *member {
	m := &member{id: d.ID(), d: d, gone: make(chan struct{})}
	m.enter(state, nil, now)
	return m
}

// newAbsent makes a member of a drive that is not there.
func newAbsent(id layout.DriveID, state DriveState, now time.Time) *member {
	m := &member{id: id, gone: make(chan struct{})}
	close(m.gone)
	m.enter(state, nil, now)
	return m
}

func (m *member) is() DriveState { return DriveState(m.state.Load()) }

// enter changes the state. The driveSet's mu is held, or m is nobody else's yet.
func (m *member) enter(state DriveState, cause error, now time.Time) {
	if cause == nil {
		m.cause.Store(nil)
	} else {
		m.cause.Store(&cause)
	}
	m.since.Store(now.UnixNano())
	m.state.Store(int32(state))
}

// why returns the cause of the state, or nil.
func (m *member) why() error {
	if cause := m.cause.Load(); cause != nil {
		return *cause
	}
	return nil
}

// readable reports whether the drive may be read.
func (m *member) readable() bool { return m.d != nil && !m.is().out() }

// writable reports whether new fragments may go to the drive.
func (m *member) writable() bool {
	switch m.is() {
	case DriveActive, DriveSuspect:
		return m.d != nil && m.d.Err() == nil
	}
	return false
}

// leaving reports whether the drive is on its way out of the cluster.
func (m *member) leaving() bool { return m.drain.Load() || m.successor.Load() != nil }

// driveView is the drives of one moment. It does not change; members' states do.
type driveView struct {
	all  []*member
	byID map[layout.DriveID]*member
}

// drive returns the drive by id if it may be read, else nil.
func (v *driveView) drive(id layout.DriveID) *drive.Drive {
	if m := v.byID[id]; m != nil && m.readable() {
		return m.d
	}
	return nil
}

// driveSet is the cluster's drives. A member that changes its device is replaced by
// another member, so that who holds a view keeps what it found.
type driveSet struct {
	mu   sync.Mutex // serializes changes
	view atomic.Pointer[driveView]
	left []*member // forgotten, with a device that is not closed yet; guarded by mu
}

// newDriveSet makes members of the drives, all active, and of those that are
// expected and not among them, absent.
func newDriveSet(drives []*drive.Drive, expected []layout.DriveID, now time.Time) (*driveSet, error) {
	s := &driveSet{}
	s.view.Store(&driveView{})
	for _, d := range drives {
		if s.now().byID[d.ID()] != nil {
			return nil, fmt.Errorf("drive %s is given twice", d.ID())
		}
		s.put(newMember(d, DriveActive, now), now)
	}
	for _, id := range expected {
		if s.now().byID[id] == nil {
			s.put(newAbsent(id, DriveAbsent, now), now)
		}
	}
	if len(s.now().all) == 0 {
		return nil, errNoDrives
	}
	return s, nil
}

func (s *driveSet) now() *driveView { return s.view.Load() }

// put adds m, or has it take the place of the member of the same id, whose wishes it
// inherits: they may have been uttered while m was being made.
func (s *driveSet) put(m *member, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.now()
	all := slices.Clone(old.all)
	if at := slices.IndexFunc(all, func(o *member) bool { return o.id == m.id }); at >= 0 {
		m.drain.Store(all[at].drain.Load())
		m.successor.Store(all[at].successor.Load())
		m.follow(now)
		all[at] = m
	} else {
		all = append(all, m)
	}
	s.publish(all)
}

// remove takes a member out of the set.
func (s *driveSet) remove(id layout.DriveID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.publish(slices.DeleteFunc(slices.Clone(s.now().all), func(o *member) bool { return o.id == id }))
}

// wish has fn note on the drive's member what is to become of it, and brings that into
// the state that follows. nil: there is no such drive.
func (s *driveSet) wish(id layout.DriveID, now time.Time, fn func(m *member)) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.now().byID[id]
	if m != nil {
		fn(m)
		m.follow(now)
	}
	return m
}

// follow has the state follow the wishes. The driveSet's mu is held.
func (m *member) follow(now time.Time) {
	switch is := m.is(); {
	case m.leaving() && (is == DriveActive || is == DriveSuspect):
		m.enter(DriveDraining, nil, now)
	case !m.leaving() && is == DriveDraining:
		m.enter(DriveActive, nil, now)
	}
}

// leave remembers a forgotten member until its device is closed.
func (s *driveSet) leave(m *member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = append(slices.DeleteFunc(s.left, (*member).detached), m)
}

// open returns the forgotten members whose device is not closed yet.
func (s *driveSet) open() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left = slices.DeleteFunc(s.left, (*member).detached)
	return slices.Clone(s.left)
}

// publish makes all the members. s.mu is held.
func (s *driveSet) publish(all []*member) {
	v := &driveView{all: all, byID: make(map[layout.DriveID]*member, len(all))}
	for _, m := range all {
		v.byID[m.id] = m
	}
	s.view.Store(v)
}

// change brings m from one of the states from into another and reports whether it
// did: not when m was in none of them, or is no member any more.
func (s *driveSet) change(m *member, to DriveState, cause error, now time.Time, from ...DriveState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now().byID[m.id] != m || !slices.Contains(from, m.is()) {
		return false
	}
	m.enter(to, cause, now)
	return true
}

// staying returns the number of members that are not on their way out.
func (s *driveSet) staying() (n int) {
	for _, m := range s.now().all {
		if !m.leaving() {
			n++
		}
	}
	return n
}

// SetParity changes Config.Parity for what is written from now on.
func (e *Engine) SetParity(parity int) {
	e.parity.Store(int32(min(max(parity, ParityNone), layout.MaxParity)))
}

// clusterParity returns the parity that the engine has at present, 0 or more.
func (e *Engine) clusterParity() int {
	switch p := int(e.parity.Load()); p {
	case ParityNone:
		return 0
	case ParityDefault:
		return AutoParity(e.drives.staying())
	default:
		return p
	}
}

// Protection returns the parity that is in force, 0 or more, and the number of
// drives it is for: those of the cluster that are not on their way out.
func (e *Engine) Protection() (parity, drives int) {
	return e.clusterParity(), e.drives.staying()
}
