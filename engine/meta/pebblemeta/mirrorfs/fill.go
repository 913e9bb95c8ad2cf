package mirrorfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fillRounds is how often the files are listed while a copy is made and the store goes
// on; what is new after the last round is copied with writes held back.
const fillRounds = 20

// Status describes a copy.
type Status struct {
	Dir         string
	Primary     bool
	Filling     bool
	Bytes, Done int64
	Faults      uint64
}

// Counts of the file system's life.
type Counts struct {
	InService         int
	Ejected           uint64 // copies put out of service
	Switched          uint64 // reads that another copy answered, or files not believed any more
	Healed            uint64 // files replaced from another copy
	Damaged, Writable int    // files that are not to be believed; files open for writing
}

// Counts returns what happened so far.
func (f *FS) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := Counts{
		InService: len(f.replicas()), Ejected: f.ejected.Load(), Switched: f.switched.Load(), Healed: f.healed.Load(),
		Writable: len(f.writers),
	}
	for _, set := range f.bad {
		c.Damaged += len(set)
	}
	return c
}

// Dirs returns the directories of the copies in service, the first one that reads ask
// first.
func (f *FS) Dirs() []string {
	var out []string
	for _, r := range f.replicas() {
		out = append(out, r.Dir)
	}
	return out
}

// Status describes the copies in service, and the one that is being made.
func (f *FS) Status() []Status {
	var out []Status
	for i, r := range f.replicas() {
		out = append(out, Status{Dir: r.Dir, Primary: i == 0, Faults: r.faults.Load()})
	}
	f.mu.Lock()
	fill := f.fill
	f.mu.Unlock()
	if fill != nil {
		fill.mu.Lock()
		defer fill.mu.Unlock()
		out = append(out, Status{Dir: fill.r.Dir, Filling: true, Bytes: fill.total, Done: fill.done})
	}
	return out
}

// RemoveCopy puts a copy out of service. ErrLast, ErrNoCopy.
func (f *FS) RemoveCopy(dir string) error {
	for _, r := range f.replicas() {
		if r.Dir == dir {
			return f.eject(r, ErrRemoved)
		}
	}
	return ErrNoCopy
}

// fill is a copy that is being made.
type fill struct {
	f      *FS
	r      *replica
	copied map[string]struct{} // names of closed files that are there; guarded by f.mu
	epochs map[string]int      // how often a name was touched; guarded by f.mu

	alone bool // ns is held

	mu          sync.Mutex
	total, done int64
}

// Join makes c a copy: removes what is in its directory, copies every file while the
// store goes on, and takes it into service with writes held back for a moment. promote
// is called then, once the copy has everything; when it fails, the copy may
// nevertheless be recorded as current, and so Options.Eject is called for it before
// writes go on. There is one Join at a time.
func (f *FS) Join(ctx context.Context, c Copy, promote func(ctx context.Context) error) error {
	r := newReplica(c)
	l := &fill{f: f, r: r, copied: map[string]struct{}{}, epochs: map[string]int{}}
	f.mu.Lock()
	if other := f.fill; other != nil {
		f.mu.Unlock()
		return fmt.Errorf("metadata: copy %s is being made", other.r.Dir)
	}
	for _, o := range f.replicas() {
		if o.Dir == c.Dir {
			f.mu.Unlock()
			return fmt.Errorf("metadata: %s is a copy already", c.Dir)
		}
	}
	f.fill = l
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.fill = nil
		f.mu.Unlock()
	}()
	err := l.make(ctx, promote)
	if err != nil {
		go func() { _ = r.unlock() }()
		return fmt.Errorf("metadata: making copy %s: %w", c.Dir, err)
	}
	return nil
}

func (l *fill) make(ctx context.Context, promote func(ctx context.Context) error) error {
	if err := l.step(ctx, l.wipe); err != nil {
		return err
	}
	for range fillRounds {
		copied, err := l.round(ctx)
		if err != nil {
			return err
		}
		if copied == 0 {
			break
		}
	}
	open, err := l.prefill(ctx)
	if err == nil {
		err = l.join(ctx, open, promote)
	}
	if err != nil {
		closeAll(open)
	}
	return err
}

// step does fn in a goroutine, which stays behind when ctx ends, or after Patience.
func (l *fill) step(ctx context.Context, fn func() error) error {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	timer := newPatience(l.f.opts.Patience)
	defer timer.stop()
	for {
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.timer.C:
			if timer.over() {
				return ErrHung
			}
		}
	}
}

// round copies the files that are not there yet, but those open for writing.
func (l *fill) round(ctx context.Context) (copied int, err error) {
	names, err := l.list()
	if err != nil {
		return 0, err
	}
	var missing []string
	var bytes int64
	epochs := map[string]int{}
	for _, name := range names {
		epochs[name] = l.epoch(name) // before: it may just be made
		if l.has(name) || l.f.written(name) {
			continue
		}
		info, err := l.f.Stat(l.f.join(name))
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return copied, err
		}
		if info.IsDir() {
			continue
		}
		missing = append(missing, name)
		bytes += info.Size()
	}
	l.mu.Lock()
	l.total += bytes
	l.mu.Unlock()
	for _, name := range missing {
		err := l.copy(ctx, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errPinned) {
			continue // removed, or made anew, meanwhile
		}
		if err != nil {
			return copied, err
		}
		l.keep(name, epochs[name])
		copied++
	}
	return copied, nil
}

