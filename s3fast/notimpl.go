package s3fast

import (
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
		{"cors", "GetBucketCors", "s3:GetBucketCORS", s3err.NoSuchCORSConfiguration},
		{"lifecycle", "GetBucketLifecycleConfiguration", "s3:GetLifecycleConfiguration", s3err.NoSuchLifecycleConfiguration},
		{"tagging", "GetBucketTagging", "s3:GetBucketTagging", s3err.NoSuchTagSet},
		{"replication", "GetBucketReplication", "s3:GetReplicationConfiguration", s3err.ReplicationConfigurationNotFound},
		{"website", "GetBucketWebsite", "s3:GetBucketWebsite", s3err.NoSuchWebsiteConfiguration},
		{"object-lock", "GetObjectLockConfiguration", "s3:GetBucketObjectLockConfiguration", s3err.ObjectLockConfigurationNotFound},
	} {
		t.add(onBucket, "GET", c.sub, operation{name: c.name, action: c.action,
			run: func(r *request) error { return c.code.With("BucketName", r.bucket) }})
	}
	for _, c := range []struct{ sub, name, action string }{
		{"cors", "DeleteBucketCors", "s3:PutBucketCORS"},
		{"lifecycle", "DeleteBucketLifecycle", "s3:PutLifecycleConfiguration"},
		{"tagging", "DeleteBucketTagging", "s3:PutBucketTagging"},
		{"replication", "DeleteBucketReplication", "s3:PutReplicationConfiguration"},
		{"website", "DeleteBucketWebsite", "s3:DeleteBucketWebsite"},
	} {
		t.add(onBucket, "DELETE", c.sub, operation{name: c.name, action: c.action, run: noContent})
	}
	// Settings whose unset state is a document.
	for _, c := range []struct{ sub, name, action, doc string }{
		{"accelerate", "GetBucketAccelerateConfiguration", "s3:GetAccelerateConfiguration", element("AccelerateConfiguration", "")},
		{"logging", "GetBucketLogging", "s3:GetBucketLogging", element("BucketLoggingStatus", "")},
		{"notification", "GetBucketNotificationConfiguration", "s3:GetBucketNotification", element("NotificationConfiguration", "")},
		{"requestPayment", "GetBucketRequestPayment", "s3:GetBucketRequestPayment", element("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")},
	} {
		t.add(onBucket, "GET", c.sub, operation{name: c.name, action: c.action, run: func(r *request) error {
			r.answerXML([]byte(c.doc))
			return nil
		}})
	}
	version := []string{"versionId"}
	noLock := ofObject(func(*request) error { return s3err.NoSuchObjectLockConfiguration.New() })
	t.add(onObject, "GET", "retention", operation{name: "GetObjectRetention", action: "s3:GetObjectRetention", params: version, run: noLock})
	t.add(onObject, "GET", "legal-hold", operation{name: "GetObjectLegalHold", action: "s3:GetObjectLegalHold", params: version, run: noLock})
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
