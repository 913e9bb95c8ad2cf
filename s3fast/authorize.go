package s3fast

import (
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/policy"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// accountID is the account that every user of a cluster belongs to, for
// x-amz-expected-bucket-owner; ownerID is its canonical id, and the owner of
// every bucket and object.
const (
	accountID = iam.AccountID
	ownerID   = "5c1c3d0a2be8a4c1b2d0f6a7c5e0d9f14b8f3e6a7d2c1b0a9f8e7d6c5b4a3928"
)

// findBucket looks up the bucket that the request names, and its settings. A
// bucket that does not exist is not an error yet: who may hear of that is for
// authorize to say.
func (r *request) findBucket() error {
	if r.bucket == "" || r.op.bucketless {
		return nil
	}
	b, err := r.s.cfg.Engine.Bucket(r.context(), r.bucket)
	if engine.KindOf(err) == engine.NoBucket {
		r.absent = err
		return nil
	}
	if err != nil {
		return err
	}
	r.b = b
	r.settings, err = r.s.settingsOf(r.context(), &r.b)
	return err
}

// authorize checks that who asks may do the operation: its actions (see needs)
// are all allowed on the resource that the request names. Operations without an
// action check each of their resources themselves.
//
// That a bucket does not exist is told to whom the operation would be allowed,
// and to anonymous requests, as AWS does: only policies of buckets that exist
// could let them in anywhere.
func (r *request) authorize() error {
	for _, h := range [...]string{"x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"} {
		if owner, ok := r.headers.get(h); ok && owner != accountID {
			return s3err.AccessDenied.New()
		}
	}
	if r.op.action == "" || r.absent != nil && r.identity == nil {
		return r.absent
	}
	q := &r.question
	*q = question{r: r, bucket: r.bucket, key: r.key, set: r.settings}
	var buf [8]string
	for _, action := range r.needs(buf[:0]) {
		d, err := q.ask(action)
		if err != nil {
			return err
		}
		if d != policy.Allow && !q.open {
			return r.denied(action, r.bucket, r.key, d)
		}
	}
	r.open = q.open
	return r.absent
}

// authorizeWithBody decides again when authorize could not: a policy names a
// condition key whose value only the body tells, which the caller has now read.
func (r *request) authorizeWithBody() error {
	if !r.open {
		return nil
	}
	r.open, r.bodyKnown = false, true
	return r.authorize()
}

// allows reports whether who asks may do action on an object, on a bucket (key
// empty), or on the service (both empty). It may be called by several goroutines
// at once.
func (r *request) allows(action, bucket, key string) bool {
	return r.allow(action, bucket, key) == nil
}

// allow is allows with the reason. Errors: AccessDenied; those of the engine
// when the bucket's settings or the object's tags cannot be read.
func (r *request) allow(action, bucket, key string) error {
	q := question{r: r, bucket: bucket, key: key}
	return q.allow(action)
}

// allow asks for a bucket that may be another than the request's.
func (q *question) allow(action string) error {
	r := q.r
	if err := q.findSettings(); err != nil {
		return err
	}
	d, err := q.ask(action)
	if err != nil {
		return err
	}
	if d != policy.Allow {
		return r.denied(action, q.bucket, q.key, d)
	}
	return nil
}

// findSettings finds the settings of the bucket asked about. One that does not
// exist has none.
func (q *question) findSettings() error {
	r := q.r
	if q.bucket == "" || q.bucket == r.bucket {
		q.set = r.settings
		if q.key != "" && q.key == r.key && r.question.tagged {
			q.tags, q.tagged = r.question.tags, true
		}
		return nil
	}
	b, err := r.s.cfg.Engine.Bucket(r.context(), q.bucket)
	if err == nil {
		q.set, err = r.s.settingsOf(r.context(), &b)
	}
	if engine.KindOf(err) == engine.NoBucket {
		return nil
	}
	return err
}

// denied explains a refusal in the words of AWS (IAM User Guide, "Troubleshoot
// access denied error messages"). Anonymous requests are told nothing.
func (r *request) denied(action, bucket, key string, d policy.Decision) error {
	if r.identity == nil {
		return s3err.AccessDenied.New()
	}
	who := r.identity.Principal.ARN
	if who == "" {
		who = r.userName()
	}
	why := "because no policy allows the " + action + " action"
	if d == policy.Deny {
		why = "with an explicit deny in a policy"
	}
	return s3err.AccessDenied.Say("User: " + who + " is not authorized to perform: " + action +
		" on resource: \"" + resourceARN(bucket, key) + "\" " + why)
}

// mayMiss checks that who asks may know that a key does not exist: that needs
// s3:ListBucket (S3 API Reference, GetObject, "Permissions"), as in a listing of
// that very prefix. Errors: those of allow.
func (r *request) mayMiss(bucket, key string) error {
	q := question{r: r, bucket: bucket, missing: key}
	return q.allow("s3:ListBucket")
}

// hide replaces the answer that a key does not exist by AccessDenied for those
// who may not know. The source of a copy is another matter: see openSource.
func (r *request) hide(e *s3err.Error) *s3err.Error {
	if e.Code != s3err.NoSuchKey || r.key == "" || r.op.name == "CopyObject" || r.op.name == "UploadPartCopy" {
		return e
	}
	if err := r.mayMiss(r.bucket, r.key); err != nil {
		denied := s3Error(err)
		denied.Cause = e
		return denied
	}
	return e
}
