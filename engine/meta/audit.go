package meta

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sluicehq/sluice/engine/layout"
)

// Finding is a record, or a set of them, that breaks what always holds (FORMAT.md,
// part 2, §5).
type Finding struct {
	Kind   FindingKind
	Slot   Slot
	Bucket string // its name; "bucket N" where it has none; or ""
	Key    string
	Blob   layout.BlobID
	Detail string
}

// FindingKind sorts findings.
type FindingKind uint8

// Kinds of findings.
const (
	FoundBadRecord   FindingKind = iota + 1 // a key or a record does not decode
	FoundUnknown                            // a key of a type that there is not
	FoundBucket                             // a bucket's record and its marker do not match
	FoundStray                              // a record of a bucket or an upload that does not exist
	FoundCounter                            // a counter is not the sum it stands for
	FoundHead                               // a head and its full record do not match
	FoundPartList                           // a part list is incomplete, or nobody's, or does not add up
	FoundSize                               // an object or a part is not as long as its data
	FoundMissingBlob                        // a blob that is named has no back-reference
	FoundOrphanBlob                         // a back-reference of a blob that nobody names
	FoundSharedBlob                         // a blob or a payload that is named more than once
	FoundOwner                              // a back-reference tells otherwise than who names the blob
	FoundInline                             // an inline payload is missing, or nobody's, or does not verify
	FoundDeleteQueue                        // the delete queue and what it is to remove do not match
	FoundRepairQueue                        // the repair queue and what blobs lack do not match
)

// Audit checks the records of one slot against each other: all that FORMAT.md says
// always holds, but for what needs a drive to be looked at.
type Audit struct {
	// Reader is of one moment: a Snapshot.
	Reader Reader
	Slot   Slot
	// Stored returns how long the data of size bytes is when it is stored.
	Stored func(sealed bool, size int64) int64
	// Found is called for each finding; its error ends the audit.
	Found func(Finding) error
	// Tick is called now and then with the number of records that were looked at since
	// the last call, to pace the audit; its error ends it. nil: nobody is.
	Tick func(records int) error
	// Table is the most ids of one type that are kept in memory at a time, at 24
	// bytes each. A slot with more is gone through several times. 0: 2^20.
	Table int
	// Count is what has been looked at so far.
	Count AuditCount

	records int
	buckets map[BucketID]*auditBucket
	strays  map[strayKey]bool
	first   bool // this pass is the first: contents are looked at, too
	tables  map[byte]*idTable
}

// AuditCount is what an audit has looked at.
type AuditCount struct{ Buckets, Objects, Parts, Uploads, Blobs, Inline int64 }

type auditBucket struct {
	Bucket
	objects, bytes int64 // found
}

type strayKey struct {
	bucket BucketID
	t      byte
}

// tickEvery is the number of records between two calls of Tick.
const tickEvery = 1024

// knownTypes are the types of keys in slot 0, and in the others.
func knownTypes(s Slot) string {
	if s == 0 {
		return string([]byte{typeApplied, typeBucketName, typeBucketSeq, typeDoc})
	}
	return string([]byte{
		typeBackRef, typeCompletion, typeInline, typeExists, typeDoc, typeGarbage, typeHead,
		typeCounter, typeObject, typePart, typeRepair, typeUpload, typeChunk,
	})
}

// Slots returns the slots that hold something, in order.
func Slots(r Reader) (list []Slot, err error) {
	it := r.Iter([]byte{0}, nil)
	defer closing(it, &err)
	for ok := it.Next(); ok; {
		s, _, err := slotOf(it.Key())
		if err != nil {
			return list, err
		}
		list = append(list, s)
		if s == ^Slot(0) {
			break
		}
		ok = it.SeekGE(slotKey(s+1, 0, 0))
	}
	return list, it.Err()
}

// slotOf cuts a key into its slot and what follows, the type first.
func slotOf(key []byte) (Slot, []byte, error) {
	if len(key) < 3 {
		return 0, nil, fmt.Errorf("%w: key of %d bytes", ErrBadRecord, len(key))
	}
	return Slot(key[0])<<8 | Slot(key[1]), key[2:], nil
}

