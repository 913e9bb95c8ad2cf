package ioring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Buffer geometry. A buffer holds one frame: a header block and its payload.
const (
	// SmallBuffer is the size in bytes of a small buffer: 4 KiB + 128 KiB.
	SmallBuffer = 4<<10 + 128<<10
	// MediumBuffer is the size in bytes of a medium buffer: 4 KiB + 512 KiB.
	MediumBuffer = 4<<10 + 512<<10
	// LargeBuffer is the size in bytes of a large buffer: 4 KiB + 1 MiB.
	LargeBuffer = 4<<10 + 1<<20
)

// idleAfter is how long a chunk of which nothing is on loan stays mapped: long
// enough to bridge the gaps of a steady load, short against the memory's worth.
const idleAfter = 5 * time.Second

// Buffer is page-aligned, mmap'd memory on loan from an Arena. Its contents
// are whatever an earlier borrower left.
type Buffer struct {
	mem   []byte
	arena *Arena
	index int32 // registered buffer table index of the chunk; -1: unregistered

	chunk    *chunk
	released atomic.Bool
}

// Bytes returns the whole buffer, at least as long as was asked for. After
// Release it returns nil.
func (b *Buffer) Bytes() []byte { return b.mem }

// Release returns the buffer to its arena. The caller must hold no slice of it
// and no operation on it may be in flight. A second Release panics: by then
// the memory may be another request's.
func (b *Buffer) Release() { b.arena.release(b) }

// Arena lends Buffers out of a bounded amount of memory. It is safe for
// concurrent use.
//
// Memory is mapped in chunks, each cut into buffers of one size class. Loans
// come from the oldest chunk that has room, so that a light load touches little
// memory and the later chunks fall idle, and idle chunks are unmapped. Only the
// first, fixed chunks are registered with rings: registration pins every page,
// used or not, and an idle daemon must stay small.
type Arena struct {
	max int64

	mu      sync.Mutex
	inUse   int64
	loans   int
	chunks  [classes][]*chunk // the fixed one, if any, first
	fixed   []*chunk          // the registered buffer table, by index
	mapped  bool              // fixed has been made
	waiting waitList
	timer   *time.Timer // runs trim; nil: no chunk is idle
	idle    time.Duration
	closed  bool
}

// NewArena returns an arena that lends at most maxBytes at a time, counted in
// whole buffers; maxBytes is at least LargeBuffer. It maps memory as needed and
// gives idle memory back to the operating system.
func NewArena(maxBytes int64) (*Arena, error) {
	if maxBytes < LargeBuffer {
		return nil, fmt.Errorf("ioring: arena of %d bytes cannot hold one buffer of %d", maxBytes, LargeBuffer)
	}
	return &Arena{max: maxBytes, idle: idleAfter}, nil
}

// Get lends a buffer of at least size bytes (at most LargeBuffer), waiting
// while the bound is reached; who waits longest is served first. A caller that
// already holds a buffer must use TryGet for more, or all of them could wait
// for one another for ever. Errors: ErrInvalid, ErrClosed, the context's, or
// the operating system's when it has no memory.
func (a *Arena) Get(ctx context.Context, size int) (*Buffer, error) {
	c, err := classOf(size)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	b, err := a.lend(c)
	if !errors.Is(err, ErrExhausted) {
		a.mu.Unlock()
		return b, err
	}
	w := &waiter{class: c, ready: make(chan loan, 1)}
	a.waiting.push(w)
	a.mu.Unlock()

	select {
	case l := <-w.ready:
		return l.buf, l.err
	case <-ctx.Done():
	}
	a.mu.Lock()
	a.waiting.remove(w)
	a.serve() // those behind w may want less than w did
	a.mu.Unlock()
	select {
	case l := <-w.ready: // the loan and the cancellation crossed
		if l.buf != nil {
			l.buf.Release()
		}
	default:
	}
	return nil, ctx.Err()
}

// TryGet is Get without waiting: it returns ErrExhausted instead, also when
// others have been waiting for longer.
func (a *Arena) TryGet(size int) (*Buffer, error) {
	c, err := classOf(size)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lend(c)
}

// InUse returns the bytes on loan.
func (a *Arena) InUse() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inUse
}

// Mapped returns the bytes of address space that chunks take. Unregistered
// ones occupy memory only where they were written.
func (a *Arena) Mapped() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var n int64
	for _, list := range a.chunks {
		for _, ch := range list {
			n += int64(len(ch.mem))
		}
	}
	return n
}

