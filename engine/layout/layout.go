package layout

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// DriveID identifies a drive for its whole life, across servers and reformats
// of other drives. It is random and stamped into the superblock at format.
type DriveID [16]byte

// String returns the 32 lower-case hexadecimal digits of id.
func (id DriveID) String() string { return hex.EncodeToString(id[:]) }

// BlobID identifies a blob. Its first 8 bytes are the birth time (big-endian
// nanoseconds since the Unix epoch), so that blobs sort by age and a fence can
// be drawn by time; the other 8 are random.
type BlobID [16]byte

// NewBlobID returns an id for a blob born at now.
func NewBlobID(now time.Time) BlobID {
	var id BlobID
	binary.BigEndian.PutUint64(id[:8], uint64(now.UnixNano()))
	rand.Read(id[8:]) // never fails: crypto/rand aborts the program instead
	return id
}

// IsZero reports whether id is the zero id, which no blob bears.
func (id BlobID) IsZero() bool { return id == BlobID{} }

// Birth returns the time at which the blob was begun.
func (id BlobID) Birth() time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(id[:8])))
}

// String returns the 32 lower-case hexadecimal digits of id.
func (id BlobID) String() string { return hex.EncodeToString(id[:]) }

// Extent is a byte range of a drive. Off and Len are multiples of the drive's
// allocation unit; Len is positive.
type Extent struct {
	Off, Len int64
}

// Fragment is the share of a blob on one drive. The extents hold, one after
// the other, the fragment's frames (see engine/FORMAT.md). A fragment without
// extents is missing, or, where its share of the payload is 0 bytes, empty.
type Fragment struct {
	Drive   DriveID
	Extents []Extent
}

// Kind says how a blob's bytes are spread over its fragments.
type Kind uint8

const (
	// KindInline keeps the payload with the metadata; there is no fragment.
	KindInline Kind = 0
	// KindSingle keeps the whole payload in one fragment, without redundancy.
	KindSingle Kind = 1
	// KindStriped spreads the payload over Data fragments and protects it by
	// Parity more; see Geometry.
	KindStriped Kind = 2
)

// Limits of a striped blob.
const (
	MaxData   = 16
	MaxParity = 4
	// UnitStep divides every unit, so that a frame holds whole chunks of an
	// encrypted payload.
	UnitStep = 64 << 10
	MaxUnit  = 1 << 20
)

// Blob locates a payload. Placement is recorded, never computed from the
// number of drives, so drives may come and go. It is recorded in one place, the
// blob's back-reference, since fragments move; the records of objects and parts
// leave Fragments out.
type Blob struct {
	ID           BlobID
	Size         int64 // payload bytes
	Kind         Kind
	Data, Parity uint8      // of KindStriped: numbers of fragments; 1…MaxData, 0…MaxParity
	Unit         int64      // of KindStriped: payload bytes of a whole frame; a multiple of UnitStep, at most MaxUnit
	Fragments    []Fragment // in failure-domain order: data, then parity
}

// Geometry returns how the payload is spread. That of an inline blob has no
// fragments.
func (b *Blob) Geometry() Geometry {
	switch b.Kind {
	case KindSingle:
		return Geometry{Size: b.Size, Unit: MaxUnit, Data: 1}
	case KindStriped:
		return Geometry{Size: b.Size, Unit: b.Unit, Data: int(b.Data), Parity: int(b.Parity)}
	}
	return Geometry{Size: b.Size}
}

// Missing returns how many fragments that hold something have no place.
func (b *Blob) Missing() (n int) {
	g := b.Geometry()
	for i := range b.Fragments {
		if len(b.Fragments[i].Extents) == 0 && g.FragmentSize(i) > 0 {
			n++
		}
	}
	return n
}
