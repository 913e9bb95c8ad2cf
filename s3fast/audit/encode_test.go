package audit

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files anew")

var testInfo = Info{ClusterID: "079f7a1fbe3b44c8b36f4484fe1ae4b2", ClusterName: "default", Version: "1.2.3",
	ServerName: "node-1", ServerIP: "10.0.0.7"}

func fullEvent() Event {
	return Event{
		Time: time.Date(2026, 3, 21, 6, 37, 27, 915055685, time.FixedZone("x", 7200)), RequestID: "1773CE9A70A978BB",
		API: "PutObject", Bucket: "b", Key: "cat \"and\" dog\n\x01é.jpg", AccessKey: "AKIA1", User: "alice",
		Remote: "216.58.114.14", UserAgent: "aws-sdk-go/1.44", Host: "s3.example.com", Path: "/b/cat%20%22and%22",
		Status: 403, Code: "AccessDenied", In: 12, Out: 300, Took: 10531825,
		Query:    []Pair{{"partNumber", "3"}, {"uploadId", "u"}, {"X-Amz-Signature", "marker"}, {"continuation-token", "page2"}},
		Headers:  []Pair{{"host", "s3.example.com"}, {"authorization", "AWS4-HMAC-SHA256 marker"}, {"x-amz-meta-a", "1"}, {"X-AMZ-META-A", "2"}},
		Response: []Pair{{"ETag", `"5d64"`}, {"Server", "Sluice"}},
		Tags:     []Pair{{"session", "s1"}},
		Objects:  []Object{{Key: "x"}, {Key: "y", Code: "AccessDenied"}},
	}
}

// TestGolden fixes the JSON of events: programs that read them depend on it.
func TestGolden(t *testing.T) {
	env := newEnvelope(testInfo)
	least := Event{Time: time.Unix(0, 0), API: "ListBuckets", Status: 200}
	admin := Event{Time: time.Unix(1, 0), API: "admin:PUT /v1/users/{name}/role", Path: "/v1/users/bob/role", User: "uid:0",
		Status: 403, Code: "denied", Tags: []Pair{{"uid", "0"}, {"pid", "4711"}}}
	lost := lostEvent(loss{n: 7, first: time.Unix(2, 0), last: time.Unix(3, 0)}, time.Unix(4, 0), "why")
	full := fullEvent()
	var got []byte
	for _, e := range []*Event{&full, &least, &admin, &lost} {
		got = append(env.appendEvent(got, e), '\n')
	}
	path := filepath.Join("testdata", "events.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("events are\n%s\nwant\n%s", got, want)
	}
	for line := range strings.Lines(string(got)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		if strings.Contains(line, "marker") {
			t.Errorf("a secret is told: %s", line)
		}
	}
}

