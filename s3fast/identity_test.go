package s3fast

import (
	"bufio"
	"io"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/iam"
)

// HSTS is sent over TLS only.
func TestHSTS(t *testing.T) {
	r := newRig(t, func(c *Config) { c.HSTS = 365 * 24 * time.Hour })
	if v := r.do(call{method: "GET", target: "/"}).header.Get("Strict-Transport-Security"); v != "" {
		t.Errorf("over plain HTTP: %q", v)
	}
	nc := r.dialTLS()
	br := bufio.NewReader(nc)
	for _, c := range []call{{method: "GET", target: "/"}, {method: "GET", target: "/none"}} {
		_, err := io.WriteString(nc, r.head(c))
		must(t, err)
		if v := r.read(br, "GET").header.Get("Strict-Transport-Security"); v != "max-age=31536000" {
			t.Errorf("over TLS: %q", v)
		}
	}
	r.bucket("bkt")
	r.setPolicy(allow("*", "GetBucketLocation", "", condition("NumericGreaterThanEquals", "s3:TlsVersion", `"1.2"`)),
		deny("*", "GetBucketLocation", "", condition("Bool", "aws:SecureTransport", `"false"`)))
	_, err := io.WriteString(nc, r.head(anon("GET", "/bkt?location")))
	must(t, err)
	if a := r.read(br, "GET"); a.status != 200 {
		t.Errorf("by TLS version: %s", a)
	}
	r.want(call{method: "GET", target: "/bkt?location"}, "403 AccessDenied")
}

// A service account acts as its user, narrowed by its own policy; it ends with a
// change of either.
func TestServiceAccounts(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	r.bucket("bkt")
	r.put("/bkt/a/k", "x")
	r.put("/bkt/b", "x")
	account, pair, err := r.iam.AddServiceAccount(ctx, rigReader, iam.NewServiceAccount{Policy: []byte(policyText(allow("", "GetObject PutObject", "/a/*", "")))})
	must(t, err)
	as := func(method, target string, header ...[2]string) call {
		return call{method: method, target: target, user: pair.AccessKey, secret: pair.SecretKey, header: header}
	}
	r.want(as("GET", "/bkt/a/k"), "200")
	r.want(as("GET", "/bkt/b"), "403 AccessDenied")
	r.want(as("PUT", "/bkt/a/n"), "403 AccessDenied") // the parent may only read
	r.want(as("GET", "/bkt/a/k", [2]string{"x-amz-security-token", "x"}), "400 InvalidToken")
	r.setPolicy(deny("arn:aws:iam::"+accountID+":user/rita", "GetObject", "/a/*", ""))
	r.want(as("GET", "/bkt/a/k"), "403 AccessDenied")
	// A grant to the parent is narrowed, too.
	r.setPolicy(allow("arn:aws:iam::"+accountID+":user/rita", "PutObject DeleteObject", "/*", condition("StringEquals", "aws:username", `"rita"`)))
	r.want(as("PUT", "/bkt/a/n"), "200")
	r.want(as("PUT", "/bkt/b/n"), "403 AccessDenied")
	r.want(as("DELETE", "/bkt/a/n"), "403 AccessDenied")
	r.want(call{method: "DELETE", target: "/bkt/a/n", user: rigReader}, "204")
	must(t, r.iam.RemoveServiceAccount(ctx, account.ID))
	r.want(as("GET", "/bkt/a/k"), "403 InvalidAccessKeyId")
}

// Sessions need their token, act as their user, and end with it.
func TestSessions(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	r.bucket("bkt")
	r.put("/bkt/a/k", "x")
	r.put("/bkt/b", "x")
	c, err := r.iam.AssumeRole(ctx, rigReader, iam.AssumeRole{Name: "work", Policy: []byte(policyText(allow("", "GetObject", "/a/*", "")))})
	must(t, err)
	as := func(method, target, token string) call {
		q := call{method: method, target: target, user: c.AccessKey, secret: c.SecretKey}
		if token != "" {
			q.header = with("x-amz-security-token", token)
		}
		return q
	}
	r.want(as("GET", "/bkt/a/k", c.Token), "200")
	r.want(as("GET", "/bkt/b", c.Token), "403 AccessDenied")
	r.want(as("GET", "/bkt/a/k", ""), "403 InvalidAccessKeyId") // as AWS
	r.want(as("GET", "/bkt/a/k", c.Token+"x"), "400 InvalidToken")
	r.want(call{method: "GET", target: "/bkt/a/k", header: with("x-amz-security-token", c.Token)}, "400 InvalidToken")
	r.setPolicy(deny("*", "GetObject", "/*", condition("StringEquals", "aws:PrincipalType", `"AssumedRole"`)))
	r.want(as("GET", "/bkt/a/k", c.Token), "403 AccessDenied")
	r.want(call{method: "GET", target: "/bkt/a/k", user: rigReader}, "200")
	r.setPolicy(deny("*", "GetObject", "/*", condition("ArnEquals", "aws:PrincipalArn", `"arn:aws:iam::`+accountID+`:user/rita"`)))
	r.want(as("GET", "/bkt/a/k", c.Token), "403 AccessDenied")
	r.setPolicy(allow(c.ARN, "PutObject", "/b/*", condition("StringEquals", "aws:username", `"rita"`)))
	r.want(as("PUT", "/bkt/b/n", c.Token), "200")
	must(t, r.iam.RevokeSessions(ctx, rigReader))
	r.want(as("GET", "/bkt/a/k", c.Token), "400 InvalidToken")

	_, err = r.iam.AddUser(ctx, "tess", iam.S3, rigSecret)
	must(t, err)
	must(t, r.iam.Attach(ctx, "readonly", "tess"))
	c, err = r.iam.AssumeRole(ctx, "tess", iam.AssumeRole{Name: "work"})
	must(t, err)
	r.want(as("GET", "/bkt/b", c.Token), "200")
	must(t, r.iam.Detach(ctx, "readonly", "tess"))
	r.want(as("GET", "/bkt/b", c.Token), "403 AccessDenied")
	must(t, r.iam.DeleteUser(ctx, "tess"))
	r.want(as("GET", "/bkt/b", c.Token), "400 InvalidToken")
}

// Time is the server's: a session that was good is ExpiredToken when it is over.
func TestExpiredSession(t *testing.T) {
	now := time.Now()
	later := now.Add(16 * time.Minute)
	r := newRig(t, func(c *Config) {
		c.MaxClockSkew = time.Hour
		c.Now = func() time.Time { return later }
	})
	r.bucket("bkt")
	c, err := r.iam.AssumeRole(t.Context(), rigReader, iam.AssumeRole{Name: "work", Duration: iam.MinSession})
	must(t, err)
	r.want(call{method: "GET", target: "/bkt", user: c.AccessKey, secret: c.SecretKey,
		header: with("x-amz-security-token", c.Token)}, "400 ExpiredToken")
}
