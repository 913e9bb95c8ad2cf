package mirrorfs

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// tempSuffix ends the names of files under way from one copy to another.
	tempSuffix = ".mirroring"
	copyBuffer = 256 << 10 // bytes
)

// view shows one copy, by the directory's own path, for reading.
type view struct {
	vfs.FS
	fs *FS
	r  *replica
}

func (v view) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	rel, ok := v.fs.rel(name)
	if !ok {
		return nil, os.ErrNotExist
	}
	return bounded(v.fs, v.r, v.fs.opts.Patience, func() (vfs.File, error) {
		file, err := v.r.FS.Open(v.r.path(rel), opts...)
		if err != nil {
			return nil, err
		}
		return &viewFile{handle: &handle{File: file}, v: v}, nil
	}, func(file vfs.File) { _ = file.Close() })
}

func (v view) List(dir string) ([]string, error) {
	rel, ok := v.fs.rel(dir)
	if !ok {
		return nil, os.ErrNotExist
	}
	return bounded(v.fs, v.r, v.fs.opts.Patience, func() ([]string, error) { return v.r.FS.List(v.r.path(rel)) }, nil)
}

func (v view) Stat(name string) (vfs.FileInfo, error) {
	rel, ok := v.fs.rel(name)
	if !ok {
		return nil, os.ErrNotExist
	}
	return bounded(v.fs, v.r, v.fs.opts.Patience, func() (vfs.FileInfo, error) { return v.r.FS.Stat(v.r.path(rel)) }, nil)
}

// viewFile waits for no drive longer than Options.Patience.
type viewFile struct {
	*handle
	v   view
	pos int64 // of Read
}

func (f *viewFile) ReadAt(p []byte, off int64) (int, error) {
	type result struct {
		buf []byte
		err error
	}
	res, err := bounded(f.v.fs, f.v.r, f.v.fs.opts.Patience, func() (result, error) {
		if !f.use() {
			return result{}, os.ErrClosed
		}
		defer f.release()
		buf := make([]byte, len(p))
		n, err := f.File.ReadAt(buf, off)
		return result{buf[:n], err}, nil
	}, nil)
	if err != nil {
		return 0, err
	}
	return copy(p, res.buf), res.err
}

func (f *viewFile) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Views shows each copy in service by itself, for reading: the first one first.
func (f *FS) Views() (out []vfs.FS) {
	for _, r := range f.replicas() {
		out = append(out, view{r.FS, f, r})
	}
	return out
}

// Written tells whether name is open for writing.
func (f *FS) Written(name string) bool {
	rel, ok := f.rel(name)
	return ok && f.written(rel)
}

// Settle waits until files that were found damaged are replaced, or cannot be.
func (f *FS) Settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.healers > 0 {
		f.settled.Wait()
	}
}

// believe forgets what was held against the file. mu is held.
func (f *FS) believe(rel string) {
	f.odd.Add(-int64(len(f.bad[rel])))
	delete(f.bad, rel)
}

// distrust has reads of rel ask other copies first, and the file of c be replaced.
func (f *FS) distrust(rel string, c *replica, cause error) {
	c.faults.Add(1)
	f.switched.Add(1)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bad[rel] == nil {
		f.bad[rel] = map[*replica]struct{}{}
	}
	if _, ok := f.bad[rel][c]; ok {
		return
	}
	f.bad[rel][c] = none{}
	f.odd.Add(1)
	f.opts.Logger.Warn("metadata: a copy's file is damaged", "file", c.path(rel), "err", cause)
	f.healers++
	go func() {
		f.heal(rel)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.healers--
		f.settled.Broadcast()
	}()
}

// forget believes a file that is in no copy any more: it may have been found damaged,
// for it was not there, after Remove.
func (f *FS) forget(rel string) {
	if _, err := f.Stat(f.join(rel)); isAbsent(err) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.believe(rel)
	}
}

// Distrust is called when name did not verify. It examines the copies' files, has
// reads avoid those that are damaged, and has them replaced. It tells whether another
// try may find better; after as many tries as there are copies it will not.
func (f *FS) Distrust(name string, cause error) bool {
	rel, ok := f.rel(name)
	if !ok || rel == "" {
		return false
	}
	set := f.replicas()
	if len(set) == 1 || f.opts.Check == nil {
		return false
	}
	f.checking.Lock()
	defer f.checking.Unlock()
	var damaged []*replica
	for _, r := range set {
		if f.isBad(rel, r) {
			damaged = append(damaged, r)
			continue
		}
		if err := f.opts.Check(view{r.FS, f, r}, name); err != nil {
			damaged = append(damaged, r)
			if len(damaged) < len(set) {
				f.distrust(rel, r, err)
			}
		}
	}
	if len(damaged) == len(set) {
		// Each may have other places that are whole: they are tried in turn.
		f.turn(rel, cause)
		f.forget(rel)
	}
	return true
}

// DistrustIn is Distrust for one copy, that of a view.
func (f *FS) DistrustIn(v vfs.FS, name string, cause error) {
	rel, ok := f.rel(name)
	if in, is := v.(view); is && ok && len(f.replicas()) > 1 && !in.r.gone() {
		f.distrust(rel, in.r, cause)
	}
}

