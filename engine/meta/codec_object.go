package meta

import (
	"encoding/binary"
	"strings"
)

const (
	formFull    = 0 // the whole record
	formPointer = 1 // listing fields; the whole record is at objectKey

	// maxHead is the size up to which the whole record is kept in the head, so
	// that a listing stays dense and most reads need one lookup.
	maxHead = 300
)

// appendListing appends the fields that both forms begin with.
func appendListing(b []byte, version, form byte, o *Object) []byte {
	b = append(b, version, form)
	b = appendInt(b, o.Size)
	b = appendTime(b, o.ModTime)
	b = appendETag(b, o.ETag)
	b = appendBytes(b, o.Owner)
	b = appendBytes(b, o.Class)
	b = appendEnum(b, o.Checksum.Algorithm, algorithmName)
	b = appendEnum(b, o.Checksum.Type, typeName)
	return append(b, o.Version[:]...)
}

func (d *decoder) listing(o *Object) {
	o.Size = d.int()
	o.ModTime = d.time()
	o.ETag = d.etag()
	o.Owner = d.str()
	o.Class = d.str()
	o.Checksum.Algorithm = d.enum(algorithmName)
	o.Checksum.Type = d.enum(typeName)
	o.Version = d.id()
}

// encodeObject returns the full record. The key is not part of it.
func encodeObject(o *Object) []byte {
	version := byte(recordVersion)
	if o.Seal != nil {
		version = sealedVersion
	}
	b := appendListing(make([]byte, 0, 256), version, formFull, o)
	b = appendBytes(b, o.Checksum.Value)
	b = appendHeaders(b, o.Headers)
	b = appendHeaders(b, o.Metadata)
	b = appendHeaders(b, o.Tags)
	b = appendInt(b, int64(o.PartCount))
	b = appendBlob(b, &o.Blob)
	if o.Seal != nil {
		b = appendSeal(b, o.Seal)
	}
	return b
}

// encodePointer returns the short record of a head whose object is elsewhere.
func encodePointer(o *Object) []byte {
	return appendListing(make([]byte, 0, 128), recordVersion, formPointer, o)
}

// decodeObject decodes either form; full tells which one it was.
func decodeObject(v []byte) (o Object, full bool, err error) {
	d, err := newDecoderTo(v, sealedVersion)
	if err != nil {
		return o, false, err
	}
	sealed := v[0] == sealedVersion
	form := d.u8()
	d.listing(&o)
	switch form {
	case formPointer:
		d.bad = d.bad || sealed
	case formFull:
		o.Checksum.Value = d.bytes()
		o.Headers = d.headers()
		o.Metadata = d.headers()
		o.Tags = d.headers()
		n := d.int()
		if n > maxPart {
			d.bad = true
		}
		o.PartCount = int32(n)
		o.Blob = d.blob()
		if sealed {
			o.Seal = d.seal()
		}
	default:
		d.bad = true
	}
	if err := d.end("object"); err != nil {
		return Object{}, false, err
	}
	return o, form == formFull, nil
}

// decodeListing decodes into it, which is zero but for Key, what a listing returns.
// Owner and class of prev are shared when equal: nearly all keys of a bucket have the
// same ones. Other texts are put into t.
func decodeListing(v []byte, it, prev *ListItem, t *texts) error {
	d, err := newDecoderTo(v, sealedVersion)
	if err != nil {
		return err
	}
	if d.u8() > formPointer {
		d.bad = true
	}
	it.Size = d.int()
	it.ModTime = d.time()
	var hex [maxHexETag]byte
	it.ETag = t.put(d.appendETag(hex[:0]))
	it.Owner = t.share(d.raw(), prev.Owner)
	it.Class = t.share(d.raw(), prev.Class)
	it.Checksum.Algorithm = d.enum(algorithmName)
	it.Checksum.Type = d.enum(typeName)
	if d.bad {
		d.b = nil
		return d.end("object")
	}
	return nil
}

// textChunk is the size of the pieces of memory that texts takes, in bytes.
const textChunk = 16 << 10

// texts makes the strings of a page, many to an allocation.
type texts struct{ chunk *strings.Builder }

