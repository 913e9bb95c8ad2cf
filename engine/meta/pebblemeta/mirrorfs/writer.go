package mirrorfs

import (
	"errors"
	"io"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// maxWaiting is how many bytes of one file may wait for one copy.
	maxWaiting = 4 << 20
	// wakeFrom is from how many waiting bytes on a copy's goroutine is woken without a
	// sync: handing over each small write of a log would cost more than the write.
	wakeFrom = 64 << 10
)

// writer is a file open for writing at its end.
type writer struct {
	fs  *FS
	rel string // guarded by fs.mu; it stays while fs.ns is held for writing

	mu     sync.Mutex // one operation at a time
	legs   []*leg
	off    int64 // bytes written
	closed bool
}

// openWriter has open make or take the file in every copy.
func (f *FS) openWriter(rel string, open func(r *replica) (vfs.File, error)) (vfs.File, error) {
	f.ns.RLock()
	defer f.ns.RUnlock()
	files, err := each(f, open, func(file vfs.File) { _ = file.Close() })
	if err != nil {
		return nil, err
	}
	w := &writer{fs: f, rel: rel}
	for _, r := range f.replicas() { // the first one first
		if file := files[r]; file != nil {
			w.legs = append(w.legs, newLeg(r, file))
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writers[w] = none{}
	f.believe(rel)
	return w, nil
}

// live drops the legs of copies that are out of service. mu is held.
func (w *writer) live() []*leg {
	kept := w.legs[:0]
	for _, l := range w.legs {
		if l.r.gone() {
			l.abandon()
			continue
		}
		kept = append(kept, l)
	}
	w.legs = kept
	return kept
}

// alone returns the only leg, with nothing waiting in it; nil if there are several.
func (w *writer) alone() (*leg, error) {
	legs := w.live()
	if len(legs) != 1 {
		return nil, nil
	}
	return legs[0], legs[0].drain()
}

func (w *writer) Write(p []byte) (int, error) {
	w.fs.ns.RLock()
	defer w.fs.ns.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, err := w.alone(); l != nil {
		if err != nil {
			return 0, err
		}
		n, err := l.file.Write(p)
		w.off += int64(n)
		return n, err
	}
	for _, l := range w.legs {
		l.push(&task{kind: doWrite, data: append(getBuffer(), p...)}, false)
	}
	w.off += int64(len(p))
	for _, l := range w.legs {
		if l.full() {
			if err := w.all(doBarrier); err != nil {
				return 0, err
			}
			break
		}
	}
	return len(p), nil
}

// all has every copy do kind, and waits.
func (w *writer) all(kind taskKind) error {
	set := make([]*replica, len(w.legs))
	for i, l := range w.legs {
		set[i] = l.r
	}
	wait := newWaiter(w.fs, set)
	for _, l := range w.legs {
		l.push(&task{kind: kind, answer: wait.answers}, true)
	}
	return wait.wait()
}

func (w *writer) do(kind taskKind) error {
	w.fs.ns.RLock()
	defer w.fs.ns.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	l, err := w.alone()
	if l == nil {
		return w.all(kind)
	}
	if err != nil {
		return err
	}
	if err := l.run(&task{kind: kind}); err != nil {
		return err
	}
	return w.fs.settle()
}

func (w *writer) Sync() error     { return w.do(doSync) }
func (w *writer) SyncData() error { return w.do(doSyncData) }

// SyncTo implements vfs.File. With several copies it only has the copies begin.
func (w *writer) SyncTo(length int64) (bool, error) {
	w.fs.ns.RLock()
	defer w.fs.ns.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, err := w.alone(); l != nil {
		if err != nil {
			return false, err
		}
		return l.file.SyncTo(length)
	}
	for _, l := range w.legs {
		l.push(&task{kind: doSyncTo, length: length}, true)
	}
	return false, nil
}

func (w *writer) Preallocate(off, length int64) error {
	w.fs.ns.RLock()
	defer w.fs.ns.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, err := w.alone(); l != nil {
		if err != nil {
			return err
		}
		return l.file.Preallocate(off, length)
	}
	for _, l := range w.legs {
		l.push(&task{kind: doPreallocate, off: off, length: length}, false)
	}
	return nil
}

func (w *writer) Prefetch(int64, int64) error { return nil }

// Stat implements vfs.File. Every copy's file has what was written then.
func (w *writer) Stat() (vfs.FileInfo, error) {
	w.fs.ns.RLock()
	defer w.fs.ns.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	l, err := w.alone()
	if l == nil {
		if err := w.all(doBarrier); err != nil {
			return nil, err
		}
		w.fs.mu.Lock()
		rel := w.rel
		w.fs.mu.Unlock()
		return w.fs.Stat(w.fs.join(rel))
	}
	if err != nil {
		return nil, err
	}
	return l.file.Stat()
}

// Close implements vfs.File.
func (w *writer) Close() error {
	w.fs.ns.RLock()
	defer w.fs.ns.RUnlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	defer func() {
		w.fs.mu.Lock()
		delete(w.fs.writers, w)
		w.fs.mu.Unlock()
	}()
	l, err := w.alone()
	if l == nil {
		return w.all(doClose)
	}
	return errors.Join(err, l.run(&task{kind: doClose}))
}

func (w *writer) Fd() uintptr {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.legs) == 0 {
		return vfs.InvalidFd
	}
	return w.fs.blindFd(w.legs[0].file)
}

// Pebble reads no file that it is writing.
func (w *writer) Read([]byte) (int, error)           { return 0, vfs.ErrUnsupported }
func (w *writer) ReadAt([]byte, int64) (int, error)  { return 0, vfs.ErrUnsupported }
func (w *writer) WriteAt([]byte, int64) (int, error) { return 0, vfs.ErrUnsupported }

type taskKind uint8

const (
	doWrite taskKind = iota
	doSync
	doSyncData
	doSyncTo
	doPreallocate
	doBarrier // nothing, once everything before it is done
	doClose
)

type task struct {
	kind        taskKind
	data        []byte // of doWrite, the leg's own
	off, length int64
	answer      chan<- outcome // nil: nobody waits
}

// leg is a writer's file in one copy. Its tasks are done one after the other, by a
// goroutine that lives while there are any.
type leg struct {
	r    *replica
	file vfs.File

	mu      sync.Mutex
	idle    sync.Cond // of mu: running became false
	queue   []*task
	waiting int64 // bytes in queue and in the running task
	running bool  // a goroutine is at it
	dropped bool  // the copy is out of service
	failed  error // of a task: all after it fail too, for bytes may be missing
}

func newLeg(r *replica, file vfs.File) *leg {
	l := &leg{r: r, file: file}
	l.idle.L = &l.mu
	return l
}

// push queues t. wake, or much that waits, starts the goroutine.
func (l *leg) push(t *task, wake bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, t)
	l.waiting += int64(len(t.data))
	if (wake || l.waiting >= wakeFrom) && !l.running {
		l.running = true
		go l.work()
	}
}

