package s3fast

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// Requests that are not HTTP, or not clear about what they mean, get an S3 error
// document and harm nothing.
func TestBadRequests(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	signed := func(extra string) string {
		return r.head(call{method: "PUT", target: "/bkt/k", body: "hello", unsignedExtra: extra}) + "hello"
	}
	noLength := func(extra string) string {
		return r.head(call{method: "PUT", target: "/bkt/k", payload: "UNSIGNED-PAYLOAD", noLength: true, unsignedExtra: extra})
	}
	for name, c := range map[string]struct{ method, text, want string }{
		"garbage":             {"GET", "\x16\x03\x01\x02\x00\x01\r\n\r\n", "400 BadRequest"},
		"no version":          {"GET", "GET /bkt\r\n\r\n", "400 BadRequest"},
		"bad version":         {"GET", "GET /bkt HTTP/x\r\nHost: h\r\n\r\n", "400 BadRequest"},
		"no host":             {"GET", "GET /bkt HTTP/1.1\r\n\r\n", "400 BadRequest"},
		"two hosts":           {"GET", "GET /bkt HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400 BadRequest"},
		"space in name":       {"GET", "GET /bkt HTTP/1.1\r\nHost: a\r\nX y : b\r\n\r\n", "400 BadRequest"},
		"control in value":    {"GET", "GET /bkt HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n", "400 BadRequest"},
		"two lengths":         {"PUT", signed("Content-Length: 5\r\n"), "400 BadRequest"},
		"bad length":          {"PUT", "PUT /bkt/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5x\r\n\r\nhello", "400 BadRequest"},
		"negative length":     {"PUT", "PUT /bkt/k HTTP/1.1\r\nHost: h\r\nContent-Length: -5\r\n\r\nhello", "400 BadRequest"},
		"huge length":         {"PUT", "PUT /bkt/k HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nhello", "400 BadRequest"},
		"length and encoding": {"PUT", signed("Transfer-Encoding: chunked\r\n"), "400 InvalidRequest"},
		"odd encoding":        {"PUT", noLength("Transfer-Encoding: gzip, chunked\r\n"), "400 BadRequest"},
		"neither":             {"PUT", noLength(""), "411 MissingContentLength"},
		"chunked only":        {"PUT", noLength("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n", "501 NotImplemented"},
		"two authorizations":  {"GET", r.head(call{method: "GET", target: "/bkt", unsignedExtra: "Authorization: x\r\n"}), "400 InvalidRequest"},
		"two dates":           {"GET", r.head(call{method: "GET", target: "/bkt", unsignedExtra: "X-Amz-Date: x\r\n"}), "400 InvalidRequest"},
		"two payload hashes":  {"GET", r.head(call{method: "GET", target: "/bkt", unsignedExtra: "x-amz-content-sha256: x\r\n"}), "400 InvalidRequest"},
		"two types":           {"GET", r.head(call{method: "GET", target: "/bkt", unsignedExtra: "Content-Type: a\r\nContent-Type: b\r\n"}), "400 InvalidRequest"},
		"long header":         {"GET", "GET /bkt HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", readBuffer) + "\r\n\r\n", "400 RequestHeaderSectionTooLarge"},
		"long target":         {"GET", "GET /bkt/" + strings.Repeat("x", readBuffer) + " HTTP/1.1\r\nHost: h\r\n\r\n", "400 RequestHeaderSectionTooLarge"},
		"two authorities":     {"GET", "GET http://a/bkt HTTP/1.1\r\nHost: b\r\n\r\n", "400 InvalidRequest"},
		"bad percent":         {"GET", "GET /bkt/%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400 InvalidURI"},
		"bad query percent":   {"GET", "GET /bkt?prefix=%f HTTP/1.1\r\nHost: h\r\n\r\n", "400 InvalidURI"},
		"fragment":            {"GET", "GET /bkt/k#x HTTP/1.1\r\nHost: h\r\n\r\n", "400 InvalidURI"},
		"latin-1 key":         {"GET", "GET /bkt/%E9 HTTP/1.1\r\nHost: h\r\n\r\n", "400 InvalidURI"},
		"long key":            {"GET", "GET /bkt/" + strings.Repeat("k", 1025) + " HTTP/1.1\r\nHost: h\r\n\r\n", "400 KeyTooLongError"},
		"bad bucket":          {"GET", "GET /B HTTP/1.1\r\nHost: h\r\n\r\n", "400 InvalidBucketName"},
		"empty bucket":        {"GET", "GET //k HTTP/1.1\r\nHost: h\r\n\r\n", "400 InvalidBucketName"},
		"unsigned":            {"GET", "GET /bkt HTTP/1.1\r\nHost: h\r\n\r\n", "403 AccessDenied"},
		"unsigned head":       {"HEAD", "HEAD /bkt HTTP/1.1\r\nHost: h\r\n\r\n", "403 "},
		"connect":             {"CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "400 InvalidURI"},
		"preflight":           {"OPTIONS", "OPTIONS /bkt/k HTTP/1.1\r\nHost: h\r\nOrigin: x\r\nAccess-Control-Request-Method: GET\r\n\r\n", "403 AccessForbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.raw(c.method, c.text)
			if a.String() != c.want {
				t.Errorf("got %s, want %s\n%s", a, c.want, a.body)
			}
			if c.method == "HEAD" && a.body != "" {
				t.Errorf("HEAD answered with a body: %q", a.body)
			}
			if got := a.header.Get("Server"); got != "Sluice" {
				t.Errorf("Server: %q", got)
			}
			if a.header.Get("Date") == "" || a.header.Get("x-amz-id-2") == "" {
				t.Errorf("headers %v", a.header)
			}
		})
	}
	r.want(call{method: "GET", target: "/bkt/k"}, "404 NoSuchKey")
}

