package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
)

// parseBlob parses 32 hexadecimal digits.
func parseBlob(text string) (id layout.BlobID, err error) {
	if n, err := hex.Decode(id[:], []byte(text)); err != nil || len(text) != 32 || n != len(id) {
		return id, fmt.Errorf("%q is no id of a blob: 32 hexadecimal digits", text)
	}
	return id, nil
}

var errAbsent = errors.New("its drive was not given")

// readRun reads len(b) bytes at byte off of the run that extents make.
func (d *disk) readRun(exts []layout.Extent, off int64, b []byte) error {
	for _, e := range exts {
		if off >= e.Len {
			off -= e.Len
			continue
		}
		n := int(min(int64(len(b)), e.Len-off))
		if _, err := d.file.ReadAt(b[:n], e.Off+off); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("beyond the end of the drive")
			}
			return err
		}
		if b, off = b[n:], 0; len(b) == 0 {
			return nil
		}
	}
	return errors.New("its extents end too early")
}

// unitOf reads and verifies the unit that fragment i of a blob has of a row, into buf,
// which has room for it. It is empty where there is none.
func unitOf(drives map[layout.DriveID]*disk, b *layout.Blob, i int, row int64, buf []byte) ([]byte, error) {
	g := b.Geometry()
	n := g.UnitLen(row, i)
	if n == 0 {
		return buf[:0], nil
	}
	frag := &b.Fragments[i]
	if len(frag.Extents) == 0 {
		return nil, errors.New("it is missing: never written, or given up")
	}
	d := drives[frag.Drive]
	if d == nil {
		return nil, fmt.Errorf("%w: %s", errAbsent, frag.Drive)
	}
	var head [frameHeader]byte
	at := row * (frameHeader + g.Unit)
	if err := d.readRun(frag.Extents, at, head[:]); err != nil {
		return nil, err
	}
	f, err := decodeFrame(head[:])
	number := i
	if b.Kind == layout.KindSingle {
		number = 0
	}
	switch {
	case err != nil:
		return nil, err
	case f.blob != b.ID:
		return nil, fmt.Errorf("a frame of blob %s is there", f.blob)
	case f.drive != frag.Drive:
		return nil, fmt.Errorf("a frame of drive %s is there", f.drive)
	case f.number != number || f.index != row || f.unit != g.Unit || f.fragment != g.FragmentSize(i) || f.payload != n:
		return nil, fmt.Errorf("frame %d of fragment %d is there, of %d bytes in units of %d", f.index, f.number, f.payload, f.unit)
	}
	if err := d.readRun(frag.Extents, at+frameHeader, buf[:n]); err != nil {
		return nil, err
	}
	return buf[:n], f.verify(buf[:n])
}

// rowReader reads rows of a blob, computing what cannot be read.
type rowReader struct {
	drives map[layout.DriveID]*disk
	blob   *layout.Blob
	g      layout.Geometry
	bufs   [][]byte
}

func newRowReader(drives map[layout.DriveID]*disk, b *layout.Blob) (*rowReader, error) {
	r := &rowReader{drives: drives, blob: b, g: b.Geometry()}
	if len(b.Fragments) != r.g.Fragments() {
		return nil, fmt.Errorf("the blob's record names %d fragments, and it has %d", len(b.Fragments), r.g.Fragments())
	}
	for range b.Fragments {
		r.bufs = append(r.bufs, make([]byte, min(r.g.Unit, max(r.g.Size, 1))))
	}
	return r, nil
}

// read writes the payload of a row to w. It tells how many of its units had to be
// computed.
func (r *rowReader) read(row int64, w io.Writer) (computed int, err error) {
	n := r.g.Fragments()
	units, have, want := make([][]byte, n), make([]bool, n), make([]bool, n)
	var faults []error
	got := 0
	for i := 0; i < n && (i < r.g.Data || got < r.g.Data); i++ {
		var fault error
		if units[i], fault = unitOf(r.drives, r.blob, i, row, r.bufs[i]); fault != nil {
			faults = append(faults, fmt.Errorf("fragment %d: %w", i, fault))
			units[i] = r.bufs[i][:r.g.UnitLen(row, i)]
			want[i] = i < r.g.Data
			continue
		}
		have[i] = true
		got++
	}
	if got < r.g.Data {
		return 0, fmt.Errorf("row %d: %d of %d fragments can be read, %d are needed: %w", row, got, n, r.g.Data, errors.Join(faults...))
	}
	for i := range r.g.Data {
		if want[i] {
			computed++
		}
	}
	if computed > 0 {
		code, err := erasure.New(r.g.Data, r.g.Parity)
		if err != nil {
			return 0, err
		}
		if err := code.Reconstruct(units, have, want); err != nil {
			return 0, fmt.Errorf("row %d: %w", row, err)
		}
	}
	for _, unit := range units[:r.g.Data] {
		if _, err := w.Write(unit); err != nil {
			return 0, err
		}
	}
	return computed, nil
}
