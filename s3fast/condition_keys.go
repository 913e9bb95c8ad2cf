package s3fast

import (
	"crypto/tls"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/iam"
)

// Lookup implements policy.Context: the condition keys of a request (AWS IAM User
// Guide, "AWS global condition context keys"; Service Authorization Reference,
// "Actions, resources, and condition keys for Amazon S3"). What AWS documents and
// is not listed here is absent, as is every key that a request has no value for.
//
// Some are worth a word:
//
//   - aws:SourceIp is the TCP peer, unless that is a trusted proxy (see source).
//     aws:SecureTransport and s3:TlsVersion are about the connection that ends
//     here, whatever a proxy in front of it had.
//   - Service accounts and sessions act as their user: they have its aws:username
//     and aws:PrincipalArn, so that a Deny of the user binds them. A session's
//     aws:PrincipalType is AssumedRole all the same, and its aws:userid its own;
//     a web identity's aws:PrincipalArn is its role's, as with AWS.
//   - aws:FederatedProvider is the OIDC issuer without "https://"; jwt:iss, jwt:sub
//     and jwt:aud are the ID token's.
//   - s3:prefix, s3:delimiter and s3:max-keys exist in listings that give them: a
//     parameter without meaning to an operation must not open it. Where the
//     question is whether to tell that a key is missing, s3:prefix is that key.
//   - s3:ExistingObjectTag is there for every action on an object that exists,
//     for writing and deleting too, where AWS leaves it out.
//   - s3:x-amz-copy-source is "bucket/key", decoded and without leading slash,
//     and s3:x-amz-metadata-directive upper-case, however the client spelled them.
func (q *question) Lookup(key string) []string {
	for i := range q.used {
		if q.known[i].key == key {
			return q.known[i].list
		}
	}
	for _, kv := range q.more {
		if kv.key == key {
			return kv.list
		}
	}
	kv := q.slot()
	kv.key = key
	if v, ok := q.find(key); ok {
		kv.one[0] = v
		kv.list = kv.one[:]
	} else if key == "s3:requestobjecttagkeys" {
		kv.list = q.requestTagKeys()
	}
	return kv.list
}

// slot makes room for one more key.
func (q *question) slot() *keyValue {
	if q.used < len(q.known) {
		q.used++
		return &q.known[q.used-1]
	}
	kv := new(keyValue)
	q.more = append(q.more, kv)
	return kv
}

// find finds the value of a key that has one.
func (q *question) find(key string) (string, bool) {
	if name, ok := strings.CutPrefix(key, "s3:"); ok {
		return q.s3Key(name)
	}
	if name, ok := strings.CutPrefix(key, "aws:"); ok {
		return q.globalKey(name)
	}
	if name, ok := strings.CutPrefix(key, "jwt:"); ok {
		return webKey(q.r.identity, name)
	}
	return "", false
}

// webKey gives a claim of who signed in by an OIDC provider.
func webKey(id *iam.Identity, name string) (string, bool) {
	if id == nil || id.Web == nil {
		return "", false
	}
	switch name {
	case "iss":
		return id.Web.Issuer, true
	case "sub":
		return id.Web.Subject, true
	case "aud":
		return id.Web.Audience, true
	}
	return "", false
}

// globalKey gives a key of the namespace aws:.
func (q *question) globalKey(name string) (string, bool) {
	r := q.r
	switch name {
	case "sourceip":
		addr := r.source()
		return addr.String(), addr.IsValid()
	case "securetransport":
		return strconv.FormatBool(r.secure()), true
	case "useragent":
		return r.headers.get("user-agent")
	case "referer":
		return r.headers.get("referer")
	case "currenttime":
		return r.started.UTC().Format(time.RFC3339), true
	case "epochtime":
		return decimal(r.started.Unix()), true
	case "requestedregion":
		return r.s.cfg.Region, true
	case "resourceaccount":
		return accountID, true
	case "viaawsservice", "principalisawsservice":
		return "false", true
	case "principaltype":
		return principalType(r.identity), true
	}
	if id := r.identity; id != nil {
		return principalKey(id, name)
	}
	if name == "userid" {
		return "anonymous", true
	}
	return "", false
}

