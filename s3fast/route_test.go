package s3fast

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

var testDomains = []string{"s3.example.com", "eu.s3.example.com"}

func TestTarget(t *testing.T) {
	long := strings.Repeat("k", 1024)
	for _, c := range []struct {
		uri, host   string
		bucket, key string
		code        *s3err.Code // nil: fine
	}{
		{"/", "h", "", "", nil},
		{"/bucket", "h", "bucket", "", nil},
		{"/bucket/", "h", "bucket", "", nil},
		{"/bucket?acl", "h", "bucket", "", nil},
		{"/bucket/key", "h", "bucket", "key", nil},
		{"/bucket/a/b", "h", "bucket", "a/b", nil},
		{"/bucket//a", "h", "bucket", "/a", nil},
		{"/bucket/a//b/", "h", "bucket", "a//b/", nil},
		{"/bucket/.", "h", "bucket", ".", nil},
		{"/bucket/..", "h", "bucket", "..", nil},
		{"/bucket/a/../b", "h", "bucket", "a/../b", nil},
		{"/bucket/a%2Fb", "h", "bucket", "a/b", nil},
		{"/bucket/a+b", "h", "bucket", "a+b", nil},
		{"/bucket/a%2Bb%20c", "h", "bucket", "a+b c", nil},
		{"/bucket/%00", "h", "bucket", "\x00", nil},
		{"/bucket/%25%32%35", "h", "bucket", "%25", nil},
		{"/bucket/%C3%A9", "h", "bucket", "é", nil},
		{"/b%75cket/key", "h", "bucket", "key", nil},
		{"/bucket/" + long, "h", "bucket", long, nil},
		{"http://h/bucket/key?x", "h", "bucket", "key", nil},
		{"HTTPS://h?acl", "h", "", "", nil},
		{"/key/a", "bucket.s3.example.com", "bucket", "key/a", nil},
		{"/key", "Bucket.S3.example.COM:9000", "bucket", "key", nil},
		{"/", "my.bucket.eu.s3.example.com.", "my.bucket", "", nil},
		{"/bucket/k", "s3.example.com", "bucket", "k", nil},

		{"/bucket/%", "h", "", "", s3err.InvalidURI},
		{"/bucket/%4", "h", "", "", s3err.InvalidURI},
		{"/bucket/%zz", "h", "", "", s3err.InvalidURI},
		{"/bucket/%FF", "h", "", "", s3err.InvalidURI},
		{"/bucket/\xff", "h", "", "", s3err.InvalidURI},
		{"/buck%et/a", "h", "", "", s3err.InvalidURI},
		{"/bucket/k#frag", "h", "", "", s3err.InvalidURI},
		{"ftp://h/bucket", "h", "", "", s3err.InvalidURI},
		{"http:///bucket", "h", "", "", s3err.InvalidURI},
		{"bucket/key", "h", "", "", s3err.InvalidURI},
		{"", "h", "", "", s3err.InvalidURI},
		{"//key", "h", "", "", s3err.InvalidBucketName},
		{"/Bucket/key", "h", "", "", s3err.InvalidBucketName},
		{"/a%2Fb/key", "h", "", "", s3err.InvalidBucketName},
		{"/k", "b_c.s3.example.com", "", "", s3err.InvalidBucketName},
		{"/bucket/" + long + "k", "h", "", "", s3err.KeyTooLong},
	} {
		tg, ok := parseTarget(c.uri)
		bucket, key, err := "", "", error(s3err.InvalidURI.New())
		if ok {
			bucket, key, err = tg.names(c.host, testDomains)
		}
		var e *s3err.Error
		errors.As(err, &e)
		switch {
		case c.code == nil && (err != nil || bucket != c.bucket || key != c.key):
			t.Errorf("%q at %q = %q, %q, %v; want %q, %q", c.uri, c.host, bucket, key, err, c.bucket, c.key)
		case c.code != nil && (e == nil || e.Code != c.code):
			t.Errorf("%q at %q: %v, want %s", c.uri, c.host, err, c.code.Code)
		}
	}
}

func TestQuery(t *testing.T) {
	pairs, ok := parseQuery(nil, "a=1&b&&c=x%20y+z&a=2&%C3%A9=%26")
	want := []pair{{"a", "1"}, {"b", ""}, {"c", "x y z"}, {"a", "2"}, {"é", "&"}}
	if !ok || len(pairs) != len(want) {
		t.Fatalf("parseQuery = %q, %v", pairs, ok)
	}
	for i := range want {
		if pairs[i] != want[i] {
			t.Errorf("pair %d = %q, want %q", i, pairs[i], want[i])
		}
	}
	for _, bad := range []string{"a=%", "%2", "a=%FF", "x=%gg"} {
		if _, ok := parseQuery(nil, bad); ok {
			t.Errorf("parseQuery(%q) accepted", bad)
		}
	}
}

