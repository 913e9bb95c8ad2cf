package s3fast

import (
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
)

// addConfigurations adds the settings of buckets and objects that are not built.
// Clients probe them, so reading one answers what is true: it is not set. Removing
// one that is not set succeeds, as with S3. Writing one is refused, by
// routes.match: the table has no such operation.
func (t *routes) addConfigurations() {
	for _, c := range []struct {
		sub, name, action string
		code              *s3err.Code
	}{
		{"policy", "GetBucketPolicy", "s3:GetBucketPolicy", s3err.NoSuchBucketPolicy},
		{"policyStatus", "GetBucketPolicyStatus", "s3:GetBucketPolicyStatus", s3err.NoSuchBucketPolicy},
		{"cors", "GetBucketCors", "s3:GetBucketCORS", s3err.NoSuchCORSConfiguration},
		{"lifecycle", "GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration", s3err.NoSuchLifecycleConfiguration},
		{"tagging", "GetBucketTagging", "s3:GetBucketTagging", s3err.NoSuchTagSet},
		{"encryption", "GetBucketEncryption", "s3:GetEncryptionConfiguration", s3err.EncryptionConfigurationNotFound},
		{"replication", "GetBucketReplication", "s3:GetReplicationConfiguration", s3err.ReplicationConfigurationNotFound},
		{"website", "GetBucketWebsite", "s3:GetBucketWebsite", s3err.NoSuchWebsiteConfiguration},
		{"object-lock", "GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration", s3err.ObjectLockConfigurationNotFound},
		{"publicAccessBlock", "GetPublicAccessBlock", "s3:GetBucketPublicAccessBlock", s3err.NoSuchPublicAccessBlock},
	} {
		t.add(onBucket, "GET", c.sub, operation{name: c.name, action: c.action,
			run: func(r *request) error { return c.code.With("BucketName", r.bucket) }})
	}
	for _, c := range []struct{ sub, name, action string }{
		{"policy", "DeleteBucketPolicy", "s3:DeleteBucketPolicy"},
		{"cors", "DeleteBucketCors", "s3:PutBucketCORS"},
		{"lifecycle", "DeleteBucketLifecycle", "s3:PutLifecycleConfiguration"},
		{"tagging", "DeleteBucketTagging", "s3:PutBucketTagging"},
		{"encryption", "DeleteBucketEncryption", "s3:PutEncryptionConfiguration"},
		{"replication", "DeleteBucketReplication", "s3:PutReplicationConfiguration"},
		{"website", "DeleteBucketWebsite", "s3:DeleteBucketWebsite"},
		{"publicAccessBlock", "DeletePublicAccessBlock", "s3:PutBucketPublicAccessBlock"},
	} {
		t.add(onBucket, "DELETE", c.sub, operation{name: c.name, action: c.action, run: noContent})
	}
	// Settings whose unset state is a document.
	for _, c := range []struct{ sub, name, action, doc string }{
		{"accelerate", "GetBucketAccelerateConfiguration", "s3:GetAccelerateConfiguration", element("AccelerateConfiguration", "")},
		{"logging", "GetBucketLogging", "s3:GetBucketLogging", element("BucketLoggingStatus", "")},
		{"notification", "GetBucketNotificationConfiguration", "s3:GetBucketNotification", element("NotificationConfiguration", "")},
		{"requestPayment", "GetBucketRequestPayment", "s3:GetBucketRequestPayment", element("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")},
		{"ownershipControls", "GetBucketOwnershipControls", "s3:GetBucketOwnershipControls",
			element("OwnershipControls", "<Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>")},
	} {
		t.add(onBucket, "GET", c.sub, operation{name: c.name, action: c.action, run: func(r *request) error {
			r.answerXML([]byte(c.doc))
			return nil
		}})
	}
	t.add(onBucket, "GET", "acl", operation{name: "GetBucketAcl", action: "s3:GetBucketAcl", run: answerACL})
	t.add(onBucket, "PUT", "acl", operation{name: "PutBucketAcl", action: "s3:PutBucketAcl", run: putACL, body: bodyXML})
	version := []string{"versionId"}
	t.add(onObject, "GET", "acl", operation{name: "GetObjectAcl", action: "s3:GetObjectAcl", params: version,
		run: ofObject(answerACL)})
	t.add(onObject, "PUT", "acl", operation{name: "PutObjectAcl", action: "s3:PutObjectAcl", params: version,
		run: ofObject(putACL), body: bodyXML})
	t.add(onObject, "GET", "tagging", operation{name: "GetObjectTagging", action: "s3:GetObjectTagging", params: version,
		run: ofObject(func(r *request) error {
			r.answerXML(s3xml.AppendTagging(nil, nil))
			return nil
		})})
	t.add(onObject, "DELETE", "tagging", operation{name: "DeleteObjectTagging", action: "s3:DeleteObjectTagging", params: version,
		run: ofObject(noContent)})
	noLock := ofObject(func(*request) error { return s3err.NoSuchObjectLockConfiguration.New() })
	t.add(onObject, "GET", "retention", operation{name: "GetObjectRetention", action: "s3:GetObjectRetention", params: version, run: noLock})
	t.add(onObject, "GET", "legal-hold", operation{name: "GetObjectLegalHold", action: "s3:GetObjectLegalHold", params: version, run: noLock})
}

