package s3fast

import (
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/policy"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// question is one or more decisions about one resource. It gives policies the
// values of condition keys (see Lookup), and keeps what was costly to find for
// the next decision. It must not be used by several goroutines.
type question struct {
	r           *request
	bucket, key string
	set         *settings // of bucket; nil: it has none, or there is no such bucket

	version string // of a copy source, else the versionId parameter counts
	ifMatch string // of one object of DeleteObjects, else the header counts
	missing string // a key, where the question is who may know that it does not exist

	resource string
	tags     []meta.Header // of the object, when tagged
	tagged   bool
	open     bool  // a policy asked for what only the body tells
	err      error // a value could not be read

	known [8]keyValue // what was looked up
	used  int
	more  []*keyValue // beyond known
}

// keyValue is a condition key with its values. They are found once: what a
// decision costs must not grow with the number of policies that name a key.
type keyValue struct {
	key  string
	one  [1]string
	list []string // into one, where there is one value; nil: the key is absent
}

// anonymousPrincipal stands for requests without a signature. It is never changed.
var anonymousPrincipal = policy.Principal{Anonymous: true}

// ask decides on one action. An error means that there is no decision. The main
// question of a request is part of it, so that asking allocates nothing but the
// resource's name and values that policies ask for.
func (q *question) ask(action string) (policy.Decision, error) {
	if q.resource == "" {
		q.resource = resourceARN(q.bucket, q.key)
	}
	var in policy.Input
	req := policy.Request{Action: action, Resource: q.resource, Principal: anonymousPrincipal, Context: q}
	if id := q.r.identity; id != nil {
		in.Identity, in.Narrow, req.Principal = id.Policies, id.Narrow, id.Principal
		req.Principal.Canonical = ownerID
	}
	if set := q.set; set != nil {
		if set.damaged != nil && !repairs(action) {
			return policy.Deny, q.closed()
		}
		if set.damaged == nil {
			in.Bucket = set.policy
			in.RestrictPublic = set.public && set.block != nil && set.block.RestrictPublicBuckets
		}
	}
	d := policy.Decide(&req, &in)
	return d, q.err
}

// closed is the refusal of a bucket whose settings are damaged.
func (q *question) closed() error {
	if q.r.identity == nil {
		return s3err.AccessDenied.New()
	}
	return s3err.AccessDenied.Say("A setting of the bucket cannot be read: the bucket is closed until its policy and settings are put or deleted anew.")
}

// repairs tells the actions that read or replace what settings are made of.
func repairs(action string) bool {
	switch action {
	case "s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy",
		"s3:GetBucketPublicAccessBlock", "s3:PutBucketPublicAccessBlock",
		"s3:GetBucketOwnershipControls", "s3:PutBucketOwnershipControls",
		"s3:GetEncryptionConfiguration", "s3:PutEncryptionConfiguration":
		return true
	}
	return false
}

// resourceARN names an object, a bucket (key empty), or what policies for
// s3:ListAllMyBuckets name besides "*" (both empty).
func resourceARN(bucket, key string) string {
	const prefix = "arn:aws:s3:::"
	switch {
	case key != "":
		return prefix + bucket + "/" + key
	case bucket != "":
		return prefix + bucket
	}
	return prefix + "*"
}
