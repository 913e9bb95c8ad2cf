package meta

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
)

// encodeBucket returns a bucket's record; its name is in the key.
func encodeBucket(b *Bucket) []byte {
	v := append(make([]byte, 0, 64), recordVersion)
	v = binary.AppendUvarint(v, uint64(b.ID))
	v = binary.AppendUvarint(v, uint64(b.Slot))
	v = binary.AppendUvarint(v, uint64(b.Slots))
	v = appendTime(v, b.Created)
	v = appendBytes(v, b.Owner)
	return appendBytes(v, b.Location)
}

func decodeBucket(v []byte) (b Bucket, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return b, err
	}
	b.ID = BucketID(d.uint())
	slot, slots := d.uint(), d.uint()
	if slot > 0xFFFF || slots > 0xFFFF {
		d.bad = true
	}
	b.Slot, b.Slots = Slot(slot), uint16(slots)
	b.Created = d.time()
	b.Owner = d.str()
	b.Location = d.str()
	if err := d.end("bucket"); err != nil {
		return Bucket{}, err
	}
	return b, nil
}

func encodeDoc(rev int64, value []byte) []byte {
	v := append(make([]byte, 0, len(value)+10), recordVersion)
	return append(appendInt(v, rev), value...)
}

// decodeDoc returns a value that aliases v.
func decodeDoc(v []byte) (rev int64, value []byte, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return 0, nil, err
	}
	rev = d.int()
	value = d.take(len(d.b))
	if rev < 1 {
		d.bad = true
	}
	if err := d.end("document"); err != nil {
		return 0, nil, err
	}
	return rev, value, nil
}

// encodeBackRef returns the record of a blob on drives; id is in the key.
func encodeBackRef(r *BackRef) []byte {
	version := byte(recordVersion)
	room := 48 + len(r.Key)
	if r.Blob.Kind == layout.KindStriped {
		version = stripedVersion
	}
	for i := range r.Blob.Fragments {
		room += 17 + 10*len(r.Blob.Fragments[i].Extents)
	}
	v := append(make([]byte, 0, room), version)
	v = binary.AppendUvarint(v, uint64(r.Bucket))
	v = appendBytes(v, r.Key)
	return appendPlaced(v, &r.Blob, r.Blob.Fragments)
}

func decodeBackRef(v []byte) (r BackRef, err error) {
	d, err := newDecoderTo(v, stripedVersion)
	if err != nil {
		return r, err
	}
	r.Bucket = BucketID(d.uint())
	r.Key = d.str()
	r.Blob = d.placed()
	d.checkBackRef(v[0], &r.Blob)
	if err := d.end("back-reference"); err != nil {
		return BackRef{}, err
	}
	return r, nil
}

// decodePlace decodes only the blob of a back-reference.
func decodePlace(v []byte) (layout.Blob, error) {
	d, err := newDecoderTo(v, stripedVersion)
	if err != nil {
		return layout.Blob{}, err
	}
	d.uint()
	d.raw()
	b := d.placed()
	d.checkBackRef(v[0], &b)
	if err := d.end("back-reference"); err != nil {
		return layout.Blob{}, err
	}
	return b, nil
}

// checkBackRef refuses a version that is not the blob's.
func (d *decoder) checkBackRef(version byte, b *layout.Blob) {
	if (version == stripedVersion) != (b.Kind == layout.KindStriped) {
		d.bad = true
	}
}

// repairRecord is the value of an entry of the repair queue.
type repairRecord struct {
	Bad   uint32 // bit i: fragment i has a place and does not verify
	Since int64  // of the oldest of its reasons
}

func encodeRepair(r *repairRecord) []byte {
	v := append(make([]byte, 0, 14), recordVersion)
	return appendTime(binary.AppendUvarint(v, uint64(r.Bad)), r.Since)
}

func decodeRepair(v []byte) (r repairRecord, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return r, err
	}
	bad := d.uint()
	if bad >= 1<<(layout.MaxData+layout.MaxParity) {
		d.bad = true
	}
	r.Bad, r.Since = uint32(bad), d.time()
	if err := d.end("repair queue"); err != nil {
		return repairRecord{}, err
	}
	return r, nil
}

// What an entry of the delete queue refers to, by the id in its key.
const (
	garbageInline     = 0 // an inline payload
	garbageBlob       = 1 // a blob on drives: its back-reference lists the extents
	garbageCompletion = 2 // the record of a completed upload
	garbageChunks     = 3 // the part list of an object; the id is its version
)

// garbageRecord is the value of an entry of the delete queue.
type garbageRecord struct {
	What   byte // in the key
	Pin    Version
	Size   int64 // payload bytes of an inline blob
	Chunks int64 // chunks of a part list
}

func encodeGarbage(g *garbageRecord) []byte {
	v := append(make([]byte, 0, 32), recordVersion)
	v = append(v, g.Pin[:]...)
	return appendInt(appendInt(v, g.Size), g.Chunks)
}

func decodeGarbage(v []byte) (g garbageRecord, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return g, err
	}
	g.Pin = d.id()
	g.Size = d.int()
	g.Chunks = d.int()
	if g.Chunks > maxPart {
		d.bad = true
	}
	if err := d.end("delete queue"); err != nil {
		return garbageRecord{}, err
	}
	return g, nil
}

// completion says what became of an upload.
type completion struct {
	Bucket  BucketID
	Key     string
	Version Version
	ETag    string
}

func encodeCompletion(c *completion) []byte {
	v := append(make([]byte, 0, 64+len(c.Key)), recordVersion)
	v = binary.AppendUvarint(v, uint64(c.Bucket))
	v = appendBytes(v, c.Key)
	v = append(v, c.Version[:]...)
	return appendETag(v, c.ETag)
}

func decodeCompletion(v []byte) (c completion, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return c, err
	}
	c.Bucket = BucketID(d.uint())
	c.Key = d.str()
	c.Version = d.id()
	c.ETag = d.etag()
	if err := d.end("completion"); err != nil {
		return completion{}, err
	}
	return c, nil
}

// inlineHead returns what is in front of an inline payload: version, XXH3-64 of it.
func inlineHead(payload []byte) []byte {
	v := append(make([]byte, 0, 9), recordVersion)
	return binary.BigEndian.AppendUint64(v, xxh3.Hash(payload))
}

// decodeInline returns a payload that aliases v.
func decodeInline(v []byte) ([]byte, error) {
	d, err := newDecoder(v)
	if err != nil {
		return nil, err
	}
	sum := uint64(d.time())
	payload := d.take(len(d.b))
	if err := d.end("inline payload"); err != nil {
		return nil, err
	}
	if xxh3.Hash(payload) != sum {
		return nil, fmt.Errorf("%w: inline payload checksum", ErrBadRecord)
	}
	return payload, nil
}

// decodeCounter reads a counter: 8 bytes, big-endian, two's complement.
func decodeCounter(v []byte) (int64, error) {
	if len(v) != 8 {
		return 0, fmt.Errorf("%w: counter", ErrBadRecord)
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// garbageOfBlob describes a blob for the delete queue.
func garbageOfBlob(b *layout.Blob, pin Version) garbageRecord {
	if b.Kind == layout.KindInline {
		return garbageRecord{What: garbageInline, Pin: pin, Size: b.Size}
	}
	return garbageRecord{What: garbageBlob, Pin: pin}
}
