package meta

import (
	"bytes"
	"context"
	"encoding/binary"
	"sort"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
)

// idEntry is what an audit remembers of a record whose key is an id.
type idEntry struct {
	id [16]byte
	// sum tells what its owner has to know of it, 0: nothing; its lowest bits say how
	// often an owner has been found: never, once, or more often.
	sum uint64
}

const ownerBits = 3

// idTable holds ids of one type: those behind from, in order, as many as there is
// room for.
type idTable struct {
	ids   []idEntry
	from  [16]byte
	begun bool // from counts: what is not behind it was in an earlier table
	whole bool // nothing follows
	over  bool // everything was in earlier tables
}

// covers reports whether id is in this table if it is anywhere.
func (t *idTable) covers(id [16]byte) bool {
	if t.over || t.begun && bytes.Compare(id[:], t.from[:]) <= 0 {
		return false
	}
	return t.whole || len(t.ids) > 0 && bytes.Compare(id[:], t.ids[len(t.ids)-1].id[:]) <= 0
}

// next empties the table for what follows.
func (t *idTable) next() {
	if t.whole {
		t.over = true
	} else if n := len(t.ids); n > 0 {
		t.from, t.begun = t.ids[n-1].id, true
	}
	t.ids = t.ids[:0]
}

func (t *idTable) add(id [16]byte, sum uint64) {
	t.ids = append(t.ids, idEntry{id, sum &^ ownerBits})
}

// owned is what came of naming an id.
type owned int

const (
	ownedElsewhere owned = iota // another table covers it
	ownedWell
	ownedMissing
	ownedTwice
	ownedOther // it is not what its owner takes it for
)

// own notes that somebody names id and takes it for sum; 0: for anything.
func (t *idTable) own(id [16]byte, sum uint64) owned {
	if !t.covers(id) {
		return ownedElsewhere
	}
	i := sort.Search(len(t.ids), func(i int) bool { return bytes.Compare(t.ids[i].id[:], id[:]) >= 0 })
	if i == len(t.ids) || t.ids[i].id != id {
		return ownedMissing
	}
	e := &t.ids[i]
	if e.sum&ownerBits > 0 {
		e.sum |= 2
		return ownedTwice
	}
	was := e.sum &^ ownerBits
	e.sum |= 1
	if sum &^= ownerBits; sum != 0 && was != 0 && sum != was {
		return ownedOther
	}
	return ownedWell
}

// sumSize is the sum of something that is told by a number.
func sumSize(n int64) uint64 { return uint64(n+1) << 2 }

// sumRef is the sum of a back-reference: what its owner's record tells too. Kind and
// geometry are no part of it, for a blob may have been spread otherwise since.
func sumRef(bucket BucketID, key string, b *layout.Blob) uint64 {
	var buf [64]byte
	v := binary.BigEndian.AppendUint64(buf[:0], uint64(bucket))
	v = binary.BigEndian.AppendUint64(v, uint64(b.Size))
	return xxh3.HashSeed(v, xxh3.HashString(key)) | 1<<63
}

