package meta

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/engine/layout"
)

// errEnough ends a walk.
var errEnough = errors.New("enough")

// Locate returns a blob with the places of its fragments, from its back-reference;
// false when it has none (any more).
func Locate(r Reader, s Slot, id layout.BlobID) (layout.Blob, bool, error) {
	v, ok, err := r.Get(idKey(s, typeBackRef, id))
	if err != nil || !ok {
		return layout.Blob{}, false, err
	}
	b, err := decodePlace(v)
	if err == nil && b.ID != id {
		err = fmt.Errorf("%w: back-reference of another blob", ErrBadRecord)
	}
	return b, err == nil, err
}

// LocateRef is Locate with the bucket and key that the blob was written for.
func LocateRef(r Reader, s Slot, id layout.BlobID) (BackRef, bool, error) {
	v, ok, err := r.Get(idKey(s, typeBackRef, id))
	if err != nil || !ok {
		return BackRef{}, false, err
	}
	ref, err := decodeBackRef(v)
	if err == nil && ref.Blob.ID != id {
		err = fmt.Errorf("%w: back-reference of another blob", ErrBadRecord)
	}
	ref.Slot = s
	return ref, err == nil, err
}

// Repairs returns up to max entries of the repair queue behind after, in the order
// of Blobs. Entries that do not decode, or whose blobs' records do not, are passed
// over, so that one of them does not hold up the others; an Audit finds them.
func Repairs(r Reader, after BlobCursor, max int) ([]Repair, error) {
	var list []Repair
	if max <= 0 {
		return nil, nil
	}
	err := walkBehind(r, typeRepair, after, func(s Slot, rest []byte, it Iterator) (bool, error) {
		if len(rest) != 16 {
			return true, nil
		}
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		rec, bad := decodeRepair(v)
		if bad != nil {
			return true, nil
		}
		ref, ok, err := LocateRef(r, s, layout.BlobID(rest))
		if isRecordError(err) || err == nil && !ok { // not ok: purged since the iterator was made
			return true, nil
		}
		if err != nil {
			return false, err
		}
		list = append(list, Repair{BackRef: ref, Bad: rec.Bad, Since: rec.Since})
		if len(list) == max {
			return false, errEnough
		}
		return true, nil
	})
	if err != nil && err != errEnough {
		return nil, err
	}
	return list, nil
}

// CountRepairs returns the number of entries of the repair queue, or most when there
// are more.
func CountRepairs(r Reader, most int64) (n int64, err error) {
	err = walkSlots(r, typeRepair, func(Slot, []byte, Iterator) (bool, error) {
		if n++; n >= most {
			return false, errEnough
		}
		return true, nil
	})
	if err == errEnough {
		err = nil
	}
	return n, err
}

// BlobsAfter is Blobs for what comes behind after.
func BlobsAfter(r Reader, after BlobCursor, fn func(BackRef) error) error {
	return BackRefs(r, after, func(ref BackRef, bad error) error {
		if bad != nil {
			return bad
		}
		return fn(ref)
	})
}

// BackRefs is BlobsAfter for who goes on behind a record that does not decode: fn
// gets what is wrong with it, and its slot and id as the key tells them.
func BackRefs(r Reader, after BlobCursor, fn func(ref BackRef, bad error) error) error {
	return walkBehind(r, typeBackRef, after, func(s Slot, rest []byte, it Iterator) (bool, error) {
		v, err := it.Value()
		if err != nil {
			return false, err
		}
		ref, bad := decodeBackRef(v)
		if bad == nil && !bytes.Equal(rest, ref.Blob.ID[:]) {
			bad = fmt.Errorf("%w: back-reference of another blob", ErrBadRecord)
		}
		if bad != nil {
			ref = BackRef{}
			copy(ref.Blob.ID[:], rest)
		}
		ref.Slot = s
		return true, fn(ref, bad)
	})
}

// walkBehind is walkSlots for keys that end in a blob's id, from the one behind
// after.
func walkBehind(r Reader, t byte, after BlobCursor, fn func(s Slot, rest []byte, it Iterator) (bool, error)) error {
	if after.Slot == 0 {
		return walkSlots(r, t, fn)
	}
	return walkFrom(r, t, append(idKey(after.Slot, t, after.Blob), 0), fn)
}
