package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// Ways in which a bay's drive breaks. Each concerns the device and the file system
// with the copy of the metadata alike.
const (
	faultEIO      = "EIO on everything"
	faultHang     = "hang"
	faultFlip     = "silent bit flips"
	faultGone     = "gone"
	faultReadOnly = "read-only"
	faultNoSpace  = "ENOSPC"
)

var allFaults = []string{faultEIO, faultHang, faultFlip, faultGone, faultReadOnly, faultNoSpace}

// bay is a place for a drive: a faulty device, and a file system on which the drive
// may hold a copy of the metadata.
type bay struct {
	n    int
	dev  *faultio.Device
	id   layout.DriveID
	fs   *vfs.MemFS
	dir  string // of the copy
	copy bool   // the copy may be believed

	fault   string        // "": sound
	release chan struct{} // ends a hang
	broken  atomic.Pointer[breakage]
}

// breakage is what a file system suffers.
type breakage struct {
	fault string
	hang  chan struct{}
}

// wounded returns the bay's file system as the store sees it.
func (b *bay) wounded() vfs.FS {
	return faultfs.Wrap(b.fs, func(op errorfs.Op) error {
		w := b.broken.Load()
		if w == nil {
			return nil
		}
		reads := op.Kind.ReadOrWrite() == errorfs.OpIsRead
		switch w.fault {
		case faultEIO:
			return unix.EIO
		case faultGone:
			return unix.ENXIO
		case faultHang:
			<-w.hang
			return unix.EIO
		case faultReadOnly:
			if !reads {
				return unix.EROFS
			}
		case faultNoSpace:
			switch op.Kind {
			case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate, errorfs.OpCreate:
				return unix.ENOSPC
			}
		}
		return nil
	})
}

// hurt has the bay's drive break.
func (b *bay) hurt(fault string) {
	b.fault, b.release = fault, make(chan struct{})
	b.inject()
	b.broken.Store(&breakage{fault, b.release})
}

// inject gives the device the rules of the bay's fault.
func (b *bay) inject() {
	switch b.fault {
	case faultEIO:
		b.dev.Inject(faultio.Rule{Err: faultio.ErrIO})
	case faultGone:
		b.dev.Break(faultio.Gone)
	case faultHang:
		b.dev.Break(faultio.Hung)
	case faultFlip:
		b.dev.Inject(faultio.Rule{Code: ioring.OpRead, Flip: true})
		b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Flip: true})
	case faultReadOnly:
		b.dev.Break(faultio.ReadOnly)
	case faultNoSpace:
		b.dev.Break(faultio.Full)
	}
}

// mend ends the fault. What was lost by it stays lost.
func (b *bay) mend() {
	b.dev.Heal()
	b.broken.Store(nil)
	if b.release != nil {
		close(b.release)
	}
	b.fault, b.release = "", nil
}

// mend mends a bay, which fill may be looking at.
func (f *farm) mend(b *bay) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b.mend()
}

// farm is an engine over several bays, with the metadata on three of them.
type farm struct {
	t     testing.TB
	rng   *rand.Rand
	arena *ioring.Arena
	bays  []*bay
	cfg   Config
	opts  drive.Options

	e     *Engine
	store *pebblemeta.Store

	story  []string
	mu     sync.Mutex // guards the bays' copy and fault, and story
	life   int        // how often the power was cut; guarded by mu
	filler sync.WaitGroup
	// replaced are the drives that were, with the bays of their successors: what the
	// daemon keeps in documents.
	replaced map[layout.DriveID]int
}

// quickTiming has everything that waits wait for a short time.
var quickTiming = Timing{
	HealthTick: 5 * time.Millisecond, SuspectFor: 100 * time.Millisecond, ProtectAfter: time.Hour,
	Retry: 2 * time.Millisecond, Rescan: 20 * time.Millisecond, Quiet: time.Millisecond, Yield: 1,
	FreeDelay: time.Millisecond, ScrubSave: 10 * time.Millisecond, CloseWait: 5 * time.Second,
}

// farmCopies is the number of copies of the metadata.
const farmCopies = 3

func newFarm(t testing.TB, seed uint64, drives int, capacity int64) *farm {
	f := &farm{t: t, rng: rand.New(rand.NewPCG(seed, 0xfa7))}
	f.cfg = Config{InlineMax: 1 << 10, Grace: time.Millisecond, WriteBuffers: 32 << 20, Timing: quickTiming}
	var err error
	if f.arena, err = ioring.NewArena(64 << 20); err != nil {
		t.Fatal(err)
	}
	f.opts = drive.Options{Arena: f.arena, Deadline: 1500 * time.Millisecond, Stall: 1400 * time.Millisecond}
	for n := range drives {
		b := &bay{n: n, fs: vfs.NewCrashableMem(), dir: fmt.Sprint("meta-", n), copy: n < farmCopies}
		b.dev = faultio.New(faultio.Options{Capacity: capacity, Seed: seed + uint64(n)})
		f.bays = append(f.bays, b)
	}
	f.start()
	return f
}

