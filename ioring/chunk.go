package ioring

import (
	"container/list"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// class is a size class of buffers.
type class uint8

const (
	small class = iota
	medium
	large
	classes
)

// size returns the bytes of a buffer of the class.
func (c class) size() int64 {
	switch c {
	case small:
		return SmallBuffer
	case medium:
		return MediumBuffer
	}
	return LargeBuffer
}

func classOf(size int) (class, error) {
	switch {
	case size < 0 || size > LargeBuffer:
		return 0, fmt.Errorf("%w: a buffer of %d bytes", ErrInvalid, size)
	case size <= SmallBuffer:
		return small, nil
	case size <= MediumBuffer:
		return medium, nil
	}
	return large, nil
}

// LoanSize returns the bytes that a buffer of at least size bytes, at most LargeBuffer,
// takes of an Arena's bound.
func LoanSize(size int) int64 {
	c, err := classOf(size)
	if err != nil {
		return LargeBuffer
	}
	return c.size()
}

// Chunk geometry: buffers per chunk mapped on demand, about 2 MiB, 15 and 15 MiB.
// Address space is cheap and untouched pages cost nothing, so chunks may be
// larger than a light load needs.
const (
	smallPerChunk  = 15
	mediumPerChunk = 30
	largePerChunk  = 15
)

func chunkBuffers(c class) int {
	switch c {
	case small:
		return smallPerChunk
	case medium:
		return mediumPerChunk
	}
	return largePerChunk
}

// Fixed chunks hold at most 7 small and 3 large buffers: 1,002 pages, just
// below 4 MiB, pinned as long as a ring is open. Two drives' rings then fit
// into the usual RLIMIT_MEMLOCK of an unprivileged process, 8 MiB. More is not
// worth an idle daemon's memory: registration was measured to save at most a
// tenth of the CPU of a 4 KiB read and nothing discernible at 1 MiB.
const (
	fixedSmall = 7
	fixedLarge = 3
)

// fixedBuffers returns how many buffers of class c to register: at most a
// quarter of the arena's bound per class, and none of the medium ones, for which
// it saves as little as for the large.
func fixedBuffers(c class, maxBytes int64) int {
	most := 0
	switch c {
	case small:
		most = fixedSmall
	case large:
		most = fixedLarge
	}
	return int(min(int64(most), maxBytes/4/c.size()))
}

// unregistered is the buffer table index of memory that no ring knows.
const unregistered = -1

const hugePage = 2 << 20

// chunk is one mapping cut into buffers of one class. The arena's lock guards it.
type chunk struct {
	class     class
	index     int32 // in the registered buffer table, or unregistered
	mem       []byte
	free      []uint16 // numbers of the buffers not on loan; the next is last
	lent      int
	idleSince time.Time // when lent fell to 0
}

// newChunk maps n buffers of class c, beginning at a multiple of 2 MiB.
//
// Large and medium buffers get huge pages, as far as whole ones fit: a 1 MiB
// transfer then is one or two segments to the drive instead of 256, which was
// measured to take half the CPU and 0.6 of the time. They are mostly filled, lie
// side by side and are lent lowest first, so that the price in memory is below
// 2 MiB per chunk in use. Small buffers would pay it for little.
func newChunk(c class, n int, index int32) (*chunk, error) {
	ch := &chunk{class: c, index: index, free: make([]uint16, n), idleSince: time.Now()}
	for i := range ch.free {
		ch.free[i] = uint16(n - 1 - i)
	}
	mem, err := mapAligned(int64(n) * c.size())
	if err != nil {
		return nil, fmt.Errorf("ioring: cannot map %d buffers of %d bytes: %w", n, c.size(), err)
	}
	ch.mem = mem
	// A core dump of gigabytes of object data helps nobody and may leak it;
	// refusals of either advice change nothing that matters.
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	if whole := len(mem) &^ (hugePage - 1); c != small && whole > 0 {
		_ = unix.Madvise(mem[:whole], unix.MADV_HUGEPAGE)
	}
	return ch, nil
}

// pop takes a buffer, the most recently returned one first: its pages are the
// most likely to be in caches.
func (ch *chunk) pop() []byte {
	i := int64(ch.free[len(ch.free)-1])
	ch.free = ch.free[:len(ch.free)-1]
	ch.lent++
	size := ch.class.size()
	return ch.mem[i*size : (i+1)*size : (i+1)*size]
}

// push returns the buffer that pop gave.
func (ch *chunk) push(mem []byte) {
	off := uintptr(unsafe.Pointer(&mem[0])) - uintptr(unsafe.Pointer(&ch.mem[0]))
	ch.free = append(ch.free, uint16(int64(off)/ch.class.size()))
	ch.lent--
}

func (ch *chunk) unmap() error {
	err := unix.MunmapPtr(unsafe.Pointer(&ch.mem[0]), uintptr(len(ch.mem)))
	if err != nil {
		return fmt.Errorf("ioring: cannot unmap %d bytes: %w", len(ch.mem), err)
	}
	ch.mem = nil
	return nil
}

// mapAligned maps size bytes of zeroed private memory beginning at a multiple
// of 2 MiB: it maps 2 MiB more and cuts off both ends.
func mapAligned(size int64) ([]byte, error) {
	page := uintptr(unix.Getpagesize())
	want := (uintptr(size) + page - 1) &^ (page - 1)
	base, err := unix.MmapPtr(-1, 0, nil, want+hugePage,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	head := -uintptr(base) & (hugePage - 1)
	start := unsafe.Add(base, head)
	tail := hugePage - head
	if head > 0 {
		err = unix.MunmapPtr(base, head)
	}
	if err == nil && tail > 0 {
		err = unix.MunmapPtr(unsafe.Add(start, want), tail)
	}
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*byte)(start), size), nil
}

// waiter is a Get that waits for its turn.
type waiter struct {
	class class
	ready chan loan // capacity 1
	elem  *list.Element
}

type loan struct {
	buf *Buffer
	err error
}

// waitList is a queue of waiters, the longest waiting first.
type waitList struct{ l list.List }

func (q *waitList) empty() bool    { return q.l.Len() == 0 }
func (q *waitList) push(w *waiter) { w.elem = q.l.PushBack(w) }

func (q *waitList) first() *waiter {
	if e := q.l.Front(); e != nil {
		return e.Value.(*waiter)
	}
	return nil
}

func (q *waitList) pop() *waiter {
	w := q.first()
	q.remove(w)
	return w
}

// remove takes w out; it does nothing where w is nil or already out.
func (q *waitList) remove(w *waiter) {
	if w != nil && w.elem != nil {
		q.l.Remove(w.elem)
		w.elem = nil
	}
}
