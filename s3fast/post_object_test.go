package s3fast

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // version 2
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

const formBound = "----WebKitFormBoundary7MA4YWxkTrZu0gW"

// formPart renders one part; filename "-" means none.
func formPart(name, filename, value string) string {
	head := "--" + formBound + "\r\nContent-Disposition: form-data; name=\"" + name + "\""
	if filename != "-" {
		head += "; filename=\"" + filename + "\"\r\nContent-Type: text/plain"
	}
	return head + "\r\n\r\n" + value + "\r\n"
}

const formClose = "--" + formBound + "--\r\n"

// form renders fields and file.
func form(fields [][2]string, file string) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString(formPart(f[0], "-", f[1]))
	}
	b.WriteString(formPart("file", "photo.txt", file))
	return b.String() + formClose
}

// signedForm signs fields with a policy of the conditions, to which those of the
// signature's own fields are added.
func signedForm(user string, at time.Time, conditions []any, fields ...[2]string) [][2]string {
	return signedFormBy(user, rigSecret, at, conditions, fields...)
}

func signedFormBy(user, secret string, at time.Time, conditions []any, fields ...[2]string) [][2]string {
	p := sigv4.Post{}
	sigv4.SignPost(&p, user, secret, rigRegion, at)
	conditions = append(conditions,
		map[string]string{"x-amz-algorithm": p.Algorithm}, map[string]string{"x-amz-credential": p.Credential},
		map[string]string{"x-amz-date": p.Date})
	doc, _ := json.Marshal(map[string]any{"expiration": at.Add(time.Hour).UTC().Format(time.RFC3339), "conditions": conditions})
	p.Policy = base64.StdEncoding.EncodeToString(doc)
	sigv4.SignPost(&p, user, secret, rigRegion, at)
	return append(fields, [][2]string{{"policy", p.Policy}, {"X-Amz-Algorithm", p.Algorithm},
		{"x-amz-credential", p.Credential}, {"x-amz-date", p.Date}, {"x-amz-signature", p.Signature}}...)
}

func postCall(body string) call {
	return call{method: "POST", target: "/bkt", user: "-", body: body,
		header: with("Content-Type", "multipart/form-data; boundary="+formBound)}
}

var anyKey = []any{map[string]string{"bucket": "bkt"}, []any{"starts-with", "$key", ""}}

func TestPostObject(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	conditions := append(anyKey,
		[]any{"starts-with", "$Content-Type", "image/"}, []any{"eq", "$x-amz-meta-By", "me"},
		[]any{"content-length-range", 1, 2 << 20}, []any{"starts-with", "$tagging", ""},
		map[string]string{"success_action_status": "201"}, []any{"starts-with", "$x-amz-checksum-crc32", ""})
	const data = "the content\r\n--of the file\r\n"
	fields := signedForm(rigUser, time.Now(), conditions,
		[2]string{"KEY", "up/${filename}"}, [2]string{"Content-Type", "image/png"}, [2]string{"x-amz-meta-by", "me"},
		[2]string{"tagging", "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag></TagSet></Tagging>"},
		[2]string{"success_action_status", "201"}, [2]string{"x-amz-checksum-crc32", digest(checksum.CRC32, data)},
		[2]string{"x-ignore-this", "x"})
	refused := r.want(postCall(form(fields, data)), "400 InvalidTag") // '&' is none of a tag's characters
	if !strings.Contains(refused.body, "TagValue") {
		t.Error(refused.body)
	}
	for i := range fields {
		fields[i][1] = strings.Replace(fields[i][1], "1&amp;2", "1+2", 1)
	}
	a := r.want(postCall(form(fields, data)), "201")
	equal(t, "key", elements(a.body, "Key"), []string{"up/photo.txt"})
	equal(t, "location", elements(a.body, "Location"), []string{"http://" + r.addr + "/bkt/up/photo.txt"})
	if a.header.Get("ETag") != etagOf(data) || elements(a.body, "ETag")[0] != strings.ReplaceAll(etagOf(data), `"`, "&quot;") || a.header.Get("Location") == "" {
		t.Errorf("headers %v", a.header)
	}
	got := r.want(call{method: "GET", target: "/bkt/up/photo.txt"}, "200")
	if got.body != data || got.header.Get("Content-Type") != "image/png" || got.header.Get("x-amz-meta-by") != "me" ||
		got.header.Get("x-amz-tagging-count") != "1" {
		t.Errorf("%q %v", got.body, got.header)
	}
	tags := r.want(call{method: "GET", target: "/bkt/up/photo.txt?tagging"}, "200")
	equal(t, "tags", append(elements(tags.body, "Key"), elements(tags.body, "Value")...), []string{"a b", "1+2"})
}

