package s3fast

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // version 2 is HMAC-SHA1
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/audit"
	"github.com/sluicehq/sluice/s3fast/iam"
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
	for _, sub := range []string{"policyStatus", "publicAccessBlock", "ownershipControls", "encryption"} {
		r.want(unsigned("GET", list+"&"+sub, ""), "403 AccessDenied")
	}
	r.want(unsigned("GET", get+"&attributes", ""), "403 AccessDenied")
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
		r.want(call{method: "POST", target: "/bkt?delete", body: body, header: h}, "200 AccessDenied")
	}
	r.want(call{method: "DELETE", target: "/bkt/k", header: with("If-Match", "")}, "403 AccessDenied")
	r.want(call{method: "GET", target: "/bkt/k"}, "200")
	body = `<Delete><Object><Key>k</Key><ETag>5d41402abc4b2a76b9719d911017c592</ETag></Object></Delete>`
	r.want(call{method: "POST", target: "/bkt?delete", body: body}, "200")
}

// Who may delete and not list does not learn by a condition which keys exist.
func TestDeleteObjectsHidesMissingKeys(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.attach(rigNobody, allow("", "DeleteObject GetObject", "/*", ""))
	body := func(object string) string { return "<Delete><Object><Key>none</Key>" + object + "</Object></Delete>" }
	for _, object := range []string{"<ETag>*</ETag>", "<ETag>x</ETag>", "<Size>1</Size>"} {
		c := call{method: "POST", target: "/bkt?delete", body: body(object)}
		told := r.do(c).code()
		c.user = rigNobody
		if got := r.do(c).code(); told == "NoSuchKey" && got != "AccessDenied" {
			t.Errorf("%s: %s", object, got)
		}
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

// A request that names an access key and is not signed is no success that would
// wipe out failures, and neither is a good signature by another key.
func TestOnlyItsOwnSignatureForgives(t *testing.T) {
	r := newRig(t, nil)
	g := r.s.guard
	alice, ok := r.iam.Identity(rigUser)
	if !ok {
		t.Fatal("no identity")
	}
	try := func(signedBy string) (failures int) {
		q := &request{s: r.s}
		pair := g.pair(q.peer(), rigUser)
		for range pairFree {
			g.failed(pair, time.Now(), false)
		}
		must(t, q.guarded(rigUser, func(q *request) error {
			if signedBy != "" {
				q.identity, q.auth.AccessKey = alice, signedBy
			}
			return nil
		}))
		failures, _ = g.look(pair, time.Now())
		return failures
	}
	if n := try(""); n != pairFree {
		t.Errorf("after an anonymous request %d failures", n)
	}
	if n := try("other"); n != 2*pairFree {
		t.Errorf("after another's signature %d failures", n)
	}
	if n := try(rigUser); n != 0 {
		t.Errorf("after its own signature %d failures", n)
	}
}

// Half of a version 2 signature is malformed, and not none.
func TestPartialSignatureIsNotAnonymous(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	r.setPolicy(allow("*", "GetObject", "/*", ""))
	r.want(anon("GET", "/bkt/k"), "200")
	for _, query := range []string{"AWSAccessKeyId=alice", "Signature=x", "Signature=x&Expires=99999999999", "AWSAccessKeyId=alice&Signature=&Expires=99999999999"} {
		r.want(anon("GET", "/bkt/k?"+query), "400 AuthorizationQueryParametersError")
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

// Sessions older than a time can be denied, as AWS's console does to revoke them.
func TestTokenIssueTime(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	c, err := r.iam.AssumeRole(t.Context(), rigUser, iam.AssumeRole{Name: "job"})
	must(t, err)
	get := call{method: "GET", target: "/bkt/k", user: c.AccessKey, secret: c.SecretKey, header: with("x-amz-security-token", c.Token)}
	before := func(d time.Duration) string {
		return deny("*", "GetObject", "/*", condition("DateLessThan", "aws:TokenIssueTime", `"`+time.Now().Add(d).UTC().Format(time.RFC3339)+`"`))
	}
	r.setPolicy(before(-time.Minute))
	r.want(get, "200")
	r.setPolicy(before(time.Minute))
	r.want(get, "403 AccessDenied")
	r.want(call{method: "GET", target: "/bkt/k"}, "200") // the user itself
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
	equal(t, "IsPublic", elements(a.body, "IsPublic"), []string{"true"})
	r.want(call{method: "PUT", target: "/bkt?publicAccessBlock", body: `<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets></PublicAccessBlockConfiguration>`}, "200")
	r.want(anon("GET", "/bkt/k"), "403 AccessDenied")
}

// recorder is an audit sink that keeps who did what.
type recorder struct {
	mu   sync.Mutex
	said []string
}

func (*recorder) Enabled() bool { return true }

func (a *recorder) Record(e *audit.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	text := e.API + " " + e.User
	for _, tag := range e.Tags {
		text += " " + tag.Name + "=" + tag.Value
	}
	a.said = append(a.said, strings.Clone(text))
}

// The audit tells who acted, of temporary credentials of nobody here, too.
func TestAuditNamesWebIdentitiesAndServiceAccounts(t *testing.T) {
	sink := &recorder{}
	r := newRig(t, func(c *Config) { c.Audit = sink })
	ctx := t.Context()
	web, err := r.iam.AssumeWebIdentity(ctx, iam.WebIdentity{Issuer: "https://idp.example.com", Subject: "carol", Audience: "app", Policies: []string{"readonly"}},
		iam.AssumeRole{Name: "visit"})
	must(t, err)
	account, pair, err := r.iam.AddServiceAccount(ctx, rigReader, iam.NewServiceAccount{})
	must(t, err)
	r.want(call{method: "GET", target: "/", user: web.AccessKey, secret: web.SecretKey, header: with("x-amz-security-token", web.Token)}, "200")
	r.want(call{method: "GET", target: "/", user: pair.AccessKey, secret: pair.SecretKey}, "200")
	r.eventually("both are audited", func() bool { sink.mu.Lock(); defer sink.mu.Unlock(); return len(sink.said) == 2 })
	equal(t, "events", sink.said, []string{
		"ListBuckets " + web.ID + " session=visit issuer=https://idp.example.com subject=carol",
		"ListBuckets " + rigReader + " serviceAccount=" + account.ID,
	})
}
