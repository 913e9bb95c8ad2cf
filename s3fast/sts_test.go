package s3fast

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

const formType = "application/x-www-form-urlencoded"

// stsBody renders a form: name, value pairs.
func stsBody(pairs ...string) string {
	v := url.Values{"Version": {stsVersion}}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

// stsRaw signs a form for the service sts, as botocore does: the hash of the body
// is signed and no header tells it. sign "" sends it unsigned.
func (r *rig) stsRaw(user, secret, service, body string, extra ...[2]string) string {
	now := time.Now().UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	hash := sha256.Sum256([]byte(body))
	headers := "content-type:" + formType + "\nhost:" + r.addr + "\nx-amz-date:" + stamp + "\n"
	names, lines := "content-type;host;x-amz-date", ""
	for _, h := range extra {
		headers += h[0] + ":" + h[1] + "\n"
		names += ";" + h[0]
		lines += h[0] + ": " + h[1] + "\r\n"
	}
	canonical := sha256.Sum256([]byte("POST\n/\n\n" + headers + "\n" + names + "\n" + hex.EncodeToString(hash[:])))
	scope := day + "/us-east-1/" + service + "/aws4_request"
	key := sigv4.SigningKey(secret, day, "us-east-1", service)
	mac := hmac.New(sha256.New, key[:])
	fmt.Fprintf(mac, "AWS4-HMAC-SHA256\n%s\n%s\n%x", stamp, scope, canonical)
	head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n%s", r.addr, formType, len(body), lines)
	if service != "" {
		head += fmt.Sprintf("X-Amz-Date: %s\r\nAuthorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x\r\n",
			stamp, user, scope, names, mac.Sum(nil))
	}
	return head + "\r\n" + body
}

func (r *rig) sts(user, secret, body string, extra ...[2]string) answer {
	r.t.Helper()
	return r.raw("POST", r.stsRaw(user, secret, "sts", body, extra...))
}

func credentialsOf(t *testing.T, a answer) iam.Credentials {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%v\n%s", a, a.body)
	}
	one := func(name string) string {
		list := elements(a.body, name)
		if len(list) != 1 {
			t.Fatalf("%d elements %s in %s", len(list), name, a.body)
		}
		return list[0]
	}
	expires, err := time.Parse("2006-01-02T15:04:05Z", one("Expiration"))
	must(t, err)
	return iam.Credentials{
		AccessKey: one("AccessKeyId"), SecretKey: one("SecretAccessKey"), Token: one("SessionToken"),
		Expires: expires, ARN: one("Arn"), ID: one("AssumedRoleId"),
	}
}

// as makes a call with temporary credentials.
func as(c iam.Credentials, method, target, body string) call {
	return call{method: method, target: target, body: body, user: c.AccessKey, secret: c.SecretKey,
		header: with("x-amz-security-token", c.Token)}
}

