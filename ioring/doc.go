// Package ioring moves aligned buffers between memory and one drive.
//
// A Device is a flat, byte-addressed, block-aligned space: a file or a block
// device. Three implementations pass one conformance suite: the io_uring ring
// (one worker loop per drive: pinned to a CPU where there is one for it, else
// waiting in Go's poller like any connection, or, if asked to, polling the drive), the bounded pread/pwrite fallback for
// kernels that refuse io_uring, and the faulty in-memory device of
// ioring/faultio. Memory comes from an Arena: mmap'd, aligned and bounded; its
// first 4 MiB are registered with the rings where the memlock limit allows it,
// the rest is mapped on demand and given back when idle.
//
// With a pinned or polling loop, a single read of a drive that has nothing else in flight is a
// pread(2) on a goroutine of its own, for there the ring's changes of thread cost more
// than batching saves.
//
// Invariants:
//
//   - A buffer belongs to the device from Submit until Wait returns, or the owner
//     is told, even when the client that asked for the transfer is gone, or the
//     device was aborted.
//   - user_data carries a slot index, never a Go pointer.
//   - Every queue is bounded; Submit blocks when the device's queue is full, and
//     Abort ends that. Up to Depth operations it does not block.
//   - A transfer is whole or failed: short reads and writes are continued, and
//     end in io.ErrUnexpectedEOF or io.ErrShortWrite where they cannot be.
//   - A failed sync is final. The device refuses every later write and sync
//     with the same error (the page cache and the drive may have dropped the
//     data; a retry that succeeds would prove nothing).
package ioring