// principalType is aws:PrincipalType.
func principalType(id *iam.Identity) string {
	switch {
	case id == nil:
		return "Anonymous"
	case id.Kind == iam.KindSession:
		return "AssumedRole"
	}
	return "User"
}

// principalKey gives a key of someone who signed.
func principalKey(id *iam.Identity, name string) (string, bool) {
	v := ""
	switch name {
	case "username":
		v = id.Name
	case "userid":
		v = id.UserID
	case "principalarn":
		v = id.Principal.ARN
		if n := len(id.Principal.Parents); id.Kind == iam.KindSession && n > 0 {
			v = id.Principal.Parents[n-1]
		}
	case "principalaccount":
		v = id.Principal.Account
	case "tokenissuetime":
		if !id.Issued.IsZero() {
			v = id.Issued.Format(time.RFC3339)
		}
	case "federatedprovider":
		issuer, _ := webKey(id, "iss")
		v = strings.TrimPrefix(issuer, "https://")
	}
	return v, v != ""
}

// s3Key gives a key of the namespace s3: that has one value.
func (q *question) s3Key(name string) (string, bool) {
	r := q.r
	if header, ok := strings.CutPrefix(name, "x-amz-"); ok {
		return q.headerKey(name, header)
	}
	if tag, ok := strings.CutPrefix(name, "existingobjecttag/"); ok {
		return q.existingTag(tag)
	}
	if tag, ok := strings.CutPrefix(name, "requestobjecttag/"); ok {
		for _, t := range q.requestTags() {
			if t.Name == tag {
				return t.Value, true
			}
		}
		return "", false
	}
	switch name {
	case "prefix", "delimiter", "max-keys":
		if name == "prefix" && q.missing != "" {
			return q.missing, true
		}
		if r.op.lists {
			return r.query.get(name)
		}
	case "versionid":
		if q.version != "" {
			return q.version, true
		}
		return r.query.get("versionId")
	case "authtype":
		return r.authType()
	case "signatureversion":
		return r.signatureVersion()
	case "signatureage":
		if _, ok := r.signatureVersion(); ok && r.auth.Scope != "" {
			return decimal(max(0, r.started.Sub(r.auth.Time).Milliseconds())), true
		}
	case "tlsversion":
		return r.tlsVersion()
	case "resourceaccount":
		return accountID, true
	case "locationconstraint":
		return q.location()
	case "if-match", "if-none-match":
		if r.op.name == "DeleteObjects" { // acts upon what its body says of the object alone
			return q.ifMatch, q.ifMatch != "" && name == "if-match"
		}
		return r.headers.get(name)
	case "objectcreationoperation":
		return r.op.creates()
	case "object-lock-mode", "object-lock-retain-until-date", "object-lock-legal-hold":
		return r.headers.get("x-amz-" + name)
	case "object-lock-remaining-retention-days":
		return r.retentionDays()
	}
	return "", false
}

// requestTagKeys gives s3:RequestObjectTagKeys.
func (q *question) requestTagKeys() []string {
	tags := q.requestTags()
	if len(tags) == 0 {
		return nil
	}
	keys := make([]string, len(tags))
	for i := range tags {
		keys[i] = tags[i].Name
	}
	return keys
}

// headerKey gives s3:x-amz-…, the header of that name.
func (q *question) headerKey(name, short string) (string, bool) {
	v, ok := q.r.headers.get(name)
	if !ok {
		if short == "content-sha256" && q.r.auth.Presigned && q.r.auth.Scope != "" { // else nobody signed it
			return q.r.query.get("X-Amz-Content-Sha256")
		}
		return "", false
	}
	v = strings.TrimSpace(v)
	switch short {
	case "copy-source":
		bucket, key, _, err := parseCopySource(v)
		if err != nil {
			return v, true // the operation will refuse it
		}
		return bucket + "/" + key, true
	case "metadata-directive":
		return strings.ToUpper(v), true
	}
	return v, true
}

