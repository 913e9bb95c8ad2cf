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
	FramePayload = 1 << 20
	// MaxFragment is the most payload that one fragment holds: 2^31 frames.
	MaxFragment = FramePayload << 31

	frameSize      = HeaderSize + FramePayload
	blocksPerFrame = FramePayload / BlockSize
	frameMagic     = "SLUICEfr"
	frameVersion   = 1
)

// Byte layout of a frame header, little-endian:
//
//	  0   8  magic "SLUICEfr"
//	  8   8  xxh3-64 of bytes 16…4095
//	 16   4  version, 1
//	 20   4  frame index within the fragment, from 0
//	 24  16  blob id
//	 40  16  drive id
//	 56   8  payload bytes of the whole fragment
//	 64   4  payload bytes of this frame, 1…1,048,576
//	 68   4  zero
//	 72   8  birth of the blob, nanoseconds since the Unix epoch
//	 80  48  zero
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
	frOffZero2    = 80
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
	birth    int64
	sums     [blocksPerFrame]uint64
}

// framePayload returns the payload bytes of frame index in a fragment of size
// bytes, or 0 when the fragment has no such frame.
func framePayload(size int64, index int64) int {
	return int(max(0, min(FramePayload, size-index*FramePayload)))
}

// padded rounds n up to a multiple of HeaderSize.
func padded(n int) int { return (n + HeaderSize - 1) &^ (HeaderSize - 1) }

// DiskSize returns the bytes that the frames of a fragment of size payload
// bytes take up, before rounding to the drive's allocation unit.
func DiskSize(size int64) int64 {
	whole, rest := size/FramePayload, int(size%FramePayload)
	n := whole * frameSize
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
	clear(b[end : HeaderSize+padded(h.payload)])
	h.sums = [blocksPerFrame]uint64{}
	for i, at := 0, HeaderSize; at < end; i, at = i+1, at+BlockSize {
		h.sums[i] = xxh3.Hash(b[at:min(at+BlockSize, end)])
	}
	h.encode(b[:HeaderSize])
}

// encode writes the header into b, which is HeaderSize long.
func (h *frameHeader) encode(b []byte) {
	le := binary.LittleEndian
	clear(b)
	copy(b, frameMagic)
	le.PutUint32(b[frOffVersion:], frameVersion)
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
	if v := le.Uint32(b[frOffVersion:]); v != frameVersion {
		return h, fmt.Errorf("unknown frame version %d", v)
	}
	h.index = le.Uint32(b[frOffIndex:])
	copy(h.blob[:], b[frOffBlob:])
	copy(h.drive[:], b[frOffDrive:])
	fragment, payload := le.Uint64(b[frOffFragment:]), le.Uint32(b[frOffPayload:])
	h.birth = int64(le.Uint64(b[frOffBirth:]))
	if fragment < 1 || fragment > MaxFragment || payload > math.MaxInt32 {
		return h, fmt.Errorf("impossible sizes: fragment %d, frame %d", fragment, payload)
	}
	h.fragment, h.payload = int64(fragment), int(payload)
	if h.payload < 1 || h.payload != framePayload(h.fragment, int64(h.index)) {
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
