package s3fast

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/policy"
)

type actionCase struct {
	request string // method, target
	headers string // name=value, apart by blanks
	op      string
	actions string // without "s3:"
	on      string // resource, without "arn:aws:s3:::"
}

// build parses and routes the request of a case.
func (c *actionCase) build(t *testing.T, s *Server) *request {
	t.Helper()
	method, uri, _ := strings.Cut(c.request, " ")
	ctx := new(fasthttp.RequestCtx)
	ctx.Request.Header.SetMethod(method)
	r := &request{s: s, ctx: ctx}
	tg, ok := parseTarget(uri)
	if !ok {
		t.Fatalf("target %q", uri)
	}
	r.target = tg
	if r.query.pairs, ok = parseQuery(nil, tg.query); !ok {
		t.Fatalf("query %q", tg.query)
	}
	var err error
	r.bucket, r.key, err = tg.names("h", nil)
	must(t, err)
	for _, h := range strings.Fields(c.headers) {
		name, value, _ := strings.Cut(h, "=")
		r.headers.list = append(r.headers.list, pair{name, value})
	}
	must(t, s.routes.match(r))
	r.settings = plainSettings
	return r
}

// actionCases are the actions that AWS documents for each operation (Amazon S3
// User Guide, "Required permissions for Amazon S3 API operations"; Service
// Authorization Reference), on the resource that the request names.
var actionCases = []actionCase{
	{"GET /", "", "ListBuckets", "ListAllMyBuckets", "*"},
	{"PUT /bkt", "", "CreateBucket", "CreateBucket", "bkt"},
	{"PUT /bkt", "x-amz-acl=private", "CreateBucket", "CreateBucket PutBucketAcl", "bkt"},
	{"PUT /bkt", "x-amz-grant-read=id=1 x-amz-grant-write=id=1", "CreateBucket", "CreateBucket PutBucketAcl", "bkt"},
	{"PUT /bkt", "x-amz-object-ownership=BucketOwnerEnforced", "CreateBucket", "CreateBucket PutBucketOwnershipControls", "bkt"},
	{"PUT /bkt", "x-amz-bucket-object-lock-enabled=true", "CreateBucket", "CreateBucket PutBucketObjectLockConfiguration PutBucketVersioning", "bkt"},
	{"PUT /bkt", "x-amz-bucket-object-lock-enabled=false", "CreateBucket", "CreateBucket", "bkt"},
	{"HEAD /bkt", "", "HeadBucket", "ListBucket", "bkt"},
	{"DELETE /bkt", "", "DeleteBucket", "DeleteBucket", "bkt"},
	{"GET /bkt", "", "ListObjects", "ListBucket", "bkt"},
	{"GET /bkt?list-type=2", "", "ListObjectsV2", "ListBucket", "bkt"},
	{"GET /bkt?versions", "", "ListObjectVersions", "ListBucketVersions", "bkt"},
	{"GET /bkt?uploads", "", "ListMultipartUploads", "ListBucketMultipartUploads", "bkt"},
	{"GET /bkt?location", "", "GetBucketLocation", "GetBucketLocation", "bkt"},
	{"GET /bkt?versioning", "", "GetBucketVersioning", "GetBucketVersioning", "bkt"},
	{"GET /bkt?acl", "", "GetBucketAcl", "GetBucketAcl", "bkt"},
	{"PUT /bkt?acl", "", "PutBucketAcl", "PutBucketAcl", "bkt"},
	{"GET /bkt?policy", "", "GetBucketPolicy", "GetBucketPolicy", "bkt"},
	{"PUT /bkt?policy", "", "PutBucketPolicy", "PutBucketPolicy", "bkt"},
	{"DELETE /bkt?policy", "", "DeleteBucketPolicy", "DeleteBucketPolicy", "bkt"},
	{"GET /bkt?policyStatus", "", "GetBucketPolicyStatus", "GetBucketPolicyStatus", "bkt"},
	{"GET /bkt?publicAccessBlock", "", "GetPublicAccessBlock", "GetBucketPublicAccessBlock", "bkt"},
	{"PUT /bkt?publicAccessBlock", "", "PutPublicAccessBlock", "PutBucketPublicAccessBlock", "bkt"},
	{"DELETE /bkt?publicAccessBlock", "", "DeletePublicAccessBlock", "PutBucketPublicAccessBlock", "bkt"},
	{"GET /bkt?ownershipControls", "", "GetBucketOwnershipControls", "GetBucketOwnershipControls", "bkt"},
	{"PUT /bkt?ownershipControls", "", "PutBucketOwnershipControls", "PutBucketOwnershipControls", "bkt"},
	{"DELETE /bkt?ownershipControls", "", "DeleteBucketOwnershipControls", "PutBucketOwnershipControls", "bkt"},
	{"GET /bkt?encryption", "", "GetBucketEncryption", "GetEncryptionConfiguration", "bkt"},
	{"PUT /bkt?encryption", "", "PutBucketEncryption", "PutEncryptionConfiguration", "bkt"},
	{"DELETE /bkt?encryption", "", "DeleteBucketEncryption", "PutEncryptionConfiguration", "bkt"},
	{"GET /bkt?cors", "", "GetBucketCors", "GetBucketCORS", "bkt"},
	{"DELETE /bkt?cors", "", "DeleteBucketCors", "PutBucketCORS", "bkt"},
	{"GET /bkt?lifecycle", "", "GetBucketLifecycleConfiguration", "GetLifecycleConfiguration", "bkt"},
	{"DELETE /bkt?lifecycle", "", "DeleteBucketLifecycle", "PutLifecycleConfiguration", "bkt"},
	{"GET /bkt?tagging", "", "GetBucketTagging", "GetBucketTagging", "bkt"},
	{"DELETE /bkt?tagging", "", "DeleteBucketTagging", "PutBucketTagging", "bkt"},
	{"GET /bkt?replication", "", "GetBucketReplication", "GetReplicationConfiguration", "bkt"},
	{"DELETE /bkt?replication", "", "DeleteBucketReplication", "PutReplicationConfiguration", "bkt"},
	{"GET /bkt?website", "", "GetBucketWebsite", "GetBucketWebsite", "bkt"},
	{"DELETE /bkt?website", "", "DeleteBucketWebsite", "DeleteBucketWebsite", "bkt"},
	{"GET /bkt?object-lock", "", "GetObjectLockConfiguration", "GetBucketObjectLockConfiguration", "bkt"},
	{"GET /bkt?accelerate", "", "GetBucketAccelerateConfiguration", "GetAccelerateConfiguration", "bkt"},
	{"GET /bkt?logging", "", "GetBucketLogging", "GetBucketLogging", "bkt"},
	{"GET /bkt?notification", "", "GetBucketNotificationConfiguration", "GetBucketNotification", "bkt"},
	{"GET /bkt?requestPayment", "", "GetBucketRequestPayment", "GetBucketRequestPayment", "bkt"},

	{"GET /bkt/k", "", "GetObject", "GetObject", "bkt/k"},
	{"GET /bkt/k", "if-match=x range=bytes=0-1", "GetObject", "GetObject", "bkt/k"},
	{"GET /bkt/k?partNumber=1", "", "GetObject", "GetObject", "bkt/k"},
	{"GET /bkt/k?versionId=null", "", "GetObject", "GetObjectVersion", "bkt/k"},
	{"HEAD /bkt/k", "", "HeadObject", "GetObject", "bkt/k"},
	{"HEAD /bkt/k?versionId=null", "", "HeadObject", "GetObjectVersion", "bkt/k"},
	{"GET /bkt/k?attributes", "", "GetObjectAttributes", "GetObject GetObjectAttributes", "bkt/k"},
	{"GET /bkt/k?attributes&versionId=null", "", "GetObjectAttributes", "GetObjectVersion GetObjectVersionAttributes", "bkt/k"},
	{"GET /bkt/k?acl", "", "GetObjectAcl", "GetObjectAcl", "bkt/k"},
	{"GET /bkt/k?acl&versionId=null", "", "GetObjectAcl", "GetObjectAcl GetObjectVersionAcl", "bkt/k"},
	{"PUT /bkt/k?acl", "", "PutObjectAcl", "PutObjectAcl", "bkt/k"},
	{"PUT /bkt/k?acl&versionId=null", "", "PutObjectAcl", "PutObjectAcl PutObjectVersionAcl", "bkt/k"},
	{"GET /bkt/k?tagging", "", "GetObjectTagging", "GetObjectTagging", "bkt/k"},
	{"GET /bkt/k?tagging&versionId=null", "", "GetObjectTagging", "GetObjectVersionTagging", "bkt/k"},
	{"GET /bkt/k?retention", "", "GetObjectRetention", "GetObjectRetention", "bkt/k"},
	{"GET /bkt/k?legal-hold", "", "GetObjectLegalHold", "GetObjectLegalHold", "bkt/k"},
	{"PUT /bkt/k", "", "PutObject", "PutObject", "bkt/k"},
	{"PUT /bkt/a/b%20c", "", "PutObject", "PutObject", "bkt/a/b c"},
	{"PUT /bkt/k", "x-amz-acl=private", "PutObject", "PutObject PutObjectAcl", "bkt/k"},
	{"PUT /bkt/k", "x-amz-grant-read=id=1", "PutObject", "PutObject PutObjectAcl", "bkt/k"},
	{"PUT /bkt/k", "if-none-match=*", "PutObject", "PutObject", "bkt/k"},
	{"PUT /bkt/k", "if-match=*", "PutObject", "PutObject", "bkt/k"},
	{"PUT /bkt/k", "if-match=x", "PutObject", "PutObject GetObject", "bkt/k"},
	{"PUT /bkt/k", "x-amz-object-lock-mode=GOVERNANCE x-amz-object-lock-retain-until-date=2030-01-01T00:00:00Z", "PutObject", "PutObject PutObjectRetention", "bkt/k"},
	{"PUT /bkt/k", "x-amz-object-lock-legal-hold=ON", "PutObject", "PutObject PutObjectLegalHold", "bkt/k"},
	{"PUT /bkt/k", "x-amz-copy-source=/a/b", "CopyObject", "PutObject", "bkt/k"},
	{"PUT /bkt/k", "x-amz-copy-source=/a/b x-amz-acl=private", "CopyObject", "PutObject PutObjectAcl", "bkt/k"},
	{"POST /bkt", "", "PostObject", "PutObject", "bkt"},
	{"DELETE /bkt/k", "", "DeleteObject", "DeleteObject", "bkt/k"},
	{"DELETE /bkt/k", "if-match=*", "DeleteObject", "DeleteObject", "bkt/k"},
	{"DELETE /bkt/k", "if-match=x", "DeleteObject", "DeleteObject GetObject", "bkt/k"},
	{"DELETE /bkt/k?versionId=null", "", "DeleteObject", "DeleteObject DeleteObjectVersion", "bkt/k"},
	{"POST /bkt/k?uploads", "", "CreateMultipartUpload", "PutObject", "bkt/k"},
	{"POST /bkt/k?uploads", "x-amz-acl=private", "CreateMultipartUpload", "PutObject PutObjectAcl", "bkt/k"},
	{"PUT /bkt/k?partNumber=1&uploadId=x", "", "UploadPart", "PutObject", "bkt/k"},
	{"PUT /bkt/k?partNumber=1&uploadId=x", "x-amz-copy-source=/a/b", "UploadPartCopy", "PutObject", "bkt/k"},
	{"POST /bkt/k?uploadId=x", "", "CompleteMultipartUpload", "PutObject", "bkt/k"},
	{"POST /bkt/k?uploadId=x", "if-match=x", "CompleteMultipartUpload", "PutObject GetObject", "bkt/k"},
	{"DELETE /bkt/k?uploadId=x", "", "AbortMultipartUpload", "AbortMultipartUpload", "bkt/k"},
	{"GET /bkt/k?uploadId=x", "", "ListParts", "ListMultipartUploadParts", "bkt/k"},
}

