package meta

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"time"
)

// completionLife is how long a completed upload answers a repeated completion.
const completionLife = int64(24 * time.Hour)

// noUpload tells a missing upload from a missing bucket.
func noUpload(r Reader, b *Bucket) error {
	if err := requireBucket(r, b); err != nil {
		return err
	}
	return ErrNoUpload
}

// Apply implements Command.
func (c *CreateUpload) Apply(tx Tx) error {
	u := &c.Upload
	if err := checkKey(u.Key); err != nil {
		return err
	}
	if s := u.Object.Seal; s != nil && !s.valid() {
		return fmt.Errorf("%w: seal", ErrInvalid)
	}
	if err := requireBucket(tx, &c.Bucket); err != nil {
		return err
	}
	key := uploadKey(&c.Bucket, u.Key, u.ID)
	_, ok, err := tx.Get(key)
	if err != nil || ok { // begun before: leave it, it may have parts
		return err
	}
	u.Bucket = c.Bucket.ID
	tx.Put(key, encodeUpload(u))
	return nil
}

// Apply implements Command.
func (c *PutPart) Apply(tx Tx) error {
	c.Queued = false
	p := &c.Part
	if err := checkKey(c.Key); err != nil {
		return err
	}
	if p.Number < 1 || p.Number > maxPart || p.Size < 0 {
		return fmt.Errorf("%w: part %d of %d bytes", ErrInvalid, p.Number, p.Size)
	}
	if err := checkBlob(&p.Blob, c.Inline); err != nil {
		return err
	}
	_, ok, err := tx.Get(uploadKey(&c.Bucket, c.Key, c.UploadID))
	if err != nil {
		return err
	}
	if !ok {
		return noUpload(tx, &c.Bucket)
	}
	key := partKey(c.Bucket.Slot, c.UploadID, p.Number)
	v, ok, err := tx.Get(key)
	if err != nil {
		return err
	}
	var old []doomed
	if ok {
		prev, err := decodePart(v)
		if err != nil {
			return err
		}
		if !p.Blob.ID.IsZero() && prev.Blob.ID == p.Blob.ID {
			return nil // applied before
		}
		old = doomedBlob(&prev.Blob, Version{})
	}
	tx.Put(key, encodePart(p))
	putBlob(tx, &c.Bucket, c.Key, &p.Blob, c.Inline, p.ModTime)
	enqueue(tx, c.Bucket.Slot, c.Due, old)
	c.Queued = len(old) > 0
	return nil
}

// partsOf reads all parts of an upload in order.
func partsOf(r Reader, s Slot, id [16]byte) ([]Part, error) {
	parts, _, err := listParts(r, s, id, 0, maxPart)
	return parts, err
}

// Apply implements Command.
func (c *AbortUpload) Apply(tx Tx) error {
	key := uploadKey(&c.Bucket, c.Key, c.UploadID)
	_, ok, err := tx.Get(key)
	if err != nil {
		return err
	}
	if !ok {
		return noUpload(tx, &c.Bucket)
	}
	parts, err := partsOf(tx, c.Bucket.Slot, c.UploadID)
	if err != nil {
		return err
	}
	tx.Delete(key)
	for i := range parts {
		tx.Delete(partKey(c.Bucket.Slot, c.UploadID, parts[i].Number))
		enqueue(tx, c.Bucket.Slot, c.Due, doomedBlob(&parts[i].Blob, Version{}))
	}
	return nil
}

// choose checks the parts named against those stored, and returns the chosen
// ones in order and the others.
func (c *CompleteUpload) choose(stored []Part) (chosen, rest []Part, err error) {
	if len(c.Parts) == 0 || len(c.Parts) > maxPart {
		return nil, nil, ErrInvalidPart
	}
	for i := 1; i < len(c.Parts); i++ {
		if c.Parts[i].Number <= c.Parts[i-1].Number {
			return nil, nil, ErrPartOrder
		}
	}
	chosen = make([]Part, 0, len(c.Parts))
	for _, ref := range c.Parts {
		for len(stored) > 0 && stored[0].Number < ref.Number {
			rest, stored = append(rest, stored[0]), stored[1:]
		}
		if len(stored) == 0 || stored[0].Number != ref.Number || !ref.matches(&stored[0]) {
			return nil, nil, fmt.Errorf("%w: part %d", ErrInvalidPart, ref.Number)
		}
		chosen, stored = append(chosen, stored[0]), stored[1:]
	}
	for i := range chosen[:len(chosen)-1] {
		if chosen[i].Size < c.MinPart {
			return nil, nil, fmt.Errorf("%w: part %d", ErrPartTooSmall, chosen[i].Number)
		}
	}
	return chosen, append(rest, stored...), nil
}

func (ref *PartRef) matches(p *Part) bool {
	if !equalFoldETag(ref.ETag, p.ETag) {
		return false
	}
	if len(ref.Checksum.Value) == 0 {
		return true
	}
	if ref.Checksum.Algorithm != "" && ref.Checksum.Algorithm != p.Checksum.Algorithm {
		return false
	}
	return bytes.Equal(ref.Checksum.Value, p.Checksum.Value)
}

