package engine

import (
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
}

// DriveStatus describes one drive.
type DriveStatus struct {
	ID                layout.DriveID
	Total, Used, Free int64 // bytes
	Err               error // why it is out of service, or nil
	Stats             ioring.Stats
}

// Status returns the present state. After Close it is empty.
func (e *Engine) Status() (s Status) {
	if e.gate.enter() != nil {
		return s
	}
	defer e.gate.leave()
	for _, d := range e.drives.all {
		ds := DriveStatus{ID: d.ID(), Err: d.Err(), Stats: d.Stats()}
		ds.Total, ds.Used, ds.Free = d.Usage()
		s.Drives = append(s.Drives, ds)
	}
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
