package pebblemeta

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
)

// disk is a drive in memory that can fail, hang and lose power.
type disk struct {
	dir    string
	mem    *vfs.MemFS
	broken atomic.Pointer[func(op errorfs.Op) error]
	vfs.FS
}

var errBroken = errors.New("the drive is broken")

func newDisk(dir string, mem *vfs.MemFS) *disk {
	d := &disk{dir: dir, mem: mem}
	d.FS = faultfs.Wrap(mem, func(op errorfs.Op) error {
		if fn := d.broken.Load(); fn != nil {
			return (*fn)(op)
		}
		return nil
	})
	return d
}

func (d *disk) fail(fn func(op errorfs.Op) error) { d.broken.Store(&fn) }

// kill has everything fail.
func (d *disk) kill() { d.fail(func(errorfs.Op) error { return errBroken }) }

// hang has everything wait until the returned function is called.
func (d *disk) hang() (release func()) {
	ch := make(chan struct{})
	d.fail(func(errorfs.Op) error { <-ch; return errBroken })
	return sync.OnceFunc(func() { close(ch) })
}

func (d *disk) crash(seed uint64) *disk {
	rng := rand.New(rand.NewPCG(seed, 7))
	return newDisk(d.dir, d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}))
}

// crashTogether is crash of disks that lose power at the same time: of what was done
// one after the other, none has the later without the earlier.
func crashTogether(disks []*disk, seed uint64) (after []*disk) {
	ch := make(chan struct{})
	for _, d := range disks {
		d.fail(func(errorfs.Op) error { <-ch; return nil })
	}
	for i, d := range disks {
		after = append(after, d.crash(seed+uint64(i)))
	}
	for _, d := range disks {
		d.broken.Store(nil)
	}
	close(ch)
	return after
}

func newDisks(n int) (out []*disk) {
	for i := range n {
		dir := "m"
		if i > 0 {
			dir = fmt.Sprint("copy", i)
		}
		out = append(out, newDisk(dir, vfs.NewCrashableMem()))
	}
	return out
}

// ejections notes which copies were given up.
type ejections struct {
	mu   sync.Mutex
	dirs []string
}

func (e *ejections) eject(_ context.Context, dir string, _ error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dirs = append(e.dirs, dir)
	return nil
}

func (e *ejections) list() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.dirs)
}

func mirrored(disks []*disk, o Options) Options {
	o.FS = disks[0].FS
	for _, d := range disks[1:] {
		o.Copies = append(o.Copies, Copy{Dir: d.dir, FS: d.FS})
	}
	return o
}

func openDisks(t testing.TB, disks []*disk, o Options) *Store {
	t.Helper()
	s, err := Open(disks[0].dir, mirrored(disks, o))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// load writes until it is stopped, and tells what was acknowledged.
type load struct {
	s       *Store
	b       meta.Bucket
	stop    atomic.Bool
	next    atomic.Uint64
	wg      sync.WaitGroup
	flushes sync.WaitGroup

	mu    sync.Mutex
	acked map[string]meta.Version
	err   error
}

func startLoad(t testing.TB, s *Store, workers int) *load {
	l := &load{s: s, b: createBucket(t, s), acked: map[string]meta.Version{}}
	l.next.Store(1000)
	for w := range workers {
		l.wg.Go(func() {
			for i := 0; !l.stop.Load(); i++ {
				c := object(l.b, fmt.Sprintf("w%d/%d", w, i%12), l.next.Add(1)) // few: every check reads all of them
				err := s.Mutate(context.Background(), 1, c)
				l.mu.Lock()
				if err != nil {
					l.err = err
					l.mu.Unlock()
					return
				}
				l.acked[c.Object.Key] = c.Object.Version
				l.mu.Unlock()
				if i%40 == 39 {
					l.flush()
				}
			}
		})
	}
	return l
}

func (l *load) snapshot() map[string]meta.Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]meta.Version, len(l.acked))
	for k, v := range l.acked {
		out[k] = v
	}
	return out
}