// selfChecked operations decide about resources or by values of the body, and are
// tested end to end.
var selfChecked = []string{"Invalid", "DeleteObjects", "PutObjectTagging", "DeleteObjectTagging", "STS", "AssumeRole",
	"AssumeRoleWithWebIdentity", "GetCallerIdentity", "GetSessionToken"}

// Every operation is allowed by exactly the actions documented, on exactly its
// resource, and by nothing less.
func TestActions(t *testing.T) {
	rt := newRoutes()
	s := &Server{cfg: Config{Region: rigRegion}, routes: rt}
	s.base = context.Background()
	var tested []string
	for _, c := range actionCases {
		r := c.build(t, s)
		if r.op.name != c.op {
			t.Errorf("%s is %s, want %s", c.request, r.op.name, c.op)
			continue
		}
		tested = append(tested, c.op)
		var want []string
		for _, a := range strings.Fields(c.actions) {
			want = append(want, "s3:"+a)
		}
		equal(t, c.request+" "+c.headers, r.needs(nil), want)
		grant := func(actions []string, resource string) error {
			id, err := policy.Parse([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["` +
				strings.Join(actions, `","`) + `"],"Resource":"arn:aws:s3:::` + resource + `"}}`))
			must(t, err)
			r.identity = &iam.Identity{Name: "u", Policies: policy.Set{id}}
			return r.authorize()
		}
		if err := grant(want, c.on); err != nil {
			t.Errorf("%s %s: %v", c.request, c.headers, err)
		}
		if grant(want, "other") == nil && c.on != "*" {
			t.Errorf("%s: allowed on another resource", c.request)
		}
		for i := range want {
			less := slices.Delete(slices.Clone(want), i, i+1)
			if grant(append(less, "s3:Nothing"), c.on) == nil {
				t.Errorf("%s %s: allowed without %s", c.request, c.headers, want[i])
			}
		}
		r.identity = nil
		if r.authorize() == nil {
			t.Errorf("%s: allowed to everybody", c.request)
		}
	}
	for _, name := range rt.names {
		if !slices.Contains(tested, name) && !slices.Contains(selfChecked, name) {
			t.Errorf("%s is not in the table", name)
		}
	}
}
