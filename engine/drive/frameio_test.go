package drive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// writeRows writes data as f by StartWrite, all frames at once, and syncs.
func writeRows(d *Drive, f *Fragment, data []byte) error {
	var all []*FrameIO
	for row := range f.Frames() {
		n := framePayload(f.Size, f.Unit, row)
		buf, err := d.Arena().Get(context.Background(), HeaderSize+padded(n))
		if err != nil {
			return err
		}
		copy(buf.Bytes()[HeaderSize:], data[row*f.Unit:][:n])
		all = append(all, d.StartWrite(f, row, buf, n))
	}
	var err error
	for _, p := range append(all, nil) {
		if p == nil {
			p = d.StartSync()
		}
		if _, e := p.Wait(); err == nil {
			err = e
		}
		p.Release()
	}
	return err
}

// readRow reads bytes [lo, hi) of a frame.
func readRow(d *Drive, f *Fragment, row int64, lo, hi int) ([]byte, error) {
	buf, err := d.Arena().Get(context.Background(), f.ReadSize(row, lo, hi))
	if err != nil {
		return nil, err
	}
	p := d.StartRead(f, row, lo, hi, buf)
	defer p.Release()
	got, err := p.Wait()
	return bytes.Clone(got), err
}

func readAll(d *Drive, f *Fragment) ([]byte, error) {
	r, err := d.Open(context.Background(), f, 0, f.Size)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// anyFragment draws a fragment and reserves extents for it, which lie scattered.
func anyFragment(t *rapid.T, d *Drive) Fragment {
	f := Fragment{
		Blob:   layout.NewBlobID(testTime),
		Unit:   layout.UnitStep * rapid.Int64Range(1, 16).Draw(t, "unit"),
		Number: rapid.IntRange(0, maxNumber).Draw(t, "number"),
	}
	f.Size = rapid.OneOf(rapid.Int64Range(1, 3*mib), rapid.Int64Range(1, 100), rapid.SampledFrom([]int64{f.Unit, 2 * f.Unit, f.Unit + 1, 2*f.Unit - 1})).Draw(t, "size")
	var err error
	if f.Extents, err = d.ReserveFragment(context.Background(), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestFramesProperty writes fragments of any geometry, frame by frame or as a
// stream, and reads them back in both ways; a frame that was damaged, or is
// another's, is found out, and only that.
func TestFramesProperty(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	dev := newMem(24 * mib)
	d := openDrive(t, dev, Options{Arena: a})
	fragmentDrive(t, d, 1500)
	seed := uint64(0)
	rapid.Check(t, func(t *rapid.T) {
		f := anyFragment(t, d)
		defer d.Free(f.Extents)
		seed++
		data := randomBytes(seed, int(f.Size))
		var err error
		if rapid.Bool().Draw(t, "stream") {
			err = d.Write(context.Background(), &f, bytes.NewReader(data))
		} else {
			err = writeRows(d, &f, data)
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(d, &f)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d of %d bytes: %v", len(got), f.Size, err)
		}
		row := rapid.Int64Range(0, f.Frames()-1).Draw(t, "row")
		n := framePayload(f.Size, f.Unit, row)
		lo := rapid.IntRange(0, n-1).Draw(t, "lo")
		hi := rapid.IntRange(lo+1, n).Draw(t, "hi")
		want := data[row*f.Unit:][lo:hi]
		if got, err := readRow(d, &f, row, lo, hi); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("frame %d [%d,%d): %v", row, lo, hi, err)
		}
		if bad, err := d.Verify(context.Background(), &f, nil); bad != 0 || err != nil {
			t.Fatalf("%d bad frames: %v", bad, err)
		}
		damageFrame(t, dev, d, &f, row, lo, hi, want)
	})
}

// damageFrame damages a frame in a way of which there are several, and looks who
// notices.
func damageFrame(t *rapid.T, dev *memDevice, d *Drive, f *Fragment, row int64, lo, hi int, want []byte) {
	at := func(off int64) (devOff int64) {
		c := extentCursor{exts: f.Extents}
		c.each(row*(HeaderSize+f.Unit)+off, 1, func(o, _ int64) { devOff = o })
		return devOff
	}
	block := lo / BlockSize
	other := *f
	header, known := false, true
	switch rapid.IntRange(0, 5).Draw(t, "damage") {
	case 0:
		header = true
		dev.data[at(int64(rapid.IntRange(0, HeaderSize-1).Draw(t, "byte")))] ^= 0x40
	case 1:
		dev.data[at(int64(HeaderSize+lo))] ^= 1
	case 2:
		other.Number = (f.Number + 1) % (maxNumber + 1)
	case 3:
		other.Blob = layout.NewBlobID(testTime)
	case 4:
		other.Size--
		if other.Size == 0 {
			t.Skip("no smaller fragment")
		}
		known = row < other.Frames() && hi <= framePayload(other.Size, f.Unit, row)
	case 5:
		if other.Unit = f.Unit - layout.UnitStep; other.Unit == 0 {
			t.Skip("no smaller unit")
		}
		row, known = 0, hi <= framePayload(other.Size, other.Unit, 0)
	}
	if !known {
		t.Skip("no such frame")
	}
	count := d.Counters().Corrupt
	if d.checkExtents(other.Extents, other.DiskSize()) == nil {
		count++ // else it is found out before anything is read
	}
	if _, err := readRow(d, &other, row, lo, hi); !errors.Is(err, ErrCorrupt) || d.Counters().Corrupt != count {
		t.Fatalf("frame %d [%d,%d): %v", row, lo, hi, err)
	}
	if other.Blob != f.Blob || other.Number != f.Number || other.Size != f.Size || other.Unit != f.Unit {
		return // the fragment is whole
	}
	if bad, err := d.Verify(context.Background(), f, nil); bad != 1 || err != nil {
		t.Fatalf("%d bad frames: %v", bad, err)
	}
	if lo = (block + 1) * BlockSize; !header && lo < hi {
		if got, err := readRow(d, f, row, lo, hi); err != nil || !bytes.Equal(got, want[len(want)-hi+lo:]) {
			t.Fatalf("the blocks beside: %v", err)
		}
	}
}

func TestStartRefusals(t *testing.T) {
	d := openDrive(t, newMem(24*mib), Options{})
	f := Fragment{Blob: layout.NewBlobID(testTime), Number: 3, Size: 3*layout.UnitStep - 5, Unit: layout.UnitStep}
	var err error
	if f.Extents, err = d.ReserveFragment(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	unit := int(f.Unit)
	with := func(change func(f *Fragment)) *Fragment {
		g := f
		change(&g)
		return &g
	}
	large := Fragment{Blob: f.Blob, Size: 512 << 10, Unit: 512 << 10}
	if large.Extents, err = d.ReserveFragment(t.Context(), &large); err != nil {
		t.Fatal(err)
	}
	free := []layout.Extent{{Off: 16 * mib, Len: f.Extents[0].Len}}
	for name, c := range map[string]struct {
		f     *Fragment
		row   int64
		lo, n int
		read  bool
		want  error
	}{
		"row -1":           {f: &f, row: -1, n: unit, want: ErrRange},
		"row beyond":       {f: &f, row: 3, n: unit, want: ErrRange},
		"too much":         {f: &f, row: 2, n: unit, want: ErrRange},
		"too little":       {f: &f, row: 0, n: unit - 5, want: ErrRange},
		"no unit":          {f: with(func(f *Fragment) { f.Unit = 0 }), n: unit, want: ErrRange},
		"odd unit":         {f: with(func(f *Fragment) { f.Unit++ }), n: unit, want: ErrRange},
		"large unit":       {f: with(func(f *Fragment) { f.Unit = FramePayload + layout.UnitStep }), n: unit, want: ErrRange},
		"empty":            {f: with(func(f *Fragment) { f.Size = 0 }), n: unit, want: ErrRange},
		"huge":             {f: with(func(f *Fragment) { f.Size = f.Unit<<31 + 1 }), n: unit, want: ErrRange},
		"number":           {f: with(func(f *Fragment) { f.Number = maxNumber + 1 }), n: unit, want: ErrRange},
		"no blob":          {f: with(func(f *Fragment) { f.Blob = layout.BlobID{} }), n: unit, want: ErrRange},
		"no extents":       {f: with(func(f *Fragment) { f.Extents = nil }), n: unit, want: ErrCorrupt},
		"free extents":     {f: with(func(f *Fragment) { f.Extents = free }), n: unit, want: ErrRange},
		"small buffer":     {f: &large, n: 512 << 10, want: ErrRange},
		"small for a read": {f: &large, read: true, n: 512 << 10, want: ErrRange},
		"nothing":          {f: &f, read: true, lo: 5, n: 0, want: ErrRange},
		"before":           {f: &f, read: true, lo: -1, n: 5, want: ErrRange},
		"behind":           {f: &f, read: true, row: 2, lo: unit - 6, n: 2, want: ErrRange},
		"read row":         {f: &f, read: true, row: 3, n: 2, want: ErrRange},
		"read no extents":  {f: with(func(f *Fragment) { f.Extents = f.Extents[:0] }), read: true, n: 2, want: ErrCorrupt},
		"read far outside": {f: with(func(f *Fragment) { f.Extents = []layout.Extent{{Off: 1 << 40, Len: 1 << 20}} }), read: true, n: 2, want: ErrCorrupt},
	} {
		buf, err := d.Arena().TryGet(1)
		if err != nil {
			t.Fatal(err)
		}
		var p *FrameIO
		if c.read {
			p = d.StartRead(c.f, c.row, c.lo, c.lo+c.n, buf)
		} else {
			p = d.StartWrite(c.f, c.row, buf, c.n)
		}
		ch := make(chan struct{}, 1)
		p.Notify(ch)
		<-ch
		if !p.Poll(0) {
			t.Errorf("%s: not at its end", name)
		}
		if _, err := p.Wait(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if p.Take() != buf {
			t.Errorf("%s: the buffer is lost", name)
		}
		p.Release()
		buf.Release()
	}
}

func TestTakeAndNotify(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	f := Fragment{Blob: layout.NewBlobID(testTime), Number: 1, Size: 100_000, Unit: 2 * layout.UnitStep}
	data := randomBytes(1, int(f.Size))
	var err error
	if f.Extents, err = r.d.ReserveFragment(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if err := writeRows(r.d, &f, data); err != nil {
		t.Fatal(err)
	}
	read := func() (*FrameIO, *ioring.Buffer, chan struct{}) {
		buf, err := r.arena.TryGet(HeaderSize + int(f.Unit))
		if err != nil {
			t.Fatal(err)
		}
		p, ch := r.d.StartRead(&f, 0, 10, 90_000, buf), make(chan struct{}, 1)
		p.Notify(ch)
		return p, buf, ch
	}
	// A read that hangs for a while.
	answer := make(chan struct{})
	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Hang: answer})
	p, buf, ch := read()
	if p.Poll(0) || p.Poll(testDeadline/10) || p.Take() != nil {
		t.Error("at its end too early")
	}
	if r.d.InFlightSince() < testDeadline/10 {
		t.Errorf("InFlightSince() = %v", r.d.InFlightSince())
	}
	close(answer)
	<-ch
	if !p.Poll(0) {
		t.Error("not at its end")
	}
	got, err := p.Wait()
	wantBytes(t, got, err, data[10:90_000])
	if p.Take() != buf || p.Take() != nil {
		t.Error("Take gives something else")
	}
	p.Release()
	buf.Release()

	// One that does not verify at first.
	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Flip: true})
	p, _, ch = read()
	for <-ch; !p.Poll(0); <-ch {
	}
	got, err = p.Wait()
	wantBytes(t, got, err, data[10:90_000])
	p.Release()

	// One that is given up: the buffer comes back later.
	answer = make(chan struct{})
	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Hang: answer})
	p, _, ch = read()
	<-ch
	if _, err := p.Wait(); !errors.Is(err, ErrTimeout) || p.Take() != nil {
		t.Error(err)
	}
	if !p.Poll(time.Hour) {
		t.Error("Poll after Wait")
	}
	p.Release()
	if r.arena.InUse() == 0 {
		t.Error("the buffer was lent again")
	}
	close(answer)
	eventually(t, "the return of the buffer", func() bool { return r.arena.InUse() == 0 && r.d.Idle() })

	// One that is released in flight.
	answer = make(chan struct{})
	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Hang: answer})
	p, _, ch = read()
	p.Release()
	close(answer)
	eventually(t, "the return of the buffer", func() bool { return r.arena.InUse() == 0 && r.d.Idle() })
	if len(ch) > 0 {
		t.Error("told after Release")
	}
	if r.d.InFlightSince() != 0 || r.d.RecentP99Read() < 0 {
		t.Error("reads in flight")
	}
}

