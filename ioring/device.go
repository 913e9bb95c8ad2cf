package ioring

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Errors that devices return; test with errors.Is.
var (
	// ErrClosed: the device was closed before the operation could run.
	ErrClosed = errors.New("ioring: device closed")
	// ErrNoSpace: the file system or block device cannot hold more bytes.
	ErrNoSpace = errors.New("ioring: no space left on drive")
	// ErrFailed: an earlier sync failed; the device takes no more writes.
	ErrFailed = errors.New("ioring: device failed")
	// ErrExhausted: the arena's bound is reached and the caller would not wait.
	ErrExhausted = errors.New("ioring: buffer arena exhausted")
	// ErrInvalid: the operation is malformed or not aligned; nothing was done.
	ErrInvalid = errors.New("ioring: invalid operation")
	// ErrInUse: another process, or another Device of this one, has the drive.
	ErrInUse = errors.New("ioring: drive is in use")
	// ErrHung: Close gave up waiting for operations that the drive does not answer.
	ErrHung = errors.New("ioring: the drive does not answer")
)

// Code is what an Op asks of a device.
type Code uint8

const (
	// OpRead fills Buf[Lo:Hi] from the device at Off.
	OpRead Code = iota + 1
	// OpWrite stores Buf[Lo:Hi] at Off. It is durable only after a later OpSync.
	OpWrite
	// OpSync makes every write that completed before its submission durable.
	// Concurrent syncs are merged into one fdatasync.
	OpSync
)

// Op is one asynchronous operation. The submitter fills the exported fields,
// calls Device.Submit, then Wait exactly once; the Op may then be reused.
// Off, Lo and Hi must be multiples of Device.Align.
type Op struct {
	Code   Code
	Buf    *Buffer // nil for OpSync
	Lo, Hi int     // byte range of Buf to transfer
	Off    int64   // device byte offset
	Owner  Owner   // if not nil, takes the outcome in place of Wait

	done chan error // capacity 1, made by Submit on first use
}

// Owner is told of the outcome of its operations.
type Owner interface {
	// OpDone takes the outcome of op, which is the owner's again from then on. It
	// runs on the device's goroutine, or within Submit, and must not block.
	OpDone(op *Op, err error)
}

// Wait blocks until the operation is complete and returns its error. It is not
// cancellable: the buffer belongs to the kernel until then.
func (op *Op) Wait() error { return <-op.done }

// Complete delivers err to Wait, or to the owner. Only Device implementations
// call it. It panics when an earlier outcome was never waited for, for the
// submitter then broke the contract and a blocked worker loop would be the
// alternative.
func (op *Op) Complete(err error) {
	if op.Owner != nil {
		op.Owner.OpDone(op, err)
		return
	}
	select {
	case op.done <- err:
	default:
		panic("ioring: operation completed twice, or submitted again before Wait")
	}
}

// Prepare readies op for submission. Only Device implementations call it.
func (op *Op) Prepare() {
	if op.done == nil && op.Owner == nil {
		op.done = make(chan error, 1)
	}
}

// Len returns the bytes that op transfers.
func (op *Op) Len() int { return op.Hi - op.Lo }

// Check tells whether a device of the given alignment and size, in bytes, can
// take op. Misuse gives ErrInvalid. A transfer that goes beyond the end gives
// io.ErrUnexpectedEOF for a read, io.ErrShortWrite for a write. Device
// implementations call it before anything else.
func (op *Op) Check(align int, size int64) error {
	switch op.Code {
	case OpSync:
		if op.Buf != nil {
			return fmt.Errorf("%w: sync with a buffer", ErrInvalid)
		}
		return nil
	case OpRead, OpWrite:
	default:
		return fmt.Errorf("%w: code %d", ErrInvalid, op.Code)
	}
	if op.Buf == nil || op.Lo < 0 || op.Lo >= op.Hi || op.Hi > len(op.Buf.mem) || op.Off < 0 {
		return fmt.Errorf("%w: bytes [%d,%d) of the buffer at offset %d", ErrInvalid, op.Lo, op.Hi, op.Off)
	}
	if mask := int64(align - 1); (int64(op.Lo)|int64(op.Hi)|op.Off)&mask != 0 {
		return fmt.Errorf("%w: bytes [%d,%d) at offset %d are not aligned to %d",
			ErrInvalid, op.Lo, op.Hi, op.Off, align)
	}
	if int64(op.Len()) > size || op.Off > size-int64(op.Len()) {
		return fmt.Errorf("%w: %d bytes at offset %d of a device of %d bytes",
			op.short(), op.Len(), op.Off, size)
	}
	return nil
}

// short is the error of a transfer that cannot be made whole.
func (op *Op) short() error {
	if op.Code == OpRead {
		return io.ErrUnexpectedEOF
	}
	return io.ErrShortWrite
}

// Device is one drive's byte space.
type Device interface {
	// Submit queues ops, all of them in order of the slice, and returns once
	// they are queued. It blocks while the queue is full. The outcome of every
	// op, refusals included, comes from its Wait. Ops are not ordered among
	// one another: wait for a write before submitting the sync that covers it.
	Submit(ops ...*Op)
	// Abort gives the device up: submits that wait for room, and all later ones
	// and calls of Grow, fail at once with err. Operations in flight are
	// unaffected: a drive that hangs keeps their buffers. Only the first call
	// counts.
	Abort(err error)
	// Depth is the number of operations that Submit takes without blocking.
	Depth() int
	// Align is the alignment, in bytes, of offsets, lengths and memory: a power
	// of two between 512 and 65,536, from STATX_DIOALIGN where known.
	Align() int
	// Size is the number of addressable bytes now.
	Size() int64
	// Grow makes at least size bytes addressable and durable as such, with
	// their space allocated. It returns ErrNoSpace when that cannot be had.
	Grow(ctx context.Context, size int64) error
	// Limit is the size in bytes that Grow could reach at this moment.
	Limit() (int64, error)
	// Stats returns counters since the device was opened.
	Stats() Stats
	// Close waits for operations in flight and releases the device. Of a device
	// that was aborted it waits a second at most, then returns ErrHung: the device
	// is released once the last operation is answered, if ever.
	Close() error
}

// Stats counts a device's work since it was opened.
type Stats struct {
	Backend              string // "io_uring", "polled", "pread" or "fault"
	Direct               bool   // O_DIRECT is in force
	Registered           bool   // the arena is registered with the ring
	Reads, Writes, Syncs uint64 // operations completed
	Flushes              uint64 // fdatasync calls begun: merged syncs share one
	ReadBytes            uint64
	WriteBytes           uint64
	Errors               uint64
	Enters               uint64 // io_uring_enter calls
	InFlight             int64
}
