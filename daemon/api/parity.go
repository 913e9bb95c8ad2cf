package api

import (
	"context"
	"net/http"
	"net/url"
)

// Settings of parity that are no number.
const (
	ParityAuto    = "auto"    // of a cluster: by the number of its drives
	ParityDefault = "default" // of a bucket: the cluster's
)

// Parity tells how new objects are protected.
type Parity struct {
	Setting string `json:"setting"` // "auto" or a number
	Parity  int    `json:"parity"`  // drives that may fail at a time
	Drives  int    `json:"drives"`  // that are not on their way out
}

// BucketParity is the answer of GET and PUT /v1/buckets/{name}/parity.
type BucketParity struct {
	Bucket  string `json:"bucket"`
	Setting string `json:"setting"` // "default" or a number
	Parity  int    `json:"parity"`  // of objects written now, in class STANDARD
}

// SetParity is the body of PUT /v1/buckets/{name}/parity.
type SetParity struct {
	Parity string `json:"parity"` // "default" or a number
}

// BucketParity returns the parity of a bucket's new objects.
func (c *Client) BucketParity(ctx context.Context, bucket string) (out BucketParity, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/buckets/"+url.PathEscape(bucket)+"/parity", nil, &out)
}

// SetBucketParity changes it.
func (c *Client) SetBucketParity(ctx context.Context, bucket, parity string) (out BucketParity, err error) {
	return out, c.call(ctx, http.MethodPut, "/v1/buckets/"+url.PathEscape(bucket)+"/parity", SetParity{Parity: parity}, &out)
}
