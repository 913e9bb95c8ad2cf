package pebblemeta

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// When Pebble changes to a new log while the old one has failed, or the new one cannot
// be made, it panics with its lock released, whose deferred release then ends the
// process. So such an error does not reach it: the store is taken out of service, and
// the goroutine is parked, as in Fatalf.

// park takes the store out of service and does not return, unless the store is being
// opened or closed: then errors may reach Pebble, which passes them on.
func (s *Store) park(err error) {
	if err == nil || !s.running.Load() {
		return
	}
	s.fatal.Store(true)
	s.die(err)
	select {}
}

// isLog tells the names of write-ahead logs.
func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

// Create implements vfs.FS.
func (g guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.cryptFS.Create(name, category)
	return g.guardLog(name, f, err)
}

// ReuseForWrite implements vfs.FS.
func (g guardFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.cryptFS.ReuseForWrite(oldname, newname, category)
	return g.guardLog(newname, f, err)
}

func (g guardFS) guardLog(name string, f vfs.File, err error) (vfs.File, error) {
	if !isLog(name) {
		return f, err
	}
	if err != nil {
		g.s.park(err)
		return nil, err
	}
	return &logFile{File: f, s: g.s}, nil
}

// OpenDir implements vfs.FS.
func (g guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.cryptFS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &dirFile{f, g.s}, nil
}

// logFile is a write-ahead log. Its own goroutine in Pebble writes, syncs and, once that
// has ended, closes it.
type logFile struct {
	vfs.File
	s      *Store
	failed error // the first one
}

func (f *logFile) note(err error) error {
	if err != nil && f.failed == nil {
		f.failed = err
	}
	return err
}

func (f *logFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.note(err)
}

func (f *logFile) Sync() error     { return f.note(f.File.Sync()) }
func (f *logFile) SyncData() error { return f.note(f.File.SyncData()) }

func (f *logFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.note(err)
}

func (f *logFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	f.s.park(err)
	return info, err
}

// Close implements vfs.File.
func (f *logFile) Close() error {
	err := f.note(f.File.Close())
	f.s.park(f.failed)
	return err
}

// dirFile is a directory, to be synced. A sync that failed is final, as with logs.
type dirFile struct {
	vfs.File
	s *Store
}

func (f *dirFile) Sync() error {
	err := f.File.Sync()
	f.s.park(err)
	return err
}
