package s3fast

import (
	"encoding/json"

	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// The public access block of a bucket (Amazon S3 User Guide, "Blocking public
// access"):
//
//   - BlockPublicPolicy refuses policies that are public.
//   - RestrictPublicBuckets lets a public policy grant nothing to anonymous
//     requests; users of the cluster, who are all of the account that owns the
//     buckets, keep what it grants them.
//   - BlockPublicAcls and IgnorePublicAcls are kept and have no effect: ACLs are
//     disabled, so that none is public.
//
// Buckets are made without a block, other than AWS's since 2023. There the bucket
// belongs to whoever signs up, reachable from all of the internet; here nobody is
// let in but by a policy that somebody with s3:PutBucketPolicy, or the
// administrator, wrote for the purpose, and setting the preset "public" must work
// at once as WEKA's does, in one step and not in two. Those who want the second
// lock put a block, which then holds for the admin socket, too.

// getPublicAccessBlock answers GetPublicAccessBlock.
func getPublicAccessBlock(r *request) error {
	b := r.settings.block
	if err := r.settings.damaged; err != nil {
		return s3err.InternalError.Because(err)
	}
	if b == nil {
		return s3err.NoSuchPublicAccessBlock.With("BucketName", r.bucket)
	}
	r.answerXML(s3xml.AppendPublicAccessBlock(nil, &s3xml.PublicAccessBlock{
		BlockPublicAcls: b.BlockPublicACLs, IgnorePublicAcls: b.IgnorePublicACLs,
		BlockPublicPolicy: b.BlockPublicPolicy, RestrictPublicBuckets: b.RestrictPublicBuckets,
	}))
	return nil
}

// putPublicAccessBlock answers PutPublicAccessBlock. A public policy that is
// already there stays.
func putPublicAccessBlock(r *request) error {
	doc, err := r.readXML(s3xml.MaxPublicAccess)
	if err != nil {
		return err
	}
	if len(doc) == 0 {
		return s3err.MissingRequestBody.New()
	}
	b, err := s3xml.DecodePublicAccessBlock(doc)
	if err != nil {
		return err
	}
	value, err := json.Marshal(publicAccessBlock{
		BlockPublicACLs: b.BlockPublicAcls, IgnorePublicACLs: b.IgnorePublicAcls,
		BlockPublicPolicy: b.BlockPublicPolicy, RestrictPublicBuckets: b.RestrictPublicBuckets,
	})
	if err != nil {
		return err
	}
	return r.s.changeSetting(r.context(), &r.b, docPublicAccess, value)
}

// names lists the settings that are on, as their XML calls them.
func (b *publicAccessBlock) names() (on []string) {
	if b == nil {
		return nil
	}
	for _, f := range [...]struct {
		on   bool
		name string
	}{
		{b.BlockPublicACLs, "BlockPublicAcls"}, {b.IgnorePublicACLs, "IgnorePublicAcls"},
		{b.BlockPublicPolicy, "BlockPublicPolicy"}, {b.RestrictPublicBuckets, "RestrictPublicBuckets"},
	} {
		if f.on {
			on = append(on, f.name)
		}
	}
	return on
}
