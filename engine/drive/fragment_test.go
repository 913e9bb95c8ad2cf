package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

var boundarySizes = []int64{
	1, 511, 4095, 4096, 4097, 16<<10 - 1, 16 << 10, 16<<10 + 1,
	128<<10 - 1, 128 << 10, 128<<10 + 1, mib - 1, mib, mib + 1,
	2 * mib, 3*mib + 5000,
}

// fragmentDrive leaves free only every other unit of the drive's first part.
func fragmentDrive(t testing.TB, d *Drive, units int) {
	t.Helper()
	var one []layout.Extent
	for range units {
		exts, err := d.Reserve(context.Background(), 1)
		if err != nil {
			break
		}
		one = append(one, exts...)
	}
	for i, e := range one {
		if i%3 != 0 {
			d.Free([]layout.Extent{e})
		}
	}
}

func checkRanges(t *testing.T, d *Drive, id layout.BlobID, exts []layout.Extent, data []byte) {
	t.Helper()
	size := int64(len(data))
	rng := rand.New(rand.NewPCG(uint64(size), 7))
	ranges := [][2]int64{{0, size}, {0, 1}, {size - 1, 1}, {size / 2, size - size/2}, {0, 0}, {size, 0}}
	for range 6 {
		off := rng.Int64N(size)
		ranges = append(ranges, [2]int64{off, 1 + rng.Int64N(size-off)})
	}
	for _, r := range ranges {
		got, err := get(d, id, exts, size, r[0], r[1])
		if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Fatalf("size %d range %v: %v, %d bytes", size, r, err, len(got))
		}
	}
}

func TestFragmentSizesAndRanges(t *testing.T) {
	t.Parallel()
	for _, fragmented := range []bool{false, true} {
		t.Run(fmt.Sprintf("fragmented=%v", fragmented), func(t *testing.T) {
			d := openDrive(t, newMem(14*mib), Options{})
			if fragmented {
				fragmentDrive(t, d, 1<<20)
			}
			straddled := false
			for _, size := range boundarySizes {
				data := randomBytes(uint64(size), int(size))
				id, exts := put(t, d, data)
				straddled = straddled || len(exts) > 100
				checkRanges(t, d, id, exts, data)
				d.Free(exts)
			}
			if straddled != fragmented {
				t.Errorf("straddled %v, want %v", straddled, fragmented)
			}
		})
	}
}

// TestOddSplits writes across every way a frame can straddle two extents.
func TestOddSplits(t *testing.T) {
	t.Parallel()
	d := openDrive(t, newMem(14*mib), Options{})
	whole, err := d.Reserve(context.Background(), 3*mib)
	if err != nil || len(whole) != 1 {
		t.Fatal(whole, err)
	}
	base := whole[0].Off
	const size = mib + 100
	data := randomBytes(3, size)
	need := DiskSize(size)
	for split := int64(4096); split < need; split += 4096 * 11 {
		exts := []layout.Extent{{Off: base + 3*mib/2, Len: split}, {Off: base, Len: need - split}}
		id := layout.NewBlobID(testTime)
		if err := d.WriteFragment(context.Background(), id, exts, size, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		got, err := get(d, id, exts, size, 0, size)
		wantBytes(t, got, err, data)
		got, err = get(d, id, exts, size, mib-20000, 20050)
		wantBytes(t, got, err, data[mib-20000:][:20050])
	}
}

func TestReaderRead(t *testing.T) {
	d := openDrive(t, newMem(14*mib), Options{})
	data := randomBytes(9, 3*mib+77)
	id, exts := put(t, d, data)
	r, err := d.OpenFragment(context.Background(), id, exts, int64(len(data)), 5, int64(len(data))-5)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	rest, err := io.ReadAll(io.LimitReader(r, 2*mib))
	if err != nil {
		t.Fatal(err)
	}
	var tail bytes.Buffer
	if _, err := r.WriteTo(&tail); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, append(append(head, rest...), tail.Bytes()...), nil, data[5:])
	if n, err := r.Read(head); n != 0 || err != io.EOF {
		t.Fatal(n, err)
	}
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestReaderGivenUp(t *testing.T) {
	d := openDrive(t, newMem(14*mib), Options{})
	data := randomBytes(9, 5*mib)
	id, exts := put(t, d, data)
	for _, after := range []int{0, mib, 3 * mib} {
		r, err := d.OpenFragment(context.Background(), id, exts, int64(len(data)), 0, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		n, err := r.WriteTo(&brokenWriter{left: after})
		if n != int64(after) || !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("wrote %d, %v", n, err)
		}
		r.Close()
		r.Close()
		if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, errReaderClosed) {
			t.Fatalf("read from a closed reader: %d, %v", n, err)
		}
	}
}

