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
)

// Options of Open.
type Options struct {
	Cluster [16]byte // zero at first start: then taken from the drive, or made
	Arena   *ioring.Arena
	Reserve int64 // bytes of a directory drive's file system left to metadata
	Limit   int64 // most bytes the drive may use; 0: no limit but the device's
	Logger  *slog.Logger
}

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

	superMu sync.Mutex // held while the superblock is rewritten
	super   superblock // under superMu

	mu     sync.Mutex // guards what follows; never held during I/O
	space  bitmap
	growth *growth // in flight, or nil
	ahead  int64   // grow when fewer bytes than these are free
	closed bool

	growers   sync.WaitGroup
	stop      chan struct{} // closed by Close
	transfers sync.Pool
	failure   atomic.Pointer[error]
	end       atomic.Int64 // end of the data area; it only rises

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

// Err returns the error that took the drive out of service, or nil. It wraps
// ErrFailed and the cause.
func (d *Drive) Err() error {
	if p := d.failure.Load(); p != nil {
		return *p
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

// Close closes the device. No other method may be running.
func (d *Drive) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.stop)
	d.mu.Unlock()
	d.growers.Wait()
	return d.dev.Close()
}
