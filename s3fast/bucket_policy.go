package s3fast

import (
	"errors"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/s3fast/policy"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// maxPolicyBody bounds the body of PutBucketPolicy in bytes. It is above what
// policies may have, so that one too large is told as such.
const maxPolicyBody = 4 * policy.MaxSize

// confirmHeader confirms a policy that shuts its author out.
const confirmHeader = "x-amz-confirm-remove-self-bucket-access"

func (t *routes) addAccess() {
	t.add(onBucket, "GET", "policy", operation{name: "GetBucketPolicy", action: "s3:GetBucketPolicy", run: getBucketPolicy})
	t.add(onBucket, "PUT", "policy", operation{name: "PutBucketPolicy", action: "s3:PutBucketPolicy",
		run: putBucketPolicy, body: bodyXML})
	t.add(onBucket, "DELETE", "policy", operation{name: "DeleteBucketPolicy", action: "s3:DeleteBucketPolicy",
		run: removeSetting(docPolicy)})
	t.add(onBucket, "GET", "policyStatus", operation{name: "GetBucketPolicyStatus",
		action: "s3:GetBucketPolicyStatus", run: getBucketPolicyStatus})

	t.add(onBucket, "GET", "publicAccessBlock", operation{name: "GetPublicAccessBlock",
		action: "s3:GetBucketPublicAccessBlock", run: getPublicAccessBlock})
	t.add(onBucket, "PUT", "publicAccessBlock", operation{name: "PutPublicAccessBlock",
		action: "s3:PutBucketPublicAccessBlock", run: putPublicAccessBlock, body: bodyXML})
	t.add(onBucket, "DELETE", "publicAccessBlock", operation{name: "DeletePublicAccessBlock",
		action: "s3:PutBucketPublicAccessBlock", run: removeSetting(docPublicAccess)})

	t.add(onBucket, "GET", "ownershipControls", operation{name: "GetBucketOwnershipControls",
		action: "s3:GetBucketOwnershipControls", run: getOwnershipControls})
	t.add(onBucket, "PUT", "ownershipControls", operation{name: "PutBucketOwnershipControls",
		action: "s3:PutBucketOwnershipControls", run: putOwnershipControls, body: bodyXML})
	t.add(onBucket, "DELETE", "ownershipControls", operation{name: "DeleteBucketOwnershipControls",
		action: "s3:PutBucketOwnershipControls", run: deleteOwnershipControls})

	t.addACL()
}

// removeSetting answers the removal of a setting, which need not be there.
func removeSetting(doc string) func(r *request) error {
	return func(r *request) error {
		if err := r.s.changeSetting(r.context(), &r.b, doc, nil); err != nil {
			return err
		}
		return noContent(r)
	}
}

// getBucketPolicy answers GetBucketPolicy: the document as it was put.
func getBucketPolicy(r *request) error {
	if r.settings.policyDoc == nil {
		return s3err.NoSuchBucketPolicy.With("BucketName", r.bucket)
	}
	r.ctx.Response.Header.SetContentType("application/json")
	r.ctx.Response.SetBodyRaw(r.settings.policyDoc)
	return nil
}

// putBucketPolicy answers PutBucketPolicy. The policy must be about this bucket.
//
// AWS keeps authors from shutting themselves out by letting the account's root
// user change policies whatever they say. There is no root user here, and a Deny
// binds every user; so a policy under which its author could not put the next one
// (from where, and how, this request comes) is refused, unless the author
// confirms by x-amz-confirm-remove-self-bucket-access: true. The administrator
// can always change it through the admin socket.
func putBucketPolicy(r *request) error {
	doc, err := r.readXML(maxPolicyBody)
	if err != nil {
		return err
	}
	if len(doc) == 0 {
		return s3err.MissingRequestBody.New()
	}
	p, err := policy.ParseBucket(doc, r.bucket)
	if err != nil {
		return malformedPolicy(err)
	}
	if r.settings.refusesPublic(p) {
		return s3err.AccessDenied.Say("User cannot put a public policy: the bucket's public access block has BlockPublicPolicy on.")
	}
	confirmed, _ := r.headers.get(confirmHeader)
	if !strings.EqualFold(strings.TrimSpace(confirmed), "true") {
		if err := r.keepsAccess(p); err != nil {
			return err
		}
	}
	if err := r.s.changeSetting(r.context(), &r.b, docPolicy, doc); err != nil {
		return err
	}
	return noContent(r)
}

// keepsAccess checks that who asks may still put policies once p is in force.
func (r *request) keepsAccess(p *policy.Policy) error {
	after := *r.settings
	after.policy, after.public, after.damaged = p, p.IsPublic(), nil
	q := question{r: r, bucket: r.bucket, set: &after}
	d, err := q.ask("s3:PutBucketPolicy")
	if err == nil && d != policy.Allow {
		err = s3err.AccessDenied.Say("The policy would keep you from changing it again. Put it with " + confirmHeader + ": true if that is what you want.")
	}
	return err
}

// malformedPolicy tells which element of a policy is faulty.
func malformedPolicy(err error) error {
	if !errors.Is(err, policy.ErrMalformed) {
		return err
	}
	e := s3err.MalformedPolicy.Because(err)
	e.Message = strings.TrimPrefix(err.Error(), policy.ErrMalformed.Error()+": ")
	return e
}

// getBucketPolicyStatus answers GetBucketPolicyStatus.
func getBucketPolicyStatus(r *request) error {
	if r.settings.policy == nil {
		return s3err.NoSuchBucketPolicy.With("BucketName", r.bucket)
	}
	r.answerXML(s3xml.AppendPolicyStatus(nil, r.settings.public))
	return nil
}

// noContent answers that what was to be done is done.
func noContent(r *request) error {
	r.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}
