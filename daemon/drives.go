package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/ioring"
)

// Names inside a directory drive.
const (
	dataFile = "data" // the drive's byte space
	metaDir  = "meta" // a copy of the metadata store, on some of the drives
)

// answerTime is how long a path may take to tell what is there. A path that takes
// longer counts as hung and is left alone.
const answerTime = 10 * time.Second

// errSilent is the error of a path that does not tell what is there.
var errSilent = fmt.Errorf("it does not answer within %s", answerTime)

// location is what is at a path where a drive is, was, or is to be.
type location struct {
	path  string // absolute
	file  string // what is opened: the device, or the data file of the directory
	block bool
	fresh bool            // holds nothing yet
	id    *drive.Identity // of the drive that is there, if any
	err   error           // why none can be opened there
}

// examine looks at what is at path, for a bounded time, and changes nothing.
func examine(path string) location { return bounded(path, look) }

// bounded gives look the time that a path may take.
func bounded(path string, look func(string) location) location {
	loc, ok := within(answerTime, func() location { return look(path) })
	if !ok {
		return location{path: path, file: filepath.Join(path, dataFile), err: fmt.Errorf("drive %s: %w", path, errSilent)}
	}
	return loc
}

// look is examine that takes its time.
func look(path string) location {
	path = absolute(path)
	loc, err := locate(path)
	if err == nil && !loc.fresh {
		err = loc.identify()
	}
	loc.path, loc.err = path, err
	return loc
}

// identify reads the superblock.
func (l *location) identify() error {
	id, ok, err := drive.Identify(l.file)
	switch {
	case err != nil && l.block && errors.Is(err, drive.ErrForeign):
		return fmt.Errorf("drive %s is not blank, and anything else than a drive of Sluice is not overwritten (clear its first 2 MiB to have it formatted): %w", l.path, err)
	case err != nil:
		return fmt.Errorf("drive %s: %w", l.path, err)
	case !ok:
		l.fresh = true // a format was cut short
	default:
		l.id = &id
	}
	return nil
}

// within runs fn and returns its result, or false when that takes longer than
// limit; fn goes on by itself then.
func within[T any](limit time.Duration, fn func() T) (T, bool) {
	done := make(chan T, 1)
	go func() { done <- fn() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case v := <-done:
		return v, true
	case <-timer.C:
		var none T
		return none, false
	}
}

// absolute is filepath.Abs; without a working directory paths stay as they are.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

// locate examines a drive path without changing anything.
func locate(path string) (location, error) {
	st, err := os.Stat(path)
	loc := location{path: path, file: filepath.Join(path, dataFile)}
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(path, "/dev/"):
		return loc, fmt.Errorf("drive %s: there is no such device", path)
	case errors.Is(err, fs.ErrNotExist):
		loc.fresh = true
		return loc, nil
	case err != nil:
		return loc, fmt.Errorf("drive: %w", err)
	case st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0:
		fresh, err := blankDevice(path)
		return location{path: path, file: path, block: true, fresh: fresh}, err
	case !st.IsDir():
		return loc, fmt.Errorf("drive %s: neither a directory nor a block device", path)
	}
	return locateDir(path)
}

// locateDir accepts an empty directory or one that holds a Sluice drive.
func locateDir(path string) (location, error) {
	loc := location{path: path, file: filepath.Join(path, dataFile)}
	entries, err := os.ReadDir(path)
	if err != nil {
		return loc, fmt.Errorf("drive: %w", err)
	}
	others := ""
	for _, e := range entries {
		switch e.Name() {
		case dataFile, metaDir, "lost+found": // the last is every new ext4's
		default:
			others = e.Name()
		}
	}
	st, err := os.Stat(loc.file)
	switch {
	case err == nil:
		loc.fresh = st.Size() == 0
	case !errors.Is(err, fs.ErrNotExist):
		return loc, fmt.Errorf("drive: %w", err)
	case others != "":
		return loc, fmt.Errorf("drive %s: %w: the directory is not empty (it holds %q) and no drive was formatted in it", path, drive.ErrForeign, others)
	default:
		loc.fresh = true
	}
	return loc, nil
}

// blankDevice reports whether the first MiB of a block device is all zero. What
// else may be on it is for drive.Open to judge.
func blankDevice(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("drive: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	n, err := f.ReadAt(buf, 0)
	if n == 0 && err != nil {
		return false, fmt.Errorf("drive %s: %w", path, err)
	}
	for _, b := range buf[:n] {
		if b != 0 {
			return false, nil
		}
	}
	return true, nil
}

// openDrive opens the drive at loc, formatting it for cluster when loc is blank,
// and refusing it when it is another cluster's. n counts the drives opened so far.
func (d *daemon) openDrive(ctx context.Context, n int, loc location, cluster [16]byte) (*drive.Drive, error) {
	if !loc.block && loc.fresh {
		if err := makeDirs(loc.path); err != nil {
			return nil, err
		}
	}
	cfg, log := d.cfg, d.log.With("drive", loc.path)
	if !loopAlone(cfg, max(len(d.locs), n+1)) {
		d.alone.Store(false)
	}
	dev, err := ioring.Open(loc.file, d.arena, ioring.Options{
		Mode:     ioring.Mode(cfg.IO),
		Depth:    cfg.Depth,
		CPU:      loopCPU(cfg, allowedCPUs(), n),
		Alone:    &d.alone,
		Logger:   log,
		OpenFile: d.opened.openFile,
	})
	if err != nil {
		return nil, err
	}
	opts := drive.Options{Cluster: cluster, Arena: d.arena, Limit: cfg.DriveSize, Logger: log}
	if !loc.block {
		opts.Reserve = reserveOf(cfg, loc.path)
	}
	dr, err := drive.Open(ctx, dev, opts)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	if loc.fresh {
		log.Info("formatted a new drive", "id", dr.ID())
	}
	return dr, nil
}

// reserveOf is what a directory drive leaves free for the metadata: the setting,
// but at most a tenth of a small file system.
func reserveOf(cfg *config.Config, path string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return cfg.Reserve
	}
	return min(cfg.Reserve, int64(st.Blocks)*st.Bsize/10)
}

// inode names a file for as long as it exists.
type inode struct{ dev, ino uint64 }

// inodeOf returns the inode of the file, or device, at path.
func inodeOf(path string) (inode, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return inode{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return inode{dev: uint64(st.Rdev)}, nil
	}
	return inode{uint64(st.Dev), st.Ino}, nil
}