// openBay opens the bay's drive.
func (f *farm) openBay(b *bay) (*drive.Drive, error) {
	d, err := drive.Open(context.Background(), b.dev, f.opts)
	if err != nil {
		return nil, err
	}
	f.opts.Cluster, b.id = d.Cluster(), d.ID()
	return d, nil
}

// start opens what is there. Broken bays are left out, as the daemon does.
func (f *farm) start() {
	f.t.Helper()
	cfg := f.cfg
	for _, b := range f.bays {
		d, err := f.openBay(b)
		switch {
		case err == nil:
			cfg.Drives = append(cfg.Drives, d)
		case b.fault == "":
			f.t.Fatalf("drive %d is sound and does not open: %v", b.n, err)
		default:
			cfg.Expected = append(cfg.Expected, b.id)
		}
	}
	for old := range f.replaced {
		cfg.Expected = append(cfg.Expected, old)
	}
	opts := pebblemeta.Options{CacheSize: 1 << 20, Patience: 1500 * time.Millisecond, Eject: f.ejecter()}
	dir := ""
	for _, b := range f.bays {
		switch {
		case !b.copy:
		case b.fault != "" && b.fault != faultFlip:
			b.copy = false
		case dir == "":
			dir, opts.FS = b.dir, b.wounded()
		default:
			opts.Copies = append(opts.Copies, pebblemeta.Copy{Dir: b.dir, FS: b.wounded()})
		}
	}
	if dir == "" {
		f.t.Fatal("no copy of the metadata is left")
	}
	var err error
	if f.store, err = pebblemeta.Open(dir, opts); err != nil {
		f.t.Fatal("metadata:", err)
	}
	cfg.Store = f.store
	if f.e, err = Open(context.Background(), cfg); err != nil {
		f.t.Fatal(err)
	}
	f.e.minPart = 1
	for old, n := range f.replaced {
		if err := f.e.ReplaceDrive(old, f.bays[n].id); err != nil {
			f.t.Fatal("replace, after a restart:", err)
		}
	}
	f.fill()
}

// ejecter returns the Eject of a store that is about to be opened: it notes that a copy
// may not be believed any more, unless the power was cut before.
func (f *farm) ejecter() func(context.Context, string, error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	life := f.life
	return func(_ context.Context, dir string, _ error) error { return f.eject(life, dir) }
}

func (f *farm) eject(life int, dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if life != f.life {
		return errors.New("the power was cut")
	}
	for _, b := range f.bays {
		if b.dir == dir {
			b.copy = false
		}
	}
	return nil
}

// told returns the story so far.
func (f *farm) told() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.story)
}

// fill makes copies of the metadata in sound bays until there are enough.
func (f *farm) fill() {
	store := f.store
	f.filler.Go(func() {
		for range 2 * len(f.bays) {
			f.mu.Lock()
			have := 0
			var next *bay
			for _, b := range f.bays {
				if b.copy {
					have++
				} else if b.fault == "" && next == nil {
					next = b
				}
			}
			f.mu.Unlock()
			if have >= farmCopies || next == nil {
				return
			}
			err := store.AddCopy(context.Background(), pebblemeta.Copy{Dir: next.dir, FS: next.wounded()}, func(context.Context) error {
				f.mu.Lock()
				defer f.mu.Unlock()
				next.copy = true
				return nil
			})
			if errors.Is(err, meta.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(5 * time.Millisecond)
			}
		}
	})
}