// TestPostObjectSizes stores files around the sizes where the way of reading
// changes, whole and with what may surround them.
func TestPostObjectSizes(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	fields := signedForm(rigUser, time.Now(), anyKey, [2]string{"key", "k"})
	for _, size := range []int{0, 1, 8191, 8192, formSpool - 200, formSpool, formSpool + 1, 3 << 20} {
		data := strings.Repeat("\r\n--"+formBound[:20]+"0123456789", size/33+1)[:size]
		r.want(postCall(form(fields, data)), "204")
		if a := r.want(call{method: "GET", target: "/bkt/k"}, "200"); a.body != data {
			t.Errorf("%d bytes came back as %d", size, len(a.body))
		}
		r.want(postCall("\r\n"+form(fields, data)), "204")
		submit := strings.TrimSuffix(form(fields, data), formClose) + formPart("submit", "-", "Upload") + formClose
		open := strings.TrimSuffix(form(fields, data), "\r\n")
		want := "204"
		if size >= formSpool {
			want = "400 MalformedPOSTRequest"
		}
		r.want(postCall(submit), want)
		r.want(postCall(open), want)
		r.want(postCall(form(fields, data)+"epilogue"), want)
		r.want(postCall(strings.TrimSuffix(form(fields, data), formClose)), "400 MalformedPOSTRequest")
		two := strings.TrimSuffix(form(fields, data), formClose) + formPart("file", "b", "x") + formClose
		if size < formSpool {
			want = "400 IncorrectNumberOfFilesInPostRequest"
		}
		r.want(postCall(two), want)
	}
}

// TestPostObjectShort cuts a form short of its Content-Length: nothing is stored.
func TestPostObjectShort(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	fields := signedForm(rigUser, time.Now(), anyKey, [2]string{"key", "k"})
	for _, size := range []int{100, 2 << 20} {
		c := postCall(form(fields, strings.Repeat("x", size)))
		for _, sent := range []int{10, len(c.body) - size, len(c.body) - size/2, len(c.body) - 3} {
			nc := r.dial()
			_, err := nc.Write([]byte(r.head(c) + c.body[:sent]))
			must(t, err)
			must(t, nc.(interface{ CloseWrite() error }).CloseWrite())
			var answer bytes.Buffer
			_, _ = answer.ReadFrom(nc)
			if text := answer.String(); text != "" && !strings.Contains(text, "<Code>IncompleteBody</Code>") {
				t.Errorf("%d of %d: %s", sent, len(c.body), text)
			}
		}
	}
	r.want(call{method: "GET", target: "/bkt/k"}, "404 NoSuchKey")
}

