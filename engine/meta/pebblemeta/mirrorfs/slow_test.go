package mirrorfs

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func create(t *testing.T, f *FS, name string) vfs.File {
	t.Helper()
	w, err := f.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("text")); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestAllStandStill: a machine whose drives all stand still for long has all copies
// when they go on, and no operation has failed.
func TestAllStandStill(t *testing.T) {
	f, disks, gone := setup(t, 2, Options{Patience: 50 * time.Millisecond})
	w := create(t, f, "c0/x1")
	leave := make(chan struct{})
	for _, d := range disks {
		d.set(func(errorfs.Op) error { <-leave; return nil })
	}
	done := make(chan error, 1)
	go func() { done <- w.Sync() }()
	select {
	case err := <-done:
		t.Fatalf("answered: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	close(leave)
	if err := errors.Join(<-done, w.Close()); err != nil {
		t.Error(err)
	}
	if len(f.Dirs()) != 2 || len(*gone) != 0 {
		t.Errorf("left %v, gone %v", f.Dirs(), *gone)
	}
}

// TestSlowInTurn: two files, each slow on another drive. One copy may be given up, but
// the other stays, however slow it is, and no operation fails.
func TestSlowInTurn(t *testing.T) {
	f, disks, gone := setup(t, 2, Options{Patience: 50 * time.Millisecond})
	files := []vfs.File{create(t, f, "c0/x0"), create(t, f, "c0/x1")}
	leave := make(chan struct{})
	for i, d := range disks {
		slow := []string{"c0/x0", "c1/x1"}[i]
		d.set(func(op errorfs.Op) error {
			if op.Path == slow {
				<-leave
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for _, w := range files {
		wg.Go(func() {
			if err := w.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	close(leave)
	wg.Wait()
	if len(f.Dirs()) < 1 || len(*gone) > 1 {
		t.Errorf("left %v, gone %v", f.Dirs(), *gone)
	}
	if err := errors.Join(files[0].Close(), files[1].Close()); err != nil {
		t.Error(err)
	}
}

// TestSlowReadBlamesNoGood: a copy that is slow to be read stays when the other one
// cannot be written to.
func TestSlowReadBlamesNoGood(t *testing.T) {
	f, disks, _ := setup(t, 2, Options{Patience: 50 * time.Millisecond, ReadPatience: 10 * time.Millisecond})
	w := create(t, f, "c0/x1")
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	var dead atomic.Bool
	leave := make(chan struct{})
	disks[0].set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileReadAt {
			<-leave
		}
		return nil
	})
	disks[1].set(func(op errorfs.Op) error {
		if dead.Load() && op.Kind != errorfs.OpFileReadAt && op.Kind != errorfs.OpOpen {
			return errBad
		}
		return nil
	})
	dead.Store(true)
	r, err := f.Open("c0/x1")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(struct{ io.Reader }{r}); err != nil || string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
	time.Sleep(400 * time.Millisecond)
	if !slices.Contains(f.Dirs(), "c0") {
		t.Errorf("left %v", f.Dirs())
	}
	close(leave)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestLockOfBrokenCopy: a drive that became read-only, or hangs, does not keep a store
// from being opened with the others.
func TestLockOfBrokenCopy(t *testing.T) {
	for _, hang := range []bool{false, true} {
		f, disks, gone := setup(t, 2, Options{Patience: 50 * time.Millisecond})
		leave := make(chan struct{})
		f.set.Store(&[]*replica{f.replicas()[0], newReplica(Copy{Dir: "c1", FS: lockFS{disks[1].mem, func() error {
			if hang {
				<-leave
			}
			return unix.EROFS
		}}})})
		l, err := f.Lock("c0/LOCK")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(*gone, []string{"c1"}) {
			t.Errorf("gone %v", *gone)
		}
		close(leave)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

type lockFS struct {
	vfs.FS
	lock func() error
}

func (l lockFS) Lock(string) (io.Closer, error) { return nil, l.lock() }

// TestSameDirectory: a directory is never a copy of itself by another path, and nothing
// in it is removed.
func TestSameDirectory(t *testing.T) {
	base := t.TempDir()
	dir, link := base+"/a", base+"/b"
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	f := New([]Copy{{Dir: dir, FS: vfs.Default}}, Options{})
	w := create(t, f, dir+"/000001.sst")
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if err := f.Join(context.Background(), Copy{Dir: link, FS: vfs.Default}, nil); !errors.Is(err, ErrSame) {
		t.Errorf("joined: %v", err)
	}
	if b, err := os.ReadFile(dir + "/000001.sst"); err != nil || string(b) != "text" {
		t.Errorf("%q %v", b, err)
	}
	both := New([]Copy{{Dir: dir, FS: vfs.Default}, {Dir: link, FS: vfs.Default}}, Options{})
	if _, err := both.Lock(dir + "/LOCK"); !errors.Is(err, ErrSame) {
		t.Errorf("locked: %v", err)
	}
}

// TestForeignDirectory: what is no copy is not removed for one.
func TestForeignDirectory(t *testing.T) {
	for _, name := range []string{"photo.jpg", ".bashrc", "sub/x"} {
		base := t.TempDir()
		f := New([]Copy{{Dir: base + "/a", FS: vfs.Default}}, Options{})
		if err := f.MkdirAll(base+"/a", 0o700); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(os.MkdirAll(base+"/b/sub", 0o700), os.WriteFile(base+"/b/"+name, nil, 0o600))
		if name != "sub/x" {
			err = errors.Join(err, os.Remove(base+"/b/sub"))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Join(context.Background(), Copy{Dir: base + "/b", FS: vfs.Default}, nil); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(base + "/b/" + name); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]bool{
		"000012.sst": true, "000012.blob": true, "000012-003.log": true, "MANIFEST-000001": true, "OPTIONS-000003": true, "LOCK": true,
		"marker.manifest.000001.MANIFEST-000001": true, ".COPY-123": true, "x.mirroring": false, "000012.sst.mirroring": true,
		"000012.sst.encrypting": true, "ENCRYPTION": true, "beside": true, "notes.log": false, "12.txt": false, probeName: true,
	} {
		if ours(name, []string{"beside"}) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

// TestLateAnswer: the late answer of a copy that was given up already does not stand
// for the answer of another one.
func TestLateAnswer(t *testing.T) {
	for _, late := range []error{nil, errBad} {
		f, _, _ := setup(t, 2, Options{})
		set := f.replicas()
		w := newWaiter(f, set)
		done := make(chan error, 1)
		go func() { done <- w.wait() }()
		if err := f.RemoveCopy(set[0].Dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // it is dropped
		w.answers <- outcome{set[0], late}
		select {
		case err := <-done:
			t.Fatalf("answered without the other copy: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		w.answers <- outcome{set[1], nil}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
