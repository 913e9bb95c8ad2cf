package pebblemeta

import (
	"bytes"
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

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/mirrorfs"
)

const marker = "planted-marker"

// filled opens a store on fs that has tables, blob files, logs and a manifest.
func filled(t testing.TB, fs vfs.FS) (*Store, meta.Bucket, map[string]meta.Version) {
	t.Helper()
	s, err := Open("m", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	acked := map[string]meta.Version{}
	for n := range uint64(60) {
		c := object(b, fmt.Sprintf("%s-%d", marker, n), n+1)
		if err := s.Mutate(context.Background(), 1, c); err != nil {
			t.Fatal(err)
		}
		acked[c.Object.Key] = c.Object.Version
		if n%20 == 10 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s, b, acked
}

func holds(t testing.TB, fs vfs.FS, text string) (found []string) {
	t.Helper()
	names, err := fs.List("m")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.Contains(string(readAll(t, fs, fs.PathJoin("m", name))), text) {
			found = append(found, name)
		}
	}
	return found
}

// TestEncrypt encrypts a store under load.
func TestEncrypt(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s, b, acked := filled(t, mem)
	if len(holds(t, mem, marker)) < 2 {
		t.Fatal("the marker is not to be found in a plain store")
	}
	var mu sync.Mutex
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; !stop.Load(); i++ {
				c := object(b, fmt.Sprintf("%s-w%d/%d", marker, w, i), uint64(1000+w*100_000+i))
				if err := s.Mutate(context.Background(), 1, c); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				mu.Lock()
				acked[c.Object.Key] = c.Object.Version
				mu.Unlock()
				if i%50 == 49 {
					s.db.AsyncFlush()
				}
			}
		})
	}
	early := s.Snapshot() // reads tables that are exchanged under it
	if err := s.Encrypt(context.Background(), &testKey); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	atEncrypt := len(acked)
	mu.Unlock()
	if found := plainFiles(t, mem, "m"); len(found) > 0 {
		t.Errorf("plain files: %v", found)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		mu.Lock()
		enough := len(acked) >= atEncrypt+300
		mu.Unlock()
		if enough {
			break
		}
		if time.Now().After(end) || t.Failed() {
			t.Fatal("the store does not go on")
		}
	}
	if _, err := meta.GetObject(early, &b, marker+"-7"); err != nil {
		t.Errorf("a snapshot from before: %v", err)
	}
	if err := early.Close(); err != nil {
		t.Error(err)
	}
	stop.Store(true)
	wg.Wait()
	clone := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Error(err)
	}
	if err := metatest.Verify(s); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, fs := range []*vfs.MemFS{mem, clone} {
		if found := holds(t, fs, marker); len(found) > 0 {
			t.Errorf("the marker is in %v", found)
		}
		checkSurvivor(t, fs, &testKey, &b, acked, s.Applied())
	}
}

