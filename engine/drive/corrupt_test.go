package drive

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/sluicehq/sluice/engine/layout"
)

// wantCorrupt reads the whole fragment and expects ErrCorrupt, with no wrong
// byte handed out before it.
func wantCorrupt(t *testing.T, d *Drive, id layout.BlobID, exts []layout.Extent, data []byte, what string, args ...any) {
	t.Helper()
	got, err := get(d, id, exts, int64(len(data)), 0, int64(len(data)))
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf(what+": %v", append(args, err)...)
	}
	if !bytes.HasPrefix(data, got) {
		t.Errorf(what+": wrong bytes handed out", args...)
	}
}

func TestEveryByteIsCovered(t *testing.T) {
	t.Parallel()
	dev := newMem(9 * mib)
	d := openDrive(t, dev, Options{})
	data := randomBytes(5, BlockSize+777) // two blocks, the last one short
	id, exts := put(t, d, data)
	frame := dev.data[exts[0].Off:][:HeaderSize+len(data)]
	rng := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < len(frame); at++ {
		if at > HeaderSize && at < len(frame)-64 && at%37 != 0 {
			continue // every header byte, a sample of the payload
		}
		flip := byte(1 + rng.IntN(255))
		frame[at] ^= flip
		wantCorrupt(t, d, id, exts, data, "byte %d ^ %#x", at, flip)
		frame[at] ^= flip
	}
	got, err := get(d, id, exts, int64(len(data)), 0, int64(len(data)))
	wantBytes(t, got, err, data)
	if c := d.Counters(); c.Corrupt == 0 || c.Corrupt != c.Rereads {
		t.Errorf("counters %+v", c)
	}
}

func TestMixedUpFrames(t *testing.T) {
	t.Parallel()
	dev := newMem(9 * mib)
	d := openDrive(t, dev, Options{})
	data := randomBytes(5, 3*mib)
	id, exts := put(t, d, data)
	otherData := randomBytes(6, 3*mib)
	otherID, otherExts := put(t, d, otherData)
	at, other := exts[0].Off, otherExts[0].Off
	frame := func(off int64, i int64) []byte { return dev.data[off+i*frameSize:][:frameSize] }
	saved := bytes.Clone(dev.data[at:][:3*frameSize])
	restore := func() { copy(dev.data[at:], saved) }

	copy(frame(at, 1), frame(at, 2))
	wantCorrupt(t, d, id, exts, data, "misdirected frame of the same blob")
	restore()

	copy(frame(at, 0), frame(other, 0))
	wantCorrupt(t, d, id, exts, data, "stale frame of another blob")
	wantCorrupt(t, d, otherID, exts, otherData, "the other blob, only its first frame")
	restore()

	copy(frame(at, 2)[HeaderSize:], frame(other, 2)[HeaderSize:])
	wantCorrupt(t, d, id, exts, data, "payload of another blob")
	restore()

	copy(frame(at, 1)[HeaderSize+BlockSize:], make([]byte, BlockSize))
	wantCorrupt(t, d, id, exts, data, "torn payload")
	// Blocks beside the torn one can still be read.
	got, err := get(d, id, exts, 3*mib, mib, BlockSize)
	wantBytes(t, got, err, data[mib:mib+BlockSize])
	restore()

	copy(frame(at, 0)[512:HeaderSize], make([]byte, HeaderSize))
	wantCorrupt(t, d, id, exts, data, "torn header")
	restore()

	if _, err := get(d, id, exts, 3*mib-1, 0, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong fragment size: %v", err)
	}
	if _, err := get(d, id, exts[:1], 2*mib, 0, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong fragment size: %v", err)
	}
	if _, err := get(d, layout.NewBlobID(testTime), exts, 3*mib, 0, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("wrong blob: %v", err)
	}

	// A whole frame of this very blob, written for another drive.
	var h frameHeader
	h, err = decodeFrameHeader(frame(at, 1))
	if err != nil {
		t.Fatal(err)
	}
	h.drive[0] ^= 1
	sealFrame(frame(at, 1), &h)
	wantCorrupt(t, d, id, exts, data, "frame of another drive")
	restore()
	got, err = get(d, id, exts, 3*mib, 0, 3*mib)
	wantBytes(t, got, err, data)
}