// more waits until n more commands were acknowledged.
func (l *load) more(t testing.TB, n uint64) {
	t.Helper()
	from := l.s.Applied()
	for end := time.Now().Add(20 * time.Second); l.s.Applied() < from+n; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		err := l.err
		l.mu.Unlock()
		if err != nil || time.Now().After(end) {
			t.Fatalf("the store does not go on: %v, %v", err, l.s.Err())
		}
	}
}

// flush asks Pebble to write a memtable out. Who does so while the store fails may be
// parked in it for good, or find it closed.
func (l *load) flush() {
	l.flushes.Go(func() {
		defer func() {
			if l.s.Err() != nil {
				_ = recover()
			}
		}()
		_, _ = l.s.db.AsyncFlush()
	})
}

func (l *load) end() {
	l.stop.Store(true)
	l.wg.Wait()
	if l.s.Err() == nil {
		l.flushes.Wait()
	}
}

func checkCopies(t testing.TB, disks []*disk, key *[32]byte, b *meta.Bucket, acked map[string]meta.Version, applied uint64) {
	t.Helper()
	s, err := Open(disks[0].dir, mirrored(disks, Options{Key: key}))
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer s.Close()
	if s.Applied() < applied {
		t.Errorf("applied index fell from %d to %d", applied, s.Applied())
	}
	if err := metatest.Verify(s); err != nil {
		t.Error(err)
	}
	for key, v := range acked {
		o, err := meta.GetObject(s, b, key)
		if err != nil || string(o.Version[:]) < string(v[:]) {
			t.Fatalf("%s: version %s acknowledged, found %s: %v", key, v, o.Version, err)
		}
	}
}

func TestCopiesSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("TestSuite does the same with one copy, and TestCopiesMachine what matters with several")
	}
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			metatest.Run(t, func(t *testing.T) meta.Store { return openDisks(t, newDisks(n), Options{Key: &testKey}) })
		})
	}
}

// TestCopiesPowerLoss takes the power of all drives away under load: any one copy,
// and any set of them, has what was acknowledged.
func TestCopiesPowerLoss(t *testing.T) {
	rounds := uint64(6)
	if testing.Short() {
		rounds = 4
	}
	for round := range rounds {
		var key *[32]byte
		if round%2 == 0 {
			key = &testKey
		}
		disks := newDisks(2 + int(round)%2)
		s := openDisks(t, disks, Options{Key: key})
		l := startLoad(t, s, 8)
		time.Sleep(time.Duration(5+5*round) * time.Millisecond)
		acked, applied := l.snapshot(), s.Applied()
		after := crashTogether(disks, round*10)
		l.end()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for bits := 1; bits < 1<<len(after); bits++ {
			var some []*disk
			for i, d := range after {
				if bits>>i&1 == 1 {
					some = append(some, d.crash(99)) // a copy: nothing is unsynced
				}
			}
			checkCopies(t, some, key, &l.b, acked, applied)
		}
	}
}

