package s3fast

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // version 2 is HMAC-SHA1
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"
)

// presignV2 makes the target of a version 2 presigned URL; sub are the signed
// parameters, sorted.
func presignV2(method, path, sub string) string {
	expires := time.Now().Add(time.Hour).Unix()
	resource := path
	if sub != "" {
		resource += "?" + sub
	}
	mac := hmac.New(sha1.New, []byte(rigSecret))
	fmt.Fprintf(mac, "%s\n\n\n%d\n%s", method, expires, resource)
	q := url.Values{"AWSAccessKeyId": {rigUser}, "Expires": {fmt.Sprint(expires)}, "Signature": {base64.StdEncoding.EncodeToString(mac.Sum(nil))}}
	target := path + "?" + q.Encode()
	if sub != "" {
		target += "&" + sub
	}
	return target
}

// Version 2 signs some parameters of the query only: whoever is given a URL for
// one operation cannot make another of it by a parameter that is not signed.
func TestVersion2URLStaysWithItsOperation(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "hello")
	unsigned := func(method, target, body string) call {
		return call{method: method, target: target, user: "-", body: body}
	}
	get, list := presignV2("GET", "/bkt/k", ""), presignV2("GET", "/bkt", "")
	r.want(unsigned("GET", get, ""), "200")
	r.want(unsigned("GET", get+"&x-id=GetObject", ""), "200")
	r.want(unsigned("GET", list, ""), "200")
	r.want(unsigned("GET", list+"&list-type=2", ""), "200")
	r.want(unsigned("GET", presignV2("GET", "/bkt/k", "versionId=null"), ""), "200")
	for _, sub := range []string{"policyStatus", "publicAccessBlock", "ownershipControls", "encryption", "attributes"} {
		r.want(unsigned("GET", list+"&"+sub, ""), "403 AccessDenied")
	}
	r.want(call{method: "PUT", target: "/bkt?publicAccessBlock", body: `<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>`}, "200")
	r.want(unsigned("DELETE", presignV2("DELETE", "/bkt", "")+"&publicAccessBlock", ""), "403 AccessDenied")
	r.want(unsigned("PUT", presignV2("PUT", "/bkt", "")+"&publicAccessBlock",
		`<PublicAccessBlockConfiguration><BlockPublicPolicy>false</BlockPublicPolicy></PublicAccessBlockConfiguration>`), "403 AccessDenied")
	a := r.want(call{method: "GET", target: "/bkt?publicAccessBlock"}, "200")
	equal(t, "BlockPublicPolicy", elements(a.body, "BlockPublicPolicy"), []string{"true"})
	r.want(unsigned("GET", get+"&tagging", ""), "403 SignatureDoesNotMatch")
}

// DeleteObjects has its conditions in the body: an If-Match header, which nothing
// acts upon, does not stand in for them.
func TestDeleteObjectsIgnoresIfMatchHeader(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "hello")
	r.setPolicy(deny("*", "DeleteObject", "/*", condition("Null", "s3:if-match", `"true"`)))
	body := `<Delete><Object><Key>k</Key></Object></Delete>`
	for _, h := range [][][2]string{nil, with("If-Match", `"x"`), with("If-Match", "*")} {
		a := r.want(call{method: "POST", target: "/bkt?delete", body: body, header: h}, "200")
		if got := elements(a.body, "Code"); len(got) != 1 || got[0] != "AccessDenied" {
			t.Fatalf("%v: %s", h, a.body)
		}
	}
	r.want(call{method: "DELETE", target: "/bkt/k", header: with("If-Match", "")}, "403 AccessDenied")
	r.want(call{method: "GET", target: "/bkt/k"}, "200")
	body = `<Delete><Object><Key>k</Key><ETag>5d41402abc4b2a76b9719d911017c592</ETag></Object></Delete>`
	if a := r.want(call{method: "POST", target: "/bkt?delete", body: body}, "200"); a.code() != "" {
		t.Errorf("with the entity tag: %s", a.body)
	}
}

