package drive

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// TestRealDevices runs the drive over every backend on a file.
func TestRealDevices(t *testing.T) {
	t.Parallel()
	for _, mode := range []ioring.Mode{ioring.ModeAuto, ioring.ModePread} {
		t.Run(string(mode), func(t *testing.T) {
			a := newArena(t)
			path := filepath.Join(t.TempDir(), "drive")
			open := func() *Drive {
				dev, err := ioring.Open(path, a, ioring.Options{Mode: mode, Depth: 32, CPU: -1})
				if err != nil {
					t.Fatal(err)
				}
				return openDrive(t, dev, Options{Arena: a, Limit: 64 * mib})
			}
			d := open()
			t.Logf("%+v", d.Stats())
			data := randomBytes(1, 3*mib+17)
			id, exts := put(t, d, data)
			checkRanges(t, d, id, exts, data)
			// More frames at once than the queue holds.
			f := Fragment{Blob: layout.NewBlobID(testTime), Number: 2, Size: int64(len(data)), Unit: layout.UnitStep}
			var err error
			if f.Extents, err = d.ReserveFragment(context.Background(), &f); err != nil {
				t.Fatal(err)
			}
			if err := writeRows(d, &f, data); err != nil {
				t.Fatal(err)
			}
			if bad, err := d.Verify(context.Background(), &f, nil); bad != 0 || err != nil {
				t.Errorf("%d bad frames: %v", bad, err)
			}
			got, err := readAll(d, &f)
			wantBytes(t, got, err, data)
			drive := d.ID()
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open()
			if d.ID() != drive {
				t.Fatal("identity changed")
			}
			if err := d.Claim(exts); err != nil {
				t.Fatal(err)
			}
			checkRanges(t, d, id, exts, data)
		})
	}
}

// nullDevice completes every operation at once and moves nothing, so that a
// benchmark over it measures this package alone.
type nullDevice struct{ *memDevice }

func (n nullDevice) Submit(ops ...*ioring.Op) {
	for _, op := range ops {
		op.Prepare()
		if op.Code == ioring.OpRead {
			n.mu.Lock()
			copy(op.Buf.Bytes()[op.Lo:op.Hi], n.data[op.Off:])
			n.mu.Unlock()
		}
		op.Complete(nil)
	}
}