func TestPostObjectRefusals(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.bucket("other")
	r.put("/bkt/taken", "x")
	now := time.Now()
	key := [2]string{"key", "k"}
	sign := func(conditions []any, fields ...[2]string) [][2]string {
		return signedForm(rigUser, now, conditions, fields...)
	}
	change := func(fields [][2]string, name, value string) [][2]string {
		out := append([][2]string(nil), fields...)
		for i := range out {
			if strings.EqualFold(out[i][0], name) {
				out[i][1] = value
			}
		}
		return out
	}
	drop := func(fields [][2]string, name string) (out [][2]string) {
		for _, f := range fields {
			if !strings.EqualFold(f[0], name) {
				out = append(out, f)
			}
		}
		return out
	}
	with := func(more ...any) []any { return append(append([]any(nil), anyKey...), more...) }
	good := sign(anyKey, key)
	for name, row := range map[string]struct {
		fields [][2]string
		want   string
	}{
		"good":                {good, "204"},
		"reader":              {signedForm(rigReader, now, anyKey, key), "403 AccessDenied"},
		"unknown user":        {signedForm("nobody", now, anyKey, key), "403 InvalidAccessKeyId"},
		"anonymous":           {[][2]string{key}, "403 AccessDenied"},
		"signature alone":     {[][2]string{key, {"x-amz-signature", "00"}}, "400 InvalidArgument"},
		"no signature":        {drop(good, "x-amz-signature"), "400 InvalidArgument"},
		"no credential":       {drop(good, "x-amz-credential"), "400 InvalidArgument"},
		"wrong signature":     {change(good, "x-amz-signature", strings.Repeat("0", 64)), "403 SignatureDoesNotMatch"},
		"other policy":        {change(good, "policy", "e30="), "403 SignatureDoesNotMatch"},
		"other algorithm":     {change(good, "x-amz-algorithm", "AWS4-ECDSA-P256-SHA256"), "400 InvalidRequest"},
		"bad token":           {sign(with([]any{"eq", "$x-amz-security-token", "t"}), key, [2]string{"x-amz-security-token", "t"}), "400 InvalidToken"},
		"no key":              {sign(anyKey), "400 UserKeyMustBeSpecified"},
		"empty key":           {sign(anyKey, [2]string{"key", ""}), "400 UserKeyMustBeSpecified"},
		"long key":            {sign(anyKey, [2]string{"key", strings.Repeat("k", 1025)}), "400 KeyTooLongError"},
		"old":                 {signedForm(rigUser, now.Add(-2*time.Hour), anyKey, key), "403 AccessDenied"},
		"very old":            {signedForm(rigUser, now.Add(-8*24*time.Hour), anyKey, key), "403 AccessDenied"},
		"early":               {signedForm(rigUser, now.Add(time.Hour), anyKey, key), "403 AccessDenied"},
		"extra field":         {sign(anyKey, key, [2]string{"x-amz-meta-a", "b"}), "403 AccessDenied"},
		"no bucket condition": {sign([]any{[]any{"starts-with", "$key", ""}}, key), "403 AccessDenied"},
		"other bucket":        {sign([]any{map[string]string{"bucket": "other"}, []any{"starts-with", "$key", ""}}, key), "403 AccessDenied"},
		"key elsewhere":       {sign([]any{map[string]string{"bucket": "bkt"}, []any{"starts-with", "$key", "user/"}}, key), "403 AccessDenied"},
		"field missing":       {sign(with([]any{"starts-with", "$Content-Type", ""}), key), "403 AccessDenied"},
		"too large":           {sign(with([]any{"content-length-range", 0, 3}), key), "400 EntityTooLarge"},
		"too small":           {sign(with([]any{"content-length-range", 5, 10}), key), "400 EntityTooSmall"},
		"exact":               {sign(with([]any{"content-length-range", 4, "4"}), key), "204"},
		"negative range":      {sign(with([]any{"content-length-range", -1, 3}), key), "400 InvalidPolicyDocument"},
		"short range":         {sign(with([]any{"content-length-range", 1}), key), "400 InvalidPolicyDocument"},
		"empty condition":     {sign(with(map[string]string{}), key), "400 InvalidPolicyDocument"},
		"null prefix":         {sign(with([]any{"starts-with", "$key", nil}), key), "400 InvalidPolicyDocument"},
		"null match":          {sign(with(map[string]any{"x-amz-meta-a": nil}), key), "400 InvalidPolicyDocument"},
		"two in one":          {sign(with(map[string]string{"a": "b", "c": "d"}), key), "400 InvalidPolicyDocument"},
		"odd operation":       {sign(with([]any{"ends-with", "$key", "k"}), key), "400 InvalidPolicyDocument"},
		"no dollar":           {sign(with([]any{"eq", "key", "k"}), key), "400 InvalidPolicyDocument"},
		"ACL":                 {sign(with(map[string]string{"acl": "public-read"}), key, [2]string{"acl", "public-read"}), "400 AccessControlListNotSupported"},
		"private":             {sign(with(map[string]string{"AcL": "private"}), key, [2]string{"aCl", "private"}), "204"},
		"response splitting":  {sign(with([]any{"starts-with", "$Content-Type", ""}), key, [2]string{"Content-Type", "a\r\nSet-Cookie: b"}), "400 InvalidArgument"},
		"odd metadata":        {sign(with([]any{"starts-with", "$x-amz-meta-a b", ""}), key, [2]string{"x-amz-meta-a b", "c"}), "400 InvalidArgument"},
		"ACL as a header":     {sign(with([]any{"starts-with", "$x-amz-acl", ""}), key, [2]string{"x-amz-acl", "private"}), "400 InvalidArgument"},
		"copy":                {sign(with([]any{"starts-with", "$x-amz-copy-source", ""}), key, [2]string{"x-amz-copy-source", "/bkt/k"}), "400 InvalidArgument"},
		"condition":           {sign(with([]any{"starts-with", "$If-None-Match", ""}), [2]string{"key", "taken"}, [2]string{"If-None-Match", "*"}), "412 PreconditionFailed"},
		"twice":               {sign(anyKey, key, key), "400 MalformedPOSTRequest"},
		"wrong checksum":      {sign(with([]any{"starts-with", "$x-amz-checksum-crc32", ""}), key, [2]string{"x-amz-checksum-crc32", "AAAAAA=="}), "400 BadDigest"},
		"large field":         {sign(anyKey, key, [2]string{"x-ignore-a", strings.Repeat("a", maxFormField+1)}), "400 MaxPostPreDataLengthExceededError"},
		"many fields":         {manyFields(good), "400 MaxPostPreDataLengthExceededError"},
	} {
		if a := r.do(postCall(form(row.fields, "file"))); strings.TrimSpace(a.String()) != row.want {
			t.Errorf("%s: %v, want %s\n%s", name, a, row.want, a.body)
		}
	}
	for body, want := range map[string]string{
		"":        "400 IncompleteBody",
		"x":       "400 IncompleteBody",
		formClose: "400 IncorrectNumberOfFilesInPostRequest",
		"x\r\n" + formClose + strings.Repeat("x", 200): "400 MalformedPOSTRequest",
		formPart("key", "-", "k") + formClose:          "400 IncorrectNumberOfFilesInPostRequest",
		"--" + formBound + "\r\n\r\nx\r\n" + formClose: "400 MalformedPOSTRequest",
	} {
		if a := r.do(postCall(body)); a.String() != want {
			t.Errorf("%q: %v, want %s", body, a, want)
		}
	}
	c := postCall(form(good, "file"))
	c.host, c.target = "bkt.s3.example.com", "/"
	if a := r.want(c, "204"); a.header.Get("Location") != "http://bkt.s3.example.com/k" {
		t.Errorf("virtual-host style: %s", a.header.Get("Location"))
	}
	c = postCall(form(good, "file"))
	c.header[0][1] = "text/plain"
	r.want(c, "412 PreconditionFailed")
	c = postCall(form(good, "file"))
	c = postCall(form(sign([]any{[]any{"starts-with", "$bucket", ""}, []any{"eq", "$key", "k"}}, key), "file"))
	c.target = "/none"
	r.want(c, "404 NoSuchBucket")
	c = postCall(form(good, "file"))
	c.noLength = true
	c.unsignedExtra = "Transfer-Encoding: chunked\r\n"
	c.body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(c.body), c.body)
	r.want(c, "411 MissingContentLength")
}

