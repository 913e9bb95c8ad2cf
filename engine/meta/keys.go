package meta

import (
	"encoding/binary"

	"github.com/sluicehq/sluice/engine/layout"
)

// Key types: the byte behind the two slot bytes. FORMAT.md lists them all.
const (
	typeApplied    = 'a' // slot 0: number of batches applied; written by the Store
	typeBucketName = 'B' // slot 0: bucket record by name
	typeBucketSeq  = 'i' // slot 0: the last bucket id handed out
	typeBackRef    = 'b' // blob on drives: extents and owner
	typeCompletion = 'c' // what became of a completed upload
	typeInline     = 'd' // payload of an inline blob
	typeExists     = 'e' // existence marker of a bucket
	typeDoc        = 'f' // configuration document
	typeGarbage    = 'g' // delete queue
	typeHead       = 'h' // current version of a key
	typeCounter    = 'n' // counters of a bucket
	typeObject     = 'o' // full record of a version
	typePart       = 'p' // part of an upload
	typeRepair     = 'q' // repair queue
	typeUpload     = 'u' // upload in progress
	typeChunk      = 'x' // part list of a completed object
)

const (
	counterObjects = 'o'
	counterBytes   = 'b'

	// bucketSlots is the number of slots that buckets are spread over. It bounds
	// what a scan over all slots costs; buckets may share a slot.
	bucketSlots = 256
	// chunkIndex is the chunk number of a part list's index.
	chunkIndex = 0xFFFFFFFF
	// chunkParts is the number of parts in every chunk but the last.
	chunkParts = 64

	// garbageRest is the length of a delete queue key behind its type.
	garbageRest = 8 + 16 + 1

	maxKey     = 1024 // bytes of an object key (AWS: Creating object key names)
	maxName    = 255  // bytes of a bucket name
	maxDocPath = 512
	maxDoc     = 1 << 20
	maxPart    = 10000 // parts of an upload (AWS: multipart upload limits)
)

// AppliedKey is where a Store keeps its applied index: 8 bytes, big-endian.
func AppliedKey() []byte { return []byte{0, 0, typeApplied} }

func slotKey(s Slot, t byte, room int) []byte {
	k := make([]byte, 3, 3+room)
	binary.BigEndian.PutUint16(k, uint16(s))
	k[2] = t
	return k
}

func bucketNameKey(name string) []byte {
	return append(slotKey(0, typeBucketName, len(name)), name...)
}

func bucketSeqKey() []byte { return slotKey(0, typeBucketSeq, 0) }

func bucketKey(s Slot, t byte, b BucketID, room int) []byte {
	return binary.BigEndian.AppendUint64(slotKey(s, t, 8+room), uint64(b))
}

func existsKey(b *Bucket) []byte { return bucketKey(b.Slot, typeExists, b.ID, 0) }

// Settled tells the keys that nearly every command reads, and few change: a Store does
// well to keep their values at hand. There is one for each bucket.
func Settled(key []byte) bool { return len(key) > 2 && key[2] == typeExists }

func counterKey(b *Bucket, which byte) []byte {
	return append(bucketKey(b.Slot, typeCounter, b.ID, 1), which)
}

func headKey(b *Bucket, key string) []byte {
	return append(bucketKey(b.Slot, typeHead, b.ID, len(key)), key...)
}

func docKey(s Slot, b BucketID, path string) []byte {
	return append(bucketKey(s, typeDoc, b, len(path)), path...)
}

// appendEscaped appends s with every 0x00 followed by 0xFF. With the terminator
// 0x00 0x01 (or 0x00 0x02, just above all that share s) the order of the
// results is the order of the strings, and none is a prefix of another.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		dst = append(dst, s[i])
		if s[i] == 0 {
			dst = append(dst, 0xFF)
		}
	}
	return dst
}

// cutEscaped undoes appendEscaped up to the terminator 0x00 0x01 and returns
// what follows it.
func cutEscaped(b []byte) (s string, rest []byte, ok bool) {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != 0 {
			out = append(out, b[i])
			continue
		}
		if i+1 == len(b) {
			return "", nil, false
		}
		switch i++; b[i] {
		case 0xFF:
			out = append(out, 0)
		case 1:
			return string(out), b[i+1:], true
		default:
			return "", nil, false
		}
	}
	return "", nil, false
}

func nameKey(b *Bucket, t byte, key string, id [16]byte) []byte {
	k := appendEscaped(bucketKey(b.Slot, t, b.ID, len(key)+18), key)
	return append(append(k, 0, 1), id[:]...)
}

func objectKey(b *Bucket, key string, v Version) []byte {
	return nameKey(b, typeObject, key, v)
}

func uploadKey(b *Bucket, key string, id [16]byte) []byte {
	return nameKey(b, typeUpload, key, id)
}

func partKey(s Slot, id [16]byte, number int32) []byte {
	k := append(slotKey(s, typePart, 18), id[:]...)
	return binary.BigEndian.AppendUint16(k, uint16(number))
}

func idKey(s Slot, t byte, id [16]byte) []byte {
	return append(slotKey(s, t, 16), id[:]...)
}

func chunkKey(s Slot, v Version, chunk uint32) []byte {
	k := append(slotKey(s, typeChunk, 20), v[:]...)
	return binary.BigEndian.AppendUint32(k, chunk)
}

// garbageKey places due at an unsigned offset, so that negative times sort first.
// what keeps ids of different origin apart.
func garbageKey(s Slot, due int64, id layout.BlobID, what byte) []byte {
	k := binary.BigEndian.AppendUint64(slotKey(s, typeGarbage, garbageRest), uint64(due)^1<<63)
	return append(append(k, id[:]...), what)
}

// successor returns the smallest key above every key that begins with p, or nil
// when there is none.
func successor(p []byte) []byte {
	if s := appendSuccessor(nil, p); len(s) > 0 {
		return s
	}
	return nil
}

// appendSuccessor appends successor(p), if any, to dst.
func appendSuccessor(dst, p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] != 0xFF {
			dst = append(dst, p[:i+1]...)
			dst[len(dst)-1]++
			return dst
		}
	}
	return dst
}