// A body that ends early or stalls is never stored.
func TestTruncatedBody(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StallTimeout = time.Second })
	r.bucket("bkt")
	body := strings.Repeat("x", 64<<10)
	head := r.head(call{method: "PUT", target: "/bkt/cut", body: body})
	for name, c := range map[string]struct {
		n    int  // bytes sent
		stop bool // close our sending side, else stall
		want string
	}{
		"none, closed":  {0, true, "400 IncompleteBody"},
		"some, closed":  {100, true, "400 IncompleteBody"},
		"most, closed":  {len(body) - 1, true, "400 IncompleteBody"},
		"none, stalled": {0, false, "400 RequestTimeout"},
		"most, stalled": {len(body) - 1, false, "400 RequestTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := r.dial()
			_, err := io.WriteString(nc, head+body[:c.n])
			must(t, err)
			if c.stop {
				must(t, nc.(*net.TCPConn).CloseWrite())
			}
			if a := r.read(bufio.NewReader(nc), "PUT"); a.String() != c.want || !a.close {
				t.Errorf("got %s (close %v), want %s", a, a.close, c.want)
			}
		})
	}
	r.want(call{method: "GET", target: "/bkt/cut"}, "404 NoSuchKey")
}

// A client that is slow but moves keeps its connection longer than StallTimeout;
// one that trickles below minRate does not.
func TestSlowClient(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StallTimeout = 2 * time.Second })
	r.bucket("bkt")
	body := strings.Repeat("x", 40<<10)
	send := func(step int, pause time.Duration) answer {
		nc := r.dial()
		_, err := io.WriteString(nc, r.head(call{method: "PUT", target: "/bkt/slow", body: body})+body[:16<<10])
		must(t, err)
		for rest := body[16<<10:]; rest != ""; rest = rest[min(step, len(rest)):] {
			time.Sleep(pause)
			if _, err := io.WriteString(nc, rest[:min(step, len(rest))]); err != nil {
				break // answered and closed
			}
		}
		return r.read(bufio.NewReader(nc), "PUT")
	}
	if a := send(4<<10, 450*time.Millisecond); a.status != 200 {
		t.Errorf("a slow client: %s", a)
	}
	if a := send(1, 40*time.Millisecond); a.String() != "400 RequestTimeout" {
		t.Errorf("a trickling client: %s", a)
	}
}

// A header that trickles in does not hold a connection.
func TestSlowHeader(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StallTimeout = 150 * time.Millisecond })
	nc := r.dial()
	go func() {
		_, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: ")
		for ; err == nil; time.Sleep(20 * time.Millisecond) {
			_, err = io.WriteString(nc, "a")
		}
	}()
	if a := r.read(bufio.NewReader(nc), "GET"); a.String() != "400 RequestTimeout" {
		t.Errorf("got %s", a)
	}
}

