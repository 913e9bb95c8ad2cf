package audit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

// The spool is a directory of segments and a cursor. Integers are little-endian,
// checksums CRC32C (Castagnoli).
//
// A segment is a file named by the sequence number of its first event, 16
// hexadecimal digits and ".seg". It begins with a header:
//
//	offset  bytes  what
//	0       8      "SLUAUDIT"
//	8       4      version: 1
//	12      4      m, length of the sealed key: 61
//	16      8      sequence number of the first event
//	24      8      time it was made, nanoseconds since 1970 UTC
//	32      m      box of package seal that holds the segment's key of 32 bytes; its
//	               context is "audit/segment/" and the 16 digits of the file's name
//	32+m    4      checksum of bytes 0…32+m
//
// Frames follow without gaps until the end of the file or the first one that is
// not whole, where a crash ended the segment:
//
//	offset  bytes  what
//	0       4      n, length of the box: 17…maxBox
//	4       4      checksum of bytes 8…32+n
//	8       8      sequence number of the first event
//	16      4      number of events, at least 1
//	20      4      zero
//	24      8      time of the first event, nanoseconds since 1970 UTC
//	32      n      box: AES-256-GCM with the segment's key; its nonce is four zero bytes
//	               and bytes 8…16, its additional data bytes 8…32
//
// The box holds, for each event, its length (4 bytes) and its JSON. A segment's
// key never sees a nonce twice: sequence numbers rise, and a segment that has
// been closed, or whose writing failed, is never written to again.
const (
	segmentMagic   = "SLUAUDIT"
	segmentVersion = 1
	segmentSuffix  = ".seg"
	segmentFixed   = 32
	sealedKey      = 1 + 12 + 32 + 16 // a box of package seal
	segmentHeader  = segmentFixed + sealedKey + 4

	frameHeader = 32
	boxOverhead = 16
	// groupBytes is how many bytes of events a frame gathers before the next one
	// begins; a frame is longer by one event at most.
	groupBytes = 64 << 10
	maxBox     = groupBytes + maxEvent + 4 + boxOverhead
)

// errFrame: bytes of the spool are not what they should be.
var errFrame = errors.New("audit: damaged spool")

func castagnoli(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

func segmentContext(first uint64) string { return fmt.Sprintf("audit/segment/%016x", first) }

// newSegment returns the header of a segment and the cipher of its frames.
func newSegment(key *seal.Key, first uint64, now time.Time) ([]byte, cipher.AEAD, error) {
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, nil, err
	}
	h := make([]byte, segmentFixed, segmentHeader)
	copy(h, segmentMagic)
	binary.LittleEndian.PutUint32(h[8:], segmentVersion)
	binary.LittleEndian.PutUint32(h[12:], sealedKey)
	binary.LittleEndian.PutUint64(h[16:], first)
	binary.LittleEndian.PutUint64(h[24:], uint64(now.UnixNano())) // #nosec G115: after 1970
	h = append(h, key.Seal(segmentContext(first), raw[:])...)
	h = binary.LittleEndian.AppendUint32(h, castagnoli(h))
	aead, err := newCipher(raw[:])
	return h, aead, err
}

// openSegment reads a segment's header. errFrame, seal.ErrOpen.
func openSegment(key *seal.Key, h []byte, first uint64) (cipher.AEAD, time.Time, error) {
	if len(h) < segmentHeader || string(h[:8]) != segmentMagic {
		return nil, time.Time{}, fmt.Errorf("%w: no segment header", errFrame)
	}
	h = h[:segmentHeader]
	if v := binary.LittleEndian.Uint32(h[8:]); v != segmentVersion {
		return nil, time.Time{}, fmt.Errorf("%w: segment of version %d", errFrame, v)
	}
	body := h[:segmentHeader-4]
	if binary.LittleEndian.Uint32(h[12:]) != sealedKey || binary.LittleEndian.Uint64(h[16:]) != first ||
		binary.LittleEndian.Uint32(h[segmentHeader-4:]) != castagnoli(body) {
		return nil, time.Time{}, fmt.Errorf("%w: segment header", errFrame)
	}
	raw, err := key.Open(segmentContext(first), body[segmentFixed:])
	if err != nil {
		return nil, time.Time{}, err
	}
	born := time.Unix(0, int64(binary.LittleEndian.Uint64(h[24:]))) // #nosec G115: any value is a time
	aead, err := newCipher(raw)
	return aead, born, err
}

func newCipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// frameInfo is the header of a frame.
type frameInfo struct {
	box   int // length
	first uint64
	count uint32
	time  time.Time
}

// next is the sequence number after the frame's last event.
func (f *frameInfo) next() uint64 { return f.first + uint64(f.count) }

// appendFrame appends a frame of count events to dst.
func appendFrame(dst []byte, aead cipher.AEAD, first uint64, count uint32, at time.Time, events []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, frameHeader)...)
	h := dst[start:]
	binary.LittleEndian.PutUint32(h[0:], uint32(len(events)+boxOverhead)) // #nosec G115: at most maxBox
	binary.LittleEndian.PutUint64(h[8:], first)
	binary.LittleEndian.PutUint32(h[16:], count)
	binary.LittleEndian.PutUint64(h[24:], uint64(at.UnixNano())) // #nosec G115: after 1970
	var nonce [12]byte
	copy(nonce[4:], h[8:16])
	dst = aead.Seal(dst, nonce[:], events, h[8:frameHeader])
	binary.LittleEndian.PutUint32(dst[start+4:], castagnoli(dst[start+8:]))
	return dst
}

// parseFrame reads a frame's header. errFrame.
func parseFrame(h []byte) (frameInfo, error) {
	if len(h) < frameHeader {
		return frameInfo{}, fmt.Errorf("%w: frame cut short", errFrame)
	}
	f := frameInfo{
		box:   int(binary.LittleEndian.Uint32(h)),
		first: binary.LittleEndian.Uint64(h[8:]),
		count: binary.LittleEndian.Uint32(h[16:]),
		time:  time.Unix(0, int64(binary.LittleEndian.Uint64(h[24:]))), // #nosec G115: any value is a time
	}
	if f.box <= boxOverhead || f.box > maxBox || f.count == 0 || int64(f.count) > int64(f.box)/4 ||
		binary.LittleEndian.Uint32(h[20:]) != 0 || f.next() < f.first {
		return frameInfo{}, fmt.Errorf("%w: frame header", errFrame)
	}
	return f, nil
}

// checkFrame verifies the checksum of a whole frame.
func checkFrame(frame []byte) bool {
	return binary.LittleEndian.Uint32(frame[4:]) == castagnoli(frame[8:])
}

// openFrame checks and deciphers a whole frame and appends its events, each with
// its length before it, to dst. errFrame.
func openFrame(dst []byte, aead cipher.AEAD, frame []byte) ([]byte, error) {
	f, err := parseFrame(frame)
	if err != nil {
		return dst, err
	}
	if len(frame) != frameHeader+f.box || !checkFrame(frame) {
		return dst, fmt.Errorf("%w: checksum", errFrame)
	}
	var nonce [12]byte
	copy(nonce[4:], frame[8:16])
	start := len(dst)
	dst, err = aead.Open(dst, nonce[:], frame[frameHeader:], frame[8:frameHeader])
	if err != nil {
		return dst[:start], fmt.Errorf("%w: box", errFrame)
	}
	rest := dst[start:]
	for range f.count {
		if _, rest, err = nextEvent(rest); err != nil {
			return dst[:start], err
		}
	}
	if len(rest) != 0 {
		return dst[:start], fmt.Errorf("%w: more bytes than events", errFrame)
	}
	return dst, nil
}

// nextEvent cuts the first event off. errFrame.
func nextEvent(p []byte) (event, rest []byte, err error) {
	if len(p) < 4 {
		return nil, nil, fmt.Errorf("%w: event length", errFrame)
	}
	n := binary.LittleEndian.Uint32(p)
	if uint64(n) > uint64(len(p)-4) {
		return nil, nil, fmt.Errorf("%w: event length", errFrame)
	}
	return p[4 : 4+n], p[4+n:], nil
}
