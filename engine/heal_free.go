package engine

import (
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
)

// leftover is space that a fragment has moved away from.
type leftover struct {
	d    *drive.Drive
	exts []layout.Extent
	due  time.Time
}

// leftovers keeps the space that moved fragments left behind for a while before it is
// free, since readers may be on their way there. They would notice: every frame names
// its blob and fragment. But they would have to look the fragment up again. After a
// crash the space is free at once: nothing names it.
type leftovers struct {
	delay time.Duration
	freed func() // told when space has been freed

	mu    sync.Mutex
	queue []leftover // in order of due
	bytes map[*drive.Drive]int64
	timer *time.Timer // nil: the queue is empty
}

func (l *leftovers) add(d *drive.Drive, exts []layout.Extent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, leftover{d, exts, time.Now().Add(l.delay)})
	if l.bytes == nil {
		l.bytes = make(map[*drive.Drive]int64)
	}
	l.bytes[d] += extentBytes(exts)
	if l.timer == nil {
		l.timer = time.AfterFunc(l.delay, l.expire)
	}
}

// expire frees what is due and sets the timer for the rest.
func (l *leftovers) expire() { l.free(time.Now()) }

// flush frees everything.
func (l *leftovers) flush() { l.free(time.Now().Add(l.delay + time.Hour)) }

func (l *leftovers) free(now time.Time) {
	l.mu.Lock()
	n := 0
	for n < len(l.queue) && !l.queue[n].due.After(now) {
		n++
	}
	for _, x := range l.queue[:n] {
		x.d.Free(x.exts)
		if l.bytes[x.d] -= extentBytes(x.exts); l.bytes[x.d] <= 0 {
			delete(l.bytes, x.d)
		}
	}
	l.queue = append(l.queue[:0], l.queue[n:]...)
	clear(l.queue[len(l.queue):cap(l.queue)])
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if len(l.queue) > 0 {
		l.timer = time.AfterFunc(l.queue[0].due.Sub(now), l.expire)
	}
	l.mu.Unlock()
	if n > 0 {
		l.freed()
	}
}

// on returns the bytes of a drive that will be free soon.
func (l *leftovers) on(d *drive.Drive) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes[d]
}

func extentBytes(exts []layout.Extent) (n int64) {
	for _, x := range exts {
		n += x.Len
	}
	return n
}
