package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
)

// driveSet chooses drives. Turns go round in proportion to the free space, so
// that equal drives fill evenly and an empty one catches up.
type driveSet struct {
	all  []*drive.Drive // as configured
	byID map[layout.DriveID]*drive.Drive

	mu     sync.Mutex
	credit []int64 // by index of all: free space not yet honoured with a turn
}

func newDriveSet(drives []*drive.Drive) (*driveSet, error) {
	s := &driveSet{all: drives, byID: make(map[layout.DriveID]*drive.Drive), credit: make([]int64, len(drives))}
	for _, d := range drives {
		if s.byID[d.ID()] != nil {
			return nil, fmt.Errorf("drive %s is given twice", d.ID())
		}
		s.byID[d.ID()] = d
	}
	if len(drives) == 0 {
		return nil, errNoDrives
	}
	return s, nil
}

// doubtFor is how long a drive that refused a write is passed over while
// others are to be had. A body is read once, so a write that meets the error
// cannot go on elsewhere: its client has to come again.
const doubtFor = 30 * time.Second

// candidate is a drive in service and its free bytes.
type candidate struct {
	d       *drive.Drive
	i       int
	free    int64
	refused time.Time // when it last refused a write
}

// order returns the drives in service in the order in which a new fragment
// should try them: the one whose turn it is, then by free space, and at the end
// those that refused a write lately, the last to do so last.
func (s *driveSet) order() []candidate {
	if len(s.all) == 1 && s.all[0].Err() == nil {
		return []candidate{{d: s.all[0]}} // free space, a system call away, decides nothing
	}
	list := make([]candidate, 0, len(s.all))
	var doubtful []candidate
	var total int64
	for i, d := range s.all {
		if d.Err() != nil {
			continue
		}
		_, _, free := d.Usage()
		free = max(free, 1) // a full drive keeps its place: garbage may be about to go
		c := candidate{d, i, free, d.LastWriteError()}
		if !c.refused.IsZero() && time.Since(c.refused) < doubtFor {
			doubtful = append(doubtful, c)
			continue
		}
		list = append(list, c)
		total += free
	}
	if len(list) > 1 {
		s.turn(list, total)
	}
	slices.SortFunc(doubtful, func(a, b candidate) int { return a.refused.Compare(b.refused) })
	return append(list, doubtful...)
}

// turn puts the drive whose turn it is first and the others in order of their
// free space, of which total is the sum.
func (s *driveSet) turn(list []candidate, total int64) {
	s.mu.Lock()
	next := 0
	for k := range list {
		s.credit[list[k].i] += list[k].free
		if s.credit[list[k].i] > s.credit[list[next].i] {
			next = k
		}
	}
	s.credit[list[next].i] -= total
	s.mu.Unlock()
	list[0], list[next] = list[next], list[0]
	slices.SortFunc(list[1:], func(a, b candidate) int { return cmp.Compare(b.free, a.free) })
}

// reserve sets extents aside on the first drive that has room.
func (s *driveSet) reserve(ctx context.Context, size int64) (*drive.Drive, []layout.Extent, error) {
	err := errNoDrives
	for _, c := range s.order() {
		exts, e := c.d.Reserve(ctx, size)
		if e == nil {
			return c.d, exts, nil
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

// usage sums up the drives in service.
func (s *driveSet) usage() (free int64) {
	for _, d := range s.all {
		if d.Err() == nil {
			_, _, f := d.Usage()
			free += f
		}
	}
	return free
}

// reserve is driveSet.reserve that, when the drives are full, waits for garbage
// to be purged if that would make room: at most for the grace period.
func (e *Engine) reserve(ctx context.Context, size int64) (*drive.Drive, []layout.Extent, error) {
	d, exts, err := e.drives.reserve(ctx, size)
	if KindOf(err) != NoSpace {
		return d, exts, err
	}
	wait := e.purger.pressure(size)
	defer wait.stop()
	for wait.next(ctx) {
		d, exts, err = e.drives.reserve(ctx, size)
		if KindOf(err) != NoSpace {
			return d, exts, err
		}
	}
	return nil, nil, err
}
