package pebblemeta

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
)

func numbered(n uint64) (id [16]byte) {
	copy(id[:], fmt.Sprintf("%016d", n))
	return id
}

func createBucket(t testing.TB, s *Store) meta.Bucket {
	t.Helper()
	c := &meta.CreateBucket{Bucket: meta.Bucket{Name: "b"}}
	if err := s.Mutate(context.Background(), 0, c); err != nil {
		t.Fatal(err)
	}
	return c.Result
}

// object makes the n-th PutObject: odd ones inline, even ones on a drive.
func object(b meta.Bucket, key string, n uint64) *meta.PutObject {
	o := meta.Object{Key: key, Version: numbered(n), Size: 2000, Blob: layout.Blob{ID: numbered(n), Size: 2000}}
	c := &meta.PutObject{Bucket: b, Object: o}
	if n%2 == 1 {
		c.Inline = []byte(strings.Repeat("x", 2000))
		return c
	}
	c.Object.Blob.Kind = layout.KindSingle
	c.Object.Blob.Fragments = []layout.Fragment{{Extents: []layout.Extent{{Off: int64(n), Len: 4096}}}}
	return c
}

// TestPowerLoss takes the power away under load: what was acknowledged before
// is there, and the rest is there wholly or not at all.
func TestPowerLoss(t *testing.T) {
	for round := range 12 {
		var enc *[32]byte
		if round%2 == 0 {
			enc = &testKey
		}
		fs := vfs.NewCrashableMem()
		s, err := Open("m", Options{FS: fs, Key: enc})
		if err != nil {
			t.Fatal(err)
		}
		b := createBucket(t, s)
		var mu sync.Mutex
		acked := map[string]meta.Version{}
		var next atomic.Uint64
		var stop atomic.Bool
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := 0; !stop.Load(); i++ {
					c := object(b, fmt.Sprintf("w%d/%d", w, i%50), next.Add(1))
					if err := s.Mutate(context.Background(), 1, c); err != nil {
						t.Errorf("put: %v", err)
						return
					}
					mu.Lock()
					acked[c.Object.Key] = c.Object.Version
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(5+3*round) * time.Millisecond)
		mu.Lock()
		before := make(map[string]meta.Version, len(acked))
		for k, v := range acked {
			before[k] = v
		}
		mu.Unlock()
		applied := s.Applied()
		rng := rand.New(rand.NewPCG(uint64(round), 1))
		clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		stop.Store(true)
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		checkSurvivor(t, clone, enc, &b, before, applied)
	}
}

func checkSurvivor(t *testing.T, fs vfs.FS, enc *[32]byte, b *meta.Bucket, acked map[string]meta.Version, applied uint64) {
	t.Helper()
	s, err := Open("m", Options{FS: fs, Key: enc})
	if err != nil {
		t.Fatalf("open after power loss: %v", err)
	}
	defer s.Close()
	if s.Applied() < applied {
		t.Errorf("applied index fell from %d to %d", applied, s.Applied())
	}
	if err := metatest.Verify(s); err != nil {
		t.Errorf("after power loss: %v", err)
	}
	for key, v := range acked {
		o, err := meta.GetObject(s, b, key)
		// A later version may have become durable too; each worker's versions rise.
		if err != nil || string(o.Version[:]) < string(v[:]) {
			t.Errorf("%s: version %s acknowledged, found %s: %v", key, v, o.Version, err)
		}
	}
}

// TestSyncFailure fails the log's sync: the store stops acknowledging for good,
// and the next start finds a sound state.
func TestSyncFailure(t *testing.T) { bothWays(t, syncFailure) }

func syncFailure(t *testing.T, enc *[32]byte) {
	var broken atomic.Bool
	boom := errors.New("boom")
	mem := vfs.NewCrashableMem()
	fs := faultfs.Wrap(mem, func(op errorfs.Op) error {
		sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo
		if broken.Load() && sync && strings.HasSuffix(op.Path, ".log") {
			return boom
		}
		return nil
	})
	s, err := Open("m", Options{FS: fs, Key: enc})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	if err := s.Mutate(context.Background(), 1, object(b, "before", 1)); err != nil {
		t.Fatal(err)
	}
	applied := s.Applied()
	broken.Store(true)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			err := s.Mutate(context.Background(), 1, object(b, fmt.Sprint("k", i), uint64(i+2)))
			if !errors.Is(err, meta.ErrUnknownOutcome) && !errors.Is(err, meta.ErrClosed) {
				t.Errorf("put while the log fails: %v", err)
			}
		})
	}
	wg.Wait()
	if s.Err() == nil || s.Metrics()["out_of_service"] != 1 {
		t.Errorf("store still in service: %v", s.Err())
	}
	broken.Store(false) // a sync that failed is never tried again
	if err := s.Mutate(context.Background(), 1, object(b, "after", 99)); !errors.Is(err, meta.ErrClosed) {
		t.Errorf("put after a failed sync: %v", err)
	}
	if _, err := meta.GetObject(s, &b, "before"); err != nil {
		t.Errorf("read in a dead store: %v", err)
	}
	if s.Applied() != applied {
		t.Errorf("applied index %d, want %d", s.Applied(), applied)
	}
	clone := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.Close(); err == nil {
		t.Error("close of a dead store tells nothing")
	}
	checkSurvivor(t, clone, enc, &b, map[string]meta.Version{"before": numbered(1)}, applied)
}

