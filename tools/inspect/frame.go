package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/zeebo/xxh3"
	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/engine/layout"
)

// Frames (engine/FORMAT.md, part 1, "Frame"), sizes in bytes.
const (
	frameMagic  = "SLUICEfr"
	frameHeader = 4 << 10
	frameBlock  = 16 << 10
)

// frame is a frame header.
type frame struct {
	version  uint32
	index    int64
	blob     layout.BlobID
	drive    layout.DriveID
	fragment int64 // payload bytes of the whole fragment
	payload  int   // of this frame
	birth    time.Time
	unit     int64
	number   int // of the fragment in its blob
	sums     [layout.MaxUnit / frameBlock]uint64
}

var errNoFrame = errors.New("no frame")

// decodeFrame reads a header of frameHeader bytes. errNoFrame: it does not bear the
// magic.
func decodeFrame(b []byte) (f frame, err error) {
	le := binary.LittleEndian
	if len(b) < frameHeader || string(b[:8]) != frameMagic {
		return f, errNoFrame
	}
	if le.Uint64(b[8:]) != xxh3.Hash(b[16:frameHeader]) {
		return f, errors.New("the header's checksum differs")
	}
	fragment := le.Uint64(b[56:])
	f = frame{
		version: le.Uint32(b[16:]), index: int64(le.Uint32(b[20:])), blob: layout.BlobID(b[24:]), drive: layout.DriveID(b[40:]),
		fragment: int64(fragment & (1<<63 - 1)), payload: int(le.Uint32(b[64:])), birth: time.Unix(0, int64(le.Uint64(b[72:]))).UTC(),
		unit: int64(le.Uint32(b[80:])), number: int(le.Uint32(b[84:])),
	}
	switch f.version {
	case 1:
		if f.unit != 0 || f.number != 0 {
			return f, errors.New("fields of version 2 in a header of version 1")
		}
		f.unit = layout.MaxUnit
	case 2:
	default:
		return f, fmt.Errorf("header version %d", f.version)
	}
	switch {
	case f.unit < layout.UnitStep || f.unit > layout.MaxUnit || f.unit%layout.UnitStep != 0 || f.number > 255:
		return f, fmt.Errorf("unit of %d bytes, fragment number %d", f.unit, f.number)
	case fragment < 1 || fragment > 1<<51:
		return f, fmt.Errorf("fragment of %d bytes", fragment)
	case int64(f.payload) != frameBytes(f.fragment, f.unit, f.index) || f.payload == 0:
		return f, fmt.Errorf("frame %d of %d bytes in a fragment of %d", f.index, f.payload, f.fragment)
	}
	for i := range f.sums {
		f.sums[i] = le.Uint64(b[128+8*i:])
	}
	return f, nil
}

// frameBytes returns the payload bytes of a frame.
func frameBytes(fragment, unit, index int64) int64 { return max(0, min(unit, fragment-index*unit)) }

// padded returns what n payload bytes take on a drive.
func padded(n int) int { return (n + frameHeader - 1) / frameHeader * frameHeader }

// verify checks the payload's blocks.
func (f *frame) verify(payload []byte) error {
	for i := 0; i*frameBlock < f.payload; i++ {
		if xxh3.Hash(payload[i*frameBlock:min((i+1)*frameBlock, f.payload)]) != f.sums[i] {
			return fmt.Errorf("block %d of %d bytes differs from its checksum", i, frameBlock)
		}
	}
	return nil
}

// showFrames walks the data area and prints what looks like a frame.
func showFrames(ctx context.Context, out io.Writer, args []string, o *options) error {
	var only layout.BlobID
	if o.blob != "" {
		var err error
		if only, err = parseBlob(o.blob); err != nil {
			return usageError{err}
		}
	}
	d, err := openDrive(args[0])
	if err != nil {
		return err
	}
	defer d.close()
	if d.super == nil {
		fmt.Fprintln(out, "no superblock is good; frames are looked for all the same")
	}
	found, bad := 0, 0
	fmt.Fprintln(out, "OFFSET BLOB FRAGMENT FRAME UNIT PAYLOAD OF BIRTH STATE")
	err = d.scan(ctx, func(at int64, f *frame, fault error) error {
		if o.blob != "" && f.blob != only {
			return nil
		}
		found++
		state := "good"
		if fault != nil {
			bad++
			state = fault.Error()
		}
		_, err := fmt.Fprintf(out, "%d %s %d %d %d %d %d %s %s\n", at, f.blob, f.number, f.index, f.unit, f.payload, f.fragment,
			f.birth.Format(time.RFC3339Nano), state)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d frames, %d of them not good\n", found, bad)
	if bad > 0 {
		return errProblems
	}
	return nil
}

// scanWindow is how much is read at a time, a multiple of frameHeader.
const scanWindow = 4 << 20

// scan calls fn for every frame header in the data area that is whole or torn, with
// what is wrong with it or its payload. What a good frame holds is passed over: it
// might be the image of a drive. A frame whose fragment goes on in another extent
// is told as not good, since only the metadata knows where.
func (d *disk) scan(ctx context.Context, fn func(at int64, f *frame, fault error) error) error {
	buf := make([]byte, scanWindow)
	payload := make([]byte, layout.MaxUnit)
	for at := int64(dataStart); ; {
		at = d.skipHole(at)
		if err := ctx.Err(); err != nil || at >= d.size {
			return err
		}
		n, err := d.file.ReadAt(buf[:min(scanWindow, d.size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			if err := fn(at, &frame{}, err); err != nil {
				return err
			}
		}
		n -= n % frameHeader
		next := at + int64(max(n, frameHeader))
		for i := 0; i < n; i += frameHeader {
			if string(buf[i:i+8]) != frameMagic {
				continue
			}
			f, fault := decodeFrame(buf[i : i+frameHeader])
			if fault == nil {
				fault = d.judge(&f, at+int64(i), payload)
			}
			if err := fn(at+int64(i), &f, fault); err != nil {
				return err
			}
			if fault == nil {
				end := at + int64(i+frameHeader+padded(f.payload))
				if end >= next {
					next = end
					break
				}
				i = int(end-at) - frameHeader
			}
		}
		at = next
	}
}

// skipHole returns where data begins at or behind at, a multiple of frameHeader. It is
// at itself where the file cannot tell.
func (d *disk) skipHole(at int64) int64 {
	next, err := unix.Seek(int(d.file.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return d.size
	case err != nil || next < at:
		return at
	}
	return max(at, next-next%frameHeader)
}

// judge checks a frame that lies in one piece.
func (d *disk) judge(f *frame, at int64, payload []byte) error {
	if d.super != nil && f.drive != d.super.drive {
		return fmt.Errorf("frame of drive %s", f.drive)
	}
	if _, err := d.file.ReadAt(payload[:f.payload], at+frameHeader); err != nil {
		return err
	}
	return f.verify(payload)
}
