package mirrorfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Errors of copies; test with errors.Is.
var (
	// ErrHung: a copy took longer than Options.Patience, or than a read may.
	ErrHung = errors.New("metadata copy does not answer")
	// ErrLast: the last copy cannot be put out of service.
	ErrLast = errors.New("the last copy of the metadata")
	// ErrNoCopy: there is no such copy.
	ErrNoCopy = errors.New("no such copy of the metadata")
	// ErrSame: two paths lead to the same directory.
	ErrSame = errors.New("two copies of the metadata are in the same directory")
	// ErrForeign: the directory of a new copy holds something else than a copy.
	ErrForeign = errors.New("the directory holds something else than a copy of the metadata")
	// ErrRemoved is the cause for which Remove puts a copy out of service.
	ErrRemoved = errors.New("removed by an administrator")
)

// Copy is one directory.
type Copy struct {
	Dir string
	FS  vfs.FS
	// NoWait: FS is the operating system's, so that a read that needs no disk can be
	// told from one that does.
	NoWait bool
}

// Options of New.
type Options struct {
	// Eject is called once for each copy that is put out of service, with
	// acknowledgements held back. Its error makes every later operation fail.
	Eject func(ctx context.Context, dir string, cause error) error
	// Patience: how long a write, a sync or a read of one of several copies may take. 0: 10 s.
	Patience time.Duration
	// ReadPatience: how long a read may take before another copy is asked. 0: 1 s.
	ReadPatience time.Duration
	// Check reads a whole file of one copy, which view shows by the directory's own
	// path, and returns an error if it is damaged. nil: nothing can be told.
	Check  func(view vfs.FS, name string) error
	Logger *slog.Logger
}

// FS implements vfs.FS for one directory, by the path that the first copy has. Other
// paths are those of the first copy's file system.
type FS struct {
	vfs.FS // of the first copy: paths, and what lies outside of the directory
	dir    string
	opts   Options
	null   *os.File // see blindFd

	// ns is held for reading by every operation on names, and by writes and syncs;
	// for writing while a copy joins or a file is exchanged.
	ns sync.RWMutex

	set atomic.Pointer[[]*replica] // in service; reads ask the first one first

	mu      sync.Mutex
	settled sync.Cond  // of mu: pending or healers fell to 0
	pending int        // copies that Eject is being called for
	healers int        // goroutines that replace files
	dead    error      // Eject failed
	leaving sync.Mutex // held while Eject is called
	writers map[*writer]struct{}
	readers map[string]map[*reader]struct{}  // by name in the directory
	bad     map[string]map[*replica]struct{} // copies whose file is not to be believed
	odd     atomic.Int64                     // entries of bad, and copies that are slow: 0 means that reads ask the first copy first
	fill    *fill                            // the copy that is being made
	locks   []string                         // names of the locks that are held

	checking sync.Mutex // held while Distrust examines a file
	healing  sync.Mutex // held while a file is replaced

	ejected  atomic.Uint64
	switched atomic.Uint64
	healed   atomic.Uint64
}

// replica is one copy.
type replica struct {
	Copy
	out    chan struct{} // closed when it is put out of service
	slow   atomic.Int64  // reads ask others first until then: Unix nanoseconds
	faults atomic.Uint64
	probes probes
	noWait atomic.Bool // see Copy.NoWait; false once the kernel refused it

	mu       sync.Mutex
	locks    []io.Closer
	unlocked bool // no lock is kept any more: nobody uses the copy
}

func newReplica(c Copy) *replica {
	r := &replica{Copy: c, out: make(chan struct{})}
	r.noWait.Store(c.NoWait)
	return r
}

func (r *replica) gone() bool {
	select {
	case <-r.out:
		return true
	default:
		return false
	}
}

