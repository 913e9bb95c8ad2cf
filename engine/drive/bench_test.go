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