// passes goes through what names ids as often as the tables ask for.
func (a *Audit) passes(ctx context.Context) error {
	a.tables = map[byte]*idTable{}
	fills := []struct {
		t    byte
		fill func(context.Context, *idTable) error
	}{
		{typeBackRef, a.fillRefs}, {typeInline, a.fillInline}, {typeCompletion, a.fillCompletions},
		{typePart, a.fillParts}, {typeChunk, a.fillChunks},
	}
	for _, f := range fills {
		a.tables[f.t] = &idTable{}
	}
	a.first = true
	for more := true; more; a.first = false {
		more = false
		for _, f := range fills {
			t := a.tables[f.t]
			if !a.first {
				t.next()
			}
			if t.over {
				continue
			}
			if err := f.fill(ctx, t); err != nil {
				return err
			}
			more = more || !t.whole
		}
		for _, step := range []func(context.Context) error{a.ownedByObjects, a.ownedByUploads, a.ownedByQueue, a.unowned} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	a.tables = nil
	return nil
}

// fill adds the ids of type t that follow, calling fn for each of their keys with what
// is behind the id. The sum that fn returns for the last key of an id counts.
func (a *Audit) fill(ctx context.Context, t byte, table *idTable, tail int, fn func(id [16]byte, tail []byte, it Iterator) (uint64, error)) error {
	table.whole = true
	var lo []byte
	if table.begun {
		lo = successor(table.from[:])
		if lo == nil {
			return nil
		}
	}
	return a.scan(ctx, t, lo, func(rest []byte, it Iterator) (bool, error) {
		if len(rest) != 16+tail {
			return true, a.found(FoundBadRecord, Finding{}, "key of type %q of %d bytes", t, len(rest))
		}
		id := [16]byte(rest)
		n := len(table.ids)
		same := n > 0 && table.ids[n-1].id == id
		if !same && n == a.Table {
			table.whole = false
			return false, nil
		}
		sum, err := fn(id, rest[16:], it)
		if err != nil {
			return false, err
		}
		if same {
			table.ids[n-1].sum = sum &^ ownerBits
		} else {
			table.add(id, sum)
		}
		return true, nil
	})
}

func (a *Audit) fillRefs(ctx context.Context, t *idTable) error {
	return a.fill(ctx, typeBackRef, t, 0, func(id [16]byte, _ []byte, it Iterator) (uint64, error) {
		a.Count.Blobs++
		v, err := it.Value()
		if err != nil {
			return 0, err
		}
		ref, err := decodeBackRef(v)
		f := a.refFinding(&ref, id)
		if err != nil {
			return 0, a.broken(err, FoundBadRecord, f)
		}
		b := &ref.Blob
		if b.ID != id || b.Kind == layout.KindInline || b.Kind == layout.KindSingle && len(b.Fragments) != 1 {
			return 0, a.found(FoundBadRecord, f, "back-reference of blob %s, kind %d, in %d fragments", b.ID, b.Kind, len(b.Fragments))
		}
		if b.Missing() > 0 {
			_, ok, err := a.get(idKey(a.Slot, typeRepair, b.ID))
			if err != nil {
				return 0, err
			}
			if !ok {
				err = a.found(FoundRepairQueue, f, "%d fragments are missing, and the blob is not queued", b.Missing())
			}
			if err != nil {
				return 0, err
			}
		}
		return sumRef(ref.Bucket, ref.Key, b), nil
	})
}

// refFinding is a finding about a back-reference.
func (a *Audit) refFinding(ref *BackRef, id [16]byte) Finding {
	f := Finding{Key: ref.Key, Blob: id}
	if b := a.buckets[ref.Bucket]; b != nil {
		f.Bucket = b.Name
	} else if ref.Bucket != 0 {
		f.Bucket = unnamed(ref.Bucket)
	}
	return f
}

func (a *Audit) fillInline(ctx context.Context, t *idTable) error {
	return a.fill(ctx, typeInline, t, 0, func(id [16]byte, _ []byte, it Iterator) (uint64, error) {
		a.Count.Inline++
		v, err := it.Value()
		if err != nil {
			return 0, err
		}
		payload, err := decodeInline(v)
		if err != nil {
			return 0, a.broken(err, FoundInline, Finding{Blob: id})
		}
		return sumSize(int64(len(payload))), nil
	})
}

func (a *Audit) fillCompletions(ctx context.Context, t *idTable) error {
	return a.fill(ctx, typeCompletion, t, 0, func(id [16]byte, _ []byte, it Iterator) (uint64, error) {
		v, err := it.Value()
		if err == nil {
			_, err = decodeCompletion(v)
		}
		return 0, a.broken(err, FoundBadRecord, Finding{Detail: "completion"})
	})
}

func (a *Audit) fillParts(ctx context.Context, t *idTable) error {
	return a.fill(ctx, typePart, t, 2, func(_ [16]byte, tail []byte, _ Iterator) (uint64, error) {
		if n := binary.BigEndian.Uint16(tail); n < 1 || n > maxPart {
			return 0, a.found(FoundBadRecord, Finding{}, "part number %d", n)
		}
		return 0, nil
	})
}

// fillChunks counts the chunks of each part list.
func (a *Audit) fillChunks(ctx context.Context, t *idTable) error {
	var chunks int64 // of the present list
	var last [16]byte
	return a.fill(ctx, typeChunk, t, 4, func(id [16]byte, tail []byte, _ Iterator) (uint64, error) {
		if id != last {
			chunks, last = 0, id
		}
		n := binary.BigEndian.Uint32(tail)
		if n == chunkIndex {
			return sumSize(chunks), nil
		}
		var err error
		if int64(n) != chunks {
			err = a.found(FoundPartList, Finding{}, "version %x: chunk %d where %d is due", id, n, chunks)
		}
		chunks++
		return sumSize(chunks), err
	})
}

// unowned reports what nobody names.
func (a *Audit) unowned(context.Context) error {
	for _, t := range []byte{typeBackRef, typeInline, typeCompletion, typePart, typeChunk} {
		for i := range a.tables[t].ids {
			e := &a.tables[t].ids[i]
			if e.sum&ownerBits > 0 {
				continue
			}
			if err := a.orphan(t, e.id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *Audit) orphan(t byte, id [16]byte) error {
	switch t {
	case typeBackRef:
		ref, _, err := LocateRef(a.Reader, a.Slot, id)
		if err != nil {
			return a.broken(err, FoundOrphanBlob, Finding{Blob: id})
		}
		return a.found(FoundOrphanBlob, a.refFinding(&ref, id), "%d bytes that nobody names", ref.Blob.Size)
	case typeInline:
		return a.found(FoundInline, Finding{Blob: id}, "a payload that nobody names")
	case typeCompletion:
		return a.found(FoundDeleteQueue, Finding{}, "completion of upload %x will never be removed", id)
	case typePart:
		return a.found(FoundStray, Finding{}, "parts of upload %x, which does not exist", id)
	}
	return a.found(FoundPartList, Finding{}, "the part list of version %x is nobody's", id)
}