func TestTransientFaultIsReadAgain(t *testing.T) {
	dev := newMem(9 * mib)
	d := openDrive(t, dev, Options{})
	data := randomBytes(5, 2*mib)
	id, exts := put(t, d, data)
	faults := 1
	dev.onRead = func(_ int64, b []byte) error {
		if len(b) > HeaderSize && faults > 0 {
			faults--
			b[HeaderSize+5] ^= 1
		}
		return nil
	}
	got, err := get(d, id, exts, 2*mib, 0, 2*mib)
	wantBytes(t, got, err, data)
	if c := d.Counters(); c.Rereads != 1 || c.Corrupt != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestReadError(t *testing.T) {
	dev := newMem(9 * mib)
	d := openDrive(t, dev, Options{})
	data := randomBytes(5, 3*mib)
	id, exts := put(t, d, data)
	bad := exts[0].Off + 2*frameSize
	dev.onRead = func(off int64, b []byte) error {
		if off <= bad && bad < off+int64(len(b)) {
			return errBadSector
		}
		return nil
	}
	got, err := get(d, id, exts, 3*mib, 0, 3*mib)
	if !errors.Is(err, errBadSector) || errors.Is(err, ErrCorrupt) || !bytes.Equal(got, data[:2*mib]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := get(d, id, exts, 3*mib, 2*mib, 1); !errors.Is(err, errBadSector) {
		t.Error(err)
	}
	if d.Err() != nil {
		t.Error("a read error took the drive out of service")
	}
}

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	dev := newMem(9 * mib)
	d := openDrive(t, dev, Options{})
	ctx := context.Background()
	id := layout.NewBlobID(testTime)
	data := randomBytes(5, 5*mib)
	exts, err := d.Reserve(ctx, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	write := func() error { return d.WriteFragment(ctx, id, exts, int64(len(data)), bytes.NewReader(data)) }
	for frame := range int64(5) {
		dev.onWrite = func(off int64, n int) error {
			if off == exts[0].Off+frame*frameSize {
				return errBadSector
			}
			return nil
		}
		if err := write(); !errors.Is(err, errBadSector) || d.Err() != nil {
			t.Fatalf("frame %d: %v, drive %v", frame, err, d.Err())
		}
	}
	if c := d.Counters(); c.WriteErrors != 5 {
		t.Errorf("counters %+v", c)
	}
	dev.onWrite = nil
	if err := write(); err != nil {
		t.Fatal(err)
	}
	dev.syncErr = errBadSector
	if err := write(); !errors.Is(err, errBadSector) || !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	dev.syncErr = nil
	if err := write(); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if _, err := d.Reserve(ctx, 1); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if err := d.SetMetadataGeneration(ctx, 5); !errors.Is(err, ErrFailed) {
		t.Fatal(err)
	}
	if err := d.Err(); !errors.Is(err, ErrFailed) || !errors.Is(err, errBadSector) {
		t.Fatal(err)
	}
	got, err := get(d, id, exts, int64(len(data)), 0, int64(len(data)))
	wantBytes(t, got, err, data) // it can still be read
}

// TestTornFrame: a frame of which some sectors reached the drive and some did
// not is detected, whatever lay there before.
func TestTornFrame(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 3))
	dev := newMem(9 * mib)
	d := openDrive(t, dev, Options{})
	old := randomBytes(1, 300<<10)
	_, exts := put(t, d, old)
	place := dev.data[exts[0].Off:][:DiskSize(int64(len(old)))]
	before := bytes.Clone(place)
	data := randomBytes(2, len(old))
	id := layout.NewBlobID(testTime)
	if err := d.WriteFragment(context.Background(), id, exts, int64(len(data)), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	after := bytes.Clone(place)
	sectors := (HeaderSize + len(data)) / 512
	for range 100 {
		copy(place, after)
		for range 1 + rng.IntN(5) {
			s := rng.IntN(sectors) * 512
			copy(place[s:s+512], before[s:])
		}
		if bytes.Equal(place[:HeaderSize+len(data)], after[:HeaderSize+len(data)]) {
			continue // only sectors that are equal in both
		}
		wantCorrupt(t, d, id, exts, data, "torn frame")
	}
}