func TestAssumeRole(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "data")
	began := time.Now()
	a := r.sts(rigUser, rigSecret, stsBody("Action", "AssumeRole", "RoleArn", "arn:xxx:xxx:xxx:xxxx",
		"RoleSessionName", "a-session", "DurationSeconds", "900"))
	c := credentialsOf(t, a)
	if !strings.HasPrefix(a.body, xmlHeader+`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>`) ||
		a.header.Get("Content-Type") != "text/xml" || strings.Contains(a.body, "PackedPolicySize") ||
		!strings.Contains(a.body, "<ResponseMetadata><RequestId>"+a.header.Get("x-amz-request-id")+"<") {
		t.Error(a.body)
	}
	if d := c.Expires.Sub(began); d < 899*time.Second || d > 905*time.Second {
		t.Errorf("expires in %s", d)
	}
	if want := "arn:aws:sts::" + accountID + ":assumed-role/" + rigUser + "/a-session"; c.ARN != want || !strings.HasSuffix(c.ID, ":a-session") {
		t.Errorf("%q %q", c.ARN, c.ID)
	}
	r.want(as(c, "GET", "/bkt/k", ""), "200")
	r.want(as(c, "PUT", "/bkt/l", "x"), "200")
	without := as(c, "GET", "/bkt/k", "")
	without.header = nil
	r.want(without, "403 InvalidAccessKeyId") // as AWS answers
	wrong := as(c, "GET", "/bkt/k", "")
	wrong.header = with("x-amz-security-token", c.Token[:len(c.Token)-4]+"AAAA")
	r.want(wrong, "400 InvalidToken")

	// An inline policy narrows.
	narrow := credentialsOf(t, r.sts(rigUser, rigSecret, stsBody("Action", "AssumeRole", "RoleSessionName", "s",
		"RoleSessionName", "se", "Policy", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::bkt/*"}]}`)))
	r.want(as(narrow, "GET", "/bkt/k", ""), "200")
	r.want(as(narrow, "PUT", "/bkt/l", "x"), "403 AccessDenied")
	// A session cannot begin another.
	b := r.sts(c.AccessKey, c.SecretKey, stsBody("Action", "AssumeRole", "RoleSessionName", "s2"), [2]string{"x-amz-security-token", c.Token})
	if b.String() != "403 AccessDenied" {
		t.Errorf("session of a session: %v", b)
	}
	// What the parent may not, the session may not; and it ends with its parent.
	reader := credentialsOf(t, r.sts(rigReader, rigSecret, stsBody("Action", "AssumeRole", "RoleSessionName", "s1")))
	r.want(as(reader, "PUT", "/bkt/l", "x"), "403 AccessDenied")
	must(t, r.iam.DeleteUser(t.Context(), rigReader))
	r.want(as(reader, "GET", "/bkt/k", ""), "400 InvalidToken")
}

const xmlHeader = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"

func TestCallerIdentity(t *testing.T) {
	r := newRig(t, nil)
	body := stsBody("Action", "GetCallerIdentity")
	a := r.sts(rigNobody, rigSecret, body)
	equal(t, "ARN", elements(a.body, "Arn"), []string{"arn:aws:iam::" + accountID + ":user/" + rigNobody})
	equal(t, "account", elements(a.body, "Account"), []string{accountID})
	c := credentialsOf(t, r.sts(rigNobody, rigSecret, stsBody("Action", "AssumeRole")))
	a = r.sts(c.AccessKey, c.SecretKey, body, [2]string{"x-amz-security-token", c.Token})
	equal(t, "ARN", elements(a.body, "Arn"), []string{c.ARN})
	equal(t, "id", elements(a.body, "UserId"), []string{c.ID})
	if c.ARN[strings.LastIndexByte(c.ARN, '/')+1:] != defaultRole {
		t.Error(c.ARN)
	}
}

func TestSTSRefusals(t *testing.T) {
	r := newRig(t, nil)
	good := []string{"Action", "AssumeRole", "RoleSessionName", "name"}
	plus := func(pairs ...string) string { return stsBody(append(append([]string(nil), good...), pairs...)...) }
	for body, want := range map[string]string{
		stsBody(): "400 MissingAction", "": "400 MissingAction",
		stsBody("Action", "AssumeRoot"):                                   "400 InvalidAction",
		"Action=AssumeRole&Version=2010-01-01":                            "400 InvalidAction",
		"Action=AssumeRole":                                               "400 InvalidAction",
		"Action=%zz":                                                      "400 ValidationError",
		stsBody() + "&Action=AssumeRole&Action=AssumeRole":                "400 ValidationError",
		plus("RoleArn", "role"):                                           "400 ValidationError",
		plus("RoleArn", "arn:aws:iam::1:role/a b"):                        "400 ValidationError",
		plus("RoleArn", "arn:aws:iam::1:role/"+strings.Repeat("x", 2048)): "400 ValidationError",
		plus("RoleSessionName", "x"):                                      "400 ValidationError",
		plus("RoleSessionName", "a b"):                                    "400 ValidationError",
		plus("DurationSeconds", "899"):                                    "400 ValidationError",
		plus("DurationSeconds", "604801"):                                 "400 ValidationError",
		plus("DurationSeconds", "-1"):                                     "400 ValidationError",
		plus("DurationSeconds", "99999999999999999999"):                   "400 ValidationError",
		plus("DurationSeconds", "1e3"):                                    "400 ValidationError",
		plus("Policy", "{"):                                               "400 MalformedPolicyDocument",
		plus("Policy", `{"Version":"2012-10-17","Statement":[]}`+strings.Repeat(" ", iam.MaxSessionPolicy)): "400 PackedPolicyTooLarge",
		plus("PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/ReadOnly"):                                 "400 ValidationError",
		plus("Tags.member.1.Key", "a"):                            "400 ValidationError",
		plus("ExternalId", "a"):                                   "400 ValidationError",
		plus("SerialNumber", "a"):                                 "400 ValidationError",
		plus("TokenCode", "123456"):                               "400 ValidationError",
		plus("ExternalId", ""):                                    "200",
		plus("DurationSeconds", "604800"):                         "200",
		plus("x", strings.Repeat("x", maxSTSForm)):                "413 RequestEntityTooLarge",
		stsBody("Action", stsWeb):                                 "400 ValidationError",
		stsBody("Action", stsWeb, "WebIdentityToken", "nonsense"): "400 InvalidIdentityToken",
	} {
		a := r.sts(rigUser, rigSecret, body)
		if strings.TrimSpace(a.String()) != want || want != "200" && !strings.Contains(a.body, `<ErrorResponse xmlns="`) {
			t.Errorf("%.100s: %v, want %s\n%s", body, a, want, a.body)
		}
	}
	body := stsBody(good...)
	for name, row := range map[string]struct{ raw, want string }{
		"unsigned":        {r.stsRaw("", "", "", body), "403 MissingAuthenticationToken"},
		"for s3":          {r.stsRaw(rigUser, rigSecret, "s3", body), "400 IncompleteSignature"},
		"wrong secret":    {r.stsRaw(rigUser, "x", "sts", body), "403 SignatureDoesNotMatch"},
		"no such user":    {r.stsRaw("nobody", rigSecret, "sts", body), "403 InvalidClientTokenId"},
		"other body":      {strings.Replace(r.stsRaw(rigUser, rigSecret, "sts", body), "Name=name", "Name=nama", 1), "403 SignatureDoesNotMatch"},
		"token of no one": {r.stsRaw(rigUser, rigSecret, "sts", body, [2]string{"x-amz-security-token", "x"}), "403 InvalidClientTokenId"},
		"header unsigned": {strings.Replace(r.stsRaw(rigUser, rigSecret, "sts", body), "\r\n\r\n", "\r\nx-amz-security-token: t\r\n\r\n", 1), "403 SignatureDoesNotMatch"},
		"not V4":          {strings.Replace(r.stsRaw(rigUser, rigSecret, "sts", body), "AWS4-HMAC-SHA256 ", "AWS ", 1), "400 IncompleteSignature"},
		"unsigned body":   {r.unsignedPayload(body), "403 SignatureDoesNotMatch"},
		"another form":    {strings.Replace(r.stsRaw(rigUser, rigSecret, "sts", body), formType, "text/plain", 1), "405 MethodNotAllowed"},
	} {
		if a := r.raw("POST", row.raw); a.String() != row.want {
			t.Errorf("%s: %v, want %s\n%s", name, a, row.want, a.body)
		}
	}
	// A signature in the query does not cover the body.
	c := call{method: "POST", target: "/", host: r.addr, header: with("content-type", formType), body: body}
	query := sigv4.Presign(&c, rigUser, rigSecret, rigRegion, "sts", time.Minute, time.Now())
	c.target, c.user = "/?"+query, "-"
	r.want(c, "403 SignatureDoesNotMatch")
}

// unsignedPayload signs a form in S3's way, without its body.
func (r *rig) unsignedPayload(body string) string {
	c := call{method: "POST", target: "/", host: r.addr, header: with("content-type", formType)}
	head := "POST / HTTP/1.1\r\nHost: " + r.addr + "\r\nContent-Type: " + formType + fmt.Sprintf("\r\nContent-Length: %d\r\n", len(body))
	for k, v := range sigv4.Sign(&c, rigUser, rigSecret, rigRegion, "sts", "UNSIGNED-PAYLOAD", time.Now()) {
		head += k + ": " + v + "\r\n"
	}
	return head + "\r\n" + body
}

// TestDenyAssume: only an explicit deny keeps a user from assuming.
func TestDenyAssume(t *testing.T) {
	r := newRig(t, nil)
	ctx := t.Context()
	for name, row := range map[string]struct{ doc, want string }{
		"deny-all":   {`{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}`, "403 AccessDenied"},
		"deny-sts":   {`{"Effect":"Deny","Action":"sts:*","Resource":"*"}`, "403 AccessDenied"},
		"deny-here":  {`{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.1/32"}}}`, "403 AccessDenied"},
		"deny-there": {`{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`, "200"},
		"other":      {`{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}`, "200"},
	} {
		_, err := r.iam.AddPolicy(ctx, name, []byte(`{"Version":"2012-10-17","Statement":[`+row.doc+`]}`), false)
		must(t, err)
		_, err = r.iam.AddUser(ctx, "u-"+name, iam.S3, rigSecret)
		must(t, err)
		must(t, r.iam.Attach(ctx, name, "u-"+name))
		if a := r.sts("u-"+name, rigSecret, stsBody("Action", "AssumeRole")); strings.TrimSpace(a.String()) != row.want {
			t.Errorf("%s: %v, want %s\n%s", name, a, row.want, a.body)
		}
	}
}

// FuzzSTS posts forms, signed and not.
func FuzzSTS(f *testing.F) {
	r := newRig(f, func(c *Config) { c.StallTimeout = 3 * time.Second })
	f.Add(stsBody("Action", "AssumeRole", "RoleSessionName", "name", "DurationSeconds", "900"), true)
	f.Add(stsBody("Action", stsWeb, "WebIdentityToken", "a.b.c"), false)
	f.Add(stsBody("Action", stsIdentity), true)
	f.Add("Action=AssumeRole&Version=2011-06-15&Policy=%7B%7D", true)
	f.Fuzz(func(t *testing.T, body string, signed bool) {
		if len(body) > 1<<20 {
			return
		}
		service := "sts"
		if !signed {
			service = ""
		}
		r.t = t
		a := r.raw("POST", r.stsRaw(rigUser, rigSecret, service, body))
		if a.status >= 500 || a.status == 200 && (!signed || !strings.Contains(a.body, "Response xmlns=")) {
			t.Fatalf("%q: %d %s", body, a.status, a.body)
		}
	})
}
