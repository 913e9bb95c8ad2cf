package checksum

import "encoding/binary"

// crc describes a reflected CRC whose initial value and final xor are all ones
// (true of all three of S3's CRCs; the two inversions then cancel out in
// combine). Polynomials over GF(2) are held reflected: bit bits-1 is x⁰.
type crc struct {
	poly uint64 // reflected, without the leading term
	one  uint64 // the polynomial 1: the top bit
}

// crcOf returns the parameters of a CRC algorithm.
func crcOf(a Algorithm) (crc, bool) {
	switch a {
	case CRC32:
		return crc{poly: 0xedb88320, one: 1 << 31}, true
	case CRC32C:
		return crc{poly: 0x82f63b78, one: 1 << 31}, true
	case CRC64NVME:
		return crc{poly: 0x9a6c9329ac4bc9b5, one: 1 << 63}, true
	default:
		return crc{}, false
	}
}

// mul returns a·b mod P.
func (c crc) mul(a, b uint64) uint64 {
	var sum uint64
	for m := c.one; m != 0; m >>= 1 { // m runs through x⁰, x¹, …; b is b·xⁱ
		sum ^= b & -((a / m) & 1)
		b = b>>1 ^ c.poly&-(b&1)
	}
	return sum
}

// shift returns x^(8n) mod P by square and multiply.
func (c crc) shift(n int64) uint64 {
	result, base := c.one, c.one>>8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			result = c.mul(result, base)
		}
		base = c.mul(base, base)
	}
	return result
}

// combine returns the CRC of two concatenated runs. Appending n bytes to a run
// multiplies its remainder by x^(8n); the second run's remainder is added.
func (c crc) combine(first, second uint64, n int64) uint64 {
	return c.mul(c.shift(n), first) ^ second
}

// Combine returns the CRC of the concatenation of two runs of bytes from their
// CRCs (big-endian, Size bytes) and the length of the second in bytes, ≥ 0, in
// time logarithmic in that length. Only for CRC algorithms; the result is nil
// for others, for digests of another size, and for a negative length.
func (a Algorithm) Combine(first, second []byte, secondLen int64) []byte {
	c, ok := crcOf(a)
	if !ok || len(first) != a.Size() || len(second) != a.Size() || secondLen < 0 {
		return nil
	}
	if a.Size() == 4 {
		sum := c.combine(uint64(binary.BigEndian.Uint32(first)), uint64(binary.BigEndian.Uint32(second)), secondLen)
		return binary.BigEndian.AppendUint32(nil, uint32(sum))
	}
	sum := c.combine(binary.BigEndian.Uint64(first), binary.BigEndian.Uint64(second), secondLen)
	return binary.BigEndian.AppendUint64(nil, sum)
}
