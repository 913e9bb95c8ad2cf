package engine

import (
	"context"

	"github.com/sluicehq/sluice/engine/meta"
)

// view runs fn on a consistent state of a bucket.
func (e *Engine) view(bucket string, fn func(r meta.Reader, b *meta.Bucket) error) error {
	return e.within(bucket, func(b *meta.Bucket) error {
		snap := e.store.Snapshot()
		defer snap.Close()
		return fn(snap, b)
	})
}

// within runs fn on a bucket.
func (e *Engine) within(bucket string, fn func(b *meta.Bucket) error) error {
	if err := e.gate.enter(); err != nil {
		return err
	}
	defer e.gate.leave()
	b, err := e.bucket(bucket)
	if err != nil {
		return err
	}
	return fn(&b)
}

// List reads a page of keys.
func (e *Engine) List(ctx context.Context, bucket string, req meta.ListObjectsRequest) (page meta.ListObjectsPage, err error) {
	err = e.within(bucket, func(b *meta.Bucket) (err error) {
		page, err = meta.ListObjects(e.store, b, req) // one iterator: it sees one state
		return err
	})
	return page, wrap("list", err)
}

// ListUploads reads a page of uploads in progress.
func (e *Engine) ListUploads(ctx context.Context, bucket string, req meta.ListUploadsRequest) (page meta.ListUploadsPage, err error) {
	err = e.within(bucket, func(b *meta.Bucket) (err error) {
		page, err = meta.ListUploads(e.store, b, req) // likewise
		return err
	})
	return page, wrap("list uploads", err)
}

// Upload returns an upload in progress.
func (e *Engine) Upload(ctx context.Context, bucket, key string, id [16]byte) (up meta.Upload, err error) {
	err = e.view(bucket, func(r meta.Reader, b *meta.Bucket) (err error) {
		up, err = meta.GetUpload(r, b, key, id)
		return err
	})
	return up, wrap("upload", err)
}

// ListParts reads a page of an upload's parts.
func (e *Engine) ListParts(ctx context.Context, bucket, key string, id [16]byte, after int32, max int) (up meta.Upload, parts []meta.Part, truncated bool, err error) {
	err = e.view(bucket, func(r meta.Reader, b *meta.Bucket) (err error) {
		if up, err = meta.GetUpload(r, b, key, id); err != nil {
			return err
		}
		parts, truncated, err = meta.ListParts(r, b, id, after, max)
		return err
	})
	return up, parts, truncated, wrap("list parts", err)
}