func (l *leg) full() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting > maxWaiting
}

func (l *leg) work() {
	for {
		l.mu.Lock()
		if len(l.queue) == 0 || l.dropped {
			l.finish()
			l.mu.Unlock()
			return
		}
		t := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.mu.Unlock()
		err := l.run(t)
		l.mu.Lock()
		l.waiting -= int64(len(t.data))
		l.mu.Unlock()
		putBuffer(t.data)
		if t.answer != nil {
			t.answer <- outcome{l.r, err}
		}
	}
}

// finish ends the goroutine. mu is held.
func (l *leg) finish() {
	l.running = false
	l.idle.Broadcast()
	if l.dropped {
		for _, t := range l.queue {
			putBuffer(t.data)
		}
		l.queue, l.waiting = nil, 0
		go func() { _ = l.file.Close() }() // of a copy that nobody believes any more
	}
}

// run does one task; nobody else does one.
func (l *leg) run(t *task) error {
	l.mu.Lock()
	failed := l.failed
	l.mu.Unlock()
	if failed != nil && t.kind != doClose {
		return failed
	}
	var err error
	switch t.kind {
	case doWrite:
		var n int
		if n, err = l.file.Write(t.data); err == nil && n < len(t.data) {
			err = io.ErrShortWrite
		}
	case doSync:
		err = l.file.Sync()
	case doSyncData:
		err = l.file.SyncData()
	case doSyncTo:
		_, err = l.file.SyncTo(t.length)
	case doPreallocate:
		_ = l.file.Preallocate(t.off, t.length) // a hint
	case doClose:
		err = l.file.Close()
	}
	if err != nil {
		l.mu.Lock()
		l.failed = err
		l.mu.Unlock()
	}
	return errors.Join(err, failed)
}

// drain waits until nothing is queued, and returns what failed.
func (l *leg) drain() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 && !l.running {
		l.running = true
		go l.work()
	}
	for l.running {
		l.idle.Wait()
	}
	return l.failed
}

// abandon leaves the leg to its goroutine.
func (l *leg) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropped = true
	if !l.running {
		l.finish()
	}
}

// buffers of common sizes are used again.
var buffers sync.Pool

func getBuffer() []byte {
	if b, ok := buffers.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 32<<10)
}

func putBuffer(b []byte) {
	if cap(b) > 0 && cap(b) <= 256<<10 {
		buffers.Put(&b)
	}
}