// noContent answers that what was to be removed is not there any more.
func noContent(r *request) error {
	r.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// element is a document of one element in S3's namespace.
func element(name, content string) string {
	return s3xml.Header + "<" + name + ` xmlns="` + s3xml.Namespace + `">` + content + "</" + name + ">"
}

// ofObject runs an operation on the settings of an object that must exist.
func ofObject(run func(r *request) error) func(r *request) error {
	return func(r *request) error {
		if err := r.checkVersion(); err != nil {
			return err
		}
		if _, err := r.s.cfg.Engine.Head(r.context(), r.bucket, r.key); err != nil {
			return err
		}
		return run(r)
	}
}

// answerACL answers the one ACL there is with ACLs disabled: the owner's.
func answerACL(r *request) error {
	r.answerXML(s3xml.AppendOwnerACL(nil, &s3xml.Owner{ID: ownerID}))
	return nil
}

// putACL answers PutBucketAcl and PutObjectAcl. ACLs are disabled (Amazon S3 User
// Guide, "Controlling ownership of objects"): setting the one there is changes
// nothing, and clients that copy ACLs do so; any other is refused as by AWS.
func putACL(r *request) error {
	for i := range r.headers.list {
		if strings.HasPrefix(r.headers.list[i].name, "x-amz-grant-") {
			return s3err.AccessControlListNotSupported.New()
		}
	}
	doc, err := r.readXML(s3xml.MaxACL)
	if err != nil {
		return err
	}
	canned, ok := r.headers.get("x-amz-acl")
	switch {
	case ok && len(doc) > 0:
		return s3err.UnexpectedContent.New()
	case ok:
		return refuseHeader("x-amz-acl", strings.TrimSpace(canned))
	case len(doc) == 0:
		return s3err.MissingSecurityHeader.New()
	}
	grants, err := s3xml.DecodeACL(doc)
	if err != nil {
		return s3err.MalformedACL.Because(err)
	}
	if len(grants) != 1 || grants[0] != (s3xml.Grant{ID: ownerID, Permission: "FULL_CONTROL"}) {
		return s3err.AccessControlListNotSupported.New()
	}
	return nil
}

func notImplemented(*request) error {
	return s3err.NotImplemented.Say("This operation is not implemented.")
}

// accessForbidden answers a CORS preflight of a bucket without CORS rules.
var accessForbidden = &s3err.Code{Code: "AccessForbidden", Status: 403,
	Message: "CORSResponse: CORS is not enabled for this bucket."}

// preflight answers OPTIONS (S3 API Reference, "OPTIONS object"): no bucket has
// CORS rules, so none is allowed.
func preflight(r *request) error {
	if _, ok := r.headers.get("origin"); !ok {
		return s3err.BadRequest.Say("Insufficient information. Origin request header needed.")
	}
	if _, ok := r.headers.get("access-control-request-method"); !ok {
		return s3err.BadRequest.Say("Invalid Access-Control-Request-Method: null")
	}
	method, _ := r.headers.get("access-control-request-method")
	return (&s3err.Error{Code: accessForbidden}).With("Method", method, "ResourceType", "BUCKET")
}
