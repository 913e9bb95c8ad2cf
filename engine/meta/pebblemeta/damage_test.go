package pebblemeta

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
)

// flip changes a byte of every stride of the files of d that pick picks, from from on.
// It returns how many files it changed.
func flip(t testing.TB, d *disk, from, stride int64, pick func(name string) bool) (changed int) {
	t.Helper()
	names, err := d.mem.List(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		path := d.mem.PathJoin(d.dir, name)
		info, err := d.mem.Stat(path)
		if err != nil || !pick(name) || info.Size() <= from {
			continue
		}
		f, err := d.mem.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		for off := from; off < info.Size(); off += stride {
			var b [1]byte
			if _, err := f.ReadAt(b[:], off); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			b[0] ^= 0x40
			if _, err := f.WriteAt(b[:], off); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		changed++
	}
	return changed
}

func data(name string) bool { return isTable(name) || isBlob(name) }

// settled fills a store on disks and closes it: everything is in tables and blob
// files.
func settled(t testing.TB, disks []*disk, key *[32]byte) (meta.Bucket, map[string]meta.Version) {
	t.Helper()
	s := openDisks(t, disks, Options{Key: key})
	b := createBucket(t, s)
	acked := map[string]meta.Version{}
	for n := range uint64(300) {
		c := object(b, fmt.Sprintf("key%04d", n), n+1)
		if err := s.Mutate(context.Background(), 1, c); err != nil {
			t.Fatal(err)
		}
		acked[c.Object.Key] = c.Object.Version
		if n%100 == 99 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return b, acked
}

func readEverything(t testing.TB, s *Store, b *meta.Bucket, acked map[string]meta.Version) {
	t.Helper()
	for key, v := range acked {
		o, err := meta.GetObject(s, b, key)
		if err != nil || o.Version != v {
			t.Fatalf("%s: %v", key, err)
		}
	}
	if err := metatest.Verify(s); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedData damages tables and blob files of one copy, in one place or many: all
// reads succeed, and the files are replaced.
func TestFlippedData(t *testing.T) { bothWays(t, flippedData) }

func flippedData(t *testing.T, key *[32]byte) {
	for victim := range 2 {
		if testing.Short() && (victim == 0) != (key == nil) {
			continue // each once
		}
		for i, c := range []struct{ from, stride int64 }{{4096 + 100, 1 << 40}, {0, 640}} {
			disks := newDisks(2)
			b, acked := settled(t, disks, key)
			if flip(t, disks[victim], c.from, c.stride, data) < 2 {
				t.Fatal("nothing to damage")
			}
			s := openDisks(t, disks, Options{Key: key})
			snap := s.Snapshot()
			readEverything(t, s, &b, acked)
			if _, err := meta.GetObject(snap, &b, "key0007"); err != nil {
				t.Error(err)
			}
			if err := snap.Close(); err != nil {
				t.Error(err)
			}
			if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff, 0xff}, false); err != nil {
				t.Error(err)
			}
			if _, err := s.ScrubCopies(context.Background(), func(int) error { return nil }); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s.mirror.Counts().Healed == 0 && victim == 0 {
				t.Errorf("%d: nothing was healed: %+v", i, s.mirror.Counts())
			}
			checkCopies(t, disks[victim:victim+1], key, &b, acked, 0) // the damaged one alone
		}
	}
}

// TestCompactionMeetsDamage has a compaction find what no read found before.
func TestCompactionMeetsDamage(t *testing.T) {
	disks := newDisks(2)
	b, acked := settled(t, disks, nil)
	flip(t, disks[0], 300, 2000, data)
	s := openDisks(t, disks, Options{})
	var err error
	// Pebble tries again by itself, after a while.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err = s.db.Compact(context.Background(), []byte{0}, []byte{0xff, 0xff}, false); err == nil {
			break
		}
		s.mirror.Settle()
	}
	if err != nil {
		t.Fatal(err)
	}
	readEverything(t, s, &b, acked)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkCopies(t, disks[:1], nil, &b, acked, 0)
}