// existingTag gives s3:ExistingObjectTag: the object is looked up once.
func (q *question) existingTag(name string) (string, bool) {
	if q.key == "" {
		return "", false
	}
	if !q.tagged {
		o, err := q.r.s.cfg.Engine.Head(q.r.context(), q.bucket, q.key)
		switch engine.KindOf(err) {
		case engine.NoObject, engine.NoBucket:
		default:
			q.err = err
		}
		if err == nil {
			q.tags = o.Tags
		}
		q.tagged = true
	}
	for i := range q.tags {
		if q.tags[i].Name == name {
			return q.tags[i].Value, true
		}
	}
	return "", false
}

// location gives s3:LocationConstraint of CreateBucket, when the body tells one.
func (q *question) location() (string, bool) {
	if q.r.op.name != "CreateBucket" {
		return "", false
	}
	if !q.r.bodyKnown {
		q.open = true
		return "", false
	}
	return q.r.constraint, q.r.constraint != ""
}

// authType is s3:authType.
func (r *request) authType() (string, bool) {
	switch {
	case r.identity == nil:
		return "", false
	case r.form != nil:
		return "POST", true
	case r.auth.Presigned:
		return "REST-QUERY-STRING", true
	}
	return "REST-HEADER", true
}

// signatureVersion is s3:signatureversion.
func (r *request) signatureVersion() (string, bool) {
	switch {
	case r.identity == nil:
		return "", false
	case r.auth.Scope == "":
		return "AWS", true // version 2
	}
	return "AWS4-HMAC-SHA256", true
}

// secure tells whether the connection is TLS.
func (r *request) secure() bool { return r.conn != nil && r.conn.secure }

// tlsVersion is s3:TlsVersion: "1.2", "1.3".
func (r *request) tlsVersion() (string, bool) {
	c, ok := r.ctx.Conn().(*secureConn)
	if !ok {
		return "", false
	}
	switch c.ConnectionState().Version {
	case tls.VersionTLS10:
		return "1.0", true
	case tls.VersionTLS11:
		return "1.1", true
	case tls.VersionTLS12:
		return "1.2", true
	case tls.VersionTLS13:
		return "1.3", true
	}
	return "", false
}

// creates is s3:ObjectCreationOperation: "true" where an object comes to be,
// "false" on the way there.
func (op *operation) creates() (string, bool) {
	switch op.name {
	case "PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload":
		return "true", true
	case "CreateMultipartUpload", "UploadPart", "UploadPartCopy":
		return "false", true
	}
	return "", false
}

// retentionDays is s3:object-lock-remaining-retention-days: whole days from now
// to the date asked for.
func (r *request) retentionDays() (string, bool) {
	v, ok := r.headers.get("x-amz-object-lock-retain-until-date")
	if !ok {
		return "", false
	}
	until, err := time.Parse(time.RFC3339, strings.TrimSpace(v))
	if err != nil {
		return "", false
	}
	return decimal(int64(until.Sub(r.started).Hours() / 24)), true
}

// requestTags are the tags that the request gives. Tags that cannot be parsed
// leave the question unanswered: nothing is decided about what is not understood.
func (q *question) requestTags() []meta.Header {
	switch {
	case q.r.tagged:
		return q.r.tags
	case q.r.op.name == "DeleteObjects": // asked by several goroutines; takes no tags
		return nil
	case q.r.op.name == "CopyObject" && !strings.EqualFold(q.r.header(taggingDirective), "REPLACE"):
		return nil // the copy gets its source's
	}
	tags, err := q.r.requestTags()
	if err != nil {
		q.err = err
	}
	return tags
}
