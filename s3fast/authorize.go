package s3fast

import (
	"strings"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// accountID is the account that every user of a cluster belongs to, for
// x-amz-expected-bucket-owner; ownerID is its canonical id, and the owner of
// every bucket and object.
const (
	accountID = "000000000000"
	ownerID   = "5c1c3d0a2be8a4c1b2d0f6a7c5e0d9f14b8f3e6a7d2c1b0a9f8e7d6c5b4a3928"
)

// authenticate verifies the signature and finds who signed.
func (r *request) authenticate() error {
	auth, err := r.s.verifier.Verify(sigView{r})
	if err != nil {
		return err
	}
	id, ok := r.s.cfg.IAM.Identity(auth.AccessKey)
	if !ok { // removed since the signature was checked
		return s3err.InvalidAccessKeyID.New()
	}
	if auth.SessionToken != "" {
		return s3err.InvalidToken.New() // no temporary credentials are issued
	}
	r.auth, r.identity = auth, id
	return nil
}

// authorize checks that the identity may do the operation. Operations without
// an action check each of their resources themselves.
func (r *request) authorize() error {
	for _, h := range [...]string{"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"} {
		if owner, ok := r.headers.get(h); ok && owner != accountID {
			return s3err.AccessDenied.New()
		}
	}
	if r.op.action == "" {
		return nil
	}
	if !r.allows(r.op.action, r.bucket, r.key) {
		return s3err.AccessDenied.New()
	}
	if r.op.also != "" && !r.allows(r.op.also, r.bucket, r.key) {
		return s3err.AccessDenied.New()
	}
	if r.query.has("versionId") && !r.allows(r.op.action+"Version", r.bucket, r.key) {
		return s3err.AccessDenied.New()
	}
	return nil
}

// allows reports whether who signed may do action on an object, on a bucket
// (key empty), or on the service (both empty).
func (r *request) allows(action, bucket, key string) bool {
	const prefix = "arn:aws:s3:::"
	resource := prefix + "*" // what policies for s3:ListAllMyBuckets name, besides "*"
	switch {
	case key != "":
		resource = prefix + bucket + "/" + key
	case bucket != "":
		resource = prefix + bucket
	}
	return r.identity != nil && r.identity.Allows(action, resource)
}

// hide replaces the answer that a key does not exist by AccessDenied for those
// who may not list the bucket (S3 API Reference, GetObject, "Permissions").
func (r *request) hide(e *s3err.Error) *s3err.Error {
	if e.Code == s3err.NoSuchKey && strings.HasPrefix(r.op.action, "s3:GetObject") &&
		!r.allows("s3:ListBucket", r.bucket, "") {
		return s3err.AccessDenied.Because(e)
	}
	return e
}
