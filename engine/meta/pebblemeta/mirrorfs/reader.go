package mirrorfs

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// slowFor is how long reads ask other copies first after one did not answer in time.
const slowFor = 5 * time.Second

// order returns the copies in the order in which to ask them for rel.
func (f *FS) order(rel string) []*replica {
	set := f.replicas()
	if len(set) == 1 || f.odd.Load() == 0 {
		return set
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	bad := f.bad[rel]
	now := time.Now().UnixNano()
	var rank [3][]*replica
	for _, r := range set {
		i := 0
		if _, ok := bad[r]; ok {
			i = 1
		}
		if r.slow.Load() > now {
			i = 2
		}
		rank[i] = append(rank[i], r)
	}
	return append(append(rank[0], rank[1]...), rank[2]...)
}

// first returns what the first copy that answers does. Every copy says that a name
// is absent, or none does.
func first[T any](f *FS, fn func(r *replica) (T, error)) (T, error) {
	return firstOf(f, f.order(""), fn)
}

func firstOf[T any](f *FS, order []*replica, fn func(r *replica) (T, error)) (v T, err error) {
	set := f.set.Load()
	if len(order) == 1 && len(*set) == 1 {
		return fn(order[0])
	}
	var errs []error
	for i, r := range order {
		patience := f.opts.ReadPatience
		if i == len(order)-1 {
			patience = f.opts.Patience
		}
		v, err := bounded(f, r, patience, func() (T, error) { return fn(r) }, nil)
		if err == nil {
			return v, nil
		}
		errs = append(errs, err)
	}
	if left := f.set.Load(); left != set && len(*left) < len(order) && isHung(errs) {
		return firstOf(f, *left, fn) // one was put out of service meanwhile: the rest has more time
	}
	for _, err := range errs {
		if !isAbsent(err) {
			return v, err
		}
	}
	return v, errs[0]
}

func isHung(errs []error) bool {
	return slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, ErrHung) })
}

// bounded runs fn in a goroutine, and waits for patience. A copy that answers later
// than Options.Patience is put out of service. late is called with what a goroutine
// that was left behind made.
func bounded[T any](f *FS, r *replica, patience time.Duration, fn func() (T, error), late func(T)) (v T, err error) {
	ch := make(chan result[T], 1)
	go func() {
		v, err := fn()
		ch <- result[T]{v, err}
	}()
	timer := newPatience(patience)
	defer timer.stop()
	for waiting := true; waiting; {
		select {
		case a := <-ch:
			return a.v, a.err
		case <-timer.timer.C:
			waiting = !timer.over()
		case <-r.out:
			waiting = false
		}
	}
	r.slow.Store(time.Now().Add(slowFor).UnixNano())
	f.odd.Add(1)
	time.AfterFunc(slowFor, func() { f.odd.Add(-1) })
	r.faults.Add(1)
	f.switched.Add(1)
	go func() {
		if a := await(f, r, ch, f.opts.Patience-patience); a.err == nil && late != nil {
			late(a.v)
		}
	}()
	return v, ErrHung
}

type result[T any] struct {
	v   T
	err error
}

// await waits for what r answers at last. When it takes longer than left, and another
// copy answers, r is put out of service.
func await[T any](f *FS, r *replica, ch <-chan result[T], left time.Duration) result[T] {
	timer := newPatience(max(left, f.opts.Patience/ticks))
	defer timer.stop()
	for {
		select {
		case a := <-ch:
			return a
		case <-timer.timer.C:
			if !timer.over() {
				continue
			}
			timer.again()
			if r.gone() || f.ejecting() || !f.answers(f.others(r)) || len(ch) > 0 {
				continue
			}
			_ = f.eject(r, ErrHung) // the last one stays
		}
	}
}

// reader is a file open for reading.
type reader struct {
	fs   *FS
	rel  string
	opts []vfs.OpenOption

	mu      sync.RWMutex // held for reading while a descriptor is used
	handles map[*replica]*handle
	pinned  bool // the name is another file's now: none is opened any more
	closed  bool
	pos     int64 // of Read

	fetching atomic.Bool // a Prefetch is under way
}

// Open implements vfs.FS.
func (f *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	rel, ok := f.rel(name)
	if !ok {
		return f.FS.Open(name, opts...)
	}
	f.ns.RLock()
	defer f.ns.RUnlock()
	return f.openFile(rel, opts)
}