// TestEncryptCrash takes the power away before each step of an encryption. Every
// drive image opens with the key, holds everything, and is encrypted then.
func TestEncryptCrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var watching atomic.Bool
	var mu sync.Mutex
	var clones []*vfs.MemFS
	rng := rand.New(rand.NewPCG(1, 2))
	fs := faultfs.Wrap(mem, func(op errorfs.Op) error {
		if !watching.Load() {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		percent := []int{0, 50, 100}[len(clones)%3]
		clones = append(clones, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		return nil
	})
	s, b, acked := filled(t, fs)
	defer s.Close()
	applied := s.Applied()
	watching.Store(true)
	if err := s.Encrypt(context.Background(), &testKey); err != nil {
		t.Fatal(err)
	}
	watching.Store(false)
	if len(clones) < 50 {
		t.Errorf("an encryption of only %d steps", len(clones))
	}
	// Some of them each time, others the next: all take long with the race detector.
	rand.Shuffle(len(clones), func(i, j int) { clones[i], clones[j] = clones[j], clones[i] })
	clones = clones[:min(len(clones), 60)]
	for i, clone := range clones {
		checkSurvivor(t, clone, &testKey, &b, acked, applied)
		if found := plainFiles(t, clone, "m"); len(found) > 0 {
			t.Errorf("step %d: plain files after the start: %v", i, found)
		}
		if found := holds(t, clone, marker); len(found) > 0 {
			t.Errorf("step %d: the marker is in %v", i, found)
		}
		if t.Failed() {
			t.Fatalf("step %d of %d", i, len(clones))
		}
	}
}

// TestEncryptFailure fails steps of an encryption, each run others. The store goes on or goes out of service, it loses nothing, and a start with the
// key completes.
func TestEncryptFailure(t *testing.T) {
	boom := errors.New("boom")
	for step := 1 + rand.Int64N(4); ; step += 4 {
		mem := vfs.NewCrashableMem()
		var count, failAt atomic.Int64
		fs := faultfs.Wrap(mem, func(op errorfs.Op) error {
			if at := failAt.Load(); at > 0 && count.Add(1) == at {
				return boom
			}
			return nil
		})
		s, b, acked := filled(t, fs)
		failAt.Store(step)
		err := s.Encrypt(context.Background(), &testKey)
		failAt.Store(0)
		if err != nil && !errors.Is(err, boom) {
			t.Fatalf("step %d: %v", step, err)
		}
		for n := range uint64(3) {
			c := object(b, fmt.Sprint("after", n), 500+n)
			if err := s.Mutate(context.Background(), 1, c); err == nil {
				acked[c.Object.Key] = c.Object.Version
			}
		}
		if err != nil && s.Err() == nil { // still in service: another try succeeds
			if err := s.Encrypt(context.Background(), &testKey); err != nil && s.Err() == nil {
				t.Errorf("step %d: encrypting again: %v", step, err)
			}
		}
		applied := s.Applied()
		clone := mem.CrashClone(vfs.CrashCloneCfg{})
		_ = s.Close() // an error where it is out of service
		checkSurvivor(t, clone, &testKey, &b, acked, applied)
		if found := plainFiles(t, clone, "m"); len(found) > 0 {
			t.Errorf("step %d: plain files after the start: %v", step, found)
		}
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
		if err == nil && count.Load() < step { // no such step; else it was one of Pebble's own
			if step < 30 {
				t.Errorf("an encryption of only %d steps", step)
			}
			return
		}
	}
}

// TestEncryptCancel: a context that ends leaves a store in service that the next
// try encrypts.
func TestEncryptCancel(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s, b, acked := filled(t, mem)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Encrypt(ctx, &testKey); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := s.Mutate(context.Background(), 1, object(b, "later", 999)); err != nil {
		t.Fatal(err)
	}
	if err := s.Encrypt(context.Background(), &testKey); err != nil {
		t.Fatal(err)
	}
	if found := plainFiles(t, mem, "m"); len(found) > 0 {
		t.Errorf("plain files: %v", found)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkSurvivor(t, mem, &testKey, &b, acked, s.Applied())
}

// TestRecycledLogs writes enough for Pebble to use logs again, encrypting the
// store between, and takes the power away after each round.
func TestRecycledLogs(t *testing.T) {
	mem := vfs.NewCrashableMem()
	var reused atomic.Int64
	fs := faultfs.Wrap(mem, func(op errorfs.Op) error {
		if op.Kind == errorfs.OpReuseForWrite {
			reused.Add(1)
		}
		return nil
	})
	s, err := Open("m", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	b := createBucket(t, s)
	acked := map[string]meta.Version{}
	rng := rand.New(rand.NewPCG(3, 4))
	n := uint64(0)
	for round := range 8 {
		if round == 3 {
			if err := s.Encrypt(context.Background(), &testKey); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Mutate(context.Background(), 1, &bulk{n: 8}); err != nil { // 512 KiB
			t.Fatal(err)
		}
		for range 20 {
			n++
			c := object(b, fmt.Sprint("k", n), n)
			if err := s.Mutate(context.Background(), 1, c); err != nil {
				t.Fatal(err)
			}
			acked[c.Object.Key] = c.Object.Version
		}
		if round%2 == 0 {
			if err := s.db.Flush(); err != nil { // ends the log
				t.Fatal(err)
			}
		}
		key := &testKey
		if round < 3 {
			key = nil
		}
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		checkSurvivor(t, clone, key, &b, acked, s.Applied())
	}
	if reused.Load() == 0 {
		t.Error("no log was used again")
	}
	if found := plainFiles(t, mem, "m"); len(found) > 0 {
		t.Errorf("plain files: %v", found)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEncryptUnwritten: what was written to an open file, but has not reached a copy
// yet, is in the encrypted one that takes its place.
func TestEncryptUnwritten(t *testing.T) {
	disks := newDisks(2)
	var copies []mirrorfs.Copy
	for _, d := range disks {
		copies = append(copies, mirrorfs.Copy{Dir: d.dir, FS: d})
	}
	c := newCryptFS(mirrorfs.New(copies, mirrorfs.Options{}), nil)
	if err := c.MkdirAll("m", 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := c.Create("m/000001.log", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte(marker), 500)
	_, err = w.Write(bytes.Clone(want[:100]))
	err = errors.Join(err, w.Sync())
	if _, e := w.Write(bytes.Clone(want[100:])); err != nil || e != nil {
		t.Fatal(err, e)
	}
	if err := c.encrypt(context.Background(), "m", newStoreKey(&testKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		one := newCryptFS(d.mem, newStoreKey(&testKey))
		if got := readAll(t, one, d.dir+"/000001.log"); !bytes.Equal(got, append(want, "end"...)) {
			t.Errorf("%s has %d bytes of %d", d.dir, len(got), len(want)+3)
		}
		if bytes.Contains(readAll(t, d.mem, d.dir+"/000001.log"), []byte(marker)) {
			t.Errorf("%s: the file is plain", d.dir)
		}
		if err := one.close(); err != nil {
			t.Error(err)
		}
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}
