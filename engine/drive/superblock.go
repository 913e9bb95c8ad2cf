package drive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
)

// Places on a drive, in bytes.
const (
	superSize  = 4 << 10
	superFirst = 0
	superCopy  = 1 << 20
	dataStart  = 2 << 20

	minUnit  = 4 << 10
	maxUnit  = dataStart // extents begin on multiples of the unit
	maxUnits = 1 << 28   // a bitmap of 32 MiB

	superMagic = "SLUICEdr"
)

// FormatVersion is the on-disk format that this release writes.
//
// Version 2 differs from version 1 in what may lie in the data area: frames of
// version 2, which earlier releases cannot read. Open makes version 1 version 2.
const FormatVersion = 2

// Byte layout of a superblock, little-endian. Magic, checksum and version keep
// their places in every later version:
//
//	  0   8  magic "SLUICEdr"
//	  8   8  xxh3-64 of bytes 16…4095
//	 16   4  format version, 1 or 2
//	 20   4  zero
//	 24  16  cluster id
//	 40  16  drive id
//	 56   8  generation, from 1, one more with each rewrite
//	 64   8  created, nanoseconds since the Unix epoch
//	 72   8  allocation unit, bytes: a power of two, 4 KiB…2 MiB
//	 80   4  frame header size, 4,096
//	 84   4  checksum block size, 16,384
//	 88   4  payload of a whole frame, 1,048,576
//	 92   4  zero
//	 96   8  offset of the data area, 2,097,152
//	104   8  metadata generation, 0 until the engine sets one
//	112   8  layout generation, 0 until the engine sets one
//	120 3976 later fields: zero when formatted, kept as found when rewritten
const (
	sbOffSum      = 8
	sbOffVersion  = 16
	sbOffCluster  = 24
	sbOffDrive    = 40
	sbOffGen      = 56
	sbOffCreated  = 64
	sbOffUnit     = 72
	sbOffHeader   = 80
	sbOffBlock    = 84
	sbOffFrame    = 88
	sbOffData     = 96
	sbOffMetaGen  = 104
	sbOffLayoutGn = 112
	sbOffLater    = 120
)

// superblock is the identity and geometry of a drive.
type superblock struct {
	version   uint32
	cluster   [16]byte
	drive     layout.DriveID
	gen       uint64
	created   int64
	unit      int64
	metaGen   uint64
	layoutGen uint64
	later     [superSize - sbOffLater]byte
}

// encode writes the superblock into b, which is superSize long.
func (s *superblock) encode(b []byte) {
	le := binary.LittleEndian
	clear(b)
	copy(b, superMagic)
	le.PutUint32(b[sbOffVersion:], s.version)
	copy(b[sbOffCluster:], s.cluster[:])
	copy(b[sbOffDrive:], s.drive[:])
	le.PutUint64(b[sbOffGen:], s.gen)
	le.PutUint64(b[sbOffCreated:], uint64(s.created))
	le.PutUint64(b[sbOffUnit:], uint64(s.unit))
	le.PutUint32(b[sbOffHeader:], HeaderSize)
	le.PutUint32(b[sbOffBlock:], BlockSize)
	le.PutUint32(b[sbOffFrame:], FramePayload)
	le.PutUint64(b[sbOffData:], dataStart)
	le.PutUint64(b[sbOffMetaGen:], s.metaGen)
	le.PutUint64(b[sbOffLayoutGn:], s.layoutGen)
	copy(b[sbOffLater:], s.later[:])
	le.PutUint64(b[sbOffSum:], xxh3.Hash(b[sbOffVersion:superSize]))
}

// What a superblock copy can hold besides a superblock.
var (
	errBlank   = errors.New("blank")
	errStrange = errors.New("holds something else")
	errTorn    = errors.New("checksum mismatch")
)

// decodeSuperblock reads one copy. Errors: errBlank, errStrange, errTorn (it
// bears the magic, so it was a superblock once), ErrNewer, or ErrCorrupt for
// one that is whole yet impossible.
func decodeSuperblock(b []byte) (s superblock, err error) {
	le := binary.LittleEndian
	if len(b) < superSize {
		return s, errStrange
	}
	b = b[:superSize]
	if string(b[:sbOffSum]) != superMagic {
		if isZero(b) {
			return s, errBlank
		}
		return s, errStrange
	}
	if le.Uint64(b[sbOffSum:]) != xxh3.Hash(b[sbOffVersion:]) {
		return s, errTorn
	}
	if s.version = le.Uint32(b[sbOffVersion:]); s.version > FormatVersion {
		return s, fmt.Errorf("%w: version %d, this release reads up to %d", ErrNewer, s.version, FormatVersion)
	} else if s.version == 0 {
		return s, fmt.Errorf("%w: superblock version 0", ErrCorrupt)
	}
	copy(s.cluster[:], b[sbOffCluster:])
	copy(s.drive[:], b[sbOffDrive:])
	s.gen = le.Uint64(b[sbOffGen:])
	s.created = int64(le.Uint64(b[sbOffCreated:]))
	unit := le.Uint64(b[sbOffUnit:])
	if bits.OnesCount64(unit) != 1 || unit < minUnit || unit > maxUnit {
		return s, fmt.Errorf("%w: superblock names an allocation unit of %d bytes", ErrCorrupt, unit)
	}
	s.unit = int64(unit)
	if h, k, f, d := le.Uint32(b[sbOffHeader:]), le.Uint32(b[sbOffBlock:]), le.Uint32(b[sbOffFrame:]), le.Uint64(b[sbOffData:]); h != HeaderSize || k != BlockSize || f != FramePayload || d != dataStart {
		return s, fmt.Errorf("%w: superblock names the geometry %d/%d/%d/%d", ErrCorrupt, h, k, f, d)
	}
	s.metaGen = le.Uint64(b[sbOffMetaGen:])
	s.layoutGen = le.Uint64(b[sbOffLayoutGn:])
	copy(s.later[:], b[sbOffLater:])
	if s.gen == 0 || s.drive == (layout.DriveID{}) || s.cluster == ([16]byte{}) {
		return s, fmt.Errorf("%w: superblock without identity", ErrCorrupt)
	}
	return s, nil
}

// chooseUnit returns the smallest allocation unit that keeps the bitmap of a
// drive of limit bytes within 32 MiB.
func chooseUnit(limit int64) int64 {
	unit := int64(minUnit)
	for unit < maxUnit && limit/unit > maxUnits {
		unit *= 2
	}
	return unit
}
