package mirrorfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
)

// TestJoinsAtOnce: of copies made at the same time one is made, and who is refused is
// told which.
func TestJoinsAtOnce(t *testing.T) {
	f, _, _ := setup(t, 1, Options{})
	if err := create(t, f, "c0/x1").Close(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var made, refused atomic.Int64
	for _, dir := range []string{"d0", "d1"} {
		wg.Go(func() {
			mem := vfs.NewMem()
			if err := mem.MkdirAll(dir, 0o755); err != nil {
				t.Error(err)
				return
			}
			for range 200 {
				err := f.Join(t.Context(), Copy{Dir: dir, FS: mem}, nil)
				if err == nil {
					made.Add(1)
					err = f.RemoveCopy(dir)
				} else if strings.HasSuffix(err.Error(), "is being made") {
					refused.Add(1)
					err = nil
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if made.Load() == 0 || made.Load()+refused.Load() != 400 {
		t.Errorf("%d made, %d refused", made.Load(), refused.Load())
	}
}

// TestLateResult: what a copy answers after it was given up is not in what each
// returned.
func TestLateResult(t *testing.T) {
	f, _, _ := setup(t, 2, Options{Patience: 50 * time.Millisecond})
	leave, left := make(chan struct{}), make(chan struct{})
	f.ns.RLock()
	out, err := each(f, func(r *replica) (int, error) {
		if r.Dir == "c0" {
			<-leave
			time.AfterFunc(50*time.Millisecond, func() { close(left) })
		}
		return 1, nil
	}, nil)
	f.ns.RUnlock()
	if err != nil || len(out) != 1 {
		t.Fatal(out, err)
	}
	close(leave)
	for range out { // as Remove does, with nothing held
		<-left
	}
	if len(out) != 1 {
		t.Errorf("%d answers", len(out))
	}
}

// TestRemovedIsForgotten: a file that is found damaged because it is not there any more
// is held against no copy.
func TestRemovedIsForgotten(t *testing.T) {
	f, _, _ := setup(t, 2, Options{Check: func(v vfs.FS, name string) error {
		_, err := v.Stat(name)
		return err
	}})
	if err := create(t, f, "c0/000001.sst").Close(); err != nil {
		t.Fatal(err)
	}
	view := f.Views()[1]
	if err := f.Remove("c0/000001.sst"); err != nil {
		t.Fatal(err)
	}
	f.Distrust("c0/000001.sst", errBad)
	f.DistrustIn(view, "c0/000001.sst", errBad)
	f.Settle()
	if n, odd := f.Counts().Damaged, f.odd.Load(); n != 0 || odd != 0 {
		t.Errorf("%d files damaged, %d odd", n, odd)
	}
}

// TestDamageAtOnce: files are found damaged, replaced, removed and made anew by many,
// while others wait till all is mended; in the end nothing is held against a copy.
func TestDamageAtOnce(t *testing.T) {
	f, _, _ := setup(t, 3, Options{Check: func(v vfs.FS, name string) error {
		_, err := v.Stat(name)
		return err
	}})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f.Settle()
				}
			}
		})
	}
	var work sync.WaitGroup
	for n := range 4 {
		work.Go(func() {
			name := fmt.Sprintf("c0/%06d.sst", n)
			for i := range 150 {
				if err := create(t, f, name).Close(); err != nil {
					t.Error(err)
					return
				}
				f.DistrustIn(f.Views()[1+i%2], name, errBad)
				if i%3 == 0 {
					f.Settle()
				}
				f.DistrustIn(f.Views()[i%2], name, errBad)
				if err := f.Remove(name); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
	close(stop)
	wg.Wait()
	f.Settle()
	if n, odd := f.Counts().Damaged, f.odd.Load(); n != 0 || odd != 0 {
		t.Errorf("%d files damaged, %d odd", n, odd)
	}
	if len(f.Dirs()) != 3 {
		t.Errorf("left: %v", f.Dirs())
	}
}

// TestJoinMeetsRename: a copy that is made while a file open for writing changes its
// name has all of it, by the right name.
func TestJoinMeetsRename(t *testing.T) {
	f, disks, _ := setup(t, 1, Options{})
	w := create(t, f, "c0/a1")
	names := []string{"a1", "a2"}
	want := []byte("text")
	refused := 0
	for i := range 200 {
		mem := vfs.NewMem()
		if err := mem.MkdirAll("d", 0o755); err != nil {
			t.Fatal(err)
		}
		joined := make(chan error, 1)
		go func() { joined <- f.Join(t.Context(), Copy{Dir: "d", FS: mem}, nil) }()
		var err error
		for done := false; !done; {
			if e := f.Rename("c0/"+names[0], "c0/"+names[1]); e != nil {
				t.Fatal(e)
			}
			names[0], names[1] = names[1], names[0]
			text := fmt.Appendf(nil, "%d.", i)
			want = append(want, text...) // Write may change text
			if _, e := w.Write(text); e != nil {
				t.Fatal(e)
			}
			select {
			case err = <-joined:
				done = true
			default:
			}
		}
		if err != nil {
			refused++ // the name changed too often
			continue
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := content(t, mem, "d/"+names[0]); !bytes.Equal(got, want) {
			t.Fatalf("the new copy has %d bytes that differ from the %d written", len(got), len(want))
		}
		if err := f.RemoveCopy("d"); err != nil {
			t.Fatal(err)
		}
	}
	if refused > 150 {
		t.Errorf("%d of 200 were not made", refused)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, disks[0].mem, "c0/"+names[0]); !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d", len(got), len(want))
	}
}

// TestLateLock: a lock that comes after the copy was given up is released, so that the
// next attempt gets it.
func TestLateLock(t *testing.T) {
	f, _, _ := setup(t, 1, Options{Patience: 50 * time.Millisecond})
	l, err := f.Lock("c0/LOCK")
	if err != nil {
		t.Fatal(err)
	}
	mem := vfs.NewMem()
	if err := mem.MkdirAll("d", 0o755); err != nil {
		t.Fatal(err)
	}
	leave := make(chan struct{})
	slow := faultfs.Wrap(mem, func(op errorfs.Op) error {
		if strings.HasSuffix(op.Path, "LOCK") {
			<-leave
		}
		return nil
	})
	if err := f.Join(context.Background(), Copy{Dir: "d", FS: slow}, nil); !errors.Is(err, ErrHung) {
		t.Fatalf("a lock that hangs: %v", err)
	}
	close(leave)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err = f.Join(context.Background(), Copy{Dir: "d", FS: mem}, nil); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		t.Errorf("the next attempt: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
