package drive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// hangLimit is more than any wait over a hung device may take in these tests,
// whose deadline is a small part of it.
const (
	hangLimit    = 20 * time.Second
	testDeadline = 250 * time.Millisecond
)

// hangRig is a drive over a faulty device with a short deadline.
type hangRig struct {
	t     *testing.T
	arena *ioring.Arena
	dev   *faultio.Device
	d     *Drive
}

func newHangRig(t *testing.T, opts faultio.Options) *hangRig {
	t.Helper()
	if opts.Capacity == 0 {
		opts.Capacity = 64 * mib
	}
	r := &hangRig{t: t, arena: newArena(t), dev: faultio.New(opts)}
	r.d = openDrive(t, r.dev, Options{Arena: r.arena, Deadline: testDeadline})
	return r
}

// soon runs fn, which must come back.
func (r *hangRig) soon(what string, fn func() error) error {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-time.After(hangLimit):
		r.t.Fatalf("%s hangs", what)
		return nil
	}
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

func TestNothingHangsWithTheDevice(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	ctx := context.Background()
	data := randomBytes(1, 2*mib)
	id, exts := put(t, r.d, data)
	spare, err := r.d.Reserve(ctx, 2*mib)
	if err != nil {
		t.Fatal(err)
	}
	half, err := r.d.OpenFragment(ctx, id, exts, 2*mib, 0, 2*mib) // the second frame is being read ahead
	if err != nil {
		t.Fatal(err)
	}
	r.dev.Break(faultio.Hung)
	f := Fragment{Blob: id, Size: 2 * mib, Unit: FramePayload, Extents: exts}
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"open", func() error { _, err := get(r.d, id, exts, 2*mib, 0, 10); return err }},
		{"write", func() error {
			return r.d.WriteFragment(ctx, layout.NewBlobID(testTime), spare, 2*mib, bytes.NewReader(data))
		}},
		{"verify", func() error { _, err := r.d.Verify(ctx, &f, nil); return err }},
		{"inspect", func() error { return r.d.Inspect(ctx, exts, func(FrameInfo) error { return nil }) }},
		{"sync", func() error { p := r.d.StartSync(); defer p.Release(); _, err := p.Wait(); return err }},
		{"reserve", func() error { _, err := r.d.Reserve(ctx, 60*mib); return err }},
	} {
		if err := r.soon(c.what, c.do); !errors.Is(err, ErrTimeout) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	if err := r.soon("the reader", func() error { _, err := io.Copy(io.Discard, half); return err }); err != nil && !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if err := r.soon("closing the reader", half.Close); err != nil {
		t.Error(err)
	}
	if h := r.d.Health(); h.Hung == 0 || h.Timeouts == 0 || !errors.Is(h.Failing, ErrTimeout) {
		t.Errorf("%+v", h)
	}
	if err := r.d.Err(); !errors.Is(err, ErrFailed) || !errors.Is(err, ErrTimeout) {
		t.Errorf("a hung drive takes writes: %v", err)
	}
	if r.arena.InUse() == 0 {
		t.Error("the device's buffers were lent again")
	}
	r.dev.Heal()
	eventually(t, "the return of the buffers", func() bool { return r.arena.InUse() == 0 && r.d.Idle() })
	eventually(t, "service", func() bool { // this machine may hang for a while as well
		got, err := get(r.d, id, exts, 2*mib, 0, 2*mib)
		if err != nil && !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		return err == nil && bytes.Equal(got, data) && r.d.Err() == nil
	})
}

// TestHungWriteKeepsItsExtents: a write that was given up lands after its extents
// were freed. They must not have been lent again by then.
func TestHungWriteKeepsItsExtents(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{Capacity: 20 * mib})
	ctx := context.Background()
	exts, err := r.d.Reserve(ctx, 1000)
	if err != nil {
		t.Fatal(err)
	}
	answer := make(chan struct{})
	r.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Hang: answer})
	if err := r.soon("the write", func() error {
		return r.d.WriteFragment(ctx, layout.NewBlobID(testTime), exts, 1000, bytes.NewReader(make([]byte, 1000)))
	}); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	r.d.Free(exts)
	if _, used, _ := r.d.Usage(); used != exts[0].Len {
		t.Errorf("%d bytes in use", used)
	}
	r.dev.Heal()
	close(answer)
	eventually(t, "the deferred free", func() bool { _, used, _ := r.d.Usage(); return used == 0 })
	r.d.Free(exts)
	if n := r.d.Counters().BadFrees; n != 1 {
		t.Errorf("%d bad frees of extents that were free", n)
	}
	if err := r.d.Claim(exts); err != nil {
		t.Error(err)
	}
}

