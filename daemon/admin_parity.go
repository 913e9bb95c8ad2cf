package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
)

// parityRoutes are the admin routes of buckets' parity.
func parityRoutes() map[string]adminFunc {
	return map[string]adminFunc{
		"GET /v1/buckets/{name}/parity": adminBucketParity,
		"PUT /v1/buckets/{name}/parity": adminSetBucketParity,
	}
}

func adminBucketParity(d *daemon, r *http.Request) (any, error) {
	bucket := r.PathValue("name")
	parity, err := d.s3.BucketParity(r.Context(), bucket)
	if errors.Is(err, s3fast.ErrBadParity) {
		return nil, refuse(api.CodeConflict, "the stored parity of bucket %s cannot be read, and the cluster's is used: set it again", bucket)
	}
	if err != nil {
		return nil, ofBucket(bucket, err)
	}
	out := api.BucketParity{Bucket: bucket, Setting: parityText(parity, api.ParityDefault), Parity: max(parity, 0)}
	if parity == engine.ParityDefault {
		out.Parity, _ = d.engine.Protection()
	}
	return out, nil
}

func adminSetBucketParity(d *daemon, r *http.Request) (any, error) {
	var in api.SetParity
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	if err := d.setBucketParity(r.Context(), r.PathValue("name"), in.Parity); err != nil {
		return nil, err
	}
	return adminBucketParity(d, r)
}

// checkBucketParity reads a bucket's setting that the drives can carry.
func (d *daemon) checkBucketParity(text string) (int, error) {
	parity, err := parseParity(text, api.ParityDefault)
	if err != nil {
		return 0, err
	}
	_, drives := d.engine.Protection()
	return parity, carryParity(parity, drives)
}

func (d *daemon) setBucketParity(ctx context.Context, bucket, text string) error {
	parity, err := d.checkBucketParity(text)
	if err != nil {
		return err
	}
	if err := d.s3.SetBucketParity(ctx, bucket, parity); err != nil {
		return ofBucket(bucket, err)
	}
	d.chosen.set(parity)
	d.supervisor.wake() // the metadata may want another copy
	return nil
}
