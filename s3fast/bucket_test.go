package s3fast

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

func TestBuckets(t *testing.T) {
	r := newRig(t, nil)
	if a := r.want(call{method: "PUT", target: "/one"}, "200"); a.header.Get("Location") != "/one" {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	r.want(call{method: "PUT", target: "/one"}, "200") // again: it is ours
	create := func(region string) string {
		return `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>` +
			region + `</LocationConstraint></CreateBucketConfiguration>`
	}
	r.want(call{method: "PUT", target: "/two", body: create(rigRegion)}, "200")
	for _, c := range []struct {
		c    call
		want string
	}{
		{call{method: "PUT", target: "/bad", body: create("eu-west-1")}, "400 IllegalLocationConstraintException"},
		{call{method: "PUT", target: "/bad", body: "<x"}, "400 MalformedXML"},
		{call{method: "PUT", target: "/bad", body: strings.Repeat("x", 100<<10)}, "400 MaxMessageLengthExceeded"},
		{call{method: "PUT", target: "/bad", header: [][2]string{{"x-amz-bucket-object-lock-enabled", "true"}}}, "501 NotImplemented"},
		{call{method: "PUT", target: "/bad", header: [][2]string{{"x-amz-acl", "public-read"}}}, "400 InvalidBucketAclWithObjectOwnership"},
		{call{method: "PUT", target: "/bad", header: [][2]string{{"x-amz-acl", "public-ready"}}}, "400 InvalidArgument"},
		{call{method: "PUT", target: "/bad", header: [][2]string{{"x-amz-grant-read", "id=1"}}}, "400 InvalidBucketAclWithObjectOwnership"},
		{call{method: "PUT", target: "/bad", header: [][2]string{{"x-amz-object-ownership", "ObjectWriter"}}}, "501 NotImplemented"},
		{call{method: "PUT", target: "/bad", user: rigReader}, "403 AccessDenied"},
		{call{method: "PUT", target: "/xn--bad"}, "400 InvalidBucketName"},
		{call{method: "HEAD", target: "/bad"}, "404"},
		{call{method: "GET", target: "/bad"}, "404 NoSuchBucket"},
		{call{method: "DELETE", target: "/bad"}, "404 NoSuchBucket"},
		{call{method: "PUT", target: "/three", header: [][2]string{{"x-amz-acl", "private"},
			{"x-amz-object-ownership", "BucketOwnerEnforced"}, {"x-amz-bucket-object-lock-enabled", "false"}}}, "200"},
	} {
		r.want(c.c, c.want)
	}
	if a := r.want(call{method: "HEAD", target: "/one"}, "200"); a.header.Get("x-amz-bucket-region") != rigRegion {
		t.Errorf("region %q", a.header.Get("x-amz-bucket-region"))
	}
	a := r.want(call{method: "GET", target: "/"}, "200")
	equal(t, "buckets", elements(a.body, "Name"), []string{"one", "three", "two"})
	a = r.want(call{method: "GET", target: "/?prefix=t"}, "200")
	equal(t, "buckets", elements(a.body, "Name"), []string{"three", "two"})
	var paged []string
	for token := ""; ; {
		a := r.want(call{method: "GET", target: "/?max-buckets=1" + token}, "200")
		paged = append(paged, elements(a.body, "Name")...)
		next := elements(a.body, "ContinuationToken")
		if len(next) == 0 {
			break
		}
		token = "&continuation-token=" + next[0]
	}
	equal(t, "pages", paged, []string{"one", "three", "two"})
	r.want(call{method: "GET", target: "/?max-buckets=0"}, "400 InvalidArgument")
	r.want(call{method: "GET", target: "/?continuation-token=zzz"}, "400 InvalidArgument")
	r.put("/one/k", "x")
	r.want(call{method: "DELETE", target: "/one"}, "409 BucketNotEmpty")
	r.want(call{method: "DELETE", target: "/one/k"}, "204")
	r.want(call{method: "DELETE", target: "/one"}, "204")
	r.want(call{method: "HEAD", target: "/one"}, "404")
}

// Settings that are not built read as what they are: not set.
func TestConfigurations(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	for target, want := range map[string]string{
		"/bkt?location":          "200",
		"/bkt?versioning":        "200",
		"/bkt?acl":               "200",
		"/bkt?logging":           "200",
		"/bkt?accelerate":        "200",
		"/bkt?notification":      "200",
		"/bkt?requestPayment":    "200",
		"/bkt?ownershipControls": "200",
		"/bkt?policy":            "404 NoSuchBucketPolicy",
		"/bkt?policyStatus":      "404 NoSuchBucketPolicy",
		"/bkt?cors":              "404 NoSuchCORSConfiguration",
		"/bkt?lifecycle":         "404 NoSuchLifecycleConfiguration",
		"/bkt?tagging":           "404 NoSuchTagSet",
		"/bkt?encryption":        "404 ServerSideEncryptionConfigurationNotFoundError",
		"/bkt?replication":       "404 ReplicationConfigurationNotFoundError",
		"/bkt?website":           "404 NoSuchWebsiteConfiguration",
		"/bkt?object-lock":       "404 ObjectLockConfigurationNotFoundError",
		"/bkt?publicAccessBlock": "404 NoSuchPublicAccessBlockConfiguration",
		"/none?policy":           "404 NoSuchBucket",
		"/bkt?metrics":           "501 NotImplemented",
		"/bkt/k?acl":             "200",
		"/bkt/k?tagging":         "200",
		"/bkt/k?retention":       "404 NoSuchObjectLockConfiguration",
		"/bkt/none?acl":          "404 NoSuchKey",
		"/bkt/k?torrent":         "501 NotImplemented",
	} {
		r.want(call{method: "GET", target: target}, want)
	}
	for _, target := range []string{"/bkt?versioning", "/bkt?cors", "/bkt/k?retention"} {
		r.want(call{method: "PUT", target: target, body: "<x/>"}, "501 NotImplemented")
	}
	r.want(call{method: "PUT", target: "/bkt?acl", header: with("x-amz-acl", "public-read")}, "400 AccessControlListNotSupported")
	r.want(call{method: "PUT", target: "/bkt/k?acl", body: "<AccessControlPolicy/>"}, "400 AccessControlListNotSupported")
	for _, target := range []string{"/bkt?acl", "/bkt/k?acl"} {
		own := r.want(call{method: "GET", target: target}, "200").body
		r.want(call{method: "PUT", target: target, body: own}, "200")
		r.want(call{method: "PUT", target: target, header: with("x-amz-acl", "private")}, "200")
		r.want(call{method: "PUT", target: target, header: with("x-amz-acl", "private"), body: own}, "400 UnexpectedContent")
		r.want(call{method: "PUT", target: target, header: with("x-amz-acl", "public-ready")}, "400 InvalidArgument")
		r.want(call{method: "PUT", target: target, header: with("x-amz-grant-read", "id=1")}, "400 AccessControlListNotSupported")
		r.want(call{method: "PUT", target: target, body: strings.Replace(own, ownerID, "other", 2)}, "400 AccessControlListNotSupported")
		r.want(call{method: "PUT", target: target, body: "<x/>"}, "400 MalformedACLError")
		r.want(call{method: "PUT", target: target}, "400 MissingSecurityHeader")
	}
	r.want(call{method: "PUT", target: "/bkt/none?acl"}, "404 NoSuchKey")
	r.want(call{method: "PUT", target: "/bkt?acl", user: rigReader}, "403 AccessDenied")
	for _, sub := range []string{"policy", "cors", "lifecycle", "tagging", "encryption", "replication", "website", "publicAccessBlock"} {
		r.want(call{method: "DELETE", target: "/bkt?" + sub}, "204")
		r.want(call{method: "DELETE", target: "/bkt?" + sub, user: rigReader}, "403 AccessDenied")
		r.want(call{method: "DELETE", target: "/none?" + sub}, "404 NoSuchBucket")
	}
	r.want(call{method: "DELETE", target: "/bkt/k?tagging"}, "204")
	r.want(call{method: "DELETE", target: "/bkt/none?tagging"}, "404 NoSuchKey")
	r.want(call{method: "HEAD", target: "/bkt/k"}, "200")
}

func TestListing(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	keys := []string{"a", "a/1", "a/2", "b c", "d/1/x", "d/2", "é+&<"}
	for _, k := range keys {
		r.put("/bkt/"+strings.NewReplacer(" ", "%20", "é", "%C3%A9", "<", "%3C").Replace(k), k)
	}
	list := func(query string) answer {
		t.Helper()
		return r.want(call{method: "GET", target: "/bkt?" + query}, "200")
	}
	unescape := strings.NewReplacer("&amp;", "&", "&lt;", "<").Replace
	for _, v := range []string{"list-type=2", ""} {
		a := list(v)
		got := elements(a.body, "Key")
		for i := range got {
			got[i] = unescape(got[i])
		}
		equal(t, "keys", got, keys)
		equal(t, "truncated", elements(a.body, "IsTruncated"), []string{"false"})
		a = list(v + "&delimiter=/")
		equal(t, "keys", elements(a.body, "Key"), []string{"a", "b c", "é+&amp;&lt;"})
		equal(t, "prefixes", elements(strings.ReplaceAll(a.body, "<Prefix></Prefix>", ""), "Prefix"), []string{"a/", "d/"})
		a = list(v + "&prefix=d/")
		equal(t, "keys", elements(a.body, "Key"), []string{"d/1/x", "d/2"})
		a = list(v + "&encoding-type=url&prefix=%C3%A9")
		equal(t, "keys", elements(a.body, "Key"), []string{"%C3%A9%2B%26%3C"})
		a = list(v + "&max-keys=0")
		equal(t, "keys", elements(a.body, "Key"), nil)
		equal(t, "truncated", elements(a.body, "IsTruncated"), []string{"false"})
		a = list(v + "&max-keys=99999")
		equal(t, "max-keys", elements(a.body, "MaxKeys"), []string{"1000"})
		for _, bad := range []string{"max-keys=-1", "max-keys=x", "max-keys=99999999999", "encoding-type=x"} {
			r.want(call{method: "GET", target: "/bkt?" + v + "&" + bad}, "400 InvalidArgument")
		}
	}
	if a := list("list-type=2&fetch-owner=true"); len(elements(a.body, "Owner")) != len(keys) {
		t.Error("no owners")
	}
	if a := list("list-type=2"); len(elements(a.body, "Owner")) != 0 {
		t.Error("owners not asked for")
	}
	equal(t, "after", elements(list("list-type=2&start-after=d/1/x").body, "Key"), []string{"d/2", "é+&amp;&lt;"})
	equal(t, "after", elements(list("marker=d/1/x").body, "Key"), []string{"d/2", "é+&amp;&lt;"})
	r.want(call{method: "GET", target: "/bkt?list-type=3"}, "400 InvalidArgument")
	a := list("versions")
	equal(t, "versions", elements(a.body, "VersionId"), slices.Repeat([]string{"null"}, len(keys)))
	a = list("versions&max-keys=2")
	equal(t, "next", elements(a.body, "NextKeyMarker"), []string{"a/1"})
	r.pages(keys)
}

// pages walks the listings page by page, in each page size.
func (r *rig) pages(keys []string) {
	unescape := strings.NewReplacer("&amp;", "&", "&lt;", "<").Replace
	for size := 1; size <= len(keys); size++ {
		var got []string
		for token := ""; ; {
			a := r.want(call{method: "GET", target: fmt.Sprintf("/bkt?list-type=2&max-keys=%d%s", size, token)}, "200")
			for _, k := range elements(a.body, "Key") {
				got = append(got, unescape(k))
			}
			next := elements(a.body, "NextContinuationToken")
			if len(next) == 0 {
				break
			}
			r.want(call{method: "GET", target: "/bkt?list-type=2&continuation-token=" + next[0] + "A"}, "400 InvalidArgument")
			token = "&continuation-token=" + next[0]
		}
		equal(r.t, fmt.Sprintf("pages of %d", size), got, keys)
	}
	// Version 1 names the next marker only where there is a delimiter.
	a := r.want(call{method: "GET", target: "/bkt?max-keys=1"}, "200")
	equal(r.t, "NextMarker", elements(a.body, "NextMarker"), nil)
	a = r.want(call{method: "GET", target: "/bkt?max-keys=2&delimiter=/"}, "200")
	equal(r.t, "NextMarker", elements(a.body, "NextMarker"), []string{"a/"})
	a = r.want(call{method: "GET", target: "/bkt?marker=a/&max-keys=2&delimiter=/"}, "200")
	equal(r.t, "keys", elements(a.body, "Key"), []string{"b c"})
	for _, bad := range []string{"x", "%20", "AQAAAAAAAAAAAAAAAAAAAAAAYQ"} {
		r.want(call{method: "GET", target: "/bkt?list-type=2&continuation-token=" + bad}, "400 InvalidArgument")
	}
	r.want(call{method: "GET", target: "/bkt?marker=" + strings.Repeat("k", 1025)}, "400 KeyTooLongError")
}

func TestDeleteObjects(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	for i := range 6 {
		r.put(fmt.Sprintf("/bkt/k%d", i), "hello")
	}
	r.put("/bkt/odd%01key", "x")
	del := func(user, doc, want string, header ...[2]string) answer {
		t.Helper()
		return r.want(call{method: "POST", target: "/bkt?delete", body: doc, user: user, header: header}, want)
	}
	doc := `<Delete><Object><Key>k0</Key></Object><Object><Key>none</Key></Object><Object><Key>odd&#x1;key</Key></Object></Delete>`
	a := del("", doc, "200")
	equal(t, "deleted", elements(a.body, "Key"), []string{"k0", "none", "odd&#x1;key"})
	r.want(call{method: "HEAD", target: "/bkt/k0"}, "404")
	r.want(call{method: "HEAD", target: "/bkt/odd%01key"}, "404")

	sum := md5.Sum([]byte(`<Delete><Quiet>true</Quiet><Object><Key>k1</Key></Object></Delete>`))
	a = del("", `<Delete><Quiet>true</Quiet><Object><Key>k1</Key></Object></Delete>`, "200",
		[2]string{"Content-MD5", base64.StdEncoding.EncodeToString(sum[:])})
	equal(t, "deleted", elements(a.body, "Key"), nil)
	r.want(call{method: "HEAD", target: "/bkt/k1"}, "404")
	del("", doc, "400 BadDigest", [2]string{"Content-MD5", base64.StdEncoding.EncodeToString(sum[:])})

	a = del(rigReader, `<Delete><Object><Key>k2</Key></Object></Delete>`, "200 AccessDenied")
	equal(t, "errors", elements(a.body, "Code"), []string{"AccessDenied"})
	r.want(call{method: "HEAD", target: "/bkt/k2"}, "200")

	a = del("", `<Delete>`+
		`<Object><Key>k2</Key><ETag>"00000000000000000000000000000000"</ETag></Object>`+
		`<Object><Key>k3</Key><ETag>5d41402abc4b2a76b9719d911017c592</ETag></Object>`+
		`<Object><Key>k4</Key><Size>4</Size></Object>`+
		`<Object><Key>k5</Key><Size>5</Size><VersionId>null</VersionId></Object>`+
		`<Object><Key>k5</Key><VersionId>abc</VersionId></Object>`+
		`</Delete>`, "200 PreconditionFailed")
	equal(t, "errors", elements(a.body, "Code"), []string{"PreconditionFailed", "PreconditionFailed", "NoSuchVersion"})
	for k, status := range map[string]string{"k2": "200", "k3": "404", "k4": "200", "k5": "404"} {
		r.want(call{method: "HEAD", target: "/bkt/" + k}, status)
	}
	del("", `<Delete></Delete>`, "400 MalformedXML")
	del("", `<Delete>`+strings.Repeat(`<Object><Key>x</Key></Object>`, 1001)+`</Delete>`, "400 MalformedXML")
	del("", ``, "400 MissingRequestBodyError")
	r.want(call{method: "POST", target: "/bkt?delete", body: doc, payload: "UNSIGNED-PAYLOAD"}, "400 InvalidRequest")
	bad := r.head(call{method: "POST", target: "/bkt?delete", body: doc}) + strings.Replace(doc, "k0", "k4", 1)
	if a := r.raw("POST", bad); a.String() != "400 XAmzContentSHA256Mismatch" {
		t.Errorf("a document that was changed: %s", a)
	}
	r.want(call{method: "HEAD", target: "/bkt/k4"}, "200")
}

// Deletions run several at a time; their results keep the order of the request.
func TestDeleteObjectsOrder(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	var doc strings.Builder
	var deleted, failed []string
	doc.WriteString("<Delete>")
	for i := range 200 {
		k := fmt.Sprintf("k%03d", (i*37)%200)
		version := ""
		if i%10 == 3 {
			version, failed = "<VersionId>nonesuch</VersionId>", append(failed, k)
		} else {
			deleted = append(deleted, k)
		}
		if i%20 == 0 {
			r.put("/bkt/"+k, "x")
		}
		doc.WriteString("<Object><Key>" + k + "</Key>" + version + "</Object>")
	}
	doc.WriteString("</Delete>")
	a := r.want(call{method: "POST", target: "/bkt?delete", body: doc.String()}, "200 NoSuchVersion")
	equal(t, "keys", elements(a.body, "Key"), append(deleted, failed...))
	a = r.want(call{method: "GET", target: "/bkt"}, "200")
	equal(t, "left", elements(a.body, "Key"), nil)
}

// A panic on a goroutine of several is one error, and the others are done.
func TestSeveralPanic(t *testing.T) {
	errs := several(100, func(i int) error {
		if i == 7 {
			panic("seven")
		}
		return fmt.Errorf("%d", i)
	})
	for i, err := range errs {
		if i == 7 && s3Error(err).Code != s3err.InternalError || i != 7 && err.Error() != fmt.Sprint(i) {
			t.Errorf("%d: %v", i, err)
		}
	}
	if errs := several(0, nil); len(errs) != 0 {
		t.Error(errs)
	}
}

// Uploads in progress go with their bucket; an object keeps both.
func TestDeleteBucketWithUploads(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	var id string
	for i := range 3 {
		id = r.begin("/bkt/mp")
		r.want(call{method: "PUT", target: partURL("/bkt/mp", id, i+1), body: "part"}, "200")
	}
	r.want(call{method: "DELETE", target: "/bkt"}, "409 BucketNotEmpty")
	r.want(call{method: "GET", target: "/bkt/mp?uploadId=" + id}, "200")
	r.want(call{method: "DELETE", target: "/bkt/k"}, "204")
	r.want(call{method: "DELETE", target: "/bkt", user: rigReader}, "403 AccessDenied")
	r.want(call{method: "DELETE", target: "/bkt"}, "204")
	r.want(call{method: "GET", target: "/bkt/mp?uploadId=" + id}, "404 NoSuchBucket")
	r.bucket("bkt")
	r.want(call{method: "GET", target: "/bkt/mp?uploadId=" + id}, "404 NoSuchUpload")
}

func TestCreateBucketAgain(t *testing.T) {
	for region, want := range map[string]string{"us-east-1": "200", "eu-west-1": "409 BucketAlreadyOwnedByYou"} {
		r := newRig(t, func(c *Config) { c.Region = region })
		r.want(call{method: "PUT", target: "/again"}, "200")
		r.want(call{method: "PUT", target: "/again"}, want)
	}
}

func TestDeleteConditions(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "hello")
	del := func(want string, header ...[2]string) {
		t.Helper()
		r.want(call{method: "DELETE", target: "/bkt/k", header: header}, want)
	}
	del("412 PreconditionFailed", [2]string{"If-Match", `"00000000000000000000000000000000"`})
	del("412 PreconditionFailed", [2]string{"x-amz-if-match-size", "4"})
	del("412 PreconditionFailed", [2]string{"x-amz-if-match-last-modified-time", "Mon, 02 Jan 2006 15:04:05 GMT"})
	del("400 InvalidArgument", [2]string{"x-amz-if-match-size", "x"})
	del("501 NotImplemented", [2]string{"x-amz-mfa", "1 2"})
	r.want(call{method: "DELETE", target: "/bkt/k?versionId=abc"}, "400 InvalidArgument")
	del("204", [2]string{"If-Match", `"5d41402abc4b2a76b9719d911017c592"`}, [2]string{"x-amz-if-match-size", "5"},
		[2]string{"x-amz-bypass-governance-retention", "true"})
	del("204") // what is gone
	r.want(call{method: "HEAD", target: "/bkt/k"}, "404")
}
