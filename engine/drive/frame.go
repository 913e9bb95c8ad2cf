package drive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
)

// Frame geometry, in bytes. It is recorded in the superblock.
const (
	// HeaderSize is the size of a frame header, and the multiple to which a
	// frame's payload is padded with zeros.
	HeaderSize = 4 << 10
	// BlockSize is the run of payload that one checksum covers: the least that
	// a read of one byte must fetch and verify.
	BlockSize = 16 << 10
	// FramePayload is the most payload that one frame holds.
	FramePayload = layout.MaxUnit
	// MaxFragment is the most payload that one fragment holds: 2^31 frames. With a
	// smaller unit it is proportionally less.
	MaxFragment = FramePayload << 31

	frameSize      = HeaderSize + FramePayload
	blocksPerFrame = FramePayload / BlockSize
	frameMagic     = "SLUICEfr"
	maxNumber      = 255 // of a fragment in its blob
)

// Versions of a frame header. Version 1 is written wherever it can tell the same:
// for fragment 0 in units of FramePayload.
const (
	frameVersion1 = 1
	frameVersion2 = 2
)

// Byte layout of a frame header, little-endian:
//
//	  0   8  magic "SLUICEfr"
//	  8   8  xxh3-64 of bytes 16…4095
//	 16   4  version, 1 or 2
//	 20   4  frame index within the fragment, from 0
//	 24  16  blob id
//	 40  16  drive id
//	 56   8  payload bytes of the whole fragment
//	 64   4  payload bytes of this frame, 1…the unit
//	 68   4  zero
//	 72   8  birth of the blob, nanoseconds since the Unix epoch
//	 80   4  version 2: the unit, payload bytes of every frame but the last, a
//	         multiple of 65,536 up to 1,048,576; version 1: zero, the unit is 1,048,576
//	 84   4  version 2: number of the fragment in its blob, 0…255; version 1: zero,
//	         the number is 0
//	 88   1  version 2: data fragments of the blob, 2…16; zero: one, or not told
//	 89   1  parity fragments of the blob, 0…4; zero where byte 88 is
//	 90  38  zero
//	128 512  64 × xxh3-64 of each 16 KiB payload block, the last one over its
//	         real length; zero where the frame has no such block
//	640 3456 zero
const (
	frOffSum      = 8
	frOffVersion  = 16
	frOffIndex    = 20
	frOffBlob     = 24
	frOffDrive    = 40
	frOffFragment = 56
	frOffPayload  = 64
	frOffZero1    = 68
	frOffBirth    = 72
	frOffUnit     = 80
	frOffNumber   = 84
	frOffData     = 88
	frOffParity   = 89
	frOffZero2    = 90
	frOffSums     = 128
	frOffZero3    = frOffSums + 8*blocksPerFrame
)

// frameHeader is a frame header in memory.
type frameHeader struct {
	blob     layout.BlobID
	drive    layout.DriveID
	index    uint32
	payload  int   // bytes in this frame
	fragment int64 // bytes in the whole fragment
	unit     int64 // bytes in every frame but the last
	number   int   // of the fragment in its blob
	data     int   // fragments of the blob; 0: one, or not told
	parity   int
	birth    int64
	sums     [blocksPerFrame]uint64
}

// of fills in what all frames of f have in common.
func (h *frameHeader) of(f *Fragment) {
	h.blob, h.fragment, h.unit, h.number, h.birth = f.Blob, f.Size, f.Unit, f.Number, f.Blob.Birth().UnixNano()
	if f.Data > 1 {
		h.data, h.parity = f.Data, f.Parity
	}
}

// framePayload returns the payload bytes of frame index in a fragment of size
// bytes in units of unit, or 0 when the fragment has no such frame.
func framePayload(size, unit, index int64) int {
	return int(max(0, min(unit, size-index*unit)))
}

// padded rounds n up to a multiple of HeaderSize.
func padded(n int) int { return (n + HeaderSize - 1) &^ (HeaderSize - 1) }

// DiskSize returns the bytes that the frames of a fragment of size payload
// bytes take up, before rounding to the drive's allocation unit.
func DiskSize(size int64) int64 { return diskSize(size, FramePayload) }

// diskSize is DiskSize for frames of unit payload bytes.
func diskSize(size, unit int64) int64 {
	whole, rest := size/unit, int(size%unit)
	n := whole * (HeaderSize + unit)
	if rest > 0 {
		n += int64(HeaderSize + padded(rest))
	}
	return n
}

// sealFrame completes the frame in b, whose payload lies at b[HeaderSize:]
// already: it zeroes the padding, so that no bytes of an earlier user of the
// buffer reach the drive, and writes the header. It fills h.sums.
func sealFrame(b []byte, h *frameHeader) {
	end := HeaderSize + h.payload
	h.sums = [blocksPerFrame]uint64{}
	for i, at := 0, HeaderSize; at < end; i, at = i+1, at+BlockSize {
		h.sums[i] = xxh3.Hash(b[at:min(at+BlockSize, end)])
	}
	finishFrame(b, h)
}

// finishFrame is sealFrame where h.sums is filled already.
func finishFrame(b []byte, h *frameHeader) {
	end := HeaderSize + h.payload
	clear(b[end : HeaderSize+padded(h.payload)])
	h.encode(b[:HeaderSize])
}

