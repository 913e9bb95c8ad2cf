package meta

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
)

func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: key of %d bytes", ErrInvalid, len(key))
	}
	return nil
}

// checkBlob checks that a blob and its inline payload belong together. The zero
// blob stands for an empty payload that needs no record at all.
func checkBlob(b *layout.Blob, inline []byte) error {
	switch {
	case b.ID.IsZero():
		if b.Size != 0 || len(inline) != 0 || len(b.Fragments) != 0 {
			return fmt.Errorf("%w: blob without id", ErrInvalid)
		}
	case b.Kind == layout.KindInline:
		if b.Size != int64(len(inline)) || len(b.Fragments) != 0 {
			return fmt.Errorf("%w: inline blob of %d bytes with payload of %d", ErrInvalid, b.Size, len(inline))
		}
	case b.Kind == layout.KindSingle:
		if b.Size < 0 || len(b.Fragments) != 1 || len(inline) != 0 {
			return fmt.Errorf("%w: blob of %d bytes in %d fragments", ErrInvalid, b.Size, len(b.Fragments))
		}
		return soundExtents(b.Fragments[0].Extents)
	case b.Kind == layout.KindStriped:
		if !soundGeometry(b) || len(b.Fragments) != int(b.Data)+int(b.Parity) || len(inline) != 0 {
			return fmt.Errorf("%w: blob of %d bytes in %d+%d fragments, unit %d", ErrInvalid, b.Size, b.Data, b.Parity, b.Unit)
		}
		if n := b.Missing(); n > int(b.Parity) {
			return fmt.Errorf("%w: %d fragments of %d+%d are missing", ErrInvalid, n, b.Data, b.Parity)
		}
		return soundPlaces(b)
	default:
		return fmt.Errorf("%w: blob kind %d", ErrInvalid, b.Kind)
	}
	return nil
}

// current is what a command found at a key.
type current struct {
	Object
	exists bool
	full   bool   // the head holds the whole record
	head   []byte // the head's key
}

// loadCurrent reads the current version within a command.
func loadCurrent(r Reader, b *Bucket, key string) (cur current, err error) {
	cur.head = headKey(b, key)
	v, ok, err := r.Get(cur.head)
	if err != nil || !ok {
		return cur, err
	}
	if cur.Object, cur.full, err = decodeObject(v); err != nil {
		return cur, err
	}
	if !cur.full {
		v, ok, err = r.Get(objectKey(b, key, cur.Version))
		if err != nil {
			return cur, err
		}
		if !ok {
			return cur, fmt.Errorf("%w: head without object", ErrBadRecord)
		}
		full := false
		if cur.Object, full, err = decodeObject(v); err != nil {
			return cur, err
		}
		if !full {
			return cur, fmt.Errorf("%w: object record is a pointer", ErrBadRecord)
		}
	}
	cur.Key, cur.exists = key, true
	return cur, nil
}

func trimQuotes(etag string) string {
	if len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"' {
		return etag[1 : len(etag)-1]
	}
	return etag
}

func anyETag(list []string, etag string) bool {
	for _, e := range list {
		if e == "*" || trimQuotes(e) == etag {
			return true
		}
	}
	return false
}

// check evaluates the condition in the order of RFC 9110, section 13.2.2.
func (c *Condition) check(cur *current) error {
	if len(c.IfMatch) > 0 {
		if !cur.exists {
			return ErrNoObject
		}
		if !anyETag(c.IfMatch, cur.ETag) {
			return ErrPrecondition
		}
	}
	if cur.exists && (c.IfNoneMatchAny || anyETag(c.IfNoneMatch, cur.ETag)) {
		return ErrPrecondition
	}
	return nil
}

// doomed is one entry to be put on the delete queue.
type doomed struct {
	id  [16]byte
	rec garbageRecord
}

func doomedBlob(blob *layout.Blob, pin Version) []doomed {
	if blob.ID.IsZero() {
		return nil
	}
	return []doomed{{blob.ID, garbageOfBlob(blob, pin)}}
}

// dataOf lists what an object's data consists of. The part list goes through
// the delete queue too: a reader that holds the record may still load it.
func dataOf(r Reader, b *Bucket, o *Object) ([]doomed, error) {
	if o.PartCount == 0 {
		return doomedBlob(&o.Blob, o.Version), nil
	}
	parts, _, err := LoadParts(r, b, o, 0, -1)
	if err != nil {
		return nil, err
	}
	list := make([]doomed, 0, len(parts)+1)
	for i := range parts {
		list = append(list, doomedBlob(&parts[i].Blob, o.Version)...)
	}
	rec := garbageRecord{What: garbageChunks, Pin: o.Version, Chunks: int64(chunkCount(o.PartCount))}
	return append(list, doomed{o.Version, rec}), nil
}

