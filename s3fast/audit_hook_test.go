package s3fast

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/s3fast/audit"
)

// auditRig is a server that audits to a collector in this process.
type auditRig struct {
	*rig
	hook *audit.Webhook
	log  *lockedBuffer

	mu    sync.Mutex
	lines []string
}

// lockedBuffer is a log for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newAuditRig(t testing.TB) *auditRig {
	t.Helper()
	a := &auditRig{log: new(lockedBuffer)}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for line := range strings.Lines(string(text)) {
			a.lines = append(a.lines, line)
		}
	}))
	t.Cleanup(srv.Close)
	var err error
	a.hook, err = audit.Open(audit.Options{Dir: t.TempDir(), Key: seal.NewKey([32]byte{1}),
		Info: func() audit.Info { return audit.Info{ClusterName: "default"} }})
	must(t, err)
	cfg := audit.Config{Enabled: true, Endpoint: srv.URL, Batch: audit.DefaultBatch()}
	cfg.Batch.Linger = audit.MinLinger
	must(t, a.hook.Configure(cfg))
	a.rig = newRig(t, func(c *Config) {
		c.Audit = a.hook
		c.Logger = slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		must(t, a.hook.Close(ctx))
	})
	return a
}

// told is an audited request.
type told struct {
	Sequence  uint64
	RequestID string
	API       struct {
		Name, Bucket, Object, Status string
		StatusCode                   int
		RX, TX                       int64
		TimeToResponse               string
		Objects                      []struct{ ObjectName, Error string }
	}
	Error, RemoteHost, UserAgent, RequestPath, RequestHost, AccessKey, ParentUser string
	RequestQuery, RequestHeader, ResponseHeader, Tags                             map[string]string
	Time                                                                          time.Time
}

// all waits until n events have come and returns them.
func (a *auditRig) all(n int) []told {
	a.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		a.mu.Lock()
		lines := a.lines
		a.mu.Unlock()
		if len(lines) < n && time.Now().Before(end) {
			continue
		}
		if len(lines) != n {
			a.t.Fatalf("%d events, want %d:\n%s", len(lines), n, strings.Join(lines, ""))
		}
		out := make([]told, n)
		for i, line := range lines {
			must(a.t, json.Unmarshal([]byte(line), &out[i]))
		}
		return out
	}
}

func TestAuditTellsRequests(t *testing.T) {
	a := newAuditRig(t)
	a.bucket("bkt")
	put := a.do(call{method: "PUT", target: "/bkt/a%20b", body: "hello", header: [][2]string{{"User-Agent", "agent/1"}, {"x-amz-meta-k", "v"}}})
	a.want(call{method: "GET", target: "/bkt/a%20b?response-content-type=text%2Fplain"}, "200")
	a.want(call{method: "HEAD", target: "/bkt/a%20b"}, "200")
	a.want(call{method: "GET", target: "/bkt/absent"}, "404 NoSuchKey")
	a.want(call{method: "PUT", target: "/bkt/x", user: rigNobody, body: "x"}, "403 AccessDenied")
	a.raw("GET", "GET /bkt/x HTTP/1.1\r\nHost: h\r\n\r\n")
	a.raw("GET", "GET /bkt/%zz HTTP/1.1\r\nHost: h\r\n\r\n")
	a.raw("GET", "GET /-/live HTTP/1.1\r\nHost: h\r\n\r\n") // not S3: not audited
	got := a.all(8)
	e := got[1]
	if e.API.Name != "PutObject" || e.API.Bucket != "bkt" || e.API.Object != "a b" || e.API.StatusCode != 200 || e.API.Status != "OK" ||
		e.RemoteHost != "127.0.0.1" || e.UserAgent != "agent/1" || e.AccessKey != rigUser || e.ParentUser != rigUser ||
		e.RequestPath != "/bkt/a%20b" || e.RequestHost != a.addr || e.RequestID != put.header.Get("x-amz-request-id") ||
		e.RequestHeader["X-Amz-Meta-K"] != "v" || e.ResponseHeader["ETag"] != put.header.Get("ETag") || e.API.RX < 5 || e.API.TX != 0 ||
		!strings.HasSuffix(e.API.TimeToResponse, "ns") || time.Since(e.Time) > time.Minute {
		t.Errorf("PutObject: %+v", e)
	}
	if e := got[2]; e.API.Name != "GetObject" || e.API.TX != 5 || e.RequestQuery["response-content-type"] != "text/plain" {
		t.Errorf("GetObject: %+v", e)
	}
	if e := got[3]; e.API.Name != "HeadObject" || e.API.TX != 0 {
		t.Errorf("HeadObject: %+v", e)
	}
	if e := got[4]; e.Error != "NoSuchKey" || e.API.StatusCode != 404 || e.API.TX == 0 {
		t.Errorf("absent key: %+v", e)
	}
	if e := got[5]; e.Error != "AccessDenied" || e.AccessKey != rigNobody {
		t.Errorf("denied: %+v", e)
	}
	if e := got[6]; e.Error != "AccessDenied" || e.AccessKey != "" {
		t.Errorf("anonymous: %+v", e)
	}
	if e := got[7]; e.API.StatusCode != 400 || e.RequestPath != "/bkt/%zz" {
		t.Errorf("malformed: %+v", e)
	}
	for i, e := range got {
		if e.Sequence != uint64(i)+1 {
			t.Errorf("event %d has the number %d", i, e.Sequence)
		}
	}
}