// routed matches one request line against the table.
func routed(t *testing.T, rt *routes, method, uri, copySource string) (*operation, error) {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetMethod(method)
	r := &request{ctx: &ctx}
	tg, ok := parseTarget(uri)
	if !ok {
		t.Fatalf("target %q", uri)
	}
	r.target = tg
	if r.query.pairs, ok = parseQuery(nil, tg.query); !ok {
		t.Fatalf("query %q", tg.query)
	}
	var err error
	if r.bucket, r.key, err = tg.names("h", nil); err != nil {
		t.Fatal(err)
	}
	if copySource != "" {
		r.headers.list = append(r.headers.list, pair{"x-amz-copy-source", copySource})
	}
	err = rt.match(r)
	return r.op, err
}

func TestRoute(t *testing.T) {
	rt := newRoutes()
	for _, c := range []struct{ method, uri, copy, want string }{
		{"GET", "/", "", "ListBuckets"},
		{"GET", "/?x-id=ListBuckets&max-buckets=2", "", "ListBuckets"},
		{"POST", "/", "", "MethodNotAllowed"},
		{"HEAD", "/", "", "MethodNotAllowed"},
		{"PUT", "/bkt", "", "CreateBucket"},
		{"HEAD", "/bkt", "", "HeadBucket"},
		{"DELETE", "/bkt", "", "DeleteBucket"},
		{"GET", "/bkt", "", "ListObjects"},
		{"GET", "/bkt?prefix=a&delimiter=/", "", "ListObjects"},
		{"GET", "/bkt?list-type=2&prefix=acl", "", "ListObjectsV2"},
		{"GET", "/bkt?versions", "", "ListObjectVersions"},
		{"GET", "/bkt?location=", "", "GetBucketLocation"},
		{"GET", "/bkt?versioning", "", "GetBucketVersioning"},
		{"GET", "/bkt?uploads", "", "ListMultipartUploads"},
		{"GET", "/bkt?policy", "", "GetBucketPolicy"},
		{"POST", "/bkt?delete", "", "DeleteObjects"},
		{"POST", "/bkt", "", "PostObject"},
		{"PATCH", "/bkt", "", "MethodNotAllowed"},
		{"PUT", "/bkt?versioning", "", "NotImplemented"},
		{"PUT", "/bkt?policy", "", "PutBucketPolicy"},
		{"DELETE", "/bkt?lifecycle", "", "DeleteBucketLifecycle"},
		{"GET", "/bkt?inventory&id=1", "", "NotImplemented"},
		{"GET", "/bkt?session", "", "NotImplemented"},
		{"HEAD", "/bkt?policy", "", "MethodNotAllowed"},
		{"GET", "/bkt?policy&acl", "", "InvalidArgument"},
		{"GET", "/bkt?versionId=x", "", "InvalidArgument"},
		{"GET", "/bkt/k", "", "GetObject"},
		{"GET", "/bkt/k?partNumber=1&response-expires=x", "", "GetObject"},
		{"GET", "/bkt/k?versionId=null&unknown=1", "", "GetObject"},
		{"HEAD", "/bkt/k", "", "HeadObject"},
		{"GET", "/bkt/k?attributes", "", "GetObjectAttributes"},
		{"PUT", "/bkt/k", "", "PutObject"},
		{"PUT", "/bkt/k?x-id=PutObject", "/a/b", "CopyObject"},
		{"PUT", "/bkt/k?partNumber=1", "", "InvalidArgument"},
		{"PUT", "/bkt/k?versionId=1", "", "InvalidArgument"},
		{"PUT", "/bkt/k?partNumber=1&uploadId=x", "", "UploadPart"},
		{"PUT", "/bkt/k?partNumber=1&uploadId=x", "/a/b", "UploadPartCopy"},
		{"PUT", "/bkt/k?acl", "/a/b", "PutObjectAcl"},
		{"PUT", "/bkt/k?renameObject", "", "NotImplemented"},
		{"POST", "/bkt/k?uploads", "", "CreateMultipartUpload"},
		{"POST", "/bkt/k?uploadId=x", "", "CompleteMultipartUpload"},
		{"POST", "/bkt/k?select&select-type=2", "", "NotImplemented"},
		{"POST", "/bkt/k", "", "MethodNotAllowed"},
		{"DELETE", "/bkt/k", "", "DeleteObject"},
		{"DELETE", "/bkt/k?uploadId=x", "", "AbortMultipartUpload"},
		{"DELETE", "/bkt/k?tagging", "", "DeleteObjectTagging"},
		{"GET", "/bkt/k?uploadId=x", "", "ListParts"},
		{"GET", "/bkt/k?tagging", "", "GetObjectTagging"},
		{"GET", "/bkt/k?torrent", "", "NotImplemented"},
		{"GET", "/bkt/k?uploads", "", "NotImplemented"},
		{"OPTIONS", "/bkt/k", "", "BadRequest"},
	} {
		op, err := routed(t, rt, c.method, c.uri, c.copy)
		got := ""
		if err != nil {
			got = s3Error(err).Code.Code
		} else {
			got = op.name
		}
		if got != c.want {
			t.Errorf("%s %s = %s, want %s", c.method, c.uri, got, c.want)
		}
	}
}