func (l *fill) list() ([]string, error) {
	names, err := l.f.List(l.f.dir)
	kept := names[:0]
	for _, name := range names {
		if mirrored(name) {
			kept = append(kept, name)
		}
	}
	return kept, err
}

// copy copies one closed file and makes it durable, but for its name.
func (l *fill) copy(ctx context.Context, name string) error {
	src, err := l.open(name)
	if err != nil {
		return err
	}
	defer src.Close()
	var dst vfs.File
	if err := l.step(ctx, func() (err error) {
		dst, err = l.r.FS.Create(l.r.path(name), vfs.WriteCategoryUnspecified)
		return err
	}); err != nil {
		return err
	}
	_, err = l.stream(ctx, src, dst, 0, -1)
	if err == nil {
		err = l.step(ctx, dst.Sync)
	}
	return errors.Join(err, l.step(ctx, dst.Close))
}

// stream copies bytes from on, up to to, or the end if that is negative.
func (l *fill) stream(ctx context.Context, src, dst vfs.File, from, to int64) (int64, error) {
	for {
		n := int64(copyBuffer)
		if to >= 0 {
			n = min(n, to-from)
		}
		buf := make([]byte, n) // a hung write keeps it
		got, err := src.ReadAt(buf, from)
		if err != nil && err != io.EOF {
			return from, err
		}
		if got == 0 {
			if to >= 0 && from < to {
				return from, io.ErrUnexpectedEOF
			}
			return from, nil
		}
		if err := l.step(ctx, func() error { _, err := dst.Write(buf[:got]); return err }); err != nil {
			return from, err
		}
		from += int64(got)
		l.mu.Lock()
		l.done += int64(got)
		l.mu.Unlock()
	}
}

// prefilled is a file open for writing, of which the copy has the first bytes.
type prefilled struct {
	w     *writer
	rel   string
	epoch int
	file  vfs.File
	size  int64

	closed bool
}

// close closes the file, once, without waiting for it.
func (p *prefilled) close() {
	if !p.closed {
		p.closed = true
		go func() { _ = p.file.Close() }()
	}
}

func closeAll(open []*prefilled) {
	for _, p := range open {
		p.close()
	}
}

// prefill copies what files open for writing have so far, so that little is left to
// be copied with writes held back.
func (l *fill) prefill(ctx context.Context) (open []*prefilled, err error) {
	for _, w := range l.f.open() {
		p, err := l.begin(ctx, w)
		if err != nil {
			return open, err
		}
		if p == nil {
			continue
		}
		open = append(open, p)
		if err := l.extend(ctx, p, true); err != nil {
			return open, err
		}
	}
	return open, nil
}

func (f *FS) open() (out []*writer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.writers {
		out = append(out, w)
	}
	return out
}

// begin makes the copy's file of w.
func (l *fill) begin(ctx context.Context, w *writer) (*prefilled, error) {
	l.f.mu.Lock()
	_, open := l.f.writers[w]
	p := &prefilled{w: w, rel: w.rel, epoch: l.epochs[w.rel]}
	l.f.mu.Unlock()
	if !open {
		return nil, nil
	}
	err := l.step(ctx, func() (err error) {
		p.file, err = l.r.FS.Create(l.r.path(p.rel), vfs.WriteCategoryUnspecified)
		return err
	})
	return p, err
}

// extend copies what was written since. A file that is closed or renamed meanwhile is
// left as it is: join copies it anew.
func (l *fill) extend(ctx context.Context, p *prefilled, locked bool) error {
	if locked {
		l.f.ns.RLock()
	}
	p.w.mu.Lock()
	off, err := p.w.off, p.w.flush()
	p.w.mu.Unlock()
	if locked {
		l.f.ns.RUnlock()
	}
	if err != nil {
		return err
	}
	if off == p.size {
		return nil
	}
	src, err := l.open(p.rel)
	if locked && (isAbsent(err) || errors.Is(err, errPinned)) {
		return nil
	}
	if err != nil {
		return err
	}
	defer src.Close()
	size, err := l.stream(ctx, src, p.file, p.size, off)
	p.size = size
	if err == nil {
		err = l.step(ctx, p.file.Sync)
	}
	return err
}

// flush has every copy have what was written. ns and mu are held.
func (w *writer) flush() error {
	if w.closed {
		return nil
	}
	l, err := w.alone()
	if l != nil {
		return err
	}
	return w.all(doBarrier)
}

// open opens a file of the store for reading.
func (l *fill) open(name string) (vfs.File, error) {
	if !l.alone {
		l.f.ns.RLock()
		defer l.f.ns.RUnlock()
	}
	return l.f.openFile(name, []vfs.OpenOption{vfs.SequentialReadsOption})
}