// Run does it. It fails when the store does, when ctx ends, or with an error of Found
// or Tick; what is wrong with records is no failure.
func (a *Audit) Run(ctx context.Context) error {
	if a.Table <= 0 {
		a.Table = 1 << 20
	}
	a.strays, a.buckets = map[strayKey]bool{}, map[BucketID]*auditBucket{}
	steps := []func(context.Context) error{a.types, a.auditMarkers, a.passes, a.auditCounters, a.auditFull, a.auditDocs, a.auditRepairs}
	if a.Slot == 0 {
		steps = []func(context.Context) error{a.types, a.auditBuckets, a.auditDocs}
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// found reports a finding.
func (a *Audit) found(kind FindingKind, f Finding, format string, args ...any) error {
	f.Kind, f.Slot, f.Detail = kind, a.Slot, fmt.Sprintf(format, args...)
	return a.Found(f)
}

// broken reports err as a finding when it says that a record is wrong, else it
// returns it.
func (a *Audit) broken(err error, kind FindingKind, f Finding) error {
	if isRecordError(err) {
		return a.found(kind, f, "%s", strings.TrimPrefix(err.Error(), "meta: "))
	}
	return err
}

// isRecordError reports whether err is about a record, and not about the store.
func isRecordError(err error) bool { return errors.Is(err, ErrBadRecord) || errors.Is(err, ErrNewer) }

// get reads one more record.
func (a *Audit) get(key []byte) ([]byte, bool, error) {
	a.records++
	return a.Reader.Get(key)
}

// scan calls fn for each key of type t in the slot, from the one whose rest behind
// the type is at least lo, with that rest, until fn returns false.
func (a *Audit) scan(ctx context.Context, t byte, lo []byte, fn func(rest []byte, it Iterator) (bool, error)) (err error) {
	prefix := slotKey(a.Slot, t, 0)
	it := a.Reader.Iter(append(slotKey(a.Slot, t, len(lo)), lo...), successor(prefix))
	defer closing(it, &err)
	for it.Next() {
		if err := a.tick(ctx); err != nil {
			return err
		}
		if more, err := fn(it.Key()[len(prefix):], it); err != nil || !more {
			return err
		}
	}
	return it.Err()
}

// tick counts a record.
func (a *Audit) tick(ctx context.Context) error {
	if a.records++; a.records < tickEvery {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n := a.records
	a.records = 0
	if a.Tick == nil {
		return nil
	}
	return a.Tick(n)
}

// types looks for keys of types that there are not.
func (a *Audit) types(context.Context) (err error) {
	known := knownTypes(a.Slot)
	it := a.Reader.Iter(slotKey(a.Slot, 0, 0)[:2], successor(slotKey(a.Slot, 0, 0)[:2]))
	defer closing(it, &err)
	for ok := it.Next(); ok; {
		_, rest, err := slotOf(it.Key())
		if err != nil {
			if err := a.broken(err, FoundBadRecord, Finding{}); err != nil {
				return err
			}
			ok = it.Next()
			continue
		}
		if strings.IndexByte(known, rest[0]) < 0 {
			if err := a.found(FoundUnknown, Finding{}, "keys of type %q", rest[0]); err != nil {
				return err
			}
		}
		if rest[0] == 0xFF {
			break
		}
		ok = it.SeekGE(slotKey(a.Slot, rest[0]+1, 0))
	}
	return it.Err()
}

// bucket returns the bucket of a key of type t whose rest begins with its id, and what
// follows; nil when there is none, which has been reported then.
func (a *Audit) bucket(t byte, rest []byte) (*auditBucket, []byte, error) {
	id, rest, ok := cutBucket(rest)
	if !ok && a.strays[strayKey{0, t}] {
		return nil, nil, nil
	}
	if !ok {
		a.strays[strayKey{0, t}] = true
		return nil, nil, a.found(FoundBadRecord, Finding{}, "key of type %q of %d bytes", t, len(rest))
	}
	if b := a.buckets[id]; b != nil {
		return b, rest, nil
	}
	if a.strays[strayKey{id, t}] {
		return nil, nil, nil
	}
	a.strays[strayKey{id, t}] = true
	return nil, nil, a.found(FoundStray, Finding{Bucket: unnamed(id)}, "records of type %q of a bucket that does not exist", t)
}

func unnamed(id BucketID) string { return fmt.Sprintf("bucket %d", id) }