// Every operation can be authorised: it names an action, or is known to check
// each of its resources itself.
func TestRouteActions(t *testing.T) {
	for key, op := range newRoutes().table {
		if op.action == "" && op.name != "DeleteObjects" && op.name != "PutObjectTagging" && op.name != "DeleteObjectTagging" && op.name != "STS" {
			t.Errorf("%v: %s has no action", key, op.name)
		}
		if op.run == nil {
			t.Errorf("%s has no handler", op.name)
		}
	}
}

func TestBucketName(t *testing.T) {
	for _, ok := range []string{"abc", "a.b", "my-bucket.1", "123", strings.Repeat("a", 63), "1.2.3", "1.2.3.4a"} {
		if err := CheckBucketName(ok); err != nil {
			t.Errorf("%q refused", ok)
		}
	}
	for _, bad := range []string{"", "ab", strings.Repeat("a", 64), "Abc", "a_b", "-abc", "abc-", ".abc", "abc.",
		"a..b", "foo.-bar", "foo-.bar", "1.2.3.4", "192.168.5.4", "999.1.1.1", "xn--abc", "sthree-a", "abc-s3alias", "abc--ol-s3",
		"abc.mrap", "abc--x-s3", "a/b", "a b", "é23"} {
		if err := CheckBucketName(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestTokens(t *testing.T) {
	tk := newTokens("x")
	for _, pos := range []string{"", "a", "é\x00/", strings.Repeat("k", 1024)} {
		sealed := tk.seal(pos, "objects/b")
		if got, err := tk.open(sealed, "objects/b"); err != nil || got != pos {
			t.Errorf("open(seal(%q)) = %q, %v", pos, got, err)
		}
		if _, err := tk.open(sealed, "objects/c"); err == nil {
			t.Error("a token of another listing was accepted")
		}
		if _, err := newTokens("y").open(sealed, "objects/b"); err == nil {
			t.Error("a token of another secret was accepted")
		}
		for i := range sealed {
			b := []byte(sealed)
			if b[i] = 'A'; string(b) == sealed {
				b[i] = 'B'
			}
			if _, err := tk.open(string(b), "objects/b"); err == nil {
				t.Fatalf("a token changed at %d was accepted", i)
			}
		}
	}
	for _, bad := range []string{"", "x", "%%%", strings.Repeat("A", 4096)} {
		if _, err := tk.open(bad, ""); err == nil {
			t.Errorf("token %q accepted", bad)
		}
	}
}

// FuzzRoute holds what every parsed request may rely on.
func FuzzRoute(f *testing.F) {
	for _, seed := range []string{"/", "/bkt/key?uploads", "http://h/bkt?list-type=2", "/bkt/%2e%2E/a+b?x=%26&y", "//", "/%", "/bkt/\xff?a=%ff"} {
		f.Add("GET", seed, "bkt.s3.example.com")
	}
	rt := newRoutes()
	f.Fuzz(func(t *testing.T, method, uri, host string) {
		tg, ok := parseTarget(uri)
		if !ok {
			return
		}
		if tg.path == "" || tg.path[0] != '/' {
			t.Fatalf("path %q of %q", tg.path, uri)
		}
		var ctx fasthttp.RequestCtx
		ctx.Request.Header.SetMethod(method)
		r := &request{ctx: &ctx, target: tg}
		if r.query.pairs, ok = parseQuery(nil, tg.query); !ok {
			return
		}
		var err error
		if r.bucket, r.key, err = tg.names(host, testDomains); err != nil {
			return
		}
		if !utf8.ValidString(r.key) || len(r.key) > engine.MaxKeyBytes {
			t.Fatalf("key %q", r.key)
		}
		if r.bucket != "" && CheckBucketName(r.bucket) != nil || r.bucket == "" && r.key != "" {
			t.Fatalf("bucket %q, key %q", r.bucket, r.key)
		}
		if err := rt.match(r); err == nil && r.op.run == nil {
			t.Fatal("matched no operation")
		}
	})
}