// TestReleasedWriteKeepsItsExtents: the same for one that nobody waited for.
func TestReleasedWriteKeepsItsExtents(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	f := Fragment{Blob: layout.NewBlobID(testTime), Number: 2, Size: 100 << 10, Unit: layout.UnitStep}
	var err error
	if f.Extents, err = r.d.ReserveFragment(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	answer := make(chan struct{})
	r.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Hang: answer})
	buf, err := r.arena.TryGet(HeaderSize + int(f.Unit))
	if err != nil {
		t.Fatal(err)
	}
	r.d.StartWrite(&f, 0, buf, int(f.Unit)).Release()
	r.d.Free(f.Extents)
	r.d.Free(f.Extents) // the second is refused when the first is carried out
	if _, used, _ := r.d.Usage(); used == 0 {
		t.Error("freed under a write")
	}
	close(answer)
	eventually(t, "the deferred free", func() bool {
		_, used, _ := r.d.Usage()
		return used == 0 && r.d.Counters().BadFrees == 1 && r.arena.InUse() == 0
	})
}

// TestFullQueue: nobody waits for room in the device's queue, and what found none
// is done once there is.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{Depth: 2})
	data := randomBytes(1, 1800<<10)
	f := Fragment{Size: int64(len(data)), Unit: layout.UnitStep}
	f.Blob, f.Number = layout.NewBlobID(testTime), 1
	var err error
	if f.Extents, err = r.d.ReserveFragment(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if err := r.d.Write(t.Context(), &f, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	// Each is slow, all of them much slower than the deadline.
	r.dev.Inject(faultio.Rule{Delay: testDeadline / 8})
	start := func() (all []*FrameIO) {
		for row := range f.Frames() {
			buf, err := r.arena.TryGet(HeaderSize + int(f.Unit))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, r.d.StartRead(&f, row, 0, framePayload(f.Size, f.Unit, row), buf))
		}
		return all
	}
	all := start()
	for row, p := range all {
		got, err := p.Wait()
		wantBytes(t, got, err, data[row*int(f.Unit):][:len(got)])
		p.Release()
	}
	// Now the device answers nothing, so that neither gets what waits for room.
	r.dev.Break(faultio.Hung)
	r.soon("starting", func() error { all = start(); return nil })
	for _, p := range all {
		if err := r.soon("a read without room", func() error { _, err := p.Wait(); return err }); !errors.Is(err, ErrTimeout) {
			t.Error(err)
		}
		p.Release()
	}
	if h := r.d.Health(); h.Hung < 2 || h.Hung > 4 {
		t.Errorf("%d operations hang of a device that takes 2", h.Hung)
	}
	r.dev.Heal()
	eventually(t, "the end", func() bool { return r.d.Idle() && r.arena.InUse() == 0 })
}

