package api

import (
	"context"
	"net/http"
	"net/url"
)

// PolicyDocument is a policy, as given.
type PolicyDocument struct {
	Document string `json:"document"`
}

// BucketPolicy is the answer of GET and PUT /v1/buckets/{name}/policy.
type BucketPolicy struct {
	Bucket   string `json:"bucket"`
	Policy   string `json:"policy"` // none, download, upload, public, or custom
	Public   bool   `json:"public"`
	Document string `json:"document,omitempty"`
}

// SetBucketPolicy is the body of PUT /v1/buckets/{name}/policy: a preset's name
// or a document.
type SetBucketPolicy struct {
	Preset   string `json:"preset,omitempty"`
	Document string `json:"document,omitempty"`
}

// Simulate is the body of POST /v1/policies/simulate: what would be decided if
// a user, or with no user an anonymous client, asked for an action.
type Simulate struct {
	User         string              `json:"user,omitempty"` // or an access key
	Anonymous    bool                `json:"anonymous,omitempty"`
	Document     string              `json:"document,omitempty"` // evaluate this policy in place of the user's
	Action       string              `json:"action"`
	Resource     string              `json:"resource"`                // "arn:aws:s3:::bucket/key", or "bucket/key"
	BucketPolicy string              `json:"bucket_policy,omitempty"` // in place of the stored one
	Context      map[string][]string `json:"context,omitempty"`
}

// Simulation explains a decision.
type Simulation struct {
	Decision   string               `json:"decision"` // allow, deny, default deny
	Allowed    bool                 `json:"allowed"`
	Reason     string               `json:"reason"`
	Action     string               `json:"action"`
	Resource   string               `json:"resource"`
	Principal  string               `json:"principal"`
	Statements []SimulatedStatement `json:"statements"`
}

// SimulatedStatement is what one statement contributed.
type SimulatedStatement struct {
	Source  string `json:"source"`         // identity, narrow, bucket
	Policy  int    `json:"policy"`         // index within the source
	Name    string `json:"name,omitempty"` // of an attached policy
	Index   int    `json:"statement"`
	Sid     string `json:"sid,omitempty"`
	Effect  string `json:"effect"`
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
}

func bucketPolicy(bucket string) string { return "/v1/buckets/" + url.PathEscape(bucket) + "/policy" }

// BucketPolicy returns the policy of a bucket.
func (c *Client) BucketPolicy(ctx context.Context, bucket string) (out BucketPolicy, err error) {
	return out, c.call(ctx, http.MethodGet, bucketPolicy(bucket), nil, &out)
}

// SetBucketPolicy sets the policy of a bucket.
func (c *Client) SetBucketPolicy(ctx context.Context, bucket string, in SetBucketPolicy) (out BucketPolicy, err error) {
	return out, c.call(ctx, http.MethodPut, bucketPolicy(bucket), in, &out)
}

// ResetBucketPolicy removes the policy of a bucket.
func (c *Client) ResetBucketPolicy(ctx context.Context, bucket string) error {
	return c.call(ctx, http.MethodDelete, bucketPolicy(bucket), nil, nil)
}

// Simulate explains a decision without making a request.
func (c *Client) Simulate(ctx context.Context, in Simulate) (out Simulation, err error) {
	return out, c.call(ctx, http.MethodPost, "/v1/policies/simulate", in, &out)
}