func manyFields(fields [][2]string) [][2]string {
	for i := range maxFormParts {
		fields = append(fields, [2]string{fmt.Sprint("x-ignore-", i), ""})
	}
	return fields
}

func TestPostObjectAnswers(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	post := func(name, value string) answer {
		t.Helper()
		return r.do(postCall(form(signedForm(rigUser, time.Now(), append(anyKey, []any{"starts-with", "$" + name, ""}),
			[2]string{"key", "a b&c"}, [2]string{name, value}), "x")))
	}
	for value, want := range map[string]int{"200": 200, "201": 201, "204": 204, "404": 204, "": 204} {
		if a := post("success_action_status", value); a.status != want || (a.body != "") != (want == 201) {
			t.Errorf("success_action_status %q: %v", value, a)
		}
	}
	etag := strings.ReplaceAll(etagOf("x"), `"`, "%22")
	for target, want := range map[string]string{
		"http://h/p":     "http://h/p?bucket=bkt&key=a+b%26c&etag=" + etag,
		"https://h/?q=1": "https://h/?q=1&bucket=bkt&key=a+b%26c&etag=" + etag,
	} {
		if a := post("success_action_redirect", target); a.status != 303 || a.header.Get("Location") != want {
			t.Errorf("%s: %d %s", target, a.status, a.header.Get("Location"))
		}
	}
	for _, target := range []string{"javascript:alert(1)", "/p", "", "http://"} {
		if a := post("redirect", target); a.status != 204 || a.header.Get("Location") != "http://"+r.addr+"/bkt/a%20b&c" {
			t.Errorf("%s: %d %s", target, a.status, a.header.Get("Location"))
		}
	}
}

