package pebblemeta

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/meta"
)

// logIn makes a log in the operating system's file system.
func logIn(t *testing.T, fs vfs.FS, name string) *asyncLog {
	t.Helper()
	f, err := fs.Create(filepath.Join(t.TempDir(), name), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	log, ok := f.(*asyncLog)
	if !ok {
		t.Fatalf("a log is a %T", f)
	}
	return log
}

func always() bool { return true }

// TestLogSync syncs more logs at a time than there are syncers.
func TestLogSync(t *testing.T) {
	fs := newLogFS(vfs.Default, always)
	defer fs.pool.close()
	var wg sync.WaitGroup
	for i := range 2 * logSyncers {
		log := logIn(t, fs, fmt.Sprintf("%06d.log", i))
		wg.Go(func() {
			for range 20 {
				if _, err := log.Write(make([]byte, 5000)); err != nil {
					t.Error(err)
				}
				if err := log.SyncData(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := fs.pool.made.Load(); n > logSyncers {
		t.Errorf("%d syncers", n)
	}
	if fs.pool.refused.Load() {
		t.Skip("the kernel has no such interface: every sync was an fdatasync")
	}
}

// TestLogSyncWays tells who goes which way: a lone caller, one among many, one whose
// file the kernel does not sync so.
func TestLogSyncWays(t *testing.T) {
	busy := false
	fs := newLogFS(vfs.Default, func() bool { return busy })
	defer fs.pool.close()
	log := logIn(t, fs, "000001.log")
	if err := log.SyncData(); err != nil || fs.pool.made.Load() != 0 {
		t.Errorf("a lone caller: %v, %d syncers", err, fs.pool.made.Load())
	}
	busy = true
	if err := log.SyncData(); err != nil {
		t.Error(err)
	}
	if fs.pool.refused.Load() {
		t.Skip("the kernel has no such interface")
	}
	if fs.pool.made.Load() != 1 {
		t.Errorf("%d syncers", fs.pool.made.Load())
	}
	r, w, err := os.Pipe() // cannot be synced
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	s := fs.pool.take()
	if begun, err := s.sync(w.Fd()); begun && !errors.Is(err, unix.EINVAL) {
		t.Errorf("a pipe: %v %v", begun, err)
	}
	if begun, err := s.sync(^uintptr(0)); begun && !errors.Is(err, unix.EBADF) {
		t.Errorf("no file: %v %v", begun, err)
	}
	if begun, err := s.sync(log.Fd()); !begun || err != nil {
		t.Errorf("after the errors: %v %v", begun, err)
	}
	fs.pool.put(s)
	// What was refused once is not tried again, and is synced all the same.
	log.File = pipeFd{log.File, w.Fd()}
	if err := log.SyncData(); err != nil || !fs.pool.refused.Load() {
		t.Errorf("refused: %v", err)
	}
	if f, err := fs.Create(filepath.Join(t.TempDir(), "000002.sst"), "test"); err != nil {
		t.Error(err)
	} else if _, ok := f.(*asyncLog); ok || f.Close() != nil {
		t.Errorf("a table is a %T", f)
	}
}

// TestLogSyncWithoutPoll: a sync whose eventfd cannot be waited for has its own outcome
// all the same.
func TestLogSyncWithoutPoll(t *testing.T) {
	fs := newLogFS(vfs.Default, always)
	defer fs.pool.close()
	log := logIn(t, fs, "000001.log")
	s, err := newSyncer()
	if err != nil {
		t.Skip("the kernel has no such interface")
	}
	event := s.event
	defer event.Close()
	if s.event, err = os.Open(os.DevNull); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for range 3 {
		if _, err := log.Write(make([]byte, 5000)); err != nil {
			t.Fatal(err)
		}
		if begun, err := s.sync(log.Fd()); err != nil {
			t.Errorf("%v %v", begun, err)
		}
	}
}

// pipeFd is a file that gives another one's descriptor out.
type pipeFd struct {
	vfs.File
	fd uintptr
}

func (f pipeFd) Fd() uintptr { return f.fd }

// TestLogSyncStore runs a store on the operating system's files with many callers, and
// opens it again.
func TestLogSyncStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	s, err := Open(dir, Options{Copies: []Copy{{Dir: filepath.Join(t.TempDir(), "n")}}})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				if err := s.Mutate(context.Background(), 1, object(b, fmt.Sprint(w, "/", i), uint64(1000*w+i+1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s.logSyncs.made.Load() == 0 && !s.logSyncs.refused.Load() {
		t.Error("no sync went without a thread")
	}
	if s.callers.Load() != 0 {
		t.Errorf("%d callers inside", s.callers.Load())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(dir, Options{Copies: []Copy{{Dir: filepath.Join(filepath.Dir(dir), "n2")}}}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for w := range 8 {
		if _, err := meta.GetObject(s, &b, fmt.Sprint(w, "/19")); err != nil {
			t.Error(err)
		}
	}
}