func TestVerify(t *testing.T) {
	dev := newMem(24 * mib)
	d := openDrive(t, dev, Options{})
	f := Fragment{Blob: layout.NewBlobID(testTime), Number: 1, Size: 10*layout.UnitStep - 1, Unit: layout.UnitStep}
	var err error
	if f.Extents, err = d.ReserveFragment(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), &f, bytes.NewReader(randomBytes(1, int(f.Size)))); err != nil {
		t.Fatal(err)
	}
	frame := func(i int64) int64 { return f.Extents[0].Off + i*(HeaderSize+f.Unit) }
	dev.data[frame(3)+9] ^= 1
	dev.data[frame(7)+HeaderSize+70] ^= 1
	dev.onRead = func(off int64, b []byte) error {
		if off <= frame(5) && frame(5) < off+int64(len(b)) {
			return errBadSector
		}
		return nil
	}
	var read int64
	bad, err := d.Verify(t.Context(), &f, func(n int) error { read += int64(n); return nil })
	if bad != 3 || err != nil || read != f.DiskSize() {
		t.Errorf("%d bad frames, %d of %d bytes read: %v", bad, read, f.DiskSize(), err)
	}
	stop := errors.New("stop")
	if _, err := d.Verify(t.Context(), &f, func(int) error { return stop }); err != stop {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Verify(ctx, &f, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	short := f
	short.Extents = []layout.Extent{{Off: f.Extents[0].Off, Len: 4096}}
	if bad, err := d.Verify(t.Context(), &short, nil); bad != 10 || err != nil {
		t.Errorf("%d bad frames, %v", bad, err)
	}
	short.Unit = 1
	if _, err := d.Verify(t.Context(), &short, nil); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	cause := errors.New("gone")
	d.Abandon(cause)
	if _, err := d.Verify(t.Context(), &f, nil); !errors.Is(err, cause) {
		t.Error(err)
	}
}

// TestFrameIOAllocations: in steady state a frame costs no memory but the arena's
// own record of the loan.
func TestFrameIOAllocations(t *testing.T) {
	mem := newMem(24 * mib)
	d := openDrive(t, mem, Options{})
	f := Fragment{Blob: layout.NewBlobID(testTime), Number: 1, Size: layout.UnitStep, Unit: layout.UnitStep}
	var err error
	if f.Extents, err = d.ReserveFragment(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	d.dev = nullDevice{mem}
	buf, err := d.Arena().TryGet(HeaderSize + int(f.Unit))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { buf.Release() }()
	copy(buf.Bytes()[HeaderSize:], randomBytes(1, int(f.Unit)))
	allocs := testing.AllocsPerRun(200, func() {
		p := d.StartWrite(&f, 0, buf, int(f.Unit))
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		buf = p.Take()
		p.Release()
		p = d.StartSync()
		if !p.Poll(time.Second) {
			t.Fatal("the sync hangs")
		}
		p.Release()
	})
	if allocs >= 1 && !raceEnabled {
		t.Errorf("%v allocations for a frame and a sync", allocs)
	}
}
