package s3fast

import (
	"bufio"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// allow and deny make one statement of a bucket policy; resources are below the
// bucket "bkt" ("" is the bucket itself), extra is further JSON elements.
func allow(principal, actions, resources, extra string) string {
	return statementText("Allow", principal, actions, resources, extra)
}

func deny(principal, actions, resources, extra string) string {
	return statementText("Deny", principal, actions, resources, extra)
}

func statementText(effect, principal, actions, resources, extra string) string {
	quote := func(list, prefix string) string {
		var out []string
		for _, v := range strings.Split(list, " ") {
			out = append(out, fmt.Sprintf("%q", prefix+v))
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	s := fmt.Sprintf(`{"Effect":%q,"Action":%s,"Resource":%s`, effect, quote(actions, "s3:"), quote(resources, "arn:aws:s3:::bkt"))
	if principal != "" {
		s += `,"Principal":{"AWS":"` + principal + `"}`
	}
	if extra != "" {
		s += "," + extra
	}
	return s + "}"
}

// condition is a Condition element of one test; values are JSON.
func condition(operator, key, values string) string {
	return fmt.Sprintf(`"Condition":{%q:{%q:%s}}`, operator, key, values)
}

func policyText(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

// setPolicy puts a bucket policy on bkt through S3.
func (r *rig) setPolicy(statements ...string) {
	r.t.Helper()
	r.want(call{method: "PUT", target: "/bkt?policy", body: policyText(statements...)}, "204")
}

// attach gives a user, who had none, a policy of its own.
func (r *rig) attach(user string, statements ...string) {
	r.t.Helper()
	name := "test-" + user
	_, err := r.iam.AddPolicy(r.t.Context(), name, []byte(policyText(statements...)), true)
	must(r.t, err)
	must(r.t, r.iam.Attach(r.t.Context(), name, user))
}

func anon(method, target string) call { return call{method: method, target: target, user: "-"} }

// Anonymous requests are let in by bucket policies only, and see what AWS shows.
func TestAnonymous(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/pub/a", "hello")
	r.put("/bkt/key", "secret")
	for _, c := range []call{
		anon("GET", "/"), anon("GET", "/bkt"), anon("GET", "/bkt/pub/a"), anon("PUT", "/bkt/up/a"), anon("DELETE", "/bkt/pub/a"),
		anon("PUT", "/new"), anon("GET", "/bkt?policy"), anon("PUT", "/bkt?policy"), anon("GET", "/bkt/none"), anon("POST", "/bkt/a?uploads"),
	} {
		r.want(c, "403 AccessDenied")
	}
	r.want(anon("GET", "/nobody/a"), "404 NoSuchBucket")
	r.want(anon("HEAD", "/nobody"), "404")
	r.want(call{method: "GET", target: "/nobody/a", user: rigNobody}, "403 AccessDenied")
	r.want(call{method: "GET", target: "/nobody/a"}, "404 NoSuchBucket")

	r.setPolicy(allow("*", "GetObject", "/pub/*", ""), allow("*", "PutObject", "/up/*", ""), allow("*", "DeleteObject", "/up/*", ""))
	if a := r.want(anon("GET", "/bkt/pub/a"), "200"); a.body != "hello" {
		t.Errorf("body %q", a.body)
	}
	r.want(anon("HEAD", "/bkt/pub/a"), "200")
	r.want(anon("GET", "/bkt/key"), "403 AccessDenied")
	r.want(anon("GET", "/bkt"), "403 AccessDenied")
	r.want(anon("GET", "/bkt/pub/none"), "403 AccessDenied")
	r.want(anon("GET", "/bkt/pub/a?response-content-type=x/y"), "400 InvalidRequest")
	r.want(anon("GET", "/bkt/pub/a?versionId=null"), "403 AccessDenied")
	up := call{method: "PUT", target: "/bkt/up/a", user: "-", body: "mine"}
	r.want(up, "200")
	up.header = with("x-amz-content-sha256", strings.Repeat("0", 64))
	r.want(up, "400 XAmzContentSHA256Mismatch")
	up.header = with("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
	r.want(up, "200")
	up.header = with("x-amz-content-sha256", "zz")
	r.want(up, "400 InvalidArgument")
	up.header = with("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	r.want(up, "403 AccessDenied")
	for _, h := range [][][2]string{
		{{"x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, {"x-amz-decoded-content-length", "4"}},
		{{"Content-Encoding", "aws-chunked"}, {"x-amz-decoded-content-length", "4"}}, // as botocore without signer
	} {
		r.want(call{method: "PUT", target: "/bkt/up/chunked", user: "-", body: "4\r\nmine\r\n0\r\n\r\n", header: h}, "200")
		if a := r.want(call{method: "GET", target: "/bkt/up/chunked"}, "200"); a.body != "mine" {
			t.Errorf("chunked body %q", a.body)
		}
	}
	id := elements(r.want(anon("POST", "/bkt/up/big?uploads"), "200").body, "UploadId")[0]
	r.want(call{method: "PUT", target: "/bkt/up/big?partNumber=1&uploadId=" + id, user: "-", body: "part"}, "200")
	parts := r.want(call{method: "GET", target: "/bkt/up/big?uploadId=" + id}, "200").body
	if !strings.Contains(parts, "<Initiator><ID>"+anonymousID+"</ID></Initiator>") {
		t.Errorf("initiator: %s", parts)
	}
	r.want(anon("GET", "/bkt/up/big?uploadId="+id), "403 AccessDenied")
	r.want(anon("DELETE", "/bkt/up/a"), "204")
	// A signature that is there and wrong is not none.
	r.want(call{method: "GET", target: "/bkt/pub/a", user: "nobody-knows"}, "403 InvalidAccessKeyId")
	r.want(call{method: "GET", target: "/bkt/pub/a?X-Amz-Algorithm=AWS4-HMAC-SHA256", user: "-"}, "400 AuthorizationQueryParametersError")

	r.setPolicy(allow("*", "ListBucket GetObject", " /pub/*", ""))
	r.want(anon("GET", "/bkt?list-type=2"), "200")
	r.want(anon("GET", "/bkt/pub/none"), "404 NoSuchKey")
	r.want(anon("PUT", "/bkt/up/a"), "403 AccessDenied")
	r.want(call{method: "DELETE", target: "/bkt?policy"}, "204")
	r.want(anon("GET", "/bkt/pub/a"), "403 AccessDenied")
}

// Users without identity policies are let in by what a bucket policy grants.
func TestBucketPolicyPrincipals(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "x")
	get := call{method: "GET", target: "/bkt/k", user: rigNobody}
	r.want(get, "403 AccessDenied")
	r.setPolicy(allow("arn:aws:iam::"+accountID+":user/"+rigNobody, "GetObject", "/*", ""))
	r.want(get, "200")
	r.want(anon("GET", "/bkt/k"), "403 AccessDenied")
	r.setPolicy(allow("*", "GetObject", "/*", ""), deny("arn:aws:iam::"+accountID+":user/"+rigReader, "GetObject", "/*", ""))
	r.want(get, "200")
	get.user = rigReader
	a := r.want(get, "403 AccessDenied")
	if want := "User: arn:aws:iam::" + accountID + ":user/rita is not authorized to perform: s3:GetObject on resource: &quot;arn:aws:s3:::bkt/k&quot; with an explicit deny"; !strings.Contains(a.body, want) {
		t.Errorf("message: %s", a.body)
	}
	r.want(call{method: "GET", target: "/bkt", user: rigReader}, "200") // by its own policy
}

// The conditions of a bucket policy are held against the request.
func TestPolicyConditions(t *testing.T) {
	r := newRig(t, func(c *Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	r.bucket("bkt")
	r.put("/bkt/a/k", "x")
	r.want(call{method: "PUT", target: "/bkt/red", body: "x", header: with("x-amz-tagging", "Colour=red&x=1")}, "200")
	r.want(call{method: "PUT", target: "/bkt/blue", body: "x", header: with("x-amz-tagging", "Colour=blue")}, "200")
	nemo := func(method, target string, header ...[2]string) call {
		return call{method: method, target: target, user: rigNobody, header: header}
	}
	all := func(key, operator, values string) string {
		return allow("*", "*", " /*", condition(operator, key, values))
	}
	future, past := time.Now().Add(time.Hour).UTC().Format(time.RFC3339), time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for _, c := range []struct {
		statement string
		c         call
		want      string
	}{
		{all("s3:prefix", "StringLike", `"a/*"`), nemo("GET", "/bkt?prefix=a/b"), "200"},
		{all("s3:prefix", "StringLike", `"a/*"`), nemo("GET", "/bkt?prefix=b"), "403 AccessDenied"},
		{all("s3:prefix", "StringLike", `"a/*"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("s3:prefix", "StringLike", `"a/*"`), nemo("GET", "/bkt/a/k?prefix=a/"), "403 AccessDenied"},
		{all("s3:delimiter", "StringEquals", `"/"`), nemo("GET", "/bkt?versions&delimiter=/"), "200"},
		{all("s3:max-keys", "NumericLessThanEquals", `"10"`), nemo("GET", "/bkt?list-type=2&max-keys=10"), "200"},
		{all("s3:max-keys", "NumericLessThanEquals", `"10"`), nemo("GET", "/bkt?list-type=2&max-keys=11"), "403 AccessDenied"},
		{all("aws:SourceIp", "IpAddress", `"127.0.0.0/8"`), nemo("GET", "/bkt"), "200"},
		{all("aws:SourceIp", "NotIpAddress", `"127.0.0.0/8"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("aws:SourceIp", "IpAddress", `"192.0.2.0/24"`), nemo("GET", "/bkt", [2]string{"X-Forwarded-For", "10.0.0.1, 192.0.2.7"}), "200"},
		{all("aws:SourceIp", "IpAddress", `"192.0.2.0/24"`), nemo("GET", "/bkt", [2]string{"X-Forwarded-For", "192.0.2.7, 10.0.0.1"}), "403 AccessDenied"},
		{all("aws:SecureTransport", "Bool", `"true"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("aws:SecureTransport", "Bool", `"false"`), nemo("GET", "/bkt"), "200"},
		{all("aws:username", "StringEquals", `"nemo"`), nemo("GET", "/bkt"), "200"},
		{all("aws:username", "StringEquals", `"rita"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("aws:username", "StringLike", `"*"`), anon("GET", "/bkt"), "403 AccessDenied"},
		{all("aws:PrincipalType", "StringEquals", `"Anonymous"`), anon("GET", "/bkt"), "200"},
		{all("aws:PrincipalType", "StringEquals", `"User"`), nemo("GET", "/bkt"), "200"},
		{all("aws:userid", "StringEquals", `"anonymous"`), anon("GET", "/bkt"), "200"},
		{all("aws:PrincipalArn", "ArnLike", `"arn:aws:iam::*:user/nemo"`), nemo("GET", "/bkt"), "200"},
		{all("aws:PrincipalAccount", "StringEquals", `"000000000000"`), nemo("GET", "/bkt"), "200"},
		{all("aws:PrincipalAccount", "StringEquals", `"000000000000"`), anon("GET", "/bkt"), "403 AccessDenied"},
		{all("aws:Referer", "StringLike", `"https://example.com/*"`), anonWith("GET", "/bkt", "Referer", "https://example.com/a"), "200"},
		{all("aws:Referer", "StringLike", `"https://example.com/*"`), anonWith("GET", "/bkt", "Referer", "https://evil.example/"), "403 AccessDenied"},
		{all("aws:UserAgent", "StringLike", `"curl/*"`), anonWith("GET", "/bkt", "User-Agent", "curl/8"), "200"},
		{all("aws:UserAgent", "StringLike", `"curl/*"`), anon("GET", "/bkt"), "403 AccessDenied"},
		{all("aws:CurrentTime", "DateLessThan", `"`+future+`"`), nemo("GET", "/bkt"), "200"},
		{all("aws:CurrentTime", "DateLessThan", `"`+past+`"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("aws:EpochTime", "NumericGreaterThan", `"1700000000"`), nemo("GET", "/bkt"), "200"},
		{all("s3:authType", "StringEquals", `"REST-HEADER"`), nemo("GET", "/bkt"), "200"},
		{all("s3:authType", "StringEquals", `"REST-HEADER"`), anon("GET", "/bkt"), "403 AccessDenied"},
		{all("s3:signatureversion", "StringEquals", `"AWS4-HMAC-SHA256"`), nemo("GET", "/bkt"), "200"},
		{all("s3:signatureAge", "NumericLessThan", `"600000"`), nemo("GET", "/bkt"), "200"},
		{all("s3:signatureAge", "NumericGreaterThan", `"600000"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("s3:TlsVersion", "NumericGreaterThanEquals", `"1.2"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("s3:ResourceAccount", "StringEquals", `"000000000000"`), nemo("GET", "/bkt"), "200"},
		{all("s3:VersionId", "StringEquals", `"null"`), nemo("GET", "/bkt/a/k?versionId=null"), "200"},
		{all("s3:VersionId", "StringEquals", `"null"`), nemo("GET", "/bkt/a/k"), "403 AccessDenied"},
		{all("s3:x-amz-acl", "StringEquals", `"bucket-owner-full-control"`), putWith("/bkt/n", "x-amz-acl", "bucket-owner-full-control"), "200"},
		{all("s3:x-amz-acl", "StringEquals", `"bucket-owner-full-control"`), putWith("/bkt/n", "x-amz-acl", "private"), "403 AccessDenied"},
		{all("s3:x-amz-storage-class", "StringEquals", `"STANDARD"`), putWith("/bkt/n", "x-amz-storage-class", "STANDARD"), "200"},
		{all("s3:x-amz-content-sha256", "StringNotEquals", `"UNSIGNED-PAYLOAD"`), call{method: "PUT", target: "/bkt/n", user: rigNobody, payload: "UNSIGNED-PAYLOAD"}, "403 AccessDenied"},
		{all("s3:if-none-match", "StringEquals", `"*"`), putWith("/bkt/fresh", "If-None-Match", "*"), "200"},
		{all("s3:if-none-match", "StringEquals", `"*"`), putWith("/bkt/n", "x-other", "*"), "403 AccessDenied"},
		{all("s3:ObjectCreationOperation", "Bool", `"false"`), nemo("POST", "/bkt/n?uploads"), "200"},
		{all("s3:ObjectCreationOperation", "Bool", `"false"`), putWith("/bkt/n", "x-other", "*"), "403 AccessDenied"},
		{all("s3:ExistingObjectTag/Colour", "StringEquals", `"red"`), nemo("GET", "/bkt/red"), "200"},
		{all("s3:ExistingObjectTag/Colour", "StringEquals", `"red"`), nemo("GET", "/bkt/blue"), "403 AccessDenied"},
		{all("s3:ExistingObjectTag/colour", "StringEquals", `"red"`), nemo("GET", "/bkt/red"), "403 AccessDenied"},
		{all("s3:ExistingObjectTag/Colour", "StringEquals", `"red"`), nemo("GET", "/bkt/none"), "403 AccessDenied"},
		{all("s3:ExistingObjectTag/Colour", "StringEquals", `"red"`), nemo("GET", "/bkt"), "403 AccessDenied"},
		{all("s3:RequestObjectTag/Colour", "StringEquals", `"red"`), putWith("/bkt/n", "x-amz-tagging", "Colour=red"), "200"},
		{all("s3:RequestObjectTag/Colour", "StringEquals", `"red"`), putWith("/bkt/n", "x-amz-tagging", "Colour=green"), "403 AccessDenied"},
		{all("s3:RequestObjectTag/Colour", "StringEquals", `"red"`), putWith("/bkt/n", "x-other", "Colour=red"), "403 AccessDenied"},
		{all("s3:RequestObjectTagKeys", "ForAllValues:StringEquals", `["Colour","x"]`), putWith("/bkt/n", "x-amz-tagging", "Colour=red&x=1"), "200"},
		{all("s3:RequestObjectTagKeys", "ForAllValues:StringEquals", `["Colour","x"]`), putWith("/bkt/n", "x-amz-tagging", "Colour=red&y=1"), "403 AccessDenied"},
		{all("s3:RequestObjectTagKeys", "ForAllValues:StringEquals", `["Colour","x"]`), putWith("/bkt/n", "x-amz-tagging", "%zz"), "400 InvalidArgument"},
		{all("s3:x-amz-copy-source", "StringLike", `"bkt/a/*"`), putWith("/bkt/n", "x-amz-copy-source", "/bkt/%61/k"), "200"},
		{all("s3:x-amz-copy-source", "StringLike", `"bkt/a/*"`), putWith("/bkt/n", "x-amz-copy-source", "/bkt/red"), "403 AccessDenied"},
		{all("s3:x-amz-metadata-directive", "StringEquals", `"COPY"`), call{method: "PUT", target: "/bkt/n", user: rigNobody,
			header: [][2]string{{"x-amz-copy-source", "/bkt/red"}, {"x-amz-metadata-directive", "copy"}}}, "200"},
		{all("s3:x-amz-grant-read", "Null", `"true"`), putWith("/bkt/n", "x-other", "1"), "200"},
		{all("s3:x-amz-grant-read", "Null", `"true"`), putWith("/bkt/n", "x-amz-grant-read", "id=1"), "403 AccessDenied"},
	} {
		must(t, r.s.SetBucketPolicy(t.Context(), "bkt", []byte(policyText(c.statement))))
		if a := r.do(c.c); strings.TrimSpace(a.String()) != c.want {
			t.Errorf("%s %s %v under %s = %s, want %s", c.c.method, c.c.target, c.c.header, c.statement, a, c.want)
		}
	}
}

func anonWith(method, target, name, value string) call {
	return call{method: method, target: target, user: "-", header: with(name, value)}
}

func putWith(target, name, value string) call {
	return call{method: "PUT", target: target, user: rigNobody, header: with(name, value)}
}

// What identity policies say holds for the next request, and a deny anywhere wins.
func TestDecisions(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	r.bucket("bkt")
	r.put("/bkt/nemo/k", "x")
	r.put("/bkt/other/k", "x")
	get := func(user, key string) call { return call{method: "GET", target: "/bkt/" + key, user: user} }

	r.attach(rigNobody, allow("", "GetObject PutObject", "/${aws:username}/*", ""), allow("", "ListBucket", "", condition("StringLike", "s3:prefix", `"nemo/*"`)))
	r.want(get(rigNobody, "nemo/k"), "200")
	r.want(get(rigNobody, "other/k"), "403 AccessDenied")
	r.want(get(rigNobody, "nemo/none"), "404 NoSuchKey") // may list that prefix
	r.want(call{method: "GET", target: "/bkt?prefix=nemo/", user: rigNobody}, "200")
	r.want(call{method: "GET", target: "/bkt?prefix=nemo", user: rigNobody}, "403 AccessDenied")
	// Copies need both ends.
	copyOf := func(from, to string, more ...[2]string) call {
		return call{method: "PUT", target: "/bkt/" + to, user: rigNobody, header: append(more, [2]string{"x-amz-copy-source", "/bkt/" + from})}
	}
	r.want(copyOf("nemo/k", "nemo/copy"), "200")
	r.want(copyOf("other/k", "nemo/copy"), "403 AccessDenied")
	r.want(copyOf("nemo/k", "other/copy"), "403 AccessDenied")
	r.want(copyOf("nemo/none", "nemo/copy"), "404 NoSuchKey")
	r.want(copyOf("other/none", "nemo/copy"), "403 AccessDenied")
	r.want(copyOf("nemo/k?versionId=null", "nemo/copy"), "403 AccessDenied") // s3:GetObjectVersion
	r.want(copyOf("nemo/k", "nemo/copy", [2]string{"x-amz-acl", "private"}), "403 AccessDenied")

	r.setPolicy(deny("*", "GetObject", "/nemo/*", ""))
	r.want(get(rigNobody, "nemo/k"), "403 AccessDenied")
	r.want(get(rigUser, "nemo/k"), "403 AccessDenied")
	r.want(copyOf("nemo/k", "nemo/copy"), "403 AccessDenied")
	r.want(call{method: "DELETE", target: "/bkt?policy"}, "204")
	r.want(get(rigNobody, "nemo/k"), "200")
	must(t, r.iam.Detach(ctx, "test-nemo", rigNobody))
	r.want(get(rigNobody, "nemo/k"), "403 AccessDenied")
	r.attach(rigNobody, allow("", "*", " /*", ""), deny("", "GetObject", "/nemo/*", ""))
	r.setPolicy(allow("*", "GetObject", "/*", ""))
	r.want(get(rigNobody, "nemo/k"), "403 AccessDenied")
	r.want(get(rigNobody, "other/k"), "200")
	r.want(anon("GET", "/bkt/nemo/k"), "200")
}

// Each key of DeleteObjects is judged by itself, by its own tags too.
func TestDeleteObjectsDecisions(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	for _, key := range []string{"a/1", "a/keep", "b/1"} {
		r.put("/bkt/"+key, "x")
	}
	r.want(call{method: "PUT", target: "/bkt/a/keep", body: "x", header: with("x-amz-tagging", "keep=yes")}, "200")
	r.attach(rigNobody, allow("", "DeleteObject", "/a/*", ""), deny("", "DeleteObject", "/*", condition("StringEquals", "s3:ExistingObjectTag/keep", `"yes"`)))
	one := func(key, more string) string { return "<Object><Key>" + key + "</Key>" + more + "</Object>" }
	body := "<Delete>" + one("a/1", "") + one("a/keep", "") + one("b/1", "") + one("a/gone", "") +
		one("a/1", "<VersionId>null</VersionId>") + one("a/1", "<ETag>x</ETag>") + "</Delete>"
	a := r.do(call{method: "POST", target: "/bkt?delete", user: rigNobody, body: body})
	deleted, failed := elements(a.body, "Deleted"), elements(a.body, "Error")
	if len(deleted) != 2 || !strings.Contains(deleted[0], "a/1<") || !strings.Contains(deleted[1], "a/gone<") || len(failed) != 4 {
		t.Fatal(a.body)
	}
	for _, e := range failed {
		if !strings.Contains(e, "<Code>AccessDenied</Code>") {
			t.Error(e)
		}
	}
	r.want(call{method: "POST", target: "/bkt?delete", user: "-", body: body}, "400 InvalidRequest") // no digest
	r.setPolicy(allow("*", "DeleteObject", "/b/*", condition("Null", "s3:if-match", `"false"`)))
	etag := strings.Trim(r.want(call{method: "HEAD", target: "/bkt/b/1"}, "200").header.Get("ETag"), `"`)
	body = "<Delete>" + one("b/1", "") + one("b/1", "<ETag>"+etag+"</ETag>") + one("b/1", "<ETag>*</ETag>") + "</Delete>"
	a = r.do(call{method: "POST", target: "/bkt?delete", user: "-", body: body, header: with("Content-MD5", md5Base64(body))})
	if len(elements(a.body, "Deleted")) != 1 || len(elements(a.body, "Error")) != 2 {
		t.Fatal(a.body)
	}
	r.want(call{method: "POST", target: "/none?delete", user: "-", body: body, header: with("Content-MD5", md5Base64(body))}, "404 NoSuchBucket")
}

// s3:LocationConstraint is known once the body has been read.
func TestLocationConstraint(t *testing.T) {
	r := newRig(t, nil)
	_, err := r.iam.AddPolicy(t.Context(), "here", []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"*",`+
		condition("StringEquals", "s3:LocationConstraint", `"us-east-1"`)+`}]}`), false)
	must(t, err)
	must(t, r.iam.Attach(t.Context(), "here", rigNobody))
	body := "<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>"
	r.want(call{method: "PUT", target: "/one", user: rigNobody}, "403 AccessDenied")
	r.want(call{method: "HEAD", target: "/one"}, "404")
	r.want(call{method: "PUT", target: "/one", user: rigNobody, body: body, header: with("x-amz-acl", "private")}, "403 AccessDenied")
	r.want(call{method: "PUT", target: "/one", user: rigNobody, body: body, header: with("x-amz-object-ownership", "BucketOwnerEnforced")}, "403 AccessDenied")
	r.want(call{method: "PUT", target: "/one", user: rigNobody, body: body}, "200")
	r.want(call{method: "PUT", target: "/two", user: "-", body: body}, "403 AccessDenied")
}

func md5Base64(text string) string {
	sum := md5.Sum([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Whether the body may come is decided before it is asked for; forms of anonymous
// senders are let in by bucket policies.
func TestAnonymousBodies(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	expect := func(key string) string {
		c := r.dial()
		_, err := io.WriteString(c, "PUT /bkt/"+key+" HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
		must(t, err)
		line, err := bufio.NewReader(c).ReadString('\n')
		must(t, err)
		return strings.Fields(line)[1]
	}
	form := func(key, more string) call {
		return call{method: "POST", target: "/bkt", user: "-", header: with("Content-Type", "multipart/form-data; boundary=b"),
			body: "--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\n" + key + "\r\n" + more +
				"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhello\r\n--b--\r\n"}
	}
	if got := expect("up/a"); got != "403" {
		t.Errorf("Expect without a policy: %s", got)
	}
	r.want(form("up/form", ""), "403 AccessDenied")
	r.setPolicy(allow("*", "PutObject", "/up/*", ""), deny("*", "PutObject", "/*", condition("Null", "s3:x-amz-acl", `"false"`)))
	if got := expect("up/a"); got != "100" {
		t.Errorf("Expect with a policy: %s", got)
	}
	if got := expect("other"); got != "403" {
		t.Errorf("Expect of another key: %s", got)
	}
	r.want(form("up/form", ""), "204")
	r.want(form("other", ""), "403 AccessDenied")
	r.want(form("up/form", "--b\r\nContent-Disposition: form-data; name=\"acl\"\r\n\r\nprivate\r\n"), "403 AccessDenied")
	if a := r.want(call{method: "GET", target: "/bkt/up/form"}, "200"); a.body != "hello" {
		t.Errorf("form: %q", a.body)
	}
	gone := form("up/form", "")
	gone.target = "/gone"
	r.want(gone, "404 NoSuchBucket")
}

// What a presigned URL says in its query counts as the header of that name.
func TestPresignedHeaders(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.setPolicy(deny("*", "PutObject", "/*", condition("StringNotEquals", "s3:x-amz-acl", `"bucket-owner-full-control"`)))
	do := func(method, target string, header ...[2]string) answer {
		t.Helper()
		c := call{method: method, target: target, host: r.addr, header: header}
		path, _, _ := strings.Cut(target, "?")
		c.target = path + "?" + sigv4.Presign(&c, rigUser, rigSecret, rigRegion, "s3", time.Minute, time.Now())
		c.user, c.body = "-", "hello"
		if method == "GET" {
			c.body = ""
		}
		return r.do(c)
	}
	for _, c := range []struct{ target, want string }{
		{"/bkt/k", "403 AccessDenied"},
		{"/bkt/k?x-amz-acl=bucket-owner-full-control&x-amz-meta-a=b&X-Amz-Tagging=c%3Dd", "200"},
		{"/bkt/k?x-amz-acl=bucket-owner-full-control&X-Amz-Acl=private", "400 InvalidArgument"},
		{"/bkt/k?x-amz-acl=bucket-owner-full-control&x-amz-meta-a=b%0A", "400 InvalidArgument"},
		{"/bkt/k?x-amz-acl=bucket-owner-full-control&x-amz-copy-source=a%2Fb", "400 InvalidArgument"},
		{"/bkt/k?x-amz-acl=bucket-owner-full-control&x-amz-checksum-crc32=AAAAAA%3D%3D", "400 BadDigest"},
		{"/bkt/k?x-amz-acl=public-read", "403 AccessDenied"},
	} {
		if a := do("PUT", c.target); strings.TrimSpace(a.String()) != c.want {
			t.Errorf("%s = %s, want %s: %s", c.target, a, c.want, a.body)
		}
	}
	a := do("GET", "/bkt/k")
	if a.status != 200 || a.body != "hello" || a.header.Get("x-amz-meta-a") != "b" || a.header.Get("x-amz-tagging-count") != "1" {
		t.Errorf("%s %v", a, a.header)
	}
	// Nothing of the kind for who does not sign the query.
	r.setPolicy(allow("*", "PutObject", "/*", condition("StringEquals", "s3:x-amz-acl", `"private"`)))
	r.want(anon("PUT", "/bkt/k?x-amz-acl=private"), "403 AccessDenied")
	r.want(call{method: "PUT", target: "/bkt/k?x-amz-acl=private", user: rigNobody}, "403 AccessDenied")
}
