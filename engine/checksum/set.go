package checksum

import (
	"crypto/md5" // #nosec G501: S3's ETags are MD5
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"sync"

	"github.com/minio/crc64nvme"

	"github.com/sluicehq/sluice/engine/checksum/md5lanes"
)

// strideSize bounds the bytes given to one digest before the next one has them, where
// there are two, so that the second finds them in the CPU's L1 cache.
const strideSize = 16 << 10

// Set is a group of digests updated together. Get one with NewSet; Reset and
// reuse by Release. It is not safe for concurrent use.
//
// MD5 is worth computing beside that of other streams. A set that is lent its
// memory (see Lend) leaves it for later; the other digests are cheap, and want the
// bytes while they are in cache.
type Set struct {
	md5    *md5lanes.Digest
	short  hash.Hash // MD5 in place of md5, where Wanted.Short
	sha256 hash.Hash // payload hash, extra checksum, or both
	sha1   hash.Hash // nil until a set of the pool first needs it
	crc32  uint32
	crc64  uint64

	want    Wanted
	lent    bool  // Write queues what MD5 is to be made of
	written int64 // bytes
	settled int64 // of those, bytes whose memory is not read any more

	castagnoli *crc32.Table
	sum        [sha256.Size]byte // backs Extra
}

// The pool has no state that could be observed: every set is reset when taken.
var sets = sync.Pool{New: func() any {
	return &Set{md5: md5lanes.New(), short: md5.New(), sha256: sha256.New(), castagnoli: crc32.MakeTable(crc32.Castagnoli)}
}}

// Wanted says which digests a Set computes.
type Wanted struct {
	MD5           bool
	Short         bool      // the bytes are few: MD5 is computed at once, Lend does nothing
	PayloadSHA256 bool      // SHA-256 of a signed payload
	Extra         Algorithm // the additional checksum; None: none
}

// NewSet returns a pooled set that computes what is wanted.
func NewSet(want Wanted) *Set {
	s := sets.Get().(*Set)
	s.want = want
	s.Reset()
	return s
}

// Reset forgets the bytes written so far.
func (s *Set) Reset() {
	switch {
	case !s.want.MD5:
	case s.want.Short:
		s.short.Reset()
	default:
		s.md5.Reset()
	}
	if s.needSHA256() {
		s.sha256.Reset()
	}
	if s.want.Extra == SHA1 {
		if s.sha1 == nil {
			s.sha1 = sha1.New()
		}
		s.sha1.Reset()
	}
	s.crc32, s.crc64 = 0, 0
	s.lent, s.written, s.settled = false, 0, 0
}

// needSHA256 reports whether SHA-256 is computed: once, even if asked for twice.
func (s *Set) needSHA256() bool { return s.want.PayloadSHA256 || s.want.Extra == SHA256 }

// Write adds p to every digest. It never fails.
func (s *Set) Write(p []byte) (int, error) {
	n := len(p)
	s.written += int64(n)
	switch {
	case !s.want.MD5:
	case s.want.Short:
		_, _ = s.short.Write(p)
	case s.lent:
		s.md5.Start(p)
	default:
		_, _ = s.md5.Write(p) // never fails
	}
	if !s.lent {
		s.settled = s.written
	}
	for len(p) > strideSize && s.needSHA256() { // else one digest has all of it at once
		s.update(p[:strideSize])
		p = p[strideSize:]
	}
	s.update(p)
	return n, nil
}

// update adds p to every digest but MD5.
func (s *Set) update(p []byte) {
	if s.needSHA256() {
		s.sha256.Write(p)
	}
	switch s.want.Extra {
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

// MD5 returns the digest of the bytes written so far; zero when it was not asked
// for.
func (s *Set) MD5() (sum [16]byte) {
	s.settled = s.written
	switch {
	case !s.want.MD5:
	case s.want.Short:
		copy(sum[:], s.short.Sum(s.sum[:0]))
	default:
		sum = s.md5.Sum()
	}
	return sum
}

// Lend begins lending: from now on the memory given to Write must stay unchanged
// until Settle(off), with off at or past the end of what was written from it, or
// MD5, or StopLending has returned.
func (s *Set) Lend() { s.lent = !s.want.Short }

// Settle returns once the memory of the first off bytes written is not read any
// more. An off past the end means the end.
func (s *Set) Settle(off int64) {
	off = min(off, s.written)
	if off <= s.settled {
		return
	}
	s.settled = off
	if s.want.MD5 {
		s.md5.Wait(off)
	}
}

// StopLending ends what Lend began: it returns once no memory is read any more. It
// reports whether the set is of use still. It is not when bytes were left unsettled:
// then only Reset and Release are allowed.
func (s *Set) StopLending() (whole bool) {
	s.lent = false
	if s.settled == s.written {
		return true
	}
	s.settled = s.written
	if !s.want.MD5 {
		return true
	}
	s.md5.Stop()
	return false
}

// PayloadSHA256 returns the digest; zero when it was not asked for.
func (s *Set) PayloadSHA256() (sum [sha256.Size]byte) {
	if s.want.PayloadSHA256 {
		copy(sum[:], s.sha256.Sum(s.sum[:0]))
	}
	return sum
}

// Extra returns the additional checksum, raw (CRCs big-endian); nil when there
// is none. The slice is valid until the set's next call.
func (s *Set) Extra() []byte {
	switch s.want.Extra {
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

// Release returns the set to its pool; it must not be used afterwards. It reads no
// memory any more.
func (s *Set) Release() {
	s.StopLending()
	sets.Put(s)
}
