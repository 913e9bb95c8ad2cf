package s3fast

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// presigned makes a call whose signature, and whose session token, are in the
// query.
func (r *rig) presigned(c iam.Credentials, method, target, body string) call {
	p := call{method: method, target: target, host: r.addr, body: body}
	sep := "?"
	if strings.Contains(target, "?") {
		sep = "&"
	}
	p.target += sep + "X-Amz-Security-Token=" + url.QueryEscape(c.Token)
	path, _, _ := strings.Cut(target, "?")
	p.target = path + "?" + sigv4.Presign(&p, c.AccessKey, c.SecretKey, rigRegion, "s3", time.Hour, time.Now())
	p.user = "-"
	return p
}

// TestPresignedSession: every step of a multipart upload, and the plain
// operations, by URLs that were presigned with temporary credentials.
func TestPresignedSession(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	c := credentialsOf(t, r.sts(rigUser, rigSecret, stsBody("Action", "AssumeRole", "RoleSessionName", "presign",
		"Policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::bkt/up/*"}]}`)))
	created := r.want(r.presigned(c, "POST", "/bkt/up/m?uploads", ""), "200")
	id := elements(created.body, "UploadId")[0]
	part := strings.Repeat("p", 5<<20)
	var list strings.Builder
	for i, body := range []string{part, "tail"} {
		number := string(rune('1' + i))
		a := r.want(r.presigned(c, "PUT", "/bkt/up/m?partNumber="+number+"&uploadId="+id, body), "200")
		list.WriteString("<Part><PartNumber>" + number + "</PartNumber><ETag>" + a.header.Get("ETag") + "</ETag></Part>")
	}
	r.want(r.presigned(c, "POST", "/bkt/up/m?uploadId="+id, "<CompleteMultipartUpload>"+list.String()+"</CompleteMultipartUpload>"), "200")
	if a := r.want(r.presigned(c, "GET", "/bkt/up/m", ""), "200"); a.body != part+"tail" {
		t.Errorf("%d bytes came back", len(a.body))
	}
	r.want(r.presigned(c, "PUT", "/bkt/up/k", "data"), "200")
	r.want(r.presigned(c, "GET", "/bkt/up/k", ""), "200")
	r.want(r.presigned(c, "DELETE", "/bkt/up/k", ""), "204")
	r.want(call{method: "GET", target: "/bkt/up/k"}, "404 NoSuchKey")
	// Outside of the session's policy, with another's token, and without one.
	r.want(r.presigned(c, "PUT", "/bkt/k", "data"), "403 AccessDenied")
	other := credentialsOf(t, r.sts(rigUser, rigSecret, stsBody("Action", "AssumeRole")))
	other.AccessKey, other.SecretKey = c.AccessKey, c.SecretKey
	r.want(r.presigned(other, "GET", "/bkt/up/m", ""), "400 InvalidToken")
	p := r.presigned(c, "GET", "/bkt/up/m", "")
	p.target = strings.Replace(p.target, "X-Amz-Security-Token=", "X-Not-The-Token=", 1)
	if a := r.do(p); a.status != 403 {
		t.Errorf("without its token: %v", a)
	}
	must(t, r.iam.DeleteUser(t.Context(), rigUser))
	r.want(r.presigned(c, "GET", "/bkt/up/m", ""), "400 InvalidToken")
}

// TestPostSession sends forms that were signed with temporary credentials.
func TestPostSession(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	c := credentialsOf(t, r.sts(rigUser, rigSecret, stsBody("Action", "AssumeRole", "RoleSessionName", "forms",
		"Policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/up/*","Condition":{"StringEquals":{"s3:authType":"POST"}}}]}`)))
	send := func(key, token string) answer {
		fields := signedFormBy(c.AccessKey, c.SecretKey, time.Now(),
			append(anyKey, map[string]string{"x-amz-security-token": token}),
			[2]string{"key", key}, [2]string{"x-amz-security-token", token})
		return r.do(postCall(form(fields, "data")))
	}
	for name, row := range map[string]struct{ key, token, want string }{
		"good":          {"up/k", c.Token, "204"},
		"elsewhere":     {"k", c.Token, "403 AccessDenied"},
		"another token": {"up/k", c.Token[:len(c.Token)-4] + "AAAA", "400 InvalidToken"},
	} {
		if a := send(row.key, row.token); strings.TrimSpace(a.String()) != row.want {
			t.Errorf("%s: %v, want %s\n%s", name, a, row.want, a.body)
		}
	}
	// The policy allows forms alone.
	r.want(as(c, "PUT", "/bkt/up/k", "x"), "403 AccessDenied")
}

// TestPostAnonymous sends forms without a policy, where the bucket's lets anyone
// write.
func TestPostAnonymous(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	send := func(key string, more ...[2]string) string {
		return strings.TrimSpace(r.do(postCall(form(append([][2]string{{"key", key}}, more...), "data"))).String())
	}
	if got := send("drop/k"); got != "403 AccessDenied" {
		t.Errorf("closed bucket: %s", got)
	}
	r.want(call{method: "DELETE", target: "/bkt?publicAccessBlock"}, "204")
	r.want(call{method: "PUT", target: "/bkt?policy", body: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::bkt/drop/*"}]}`}, "204")
	for name, row := range map[string]struct {
		got, want string
	}{
		"allowed":   {send("drop/${filename}"), "204"},
		"elsewhere": {send("k"), "403 AccessDenied"},
		"tags":      {send("drop/t", [2]string{"tagging", tagSet("a", "b")}), "403 AccessDenied"},
	} {
		if row.got != row.want {
			t.Errorf("%s: %s, want %s", name, row.got, row.want)
		}
	}
	r.want(call{method: "GET", target: "/bkt/drop/photo.txt"}, "200")
}