// A connection that is opened ahead of use and never used is closed in silence.
func TestUnusedConnection(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StallTimeout = 100 * time.Millisecond })
	b, err := io.ReadAll(r.dial())
	if err != nil || len(b) > 0 {
		t.Errorf("got %q, %v", b, err)
	}
}

// A reader that does not read is cut off, and its buffers come back.
func TestStalledReader(t *testing.T) {
	r := newRig(t, func(c *Config) { c.StallTimeout = 2 * time.Second })
	r.bucket("bkt")
	r.put("/bkt/big", strings.Repeat("x", 24<<20))
	nc := r.dial()
	must(t, nc.(*net.TCPConn).SetReadBuffer(4<<10))
	_, err := io.WriteString(nc, r.head(call{method: "GET", target: "/bkt/big"}))
	must(t, err)
	eventually(t, "the request to begin", func() bool { return r.s.inFlight.Load() == 1 })
	eventually(t, "the request to end", func() bool { return r.s.inFlight.Load() == 0 })
	eventually(t, "the buffers", func() bool { return r.arena.InUse() == 0 })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// What can be refused by the header is refused before the body is asked for.
func TestExpectContinue(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	expect := "Expect: 100-continue\r\n"
	for name, c := range map[string]struct {
		c    call
		want string
	}{
		"unsigned":    {call{method: "PUT", target: "/bkt/k", body: "hello", user: "-", unsignedExtra: expect}, "403 AccessDenied"},
		"not allowed": {call{method: "PUT", target: "/bkt/k", body: "hello", user: rigReader, unsignedExtra: expect}, "403 AccessDenied"},
		"no bucket":   {call{method: "PUT", target: "/none/k", body: "hello", unsignedExtra: expect}, "404 NoSuchBucket"},
		"too big": {call{method: "PUT", target: "/bkt/k", noLength: true, payload: "UNSIGNED-PAYLOAD",
			unsignedExtra: expect + "Content-Length: 5368709121\r\n"}, "400 EntityTooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			if a := r.raw("PUT", r.head(c.c)); a.String() != c.want || !a.close {
				t.Errorf("got %s (close %v), want %s", a, a.close, c.want)
			}
		})
	}
	nc := r.dial()
	br := bufio.NewReader(nc)
	body := strings.Repeat("y", 100<<10)
	for range 2 { // and the connection goes on
		_, err := io.WriteString(nc, r.head(call{method: "PUT", target: "/bkt/k", body: body, unsignedExtra: expect}))
		must(t, err)
		line, err := br.ReadString('\n')
		must(t, err)
		if !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("first answer %q", line)
		}
		_, _ = br.ReadString('\n')
		_, err = io.WriteString(nc, body)
		must(t, err)
		if a := r.read(br, "PUT"); a.status != 200 {
			t.Fatalf("got %s", a)
		}
	}
	if got := r.want(call{method: "GET", target: "/bkt/k"}, "200").body; got != body {
		t.Errorf("read back %d bytes", len(got))
	}
	// A client that goes away between 100 Continue and the body.
	_, err := io.WriteString(nc, r.head(call{method: "PUT", target: "/bkt/k", body: body, unsignedExtra: expect}))
	must(t, err)
	_, err = br.ReadString('\n')
	must(t, err)
	nc.Close()
	eventually(t, "the request to end", func() bool { return r.s.inFlight.Load() == 0 })
}

// An answer that comes before the body has been read reaches the client, however
// large the body.
func TestEarlyAnswer(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	for _, size := range []int{10 << 10, 200 << 10, 4 << 20} {
		c := call{method: "PUT", target: "/bkt/k", body: strings.Repeat("z", size), user: rigReader}
		nc := r.dial()
		br := bufio.NewReader(nc)
		_, err := io.WriteString(nc, r.head(c)+c.body)
		must(t, err)
		a := r.read(br, "PUT")
		if a.String() != "403 AccessDenied" {
			t.Errorf("%d bytes: %s", size, a)
		}
		if a.close {
			continue
		}
		// The rest was dropped: the connection is good for another request.
		_, err = io.WriteString(nc, r.head(call{method: "HEAD", target: "/bkt"}))
		must(t, err)
		if a := r.read(br, "HEAD"); a.status != 200 {
			t.Errorf("after %d bytes: %s", size, a)
		}
	}
}

