package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// The lean signer signs what package sigv4 signs.
func TestSignerAgreesWithSigV4(t *testing.T) {
	tg := &target{host: "h:1", accessKey: "access", secret: "secret", region: "us-east-1"}
	s := newSigner(tg)
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for i, r := range []*request{
		{method: "PUT", path: "/b/4KiB/001/0000001", size: 4096}, {method: "DELETE", path: "/b/k"}, {method: "PUT", path: "/b/x"},
	} {
		now = now.Add(time.Duration(i) * 24 * time.Hour)
		size := r.size
		if r.method == "DELETE" {
			size = -1
		}
		got := string(s.appendHead(nil, r.method, []byte(r.path), size, now))
		want := sigv4.Sign(signable{r, tg.host}, tg.accessKey, tg.secret, tg.region, "s3", unsigned, now)
		for name, value := range want {
			if !strings.Contains(got, "\r\n"+name+": "+value+"\r\n") {
				t.Errorf("no %s: %s in\n%s", name, value, got)
			}
		}
		for line := range strings.Lines(string(tg.head(r, now))) {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in\n%s", line, got)
			}
		}
		if len(got) != len(tg.head(r, now)) {
			t.Errorf("%d bytes, want %d", len(got), len(tg.head(r, now)))
		}
	}
}

// canned is a connection that gives the same answer to every request.
type canned struct {
	net.Conn
	answer string
	at     int
}

func (c *canned) Write(b []byte) (int, error) { return len(b), nil }
func (c *canned) SetDeadline(time.Time) error { return nil }
func (c *canned) Read(b []byte) (n int, err error) {
	n = copy(b, c.answer[c.at:])
	c.at = (c.at + n) % len(c.answer)
	return n, nil
}

// cannedClient is a client whose server always answers with head and body.
func cannedClient(p *pattern, head string, body []byte) *client {
	tg := &target{host: "h:1", accessKey: "access", secret: "secret", region: "us-east-1"}
	conn := &canned{answer: head + string(body)}
	return &client{
		t: tg, pattern: p, conn: conn, in: bufio.NewReaderSize(conn, 64<<10), out: make([]byte, 0, firstWrite),
		scratch: make([]byte, readBuffer), signer: newSigner(tg),
	}
}

func smallOperations() (p *pattern, put, get, head func(tb testing.TB) func()) {
	p = newPattern()
	f := newFixture(&target{}, p, shape{bucket: "bench"})
	must := func(tb testing.TB, err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	put = func(tb testing.TB) func() {
		cl := cannedClient(p, "HTTP/1.1 200 OK\r\nETag: \"0123\"\r\nContent-Length: 0\r\n\r\n", nil)
		i := int64(0)
		return func() { i++; must(tb, f.put(cl, 4096, 1, i)) }
	}
	get = func(tb testing.TB) func() {
		cl := cannedClient(p, "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n", content(p, 7, 4096))
		r := &request{method: "GET", path: "/b/k", seed: 7, size: 4096}
		raw := cl.t.head(r, time.Now())
		return func() { _, err := cl.send(r, raw); must(tb, err) }
	}
	head = func(tb testing.TB) func() {
		cl := cannedClient(p, "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n", nil)
		r := &request{method: "HEAD", path: "/b/k", size: 4096}
		raw := cl.t.head(r, time.Now())
		return func() { _, err := cl.send(r, raw); must(tb, err) }
	}
	return p, put, get, head
}

// What the generator allocates, its collector takes from the server.
func TestSmallOperationsDoNotAllocate(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	_, put, get, head := smallOperations()
	for name, op := range map[string]func(testing.TB) func(){"PUT": put, "GET": get, "HEAD": head} {
		if n := testing.AllocsPerRun(500, op(t)); n > 0 {
			t.Errorf("%s: %g allocations", name, n)
		}
	}
}

func BenchmarkSmallOperations(b *testing.B) {
	_, put, get, head := smallOperations()
	for name, op := range map[string]func(testing.TB) func(){"PUT": put, "GET": get, "HEAD": head} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			do := op(b)
			for b.Loop() {
				do()
			}
		})
	}
}

// A server that closes its connections costs new ones, not the run.
func TestClosedConnectionsAreOpenedAgain(t *testing.T) {
	conns := 0
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Connection", "close")
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns++
		}
	}
	srv.Start()
	defer srv.Close()
	tg, err := newTarget(srv.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	cl, err := dial(context.Background(), tg, newPattern())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { cl.close() }()
	for range 3 {
		if _, err := cl.do(&request{method: "PUT", path: "/b/k", size: 5000}); err != nil {
			t.Fatal(err)
		}
	}
	if conns != 3 {
		t.Errorf("%d connections", conns)
	}
}

func TestRangesThatAreIgnoredFail(t *testing.T) {
	p := newPattern()
	cl := cannedClient(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", content(p, 1, 100))
	r := &request{method: "GET", path: "/b/k", seed: 1, size: 100, ranged: true}
	if _, err := cl.do(r); err == nil || !strings.Contains(err.Error(), "206") {
		t.Errorf("%v", err)
	}
	if got := string(cl.out); !strings.HasSuffix(got, "\r\nrange: bytes=0-99\r\n\r\n") {
		t.Errorf("sent %q", got)
	}
}

func TestEscapedQueries(t *testing.T) {
	if got := escapeQuery("aZ9-._~/+= é"); got != "aZ9-._~%2F%2B%3D%20%C3%A9" {
		t.Error(got)
	}
	if got, err := between([]byte("<a>x</a>"), "<a>", "</a>"); got != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "<a>", "<a></a>", "x</a>"} {
		if got, err := between([]byte(bad), "<a>", "</a>"); err == nil {
			t.Errorf("%q gives %q", bad, got)
		}
	}
}