// New returns the file system of copies that hold the same; the first one's path is
// the directory's. Lock the directory before anything else is done, then call
// Equalize.
func New(copies []Copy, opts Options) *FS {
	if opts.Patience == 0 {
		opts.Patience = 10 * time.Second
	}
	if opts.ReadPatience == 0 {
		opts.ReadPatience = time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	f := &FS{
		FS: copies[0].FS, dir: copies[0].Dir, opts: opts,
		writers: map[*writer]struct{}{}, readers: map[string]map[*reader]struct{}{}, bad: map[string]map[*replica]struct{}{},
	}
	f.settled.L = &f.mu
	f.null, _ = os.Open(os.DevNull) // without it Pebble syncs a little more often
	var set []*replica
	for _, c := range copies {
		set = append(set, newReplica(c))
	}
	f.set.Store(&set)
	return f
}

// Close is to be called when no file is open any more.
func (f *FS) Close() error {
	f.Settle()
	if f.null == nil {
		return nil
	}
	return f.null.Close()
}

// Unwrap implements vfs.FS. There is nothing that Pebble may do behind our back.
func (f *FS) Unwrap() vfs.FS { return nil }

// rel returns the part of name below the directory; ok is false for what is not.
func (f *FS) rel(name string) (rel string, ok bool) {
	rest, ok := strings.CutPrefix(name, f.dir)
	if !ok || rest == "" {
		return "", ok
	}
	if trimmed := strings.TrimLeft(rest, `/\`); len(trimmed) < len(rest) {
		return trimmed, true
	}
	return "", false
}

func (r *replica) path(rel string) string {
	if rel == "" {
		return r.Dir
	}
	return r.FS.PathJoin(r.Dir, rel)
}

func (f *FS) replicas() []*replica { return *f.set.Load() }

// blindFd is the descriptor that Pebble gets for an open file: a valid one tells that
// the file can be preallocated and synced in part. Nothing reads or writes by it.
func (f *FS) blindFd(inner vfs.File) uintptr {
	if f.null == nil || inner == nil || inner.Fd() == vfs.InvalidFd {
		return vfs.InvalidFd
	}
	return f.null.Fd()
}

// settle waits until no Eject is under way. It returns the error that ended it all.
func (f *FS) settle() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.pending > 0 && f.dead == nil {
		f.settled.Wait()
	}
	return f.dead
}

// eject puts r out of service and returns when that is recorded. ErrLast.
func (f *FS) eject(r *replica, cause error) error {
	f.mu.Lock()
	set := f.replicas()
	rest := make([]*replica, 0, len(set))
	for _, o := range set {
		if o != r {
			rest = append(rest, o)
		}
	}
	switch {
	case len(rest) == len(set): // somebody else did
		f.mu.Unlock()
		return f.settle()
	case len(rest) == 0:
		f.mu.Unlock()
		return ErrLast
	}
	f.set.Store(&rest)
	close(r.out)
	f.pending++
	f.mu.Unlock()
	f.ejected.Add(1)
	f.opts.Logger.Error("metadata: a copy is out of service", "dir", r.Dir, "err", cause)
	err := f.callEject(r.Dir, cause)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil && f.dead == nil {
		f.dead = fmt.Errorf("metadata: copy %s cannot be excluded: %w", r.Dir, err)
	}
	f.pending--
	f.settled.Broadcast()
	for f.pending > 0 && f.dead == nil {
		f.settled.Wait()
	}
	go func() { _ = r.unlock() }() // nobody uses the copy any more
	return f.dead
}

func (f *FS) callEject(dir string, cause error) error {
	if f.opts.Eject == nil {
		return nil
	}
	f.leaving.Lock()
	defer f.leaving.Unlock()
	return f.opts.Eject(context.Background(), dir, cause)
}

// errUnlocked: a lock came when the copy had been given up.
var errUnlocked = errors.New("the copy is given up")

// keep has l closed by unlock. After unlock it closes it at once: errUnlocked.
func (r *replica) keep(l io.Closer) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unlocked {
		return errors.Join(errUnlocked, l.Close())
	}
	r.locks = append(r.locks, l)
	return nil
}

// unlock ends the use of the copy. It is locked no more after that.
func (r *replica) unlock() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, l := range r.locks {
		err = errors.Join(err, l.Close())
	}
	r.locks, r.unlocked = nil, true
	return err
}

// released tells whether unlock was called.
func (r *replica) released() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unlocked
}

// outcome is what one copy answered.
type outcome struct {
	r   *replica
	err error
}

// errLastHangs: a copy does not answer, and there is none to go on with.
var errLastHangs = errors.New("the last copy does not answer")

// judge decides over the outcomes of an operation that was done in several copies:
// those in which it failed are put out of service, unless it failed in all. It
// returns nil only if it succeeded in every copy in service. errLastHangs: the answer
// of a copy is to be waited for, however long that takes.
func (f *FS) judge(done []outcome) error {
	ok := map[*replica]bool{}
	var first error
	for _, o := range done {
		if o.err == nil {
			ok[o.r] = true
		} else if first == nil || first == ErrHung {
			first = o.err
		}
	}
	if len(ok) == 0 {
		if err := f.settle(); err != nil {
			return err
		}
		if first == nil {
			first = ErrLast // it was done nowhere
		}
		return first
	}
	for _, o := range done {
		if o.err == nil || o.r.gone() {
			continue
		}
		switch err := f.eject(o.r, o.err); {
		case err == ErrLast && o.err == ErrHung:
			return errLastHangs
		case err != nil:
			return errors.Join(err, o.err)
		}
		o.r.faults.Add(1)
	}
	if err := f.settle(); err != nil {
		return err
	}
	// The copies in which it succeeded may have failed in something else since.
	for _, r := range f.replicas() {
		if !ok[r] {
			return errors.Join(ErrLast, first)
		}
	}
	return nil
}

// each does fn in every copy in service, side by side. late is called with what fn
// made in a copy that was given up on; it may be nil. ns is held for reading.
func each[T any](f *FS, fn func(r *replica) (T, error), late func(T)) (map[*replica]T, error) {
	set := f.replicas()
	if len(set) == 1 {
		v, err := fn(set[0])
		if err == nil {
			err = f.settle()
		}
		return map[*replica]T{set[0]: v}, err
	}
	w := newWaiter(f, set)
	var mu sync.Mutex
	given := false // up: nobody takes results any more
	out := map[*replica]T{}
	for _, r := range set {
		go func() {
			v, err := fn(r)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
			case !given:
				out[r] = v
			case late != nil: // out is the caller's
				late(v)
			}
			w.answers <- outcome{r, err}
		}()
	}
	err := w.wait()
	mu.Lock()
	defer mu.Unlock()
	given = true
	for r, v := range out {
		if r.gone() || err != nil {
			if late != nil {
				late(v)
			}
			delete(out, r)
		}
	}
	return out, err
}

// waiter waits for the answers of several copies.
type waiter struct {
	f       *FS
	set     []*replica
	answers chan outcome // of room for all
}

func newWaiter(f *FS, set []*replica) *waiter {
	return &waiter{f, set, make(chan outcome, len(set))}
}

// wait waits for the answers and judges. A copy that does not answer in time is given
// up only where another one has done it, and proves that it still answers: a machine
// whose drives all stand still has them all when they go on.
func (w *waiter) wait() error {
	done := make([]outcome, 0, len(w.set))
	for {
		done = w.gather(done)
		err := w.f.judge(done)
		if err != errLastHangs {
			return err
		}
		done = slices.DeleteFunc(done, func(o outcome) bool { return o.err == ErrHung && !o.r.gone() })
	}
}

// gather returns an outcome for each copy: ErrHung for those that are to be given up.
func (w *waiter) gather(done []outcome) []outcome {
	timer := newPatience(w.f.opts.Patience)
	defer timer.stop()
	for len(done) < len(w.set) {
		select {
		case o := <-w.answers:
			if has(done, o.r) { // of a copy that was given up on: it must not stand for another's
				continue
			}
			if o.err == nil && !succeeded(done) {
				timer.again() // from now on the others are late
			}
			done = append(done, o)
		case <-w.outOf(done):
			done = w.drop(done) // somebody else gave one up
		case <-timer.timer.C:
			if !timer.over() {
				continue
			}
			timer.again()
			if !succeeded(done) || w.f.ejecting() || !w.f.answers(good(done)) {
				continue
			}
			if len(w.answers) > 0 { // meanwhile
				continue
			}
			for _, r := range w.set {
				if !has(done, r) {
					done = append(done, outcome{r, ErrHung})
				}
			}
		}
	}
	return done
}

// good returns the copies in service that have done it.
func good(done []outcome) (out []*replica) {
	for _, o := range done {
		if o.err == nil && !o.r.gone() {
			out = append(out, o.r)
		}
	}
	return out
}

// succeeded tells whether a copy in service has done it.
func succeeded(done []outcome) bool { return len(good(done)) > 0 }

// outOf returns a channel that is closed when a copy that has not answered yet is put
// out of service. With more than one such copy it is that of the first: the others
// are looked at when something happens, or when time is up.
func (w *waiter) outOf(done []outcome) <-chan struct{} {
	for _, r := range w.set {
		if !has(done, r) {
			return r.out
		}
	}
	return nil
}

func (w *waiter) drop(done []outcome) []outcome {
	for _, r := range w.set {
		if !has(done, r) && r.gone() {
			done = append(done, outcome{r, ErrHung})
		}
	}
	return done
}

func has(done []outcome, r *replica) bool {
	for _, o := range done {
		if o.r == r {
			return true
		}
	}
	return false
}

// isAbsent tells the errors of names that are not there.
func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
