package meta

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/sluicehq/sluice/engine/layout"
)

// BackRef is the record of one blob on drives.
type BackRef struct {
	Slot   Slot
	Blob   layout.Blob
	Bucket BucketID
	Key    string
}

// walkSlots calls fn for every key of type t in every bucket slot, in order of
// slot, then key. fn returning false goes on with the next slot. Slots without
// such keys cost one seek.
func walkSlots(r Reader, t byte, fn func(s Slot, rest []byte, it Iterator) (bool, error)) error {
	return walkFrom(r, t, slotKey(1, t, 0), fn)
}

// walkFrom is walkSlots from the key at, which is one of type t.
func walkFrom(r Reader, t byte, at []byte, fn func(s Slot, rest []byte, it Iterator) (bool, error)) (err error) {
	it := r.Iter(at, nil)
	defer closing(it, &err)
	ok := it.Next()
	for ok {
		key := it.Key()
		if len(key) < 3 {
			return fmt.Errorf("%w: key of %d bytes", ErrBadRecord, len(key))
		}
		s := Slot(binary.BigEndian.Uint16(key))
		if key[2] < t {
			ok = it.SeekGE(slotKey(s, t, 0))
			continue
		}
		if key[2] == t {
			more, err := fn(s, key[3:], it)
			if err != nil {
				return err
			}
			if more {
				ok = it.Next()
				continue
			}
		}
		if s == math.MaxUint16 {
			break
		}
		ok = it.SeekGE(slotKey(s+1, t, 0))
	}
	return it.Err()
}

// Blobs calls fn for every blob that occupies drive space: named by an object,
// an upload, or the delete queue. The engine rebuilds its free space from it.
func Blobs(r Reader, fn func(BackRef) error) error { return BlobsAfter(r, BlobCursor{}, fn) }

// DueGarbage returns up to max entries of the delete queue whose time is ≤ due,
// oldest first. Entries that occupy no drive space (inline payloads, part lists,
// records of completed uploads) have a Blob of KindInline.
func DueGarbage(r Reader, due int64, max int) ([]Garbage, error) {
	if max <= 0 {
		return nil, nil
	}
	type entry struct {
		Garbage
		rec garbageRecord
	}
	var found []entry
	var inSlot int
	var last Slot
	err := walkSlots(r, typeGarbage, func(s Slot, rest []byte, it Iterator) (bool, error) {
		if len(rest) != garbageRest || rest[24] > garbageChunks {
			return false, fmt.Errorf("%w: key in the delete queue", ErrBadRecord)
		}
		if s != last {
			last, inSlot = s, 0
		}
		at := int64(binary.BigEndian.Uint64(rest) ^ 1<<63)
		if at > due || inSlot == max {
			return false, nil
		}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		rec, err := decodeGarbage(v)
		if err != nil {
			return false, err
		}
		rec.What = rest[24]
		g := Garbage{Slot: s, Due: at, Pin: rec.Pin}
		g.Blob = layout.Blob{ID: layout.BlobID(rest[8:24]), Size: rec.Size, Kind: layout.KindInline}
		found = append(found, entry{g, rec})
		inSlot++
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b entry) int { return cmp.Compare(a.Due, b.Due) })
	out := make([]Garbage, 0, min(max, len(found)))
	for i := range found {
		if len(out) == max {
			break
		}
		g := &found[i].Garbage
		if found[i].rec.What == garbageBlob {
			ok, err := locate(r, g)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
		}
		out = append(out, *g)
	}
	return out, nil
}

// locate fills in where a queued blob lies; ok is false when it was purged
// since the queue was read.
func locate(r Reader, g *Garbage) (ok bool, err error) {
	b, ok, err := Locate(r, g.Slot, g.Blob.ID)
	if err != nil {
		return false, err
	}
	if !ok {
		_, queued, err := r.Get(garbageKey(g.Slot, g.Due, g.Blob.ID, garbageBlob))
		if err == nil && queued {
			err = fmt.Errorf("%w: queued blob without back-reference", ErrBadRecord)
		}
		return false, err
	}
	g.Blob = b
	return true, nil
}