func enqueue(tx Tx, s Slot, due int64, list []doomed) {
	for i := range list {
		tx.Put(garbageKey(s, due, list[i].id, list[i].rec.What), encodeGarbage(&list[i].rec))
	}
}

// putBlob writes what makes a blob known: its payload or its back-reference, and
// queues it for repair when a fragment is missing from the start.
func putBlob(tx Tx, b *Bucket, key string, blob *layout.Blob, inline []byte, now int64) {
	switch {
	case blob.ID.IsZero():
	case blob.Kind == layout.KindInline:
		tx.PutParts(idKey(b.Slot, typeInline, blob.ID), inlineHead(inline), inline)
	default:
		tx.Put(idKey(b.Slot, typeBackRef, blob.ID), encodeBackRef(&BackRef{Blob: *blob, Bucket: b.ID, Key: key}))
		if blob.Missing() > 0 {
			tx.Put(idKey(b.Slot, typeRepair, blob.ID), encodeRepair(&repairRecord{Since: now}))
		}
	}
}

// replace makes o the current version in place of cur, whose data is old.
func replace(tx Tx, b *Bucket, cur *current, old []doomed, o *Object, due int64) {
	if cur.exists && !cur.full {
		tx.Delete(objectKey(b, cur.Key, cur.Version))
	}
	enqueue(tx, b.Slot, due, old)
	if full := encodeObject(o); len(full) <= maxHead {
		tx.Put(cur.head, full)
	} else {
		tx.Put(objectKey(b, o.Key, o.Version), full)
		tx.Put(cur.head, encodePointer(o))
	}
	count, size := int64(1), o.Size
	if cur.exists {
		count, size = 0, size-cur.Size
	}
	addCounters(tx, b, count, size)
}

func addCounters(tx Tx, b *Bucket, objects, bytes int64) {
	if objects != 0 {
		tx.AddCounter(counterKey(b, counterObjects), objects)
	}
	if bytes != 0 {
		tx.AddCounter(counterKey(b, counterBytes), bytes)
	}
}

// Apply implements Command.
func (c *PutObject) Apply(tx Tx) error {
	c.Queued = false
	o := &c.Object
	if err := checkKey(o.Key); err != nil {
		return err
	}
	if err := checkBlob(&o.Blob, c.Inline); err != nil {
		return err
	}
	if o.Size < 0 || o.PartCount != 0 {
		return fmt.Errorf("%w: object of %d bytes in %d parts", ErrInvalid, o.Size, o.PartCount)
	}
	if o.Seal != nil && !o.Seal.valid() {
		return fmt.Errorf("%w: seal", ErrInvalid)
	}
	if err := requireBucket(tx, &c.Bucket); err != nil {
		return err
	}
	cur, err := loadCurrent(tx, &c.Bucket, o.Key)
	if err != nil {
		return err
	}
	if cur.exists && cur.Version == o.Version && cur.Blob.ID == o.Blob.ID {
		return nil // applied before; queueing the "old" blob would destroy the new
	}
	if err := c.If.check(&cur); err != nil {
		return err
	}
	var old []doomed
	if cur.exists {
		if old, err = dataOf(tx, &c.Bucket, &cur.Object); err != nil {
			return err
		}
	}
	replace(tx, &c.Bucket, &cur, old, o, c.Due)
	c.Queued = len(old) > 0
	putBlob(tx, &c.Bucket, o.Key, &o.Blob, c.Inline, o.ModTime)
	return nil
}

// Apply implements Command.
func (c *DeleteObject) Apply(tx Tx) error {
	c.Existed = false
	if err := checkKey(c.Key); err != nil {
		return err
	}
	if err := requireBucket(tx, &c.Bucket); err != nil {
		return err
	}
	cur, err := loadCurrent(tx, &c.Bucket, c.Key)
	if err != nil {
		return err
	}
	if err := c.If.check(&cur); err != nil {
		return err
	}
	if !cur.exists {
		return nil
	}
	if c.IfSize >= 0 && c.IfSize != cur.Size {
		return ErrPrecondition
	}
	if c.IfMTime != 0 && floorSecond(c.IfMTime) != floorSecond(cur.ModTime) {
		return ErrPrecondition
	}
	old, err := dataOf(tx, &c.Bucket, &cur.Object)
	if err != nil {
		return err
	}
	tx.Delete(cur.head)
	if !cur.full {
		tx.Delete(objectKey(&c.Bucket, c.Key, cur.Version))
	}
	enqueue(tx, c.Bucket.Slot, c.Due, old)
	addCounters(tx, &c.Bucket, -1, -cur.Size)
	c.Existed = true
	return nil
}

func floorSecond(ns int64) int64 { return time.Unix(0, ns).Unix() }

// equalFoldETag compares ETags as clients write them.
func equalFoldETag(a, b string) bool {
	return strings.EqualFold(trimQuotes(a), trimQuotes(b))
}