func (f *FS) isBad(rel string, r *replica) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, bad := f.bad[rel][r]
	return bad
}

// turn has reads of a file that is damaged in every copy begin with the next one.
func (f *FS) turn(rel string, cause error) {
	order := f.order(rel)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.believe(rel)
	f.bad[rel] = map[*replica]struct{}{order[0]: {}}
	f.odd.Add(1)
	f.opts.Logger.Error("metadata: a file is damaged in every copy", "file", rel, "err", cause)
}

// heal replaces the files of rel that are not to be believed by one that is.
func (f *FS) heal(rel string) {
	f.healing.Lock()
	defer f.healing.Unlock()
	f.mu.Lock()
	var targets []*replica
	for r := range f.bad[rel] {
		targets = append(targets, r)
	}
	f.mu.Unlock()
	for _, source := range f.replicas() {
		if f.isBad(rel, source) {
			continue
		}
		if f.opts.Check != nil {
			if err := f.opts.Check(view{source.FS, f, source}, f.join(rel)); err != nil {
				continue
			}
		}
		for _, target := range targets {
			if !target.gone() {
				f.replace(rel, source, target)
			}
		}
		return
	}
	f.forget(rel)
}

// replace puts source's file in the place of target's.
func (f *FS) replace(rel string, source, target *replica) {
	readErr, err := bounded(f, target, f.opts.Patience*6, func() (error, error) {
		err, readErr := copyFile(source, target, rel, rel+tempSuffix)
		return readErr, err
	}, nil)
	if isAbsent(err) || isAbsent(readErr) { // removed meanwhile
		f.mu.Lock()
		defer f.mu.Unlock()
		f.believe(rel)
		return
	}
	if readErr != nil || errors.Is(err, unix.ENOSPC) {
		// The source's fault, or only lack of room: the target is as good as before.
		f.opts.Logger.Error("metadata: a copy's damaged file could not be replaced", "file", target.path(rel), "err", errors.Join(readErr, err))
		return
	}
	if err != nil {
		f.giveUp(target, err)
		return
	}
	f.ns.Lock()
	defer f.ns.Unlock()
	if !f.isBad(rel, target) || f.written(rel) || target.gone() { // removed or made anew meanwhile
		_ = target.FS.Remove(target.path(rel + tempSuffix))
		return
	}
	_, err = bounded(f, target, f.opts.Patience, func() (none, error) {
		err := target.FS.Rename(target.path(rel+tempSuffix), target.path(rel))
		if err == nil {
			err = syncDir(target)
		}
		return none{}, err
	}, nil)
	if err != nil {
		go f.giveUp(target, err)
		return
	}
	f.mu.Lock()
	if _, ok := f.bad[rel][target]; ok { // not yet believed, as it is by Distrust and by Remove
		delete(f.bad[rel], target)
		f.odd.Add(-1)
		if len(f.bad[rel]) == 0 {
			delete(f.bad, rel)
		}
	}
	all := f.readers[rel]
	for r := range all {
		r.reopen(target)
	}
	f.mu.Unlock()
	f.healed.Add(1)
	f.opts.Logger.Info("metadata: a copy's damaged file was replaced", "file", target.path(rel))
}

// giveUp puts r out of service, if it fails, or hangs while another copy answers.
func (f *FS) giveUp(r *replica, err error) {
	if !errors.Is(err, ErrHung) || f.answers(f.others(r)) {
		_ = f.eject(r, err)
	}
}

// reopen forgets the file of c, which was replaced.
func (r *reader) reopen(c *replica) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if file := r.handles[c]; file != nil && !r.pinned {
		delete(r.handles, c)
		go func() { _ = file.Close() }()
	}
}

// written tells whether rel is open for writing.
func (f *FS) written(rel string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.writers {
		if w.rel == rel {
			return true
		}
	}
	return false
}

func syncDir(r *replica) error {
	d, err := r.FS.OpenDir(r.Dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// copyFile copies source's rel to target's to, durably but for the name. It tells the
// errors of the one from those of the other; what was begun is removed.
func copyFile(source, target *replica, rel, to string) (err, readErr error) {
	src, readErr := source.FS.Open(source.path(rel), vfs.SequentialReadsOption)
	if readErr != nil {
		return nil, readErr
	}
	defer src.Close()
	dst, err := target.FS.Create(target.path(to), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err, nil
	}
	in := &errReader{r: src}
	_, err = io.CopyBuffer(struct{ io.Writer }{dst}, in, make([]byte, copyBuffer))
	if in.err == nil && err == nil {
		err = dst.Sync()
	}
	closed := dst.Close()
	switch {
	case in.err != nil:
		_ = target.FS.Remove(target.path(to)) // else the next start does
		return nil, in.err
	case err != nil || closed != nil:
		_ = target.FS.Remove(target.path(to))
		return errors.Join(err, closed), nil
	}
	return nil, nil
}

// mirrored tells the files that every copy has from those that are its own: the lock,
// the record of the copy, and files under way.
func mirrored(name string) bool {
	return name != "LOCK" && name != "COPY" && name != lostFound && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, tempSuffix)
}