// TestFatal shows that a fatal error of Pebble takes only the store down.
func TestFatal(t *testing.T) {
	s, err := Open("m", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	go pebbleLogger{s}.Fatalf("disk %s", "gone")
	<-s.dead
	if err := s.Mutate(context.Background(), 1, object(b, "k", 1)); !errors.Is(err, meta.ErrClosed) {
		t.Errorf("put: %v", err)
	}
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "disk gone") {
		t.Errorf("close: %v", err)
	}
}

// blocking is a command that waits within Apply.
type blocking struct {
	entered, leave chan struct{}
	inner          meta.Command
}

func (c *blocking) Apply(tx meta.Tx) error {
	close(c.entered)
	<-c.leave
	return c.inner.Apply(tx)
}

// TestCancel ends contexts before and after commands were taken up.
func TestCancel(t *testing.T) {
	s, err := Open("m", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := createBucket(t, s)
	first := &blocking{make(chan struct{}), make(chan struct{}), object(b, "first", 1)}
	ctx, cancel := context.WithCancel(context.Background())
	firstDone, secondDone := make(chan error, 1), make(chan error, 1)
	go func() { firstDone <- s.Mutate(ctx, 1, first) }()
	<-first.entered
	go func() { secondDone <- s.Mutate(ctx, 1, object(b, "second", 2)) }()
	for len(s.queue) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-secondDone; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the queue: %v", err)
	}
	select {
	case err := <-firstDone:
		t.Fatalf("returned while its command was being applied: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(first.leave)
	if err := <-firstDone; err != nil && !errors.Is(err, meta.ErrUnknownOutcome) {
		t.Errorf("cancelled while applied: %v", err)
	}
	if err := s.Mutate(context.Background(), 1, object(b, "third", 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := meta.GetObject(s, &b, "first"); err != nil {
		t.Errorf("the command that was taken up: %v", err)
	}
	if _, err := meta.GetObject(s, &b, "second"); !errors.Is(err, meta.ErrNoObject) {
		t.Errorf("the command that was cancelled: %v", err)
	}
}

// TestCloseUnderLoad closes while commands run: each gets an answer, and what
// was acknowledged is there.
func TestCloseUnderLoad(t *testing.T) {
	fs := vfs.NewMem()
	s, err := Open("m", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	var mu sync.Mutex
	acked := map[string]meta.Version{}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := range 100000 {
				c := object(b, fmt.Sprintf("%d/%d", w, i), uint64(w*1000000+i+1))
				if err := s.Mutate(context.Background(), 1, c); err != nil {
					if !errors.Is(err, meta.ErrClosed) {
						t.Errorf("put: %v", err)
					}
					return
				}
				mu.Lock()
				acked[c.Object.Key] = c.Object.Version
				mu.Unlock()
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	checkSurvivor(t, fs, nil, &b, acked, s.Applied())
}

// TestReaderHoldsClose keeps Pebble open until the last iterator is closed.
func TestReaderHoldsClose(t *testing.T) {
	s, err := Open("m", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	if err := s.Mutate(context.Background(), 1, object(b, "k", 1)); err != nil {
		t.Fatal(err)
	}
	snap := s.Snapshot()
	done := make(chan error, 1)
	go func() { done <- s.Close() }()
	for s.enter() {
		s.leave()
		time.Sleep(time.Millisecond)
	}
	if _, err := meta.GetObject(snap, &b, "k"); err != nil {
		t.Errorf("read in a snapshot of a closing store: %v", err)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestSeparation proves that inline payloads leave the tables.
func TestSeparation(t *testing.T) {
	s, err := Open("m", Options{FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b := createBucket(t, s)
	for n := range uint64(200) {
		if err := s.Mutate(context.Background(), 1, object(b, fmt.Sprint(n), 2*n+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if m := s.Metrics(); m["separated_files"] < 1 || m["separated_total_bytes"] < 200*2000 {
		t.Fatalf("%v files with %v bytes of values", m["separated_files"], m["separated_total_bytes"])
	}
	if err := metatest.Verify(s); err != nil {
		t.Fatal(err)
	}
}
