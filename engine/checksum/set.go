package checksum

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"sync"

	"github.com/minio/crc64nvme"
)

// strideSize bounds the bytes given to one digest before the next one has them,
// so that every digest but the first finds them in the CPU's L1 cache.
const strideSize = 16 << 10

// Set is a group of digests updated together. Get one with NewSet; Reset and
// reuse by Release. It is not safe for concurrent use.
type Set struct {
	md5    hash.Hash
	sha256 hash.Hash // payload hash, extra checksum, or both
	sha1   hash.Hash // nil until a set of the pool first needs it
	crc32  uint32
	crc64  uint64

	extra      Algorithm
	payload    bool // PayloadSHA256 was asked for
	castagnoli *crc32.Table
	sum        [sha256.Size]byte // backs Extra
}

// The pool has no state that could be observed: every set is reset when taken.
var sets = sync.Pool{New: func() any {
	return &Set{md5: md5.New(), sha256: sha256.New(), castagnoli: crc32.MakeTable(crc32.Castagnoli)}
}}

// NewSet returns a pooled set that always holds MD5, and SHA-256 (payload hash)
// and one additional algorithm as asked.
func NewSet(payloadSHA256 bool, extra Algorithm) *Set {
	s := sets.Get().(*Set)
	s.extra, s.payload = extra, payloadSHA256
	s.Reset()
	return s
}

// Reset forgets the bytes written so far.
func (s *Set) Reset() {
	s.md5.Reset()
	if s.needSHA256() {
		s.sha256.Reset()
	}
	if s.extra == SHA1 {
		if s.sha1 == nil {
			s.sha1 = sha1.New()
		}
		s.sha1.Reset()
	}
	s.crc32, s.crc64 = 0, 0
}

// needSHA256 reports whether SHA-256 is computed: once, even if asked for twice.
func (s *Set) needSHA256() bool { return s.payload || s.extra == SHA256 }

// Write adds p to every digest. It never fails.
func (s *Set) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > strideSize {
		s.update(p[:strideSize])
		p = p[strideSize:]
	}
	s.update(p)
	return n, nil
}

func (s *Set) update(p []byte) {
	s.md5.Write(p)
	if s.needSHA256() {
		s.sha256.Write(p)
	}
	switch s.extra {
	case CRC32:
		s.crc32 = crc32.Update(s.crc32, crc32.IEEETable, p)
	case CRC32C:
		s.crc32 = crc32.Update(s.crc32, s.castagnoli, p)
	case CRC64NVME:
		s.crc64 = crc64nvme.Update(s.crc64, p)
	case SHA1:
		s.sha1.Write(p)
	}
}

// MD5 returns the digest of the bytes written so far.
func (s *Set) MD5() (sum [md5.Size]byte) {
	copy(sum[:], s.md5.Sum(s.sum[:0]))
	return sum
}

// PayloadSHA256 returns the digest; zero when it was not asked for.
func (s *Set) PayloadSHA256() (sum [sha256.Size]byte) {
	if s.payload {
		copy(sum[:], s.sha256.Sum(s.sum[:0]))
	}
	return sum
}

// Extra returns the additional checksum, raw (CRCs big-endian); nil when there
// is none. The slice is valid until the set's next call.
func (s *Set) Extra() []byte {
	switch s.extra {
	case CRC32, CRC32C:
		return binary.BigEndian.AppendUint32(s.sum[:0], s.crc32)
	case CRC64NVME:
		return binary.BigEndian.AppendUint64(s.sum[:0], s.crc64)
	case SHA1:
		return s.sha1.Sum(s.sum[:0])
	case SHA256:
		return s.sha256.Sum(s.sum[:0])
	default:
		return nil
	}
}

// Release returns the set to its pool; it must not be used afterwards.
func (s *Set) Release() { sets.Put(s) }
