package drive

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
)

// A frame of the same blob, fragment, unit and size that was cut for other numbers of
// fragments is found out; one that does not tell, of an early build, is taken.
func TestFrameOfOtherSpread(t *testing.T) {
	t.Parallel()
	d := openDrive(t, newMem(24*mib), Options{Arena: newArena(t)})
	for _, c := range []struct {
		data, parity, askData, askParity int
		bad                              bool
	}{
		{4, 2, 4, 2, false}, {4, 2, 3, 2, true}, {4, 2, 4, 1, true}, {4, 2, 1, 2, true},
		{0, 0, 4, 2, false}, {1, 2, 1, 2, false}, {4, 2, 0, 0, false}, {16, 4, 15, 4, true},
	} {
		f := Fragment{Blob: layout.NewBlobID(testTime), Number: 2, Unit: layout.UnitStep, Size: 100_000, Data: c.data, Parity: c.parity}
		var err error
		if f.Extents, err = d.ReserveFragment(context.Background(), &f); err != nil {
			t.Fatal(err)
		}
		data := randomBytes(3, int(f.Size))
		if err := writeRows(d, &f, data); err != nil {
			t.Fatal(err)
		}
		f.Data, f.Parity = c.askData, c.askParity
		got, err := readAll(d, &f)
		if c.bad && !errors.Is(err, ErrCorrupt) || !c.bad && (err != nil || !bytes.Equal(got, data)) {
			t.Errorf("%+v: %d bytes, %v", c, len(got), err)
		}
		d.Free(f.Extents)
	}
}

// TestFrameSpreadFields: what cannot be is refused.
func TestFrameSpreadFields(t *testing.T) {
	b := make([]byte, frameSize)
	for _, c := range []struct {
		data, parity, number int
		ok                   bool
	}{
		{2, 0, 1, true}, {16, 4, 19, true}, {0, 0, 200, true},
		{0, 1, 0, false}, {1, 1, 1, false}, {17, 0, 1, false}, {4, 5, 1, false}, {4, 2, 6, false},
	} {
		h := frameHeader{blob: sampleBlob, payload: 1000, fragment: 1000, unit: layout.UnitStep, number: c.number, data: c.data, parity: c.parity}
		sealFrame(b, &h)
		if got, err := decodeFrameHeader(b); (err == nil) != c.ok || c.ok && got != h {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
}