func (t *texts) put(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if t.chunk == nil || t.chunk.Cap()-t.chunk.Len() < len(b) {
		size := textChunk
		if t.chunk == nil {
			size /= 16 // most pages of those who look one name up are short
		}
		t.chunk = new(strings.Builder)
		t.chunk.Grow(max(size, len(b)))
	}
	at := t.chunk.Len()
	t.chunk.Write(b) // does not move what is there
	return t.chunk.String()[at:]
}

func (t *texts) share(b []byte, s string) string {
	if string(b) == s {
		return s
	}
	return t.put(b)
}

func appendPart(b []byte, p *Part) []byte {
	b = appendInt(b, p.Size)
	b = appendTime(b, p.ModTime)
	b = appendETag(b, p.ETag)
	b = appendChecksum(b, p.Checksum)
	return appendBlob(b, &p.Blob)
}

func (d *decoder) part(p *Part) {
	p.Size = d.int()
	p.ModTime = d.time()
	p.ETag = d.etag()
	p.Checksum = d.checksum()
	p.Blob = d.blob()
}

// encodePart returns the record of an upload's part; its number is in the key.
func encodePart(p *Part) []byte {
	return appendPart(append(make([]byte, 0, 128), recordVersion), p)
}

func decodePart(v []byte) (p Part, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return p, err
	}
	d.part(&p)
	if err := d.end("part"); err != nil {
		return Part{}, err
	}
	return p, nil
}

// encodeUpload returns an upload's record; bucket, key and id are in the key.
func encodeUpload(u *Upload) []byte {
	b := append(make([]byte, 0, 256), recordVersion)
	b = appendTime(b, u.Initiated)
	b = appendBytes(b, u.Initiator)
	return appendBytes(b, encodeObject(&u.Object))
}

func decodeUpload(v []byte) (u Upload, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return u, err
	}
	u.Initiated = d.time()
	u.Initiator = d.str()
	obj := d.raw()
	if err := d.end("upload"); err != nil {
		return Upload{}, err
	}
	if u.Object, _, err = decodeObject(obj); err != nil {
		return Upload{}, err
	}
	return u, nil
}

// chunk is one piece of a completed object's part list.
type chunk struct {
	Start int64 // offset of the first part in the object
	Parts []Part
}

func encodeChunk(c *chunk) []byte {
	b := append(make([]byte, 0, 16+96*len(c.Parts)), recordVersion)
	b = appendInt(b, c.Start)
	b = binary.AppendUvarint(b, uint64(len(c.Parts)))
	for i := range c.Parts {
		b = appendInt(b, int64(c.Parts[i].Number))
		b = appendPart(b, &c.Parts[i])
	}
	return b
}

// minPartSize is the size of the smallest part within a chunk: number, size,
// time, ETag, checksum of three, blob.
const minPartSize = 1 + 1 + 8 + 1 + 3 + 1

func decodeChunk(v []byte) (c chunk, err error) {
	d, err := newDecoder(v)
	if err != nil {
		return c, err
	}
	c.Start = d.int()
	n := d.count(minPartSize)
	if n > chunkParts {
		d.bad, n = true, 0
	}
	c.Parts = make([]Part, n)
	for i := range c.Parts {
		number := d.int()
		if number < 1 || number > maxPart {
			d.bad = true
		}
		c.Parts[i].Number = int32(number)
		d.part(&c.Parts[i])
	}
	if err := d.end("part list"); err != nil {
		return chunk{}, err
	}
	return c, nil
}

// encodeChunkIndex records the payload bytes of each chunk.
func encodeChunkIndex(sizes []int64) []byte {
	b := append(make([]byte, 0, 8+6*len(sizes)), recordVersion)
	b = binary.AppendUvarint(b, uint64(len(sizes)))
	for _, n := range sizes {
		b = appendInt(b, n)
	}
	return b
}

func decodeChunkIndex(v []byte) ([]int64, error) {
	d, err := newDecoder(v)
	if err != nil {
		return nil, err
	}
	sizes := make([]int64, d.count(1))
	for i := range sizes {
		sizes[i] = d.int()
	}
	if err := d.end("part list index"); err != nil {
		return nil, err
	}
	return sizes, nil
}
