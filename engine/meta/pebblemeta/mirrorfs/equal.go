package mirrorfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// class is the order in which files are made equal: what a file may name comes before
// it. Within a class no file needs another.
type class int

const (
	classData   class = iota // tables and blob files: written once, synced before anything names them
	classLog                 // write-ahead logs
	classOther               // options, and what is kept beside the store
	classIndex               // manifests: name tables, and the first log that counts
	classMarker              // name manifests
	classes
)

func classOf(name string) class {
	switch {
	case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob"):
		return classData
	case strings.HasSuffix(name, ".log"):
		return classLog
	case strings.HasPrefix(name, "MANIFEST-"):
		return classIndex
	case strings.HasPrefix(name, "marker."), name == "CURRENT":
		return classMarker
	}
	return classOther
}

// Equalize makes the copies equal before Pebble opens them. A crash may have left
// copies that differ in bytes, files and names that were not durable everywhere, and
// so not acknowledged. No file is removed: each copy gets those that another one has,
// and of files that differ the better one, each as a whole. So at every moment each
// copy holds all that was durable, and a copy may be lost at any of them:
//
//   - A table or blob file that a manifest names was synced in all copies before, so
//     any is as good; the longer one is taken, for damage shortens.
//   - Of logs and manifests, choose tells the one with the most whole records, and of
//     those one that ends cleanly. It holds all that the others do. What a manifest
//     names is everywhere by then.
//   - Of a log or manifest that is obsolete in one copy and removed there, Pebble
//     removes the rest again.
//
// choose gets the name by the directory's own path and a view of each copy that has
// the file, and returns the number of the one to take. A copy that fails is put out
// of service, but not the last one.
func (f *FS) Equalize(ctx context.Context, choose func(name string, views []vfs.FS) int) error {
	if len(f.replicas()) == 1 {
		return nil
	}
	sizes := map[*replica]map[string]int64{}
	var names []string
	for _, r := range f.replicas() {
		files, err := f.sizes(r)
		if err != nil {
			if err := f.eject(r, err); err != nil {
				return err
			}
			continue
		}
		sizes[r] = files
		for name := range files {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for c := range classes {
		changed := map[*replica]bool{}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if classOf(name) == c {
				if err := f.equalize(name, sizes, choose, changed); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		for r := range changed {
			if _, err := orEject(f, r, func() (none, error) { return none{}, syncDir(r) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// orEject does fn in r; when it fails, r is put out of service, unless it is the last.
func orEject[T any](f *FS, r *replica, fn func() (T, error)) (v T, err error) {
	v, err = bounded(f, r, f.opts.Patience*6, fn, nil)
	if err == nil {
		return v, nil
	}
	if e := f.eject(r, err); e != nil {
		return v, errors.Join(e, err)
	}
	return v, nil
}

// sizes lists what r has. Files under way are removed.
func (f *FS) sizes(r *replica) (map[string]int64, error) {
	return bounded(f, r, f.opts.Patience*3, func() (map[string]int64, error) {
		names, err := r.FS.List(r.Dir)
		if err != nil {
			return nil, err
		}
		out := map[string]int64{}
		for _, name := range names {
			if strings.HasSuffix(name, tempSuffix) {
				if err := r.FS.Remove(r.path(name)); err != nil && !isAbsent(err) {
					return nil, err
				}
			}
			if !mirrored(name) {
				continue
			}
			info, err := r.FS.Stat(r.path(name))
			if isAbsent(err) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if !info.IsDir() {
				out[name] = info.Size()
			}
		}
		return out, nil
	}, nil)
}

// equalize makes one file equal.
func (f *FS) equalize(name string, sizes map[*replica]map[string]int64, choose func(string, []vfs.FS) int, changed map[*replica]bool) error {
	for range len(f.replicas()) + 1 {
		set := f.replicas()
		var have []*replica
		longest := 0
		equal := true
		for _, r := range set {
			size, ok := sizes[r][name]
			if !ok {
				equal = false
				continue
			}
			have = append(have, r)
			if size != sizes[have[0]][name] {
				equal = false
			}
			if size > sizes[have[longest]][name] {
				longest = len(have) - 1
			}
		}
		if len(have) == 0 {
			return nil // those that had it are out of service
		}
		best := have[longest]
		if classOf(name) != classData {
			same, err := f.same(name, have)
			if err != nil {
				return err
			}
			if same && equal {
				return nil
			}
			best = have[0]
			if !same && !pebbleName.MatchString(name) {
				// Kept beside the store by somebody, who knows which is the right one:
				// only copies without it get it.
				set = slices.DeleteFunc(slices.Clone(set), func(r *replica) bool { _, ok := sizes[r][name]; return ok })
			} else if !same {
				views := make([]vfs.FS, len(have))
				for i, r := range have {
					views[i] = view{r.FS, f, r}
				}
				best = have[choose(f.join(name), views)]
			}
		} else if equal {
			return nil
		}
		failed, err := f.spread(name, best, set, sizes, changed)
		if err != nil {
			return err
		}
		if !failed {
			return nil
		}
	}
	return errors.New("metadata: no copy of the file can be read")
}

// spread copies best's file to the other copies. failed tells that best could not be
// read, and is out of service.
func (f *FS) spread(name string, best *replica, set []*replica, sizes map[*replica]map[string]int64, changed map[*replica]bool) (failed bool, err error) {
	for _, r := range set {
		size, ok := sizes[r][name]
		if r == best || r.gone() || classOf(name) == classData && ok && size == sizes[best][name] {
			continue
		}
		readErr, err := orEject(f, r, func() (error, error) {
			err, readErr := moveFile(best, r, name)
			return readErr, err
		})
		if err != nil {
			return false, err
		}
		if readErr != nil {
			if err := f.eject(best, readErr); err != nil {
				return false, errors.Join(err, readErr)
			}
			return true, nil
		}
		if sizes[r] != nil {
			sizes[r][name] = sizes[best][name]
		}
		changed[r] = true
	}
	return false, nil
}

// moveFile puts a copy of source's file in the place of target's. It tells the errors
// of the one from those of the other.
func moveFile(source, target *replica, name string) (err, readErr error) {
	tmp := name + tempSuffix
	if err, readErr = copyFile(source, target, name, tmp); err != nil || readErr != nil {
		return err, readErr
	}
	return target.FS.Rename(target.path(tmp), target.path(name)), nil
}

// errReader keeps the error of reading.
type errReader struct {
	r   io.Reader
	err error
}

func (r *errReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// same compares the file of the copies that have it, byte by byte.
func (f *FS) same(name string, have []*replica) (bool, error) {
	var files []vfs.File
	defer func() {
		for _, file := range files {
			_ = file.Close()
		}
	}()
	for _, r := range have {
		file, err := view{r.FS, f, r}.Open(f.join(name))
		if err != nil {
			return false, nil // choose will see
		}
		files = append(files, file)
	}
	bufs := make([][]byte, len(files))
	for i := range bufs {
		bufs[i] = make([]byte, copyBuffer)
	}
	for off := int64(0); ; off += copyBuffer {
		end := false
		var first []byte
		for i, file := range files {
			n, err := file.ReadAt(bufs[i], off)
			if err != nil && err != io.EOF {
				return false, nil
			}
			if i == 0 {
				first, end = bufs[0][:n], n < copyBuffer
			} else if !bytes.Equal(bufs[i][:n], first) {
				return false, nil
			}
		}
		if end {
			return true, nil
		}
	}
}