func benchDrives(b *testing.B, run func(b *testing.B, d *Drive, size int)) {
	for _, device := range []string{"null", "file"} {
		for _, size := range []int{4 << 10, 128 << 10, mib, 8 * mib} {
			b.Run(fmt.Sprintf("%s/%dKiB", device, size>>10), func(b *testing.B) {
				a := newArena(b)
				var dev ioring.Device
				mem := newMem(64 * mib)
				mem.Grow(context.Background(), 64*mib)
				dev = mem
				if device == "file" {
					var err error
					if dev, err = ioring.Open(filepath.Join(b.TempDir(), "drive"), a, ioring.Options{Depth: 32, CPU: -1}); err != nil {
						b.Fatal(err)
					}
				}
				d := openDrive(b, dev, Options{Arena: a, Limit: 256 * mib})
				if device == "null" {
					d.dev = nullDevice{mem}
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				run(b, d, size)
			})
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	benchDrives(b, func(b *testing.B, d *Drive, size int) {
		data := randomBytes(1, size)
		body := bytes.NewReader(data)
		id := layout.NewBlobID(testTime)
		for b.Loop() {
			exts, err := d.Reserve(context.Background(), int64(size))
			if err != nil {
				b.Fatal(err)
			}
			body.Reset(data)
			if err := d.WriteFragment(context.Background(), id, exts, int64(size), body); err != nil {
				b.Fatal(err)
			}
			d.Free(exts)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	benchDrives(b, func(b *testing.B, d *Drive, size int) {
		dev := d.dev
		if n, ok := dev.(nullDevice); ok {
			d.dev = n.memDevice
		}
		id, exts := put(b, d, randomBytes(1, size))
		d.dev = dev
		for b.Loop() {
			r, err := d.OpenFragment(context.Background(), id, exts, int64(size), 0, int64(size))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := r.WriteTo(io.Discard); err != nil {
				b.Fatal(err)
			}
			r.Close()
		}
	})
}

// benchFragment returns a fragment in units of 512 KiB that has size bytes, or of
// 1 MiB where that is one frame.
func benchFragment(b *testing.B, d *Drive, size int) Fragment {
	f := Fragment{Blob: layout.NewBlobID(testTime), Number: 1, Size: int64(size), Unit: FramePayload}
	if size > FramePayload {
		f.Unit /= 2
	}
	var err error
	if f.Extents, err = d.ReserveFragment(context.Background(), &f); err != nil {
		b.Fatal(err)
	}
	return f
}

// BenchmarkStartWrite writes a fragment frame by frame, two at a time, as a
// striped blob's are.
func BenchmarkStartWrite(b *testing.B) {
	benchDrives(b, func(b *testing.B, d *Drive, size int) {
		data := randomBytes(1, size)
		f := benchFragment(b, d, size)
		for b.Loop() {
			var flying [2]*FrameIO
			end := func(i int) {
				if p := flying[i]; p != nil {
					if _, err := p.Wait(); err != nil {
						b.Fatal(err)
					}
					p.Release()
				}
				flying[i] = nil
			}
			for row := range f.Frames() {
				i, n := int(row%2), framePayload(f.Size, f.Unit, row)
				end(i)
				buf, err := d.arena.TryGet(HeaderSize + padded(n))
				if err != nil {
					b.Fatal(err)
				}
				copy(buf.Bytes()[HeaderSize:], data[row*f.Unit:][:n])
				flying[i] = d.StartWrite(&f, row, buf, n)
			}
			end(0)
			end(1)
			flying[0] = d.StartSync()
			end(0)
		}
	})
}

func BenchmarkStartRead(b *testing.B) {
	benchDrives(b, func(b *testing.B, d *Drive, size int) {
		dev := d.dev
		if n, ok := dev.(nullDevice); ok {
			d.dev = n.memDevice
		}
		f := benchFragment(b, d, size)
		if err := d.Write(context.Background(), &f, bytes.NewReader(randomBytes(1, size))); err != nil {
			b.Fatal(err)
		}
		d.dev = dev
		start := func(row int64) *FrameIO {
			n := framePayload(f.Size, f.Unit, row)
			buf, err := d.arena.TryGet(f.ReadSize(row, 0, n))
			if err != nil {
				b.Fatal(err)
			}
			return d.StartRead(&f, row, 0, n, buf)
		}
		for b.Loop() {
			next := start(0)
			for row := range f.Frames() {
				p := next
				if row+1 < f.Frames() {
					next = start(row + 1)
				}
				if _, err := p.Wait(); err != nil {
					b.Fatal(err)
				}
				p.Release()
			}
		}
	})
}

// BenchmarkWriteParallel writes small fragments from many goroutines, whose
// syncs the device merges.
func BenchmarkWriteParallel(b *testing.B) {
	a := newArena(b)
	dev, err := ioring.Open(filepath.Join(b.TempDir(), "drive"), a, ioring.Options{Depth: 128, CPU: -1})
	if err != nil {
		b.Fatal(err)
	}
	d := openDrive(b, dev, Options{Arena: a, Limit: 256 * mib})
	data := randomBytes(1, 4<<10)
	b.SetBytes(int64(len(data)))
	b.SetParallelism(32)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		body := bytes.NewReader(nil)
		for pb.Next() {
			exts, err := d.Reserve(context.Background(), int64(len(data)))
			if err != nil {
				b.Error(err)
				return
			}
			body.Reset(data)
			if err := d.WriteFragment(context.Background(), layout.NewBlobID(testTime), exts, int64(len(data)), body); err != nil {
				b.Error(err)
				return
			}
			d.Free(exts)
		}
	})
	s := d.Stats()
	b.ReportMetric(float64(s.Flushes)/float64(max(1, s.Syncs)), "flushes/sync")
}
