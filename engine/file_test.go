package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/ioring"
)

// openFiles opens an engine on real files under dir, as a daemon would.
func openFiles(t testing.TB, dir string, drives int, arena *ioring.Arena, cfg Config) *Engine {
	t.Helper()
	ctx := context.Background()
	var cluster [16]byte
	for i := range drives {
		dev, err := ioring.Open(filepath.Join(dir, fmt.Sprint("drive", i)), arena, ioring.Options{CPU: -1})
		if err != nil {
			t.Fatal(err)
		}
		d, err := drive.Open(ctx, dev, drive.Options{Arena: arena, Cluster: cluster})
		if err != nil {
			t.Fatal(err)
		}
		cluster = d.Cluster()
		cfg.Drives = append(cfg.Drives, d)
	}
	s, err := pebblemeta.Open(filepath.Join(dir, "meta"), pebblemeta.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Store = s
	e, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func newArena(t testing.TB, size int64) *ioring.Arena {
	t.Helper()
	a, err := ioring.NewArena(size)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestRealFiles(t *testing.T) {
	dir := t.TempDir()
	arena := newArena(t, 32<<20)
	ctx := context.Background()
	for life := range 3 {
		e := openFiles(t, dir, 2, arena, Config{})
		if _, err := e.CreateBucket(ctx, "b", "me", ""); err != nil && KindOf(err) != BucketExists {
			t.Fatal(err)
		}
		for i, size := range sizes {
			key := fmt.Sprint(size)
			if life > 0 {
				_, got, err := fetch(e, "b", key, i)
				if err != nil || !bytes.Equal(got, content(uint64(life-1), size)) {
					t.Fatal(key, len(got), err)
				}
			}
			if _, err := e.Put(ctx, putRequest("b", key, content(uint64(life), size))); err != nil {
				t.Fatal(key, err)
			}
			_, got, err := fetch(e, "b", key, i+1)
			if err != nil || !bytes.Equal(got, content(uint64(life), size)) {
				t.Fatal(key, len(got), err)
			}
		}
		if err := e.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if n := arena.InUse(); n != 0 {
		t.Fatalf("%d bytes on loan", n)
	}
}

// endless yields n bytes that cost nothing to make.
type endless struct{ n int64 }

func (r *endless) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	k := min(int64(len(p)), r.n)
	r.n -= k
	return int(k), nil
}

// counted counts what it is given.
type counted struct{ n atomic.Int64 }

func (c *counted) Write(p []byte) (int, error) { c.n.Add(int64(len(p))); return len(p), nil }

// Objects of any size pass through a bounded amount of memory.
func TestBoundedMemory(t *testing.T) {
	size := int64(1 << 30)
	if raceDetector || testing.Short() {
		size = 128 << 20
	}
	dir := t.TempDir()
	arena := newArena(t, 8<<20)
	e := openFiles(t, dir, 1, arena, Config{WriteBuffers: 4 << 20})
	ctx := context.Background()
	if _, err := e.CreateBucket(ctx, "b", "me", ""); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	peak := make(chan uint64)
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	go func() {
		var most uint64
		for {
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(5 * time.Millisecond):
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
	}()
	if _, err := e.Put(ctx, PutRequest{Bucket: "b", Key: "k", Size: size, Body: &endless{size}}); err != nil {
		t.Fatal(err)
	}
	o, err := e.Get(ctx, "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	b, err := o.Range(ctx, 0, size)
	if err != nil {
		t.Fatal(err)
	}
	var sink counted
	if n, err := b.WriteTo(&sink); n != size || err != nil || sink.n.Load() != size {
		t.Fatal(n, err)
	}
	b.Close()
	o.Close()
	close(stop)
	if grew := int64(<-peak) - int64(before.HeapInuse); grew > 24<<20 {
		t.Fatalf("heap grew by %d bytes for an object of %d", grew, size)
	}
	if m := arena.Mapped(); m > 32<<20 {
		t.Fatalf("arena maps %d bytes", m)
	}
	if err := e.Close(ctx); err != nil {
		t.Fatal(err)
	}
}