func TestPipelining(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	var text strings.Builder
	const n = 30
	for i := range n {
		body := fmt.Sprintf("body %d", i)
		text.WriteString(r.head(call{method: "PUT", target: fmt.Sprintf("/bkt/k%d", i), body: body}) + body)
		text.WriteString(r.head(call{method: "GET", target: fmt.Sprintf("/bkt/k%d", i)}))
		text.WriteString(r.head(call{method: "GET", target: "/bkt/none"}))
	}
	nc := r.dial()
	go io.WriteString(nc, text.String())
	br := bufio.NewReader(nc)
	for i := range n {
		if a := r.read(br, "PUT"); a.status != 200 {
			t.Fatalf("PUT %d: %s", i, a)
		}
		if a := r.read(br, "GET"); a.body != fmt.Sprintf("body %d", i) {
			t.Fatalf("GET %d: %s %q", i, a, a.body)
		}
		if a := r.read(br, "GET"); a.String() != "404 NoSuchKey" {
			t.Fatalf("GET none: %s", a)
		}
	}
}

func TestForms(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/a//b/../c%2Fd", "odd")
	// HTTP/1.0, with and without keep-alive.
	a := r.do(call{method: "GET", target: "/bkt/a//b/../c%2Fd", proto: "HTTP/1.0"})
	if a.status != 200 || a.body != "odd" || !a.close {
		t.Errorf("HTTP/1.0: %s %q, close %v", a, a.body, a.close)
	}
	// Absolute form; the signature covers path and query as they came.
	abs := call{method: "GET", target: "http://" + r.addr + "/bkt/a//b/../c%2Fd"}
	if a := r.do(abs); a.body != "odd" {
		t.Errorf("absolute form: %s", a)
	}
	// Virtual-host style, any case, with a port.
	if a := r.do(call{method: "GET", target: "/a//b/../c%2Fd", host: "BKT.s3.Example.com:9000"}); a.body != "odd" {
		t.Errorf("virtual host: %s", a)
	}
	// The key is what the decoded path says, nothing else.
	equal(t, "keys", elements(r.want(call{method: "GET", target: "/bkt?list-type=2"}, "200").body, "Key"), []string{"a//b/../c/d"})
	for _, other := range []string{"/bkt/a/b/../c%2Fd", "/bkt/a/c/d", "/bkt/a//c/d"} {
		r.want(call{method: "GET", target: other}, "404 NoSuchKey")
	}
	r.put("/bkt/..", "up")
	if a := r.do(call{method: "GET", target: "/bkt/%2e%2E"}); a.body != "up" {
		t.Errorf("dots: %s", a)
	}
	if a := r.do(call{method: "GET", target: "/-/live", user: "-"}); a.status != 200 || a.body != "service /-/live" {
		t.Errorf("service path: %s %q", a, a.body)
	}
}

func TestNoCluster(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Cluster = func() *Cluster { return nil } })
	a := r.want(call{method: "GET", target: "/"}, "503 ServiceUnavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if a := r.do(call{method: "GET", target: "/-/ready", user: "-"}); a.status != 200 {
		t.Errorf("service path: %s", a)
	}
}

func TestTooManyRequests(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxRequests = 2 })
	r.bucket("bkt")
	eventually(t, "nothing in flight", func() bool { return r.s.inFlight.Load() == 0 })
	body := strings.Repeat("x", 32<<10)
	var conns []net.Conn
	for range 2 {
		nc := r.dial()
		_, err := io.WriteString(nc, r.head(call{method: "PUT", target: "/bkt/k", body: body})+body[:16<<10])
		must(t, err)
		conns = append(conns, nc)
	}
	eventually(t, "two requests", func() bool { return r.s.inFlight.Load() == 2 })
	r.want(call{method: "GET", target: "/bkt"}, "503 SlowDown")
	for _, nc := range conns {
		_, err := io.WriteString(nc, body[16<<10:])
		must(t, err)
		if a := r.read(bufio.NewReader(nc), "PUT"); a.status != 200 {
			t.Errorf("a request in flight: %s", a)
		}
	}
	eventually(t, "none", func() bool { return r.s.inFlight.Load() == 0 })
	r.want(call{method: "GET", target: "/bkt"}, "200")
}