// TestSecrets plants a marker under every name and in every form that may hold a
// secret, and looks for it in the JSON.
func TestSecrets(t *testing.T) {
	const marker = "mArKeR-1234"
	env := newEnvelope(testInfo)
	names := []string{
		"Authorization", "authorization", "Proxy-Authorization", "X-Amz-Signature", "x-amz-signature", "Signature",
		"X-Amz-Credential", "X-Amz-Security-Token", "x-amz-security-token", "Cookie", "Set-Cookie",
		"x-amz-server-side-encryption-customer-key", "x-amz-server-side-encryption-customer-key-MD5",
		"x-amz-copy-source-server-side-encryption-customer-key", "x-amz-copy-source-server-side-encryption-customer-key-md5",
		"Password", "user_password", "new-passwd", "passphrase", "WebIdentityToken", "SAMLAssertion", "TokenCode", "SessionToken",
		"X-Auth-Token", "X-Api-Key", "apikey", "client_secret", "SecretAccessKey", "private_key", "x-amz-mfa", "X-Vault-Token",
		"AWS-Secret-Key", "bearer", "sig", "code", "X-Amz-S3session-Token", "x-amz-signature-v9",
	}
	for _, name := range names {
		if !Secret(name) {
			t.Errorf("%q does not count as secret", name)
		}
		pair := []Pair{{"a", "1"}, {name, marker}, {"b", "2"}}
		e := Event{API: "GetObject", Query: pair, Headers: pair, Response: pair, Tags: pair}
		if text := string(env.appendEvent(nil, &e)); strings.Contains(text, marker) || !strings.Contains(text, masked) {
			t.Errorf("%s: %s", name, text)
		}
	}
	for _, value := range []string{
		"https://host/b/k?X-Amz-Signature=" + marker, "https://host/b/k?x=1&Signature=" + marker,
		"https://alice:" + marker + "@host/", "Bearer " + marker, "Basic " + marker, "bearer " + marker,
		"AWS4-HMAC-SHA256 Credential=" + marker, "/b/k?X-Amz-Security-Token=" + marker, "x=1;password=" + marker,
		"https://h/?continuation-token=1&token=" + marker,
	} {
		e := Event{API: "GetObject", UserAgent: value, Headers: []Pair{{"referer", value}, {"user-agent", value}, {"x-other", value}},
			Query: []Pair{{"q", value}}, Tags: []Pair{{"t", value}}}
		if text := string(env.appendEvent(nil, &e)); strings.Contains(text, marker) {
			t.Errorf("%s: %s", value, text)
		}
	}
	for _, key := range []string{"k?X-Amz-Algorithm=a&X-Amz-Signature=" + marker, "k%3Fx-amz-security-token=" + marker} {
		e := Event{API: "GetObject", Key: key, Path: "/b/" + key, Objects: []Object{{Key: key}}}
		if text := string(env.appendEvent(nil, &e)); strings.Contains(text, marker) || !strings.Contains(text, `"object":"k`) {
			t.Errorf("%s: %s", key, text)
		}
	}
	e := Event{API: "GetObject", Host: "alice:" + marker + "@host"}
	if text := string(env.appendEvent(nil, &e)); strings.Contains(text, marker) || !strings.Contains(text, `"requestHost":"host"`) {
		t.Error(text)
	}
}

// What is no secret is told.
func TestNoSecrets(t *testing.T) {
	for _, name := range []string{
		"continuation-token", "host", "x-amz-date", "X-Amz-Date", "X-Amz-Expires", "x-amz-content-sha256", "x-amz-meta-author",
		"prefix", "uploadId", "content-md5", "x-amz-checksum-crc32", "x-amz-acl", "x-amz-copy-source", "referer", "If-Match",
		"X-Amz-SignedHeaders", "response-content-type", "versionId", "x-amz-storage-class", "encoding-type",
		"x-amz-server-side-encryption", "x-amz-server-side-encryption-customer-algorithm",
	} {
		if Secret(name) {
			t.Errorf("%q counts as secret", name)
		}
	}
	for _, v := range []string{"", "a=b", "https://host/a@b?list-type=2&continuation-token=x", "bytes=0-9", "/bucket/key@1"} {
		if secretValue(v) {
			t.Errorf("%q counts as secret", v)
		}
	}
}