// powerOff cuts the power of all bays at one moment.
func (f *farm) powerOff() {
	cfg := vfs.CrashCloneCfg{
		UnsyncedDataPercent: []int{0, 20, 50, 80, 100}[f.rng.IntN(5)],
		RNG:                 rand.New(rand.NewPCG(f.rng.Uint64(), 1)),
	}
	devs := make([]*faultio.Device, len(f.bays))
	for i, b := range f.bays {
		devs[i] = b.dev
	}
	devs = faultio.CrashAll(devs, f.rng.Uint64, func() {
		f.mu.Lock() // what is ejected from here on is not recorded
		defer f.mu.Unlock()
		after := make([]*bay, len(f.bays))
		for i, b := range f.bays {
			if b.release != nil {
				close(b.release)
			}
			b.broken.Store(&breakage{fault: faultGone}) // the old process gets nowhere
			after[i] = &bay{n: b.n, id: b.id, dir: b.dir, copy: b.copy, fault: b.fault}
			after[i].fs = b.fs.CrashClone(cfg)
		}
		f.bays = after
		f.life++
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, b := range f.bays {
		if b.dev = devs[i]; b.fault != "" {
			b.hurt(b.fault)
		}
	}
}

// swap puts a blank drive into a bay, and has it take the place of the old one.
func (f *farm) swap(b *bay) {
	f.t.Helper()
	old := b.id
	f.e.FailDrive(old, errors.New("taken out"))
	f.mend(b) // so that what hangs ends; nothing of it is used any more
	fresh := &bay{n: b.n, fs: vfs.NewCrashableMem(), dir: b.dir}
	fresh.dev = faultio.New(faultio.Options{Seed: f.rng.Uint64()})
	f.mu.Lock()
	f.bays[slices.Index(f.bays, b)] = fresh
	f.mu.Unlock()
	_ = f.store.RemoveCopy(context.Background(), b.dir) // where it was still one
	d, err := f.openBay(fresh)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.e.AttachDrive(context.Background(), d); err != nil {
		f.t.Fatal("attach:", err)
	}
	if err := f.e.ReplaceDrive(old, d.ID()); err != nil {
		f.t.Fatal("replace:", err)
	}
	if f.replaced == nil {
		f.replaced = make(map[layout.DriveID]int)
	}
	f.replaced[old] = b.n
	f.fill()
}

// comeBack mends a bay's drive and attaches it again.
func (f *farm) comeBack(b *bay) {
	f.t.Helper()
	f.e.FailDrive(b.id, errors.New("pulled"))
	f.mend(b)
	f.until("the device is closed", func() bool { return f.e.Detached(b.id) })
	_ = b.dev.Close() // where it was never opened
	b.dev = b.dev.Reopen()
	d, err := f.openBay(b)
	if err != nil {
		f.t.Fatal("a mended drive does not open:", err)
	}
	if err := f.e.AttachDrive(context.Background(), d); err != nil {
		f.t.Fatal("attach:", err)
	}
	f.fill()
}

// until waits for what must come.
func (f *farm) until(what string, ok func() bool) {
	f.t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			for _, d := range f.e.Status().Drives {
				f.t.Log(d.ID, d.State, d.Err)
			}
			f.t.Fatalf("waited in vain: %s\nheal: %+v\nscrub: %+v\nstory: %q", what, f.e.HealStatus(), f.e.ScrubStatus(), f.told())
		}
	}
}

// whole waits until every fragment has a place on a drive in service, and those on
// drives that came back have been verified.
func (f *farm) whole() {
	f.t.Helper()
	f.until("the drives that came back are verified", func() bool {
		f.e.scrub.mu.Lock()
		defer f.e.scrub.mu.Unlock()
		return len(f.e.scrub.st.Drives) == 0
	})
	f.until("everything is repaired", func() bool { return f.degraded() == 0 })
}

// degraded counts the fragments that are missing, or on no drive in service.
func (f *farm) degraded() (n int) {
	view := f.e.drives.now()
	err := meta.Blobs(f.e.store, func(ref meta.BackRef) error {
		n += ref.Blob.Missing()
		for i := range ref.Blob.Fragments {
			if frag := &ref.Blob.Fragments[i]; len(frag.Extents) > 0 && view.drive(frag.Drive) == nil {
				n++
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	repairs, err := meta.Repairs(f.e.store, meta.BlobCursor{}, 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	return n + len(repairs)
}

// checked fails when metadata and drives do not agree to the last byte.
func (f *farm) checked() {
	f.t.Helper()
	res, err := f.e.Check(context.Background(), CheckOptions{Deep: true})
	if err != nil {
		f.t.Fatal("check:", err)
	}
	if res.ProblemCount != 0 || res.Degraded != 0 || res.Unreadable != 0 {
		f.t.Fatalf("check found %+v\nstory: %q", res, f.told())
	}
}

// stop closes the engine.
func (f *farm) stop() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	f.filler.Wait()
	if err := f.e.Close(ctx); err != nil && ctx.Err() != nil {
		f.t.Error("close hangs:", err)
	}
	for end := time.Now().Add(5 * time.Second); f.arena.InUse() != 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // buffers of hung operations come back a little later
	}
	if n := f.arena.InUse(); n != 0 {
		f.t.Errorf("%d bytes of the arena are still on loan", n)
	}
}

// put stores an object, trying again as clients do.
func (f *farm) put(key string, data []byte) error {
	var err error
	for range 20 {
		if _, err = f.e.Put(context.Background(), putRequest("b", key, data)); err == nil || KindOf(err) == UnknownOutcome {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return err
}