// openFile is Open. ns is held.
func (f *FS) openFile(rel string, opts []vfs.OpenOption) (vfs.File, error) {
	r := &reader{fs: f, rel: rel, opts: opts, handles: map[*replica]*handle{}}
	f.register(r)
	var mu sync.Mutex
	failed := map[*replica]error{}
	_, err := firstOf(f, f.order(rel), func(c *replica) (none, error) {
		file, err := r.open(c)
		if err == nil {
			file.release()
			return none{}, nil
		}
		mu.Lock()
		defer mu.Unlock()
		failed[c] = err
		return none{}, err
	})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	mu.Lock()
	defer mu.Unlock()
	for c, err := range failed { // another copy has it
		if !errors.Is(err, errPinned) {
			f.distrust(rel, c, err)
		}
	}
	return r, nil
}

// register has pin know of r: before it opens anything, for a name may become another
// file's between one copy's and the next.
func (f *FS) register(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readers[r.rel] == nil {
		f.readers[r.rel] = map[*reader]struct{}{}
	}
	f.readers[r.rel][r] = none{}
}

// open opens the file in c, or returns it as it is open already. release it.
func (r *reader) open(c *replica) (*handle, error) {
	r.mu.RLock()
	file, pinned := r.handles[c], r.pinned || r.closed
	if file != nil && file.use() {
		r.mu.RUnlock()
		return file, nil
	}
	r.mu.RUnlock()
	if pinned {
		return nil, errPinned
	}
	inner, err := c.FS.Open(c.path(r.rel), r.opts...)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.handles[c]; other != nil || r.closed || r.pinned {
		_ = inner.Close()
		if other == nil || !other.use() {
			return nil, errPinned
		}
		return other, nil
	}
	file = &handle{File: inner, users: 1}
	r.handles[c] = file
	return file, nil
}

var errPinned = errors.New("the copy's file was not open when it was replaced")

// pin has the readers of rel open it in every copy, before the name becomes another
// file's: a name that is opened afterwards would not be what they read.
func (f *FS) pin(rel string) {
	f.mu.Lock()
	var all []*reader
	for r := range f.readers[rel] {
		all = append(all, r)
	}
	delete(f.readers, rel)
	f.mu.Unlock()
	for _, r := range all {
		for _, c := range f.replicas() {
			if len(f.replicas()) == 1 {
				break
			}
			_, _ = bounded(f, c, f.opts.ReadPatience, func() (none, error) {
				file, err := r.open(c)
				if err == nil {
					file.release()
				}
				return none{}, err
			}, nil)
		}
		r.mu.Lock()
		r.pinned = true
		r.mu.Unlock()
	}
}

func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	for {
		before := r.fs.set.Load()
		n, err := r.readAt(p, off)
		if now := r.fs.set.Load(); !errors.Is(err, ErrHung) || now == before || len(*now) >= len(*before) {
			return n, err
		}
		// One was put out of service meanwhile: the rest has more time.
	}
}

func (r *reader) readAt(p []byte, off int64) (int, error) {
	set := r.fs.replicas()
	if len(set) == 1 {
		file, err := r.open(set[0])
		if err == errPinned {
			file, err = r.left()
		}
		if err != nil {
			return 0, err
		}
		defer file.release()
		return file.ReadAt(p, off)
	}
	var errs []error
	order := r.fs.order(r.rel)
	for i, c := range order {
		patience := r.fs.opts.ReadPatience
		if i == len(order)-1 {
			patience = r.fs.opts.Patience
		}
		n, err := r.readFrom(c, p, off, patience)
		if err == nil || err == io.EOF {
			return n, err
		}
		errs = append(errs, err)
		if err != errPinned && !errors.Is(err, ErrHung) && i < len(order)-1 {
			r.fs.distrust(r.rel, c, err)
		}
	}
	if file, err := r.left(); err == nil {
		defer file.release()
		return file.ReadAt(p, off)
	}
	return 0, errors.Join(errs...)
}

// left returns the file of a copy that is out of service, if the name is another
// file's: it may be all that is left of it.
func (r *reader) left() (*handle, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for c, file := range r.handles {
		if r.pinned && c.gone() && file.use() {
			return file, nil
		}
	}
	return nil, errPinned
}

