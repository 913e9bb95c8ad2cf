package engine

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// PutRequest describes an object to be stored.
type PutRequest struct {
	Bucket, Key string
	Size        int64     // exact payload bytes, 0…MaxObjectSize
	Body        io.Reader // yields Size bytes, then io.EOF
	// Finish is called once Body has been read to its end and before anything
	// is committed. It verifies what the client claimed and fills in ETag,
	// Checksum and whatever else only the whole body tells. An error aborts.
	Finish func(o *meta.Object) error
	Object meta.Object // headers, metadata, owner, class; the engine sets Key, Version, Size, ModTime, Blob
	If     meta.Condition
	// DataKey encrypts the payload; Object.Seal must then be set. nil: stored as
	// it is. Size, Body and Finish speak of the payload as the client sent it.
	DataKey *seal.DataKey
	// Parity is ParityDefault, ParityNone, or the number of parity fragments, at most
	// layout.MaxParity. Fewer are made where the cluster has too few drives. A payload
	// without any lies on one drive; one that is inline is as safe as the metadata.
	Parity int
}

// Put stores an object, durably, and returns its record. Memory in use does not
// depend on Size. An error of Body or Finish comes back as kind BadBody, unwrapped
// by errors.As/Is; a body that ends early as ShortBody. On any error nothing is
// stored, except that UnknownOutcome means what it says.
//
// Body may be a Body of another object (a copy), read through whatever wrappers
// the caller needs, as long as they use its Read and not its WriteTo.
func (e *Engine) Put(ctx context.Context, req PutRequest) (meta.Object, error) {
	o, err := e.put(ctx, &req)
	if err != nil {
		return meta.Object{}, wrap("put", err)
	}
	return o, nil
}

func (e *Engine) put(ctx context.Context, req *PutRequest) (o meta.Object, err error) {
	if err := checkKey(req.Key); err != nil {
		return o, err
	}
	if req.Size < 0 || req.Size > MaxObjectSize {
		return o, fail(KindInternal, errSize)
	}
	if (req.DataKey == nil) != (req.Object.Seal == nil) {
		return o, fail(KindInternal, errKeySeal)
	}
	if err := e.gate.enter(); err != nil {
		return o, err
	}
	defer e.gate.leave()
	b, err := e.bucket(req.Bucket)
	if err != nil {
		return o, err
	}
	if err := e.refuse(&b, req.Key, &req.If); err != nil {
		return o, err
	}
	s, err := e.stage(ctx, req.Size, req.Parity, req.Body, locker{key: req.DataKey, bucket: b.ID})
	if err != nil {
		return o, err
	}
	now := e.now()
	o = req.Object
	o.Key, o.Size, o.ModTime, o.PartCount = req.Key, req.Size, now.UnixNano(), 0
	if req.Finish != nil {
		if err := req.Finish(&o); err != nil {
			s.drop()
			return o, fail(BadBody, err)
		}
	}
	o.Seal = req.Object.Seal // it goes with the payload, whatever Finish does
	o.Version = meta.Version(layout.NewBlobID(now))
	if err := s.name(); err != nil {
		s.drop()
		return o, err
	}
	o.Blob = s.blob
	cmd := &meta.PutObject{Bucket: b, Object: o, Inline: s.inline.mem, If: req.If, Due: e.due(now)}
	err = e.mutate(ctx, b.Slot, cmd)
	s.settle(err)
	if err != nil {
		e.buckets.forgetOn(err, req.Bucket)
		return o, err
	}
	if cmd.Queued {
		e.purger.notice()
	}
	return o, nil
}

// refuse evaluates a condition before the body is read, when that is certain to
// save the client the transfer: the command decides again, atomically.
func (e *Engine) refuse(b *meta.Bucket, key string, c *meta.Condition) error {
	if !c.IfNoneMatchAny && len(c.IfMatch) == 0 && len(c.IfNoneMatch) == 0 {
		return nil
	}
	cur, err := meta.GetObject(e.store, b, key)
	exists := err == nil
	if err != nil && !errors.Is(err, meta.ErrNoObject) {
		return err
	}
	is := func(etag string) bool { return etag == "*" || strings.Trim(etag, `"`) == cur.ETag }
	switch {
	case len(c.IfMatch) > 0 && !exists:
		return meta.ErrNoObject
	case len(c.IfMatch) > 0 && !slices.ContainsFunc(c.IfMatch, is):
		return meta.ErrPrecondition
	case exists && (c.IfNoneMatchAny || slices.ContainsFunc(c.IfNoneMatch, is)):
		return meta.ErrPrecondition
	}
	return nil
}
