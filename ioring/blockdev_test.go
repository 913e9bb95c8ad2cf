package ioring

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// TestBlockDevice overwrites the scratch block device that SLUICE_TEST_BLOCKDEV
// names: a loop device will do. Without one it is skipped.
func TestBlockDevice(t *testing.T) {
	path := os.Getenv("SLUICE_TEST_BLOCKDEV")
	if path == "" {
		t.Skip("SLUICE_TEST_BLOCKDEV names no scratch block device")
	}
	a := newTestArena(t, 8<<20)
	for _, mode := range []Mode{ModeAuto, ModePread, ModePolled} {
		dev, err := Open(path, a, Options{Mode: mode, CPU: -1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, a, Options{CPU: -1}); !errors.Is(err, ErrInUse) {
			t.Errorf("second Open: %v", err)
		}
		size := dev.Size()
		limit, err := dev.Limit()
		if size <= 0 || limit != size || err != nil {
			t.Errorf("Size() = %d, Limit() = %d, %v", size, limit, err)
		}
		if err := dev.Grow(t.Context(), size); err != nil {
			t.Errorf("Grow to the size it has: %v", err)
		}
		if err := dev.Grow(t.Context(), size+1); !errors.Is(err, ErrNoSpace) {
			t.Errorf("Grow: %v", err)
		}
		w, r := mustTryGet(t, a, SmallBuffer), mustTryGet(t, a, SmallBuffer)
		for i := range w.Bytes() {
			w.Bytes()[i] = byte(i>>3) ^ mode[0]
		}
		const n = 64 << 10
		for _, op := range []*Op{
			{Code: OpWrite, Buf: w, Hi: n, Off: size - n},
			{Code: OpSync},
			{Code: OpRead, Buf: r, Hi: n, Off: size - n},
		} {
			if err := submit(dev, op); err != nil {
				t.Errorf("operation %d: %v", op.Code, err)
			}
		}
		if !bytes.Equal(w.Bytes()[:n], r.Bytes()[:n]) {
			t.Error("read back something else")
		}
		t.Logf("%+v, align %d, %d bytes", dev.Stats(), dev.Align(), size)
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
		w.Release()
		r.Release()
	}
}
