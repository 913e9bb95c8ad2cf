package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/sluicehq/sluice/engine/layout"
)

// ownedByObjects goes through the heads.
func (a *Audit) ownedByObjects(ctx context.Context) error {
	return a.scan(ctx, typeHead, nil, func(rest []byte, it Iterator) (bool, error) {
		b, key, err := a.bucket(typeHead, rest)
		if err != nil || b == nil {
			return true, err
		}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		f := Finding{Bucket: b.Name, Key: string(key)}
		o, full, err := decodeObject(v)
		if err != nil {
			return true, a.once(err, FoundBadRecord, f)
		}
		if a.first {
			a.Count.Objects++
			b.objects++
			b.bytes += o.Size
		}
		if !full {
			if o, full, err = a.behind(b, f, &o); err != nil || !full {
				return true, err
			}
		}
		return true, a.ownObject(ctx, b, f, &o)
	})
}

// once is broken for what every pass meets.
func (a *Audit) once(err error, kind FindingKind, f Finding) error {
	if !a.first && isRecordError(err) {
		return nil
	}
	return a.broken(err, kind, f)
}

// tell reports something about contents, in the first pass.
func (a *Audit) tell(kind FindingKind, f Finding, format string, args ...any) error {
	if !a.first {
		return nil
	}
	return a.found(kind, f, format, args...)
}

// behind returns the full record behind a pointer.
func (a *Audit) behind(b *auditBucket, f Finding, head *Object) (o Object, ok bool, err error) {
	v, ok, err := a.get(objectKey(&b.Bucket, f.Key, head.Version))
	if err != nil {
		return o, false, err
	}
	if !ok {
		return o, false, a.tell(FoundHead, f, "no full record of version %x", head.Version)
	}
	o, full, err := decodeObject(v)
	if err != nil {
		return o, false, a.once(err, FoundBadRecord, f)
	}
	if !full {
		return o, false, a.tell(FoundHead, f, "the full record of version %x is a pointer", head.Version)
	}
	if !bytes.Equal(encodePointer(head), encodePointer(&o)) {
		err = a.tell(FoundHead, f, "the head of version %x tells otherwise than its full record", head.Version)
	}
	return o, err == nil, err
}

// ownObject notes what an object names.
func (a *Audit) ownObject(ctx context.Context, b *auditBucket, f Finding, o *Object) error {
	if o.PartCount == 0 {
		return a.ownBlob(b.ID, f, &o.Blob, o.Seal != nil, o.Size)
	}
	if !o.Blob.ID.IsZero() {
		if err := a.tell(FoundPartList, f, "an object of %d parts with a blob of its own", o.PartCount); err != nil {
			return err
		}
	}
	chunks := chunkCount(o.PartCount)
	switch a.tables[typeChunk].own(o.Version, sumSize(int64(chunks))) {
	case ownedMissing:
		return a.found(FoundPartList, f, "no part list")
	case ownedTwice:
		if err := a.found(FoundPartList, f, "the part list of version %x has several owners", o.Version); err != nil {
			return err
		}
	case ownedOther:
		if err := a.found(FoundPartList, f, "the part list has not %d chunks", chunks); err != nil {
			return err
		}
	}
	return a.ownParts(ctx, b, f, o, chunks)
}

// ownParts goes through the part list of an object.
func (a *Audit) ownParts(ctx context.Context, b *auditBucket, f Finding, o *Object, chunks int) error {
	var sum int64
	var parts, number int32
	sizes := make([]int64, 0, chunks)
	for n := range chunks {
		if err := a.tick(ctx); err != nil {
			return err
		}
		c, err := loadChunk(a.Reader, a.Slot, o.Version, n)
		if err != nil {
			return a.once(err, FoundPartList, f)
		}
		if c.Start != sum {
			if err := a.tell(FoundPartList, f, "chunk %d begins at %d, not %d", n, c.Start, sum); err != nil {
				return err
			}
		}
		for i := range c.Parts {
			p := &c.Parts[i]
			if p.Number <= number {
				if err := a.tell(FoundPartList, f, "part %d behind part %d", p.Number, number); err != nil {
					return err
				}
			}
			number, sum = p.Number, sum+p.Size
			if err := a.ownBlob(b.ID, f, &p.Blob, o.Seal != nil, p.Size); err != nil {
				return err
			}
		}
		if n < chunks-1 && len(c.Parts) != chunkParts {
			if err := a.tell(FoundPartList, f, "chunk %d has %d parts", n, len(c.Parts)); err != nil {
				return err
			}
		}
		parts += int32(len(c.Parts))
		sizes = append(sizes, sum-c.Start)
	}
	if !a.first {
		return nil
	}
	a.Count.Parts += int64(parts)
	if parts != o.PartCount || sum != o.Size {
		return a.found(FoundPartList, f, "%d parts of %d bytes, not %d of %d", parts, sum, o.PartCount, o.Size)
	}
	return a.checkIndex(f, o, sizes)
}

// checkIndex checks the index of a part list.
func (a *Audit) checkIndex(f Finding, o *Object, sizes []int64) error {
	v, ok, err := a.get(chunkKey(a.Slot, o.Version, chunkIndex))
	if err != nil {
		return err
	}
	if ok != (len(sizes) > 1) {
		return a.found(FoundPartList, f, "a list of %d chunks, index present: %t", len(sizes), ok)
	}
	if !ok {
		return nil
	}
	got, err := decodeChunkIndex(v)
	if err != nil {
		return a.broken(err, FoundPartList, f)
	}
	if !slices.Equal(got, sizes) {
		return a.found(FoundPartList, f, "the index tells otherwise than the chunks")
	}
	return nil
}