// TestPostObjectV2 signs as older clients do.
func TestPostObjectV2(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	doc, _ := json.Marshal(map[string]any{"expiration": time.Now().Add(time.Hour).UTC().Format("2006-01-02T15:04:05Z"), "conditions": anyKey})
	policy := base64.StdEncoding.EncodeToString(doc)
	mac := hmac.New(sha1.New, []byte(rigSecret))
	mac.Write([]byte(policy))
	fields := [][2]string{{"key", `\$foo`}, {"AWSAccessKeyId", rigUser}, {"policy", policy},
		{"signature", base64.StdEncoding.EncodeToString(mac.Sum(nil))}}
	r.want(postCall(form(fields, "x")), "204")
	r.want(call{method: "GET", target: "/bkt/%5C$foo"}, "200")
	fields[3][1] = "AAAA"
	r.want(postCall(form(fields, "x")), "403 SignatureDoesNotMatch")
	fields[1][1] = "nobody"
	r.want(postCall(form(fields, "x")), "403 InvalidAccessKeyId")
}

func TestParsePostPolicy(t *testing.T) {
	for doc, ok := range map[string]bool{
		`{"expiration":"2030-01-01T00:00:00.000Z","conditions":[]}`:                           true,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":[["EQ","$Key","\$a\\$\n"]]}`:       true,
		`{"EXPIRATION":"2030-01-01T00:00:00Z","conditions":[]}`:                               false,
		`{"expiration":"2030-01-01T00:00:00Z","CONDITIONS":[]}`:                               false,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":null}`:                             false,
		`{"expiration":"2030-01-01T00:00:00Z"}`:                                               false,
		`{"conditions":[]}`:                                                                   false,
		`{"expiration":5,"conditions":[]}`:                                                    false,
		`{"expiration":"tomorrow","conditions":[]}`:                                           false,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":[{"key":1}]}`:                      false,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":["key"]}`:                          false,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":[null]}`:                           false,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":[["eq","$key",1]]}`:                false,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range","a",1]]}`: false,
		`{"expiration":"2030-01-01T00:00:00Z","conditions":[["content-length-range",9,1]]}`:   false,
		`null`: false, `[]`: false, `{} x`: false, ``: false,
	} {
		p, err := parsePostPolicy(base64.StdEncoding.EncodeToString([]byte(doc)))
		if (err == nil) != ok {
			t.Errorf("%s: %v", doc, err)
		}
		if strings.Contains(doc, "EQ") && (len(p.conditions) != 1 || p.conditions[0].value != "$a\\$\n") {
			t.Errorf("%+v", p)
		}
	}
	if _, err := parsePostPolicy("not base64"); err == nil {
		t.Error("not base64")
	}
}

// TestFormFileEdges hands the content over in dribble of every small size.
func TestFormFileEdges(t *testing.T) {
	const delim, tail = "\r\n--B", "\r\n--B--\r\n"
	for _, row := range []struct {
		body string
		ok   bool
	}{
		{"abc" + tail, true}, {tail, true}, {"\r\n--\r\n-" + tail, true}, {"\r\r\n-" + tail, true},
		{"abc\r\n--B" + tail, false}, {"a\r\n--Bcdefgh" + tail, false}, {"abcdefghijkl", false},
		{"abc\r\n--B--\r\r\n"[:len("abc")+len(tail)], false},
	} {
		for first := 0; first <= len(row.body); first++ {
			for step := 1; step < 8; step++ {
				size := int64(len(row.body) - len(tail))
				f := &formFile{head: []byte(row.body[:first]), src: &dribble{strings.NewReader(row.body[first:]), step},
					left: size, delim: []byte(delim), tail: []byte(tail)}
				got, err := readPieces(f, step)
				if (err == nil) != row.ok || row.ok && got != row.body[:size] {
					t.Fatalf("%q in %d and by %d: %q, %v", row.body, first, step, got, err)
				}
			}
		}
	}
}

// TestPostObjectRefusedWhole: a form that is refused is read to its end, so that
// its sender sees the answer, and the connection lives on.
func TestPostObjectRefusedWhole(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	c := postCall(form([][2]string{{"key", "k"}}, strings.Repeat("x", 3<<20)))
	nc := r.dial()
	br := bufio.NewReader(nc)
	for range 2 {
		_, err := io.WriteString(nc, r.head(c)+c.body)
		must(t, err)
		if a := r.read(br, "POST"); a.String() != "403 AccessDenied" || a.close {
			t.Fatalf("%v, close %t", a, a.close)
		}
	}
}