// Idle connections cost little, and all die with Shutdown.
func TestIdleConnections(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	const n = 2000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := heap()
	conns := make([]net.Conn, n)
	text := r.head(call{method: "HEAD", target: "/bkt"})
	for i := range conns {
		conns[i] = r.dial()
		_, err := io.WriteString(conns[i], text)
		must(t, err)
		if a := r.read(bufio.NewReaderSize(conns[i], 16), "HEAD"); a.status != 200 {
			t.Fatalf("connection %d: %s", i, a)
		}
	}
	if per := int64(heap()-before) / n; per > 64<<10 {
		t.Errorf("%d bytes per idle connection", per)
	} else {
		t.Logf("%d bytes per idle connection, both ends", per)
	}
	start := time.Now()
	must(t, r.s.Shutdown(t.Context()))
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("Shutdown took %v", d)
	}
	for i, nc := range conns {
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Fatalf("connection %d lives", i)
		}
	}
}

func TestAuthorisation(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.put("/bkt/k", "hello")
	old := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		c    call
		want string
	}{
		{call{method: "GET", target: "/bkt/k", user: rigReader}, "200"},
		{call{method: "PUT", target: "/bkt/k", user: rigReader}, "403 AccessDenied"},
		{call{method: "DELETE", target: "/bkt/k", user: rigReader}, "403 AccessDenied"},
		{call{method: "GET", target: "/bkt/k", user: rigNobody}, "403 AccessDenied"},
		{call{method: "GET", target: "/bkt/none", user: rigNobody}, "403 AccessDenied"},
		{call{method: "GET", target: "/none/k", user: rigNobody}, "403 AccessDenied"},
		{call{method: "GET", target: "/", user: rigNobody}, "403 AccessDenied"},
		{call{method: "GET", target: "/bkt/none", user: rigReader}, "404 NoSuchKey"},
		{call{method: "HEAD", target: "/bkt/none"}, "404"},
		{call{method: "GET", target: "/none/k"}, "404 NoSuchBucket"},
		{call{method: "GET", target: "/bkt", user: "mallory"}, "403 InvalidAccessKeyId"},
		{call{method: "GET", target: "/bkt", now: old}, "403 RequestTimeTooSkewed"},
		{call{method: "GET", target: "/bkt", header: [][2]string{{"x-amz-security-token", "t"}}}, "400 InvalidToken"},
		{call{method: "GET", target: "/bkt", header: [][2]string{{"x-amz-expected-bucket-owner", "123456789012"}}}, "403 AccessDenied"},
		{call{method: "GET", target: "/bkt", header: [][2]string{{"x-amz-expected-bucket-owner", accountID}}}, "200"},
		{call{method: "GET", target: "/bkt", unsignedExtra: "x-amz-meta-a: b\r\n"}, "403 AccessDenied"},
	} {
		r.want(c.c, c.want)
	}
	signed := r.head(call{method: "GET", target: "/bkt/k"})
	tampered := strings.Replace(signed, "GET /bkt/k ", "GET /bkt/l ", 1)
	if a := r.raw("GET", tampered); a.String() != "403 SignatureDoesNotMatch" {
		t.Errorf("tampered: %s", a)
	}
	c := call{method: "GET", target: "/bkt/k", host: r.addr}
	query := sigv4.Presign(&c, rigUser, rigSecret, rigRegion, "s3", time.Minute, time.Now())
	a := r.raw("GET", "GET /bkt/k?"+query+" HTTP/1.1\r\nHost: "+r.addr+"\r\n\r\n")
	if a.status != 200 || a.body != "hello" {
		t.Errorf("presigned: %s", a)
	}
	expired := sigv4.Presign(&c, rigUser, rigSecret, rigRegion, "s3", time.Minute, old)
	if a := r.raw("GET", "GET /bkt/k?"+expired+" HTTP/1.1\r\nHost: "+r.addr+"\r\n\r\n"); a.String() != "403 AccessDenied" {
		t.Errorf("expired: %s", a)
	}
}

func TestMetrics(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	r.want(call{method: "GET", target: "/bkt/none"}, "404 NoSuchKey")
	eventually(t, "the counts", func() bool {
		text := string(r.s.AppendMetrics(nil))
		for _, want := range []string{
			`sluice_s3_requests_total{op="CreateBucket",status="2xx"} 1`,
			`sluice_s3_requests_total{op="GetObject",status="4xx"} 1`,
			`sluice_s3_request_seconds_count{op="GetObject"} 1`,
			`sluice_s3_request_seconds_bucket{op="GetObject",le="+Inf"} 1`,
			"sluice_s3_requests_in_flight 0",
		} {
			if !strings.Contains(text, want+"\n") {
				return false
			}
		}
		return true
	})
}
