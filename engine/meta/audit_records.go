package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// cutBucket cuts the bucket id off what follows a key's type.
func cutBucket(rest []byte) (BucketID, []byte, bool) {
	if len(rest) < 8 {
		return 0, rest, false
	}
	return BucketID(binary.BigEndian.Uint64(rest)), rest[8:], true
}

// auditBuckets goes through the buckets' records, in slot 0.
func (a *Audit) auditBuckets(ctx context.Context) error {
	var last uint64
	v, ok, err := a.get(bucketSeqKey())
	if err != nil {
		return err
	}
	if ok && len(v) == 8 {
		last = binary.BigEndian.Uint64(v)
	} else if ok {
		if err := a.found(FoundBadRecord, Finding{}, "the last bucket id"); err != nil {
			return err
		}
	}
	if v, ok, err = a.get(AppliedKey()); err != nil {
		return err
	} else if ok && len(v) != 8 {
		if err := a.found(FoundBadRecord, Finding{}, "the applied index"); err != nil {
			return err
		}
	}
	return a.scan(ctx, typeBucketName, nil, func(rest []byte, it Iterator) (bool, error) {
		a.Count.Buckets++
		f := Finding{Bucket: string(rest)}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		b, err := decodeBucket(v)
		if err != nil {
			return true, a.broken(err, FoundBadRecord, f)
		}
		if b.ID == 0 || uint64(b.ID) > last || b.Slot == 0 || b.Slots != 1 || len(rest) == 0 || len(rest) > maxName {
			return true, a.found(FoundBucket, f, "id %d of %d, slot %d, %d slots", b.ID, last, b.Slot, b.Slots)
		}
		v, ok, err := a.get(existsKey(&b))
		if err != nil {
			return false, err
		}
		if !ok || len(v) == 0 || v[0] != recordVersion || !bytes.Equal(v[1:], rest) {
			return true, a.found(FoundBucket, f, "no marker of bucket %d in slot %d", b.ID, b.Slot)
		}
		return true, nil
	})
}

// auditMarkers finds the buckets of the slot.
func (a *Audit) auditMarkers(ctx context.Context) error {
	return a.scan(ctx, typeExists, nil, func(rest []byte, it Iterator) (bool, error) {
		id, more, ok := cutBucket(rest)
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		if !ok || len(more) > 0 || len(v) < 2 || v[0] != recordVersion {
			return true, a.found(FoundBadRecord, Finding{}, "marker of a bucket")
		}
		name := string(v[1:])
		f := Finding{Bucket: name}
		a.buckets[id] = &auditBucket{Bucket: Bucket{Name: name, ID: id, Slot: a.Slot}}
		v, ok, err = a.get(bucketNameKey(name))
		if err != nil {
			return false, err
		}
		if !ok {
			return true, a.found(FoundBucket, f, "a marker of bucket %d, which has no record", id)
		}
		b, err := decodeBucket(v)
		if err != nil {
			return true, nil // reported with slot 0
		}
		if b.ID != id || b.Slot != a.Slot {
			return true, a.found(FoundBucket, f, "a marker of bucket %d in slot %d; the record has id %d, slot %d", id, a.Slot, b.ID, b.Slot)
		}
		return true, nil
	})
}

// auditCounters compares the counters with what passes found.
func (a *Audit) auditCounters(ctx context.Context) error {
	err := a.scan(ctx, typeCounter, nil, func(rest []byte, it Iterator) (bool, error) {
		b, which, err := a.bucket(typeCounter, rest)
		if err != nil || b == nil {
			return true, err
		}
		if len(which) != 1 || which[0] != counterObjects && which[0] != counterBytes {
			return true, a.found(FoundUnknown, Finding{Bucket: b.Name}, "counter %q", which)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(a.buckets)) {
		b := a.buckets[id]
		for _, c := range []struct {
			which byte
			want  int64
			what  string
		}{{counterObjects, b.objects, "objects"}, {counterBytes, b.bytes, "bytes"}} {
			got, err := counter(a.Reader, counterKey(&b.Bucket, c.which))
			f := Finding{Bucket: b.Name}
			if err == nil && got != c.want {
				err = a.found(FoundCounter, f, "%d %s counted, %d found", got, c.what, c.want)
			} else {
				err = a.broken(err, FoundCounter, f)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// auditFull looks for full records that no head points to.
func (a *Audit) auditFull(ctx context.Context) error {
	return a.scan(ctx, typeObject, nil, func(rest []byte, _ Iterator) (bool, error) {
		b, rest, err := a.bucket(typeObject, rest)
		if err != nil || b == nil {
			return true, err
		}
		f := Finding{Bucket: b.Name}
		key, version, ok := cutEscaped(rest)
		if f.Key = key; !ok || len(version) != len(Version{}) {
			return true, a.found(FoundBadRecord, f, "key of a full record")
		}
		v, ok, err := a.get(headKey(&b.Bucket, key))
		if err != nil {
			return false, err
		}
		if ok {
			head, full, err := decodeObject(v)
			if err != nil || !full && head.Version == Version(version) {
				return true, nil // a bad head has been reported
			}
		}
		return true, a.found(FoundHead, f, "no head points to version %x", version)
	})
}

// auditDocs goes through the documents.
func (a *Audit) auditDocs(ctx context.Context) error {
	return a.scan(ctx, typeDoc, nil, func(rest []byte, it Iterator) (bool, error) {
		id, path, ok := cutBucket(rest)
		f := Finding{Key: string(path)}
		switch {
		case ok && a.Slot == 0 && id == 0:
		case ok && a.Slot == 0:
			return true, a.found(FoundStray, f, "document of bucket %d outside its slot", id)
		default:
			b, _, err := a.bucket(typeDoc, rest)
			if err != nil || b == nil {
				return true, err
			}
			f.Bucket = b.Name
		}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		if _, _, err := decodeDoc(v); err != nil {
			return true, a.broken(fmt.Errorf("document: %w", err), FoundBadRecord, f)
		}
		if len(path) == 0 || len(path) > maxDocPath {
			return true, a.found(FoundBadRecord, f, "document path of %d bytes", len(path))
		}
		return true, nil
	})
}

// auditRepairs goes through the repair queue.
func (a *Audit) auditRepairs(ctx context.Context) error {
	return a.scan(ctx, typeRepair, nil, func(rest []byte, it Iterator) (bool, error) {
		if len(rest) != 16 {
			return true, a.found(FoundBadRecord, Finding{}, "key in the repair queue of %d bytes", len(rest))
		}
		id := [16]byte(rest)
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		rec, err := decodeRepair(v)
		if err != nil {
			return true, a.broken(err, FoundBadRecord, Finding{Blob: id})
		}
		a.records++
		ref, ok, err := LocateRef(a.Reader, a.Slot, id)
		f := a.refFinding(&ref, id)
		switch {
		case isRecordError(err): // it has been reported
			return true, nil
		case err != nil:
			return false, err
		case !ok:
			return true, a.found(FoundRepairQueue, f, "the blob does not exist")
		case worth(&ref.Blob, rec.Bad) != rec.Bad:
			return true, a.found(FoundRepairQueue, f, "fragments %b are bad, and of them %b have a place", rec.Bad, worth(&ref.Blob, rec.Bad))
		case rec.Bad == 0 && ref.Blob.Missing() == 0:
			return true, a.found(FoundRepairQueue, f, "the blob lacks nothing")
		}
		return true, nil
	})
}
