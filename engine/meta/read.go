package meta

import (
	"errors"
	"fmt"
	"sort"

	"github.com/sluicehq/sluice/engine/layout"
)

// GetBucket reads a bucket by name. ErrNoBucket.
func GetBucket(r Reader, name string) (Bucket, error) {
	v, ok, err := r.Get(bucketNameKey(name))
	if err != nil {
		return Bucket{}, err
	}
	if !ok {
		return Bucket{}, ErrNoBucket
	}
	return readBucket(r, name, v)
}

func readBucket(r Reader, name string, v []byte) (Bucket, error) {
	b, err := decodeBucket(v)
	if err != nil {
		return Bucket{}, err
	}
	b.Name = name
	if b.Objects, err = counter(r, counterKey(&b, counterObjects)); err != nil {
		return Bucket{}, err
	}
	b.Bytes, err = counter(r, counterKey(&b, counterBytes))
	return b, err
}

func counter(r Reader, key []byte) (int64, error) {
	v, ok, err := r.Get(key)
	if err != nil || !ok {
		return 0, err
	}
	return decodeCounter(v)
}

// closing closes it and keeps the first error.
func closing(it Iterator, err *error) {
	if cerr := it.Close(); *err == nil {
		*err = cerr
	}
}

// ListBuckets calls fn for each bucket in order of name, from the first name
// greater than after, until fn returns false.
func ListBuckets(r Reader, after string, fn func(Bucket) bool) (err error) {
	prefix := bucketNameKey("")
	lo := prefix
	if after != "" {
		lo = append(bucketNameKey(after), 0)
	}
	it := r.Iter(lo, successor(prefix))
	defer closing(it, &err)
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		b, err := readBucket(r, string(it.Key()[len(prefix):]), v)
		if err != nil {
			return err
		}
		if !fn(b) {
			return nil
		}
	}
	return it.Err()
}

// GetObject reads the current version of key. ErrNoObject.
func GetObject(r Reader, b *Bucket, key string) (Object, error) {
	var cur current
	var err error
	// On a live store the object may be replaced between the two lookups of a
	// long record; looking again finds its successor.
	for range 8 {
		if cur, err = loadCurrent(r, b, key); !errors.Is(err, ErrBadRecord) {
			break
		}
	}
	if err != nil {
		return Object{}, err
	}
	if !cur.exists {
		return Object{}, ErrNoObject
	}
	return cur.Object, nil
}

// Inline reads the payload of a KindInline blob and verifies its checksum. The
// zero id has the empty payload.
func Inline(r Reader, s Slot, id layout.BlobID) ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	v, ok, err := r.Get(idKey(s, typeInline, id))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: inline payload missing", ErrBadRecord)
	}
	return decodeInline(v)
}

func loadChunk(r Reader, s Slot, v Version, n int) (chunk, error) {
	raw, ok, err := r.Get(chunkKey(s, v, uint32(n)))
	if err != nil {
		return chunk{}, err
	}
	if !ok {
		return chunk{}, fmt.Errorf("%w: part list incomplete", ErrBadRecord)
	}
	return decodeChunk(raw)
}

// firstChunk returns the number of the chunk in which payload byte off lies.
func firstChunk(r Reader, b *Bucket, o *Object, off int64) (int, error) {
	if off <= 0 || o.PartCount <= chunkParts {
		return 0, nil
	}
	raw, ok, err := r.Get(chunkKey(b.Slot, o.Version, chunkIndex))
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("%w: part list index missing", ErrBadRecord)
	}
	sizes, err := decodeChunkIndex(raw)
	if err != nil {
		return 0, err
	}
	if len(sizes) != chunkCount(o.PartCount) {
		return 0, fmt.Errorf("%w: part list index of %d chunks", ErrBadRecord, len(sizes))
	}
	var end int64
	return sort.Search(len(sizes)-1, func(i int) bool {
		end = 0 // at most 157 chunks: summing is cheaper than storing sums
		for _, n := range sizes[:i+1] {
			end += n
		}
		return end > off
	}), nil
}