func TestEventIsBounded(t *testing.T) {
	env := newEnvelope(testInfo)
	e := fullEvent()
	for i := range 2 * maxPairs {
		e.Headers = append(e.Headers, Pair{strings.Repeat("n", 20+i), strings.Repeat("\x01", 10*maxValue)})
		e.Query = append(e.Query, Pair{strings.Repeat("é", 2*maxValue), strings.Repeat("v", 2*maxValue)})
	}
	e.Path = strings.Repeat("/%01", maxPath)
	e.Key = strings.Repeat("\x01", 1024)
	e.Objects = nil
	for range MaxObjects {
		e.Objects = append(e.Objects, Object{strings.Repeat("\x01", MaxObjectBytes/MaxObjects), "AccessDenied"})
	}
	text := env.appendEvent(nil, &e)
	if len(text) > maxEvent {
		t.Errorf("an event of %d bytes", len(text))
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	if objects := m["api"].(map[string]any)["objects"].([]any); len(objects) != MaxObjects {
		t.Errorf("%d objects are told", len(objects))
	}
	if got := cut(strings.Repeat("é", 10), 10); !utf8.ValidString(got) || len(got) > 10 || !strings.HasSuffix(got, "...") {
		t.Errorf("cut = %q", got)
	}
}

// FuzzEvent: whatever clients send, an event is one line of valid JSON that holds
// the key as it was, and no value under a secret name.
func FuzzEvent(f *testing.F) {
	f.Add("key", "name", "value", "agent", "host")
	f.Add("\x00\xff\u2028\"\\", "Authorization", "s", "\x7f", "a@b")
	f.Add("k?X-Amz-Signature=1", "x-amz-meta-\xff", "\r\n", "", "")
	env := newEnvelope(testInfo)
	f.Fuzz(func(t *testing.T, key, name, value, agent, host string) {
		e := Event{API: "GetObject", Key: key, UserAgent: agent, Host: host, Path: "/" + key,
			Headers: []Pair{{name, value}, {"a", value}}, Query: []Pair{{name, value}, {"b", value}}}
		text := env.appendEvent(nil, &e)
		var m struct {
			API          struct{ Object string }
			RequestQuery map[string]string
		}
		if err := json.Unmarshal(text, &m); err != nil || strings.ContainsAny(string(text), "\r\n") {
			t.Fatalf("%v: %s", err, text)
		}
		if len(text) <= maxEvent && utf8.ValidString(key) && len(m.API.Object) > 0 && m.API.Object != MaskPath(key) {
			t.Fatalf("key %q became %q", key, m.API.Object)
		}
		if Secret(name) && len(name) < 100 && utf8.ValidString(name) && name != "b" && m.RequestQuery[name] != masked {
			t.Fatalf("%q is told: %s", name, text)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	env := newEnvelope(testInfo)
	e := typicalGet()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = env.appendEvent(buf[:0], &e)
	}
	b.ReportMetric(float64(len(buf)), "bytes/event")
}

// typicalGet is a GetObject as SDKs send it.
func typicalGet() Event {
	return Event{
		Time: time.Now(), RequestID: "1773CE9A70A978BB", API: "GetObject", Bucket: "bucket", Key: "some/object/of/usual/length.bin",
		AccessKey: "S3_user", User: "S3_user", Remote: "10.1.2.3", UserAgent: "Boto3/1.35.36 md/Botocore#1.35.36 ua/2.0 os/linux#6.1",
		Host: "s3.example.com:9000", Path: "/bucket/some/object/of/usual/length.bin", Status: 200, In: 700, Out: 4096, Took: 120 * time.Microsecond,
		Headers: []Pair{{"host", "s3.example.com:9000"}, {"accept-encoding", "identity"}, {"user-agent", "Boto3/1.35.36 md/Botocore#1.35.36 ua/2.0 os/linux#6.1"},
			{"x-amz-date", "20260321T063727Z"}, {"x-amz-content-sha256", strings.Repeat("e3", 32)},
			{"authorization", "AWS4-HMAC-SHA256 Credential=S3_user/20260321/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=" + strings.Repeat("ab", 32)},
			{"amz-sdk-invocation-id", "a0a0a0a0-1111-2222-3333-444444444444"}, {"amz-sdk-request", "attempt=1"}},
		Response: []Pair{{"Server", "Sluice"}, {"Content-Type", "binary/octet-stream"}, {"ETag", `"d41d8cd98f00b204e9800998ecf8427e"`},
			{"Last-Modified", "Sat, 21 Mar 2026 06:37:27 GMT"}, {"Accept-Ranges", "bytes"}, {"x-amz-request-id", "1773CE9A70A978BB"},
			{"x-amz-id-2", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}},
	}
}
