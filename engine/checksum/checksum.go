package checksum

import (
	"crypto/sha1"
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"strings"

	"github.com/minio/crc64nvme"
)

// Algorithm is an additional checksum algorithm. The zero value is none.
type Algorithm uint8

// Algorithms.
const (
	None Algorithm = iota
	CRC32
	CRC32C
	CRC64NVME
	SHA1
	SHA256
)

// property is what one algorithm is like.
type property struct {
	name       string
	header     string
	size       int // bytes
	fullObject bool
	composite  bool
}

// properties returns a's row; an Algorithm out of range is like None.
func (a Algorithm) properties() property {
	switch a {
	case CRC32:
		return property{"CRC32", "x-amz-checksum-crc32", 4, true, true}
	case CRC32C:
		return property{"CRC32C", "x-amz-checksum-crc32c", 4, true, true}
	case CRC64NVME:
		return property{"CRC64NVME", "x-amz-checksum-crc64nvme", 8, true, false}
	case SHA1:
		return property{"SHA1", "x-amz-checksum-sha1", sha1.Size, false, true}
	case SHA256:
		return property{"SHA256", "x-amz-checksum-sha256", sha256.Size, false, true}
	default:
		return property{}
	}
}

// Parse returns the algorithm S3 names s (any case), and whether there is one.
func Parse(s string) (Algorithm, bool) {
	for a := CRC32; a <= SHA256; a++ {
		if strings.EqualFold(s, a.properties().name) {
			return a, true
		}
	}
	return None, false
}

// String returns S3's upper-case name: "CRC32", …; "" for None.
func (a Algorithm) String() string { return a.properties().name }

// Header returns the canonical lower-case header, "x-amz-checksum-crc32", …;
// "" for None.
func (a Algorithm) Header() string { return a.properties().header }

// Size returns the digest's length in bytes; 0 for None.
func (a Algorithm) Size() int { return a.properties().size }

// New returns a streaming digest; nil for None. CRCs sum in big-endian order, as
// S3 transfers them.
func (a Algorithm) New() hash.Hash {
	switch a {
	case CRC32:
		return crc32.NewIEEE()
	case CRC32C:
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case CRC64NVME:
		return crc64nvme.New()
	case SHA1:
		return sha1.New()
	case SHA256:
		return sha256.New()
	default:
		return nil
	}
}

// FullObject reports whether FULL_OBJECT is possible for multipart uploads
// (the CRCs), Composite whether COMPOSITE is (all but CRC64NVME).
func (a Algorithm) FullObject() bool { return a.properties().fullObject }

// Composite reports whether the composite type is possible.
func (a Algorithm) Composite() bool { return a.properties().composite }

// CompositeOf returns the digest of the concatenated part digests; nil for None.
func (a Algorithm) CompositeOf(parts [][]byte) []byte {
	h := a.New()
	if h == nil {
		return nil
	}
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