// TestCopyFails breaks a copy in every way that a file system can fail, at a random
// moment: the store goes on, and the others have everything.
func TestCopyFails(t *testing.T) {
	rounds := uint64(12)
	if testing.Short() {
		rounds = 6 // every way once
	}
	for round := range rounds {
		n := 2 + int(round)%2
		victim := int(round/3) % n
		disks := newDisks(n)
		var gone ejections
		s := openDisks(t, disks, Options{Eject: gone.eject, Patience: 1000 * timeUnit})
		l := startLoad(t, s, 4)
		l.more(t, 20)
		release := func() {}

		t.Cleanup(func() { t.Logf("round %d", round) })
		kinds := []errorfs.OpKind{errorfs.OpFileSyncData, errorfs.OpFileWrite, errorfs.OpCreate, errorfs.OpFileSync, errorfs.OpRemove}
		switch k := round % 6; {
		case k == 5:
			release = disks[victim].hang()
		default:
			disks[victim].fail(func(op errorfs.Op) error {
				if op.Kind == kinds[k] {
					return errBroken
				}
				return nil
			})
		}
		for end := time.Now().Add(10 * time.Second); len(gone.list()) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("round %d: the copy stays in service", round)
			}
			if err := protect(func() error { _, err := s.db.AsyncFlush(); return err }); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		l.more(t, 20)
		l.end()
		if got := gone.list(); !slices.Equal(got, []string{disks[victim].dir}) {
			t.Fatalf("round %d: ejected %v", round, got)
		}
		acked, applied := l.snapshot(), s.Applied()
		for i, d := range disks {
			if i != victim {
				checkCopies(t, []*disk{d.crash(round)}, nil, &l.b, acked, applied)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		release()
	}
}

// TestEjectHoldsBack: nothing is acknowledged while it is being recorded that a copy
// is stale, and nothing at all if that fails.
func TestEjectHoldsBack(t *testing.T) {
	for _, result := range []error{nil, errors.New("no quorum")} {
		disks := newDisks(2)
		called, leave := make(chan struct{}), make(chan struct{})
		s := openDisks(t, disks, Options{Eject: func(context.Context, string, error) error {
			close(called)
			<-leave
			return result
		}})
		b := createBucket(t, s)
		disks[1].kill()
		done := make(chan error, 1)
		go func() { done <- s.Mutate(context.Background(), 1, object(b, "k", 1)) }()
		<-called
		select {
		case err := <-done:
			t.Fatalf("acknowledged: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		close(leave)
		err := <-done
		if result == nil && err != nil || result != nil && !errors.Is(err, meta.ErrUnknownOutcome) {
			t.Errorf("%v: %v", result, err)
		}
		if (s.Err() != nil) != (result != nil) {
			t.Errorf("%v: %v", result, s.Err())
		}
		if result != nil && !strings.Contains(s.Err().Error(), "no quorum") {
			t.Error(s.Err())
		}
		_ = s.Close()
	}
}

// TestAddCopy makes copies under load, and then takes the old ones away.
func TestAddCopy(t *testing.T) { bothWays(t, addCopy) }

func addCopy(t *testing.T, key *[32]byte) {
	disks := newDisks(4)
	var gone ejections
	s := openDisks(t, disks[:1], Options{Key: key, Eject: gone.eject})
	l := startLoad(t, s, 4)
	l.more(t, 50)
	for i := 1; i < len(disks); i++ {
		promoted := false
		err := s.AddCopy(context.Background(), Copy{Dir: disks[i].dir, FS: disks[i].FS}, func(context.Context) error {
			promoted = true
			return nil
		})
		if err != nil || !promoted {
			t.Fatal(err)
		}
		l.more(t, 20)
		acked, applied := l.snapshot(), s.Applied()
		checkCopies(t, []*disk{disks[i].crash(uint64(i))}, key, &l.b, acked, applied)
		if i%2 == 1 {
			disks[i-1].kill()
		} else if err := s.RemoveCopy(context.Background(), disks[i-1].dir); err != nil {
			t.Fatal(err)
		}
		l.more(t, 20)
	}
	l.end()
	if got := gone.list(); len(got) != 3 {
		t.Errorf("ejected: %v", got)
	}
	if c := s.Copies(); len(c) != 1 || c[0].Dir != disks[3].dir || !c[0].Primary {
		t.Errorf("%+v", c)
	}
	acked, applied := l.snapshot(), s.Applied()
	if err := s.RemoveCopy(context.Background(), disks[3].dir); err == nil {
		t.Error("the last copy was removed")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkCopies(t, disks[3:], key, &l.b, acked, applied)
}

// timeUnit is of patience in tests: machines that run them may be slow.
const timeUnit = time.Millisecond
