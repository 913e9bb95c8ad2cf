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
// the other, the fragment's frames (see engine/FORMAT.md).
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
	// Kinds 2 and up are reserved for mirrored and erasure-coded blobs.
)

// Blob locates a payload. Placement is recorded, never computed from the
// number of drives, so drives may come and go.
type Blob struct {
	ID        BlobID
	Size      int64 // payload bytes
	Kind      Kind
	Fragments []Fragment // in failure-domain order
}
