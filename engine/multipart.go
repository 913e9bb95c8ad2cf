package engine

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/seal"
)

// CreateUpload begins a multipart upload; o carries headers, metadata, owner and
// checksum algorithm/type.
func (e *Engine) CreateUpload(ctx context.Context, bucket, key, initiator string, o meta.Object) (meta.Upload, error) {
	up, err := e.createUpload(ctx, bucket, key, initiator, o)
	return up, wrap("create upload", err)
}

func (e *Engine) createUpload(ctx context.Context, bucket, key, initiator string, o meta.Object) (up meta.Upload, err error) {
	if err := checkKey(key); err != nil {
		return up, err
	}
	if err := e.gate.enter(); err != nil {
		return up, err
	}
	defer e.gate.leave()
	b, err := e.bucket(bucket)
	if err != nil {
		return up, err
	}
	if err := e.metaSpace.check(); err != nil {
		return up, err
	}
	now := e.now()
	o.Key = key
	cmd := &meta.CreateUpload{Bucket: b, Upload: meta.Upload{
		ID: layout.NewBlobID(now), Bucket: b.ID, Key: key, Initiated: now.UnixNano(), Initiator: initiator, Object: o,
	}}
	if err := e.mutate(ctx, b.Slot, cmd); err != nil {
		e.buckets.forgetOn(err, bucket)
		return up, err
	}
	return cmd.Upload, nil
}

// PutPartRequest describes a part; Body, Size and Finish as in PutRequest.
type PutPartRequest struct {
	Bucket, Key string
	UploadID    [16]byte
	Number      int32
	Size        int64
	Body        io.Reader
	Finish      func(p *meta.Part) error
	DataKey     *seal.DataKey // the upload's, when Upload.Object.Seal is set; else nil
	Parity      int           // as in PutRequest
}

// PutPart stores one part of an upload. Errors as of Put.
func (e *Engine) PutPart(ctx context.Context, req PutPartRequest) (meta.Part, error) {
	p, err := e.putPart(ctx, &req)
	if err != nil {
		return meta.Part{}, wrap("put part", err)
	}
	return p, nil
}

func (e *Engine) putPart(ctx context.Context, req *PutPartRequest) (p meta.Part, err error) {
	if err := checkKey(req.Key); err != nil {
		return p, err
	}
	if req.Number < 1 || req.Number > MaxParts {
		return p, fail(InvalidPart, fmt.Errorf("part number %d is not in 1…%d", req.Number, MaxParts))
	}
	if req.Size < 0 || req.Size > MaxPutSize {
		return p, fail(KindInternal, errSize)
	}
	if err := e.gate.enter(); err != nil {
		return p, err
	}
	defer e.gate.leave()
	b, err := e.bucket(req.Bucket)
	if err != nil {
		return p, err
	}
	up, err := meta.GetUpload(e.store, &b, req.Key, req.UploadID)
	if err != nil {
		return p, err
	}
	if (req.DataKey == nil) != (up.Object.Seal == nil) {
		return p, fail(KindInternal, errKeySeal)
	}
	s, err := e.stage(ctx, req.Size, req.Parity, req.Body, locker{key: req.DataKey, bucket: b.ID, part: req.Number})
	if err != nil {
		return p, err
	}
	now := e.now()
	p = meta.Part{Number: req.Number, Size: req.Size, ModTime: now.UnixNano()}
	if req.Finish != nil {
		if err := req.Finish(&p); err != nil {
			s.drop()
			return p, fail(BadBody, err)
		}
	}
	if err := s.name(); err != nil {
		s.drop()
		return p, err
	}
	p.Number, p.Size, p.Blob = req.Number, req.Size, s.blob
	cmd := &meta.PutPart{Bucket: b, Key: req.Key, UploadID: req.UploadID, Part: p, Inline: s.inline.mem, Due: e.due(now)}
	err = e.mutate(ctx, b.Slot, cmd)
	s.settle(err)
	if err != nil {
		e.buckets.forgetOn(err, req.Bucket)
		return p, err
	}
	if cmd.Queued {
		e.purger.notice()
	}
	return p, nil
}

// CompleteRequest completes an upload; see meta.CompleteUpload.
type CompleteRequest struct {
	Bucket, Key string
	UploadID    [16]byte
	Parts       []meta.PartRef
	Size        int64 // -1: not told
	If          meta.Condition
	Seal        func(up *meta.Upload, parts []meta.Part) (etag string, sum meta.Checksum, err error)
}

// errSeal marks what Seal returned.
type errSeal struct{ error }

func (e *errSeal) Unwrap() error { return e.error }

// CompleteUpload makes the object out of its parts. An error of Seal comes back
// as kind BadBody.
func (e *Engine) CompleteUpload(ctx context.Context, req CompleteRequest) (meta.Object, error) {
	o, err := e.completeUpload(ctx, &req)
	var sealed *errSeal
	if errors.As(err, &sealed) {
		err = fail(BadBody, sealed.error)
	}
	return o, wrap("complete upload", err)
}

func (e *Engine) completeUpload(ctx context.Context, req *CompleteRequest) (o meta.Object, err error) {
	if err := checkKey(req.Key); err != nil {
		return o, err
	}
	if err := e.gate.enter(); err != nil {
		return o, err
	}
	defer e.gate.leave()
	b, err := e.bucket(req.Bucket)
	if err != nil {
		return o, err
	}
	now := e.now()
	cmd := &meta.CompleteUpload{
		Bucket: b, Key: req.Key, UploadID: req.UploadID, Parts: req.Parts, MinPart: e.minPart, Size: req.Size,
		Version: meta.Version(layout.NewBlobID(now)), ModTime: now.UnixNano(), If: req.If, Due: e.due(now),
		Seal: func(up *meta.Upload, parts []meta.Part) (string, meta.Checksum, error) {
			etag, sum, err := req.Seal(up, parts)
			if err != nil {
				err = &errSeal{err}
			}
			return etag, sum, err
		},
	}
	if err := e.mutate(ctx, b.Slot, cmd); err != nil {
		e.buckets.forgetOn(err, req.Bucket)
		return o, err
	}
	e.purger.notice()
	return cmd.Result, nil
}

// AbortUpload drops an upload.
func (e *Engine) AbortUpload(ctx context.Context, bucket, key string, id [16]byte) error {
	return wrap("abort upload", e.abortUpload(ctx, bucket, key, id))
}

func (e *Engine) abortUpload(ctx context.Context, bucket, key string, id [16]byte) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := e.gate.enter(); err != nil {
		return err
	}
	defer e.gate.leave()
	b, err := e.bucket(bucket)
	if err != nil {
		return err
	}
	cmd := &meta.AbortUpload{Bucket: b, Key: key, UploadID: id, Due: e.due(e.now())}
	if err := e.mutate(ctx, b.Slot, cmd); err != nil {
		e.buckets.forgetOn(err, bucket)
		return err
	}
	e.purger.notice()
	return nil
}