// A copy that keeps its source's tags takes none from x-amz-tagging: that header
// does not meet a condition on the tags of the request.
func TestCopyIgnoresTagsItDoesNotSet(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.want(call{method: "PUT", target: "/bkt/src/k", body: "x", header: with("x-amz-tagging", "class=secret")}, "200")
	r.attach(rigNobody, allow("", "GetObject GetObjectTagging PutObjectTagging", "/*", ""),
		allow("", "PutObject", "/out/*", condition("StringEquals", "s3:RequestObjectTag/class", `"public"`)))
	as := func(key string, header ...[2]string) call {
		return call{method: "PUT", target: "/bkt/out/" + key, user: rigNobody, header: append(header, [2]string{"x-amz-copy-source", "bkt/src/k"})}
	}
	tags := [2]string{"x-amz-tagging", "class=public"}
	r.want(as("a"), "403 AccessDenied")
	r.want(as("b", tags), "403 AccessDenied")
	r.want(as("c", tags, [2]string{"x-amz-tagging-directive", "COPY"}), "403 AccessDenied")
	r.want(as("d", tags, [2]string{"x-amz-tagging-directive", "REPLACE"}), "200")
}

// A request that names an access key and is not signed is anonymous: it is no
// success that would wipe out failures.
func TestAnonymousDoesNotForgive(t *testing.T) {
	r := newRig(t, nil)
	for range 3 {
		for range pairFree - 1 {
			r.raw("GET", r.bad(rigUser))
		}
		for _, target := range []string{"/bkt/k?AWSAccessKeyId=" + rigUser, "/?X-Amz-Security-Token=x&AWSAccessKeyId=" + rigUser} {
			r.do(anon("GET", target))
		}
		r.raw("OPTIONS", "OPTIONS /bkt?AWSAccessKeyId="+rigUser+" HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	if r.s.guard.delayed.Load() == 0 {
		t.Error("guesses between anonymous requests are not slowed down")
	}
}

// An empty Authorization header is none, for who is asked about guesses, too.
func TestEmptyAuthorizationHidesNoKey(t *testing.T) {
	r := new(request)
	r.headers.list = []pair{{"authorization", " "}}
	r.query.pairs, _ = parseQuery(nil, "X-Amz-Credential=bob%2F20260101%2Fus-east-1%2Fs3%2Faws4_request")
	if got := r.claimedKey(); got != "bob" {
		t.Errorf("claimed key %q", got)
	}
}

// The payload hash of a query that nobody signed says nothing.
func TestUnsignedPayloadHashIsNoConditionKey(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	r.setPolicy(allow("*", "GetObject", "/*", condition("StringEquals", "s3:x-amz-content-sha256", `"UNSIGNED-PAYLOAD"`)))
	r.want(anon("GET", "/bkt/k?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"), "403 AccessDenied")
}

// A bucket of the name of one that was deleted has none of its settings.
func TestNewBucketHasNoOldPolicy(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.setPolicy(allow("*", "GetObject PutObject", "/*", ""))
	r.want(call{method: "PUT", target: "/bkt/k", user: "-", body: "x"}, "200")
	r.want(call{method: "DELETE", target: "/bkt/k"}, "204")
	r.want(call{method: "DELETE", target: "/bkt"}, "204")
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	r.want(anon("GET", "/bkt/k"), "403 AccessDenied")
	r.want(call{method: "GET", target: "/bkt?policy"}, "404 NoSuchBucketPolicy")
}

// A condition that singles out anonymous requests does not make a policy less
// public.
func TestGrantToAnonymousIsPublic(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	r.setPolicy(allow("*", "GetObject", "/*", condition("StringEquals", "aws:userid", `"anonymous"`)))
	r.want(anon("GET", "/bkt/k"), "200")
	a := r.want(call{method: "GET", target: "/bkt?policyStatus"}, "200")
	equal(t, "IsPublic", elements(a.body, "IsPublic"), []string{"TRUE"})
	r.want(call{method: "PUT", target: "/bkt?publicAccessBlock", body: `<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>`}, "200")
	r.want(anon("GET", "/bkt/k"), "403 AccessDenied")
}

// The header block is bounded, and so is the work it makes before anybody is known.
func TestHeadersAreCheckedQuickly(t *testing.T) {
	r := newRig(t, nil)
	nc := r.dial()
	br := bufio.NewReader(nc)
	var many strings.Builder
	for i := 0; many.Len() < readBuffer-1200; i++ {
		fmt.Fprintf(&many, "x-amz-%x:\r\n", i)
	}
	text := "GET /bkt HTTP/1.1\r\nHost: h\r\n" + many.String() + "\r\n"
	begun := time.Now()
	const n = 20
	for range n {
		_, err := io.WriteString(nc, text)
		must(t, err)
		if a := r.read(br, "GET"); a.status != 403 && a.status != 404 {
			t.Fatalf("%s", a)
		}
	}
	took := time.Since(begun) / n
	t.Logf("%s", took)
	if took > 20*time.Millisecond {
		t.Errorf("a request with many headers takes %s", took)
	}
}