// readFrom reads from one copy. The bytes pass through memory of the read's own,
// unless the kernel has them: a read that is given up on may still write to it.
func (r *reader) readFrom(c *replica, p []byte, off int64, patience time.Duration) (int, error) {
	if c.noWait.Load() {
		if n, ok := r.cached(c, p, off); ok {
			return n, nil
		}
	}
	type result struct {
		n   int
		buf *[]byte
	}
	res, err := bounded(r.fs, c, patience, func() (result, error) {
		file, err := r.open(c)
		if err != nil {
			return result{}, err
		}
		defer file.release()
		buf := getRead(len(p))
		n, err := file.ReadAt(*buf, off)
		if err == io.EOF || err == nil {
			return result{n, buf}, nil
		}
		putRead(buf)
		return result{}, err
	}, func(res result) { putRead(res.buf) })
	if err != nil {
		return 0, err
	}
	n := copy(p, (*res.buf)[:res.n])
	putRead(res.buf)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// cached reads what the kernel has in memory, which never waits for the drive.
func (r *reader) cached(c *replica, p []byte, off int64) (int, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	file := r.handles[c]
	if file == nil || len(p) == 0 {
		return 0, false
	}
	fd := file.Fd()
	if fd == vfs.InvalidFd {
		c.noWait.Store(false)
		return 0, false
	}
	n, err := unix.Preadv2(int(fd), [][]byte{p}, off, unix.RWF_NOWAIT)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		c.noWait.Store(false)
	}
	return n, err == nil && n == len(p)
}

var reads sync.Pool

func getRead(n int) *[]byte {
	if b, ok := reads.Get().(*[]byte); ok && cap(*b) >= n {
		*b = (*b)[:n]
		return b
	}
	b := make([]byte, n, max(n, 32<<10))
	return &b
}

func putRead(b *[]byte) {
	if b != nil && cap(*b) <= 1<<20 {
		reads.Put(b)
	}
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := r.ReadAt(p, r.pos)
	r.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// any returns a file that is open, nil if none is. release it.
func (r *reader) any() *handle {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, c := range r.fs.replicas() {
		if file := r.handles[c]; file != nil && file.use() {
			return file
		}
	}
	return nil
}

func (r *reader) Stat() (vfs.FileInfo, error) {
	return firstOf(r.fs, r.fs.order(r.rel), func(c *replica) (vfs.FileInfo, error) {
		file, err := r.open(c)
		if err != nil {
			return nil, err
		}
		defer file.release()
		return file.Stat()
	})
}

// Prefetch implements vfs.File. With several copies it is not waited for.
func (r *reader) Prefetch(off, length int64) error {
	file := r.any()
	if file == nil {
		return nil
	}
	if len(r.fs.replicas()) == 1 {
		defer file.release()
		return file.Prefetch(off, length)
	}
	if !r.fetching.CompareAndSwap(false, true) { // the drive has enough to do
		file.release()
		return nil
	}
	go func() {
		defer r.fetching.Store(false)
		defer file.release()
		_ = file.Prefetch(off, length) // a hint
	}()
	return nil
}

func (r *reader) Fd() uintptr {
	file := r.any()
	if file == nil {
		return vfs.InvalidFd
	}
	defer file.release()
	return r.fs.blindFd(file)
}

func (r *reader) Close() error {
	r.fs.mu.Lock()
	if set := r.fs.readers[r.rel]; set != nil {
		delete(set, r)
		if len(set) == 0 {
			delete(r.fs.readers, r.rel)
		}
	}
	r.fs.mu.Unlock()
	return r.shut()
}

// shut closes what is open. The files of several copies are closed by goroutines:
// even that may wait for a drive.
func (r *reader) shut() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	var err error
	single := len(r.fs.replicas()) == 1
	for c, file := range r.handles {
		if single && !c.gone() {
			err = errors.Join(err, file.Close())
		} else {
			go func() { _ = file.Close() }()
		}
	}
	clear(r.handles)
	return err
}

// Sync implements vfs.File: what was written to the file before is durable then.
func (r *reader) Sync() error {
	return r.fs.onNames(func(c *replica) error {
		file, err := r.open(c)
		if err != nil {
			return err
		}
		defer file.release()
		return file.Sync()
	})
}

func (r *reader) SyncData() error                    { return r.Sync() }
func (r *reader) SyncTo(int64) (bool, error)         { return false, vfs.ErrUnsupported }
func (r *reader) Preallocate(int64, int64) error     { return vfs.ErrUnsupported }
func (r *reader) Write([]byte) (int, error)          { return 0, vfs.ErrUnsupported }
func (r *reader) WriteAt([]byte, int64) (int, error) { return 0, vfs.ErrUnsupported }
