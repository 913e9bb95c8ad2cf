package meta

import (
	"encoding/binary"
	"math"
)

// Limits of a seal's fields in bytes, far above what a frontend allows.
const (
	maxSealBox     = 4 << 10
	maxSealKeyID   = 4 << 10
	maxSealContext = 16 << 10
)

// sealBucketKey is the bit of a seal's flags that stands for BucketKey.
const sealBucketKey = 1

// valid reports whether a seal can be stored.
func (s *Seal) valid() bool {
	return s.Mode >= SealS3 && s.Mode <= SealCustomer &&
		len(s.Box) <= maxSealBox && len(s.KeyID) <= maxSealKeyID && len(s.Context) <= maxSealContext
}

func appendSeal(b []byte, s *Seal) []byte {
	flags := byte(0)
	if s.BucketKey {
		flags |= sealBucketKey
	}
	b = append(b, byte(s.Mode), flags)
	b = append(b, s.Binding[:]...)
	b = binary.AppendUvarint(b, uint64(s.Ring))
	b = appendBytes(b, s.Box)
	b = appendBytes(b, s.KeyID)
	return appendBytes(b, s.Context)
}

func (d *decoder) seal() *Seal {
	s := &Seal{Mode: SealMode(d.u8())}
	flags := d.u8()
	if flags&^sealBucketKey != 0 {
		d.bad = true
	}
	s.BucketKey = flags&sealBucketKey != 0
	s.Binding = d.id()
	ring := d.uint()
	if ring > math.MaxUint32 {
		d.bad = true
	}
	s.Ring = uint32(ring)
	s.Box = d.bytes()
	s.KeyID = d.str()
	s.Context = d.str()
	if !s.valid() {
		d.bad = true
	}
	return s
}