// TestScarceMemory reads and writes with a single buffer.
func TestScarceMemory(t *testing.T) {
	a := newArena(t)
	d := openDrive(t, newMem(14*mib), Options{Arena: a})
	var hoard []*ioring.Buffer
	for {
		b, err := a.TryGet(ioring.LargeBuffer)
		if err != nil {
			break
		}
		hoard = append(hoard, b)
	}
	defer func() {
		for _, b := range hoard {
			b.Release()
		}
	}()
	if len(hoard) < 2 {
		t.Fatalf("arena lends %d buffers", len(hoard))
	}
	hoard[0].Release()
	hoard = hoard[1:]
	data := randomBytes(9, 5*mib+1)
	id, exts := put(t, d, data)
	got, err := get(d, id, exts, int64(len(data)), 3, int64(len(data))-3)
	wantBytes(t, got, err, data[3:])

	b, err := a.TryGet(ioring.LargeBuffer)
	if err != nil {
		t.Fatal(err)
	}
	hoard = append(hoard, b)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.WriteFragment(ctx, id, exts, int64(len(data)), bytes.NewReader(data)); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := d.OpenFragment(ctx, id, exts, int64(len(data)), 0, mib); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestBodyErrors(t *testing.T) {
	d := openDrive(t, newMem(14*mib), Options{})
	const size = 4*mib + 5
	data := randomBytes(1, size)
	exts, err := d.Reserve(context.Background(), size)
	if err != nil {
		t.Fatal(err)
	}
	id := layout.NewBlobID(testTime)
	boom := errors.New("boom")
	for _, have := range []int{0, 1, mib, mib + 1, size - 1} {
		err := d.WriteFragment(context.Background(), id, exts, size, bytes.NewReader(data[:have]))
		if !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes: %v", have, err)
		}
		err = d.WriteFragment(context.Background(), id, exts, size, io.MultiReader(bytes.NewReader(data[:have]), errReader{boom}))
		if err != boom {
			t.Errorf("%d bytes: %v", have, err)
		}
	}
	body := bytes.NewReader(append(bytes.Clone(data), "next request"...))
	if err := d.WriteFragment(context.Background(), id, exts, size, body); err != nil {
		t.Fatal(err)
	}
	if body.Len() != len("next request") {
		t.Errorf("read beyond the body: %d bytes left", body.Len())
	}
	if d.Err() != nil || d.Counters().WriteErrors != 0 {
		t.Error("a body's error was held against the drive")
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestBadArguments(t *testing.T) {
	d := openDrive(t, newMem(14*mib), Options{})
	ctx := context.Background()
	id, exts := put(t, d, randomBytes(1, 5000))
	for _, r := range [][3]int64{{5000, 0, 5001}, {5000, -1, 1}, {5000, 5001, 0}, {5000, 4999, 2}, {0, 0, 0}, {5000, 1, -1}, {5000, 1, 1<<63 - 1}} {
		if _, err := d.OpenFragment(ctx, id, exts, r[0], r[1], r[2]); !errors.Is(err, ErrRange) {
			t.Errorf("%v: %v", r, err)
		}
	}
	e := exts[0]
	for name, bad := range map[string][]layout.Extent{
		"none":         nil,
		"short":        {{Off: e.Off, Len: e.Len - 4096}},
		"superblock":   {{Off: 0, Len: e.Len}},
		"beyond":       {{Off: 1 << 40, Len: e.Len}},
		"overflow":     {{Off: e.Off, Len: 1<<63 - 4096}},
		"overflow off": {{Off: 1<<63 - 4096, Len: 4096}},
		"unaligned":    {{Off: e.Off + 1, Len: e.Len}},
		"empty":        {{Off: e.Off, Len: 0}, e},
		"negative":     {{Off: e.Off, Len: -4096}, e},
	} {
		if _, err := d.OpenFragment(ctx, id, bad, 5000, 0, 1); !errors.Is(err, ErrCorrupt) {
			t.Errorf("read %s: %v", name, err)
		}
		if err := d.WriteFragment(ctx, id, bad, 5000, bytes.NewReader(nil)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("write %s: %v", name, err)
		}
	}
	free := []layout.Extent{{Off: e.Off + e.Len, Len: e.Len}}
	if err := d.WriteFragment(ctx, id, free, 5000, bytes.NewReader(make([]byte, 5000))); !errors.Is(err, ErrRange) {
		t.Errorf("write to free space: %v", err)
	}
	if err := d.WriteFragment(ctx, layout.BlobID{}, exts, 5000, nil); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	if err := d.WriteFragment(ctx, id, exts, 0, nil); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	if _, err := d.Reserve(ctx, 0); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
	if _, err := d.Reserve(ctx, MaxFragment+1); !errors.Is(err, ErrRange) {
		t.Error(err)
	}
}

// TestPaddingIsZero: a buffer's earlier contents must not reach the drive.
func TestPaddingIsZero(t *testing.T) {
	dev := newMem(8 * mib)
	d := openDrive(t, dev, Options{})
	put(t, d, bytes.Repeat([]byte{0xEE}, 100<<10))
	_, exts := put(t, d, []byte("x"))
	b := dev.data[exts[0].Off:][:exts[0].Len]
	if b[HeaderSize] != 'x' || !isZero(b[HeaderSize+1:]) {
		t.Fatal("padding is not zero")
	}
}
