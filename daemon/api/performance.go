package api

import (
	"context"
	"net/http"
	"net/url"
)

// Types of buckets, and the word for no choice of one's own (WEKA documentation,
// "Configure S3 Performance Buckets").
const (
	BucketStandard     = "STANDARD"
	BucketPerformant   = "PERFORMANCE"
	PerformanceDefault = "default"
)

// Performance is what writes compute and how listings are ordered. In a record and
// in requests, "" is: as it is, or by default.
type Performance struct {
	ETagAlg       string `json:"etag_alg,omitempty"`       // "md5" or "uid"
	IntegrityMode string `json:"integrity_mode,omitempty"` // "client_defined" or "disabled"
	Sorting       string `json:"sorting,omitempty"`        // "sorted" or "unsorted"; listings are sorted either way
}

// Settings of Performance, as ResetPerformance names them.
const (
	SettingETagAlg       = "etag_alg"
	SettingIntegrityMode = "integrity_mode"
	SettingSorting       = "sorting"
)

// BucketPerformance is the answer of GET and PATCH /v1/buckets/{name}/performance.
type BucketPerformance struct {
	Bucket      string      `json:"bucket"`
	Type        string      `json:"type"` // "STANDARD" or "PERFORMANCE"
	Performance             // what is in force
	Settings    Performance `json:"settings"` // the bucket's own, or "default"
}

// ClusterPerformance is the answer of GET /v1/cluster/performance: what holds for
// buckets that chose nothing themselves.
type ClusterPerformance struct {
	Standard    Performance `json:"standard"`
	Performance Performance `json:"performance"`
}

// ResetPerformance is the body of POST /v1/cluster/performance/reset.
type ResetPerformance struct {
	Setting string `json:"setting"`
}

// PerformanceReset is its answer.
type PerformanceReset struct {
	Setting string   `json:"setting"`
	Buckets []string `json:"buckets"` // that had a choice of their own
}

// ClusterPerformance returns what holds for buckets that chose nothing themselves.
func (c *Client) ClusterPerformance(ctx context.Context) (out ClusterPerformance, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/cluster/performance", nil, &out)
}

// ResetPerformance takes a setting of their own from all buckets of type PERFORMANCE.
func (c *Client) ResetPerformance(ctx context.Context, setting string) (out PerformanceReset, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/cluster/performance/reset", ResetPerformance{Setting: setting}, &out)
}

// BucketPerformance returns a bucket's type and choices.
func (c *Client) BucketPerformance(ctx context.Context, bucket string) (out BucketPerformance, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/buckets/"+url.PathEscape(bucket)+"/performance", nil, &out)
}

// SetBucketPerformance changes a bucket's own choices: "default" removes one, and ""
// leaves it as it is.
func (c *Client) SetBucketPerformance(ctx context.Context, bucket string, in Performance) (out BucketPerformance, err error) {
	return out, c.call(ctx, http.MethodPatch, "/v1/buckets/"+url.PathEscape(bucket)+"/performance", in, &out)
}

// BucketDetails lists buckets by name, with their types and choices.
func (c *Client) BucketDetails(ctx context.Context) (out []BucketDetails, err error) {
	return out, c.call(ctx, http.MethodGet, "/v1/buckets?details=true", nil, &out)
}

// BucketDetails is a bucket with its type and what is in force there.
type BucketDetails struct {
	Bucket
	Type string `json:"type"`
	Performance
}