// DeleteObjects tells every key and what became of it, over as many events as
// it takes.
func TestAuditTellsDeletedObjects(t *testing.T) {
	a := newAuditRig(t)
	a.bucket("bkt")
	var doc strings.Builder
	doc.WriteString("<Delete><Quiet>true</Quiet>")
	for i := range 1000 {
		fmt.Fprintf(&doc, "<Object><Key>key-%04d-%s</Key></Object>", i, strings.Repeat("x", i%200))
	}
	doc.WriteString("<Object><Key>v</Key><VersionId>3</VersionId></Object></Delete>")
	a.want(call{method: "POST", target: "/bkt?delete", body: strings.Replace(doc.String(), "<Object><Key>key-0999", "<Object><Key>", 1)}, "400 MalformedXML")
	body := strings.Replace(doc.String(), fmt.Sprintf("<Object><Key>key-0999-%s</Key></Object>", strings.Repeat("x", 199)), "", 1)
	if got := a.do(call{method: "POST", target: "/bkt?delete", body: body}); got.status != 200 {
		t.Fatal(got)
	}
	var names []string
	for end := time.Now().Add(10 * time.Second); len(names) < 1000 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		a.mu.Lock()
		n := len(a.lines)
		a.mu.Unlock()
		names = names[:0]
		for _, e := range a.all(n) {
			for i, o := range e.API.Objects {
				if want := map[bool]string{true: "NoSuchVersion"}[o.ObjectName == "v"]; o.Error != want || e.API.Name != "DeleteObjects" {
					t.Fatalf("object %d: %+v of %s", i, o, e.API.Name)
				}
				names = append(names, o.ObjectName)
			}
		}
	}
	if len(names) != 1000 || !strings.HasPrefix(names[0], "key-0000") || names[999] != "v" {
		t.Errorf("%d objects are told", len(names))
	}
}

