package drive

import (
	"context"
	"errors"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
)

func resealFrame(b []byte) { le64(b[frOffSum:], xxh3.Hash(b[frOffVersion:HeaderSize])) }

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
		if f.Err != nil || f.Blob != id || f.Drive != d.ID() || f.Fragment != size || f.Index != int64(i) || !f.Birth.Equal(id.Birth()) || f.Payload != framePayload(size, int64(i)) {
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
