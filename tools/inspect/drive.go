package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
)

// Places and sizes of a drive, in bytes (engine/FORMAT.md, part 1).
const (
	superSize   = 4 << 10
	superCopy   = 1 << 20
	dataStart   = 2 << 20
	superMagic  = "SLUICEdr"
	superNewest = 2
)

// superblock is one copy of a drive's superblock.
type superblock struct {
	version       uint32
	cluster       [16]byte
	drive         layout.DriveID
	generation    uint64
	created       time.Time
	unit          int64
	metaGen       uint64
	layoutGen     uint64
	header, block uint32
	frame         uint32
	data          uint64
}

var errBlank = errors.New("blank")

// decodeSuper reads a superblock and says what is wrong with it.
func decodeSuper(b []byte) (s superblock, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) != superSize || len(bytes.TrimLeft(b, "\x00")) == 0:
		return s, errBlank
	case string(b[:8]) != superMagic:
		return s, errors.New("not a superblock: another magic")
	case le.Uint64(b[8:]) != xxh3.Hash(b[16:]):
		return s, errors.New("torn: checksum mismatch")
	}
	s = superblock{
		version: le.Uint32(b[16:]), cluster: [16]byte(b[24:]), drive: layout.DriveID(b[40:]), generation: le.Uint64(b[56:]),
		created: time.Unix(0, int64(le.Uint64(b[64:]))).UTC(), header: le.Uint32(b[80:]), block: le.Uint32(b[84:]),
		frame: le.Uint32(b[88:]), data: le.Uint64(b[96:]), metaGen: le.Uint64(b[104:]), layoutGen: le.Uint64(b[112:]),
	}
	unit := le.Uint64(b[72:])
	switch {
	case s.version == 0 || s.version > superNewest:
		return s, fmt.Errorf("format version %d, known are 1 to %d", s.version, superNewest)
	case unit < 4<<10 || unit > dataStart || unit&(unit-1) != 0:
		return s, fmt.Errorf("allocation unit of %d bytes", unit)
	case s.header != frameHeader || s.block != frameBlock || s.frame != layout.MaxUnit || s.data != dataStart:
		return s, fmt.Errorf("unknown geometry %d/%d/%d/%d", s.header, s.block, s.frame, s.data)
	}
	s.unit = int64(unit)
	return s, nil
}

// disk is a drive opened for reading. super is that of the newer good copy.
type disk struct {
	path   string
	file   *os.File
	size   int64
	copies [2]superblock
	faults [2]error // of the copies
	super  *superblock
}

// openDrive opens a drive by its directory, its data file, or its device.
func openDrive(path string) (*disk, error) {
	file := path
	if st, err := os.Stat(path); err != nil {
		return nil, err
	} else if st.IsDir() {
		file = filepath.Join(path, "data")
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	d := &disk{path: path, file: f}
	if d.size, err = f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for i, at := range []int64{0, superCopy} {
		buf := make([]byte, superSize)
		n, err := f.ReadAt(buf, at)
		if err == nil || errors.Is(err, io.EOF) {
			d.copies[i], err = decodeSuper(buf[:n])
		}
		if d.faults[i] = err; err == nil && (d.super == nil || d.copies[i].generation > d.super.generation) {
			d.super = &d.copies[i]
		}
	}
	return d, nil
}

func (d *disk) close() { d.file.Close() }

// openDrives opens drives that have a superblock, by id. One that cannot be read is
// told on w and left out: the others may do.
func openDrives(w io.Writer, paths []string) (map[layout.DriveID]*disk, error) {
	out := map[layout.DriveID]*disk{}
	for _, path := range paths {
		d, err := openDrive(path)
		if err == nil && d.super == nil {
			err = errors.Join(fmt.Errorf("no superblock: %w; %w", d.faults[0], d.faults[1]), d.file.Close())
		}
		if err != nil {
			fmt.Fprintf(w, "drive %s cannot be used: %v\n", path, err)
			continue
		}
		if other := out[d.super.drive]; other != nil {
			return out, fmt.Errorf("drives %s and %s have the same id %s", other.path, d.path, d.super.drive)
		}
		out[d.super.drive] = d
	}
	return out, nil
}

func closeDrives(drives map[layout.DriveID]*disk) {
	for _, d := range drives {
		d.close()
	}
}

// showDrive prints both superblocks.
func showDrive(_ context.Context, out io.Writer, args []string, _ *options) error {
	d, err := openDrive(args[0])
	if err != nil {
		return err
	}
	defer d.close()
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "drive\t%s\nsize\t%d\n", d.file.Name(), d.size)
	for i, at := range []int64{0, superCopy} {
		fmt.Fprintf(w, "\nsuperblock at\t%d\n", at)
		if d.faults[i] != nil {
			fmt.Fprintf(w, "state\t%v\n", d.faults[i])
			continue
		}
		s := &d.copies[i]
		fmt.Fprintf(w, "state\tgood\nformat version\t%d\ncluster\t%s\ndrive\t%s\n", s.version, hex.EncodeToString(s.cluster[:]), s.drive)
		fmt.Fprintf(w, "generation\t%d\ncreated\t%s\nunit\t%d\n", s.generation, s.created.Format(time.RFC3339Nano), s.unit)
		fmt.Fprintf(w, "metadata generation\t%d (promised %d)\nlayout generation\t%d\n", uint32(s.metaGen), s.metaGen>>32, s.layoutGen)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	switch {
	case d.super == nil:
		return errors.New("neither superblock is good")
	case d.faults[0] != nil || d.faults[1] != nil:
		return errors.New("one superblock is not good; the daemon writes it anew when it opens the drive")
	case d.copies[0].drive != d.copies[1].drive || d.copies[0].cluster != d.copies[1].cluster:
		return errors.New("the superblocks are of different drives")
	case d.copies[0].generation != d.copies[1].generation:
		return errors.New("the superblocks are of different generations: the greater counts")
	}
	return nil
}
