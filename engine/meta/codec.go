package meta

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
)

// recordVersion is the first byte of every record, but for two: records of objects
// that have a seal have sealedVersion, and back-references of striped blobs have
// stripedVersion. So an older release, which would read the former as if they were
// not encrypted and the latter not at all, refuses them.
const (
	recordVersion  = 1
	sealedVersion  = 2
	stripedVersion = 2
)

func appendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendInt(b []byte, v int64) []byte { return binary.AppendUvarint(b, uint64(v)) }

func appendTime(b []byte, ns int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(ns)) }

// decoder walks a record. The first malformed field sets bad, after which every
// read returns zero; callers check once, at the end.
type decoder struct {
	b   []byte
	bad bool
}

// newDecoder checks the version byte.
func newDecoder(b []byte) (decoder, error) { return newDecoderTo(b, recordVersion) }

// newDecoderTo is newDecoder for records of versions 1 to newest.
func newDecoderTo(b []byte, newest byte) (decoder, error) {
	if len(b) == 0 || b[0] == 0 {
		return decoder{}, fmt.Errorf("%w: no version", ErrBadRecord)
	}
	if b[0] > newest {
		return decoder{}, fmt.Errorf("%w: version %d", ErrNewer, b[0])
	}
	return decoder{b: b[1:]}, nil
}

// end reports whether the record was sound and wholly read.
func (d *decoder) end(what string) error {
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("%w: %s", ErrBadRecord, what)
	}
	return nil
}

func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) u8() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// int reads a number 0…2^63-1.
func (d *decoder) int() int64 {
	v := d.uint()
	if v > math.MaxInt64 {
		d.bad = true
		return 0
	}
	return int64(v)
}

// count reads the number of items that follow, each of at least size bytes, so
// that no record can ask for more memory than it occupies itself.
func (d *decoder) count(size int) int {
	v := d.uint()
	if v > uint64(len(d.b)/size) {
		d.bad = true
		return 0
	}
	return int(v)
}

func (d *decoder) time() int64 {
	if v := d.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (d *decoder) id() (id [16]byte) {
	copy(id[:], d.take(16))
	return id
}

func (d *decoder) raw() []byte {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	return d.take(int(n))
}

func (d *decoder) str() string { return string(d.raw()) }

// bytes returns a copy; nil when empty.
func (d *decoder) bytes() []byte { return append([]byte(nil), d.raw()...) }

// ETag forms.
const (
	etagNone   = 0
	etagMD5    = 1 // 16 bytes
	etagParts  = 2 // 16 bytes, number of parts
	etagString = 3
)

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func appendETag(b []byte, s string) []byte {
	if s == "" {
		return append(b, etagNone)
	}
	if len(s) >= 32 && lowerHex(s[:32]) {
		var raw [16]byte
		if _, err := hex.Decode(raw[:], []byte(s[:32])); err == nil {
			if len(s) == 32 {
				return append(append(b, etagMD5), raw[:]...)
			}
			// Only the canonical decimal is packed, so that any string comes back as it was.
			n, err := strconv.ParseUint(s[33:], 10, 32)
			if err == nil && s[32] == '-' && strconv.FormatUint(n, 10) == s[33:] {
				b = append(append(b, etagParts), raw[:]...)
				return binary.AppendUvarint(b, n)
			}
		}
	}
	return appendBytes(append(b, etagString), s)
}

// maxHexETag is the longest ETag of the forms etagMD5 and etagParts.
const maxHexETag = 32 + 1 + 10

func (d *decoder) etag() string {
	var buf [maxHexETag]byte
	return string(d.appendETag(buf[:0]))
}

// appendETag appends the ETag as text.
func (d *decoder) appendETag(dst []byte) []byte {
	switch d.u8() {
	case etagNone:
		return dst
	case etagMD5:
		return hex.AppendEncode(dst, d.take(16))
	case etagParts:
		raw := d.take(16)
		n := d.uint()
		if n > math.MaxUint32 {
			d.bad = true
		}
		dst = append(hex.AppendEncode(dst, raw), '-')
		return strconv.AppendUint(dst, n, 10)
	case etagString:
		return append(dst, d.raw()...)
	}
	d.bad = true
	return dst
}

// enumOther marks a name that has no code; the name itself follows.
const enumOther = 255

// algorithmName and typeName give the names behind the codes of a checksum.
func algorithmName(code byte) (string, bool) {
	switch code {
	case 0:
		return "", true
	case 1:
		return "CRC32", true
	case 2:
		return "CRC32C", true
	case 3:
		return "CRC64NVME", true
	case 4:
		return "SHA1", true
	case 5:
		return "SHA256", true
	}
	return "", false
}

func typeName(code byte) (string, bool) {
	switch code {
	case 0:
		return "", true
	case 1:
		return "FULL_OBJECT", true
	case 2:
		return "COMPOSITE", true
	}
	return "", false
}

func appendEnum(b []byte, s string, name func(byte) (string, bool)) []byte {
	for code := byte(0); ; code++ {
		n, ok := name(code)
		if !ok {
			return appendBytes(append(b, enumOther), s)
		}
		if n == s {
			return append(b, code)
		}
	}
}

func (d *decoder) enum(name func(byte) (string, bool)) string {
	code := d.u8()
	if code == enumOther {
		return d.str()
	}
	s, ok := name(code)
	if !ok {
		d.bad = true
	}
	return s
}

func appendChecksum(b []byte, c Checksum) []byte {
	b = appendEnum(b, c.Algorithm, algorithmName)
	return appendBytes(appendEnum(b, c.Type, typeName), c.Value)
}

func (d *decoder) checksum() (c Checksum) {
	c.Algorithm = d.enum(algorithmName)
	c.Type = d.enum(typeName)
	c.Value = d.bytes()
	return c
}

func appendHeaders(b []byte, hs []Header) []byte {
	b = binary.AppendUvarint(b, uint64(len(hs)))
	for _, h := range hs {
		b = appendBytes(appendBytes(b, h.Name), h.Value)
	}
	return b
}

func (d *decoder) headers() []Header {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	hs := make([]Header, n)
	for i := range hs {
		hs[i] = Header{Name: d.str(), Value: d.str()}
	}
	return hs
}