// TestNoSecretIsTold plants markers wherever a request may carry a secret, and
// looks for them, and for the signatures themselves, in the events and in the
// log of a server that logs everything.
func TestNoSecretIsTold(t *testing.T) {
	const marker = "PLANTED0MARKER"
	a := newAuditRig(t)
	a.bucket("bkt")
	var signatures []string
	send := func(c call) {
		head := a.head(c)
		for line := range strings.Lines(head) {
			if _, sig, ok := strings.Cut(line, "Signature="); ok {
				signatures = append(signatures, strings.TrimSpace(sig))
			}
		}
		a.raw(c.method, head+c.body)
	}
	secrets := [][2]string{
		{"Cookie", "session=" + marker}, {"X-Amz-Server-Side-Encryption-Customer-Algorithm", "AES256"},
		{"X-Amz-Server-Side-Encryption-Customer-Key", marker}, {"X-Amz-Server-Side-Encryption-Customer-Key-MD5", marker},
		{"X-Amz-Copy-Source-Server-Side-Encryption-Customer-Key", marker}, {"X-Amz-Security-Token", marker},
		{"Proxy-Authorization", "Basic " + marker}, {"X-Auth-Token", marker}, {"X-Api-Key", marker}, {"X-Amz-Mfa", "1 " + marker},
		{"Referer", "https://h/b?X-Amz-Signature=" + marker}, {"Origin", "https://u:" + marker + "@h"}, {"X-Vendor", "Bearer " + marker},
	}
	for _, h := range secrets {
		send(call{method: "PUT", target: "/bkt/k", body: "x", header: [][2]string{h}})
		send(call{method: "GET", target: "/bkt/k", header: [][2]string{h}, user: rigNobody})
		a.raw("GET", "GET /bkt/k HTTP/1.1\r\nHost: h\r\n"+h[0]+": "+h[1]+"\r\n\r\n")
	}
	for _, q := range []string{
		"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20200101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20200101T000000Z" +
			"&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=" + marker + "&X-Amz-Security-Token=" + marker,
		"AWSAccessKeyId=AKID&Expires=1&Signature=" + marker, "x-amz-security-token=" + marker, "password=" + marker,
		"X-Amz-Signature=%zz" + marker, "a=b&X-Amz-Credential=AKID%2F" + marker,
	} {
		a.raw("GET", "GET /bkt/k?"+q+" HTTP/1.1\r\nHost: h\r\n\r\n")
		if !strings.HasPrefix(q, "password") { // as a part of a name it is none
			a.raw("GET", "GET /bkt/k%3F"+strings.ReplaceAll(q, "%zz", "")+" HTTP/1.1\r\nHost: h\r\n\r\n")
		}
		a.raw("GET", "GET http://u:"+marker+"@h/bkt/k?"+q+" HTTP/1.1\r\nHost: u:"+marker+"@h\r\n\r\n")
	}
	for _, auth := range []string{
		"AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=" + marker,
		"AWS4-HMAC-SHA256 Credential=AKID, Signature=" + marker, "AWS AKID:" + marker, "Bearer " + marker, marker,
		"AWS4-HMAC-SHA256 Credential=Signature=" + marker,
	} {
		a.raw("GET", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nAuthorization: "+auth+"\r\nX-Amz-Date: 20200101T000000Z\r\n\r\n")
	}
	a.raw("POST", "POST /bkt HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 170\r\n\r\n"+
		fmt.Sprintf("%-170s", "--B\r\nContent-Disposition: form-data; name=\"x-amz-signature\"\r\n\r\n"+marker+"\r\n--B--\r\n"))
	sts := "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&WebIdentityToken=" + marker + "&password=" + marker
	a.raw("POST", fmt.Sprintf("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(sts), sts))
	a.raw("GET", "GET /bkt/k HTTP/1.1\r\nHost: h\r\nAuthorization: "+marker+"\r\nAuthorization: "+marker+"\r\nbroken "+marker+"\r\n\r\n")
	if c, err := tls.Dial("tcp", a.addr, &tls.Config{InsecureSkipVerify: true}); err == nil { //nolint:gosec // it must fail
		c.Close()
	}

	must(t, a.hook.Flush(t.Context()))
	n := int(a.hook.Stats().Recorded)
	if n < 60 {
		t.Fatalf("only %d events", n)
	}
	a.all(n)
	a.mu.Lock()
	text := strings.Join(a.lines, "")
	a.mu.Unlock()
	log := a.log.String()
	if !strings.Contains(log, "msg=request") || !strings.Contains(text, `"claimedAccessKey":"AKID"`) {
		t.Error("the server does not log, or claimed keys are not told")
	}
	for where, s := range map[string]string{"events": text, "log": log} {
		for line := range strings.Lines(s) {
			if strings.Contains(line, marker) || strings.Contains(line, rigSecret) {
				t.Errorf("%s tell a marker: %s", where, line)
			}
			for _, sig := range signatures {
				if len(sig) == 64 && strings.Contains(line, sig) {
					t.Errorf("%s tell a signature: %s", where, line)
				}
			}
		}
	}
	if len(signatures) < 20 {
		t.Errorf("only %d signatures were looked for", len(signatures))
	}
}

// BenchmarkSmallGet tells what auditing costs a GET of 4 KiB over one connection:
// "filled" fills the event in and throws it away, "delivered" sends it, too.
func BenchmarkSmallGet(b *testing.B) {
	for _, mode := range []string{"off", "filled", "delivered"} {
		b.Run(mode, func(b *testing.B) {
			var r *rig
			if mode == "delivered" {
				a := newAuditRig(b)
				cfg := a.hook.Config()
				cfg.Batch = audit.DefaultBatch()
				must(b, a.hook.Configure(cfg))
				r = a.rig
				r.s.cfg.Logger = slog.New(slog.DiscardHandler)
			} else {
				r = newRig(b, func(c *Config) {
					if mode == "filled" {
						c.Audit = discard{}
					}
				})
			}
			r.bucket("bkt")
			r.put("/bkt/some/object/of/usual/length.bin", strings.Repeat("x", 4<<10))
			head := []byte(r.head(call{method: "GET", target: "/bkt/some/object/of/usual/length.bin", header: [][2]string{
				{"User-Agent", "Boto3/1.35.36 md/Botocore#1.35.36 ua/2.0 os/linux#6.1"}, {"Accept-Encoding", "identity"}}}))
			c, err := net.Dial("tcp", r.addr)
			must(b, err)
			defer c.Close()
			br := bufio.NewReaderSize(c, 16<<10)
			b.ReportAllocs()
			for b.Loop() {
				_, err := c.Write(head)
				must(b, err)
				resp, err := http.ReadResponse(br, nil)
				must(b, err)
				n, err := io.Copy(io.Discard, resp.Body)
				if err != nil || n != 4<<10 || resp.StatusCode != 200 {
					b.Fatal(resp.StatusCode, n, err)
				}
			}
		})
	}
}

// discard is a sink that wants everything and keeps nothing.
type discard struct{}

func (discard) Enabled() bool       { return true }
func (discard) Record(*audit.Event) {}
