package mirrorfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
)

type faulty struct {
	mem  *vfs.MemFS
	fail atomic.Pointer[func(op errorfs.Op) error]
}

func (d *faulty) set(fn func(op errorfs.Op) error) { d.fail.Store(&fn) }

var errBad = errors.New("bad drive")

func setup(t *testing.T, n int, o Options) (*FS, []*faulty, *[]string) {
	t.Helper()
	var copies []Copy
	var disks []*faulty
	var mu sync.Mutex
	gone := &[]string{}
	if o.Eject == nil {
		o.Eject = func(_ context.Context, dir string, _ error) error {
			mu.Lock()
			defer mu.Unlock()
			*gone = append(*gone, dir)
			return nil
		}
	}
	for i := range n {
		d := &faulty{mem: vfs.NewMem()}
		disks = append(disks, d)
		copies = append(copies, Copy{Dir: fmt.Sprint("c", i), FS: faultfs.Wrap(d.mem, func(op errorfs.Op) error {
			if fn := d.fail.Load(); fn != nil {
				return (*fn)(op)
			}
			return nil
		})})
	}
	f := New(copies, o)
	if err := f.MkdirAll("c0", 0o755); err != nil {
		t.Fatal(err)
	}
	return f, disks, gone
}

func content(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(struct{ io.Reader }{f})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestWrites: every copy has every byte in order, though the caller uses its buffer
// again at once, and through renames, links and names used again.
func TestWrites(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		f, disks, _ := setup(t, n, Options{})
		w, err := f.Create("c0/000001.log", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		buf := make([]byte, 5000)
		for i := range 3000 { // more than may wait
			p := buf[:1+i*7%len(buf)]
			for j := range p {
				p[j] = byte(i + j)
			}
			want = append(want, p...)
			if got, err := w.Write(p); got != len(p) || err != nil {
				t.Fatal(got, err)
			}
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		if info, err := w.Stat(); err != nil || info.Size() != int64(len(want)) {
			t.Fatal(info, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Link("c0/000001.log", "c0/link"); err != nil {
			t.Fatal(err)
		}
		if err := f.Rename("c0/000001.log", "c0/000002.log"); err != nil {
			t.Fatal(err)
		}
		w, err = f.ReuseForWrite("c0/000002.log", "c0/000003.log", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("new")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.SyncData(), w.Close()); err != nil {
			t.Fatal(err)
		}
		copy(want, "new")
		for i, d := range disks {
			if !bytes.Equal(content(t, d.mem, fmt.Sprintf("c%d/000003.log", i)), want) {
				t.Errorf("copy %d of %d differs", i, n)
			}
			if names, err := d.mem.List(fmt.Sprint("c", i)); err != nil || len(names) != 2 || !slices.Contains(names, "link") {
				t.Errorf("%v %v", names, err)
			}
		}
		if err := f.Remove("c0/link"); err != nil {
			t.Error(err)
		}
		if _, err := f.Open("c0/link"); !isAbsent(err) {
			t.Errorf("opened: %v", err)
		}
		d, err := f.OpenDir("c0")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Sync(), d.Close(), f.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestOneCopy: nothing is handed over.
func TestOneCopy(t *testing.T) {
	f, _, _ := setup(t, 1, Options{})
	w, err := f.Create("c0/x1", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	p := make([]byte, 4096)
	if allocs := testing.AllocsPerRun(100, func() {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}); allocs > 1 { // of the file in memory, which grows
		t.Errorf("%v allocations for a write", allocs)
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines, %d before", now, before)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSlowCopy: what waits for a copy that hangs is bounded, and its goroutines end
// when it answers.
func TestSlowCopy(t *testing.T) {
	f, disks, gone := setup(t, 2, Options{Patience: 300 * time.Millisecond})
	w, err := f.Create("c0/x1", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	leave := make(chan struct{})
	disks[0].set(func(errorfs.Op) error { <-leave; return errBad })
	p := make([]byte, 64<<10)
	for range 100 {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(*gone, []string{"c0"}) || !slices.Equal(f.Dirs(), []string{"c1"}) {
		t.Errorf("gone %v, left %v", *gone, f.Dirs())
	}
	if got := content(t, disks[1].mem, "c1/x1"); len(got) != 100*len(p) {
		t.Error(len(got))
	}
	close(leave)
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines, %d before", now, before)
	}
}

// TestReaderOfReplacedFile reads what it opened, though the name is another file's and
// the copy that it read from is gone.
func TestReaderOfReplacedFile(t *testing.T) {
	f, disks, _ := setup(t, 2, Options{})
	put := func(name, text string) {
		w, err := f.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Write([]byte(text))
		if err := errors.Join(err, w.Sync(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	put("c0/a1", "old")
	put("c0/b1", "new")
	r, err := f.Open("c0/a1")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Rename("c0/b1", "c0/a1"); err != nil {
		t.Fatal(err)
	}
	disks[0].set(func(errorfs.Op) error { return errBad })
	if err := f.RemoveCopy("c0"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(struct{ io.Reader }{r}); err != nil || string(b) != "old" {
		t.Errorf("%q %v", b, err)
	}
	if err := f.RemoveCopy("c1"); !errors.Is(err, ErrLast) {
		t.Errorf("the last copy: %v", err)
	}
	if err := f.RemoveCopy("c7"); !errors.Is(err, ErrNoCopy) {
		t.Errorf("no copy: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestAlike: what fails in every copy alike is the caller's.
func TestAlike(t *testing.T) {
	f, disks, gone := setup(t, 2, Options{})
	for _, d := range disks {
		d.set(func(op errorfs.Op) error {
			if op.Kind == errorfs.OpCreate {
				return errBad
			}
			return nil
		})
	}
	if _, err := f.Create("c0/x", vfs.WriteCategoryUnspecified); !errors.Is(err, errBad) || len(*gone) != 0 {
		t.Errorf("%v, gone %v", err, *gone)
	}
	if err := f.Rename("c0/no", "c0/x"); !isAbsent(err) || len(*gone) != 0 {
		t.Errorf("%v, gone %v", err, *gone)
	}
}
