package mirrorfs

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cockroachdb/pebble/v2/vfs"
)

type none = struct{}

// onNames does fn in every copy.
func (f *FS) onNames(fn func(r *replica) error) error {
	f.ns.RLock()
	defer f.ns.RUnlock()
	_, err := each(f, func(r *replica) (none, error) { return none{}, fn(r) }, nil)
	return err
}

// Create implements vfs.FS.
func (f *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	rel, ok := f.rel(name)
	if !ok {
		return f.FS.Create(name, category)
	}
	f.pin(rel)
	defer f.touched(rel)
	return f.openWriter(rel, func(r *replica) (vfs.File, error) { return r.FS.Create(r.path(rel), category) })
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	from, ok1 := f.rel(oldname)
	to, ok2 := f.rel(newname)
	if !ok1 || !ok2 {
		return nil, vfs.ErrUnsupported
	}
	f.pin(from)
	f.pin(to)
	defer f.touched(from)
	defer f.touched(to)
	return f.openWriter(to, func(r *replica) (vfs.File, error) {
		return r.FS.ReuseForWrite(r.path(from), r.path(to), category)
	})
}

// OpenReadWrite implements vfs.FS. Pebble uses it for a cache of remote storage only.
func (f *FS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, vfs.ErrUnsupported
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldname, newname string) error {
	from, ok1 := f.rel(oldname)
	to, ok2 := f.rel(newname)
	if !ok1 || !ok2 {
		return vfs.ErrUnsupported
	}
	f.pin(from)
	f.pin(to)
	f.ns.RLock() // till all is noted: a copy that joins goes by the writers' names
	defer f.ns.RUnlock()
	defer f.touched(from)
	defer f.touched(to)
	_, err := each(f, func(r *replica) (none, error) { return none{}, r.FS.Rename(r.path(from), r.path(to)) }, nil)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.believe(from)
	f.believe(to)
	for w := range f.writers {
		if w.rel == from {
			w.rel = to
		}
	}
	return nil
}

// Link implements vfs.FS.
func (f *FS) Link(oldname, newname string) error {
	from, ok1 := f.rel(oldname)
	to, ok2 := f.rel(newname)
	if !ok1 || !ok2 {
		return vfs.ErrUnsupported
	}
	return f.onNames(func(r *replica) error { return r.FS.Link(r.path(from), r.path(to)) })
}

// Remove implements vfs.FS. A file that is missing in some copies only is removed.
func (f *FS) Remove(name string) error {
	rel, ok := f.rel(name)
	if !ok {
		return f.FS.Remove(name)
	}
	f.pin(rel)
	f.ns.RLock()
	defer f.ns.RUnlock()
	defer f.touched(rel)
	absent, err := each(f, func(r *replica) (error, error) {
		err := r.FS.Remove(r.path(rel))
		if isAbsent(err) {
			return err, nil
		}
		return nil, err
	}, nil)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.believe(rel) // now that nobody can find it damaged any more; see forget
	f.mu.Unlock()
	for _, missing := range absent {
		if missing == nil {
			return nil
		}
		err = missing
	}
	return err
}

// RemoveAll implements vfs.FS.
func (f *FS) RemoveAll(name string) error {
	rel, ok := f.rel(name)
	if !ok {
		return f.FS.RemoveAll(name)
	}
	f.pin(rel)
	defer f.touched(rel)
	return f.onNames(func(r *replica) error { return r.FS.RemoveAll(r.path(rel)) })
}

// MkdirAll implements vfs.FS. The copies' own directories are durable then.
func (f *FS) MkdirAll(dir string, perm os.FileMode) error {
	rel, ok := f.rel(dir)
	if !ok {
		return f.FS.MkdirAll(dir, perm)
	}
	return f.onNames(func(r *replica) error {
		if rel == "" {
			return r.makeDir(perm)
		}
		return r.FS.MkdirAll(r.path(rel), perm)
	})
}

