package drive

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// Errors; test with errors.Is.
var (
	ErrNoSpace = errors.New("drive: no space")               // reserve would exceed the drive
	ErrCorrupt = errors.New("drive: checksum mismatch")      // a frame is not what was written
	ErrForeign = errors.New("drive: not a Sluice drive")     // path holds something else
	ErrNewer   = errors.New("drive: format is newer")        // written by a later release
	ErrOverlap = errors.New("drive: extents overlap")        // two records claim one extent
	ErrShort   = errors.New("drive: body shorter than told") // body ended early
	ErrCluster = errors.New("drive: of another cluster")     // Options.Cluster is not the drive's
	ErrFailed  = errors.New("drive: out of service")         // an earlier sync failed; see Err
	ErrRange   = errors.New("drive: range outside fragment") // a caller's mistake: sizes, ranges, extents never reserved
	// ErrTimeout: the device did not answer within the drive's deadline. What became
	// of the operation is unknown until it does, and its buffer is the device's.
	ErrTimeout = errors.New("drive: no answer from the device")
)

// Options of Open.
type Options struct {
	Cluster [16]byte // zero at first start: then taken from the drive, or made
	Arena   *ioring.Arena
	Reserve int64 // bytes of a directory drive's file system left to metadata
	Limit   int64 // most bytes the drive may use; 0: no limit but the device's
	Logger  *slog.Logger

	// Deadline is how long anybody waits for the device to answer one operation
	// before it is given up with ErrTimeout; 0: 10 s. The wait may be an eighth
	// longer.
	Deadline time.Duration
	// Stall is how long an operation may take before it counts as a stall, plus
	// 20 ms for each operation the device had in hand before it; 0: 2 s.
	Stall      time.Duration
	Thresholds Thresholds
}

// Defaults of Options.
const (
	DefaultDeadline = 10 * time.Second
	DefaultStall    = 2 * time.Second
)

// Drive is an open drive. Its methods are safe for concurrent use.
type Drive struct {
	dev     ioring.Device
	arena   *ioring.Arena
	log     *slog.Logger
	reserve int64
	limit   int64
	id      layout.DriveID
	cluster [16]byte
	unit    int64
	depth   int64 // operations that the device takes without blocking

	deadline, stall, tick time.Duration
	thresholds            Thresholds
	opened                time.Time

	rewriteMu sync.Mutex // held while the superblock is rewritten
	superMu   sync.Mutex // guards super
	super     superblock // what is durable

	mu     sync.Mutex // guards what follows; never held during I/O
	space  bitmap
	growth *growth // in flight, or nil
	ahead  int64   // grow when fewer bytes than these are free
	closed bool

	background sync.WaitGroup // growths and probes
	stop       chan struct{}  // closed by Close
	transfers  sync.Pool
	failure    atomic.Pointer[error]
	abandoned  atomic.Pointer[error] // why; set once
	given      chan struct{}         // closed by Abandon
	frames     sync.Pool             // of *FrameIO
	timers     sync.Pool             // of *time.Timer, stopped
	flight     flight
	queued     atomic.Int64 // operations that the device has in hand
	hung       atomic.Int64 // transfers without an answer beyond the deadline
	window     window
	totals     totals
	p99Read    atomic.Int64
	p99At      atomic.Int64
	end        atomic.Int64 // end of the data area; it only rises

	corrupt, rereads, writeErrors, badFrees atomic.Uint64
	lastWriteError                          atomic.Int64 // nanoseconds since the Unix epoch; 0: none
}

// Counters counts events since the drive was opened.
type Counters struct {
	Corrupt     uint64 // frames that did not verify, even when read again
	Rereads     uint64 // frames read again because they did not verify
	WriteErrors uint64 // fragments that could not be written
	BadFrees    uint64 // calls of Free refused
}

// Counters returns the drive's counters.
func (d *Drive) Counters() Counters {
	return Counters{
		Corrupt:     d.corrupt.Load(),
		Rereads:     d.rereads.Load(),
		WriteErrors: d.writeErrors.Load(),
		BadFrees:    d.badFrees.Load(),
	}
}