// Close unmaps the arena. Every buffer must have been released: Close reports
// those that were not, and their chunks stay mapped until they are.
func (a *Arena) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil
	}
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
	for w := a.waiting.pop(); w != nil; w = a.waiting.pop() {
		w.ready <- loan{err: ErrClosed}
	}
	err := a.unmapIdle(time.Time{})
	if a.loans > 0 {
		err = errors.Join(err, fmt.Errorf("ioring: arena closed with %d buffers (%d bytes) on loan", a.loans, a.inUse))
	}
	return err
}

// lend makes a loan unless others wait or the bound is reached. Holds a.mu.
func (a *Arena) lend(c class) (*Buffer, error) {
	if a.closed {
		return nil, ErrClosed
	}
	if !a.waiting.empty() || a.inUse+c.size() > a.max {
		return nil, ErrExhausted
	}
	return a.take(c)
}

// take makes a loan of the bound's remainder. Holds a.mu.
func (a *Arena) take(c class) (*Buffer, error) {
	var from *chunk
	for _, ch := range a.chunks[c] {
		if len(ch.free) > 0 {
			from = ch
			break
		}
	}
	if from == nil {
		ch, err := newChunk(c, chunkBuffers(c), unregistered)
		if err != nil {
			return nil, err
		}
		a.chunks[c] = append(a.chunks[c], ch)
		from = ch
	}
	a.inUse += c.size()
	a.loans++
	return &Buffer{mem: from.pop(), arena: a, index: from.index, chunk: from}, nil
}

func (a *Arena) release(b *Buffer) {
	if b.released.Swap(true) {
		panic("ioring: buffer released twice")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	b.chunk.push(b.mem)
	b.mem = nil
	a.inUse -= b.chunk.class.size()
	a.loans--
	a.serve()
	if b.chunk.lent > 0 {
		return
	}
	if a.closed {
		// Best effort: Close has already reported this buffer as leaked.
		_ = a.unmapIdle(time.Time{})
		return
	}
	b.chunk.idleSince = time.Now()
	if a.timer == nil && b.chunk.index == unregistered {
		a.timer = time.AfterFunc(a.idle, a.trim)
	}
}

// serve hands the free part of the bound to those who wait. Holds a.mu.
func (a *Arena) serve() {
	for w := a.waiting.first(); w != nil; w = a.waiting.first() {
		if a.inUse+w.class.size() > a.max {
			return
		}
		a.waiting.remove(w)
		b, err := a.take(w.class)
		w.ready <- loan{b, err}
	}
}

// trim gives chunks that have been idle for long enough back to the operating
// system, and runs again as long as others are idle.
func (a *Arena) trim() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = nil
	if a.closed {
		return
	}
	// An munmap of a mapping of ours fails only for want of kernel memory;
	// the chunk then stays in the list and is tried again.
	_ = a.unmapIdle(time.Now().Add(-a.idle))
	for _, list := range a.chunks {
		for _, ch := range list {
			if ch.index == unregistered && ch.lent == 0 {
				a.timer = time.AfterFunc(a.idle, a.trim)
				return
			}
		}
	}
}

// unmapIdle unmaps the unregistered chunks that have been idle since before
// the time given; the zero time stands for every chunk not on loan, the
// registered ones included. Holds a.mu.
func (a *Arena) unmapIdle(before time.Time) error {
	all := before.IsZero()
	var errs []error
	for c, list := range a.chunks {
		kept := list[:0]
		for _, ch := range list {
			if ch.lent > 0 || !all && (ch.index != unregistered || ch.idleSince.After(before)) {
				kept = append(kept, ch)
			} else if err := ch.unmap(); err != nil {
				errs = append(errs, err)
				kept = append(kept, ch)
			}
		}
		clear(list[len(kept):])
		a.chunks[c] = kept
	}
	return errors.Join(errs...)
}

// table returns the memory to register with a ring, by buffer table index. It
// maps the fixed chunks at the first call, so that they cost nothing where no
// ring is used. The table never changes afterwards.
func (a *Arena) table() ([][]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, ErrClosed
	}
	if !a.mapped {
		a.mapped = true
		for _, c := range []class{small, large} {
			n := fixedBuffers(c, a.max)
			if n == 0 {
				continue
			}
			ch, err := newChunk(c, n, int32(len(a.fixed)))
			if err != nil {
				return nil, err
			}
			a.fixed = append(a.fixed, ch)
			a.chunks[c] = append([]*chunk{ch}, a.chunks[c]...)
		}
	}
	table := make([][]byte, len(a.fixed))
	for i, ch := range a.fixed {
		table[i] = ch.mem
	}
	return table, nil
}