// makeDir makes the copy's directory. Its parents' own entries are durable before: a
// drive's directory, which is older than it.
func (r *replica) makeDir(perm os.FileMode) error {
	if _, err := r.FS.Stat(r.Dir); err == nil {
		return nil
	}
	if err := r.FS.MkdirAll(r.Dir, perm); err != nil {
		return err
	}
	d, err := r.FS.OpenDir(r.FS.PathDir(r.Dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock implements vfs.FS: it locks the directory in every copy. Any copy that another
// process has is an error, and so are two paths of one directory; one that cannot be
// locked for another reason is put out of service.
func (f *FS) Lock(name string) (io.Closer, error) {
	rel, ok := f.rel(name)
	if !ok {
		return f.FS.Lock(name)
	}
	f.ns.RLock()
	defer f.ns.RUnlock()
	type result struct {
		lock io.Closer
		err  error // another process has it
	}
	locks, err := each(f, func(r *replica) (result, error) {
		c, err := r.FS.Lock(r.path(rel))
		if errors.Is(err, unix.EAGAIN) {
			return result{err: err}, nil
		}
		return result{lock: c}, err
	}, func(res result) {
		if res.lock != nil {
			_ = res.lock.Close()
		}
	})
	if err != nil {
		return nil, err
	}
	l := &lock{f}
	for r, res := range locks {
		if res.err != nil {
			err = res.err
			continue
		}
		_ = r.keep(res.lock) // where it was put out of service meanwhile, it needs none
	}
	for _, r := range f.replicas() {
		if others := f.others(r); err == nil && len(others) > 0 {
			_, err = bounded(f, r, f.opts.Patience, func() (none, error) { return none{}, r.apart(others) }, nil)
			if !errors.Is(err, ErrSame) {
				err = nil // what else there is to say, Equalize will
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	f.mu.Lock()
	f.locks = append(f.locks, rel)
	f.mu.Unlock()
	return l, nil
}

type lock struct{ f *FS }

// Close unlocks every copy in service; one that was put out was unlocked then. It does
// not wait for one of several that hangs: the process's end unlocks it too.
func (l *lock) Close() error {
	set := l.f.replicas()
	if len(set) == 1 {
		return set[0].unlock()
	}
	done := make(chan error, len(set))
	for _, r := range set {
		go func() { done <- r.unlock() }()
	}
	timer := newPatience(l.f.opts.Patience)
	defer timer.stop()
	var err error
	for left := len(set); left > 0; {
		select {
		case e := <-done:
			err = errors.Join(err, e)
			left--
		case <-timer.timer.C:
			if timer.over() {
				left = 0
			}
		}
	}
	return err
}

// List implements vfs.FS.
func (f *FS) List(dir string) ([]string, error) {
	rel, ok := f.rel(dir)
	if !ok {
		return f.FS.List(dir)
	}
	return first(f, func(r *replica) ([]string, error) { return r.FS.List(r.path(rel)) })
}

// Stat implements vfs.FS.
func (f *FS) Stat(name string) (vfs.FileInfo, error) {
	rel, ok := f.rel(name)
	if !ok {
		return f.FS.Stat(name)
	}
	return first(f, func(r *replica) (vfs.FileInfo, error) { return r.FS.Stat(r.path(rel)) })
}

// GetDiskUsage implements vfs.FS, for the first copy that answers.
func (f *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) {
	rel, ok := f.rel(path)
	if !ok {
		return f.FS.GetDiskUsage(path)
	}
	return first(f, func(r *replica) (vfs.DiskUsage, error) { return r.FS.GetDiskUsage(r.path(rel)) })
}

// OpenDir implements vfs.FS.
func (f *FS) OpenDir(name string) (vfs.File, error) {
	rel, ok := f.rel(name)
	if !ok {
		return f.FS.OpenDir(name)
	}
	f.ns.RLock()
	defer f.ns.RUnlock()
	dirs, err := each(f, func(r *replica) (vfs.File, error) { return r.FS.OpenDir(r.path(rel)) },
		func(d vfs.File) { _ = d.Close() })
	if err != nil {
		return nil, err
	}
	return &directory{fs: f, rel: rel, dirs: dirs}, nil
}

// directory is an open directory.
type directory struct {
	vfs.File // nil: what is not implemented is not used
	fs       *FS
	rel      string
	dirs     map[*replica]vfs.File // guarded by fs.ns
}

// Sync implements vfs.File. A copy that joined since the directory was opened is
// opened now: ns is held for reading only, so it is not kept.
func (d *directory) Sync() error {
	return d.fs.onNames(func(r *replica) error {
		if dir := d.dirs[r]; dir != nil {
			return dir.Sync()
		}
		dir, err := r.FS.OpenDir(r.path(d.rel))
		if err != nil {
			return err
		}
		return errors.Join(dir.Sync(), dir.Close())
	})
}

func (d *directory) SyncData() error                   { return d.Sync() }
func (d *directory) SyncTo(int64) (bool, error)        { return false, nil }
func (d *directory) Prefetch(int64, int64) error       { return nil }
func (d *directory) Preallocate(int64, int64) error    { return nil }
func (d *directory) Fd() uintptr                       { return vfs.InvalidFd }
func (d *directory) Stat() (vfs.FileInfo, error)       { return d.fs.Stat(d.fs.join(d.rel)) }
func (d *directory) Read([]byte) (int, error)          { return 0, vfs.ErrUnsupported }
func (d *directory) ReadAt([]byte, int64) (int, error) { return 0, vfs.ErrUnsupported }
func (d *directory) Write([]byte) (int, error)         { return 0, vfs.ErrUnsupported }

func (d *directory) Close() error {
	var err error
	single := len(d.fs.replicas()) == 1
	for r, dir := range d.dirs {
		if single && !r.gone() {
			err = errors.Join(err, dir.Close())
			continue
		}
		go func() { _ = dir.Close() }() // of a directory that was only synced
	}
	return err
}

func (f *FS) join(rel string) string {
	if rel == "" {
		return f.dir
	}
	return f.FS.PathJoin(f.dir, rel)
}