// ID returns the drive's identity.
func (d *Drive) ID() layout.DriveID { return d.id }

// Cluster returns the identity of the cluster the drive was formatted for.
func (d *Drive) Cluster() [16]byte { return d.cluster }

// Arena returns the arena that the drive's buffers come from.
func (d *Drive) Arena() *ioring.Arena { return d.arena }

// Unit returns the allocation unit in bytes: extents begin and end on
// multiples of it.
func (d *Drive) Unit() int64 { return d.unit }

// Usage returns bytes: total that the drive could use, used (claimed or
// reserved), and free, which counts what the device can still grow by.
func (d *Drive) Usage() (total, used, free int64) {
	reach := d.reach()
	d.mu.Lock()
	defer d.mu.Unlock()
	units := max(d.space.units, (reach-dataStart)/d.unit)
	total = min(units, d.space.limit) * d.unit
	used = d.space.used * d.unit
	return max(total, used), used, max(0, total-used)
}

// Err returns why the drive takes no writes, or nil. It wraps ErrFailed and the
// cause. It is final, unless it is ErrTimeout: as long as an operation is without
// an answer beyond the deadline the drive takes none, and afterwards again.
func (d *Drive) Err() error {
	if p := d.failure.Load(); p != nil {
		return *p
	}
	if n := d.hung.Load(); n > 0 {
		return fmt.Errorf("%w: drive %s: %w: %d operations hang", ErrFailed, d.id, ErrTimeout, n)
	}
	return nil
}

// LastWriteError returns when the device last refused a write for a reason other
// than want of space, or the zero time. The drive stays in service: one bad
// place is no reason to give up the rest.
func (d *Drive) LastWriteError() time.Time {
	if ns := d.lastWriteError.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// fail takes the drive out of service: it can be read, but not written.
func (d *Drive) fail(cause error) error {
	err := fmt.Errorf("%w: drive %s: %w", ErrFailed, d.id, cause)
	if d.failure.CompareAndSwap(nil, &err) {
		d.log.Error("drive out of service", "drive", d.id, "err", cause)
	}
	return d.Err()
}

// Stats returns the device's counters.
func (d *Drive) Stats() ioring.Stats { return d.dev.Stats() }

// Abandon takes the drive out of service for good and makes every operation that
// waits or comes later fail with an error that wraps ErrFailed and cause, without
// waiting for the device. Buffers of operations in flight stay the device's until
// it answers. Only the first call counts.
func (d *Drive) Abandon(cause error) {
	if cause == nil {
		cause = errors.New("abandoned")
	}
	d.fail(cause)
	err := fmt.Errorf("%w: drive %s: %w", ErrFailed, d.id, cause)
	if !d.abandoned.CompareAndSwap(nil, &err) {
		return
	}
	close(d.given)
	d.dev.Abort(err)
	d.giveUpAll(err)
}

// Idle reports whether the device has answered every operation.
func (d *Drive) Idle() bool {
	d.mu.Lock()
	growing := d.growth != nil
	d.mu.Unlock()
	if growing {
		return false
	}
	f := &d.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads.first == nil && f.writes.first == nil && f.pending.first == nil
}

// closePatience is how long Close waits for the device.
func (d *Drive) closePatience() time.Duration {
	if d.abandoned.Load() != nil {
		return min(d.deadline, time.Second)
	}
	return d.deadline
}

// Close closes the device. Unless the drive was abandoned, no other method may be
// running. For a device that does not answer it waits for the deadline, or, of a
// drive that was abandoned, a second at most, then returns ioring.ErrHung: the device
// stays open, and its buffers on loan, until the last operation is answered.
func (d *Drive) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.stop)
	d.mu.Unlock()
	closed := make(chan error, 1)
	go func() {
		d.background.Wait()
		closed <- d.dev.Close()
	}()
	patience := time.NewTimer(d.closePatience())
	defer patience.Stop()
	select {
	case err := <-closed:
		return err
	case <-patience.C:
		d.dev.Abort(fmt.Errorf("%w: drive %s: closed", ErrFailed, d.id))
		return d.dev.Close()
	}
}
