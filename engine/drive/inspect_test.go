package drive

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
)

func resealFrame(b []byte) { le64(b[frOffSum:], xxh3.Hash(b[frOffVersion:HeaderSize])) }

// TestInspectSmallUnits: the unit comes from the headers, and where the first is
// damaged from where the next one lies.
func TestInspectSmallUnits(t *testing.T) {
	dev := newMem(24 * mib)
	d := openDrive(t, dev, Options{})
	for _, unit := range []int64{layout.UnitStep, 5 * layout.UnitStep, FramePayload} {
		f := Fragment{Blob: layout.NewBlobID(testTime), Number: 7, Size: 3*unit + 100, Unit: unit}
		var err error
		if f.Extents, err = d.ReserveFragment(context.Background(), &f); err != nil {
			t.Fatal(err)
		}
		if err := d.Write(context.Background(), &f, bytes.NewReader(randomBytes(3, int(f.Size)))); err != nil {
			t.Fatal(err)
		}
		for _, damage := range []int64{-1, 0, 1, 3} {
			at := f.Extents[0].Off + max(0, damage)*(HeaderSize+unit) + 5
			if damage >= 0 {
				dev.data[at] ^= 1
			}
			var found []FrameInfo
			if err := d.Inspect(context.Background(), f.Extents, func(i FrameInfo) error { found = append(found, i); return nil }); err != nil {
				t.Fatal(err)
			}
			if len(found) != 4 {
				t.Fatalf("unit %d, frame %d damaged: %d frames", unit, damage, len(found))
			}
			for i, info := range found {
				if int64(i) == damage {
					if !errors.Is(info.Err, ErrCorrupt) || info.Unit != 0 {
						t.Errorf("unit %d: %+v", unit, info)
					}
				} else if info.Err != nil || info.Blob != f.Blob || info.Number != 7 || info.Unit != unit || info.Fragment != f.Size {
					t.Errorf("unit %d, frame %d damaged: %+v", unit, damage, info)
				}
			}
			if damage >= 0 {
				dev.data[at] ^= 1
			}
		}
	}
}

func TestInspect(t *testing.T) {
	dev := newMem(24 * mib)
	d := openDrive(t, dev, Options{})
	fragmentDrive(t, d, 1<<20)
	const size = 3*mib + 5000
	id, exts := put(t, d, randomBytes(1, size))
	look := func(exts []layout.Extent) (found []FrameInfo) {
		t.Helper()
		if err := d.Inspect(context.Background(), exts, func(f FrameInfo) error {
			found = append(found, f)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return found
	}
	found := look(exts)
	if len(found) != 4 {
		t.Fatalf("%d frames", len(found))
	}
	for i, f := range found {
		if f.Err != nil || f.Blob != id || f.Drive != d.ID() || f.Fragment != size || f.Index != int64(i) || !f.Birth.Equal(id.Birth()) || f.Payload != framePayload(size, FramePayload, int64(i)) {
			t.Errorf("%+v", f)
		}
	}
	dev.data[found[1].Offset+9] ^= 1  // header
	dev.data[found[2].Offset+200] = 9 // checksum list
	_, other := put(t, d, randomBytes(2, 100))
	copy(dev.data[found[3].Offset:][:HeaderSize], dev.data[other[0].Off:][:HeaderSize])
	for i, f := range look(exts) {
		if (f.Err != nil) != (i > 0) || (i > 0 && !errors.Is(f.Err, ErrCorrupt)) {
			t.Errorf("frame %d: %v", i, f.Err)
		}
	}
	stop := errors.New("stop")
	if err := d.Inspect(context.Background(), exts, func(FrameInfo) error { return stop }); err != stop {
		t.Error(err)
	}
	if err := d.Inspect(context.Background(), []layout.Extent{{Off: 5, Len: 5}}, nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	if err := d.Inspect(context.Background(), nil, nil); err != nil {
		t.Error(err)
	}
}
