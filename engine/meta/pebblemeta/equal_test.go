package pebblemeta

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/metatest"
)

func changes(kind errorfs.OpKind) bool {
	switch kind {
	case errorfs.OpCreate, errorfs.OpLink, errorfs.OpRemove, errorfs.OpRename, errorfs.OpReuseForWrite, errorfs.OpFileWrite,
		errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileClose:
		return true
	}
	return false
}

// TestEqualizeCrash loses the power at every step of a start after a loss of power,
// while the copies are made equal: each copy alone has what was acknowledged.
func TestEqualizeCrash(t *testing.T) { bothWays(t, equalizeCrash) }

func equalizeCrash(t *testing.T, key *[32]byte) {
	most := 0
	for _, late := range []errorfs.OpKind{errorfs.OpFileSyncData, errorfs.OpFileWrite, errorfs.OpCreate, errorfs.OpRemove, errorfs.OpFileSync} {
		disks := newDisks(2)
		s := openDisks(t, disks, Options{Key: key})
		l := startLoad(t, s, 8)
		l.more(t, 30)
		// One drive stands still in the middle of an operation when the power goes.
		leave, held := make(chan struct{}), make(chan struct{})
		hold := sync.OnceFunc(func() { close(held) })
		disks[1].fail(func(op errorfs.Op) error {
			if op.Kind == late {
				hold()
				<-leave
			}
			return nil
		})
		<-held
		time.Sleep(10 * time.Millisecond)
		acked, applied := l.snapshot(), s.Applied()
		first := []*disk{disks[0].crash(1), disks[1].crash(2)}
		close(leave)
		l.end()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		most = max(most, crashEqualize(t, first, key, l, acked, applied))
	}
	if most < 4 {
		t.Errorf("%d steps at most: the test proves little", most)
	}
}

// crashEqualize loses the power at every step, and returns how many there were.
func crashEqualize(t *testing.T, first []*disk, key *[32]byte, l *load, acked map[string]meta.Version, applied uint64) int {
	steps := 0
	sparse := int64(8)
	if testing.Short() {
		sparse = 2
	}
	for n, done := int64(0), false; !done && n < 400; n += 1 + n/sparse {
		steps++
		var left atomic.Int64
		left.Store(n)
		var now []*disk
		for i, d := range first {
			d := d.crash(uint64(50 + i))
			d.fail(func(op errorfs.Op) error {
				if changes(op.Kind) && left.Add(-1) < 0 {
					return errBroken
				}
				return nil
			})
			now = append(now, d)
		}
		o := mirrored(now, Options{Key: key, Eject: func(context.Context, string, error) error { return errBroken }})
		s := newStore(now[0].dir, nil) // what Open does before Pebble opens
		done = s.prepare(s.pebbleOptions(o), true) == nil
		_ = s.release()
		for i, d := range now {
			checkCopies(t, []*disk{d.crash(uint64(n)*2 + uint64(i))}, key, &l.b, acked, applied)
		}
	}
	return steps
}

// copiesBackend is a store of several copies, of which a crash may take some away.
type copiesBackend struct {
	disks []*disk
	key   *[32]byte
	fresh int
}

func (b *copiesBackend) Open() (meta.Store, error) {
	return Open(b.disks[0].dir, mirrored(b.disks, Options{Key: b.key, CacheSize: 1 << 20}))
}

func (b *copiesBackend) Crash(seed int64) {
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	keep := rng.IntN(len(b.disks))
	for i, d := range b.disks {
		b.disks[i] = d.crash(rng.Uint64())
		if i != keep && rng.IntN(2) == 0 { // a new drive in its place
			b.fresh++
			b.disks[i] = newDisk(fmt.Sprint("fresh", b.fresh), newDisks(1)[0].mem)
		}
	}
	b.disks[0], b.disks[keep] = b.disks[keep], b.disks[0] // the primary is one that is current
}

func TestCopiesMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := &copiesBackend{disks: newDisks(rapid.IntRange(2, 3).Draw(t, "copies"))}
		if rapid.Bool().Draw(t, "encrypted") {
			b.key = &testKey
		}
		metatest.RunMachine(t, b)
	})
}

// TestPromoteFails: a copy that could not be recorded is recorded as stale, and the
// store goes on without it.
func TestPromoteFails(t *testing.T) {
	disks := newDisks(2)
	var gone ejections
	s := openDisks(t, disks[:1], Options{Eject: gone.eject})
	l := startLoad(t, s, 2)
	l.more(t, 5)
	err := s.AddCopy(context.Background(), Copy{Dir: disks[1].dir, FS: disks[1].FS}, func(context.Context) error { return errBroken })
	if !errors.Is(err, errBroken) || len(gone.list()) != 1 || gone.list()[0] != disks[1].dir {
		t.Errorf("%v, %v", err, gone.list())
	}
	l.more(t, 5)
	if c := s.Copies(); len(c) != 1 {
		t.Errorf("%+v", c)
	}
	if err := s.AddCopy(context.Background(), Copy{Dir: disks[1].dir, FS: disks[1].FS}, nil); err != nil {
		t.Error(err)
	}
	if err := s.AddCopy(context.Background(), Copy{Dir: disks[1].dir, FS: disks[1].FS}, nil); err == nil {
		t.Error("added twice")
	}
	l.end()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAddCopyHangs: a drive that hangs while it is filled holds nothing up.
func TestAddCopyHangs(t *testing.T) {
	disks := newDisks(2)
	s := openDisks(t, disks[:1], Options{Patience: 500 * timeUnit})
	l := startLoad(t, s, 2)
	l.more(t, 5)
	release := disks[1].hang()
	begun := time.Now()
	if err := s.AddCopy(context.Background(), Copy{Dir: disks[1].dir, FS: disks[1].FS}, nil); err == nil || time.Since(begun) > 8*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
	l.more(t, 5)
	l.end()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	release()
}

// TestTwoFailAtOnce: of three copies two fail in the same moment; of two, both.
func TestTwoFailAtOnce(t *testing.T) {
	for _, n := range []int{3, 2} {
		disks := newDisks(n)
		var gone ejections
		s := openDisks(t, disks, Options{Eject: gone.eject})
		l := startLoad(t, s, 4)
		l.more(t, 5)
		var both sync.WaitGroup
		for _, d := range disks[:2] {
			both.Go(d.kill)
		}
		both.Wait()
		if n == 3 {
			l.more(t, 10)
			l.end()
			if len(gone.list()) != 2 {
				t.Errorf("ejected %v", gone.list())
			}
			acked, applied := l.snapshot(), s.Applied()
			checkCopies(t, []*disk{disks[2].crash(1)}, nil, &l.b, acked, applied)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		within(t, "a store without a drive", func() {
			<-s.dead
			l.end()
		})
		if len(gone.list()) > 1 {
			t.Errorf("the last copy was ejected: %v", gone.list())
		}
		_ = s.Close()
	}
}

// TestEncryptCopies encrypts a store in service in all its copies.
func TestEncryptCopies(t *testing.T) {
	disks := newDisks(2)
	s := openDisks(t, disks, Options{})
	l := startLoad(t, s, 2)
	l.more(t, 20)
	if err := s.Encrypt(context.Background(), &testKey); err != nil {
		t.Fatal(err)
	}
	l.more(t, 20)
	l.end()
	acked, applied := l.snapshot(), s.Applied()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if found := plainFiles(t, d.mem, d.dir); len(found) > 0 {
			t.Errorf("%s: plain files %v", d.dir, found)
		}
		checkCopies(t, []*disk{d.crash(1)}, &testKey, &l.b, acked, applied)
	}
}
