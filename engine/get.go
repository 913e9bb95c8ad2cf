package engine

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// Head returns the record of an object.
func (e *Engine) Head(ctx context.Context, bucket, key string) (meta.Object, error) {
	o, err := e.head(bucket, key)
	return o, wrap("head", err)
}

func (e *Engine) head(bucket, key string) (o meta.Object, err error) {
	if err := checkKey(key); err != nil {
		return o, err
	}
	if err := e.gate.enter(); err != nil {
		return o, err
	}
	defer e.gate.leave()
	b, err := e.bucket(bucket)
	if err != nil {
		return o, err
	}
	return meta.GetObject(e.store, &b, key)
}

// Get opens an object for reading; the record and the data belong together
// whatever happens to the key meanwhile. Close it.
func (e *Engine) Get(ctx context.Context, bucket, key string) (*Object, error) {
	o, err := e.open(bucket, key)
	if err != nil {
		return nil, wrap("get", err)
	}
	return o, nil
}

func (e *Engine) open(bucket, key string) (*Object, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if err := e.gate.enter(); err != nil {
		return nil, err
	}
	b, err := e.bucket(bucket)
	if err != nil {
		e.gate.leave()
		return nil, err
	}
	o := &Object{e: e, bucket: b}
	epoch := e.epochs.enter()
	if o.Info, err = meta.GetObject(e.store, &b, key); err == nil {
		e.pins.pin(o.Info.Version)
	}
	epoch.leave()
	if err != nil {
		e.gate.leave()
		return nil, err
	}
	o.refs.Store(1)
	return o, nil
}

// Object is an open object. It pins its data against the purger until it and
// all its Bodies are closed. Range, Part, Parts and Close may be called from
// several goroutines.
type Object struct {
	Info meta.Object

	e      *Engine
	bucket meta.Bucket
	key    *seal.DataKey // nil: not encrypted, or not unlocked
	refs   atomic.Int64  // the Object itself and its Bodies
	closed atomic.Bool
}

// Unlock gives the data key of an object whose Info.Seal is set, before Range.
// Without it Range fails with kind Locked, with another key with kind Corrupt.
func (o *Object) Unlock(key *seal.DataKey) { o.key = key }

// BucketID is the id of the bucket that the object is in.
func (o *Object) BucketID() meta.BucketID { return o.bucket.ID }

// release drops one reference.
func (o *Object) release() {
	if o.refs.Add(-1) == 0 {
		o.e.pins.unpin(o.Info.Version)
		o.e.gate.leave()
	}
}

// retain adds a reference, unless the last one is gone.
func (o *Object) retain() bool {
	for n := o.refs.Load(); n > 0; n = o.refs.Load() {
		if o.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
	return false
}

// Close releases the pin, once the Bodies are closed too. It may be called more
// than once.
func (o *Object) Close() {
	if o.closed.CompareAndSwap(false, true) {
		o.release()
	}
}

// Part returns the part by number of a multipart object and the offset at which
// it begins. An object that was not multipart has one part, number 1.
// InvalidPart when there is no such part.
func (o *Object) Part(number int32) (p meta.Part, off int64, err error) {
	if !o.retain() {
		return p, 0, wrap("part", fail(Unavailable, errBodyClosed))
	}
	defer o.release()
	i := &o.Info
	switch {
	case i.PartCount > 0:
		p, off, err = meta.LoadPart(o.e.store, &o.bucket, i, number)
	case number == 1:
		p = meta.Part{Number: 1, Size: i.Size, ModTime: i.ModTime, ETag: i.ETag, Checksum: i.Checksum, Blob: i.Blob}
	default:
		err = fail(InvalidPart, fmt.Errorf("%w: %d", errPart, number))
	}
	return p, off, wrap("part", err)
}

// Parts returns up to max parts with numbers above after. An object that was
// not multipart has none.
func (o *Object) Parts(after int32, max int) (parts []meta.Part, truncated bool, err error) {
	if o.Info.PartCount == 0 || max <= 0 {
		return nil, o.Info.PartCount > 0, nil
	}
	if !o.retain() {
		return nil, false, wrap("parts", fail(Unavailable, errBodyClosed))
	}
	defer o.release()
	all, _, err := meta.LoadParts(o.e.store, &o.bucket, &o.Info, 0, -1)
	if err != nil {
		return nil, false, wrap("parts", err)
	}
	for len(all) > 0 && all[0].Number <= after {
		all = all[1:]
	}
	if len(all) > max {
		return all[:max], true, nil
	}
	return all, false, nil
}

// piece is a run of payload bytes within one blob.
type piece struct {
	blob   layout.Blob
	off, n int64
	size   int64    // of the whole blob's payload, not as it is stored
	part   int32    // 0: not a part
	at     *located // once it was opened
}

// pieces lists the pieces that make up object bytes [off, off+n). The part list
// outlives the object as long as the version is pinned.
func (o *Object) pieces(off, n int64) ([]piece, error) {
	if o.Info.PartCount == 0 {
		return []piece{{blob: o.Info.Blob, off: off, n: n, size: o.Info.Size}}, nil
	}
	parts, start, err := meta.LoadParts(o.e.store, &o.bucket, &o.Info, off, n)
	if err != nil {
		return nil, err
	}
	list := make([]piece, 0, len(parts))
	for i := range parts {
		lo := max(off, start) - start
		hi := min(off+n, start+parts[i].Size) - start
		start += parts[i].Size
		if hi > lo {
			list = append(list, piece{blob: parts[i].Blob, off: lo, n: hi - lo, size: parts[i].Size, part: parts[i].Number})
			n -= hi - lo
			off += hi - lo
		}
	}
	if n != 0 {
		return nil, fail(Corrupt, fmt.Errorf("parts of version %x end %d bytes early", o.Info.Version, n))
	}
	return list, nil
}

// checkStored holds the stored sizes of an encrypted object's blobs against what
// its data must take.
func (o *Object) checkStored(list []piece) error {
	if o.Info.Seal == nil {
		return nil
	}
	for i := range list {
		if p := &list[i]; p.blob.Size != seal.CipherSize(p.size) {
			return fail(Corrupt, fmt.Errorf("%w: blob %s: %d bytes for %d", errSealedSize, p.blob.ID, p.blob.Size, p.size))
		}
	}
	return nil
}

// Range prepares payload bytes [off, off+n) and verifies the first of them, of a
// striped blob all that lies in its first row, so that most errors surface here. n ≥ 1, off+n ≤ Size (else InvalidRange); use
// no Range for an empty object. ctx bounds the whole reading. Close the Body.
func (o *Object) Range(ctx context.Context, off, n int64) (*Body, error) {
	b, err := o.body(ctx, off, n)
	if err != nil {
		return nil, wrap("get", err)
	}
	return b, nil
}

func (o *Object) body(ctx context.Context, off, n int64) (*Body, error) {
	if off < 0 || n < 1 || off > o.Info.Size || n > o.Info.Size-off {
		return nil, fail(InvalidRange, fmt.Errorf("%w: %d+%d of %d", errRange, off, n, o.Info.Size))
	}
	if o.Info.Seal != nil && o.key == nil {
		return nil, fail(Locked, errLocked)
	}
	if !o.retain() {
		return nil, fail(Unavailable, errBodyClosed)
	}
	list, err := o.pieces(off, n)
	if err == nil {
		err = o.checkStored(list)
	}
	if err != nil {
		o.release()
		return nil, err
	}
	b := &Body{o: o, ctx: ctx, pieces: list, left: n, whole: len(list) == 1}
	if err := b.open(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}