// encode writes the header into b, which is HeaderSize long.
func (h *frameHeader) encode(b []byte) {
	le := binary.LittleEndian
	clear(b)
	copy(b, frameMagic)
	le.PutUint32(b[frOffVersion:], frameVersion1)
	if h.unit != FramePayload || h.number != 0 {
		le.PutUint32(b[frOffVersion:], frameVersion2)
		le.PutUint32(b[frOffUnit:], uint32(h.unit))
		le.PutUint32(b[frOffNumber:], uint32(h.number))
		b[frOffData], b[frOffParity] = byte(h.data), byte(h.parity)
	}
	le.PutUint32(b[frOffIndex:], h.index)
	copy(b[frOffBlob:], h.blob[:])
	copy(b[frOffDrive:], h.drive[:])
	le.PutUint64(b[frOffFragment:], uint64(h.fragment))
	le.PutUint32(b[frOffPayload:], uint32(h.payload))
	le.PutUint64(b[frOffBirth:], uint64(h.birth))
	for i, s := range h.sums {
		le.PutUint64(b[frOffSums+8*i:], s)
	}
	le.PutUint64(b[frOffSum:], xxh3.Hash(b[frOffVersion:HeaderSize]))
}

var errNoFrame = errors.New("no frame header")

// decodeFrameHeader reads a header and checks all that can be checked without
// knowing what should be there. The error says what is wrong.
func decodeFrameHeader(b []byte) (h frameHeader, err error) {
	le := binary.LittleEndian
	if len(b) < HeaderSize || string(b[:frOffSum]) != frameMagic {
		return h, errNoFrame
	}
	b = b[:HeaderSize]
	if le.Uint64(b[frOffSum:]) != xxh3.Hash(b[frOffVersion:]) {
		return h, errors.New("header checksum mismatch")
	}
	if err := h.decodeUnit(b); err != nil {
		return h, err
	}
	h.index = le.Uint32(b[frOffIndex:])
	copy(h.blob[:], b[frOffBlob:])
	copy(h.drive[:], b[frOffDrive:])
	fragment, payload := le.Uint64(b[frOffFragment:]), le.Uint32(b[frOffPayload:])
	h.birth = int64(le.Uint64(b[frOffBirth:]))
	if fragment < 1 || fragment > uint64(h.unit)<<31 || payload > math.MaxInt32 {
		return h, fmt.Errorf("impossible sizes: fragment %d, frame %d", fragment, payload)
	}
	h.fragment, h.payload = int64(fragment), int(payload)
	if h.payload < 1 || h.payload != framePayload(h.fragment, h.unit, int64(h.index)) {
		return h, fmt.Errorf("frame %d of a fragment of %d bytes cannot hold %d", h.index, h.fragment, h.payload)
	}
	for i := range h.sums {
		h.sums[i] = le.Uint64(b[frOffSums+8*i:])
		if i*BlockSize >= h.payload && h.sums[i] != 0 {
			return h, fmt.Errorf("checksum of absent block %d", i)
		}
	}
	if !isZero(b[frOffZero1:frOffBirth]) || !isZero(b[frOffZero2:frOffSums]) || !isZero(b[frOffZero3:]) {
		return h, errors.New("reserved bytes in use")
	}
	return h, nil
}

// decodeUnit reads the version, and the fields that depend on it.
func (h *frameHeader) decodeUnit(b []byte) error {
	le := binary.LittleEndian
	unit, number := le.Uint32(b[frOffUnit:]), le.Uint32(b[frOffNumber:])
	data, parity := int(b[frOffData]), int(b[frOffParity])
	switch v := le.Uint32(b[frOffVersion:]); {
	case v == frameVersion1 && unit == 0 && number == 0 && data == 0 && parity == 0:
		unit = FramePayload
	case v == frameVersion1:
		return errors.New("reserved bytes in use")
	case v != frameVersion2:
		return fmt.Errorf("unknown frame version %d", v)
	case unit < layout.UnitStep || unit > FramePayload || unit%layout.UnitStep != 0 || number > maxNumber:
		return fmt.Errorf("impossible unit of %d bytes or fragment number %d", unit, number)
	case data == 0 && parity != 0, data == 1, data > layout.MaxData, parity > layout.MaxParity, data > 0 && int(number) >= data+parity:
		return fmt.Errorf("fragment %d of %d+%d is impossible", number, data, parity)
	}
	h.unit, h.number, h.data, h.parity = int64(unit), int(number), data, parity
	return nil
}

// verifyBlocks compares blocks [b0, b1) of the frame with their checksums.
// data begins with block b0.
func (h *frameHeader) verifyBlocks(data []byte, b0, b1 int) error {
	for i := b0; i < b1; i++ {
		at := (i - b0) * BlockSize
		n := min(BlockSize, h.payload-i*BlockSize)
		if xxh3.Hash(data[at:at+n]) != h.sums[i] {
			return fmt.Errorf("checksum mismatch in block %d", i)
		}
	}
	return nil
}

// birthTime returns the blob's birth.
func (h *frameHeader) birthTime() time.Time { return time.Unix(0, h.birth) }

// isZero reports whether b holds zeros only.
func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