// repeated answers the completion of an upload that is gone: with the object it
// became, as long as that is current.
func (c *CompleteUpload) repeated(tx Tx) error {
	v, ok, err := tx.Get(idKey(c.Bucket.Slot, typeCompletion, c.UploadID))
	if err != nil {
		return err
	}
	if !ok {
		return noUpload(tx, &c.Bucket)
	}
	done, err := decodeCompletion(v)
	if err != nil {
		return err
	}
	if done.Bucket != c.Bucket.ID || done.Key != c.Key {
		return ErrNoUpload
	}
	cur, err := loadCurrent(tx, &c.Bucket, c.Key)
	if err != nil {
		return err
	}
	if !cur.exists || cur.Version != done.Version {
		return noUpload(tx, &c.Bucket)
	}
	c.Result = cur.Object
	return nil
}

// seal builds the object from the chosen parts.
func (c *CompleteUpload) seal(up *Upload, chosen []Part) (Object, error) {
	o := up.Object
	o.Key, o.Version, o.ModTime = c.Key, c.Version, c.ModTime
	o.PartCount = int32(len(chosen))
	o.Size = 0
	for i := range chosen {
		if o.Size += chosen[i].Size; o.Size < 0 {
			return o, fmt.Errorf("%w: size of the parts", ErrInvalid)
		}
	}
	if c.Size >= 0 && c.Size != o.Size {
		return o, ErrConflict
	}
	if c.Seal == nil {
		return o, fmt.Errorf("%w: no Seal", ErrInvalid)
	}
	var err error
	o.ETag, o.Checksum, err = c.Seal(up, chosen)
	return o, err
}

// Apply implements Command.
func (c *CompleteUpload) Apply(tx Tx) error {
	c.Result = Object{}
	if err := checkKey(c.Key); err != nil {
		return err
	}
	b := &c.Bucket
	v, ok, err := tx.Get(uploadKey(b, c.Key, c.UploadID))
	if err != nil {
		return err
	}
	if !ok {
		return c.repeated(tx)
	}
	up, err := decodeUpload(v)
	if err != nil {
		return err
	}
	up.ID, up.Bucket, up.Key = c.UploadID, b.ID, c.Key
	stored, err := partsOf(tx, b.Slot, c.UploadID)
	if err != nil {
		return err
	}
	chosen, rest, err := c.choose(stored)
	if err != nil {
		return err
	}
	cur, err := loadCurrent(tx, b, c.Key)
	if err != nil {
		return err
	}
	if err := c.If.check(&cur); err != nil {
		return err
	}
	if cur.exists && cur.Version == c.Version {
		return fmt.Errorf("%w: version in use", ErrInvalid)
	}
	var old []doomed
	if cur.exists {
		if old, err = dataOf(tx, b, &cur.Object); err != nil {
			return err
		}
	}
	o, err := c.seal(&up, slices.Clone(chosen))
	if err != nil {
		return err
	}
	c.write(tx, &cur, old, &o, chosen, stored, rest)
	c.Result = o
	return nil
}

// write makes the checked completion so.
func (c *CompleteUpload) write(tx Tx, cur *current, old []doomed, o *Object, chosen, stored, rest []Part) {
	b := &c.Bucket
	tx.Delete(uploadKey(b, c.Key, c.UploadID))
	for i := range stored {
		tx.Delete(partKey(b.Slot, c.UploadID, stored[i].Number))
	}
	for i := range rest {
		enqueue(tx, b.Slot, c.Due, doomedBlob(&rest[i].Blob, Version{}))
	}
	putChunks(tx, b.Slot, c.Version, chosen)
	replace(tx, b, cur, old, o, c.Due)
	done := completion{Bucket: b.ID, Key: c.Key, Version: c.Version, ETag: o.ETag}
	tx.Put(idKey(b.Slot, typeCompletion, c.UploadID), encodeCompletion(&done))
	enqueue(tx, b.Slot, c.ModTime+completionLife, []doomed{{c.UploadID, garbageRecord{What: garbageCompletion}}})
}

func chunkCount(parts int32) int { return (int(parts) + chunkParts - 1) / chunkParts }

// putChunks writes an object's part list, with an index when it has several
// chunks.
func putChunks(tx Tx, s Slot, v Version, parts []Part) {
	var start int64
	var sizes []int64
	for n := 0; len(parts) > 0; n++ {
		k := min(chunkParts, len(parts))
		tx.Put(chunkKey(s, v, uint32(n)), encodeChunk(&chunk{Start: start, Parts: parts[:k]}))
		var size int64
		for i := range parts[:k] {
			size += parts[i].Size
		}
		sizes = append(sizes, size)
		start += size
		parts = parts[k:]
	}
	if len(sizes) > 1 {
		tx.Put(chunkKey(s, v, chunkIndex), encodeChunkIndex(sizes))
	}
}

// listParts reads up to limit parts with numbers above after.
func listParts(r Reader, s Slot, id [16]byte, after int32, limit int) (parts []Part, truncated bool, err error) {
	prefix := idKey(s, typePart, id)
	lo := partKey(s, id, min(max(after, 0), maxPart)+1)
	it := r.Iter(lo, successor(prefix))
	defer func() {
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}()
	for it.Next() {
		if len(parts) >= limit {
			return parts, true, nil
		}
		v, err := it.Value()
		if err != nil {
			return nil, false, err
		}
		p, err := decodePart(v)
		if err != nil {
			return nil, false, err
		}
		key := it.Key()
		if len(key) != len(lo) {
			return nil, false, fmt.Errorf("%w: part key", ErrBadRecord)
		}
		p.Number = int32(binary.BigEndian.Uint16(key[len(key)-2:]))
		parts = append(parts, p)
	}
	return parts, false, it.Err()
}