// TestDamageInBothCopies: different places of the same files are damaged; everything
// can be read.
func TestDamageInBothCopies(t *testing.T) {
	disks := newDisks(2)
	b, acked := settled(t, disks, nil)
	flip(t, disks[0], 200, 1<<40, isBlob)
	flip(t, disks[1], 100_000, 1<<40, isBlob)
	s := openDisks(t, disks, Options{CacheSize: 1})
	readEverything(t, s, &b, acked)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedEnd: Pebble panics over a blob file whose end is damaged; it must not get
// to see one.
func TestDamagedEnd(t *testing.T) {
	disks := newDisks(2)
	b, acked := settled(t, disks, nil)
	for _, d := range disks[:1] {
		names, _ := d.mem.List(d.dir)
		for _, name := range names {
			if info, err := d.mem.Stat(d.mem.PathJoin(d.dir, name)); err == nil && isBlob(name) {
				flip(t, d, info.Size()-10, 1<<40, func(n string) bool { return n == name })
			}
		}
	}
	alone := []*disk{disks[0].crash(1)}
	s := openDisks(t, disks, Options{})
	readEverything(t, s, &b, acked)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openDisks(t, alone, Options{})
	if _, err := meta.Inline(s, 1, numbered(1)); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("without another copy: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestFlippedLog damages the log, or the manifest, of one copy while the store is
// closed: what was acknowledged is there, whichever copy it is.
func TestFlippedLog(t *testing.T) { bothWays(t, flippedLog) }

func flippedLog(t *testing.T, key *[32]byte) {
	for victim := range 2 {
		for _, kind := range []string{".log", "MANIFEST-"} {
			for _, from := range []int64{10, 5000, 9000} {
				disks := newDisks(2)
				s := openDisks(t, disks, Options{Key: key})
				l := startLoad(t, s, 4)
				l.more(t, 10)
				acked, applied := l.snapshot(), s.Applied()
				after := crashTogether(disks, 0)
				l.end()
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				// What one copy alone has is not durable, and nowhere else to be had.
				flip(t, after[victim], from, 1<<40, func(name string) bool {
					other := after[1-victim]
					_, err := other.mem.Stat(other.mem.PathJoin(other.dir, name))
					return err == nil && strings.Contains(name, kind)
				})
				checkCopies(t, after, key, &l.b, acked, applied)
				checkCopies(t, after[victim:victim+1], key, &l.b, acked, applied) // it was mended
			}
		}
	}
}

// TestLostFiles removes every file of a kind from one copy while the store is closed.
func TestLostFiles(t *testing.T) {
	for victim := range 2 {
		for i, kind := range []string{".sst", ".blob", ".log", "MANIFEST-", "marker.", "OPTIONS", ""} {
			if testing.Short() && i%2 != victim {
				continue // each once
			}
			disks := newDisks(2)
			b, acked := settled(t, disks, nil)
			names, err := disks[victim].mem.List(disks[victim].dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				if strings.Contains(name, kind) {
					if err := disks[victim].mem.Remove(disks[victim].mem.PathJoin(disks[victim].dir, name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			checkCopies(t, disks, nil, &b, acked, 0)
			checkCopies(t, disks[victim:victim+1], nil, &b, acked, 0)
		}
	}
}

// TestReadFails has every read of one copy fail, or hang: others answer, and one that
// hangs is given up.
func TestReadFails(t *testing.T) {
	for victim := range 2 {
		for _, hang := range []bool{false, true} {
			disks := newDisks(2)
			b, acked := settled(t, disks, nil)
			var gone ejections
			s := openDisks(t, disks, Options{Eject: gone.eject, Patience: 300 * timeUnit, CacheSize: 1})
			leave := make(chan struct{})
			disks[victim].fail(func(op errorfs.Op) error {
				if op.Kind != errorfs.OpFileReadAt && op.Kind != errorfs.OpFileRead && op.Kind != errorfs.OpOpen {
					return nil
				}
				if hang {
					<-leave
				}
				return errBroken
			})
			within(t, "reading", func() { readEverything(t, s, &b, acked) })
			if err := s.Mutate(context.Background(), 1, object(b, "new", 9001)); err != nil {
				t.Error(err)
			}
			close(leave)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestScrub finds and mends damage that nobody read.
func TestScrub(t *testing.T) {
	disks := newDisks(3)
	b, acked := settled(t, disks, &testKey)
	n := flip(t, disks[2], 6000, 3000, data)
	s := openDisks(t, disks, Options{Key: &testKey})
	var paced int
	found, err := s.ScrubCopies(context.Background(), func(n int) error { paced += n; return nil })
	// A compaction may take some of the files away before they are found, or mended.
	if err != nil || found.Differ == 0 || int(found.Differ) > n || found.Repaired == 0 || found.Repaired > found.Differ || found.Bytes == 0 || int64(paced) < found.Bytes {
		t.Errorf("%d damaged, %+v, %v", n, found, err)
	}
	found, err = s.ScrubCopies(context.Background(), func(int) error { return nil })
	if err != nil || found.Differ != 0 || found.Files == 0 {
		t.Errorf("again: %+v, %v", found, err)
	}
	if m := s.Metrics(); m["copies"] != 3 || m["copies_files_healed_total"] == 0 || m["copies_files_damaged"] != 0 {
		t.Errorf("%v", m)
	}
	stop := errors.New("stop")
	if _, err := s.ScrubCopies(context.Background(), func(int) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	readEverything(t, s, &b, acked)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkCopies(t, disks[2:], &testKey, &b, acked, 0)
}