// TestHungDeviceGetsNoMore: the memory that a hung device keeps is bounded.
func TestHungDeviceGetsNoMore(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	id, exts := put(t, r.d, randomBytes(1, 4000))
	r.dev.Break(faultio.Hung)
	for range 2 {
		var wg sync.WaitGroup
		for range maxHung {
			wg.Go(func() {
				if _, err := get(r.d, id, exts, 4000, 0, 1); !errors.Is(err, ErrTimeout) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := r.d.Health().Hung; n != maxHung {
			t.Errorf("%d operations hang", n)
		}
	}
	kept := r.arena.InUse()
	if _, err := get(r.d, id, exts, 4000, 0, 1); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if r.arena.InUse() != kept {
		t.Error("a read that was refused kept its buffer")
	}
	r.dev.Heal()
	eventually(t, "the end", func() bool { return r.d.Idle() && r.arena.InUse() == 0 && r.d.Health().Hung == 0 })
}

func TestAbandon(t *testing.T) {
	t.Parallel()
	r := &hangRig{t: t, arena: newArena(t), dev: faultio.New(faultio.Options{Capacity: 64 * mib, Depth: 1})}
	r.d = openDrive(t, r.dev, Options{Arena: r.arena, Deadline: time.Hour})
	id, exts := put(t, r.d, randomBytes(1, 4000))
	r.dev.Break(faultio.Hung)
	cause := errors.New("the drive bay is on fire")
	results := make(chan error)
	for range 5 { // one is in the device, one in Submit, three wait
		go func() { _, err := get(r.d, id, exts, 4000, 0, 1); results <- err }()
	}
	go func() { _, err := r.d.Reserve(context.Background(), 60*mib); results <- err }()
	time.Sleep(20 * time.Millisecond)
	r.d.Abandon(cause)
	r.d.Abandon(errors.New("another"))
	for range 3 {
		if err := r.soon("a wait", func() error { return <-results }); !errors.Is(err, cause) || !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
	}
	if _, err := get(r.d, id, exts, 4000, 0, 1); !errors.Is(err, cause) {
		t.Error(err)
	}
	if _, err := r.d.Reserve(t.Context(), 1); !errors.Is(err, cause) {
		t.Error(err)
	}
	if r.d.Idle() || r.arena.InUse() == 0 {
		t.Error("a hung device is called idle")
	}
	if err := r.soon("Close", r.d.Close); !errors.Is(err, ioring.ErrHung) {
		t.Errorf("Close: %v", err)
	}
	r.d.Usage() // harmless
	r.dev.Heal()
	eventually(t, "the return of the buffers", func() bool { return r.d.Idle() && r.arena.InUse() == 0 })
}

// TestCloseOfHungDrive: Close is bounded without Abandon as well.
func TestCloseOfHungDrive(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	id, exts := put(t, r.d, randomBytes(1, 4000))
	r.dev.Break(faultio.Hung)
	if _, err := get(r.d, id, exts, 4000, 0, 1); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if err := r.soon("Close", r.d.Close); !errors.Is(err, ioring.ErrHung) {
		t.Errorf("Close: %v", err)
	}
	r.dev.Heal()
	eventually(t, "the return of the buffers", func() bool { return r.arena.InUse() == 0 })
}

func TestOpenOfHungDrive(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	dev := faultio.New(faultio.Options{Capacity: 64 * mib})
	openDrive(t, dev, Options{Arena: a}).Close()
	dev = dev.Reopen()
	dev.Break(faultio.Hung)
	if _, err := Open(context.Background(), dev, Options{Arena: a, Deadline: testDeadline}); !errors.Is(err, ErrTimeout) {
		t.Errorf("Open: %v", err)
	}
	dev.Heal()
	eventually(t, "the return of the buffers", func() bool { return a.InUse() == 0 })
	dev.Close()
}

// TestRepairOfHungDrive: a copy of the superblock whose repair hangs does not keep the
// drive from being opened, and the answer may come at any time.
func TestRepairOfHungDrive(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for range 3 {
		dev := faultio.New(faultio.Options{Capacity: 64 * mib})
		openDrive(t, dev, Options{Arena: a}).Close()
		dev = dev.Reopen()
		leave := make(chan struct{})
		dev.Inject(faultio.Rule{Code: ioring.OpRead, From: superCopy, To: superCopy + superSize, Times: 1, Flip: true})
		dev.Inject(faultio.Rule{Code: ioring.OpWrite, From: superCopy, To: superCopy + superSize, Times: 1, Hang: leave})
		time.AfterFunc(2*testDeadline, func() { close(leave) }) // after it was given up
		d, err := Open(context.Background(), dev, Options{Arena: a, Deadline: testDeadline, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(testDeadline) // Idle would take locks that order what is not
		eventually(t, "the answer", d.Idle)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the return of the buffers", func() bool { return a.InUse() == 0 })
}

func TestGenerationOfHungDrive(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	if err := r.d.SetMetadataGeneration(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	r.dev.Break(faultio.Hung)
	if err := r.soon("SetMetadataGeneration", func() error { return r.d.SetMetadataGeneration(t.Context(), 6) }); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	if n := r.d.MetadataGeneration(); n != 5 {
		t.Errorf("generation %d", n)
	}
	r.dev.Heal()
	eventually(t, "the end", r.d.Idle)
	if err := r.d.Err(); !errors.Is(err, ErrFailed) { // which of the two is on the drive is unknown
		t.Error(err)
	}
}
