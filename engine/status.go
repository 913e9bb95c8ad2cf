package engine

import (
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// maxCountedGarbage bounds the work of counting the delete queue.
const maxCountedGarbage = 10_000

// Status describes the engine for status pages.
type Status struct {
	Drives      []DriveStatus
	MetaErr     error // why the metadata store is out of service, or nil
	MetaBytes   int64
	MetaMetrics map[string]float64
	Garbage     int64 // blobs that wait to be purged; 10,000 stands for more
	Readers     int64 // readers in flight
	Purged      uint64
	Hot         HotStatus
}

// DriveStatus describes one drive.
type DriveStatus struct {
	ID                layout.DriveID
	State             DriveState
	Total, Used, Free int64     // bytes
	Err               error     // why it is out of service or takes no writes, or nil
	Cause             error     // why it is in State, or nil: of a suspect drive, too
	Since             time.Time // when the state began
	Stats             ioring.Stats
	Health            drive.Health
	Counters          drive.Counters
	// As of HealStatus.Walked: the fragments that lie on the drive, with their payload
	// bytes, and those of them that are to be made anew or moved elsewhere.
	Fragments, FragmentBytes int64
	Leaving, LeavingBytes    int64
}

// Status returns the present state. After Close it is empty.
func (e *Engine) Status() (s Status) {
	if e.gate.look() != nil {
		return s
	}
	defer e.gate.leave()
	s.Drives = e.driveStatuses()
	s.Hot = e.hot.status()
	s.Readers = e.pins.readers.Load()
	s.Purged = e.purger.purged.Load()
	if s.MetaErr = e.store.Err(); s.MetaErr != nil {
		s.MetaMetrics = e.store.Metrics()
		return s
	}
	s.MetaBytes = e.store.DiskUsage()
	s.MetaMetrics = e.store.Metrics()
	// What is due later than now plus the grace is no data: the records of
	// completed uploads are remembered for a day.
	queue, err := e.garbage(e.due(e.now()), maxCountedGarbage)
	if err != nil {
		e.log.Error("cannot read the delete queue", "err", err)
	}
	s.Garbage = int64(len(queue))
	return s
}

// Drives returns Status.Drives, for who looks often.
func (e *Engine) Drives() []DriveStatus {
	if e.gate.look() != nil {
		return nil
	}
	defer e.gate.leave()
	return e.driveStatuses()
}

func (e *Engine) driveStatuses() []DriveStatus {
	var out []DriveStatus
	for _, m := range e.drives.now().all {
		out = append(out, e.driveStatus(m))
	}
	return out
}

func (e *Engine) driveStatus(m *member) DriveStatus {
	s := DriveStatus{ID: m.id, State: m.is(), Cause: m.why(), Since: time.Unix(0, m.since.Load())}
	if s.State != DriveSuspect {
		s.Err = s.Cause
	}
	if d := m.d; d != nil {
		if s.Err == nil {
			s.Err = d.Err()
		}
		s.Stats, s.Health, s.Counters = d.Stats(), d.Health(), d.Counters()
		s.Total, s.Used, s.Free = d.Usage()
	}
	e.heal.mu.Lock()
	defer e.heal.mu.Unlock()
	if on := e.heal.survey.drives[m.id]; on != nil {
		s.Fragments, s.FragmentBytes, s.Leaving, s.LeavingBytes = on.fragments, on.bytes, on.leaving, on.leavingBytes
	}
	return s
}