// ownBlob notes that a record names b, for size bytes of a client's.
func (a *Audit) ownBlob(bucket BucketID, f Finding, b *layout.Blob, sealed bool, size int64) error {
	f.Blob = b.ID
	if b.ID.IsZero() {
		if size != 0 {
			return a.tell(FoundSize, f, "%d bytes without data", size)
		}
		return nil
	}
	if want := a.Stored(sealed, size); want != b.Size {
		if err := a.tell(FoundSize, f, "%d bytes are stored in %d, not %d", size, b.Size, want); err != nil {
			return err
		}
	}
	if b.Kind == layout.KindInline {
		switch a.tables[typeInline].own(b.ID, sumSize(b.Size)) {
		case ownedMissing:
			return a.found(FoundInline, f, "the payload is missing")
		case ownedTwice:
			return a.found(FoundSharedBlob, f, "the payload has several owners")
		case ownedOther:
			return a.found(FoundSize, f, "the payload has not %d bytes", b.Size)
		}
		return nil
	}
	switch a.tables[typeBackRef].own(b.ID, sumRef(bucket, f.Key, b)) {
	case ownedMissing:
		return a.found(FoundMissingBlob, f, "no back-reference: where the %d bytes are is not known", b.Size)
	case ownedTwice:
		return a.found(FoundSharedBlob, f, "the blob has several owners")
	case ownedOther:
		return a.otherOwner(bucket, f, b)
	}
	return nil
}

// otherOwner tells how a back-reference differs from what its owner says.
func (a *Audit) otherOwner(bucket BucketID, f Finding, b *layout.Blob) error {
	ref, ok, err := LocateRef(a.Reader, a.Slot, b.ID)
	if err != nil || !ok {
		return a.broken(err, FoundOwner, f)
	}
	if ref.Bucket != bucket || ref.Key != f.Key {
		return a.found(FoundOwner, f, "the back-reference tells of bucket %d, key %q", ref.Bucket, ref.Key)
	}
	return a.found(FoundOwner, f, "the back-reference tells of %s, its owner of %s", describe(&ref.Blob), describe(b))
}

func describe(b *layout.Blob) string {
	return fmt.Sprintf("%d bytes, kind %d, %d+%d, unit %d", b.Size, b.Kind, b.Data, b.Parity, b.Unit)
}

// ownedByUploads goes through the uploads in progress.
func (a *Audit) ownedByUploads(ctx context.Context) error {
	return a.scan(ctx, typeUpload, nil, func(rest []byte, it Iterator) (bool, error) {
		b, rest, err := a.bucket(typeUpload, rest)
		if err != nil || b == nil {
			return true, err
		}
		f := Finding{Bucket: b.Name}
		key, id, ok := cutEscaped(rest)
		if f.Key = key; !ok || len(id) != 16 {
			return true, a.tell(FoundBadRecord, f, "key of an upload")
		}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		up, err := decodeUpload(v)
		if err != nil {
			return true, a.once(err, FoundBadRecord, f)
		}
		if a.first {
			a.Count.Uploads++
		}
		a.tables[typePart].own([16]byte(id), 0) // it may have none
		return true, a.ownUpload(ctx, b, f, [16]byte(id), up.Object.Seal != nil)
	})
}

// ownUpload goes through the parts of an upload.
func (a *Audit) ownUpload(ctx context.Context, b *auditBucket, f Finding, id [16]byte, sealed bool) error {
	return a.scan(ctx, typePart, id[:], func(rest []byte, it Iterator) (bool, error) {
		if !bytes.HasPrefix(rest, id[:]) {
			return false, nil
		}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		p, err := decodePart(v)
		if err != nil {
			return true, a.once(err, FoundBadRecord, f)
		}
		if a.first {
			a.Count.Parts++
		}
		return true, a.ownBlob(b.ID, f, &p.Blob, sealed, p.Size)
	})
}

// ownedByQueue goes through the delete queue.
func (a *Audit) ownedByQueue(ctx context.Context) error {
	return a.scan(ctx, typeGarbage, nil, func(rest []byte, it Iterator) (bool, error) {
		if len(rest) != garbageRest || rest[24] > garbageChunks {
			return true, a.tell(FoundBadRecord, Finding{}, "key in the delete queue")
		}
		id, what := [16]byte(rest[8:24]), rest[24]
		f := Finding{Blob: id}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		g, err := decodeGarbage(v)
		if err != nil {
			return true, a.once(err, FoundBadRecord, f)
		}
		t, sum := byte(typeBackRef), uint64(0)
		switch what {
		case garbageInline:
			t, sum = typeInline, sumSize(g.Size)
		case garbageCompletion:
			t, f.Blob = typeCompletion, layout.BlobID{}
		case garbageChunks:
			t, sum, f.Blob = typeChunk, sumSize(g.Chunks), layout.BlobID{}
		}
		due := binary.BigEndian.Uint64(rest) ^ 1<<63
		switch a.tables[t].own(id, sum) {
		case ownedMissing:
			return true, a.found(FoundDeleteQueue, f, "entry %x, due at %d: there is no record of type %q", id, int64(due), t)
		case ownedTwice:
			return true, a.found(FoundSharedBlob, f, "%x is to be deleted, and has another owner", id)
		case ownedOther:
			return true, a.found(FoundDeleteQueue, f, "entry %x, due at %d: the record of type %q is of another size", id, int64(due), t)
		}
		return true, nil
	})
}
