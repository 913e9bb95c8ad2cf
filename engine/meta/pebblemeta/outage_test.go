package pebblemeta

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

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
)

// within fails the test when fn takes longer than a hang would be told from.
func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal(what, "hangs")
	}
}

// TestParked fails the manifest, upon which Pebble's goroutine is parked with
// Pebble's lock held: nothing may hang but that goroutine.
func TestParked(t *testing.T) { bothWays(t, parked) }

func parked(t *testing.T, key *[32]byte) {
	var broken atomic.Bool
	fs := faultfs.Wrap(vfs.NewMem(), func(op errorfs.Op) error {
		if broken.Load() && strings.Contains(op.Path, "MANIFEST") {
			return errors.New("boom")
		}
		return nil
	})
	s, err := Open("m", Options{FS: fs, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	if err := s.Mutate(context.Background(), 1, object(b, "k", 1)); err != nil {
		t.Fatal(err)
	}
	early := s.Snapshot()
	broken.Store(true)
	go s.db.Flush()
	<-s.dead
	within(t, "Mutate", func() {
		if err := s.Mutate(context.Background(), 1, object(b, "l", 3)); !errors.Is(err, meta.ErrClosed) {
			t.Errorf("put: %v", err)
		}
	})
	within(t, "Get", func() {
		if _, err := meta.GetObject(s, &b, "k"); err != nil {
			t.Error(err)
		}
		if v, err := meta.Inline(s, 1, numbered(1)); err != nil || len(v) != 2000 {
			t.Error(err)
		}
	})
	within(t, "Snapshot", func() {
		snap := s.Snapshot()
		if _, _, err := snap.Get([]byte("x")); !errors.Is(err, meta.ErrClosed) {
			t.Errorf("snapshot: %v", err)
		}
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	})
	within(t, "an older snapshot", func() {
		if _, err := meta.GetObject(early, &b, "k"); err != nil {
			t.Error(err)
		}
		if err := early.Close(); err != nil {
			t.Error(err)
		}
	})
	within(t, "Metrics", func() {
		if s.Metrics()["out_of_service"] != 1 || s.DiskUsage() != 0 {
			t.Error("metrics of a parked store")
		}
	})
	within(t, "Close", func() {
		if err := s.Close(); err == nil {
			t.Error("close of a dead store tells nothing")
		}
	})
}

// bulk is a command with a large batch: values of 64 KiB under n keys.
type bulk struct{ n int }

func (c *bulk) key(i int) []byte { return fmt.Appendf([]byte{0xff, 0xf0, 'z'}, "%08d", i) }

func (c *bulk) value(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8), 1, 2}, 16<<10) }

func (c *bulk) Apply(tx meta.Tx) error {
	for i := range c.n {
		tx.Put(c.key(i), c.value(i))
	}
	return nil
}

// TestLargeBatch commits more at once than a memtable holds, as the
// completion of an upload of thousands of fragmented parts does. Pebble treats
// such a batch apart; it must be as durable and whole as any other.
func TestLargeBatch(t *testing.T) { bothWays(t, largeBatch) }

func largeBatch(t *testing.T, key *[32]byte) {
	fs := vfs.NewCrashableMem()
	s, err := Open("m", Options{FS: fs, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	c := &bulk{n: (memTable + 1<<20) >> 16}
	b := createBucket(t, s)
	var others sync.WaitGroup // share its batch, or are just before or behind it
	for i := range 8 {
		others.Go(func() {
			if err := s.Mutate(context.Background(), 1, object(b, fmt.Sprint(i), uint64(i+1))); err != nil {
				t.Error(err)
			}
		})
	}
	if err := s.Mutate(context.Background(), 1, c); err != nil {
		t.Fatal(err)
	}
	others.Wait()
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	for _, fs := range []vfs.FS{nil, clone} { // as it goes on, and after the power loss
		if fs != nil {
			if s, err = Open("m", Options{FS: fs, Key: key}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range c.n {
			if v, ok, err := s.Get(c.key(i)); err != nil || !ok || !bytes.Equal(v, c.value(i)) {
				t.Fatalf("value %d of %d: %v %v", i, c.n, ok, err)
			}
		}
		if o, err := meta.GetObject(s, &b, "7"); err != nil || o.Version != numbered(8) {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