// LoadParts reads the parts of a completed object that overlap payload bytes
// [off, off+n), with the object offset at which the first of them begins. n < 0:
// to the end. It reads only the pieces of the part list that it needs.
func LoadParts(r Reader, b *Bucket, o *Object, off, n int64) (parts []Part, start int64, err error) {
	end := o.Size
	if n >= 0 && n < end-off {
		end = off + n
	}
	if off < 0 || off > o.Size || n == 0 {
		return nil, off, nil
	}
	c, err := firstChunk(r, b, o, off)
	if err != nil {
		return nil, 0, err
	}
	for ; c < chunkCount(o.PartCount); c++ {
		ch, err := loadChunk(r, b.Slot, o.Version, c)
		if err != nil {
			return nil, 0, err
		}
		pos := ch.Start
		for _, p := range ch.Parts {
			if pos >= end && n >= 0 {
				return parts, start, nil
			}
			if pos+p.Size > off || pos >= off && p.Size == 0 {
				if len(parts) == 0 {
					start = pos
				}
				parts = append(parts, p)
			}
			pos += p.Size
		}
		if pos < ch.Start || len(ch.Parts) == 0 {
			return nil, 0, fmt.Errorf("%w: part list", ErrBadRecord)
		}
		if pos >= end && n >= 0 {
			break
		}
	}
	return parts, start, nil
}

// LoadPart reads one part of a completed object by its position 1…PartCount
// (S3's partNumber read) and its offset in the object. ErrInvalidPart.
func LoadPart(r Reader, b *Bucket, o *Object, number int32) (p Part, start int64, err error) {
	if number < 1 || number > o.PartCount {
		return Part{}, 0, ErrInvalidPart
	}
	n := int(number - 1)
	ch, err := loadChunk(r, b.Slot, o.Version, n/chunkParts)
	if err != nil {
		return Part{}, 0, err
	}
	if n %= chunkParts; n >= len(ch.Parts) {
		return Part{}, 0, fmt.Errorf("%w: part list too short", ErrBadRecord)
	}
	start = ch.Start
	for i := range ch.Parts[:n] {
		start += ch.Parts[i].Size
	}
	return ch.Parts[n], start, nil
}

// GetUpload reads an upload. ErrNoUpload.
func GetUpload(r Reader, b *Bucket, key string, id [16]byte) (Upload, error) {
	v, ok, err := r.Get(uploadKey(b, key, id))
	if err != nil {
		return Upload{}, err
	}
	if !ok {
		return Upload{}, ErrNoUpload
	}
	return readUpload(b, key, id, v)
}

func readUpload(b *Bucket, key string, id [16]byte, v []byte) (Upload, error) {
	u, err := decodeUpload(v)
	if err != nil {
		return Upload{}, err
	}
	u.ID, u.Bucket, u.Key, u.Object.Key = id, b.ID, key, key
	return u, nil
}

// ListParts reads up to max parts of an upload with numbers above after.
func ListParts(r Reader, b *Bucket, id [16]byte, after int32, max int) (parts []Part, truncated bool, err error) {
	if max <= 0 {
		return nil, false, nil
	}
	return listParts(r, b.Slot, id, after, max)
}

// Doc is a configuration document.
type Doc struct {
	Path  string
	Value []byte
	Rev   int64
}

// GetDoc reads a document of the cluster (bucket 0, slot 0) or of a bucket.
// ErrNoDoc.
func GetDoc(r Reader, s Slot, b BucketID, path string) (Doc, error) {
	v, ok, err := r.Get(docKey(s, b, path))
	if err != nil {
		return Doc{}, err
	}
	if !ok {
		return Doc{}, ErrNoDoc
	}
	rev, value, err := decodeDoc(v)
	if err != nil {
		return Doc{}, err
	}
	return Doc{Path: path, Value: value, Rev: rev}, nil
}

// ListDocs calls fn for each document whose path begins with prefix, in order,
// until fn returns false.
func ListDocs(r Reader, s Slot, b BucketID, prefix string, fn func(Doc) bool) (err error) {
	base := len(docKey(s, b, ""))
	lo := docKey(s, b, prefix)
	it := r.Iter(lo, successor(lo))
	defer closing(it, &err)
	for it.Next() {
		v, err := it.Value()
		if err != nil {
			return err
		}
		rev, value, err := decodeDoc(v)
		if err != nil {
			return err
		}
		d := Doc{Path: string(it.Key()[base:]), Value: append([]byte(nil), value...), Rev: rev}
		if !fn(d) {
			return nil
		}
	}
	return it.Err()
}
