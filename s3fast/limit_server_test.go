package s3fast

import (
	"bufio"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// slowDial opens a connection whose reader takes little ahead, and sends text.
func (r *rig) slowDial(text string) net.Conn {
	r.t.Helper()
	conn := r.dial()
	must(r.t, conn.(*net.TCPConn).SetReadBuffer(32<<10))
	_, err := io.WriteString(conn, text)
	must(r.t, err)
	return conn
}

func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("it does not come about that %s", what)
		}
	}
}

// A user beyond its limit is told SlowDown and when to come again; a slot is
// held until the answer is out, and comes back whatever becomes of the request.
func TestUserLimits(t *testing.T) {
	limits := new(Limits)
	r := newRig(t, func(c *Config) { c.Limits = limits })
	r.bucket("lim")
	r.put("/lim/big", strings.Repeat("x", 12<<20))
	limits.Set(LimitSettings{Users: map[string]Rates{rigUser: {Requests: 0.2, Burst: 2}}})
	list := call{method: "GET", target: "/lim"}
	r.want(list, "200")
	r.want(list, "200")
	for range 2 {
		if a := r.want(list, "503 SlowDown"); !slices.Contains([]string{"5", "4"}, a.header.Get("Retry-After")) { // 4 a second later
			t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
		}
	}
	r.want(call{method: "GET", target: "/lim", user: rigReader}, "200")

	// One at a time: a slow reader occupies the slot until it has gone.
	limits.Set(LimitSettings{Users: map[string]Rates{rigUser: {Concurrency: 1}}})
	running := func(n int64) func() bool {
		return func() bool { return limits.Usage(rigUser).Running == n }
	}
	r.eventually("no slot is taken", running(0)) // shortly after the answers above
	conn := r.slowDial(r.head(call{method: "GET", target: "/lim/big"}))
	_, err := io.ReadFull(conn, make([]byte, 1))
	must(t, err)
	r.want(list, "503 SlowDown")
	conn.Close()
	r.eventually("the slot is free", running(0))
	r.want(list, "200")
	r.eventually("the slot is free again", running(0)) // shortly after the answer

	// A request that was let in before its body, and that sends none.
	conn = r.slowDial(r.head(call{
		method: "PUT", target: "/lim/expected", noLength: true, payload: "UNSIGNED-PAYLOAD",
		unsignedExtra: "Expect: 100-continue\r\nContent-Length: 100000\r\n",
	}))
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	r.eventually("a request that waits for its body holds a slot", running(1))
	conn.Close()
	r.eventually("it gives it back", running(0))
	// Several requests on one connection hold one slot after the other.
	conn = r.dial()
	br := bufio.NewReader(conn)
	for range 3 {
		_, err := io.WriteString(conn, r.head(list))
		must(t, err)
		if a := r.read(br, "GET"); a.status != 200 {
			t.Errorf("%d on a connection kept alive", a.status)
		}
	}
	if text := string(r.s.AppendMetrics(nil)); !strings.Contains(text, "sluice_s3_limited_requests_total 3\n") {
		_, at, _ := strings.Cut(text, "\nsluice_s3_limited_requests_total")
		t.Errorf("metrics do not tell 3 refusals:%.10s", at)
	}
}

// A rate of bytes slows transfers down.
func TestPacing(t *testing.T) {
	limits := new(Limits)
	r := newRig(t, func(c *Config) { c.Limits = limits })
	r.bucket("pace")
	body := strings.Repeat("y", 1<<20)
	limits.Set(LimitSettings{Default: Rates{InBytes: 2 << 20, OutBytes: 2 << 20}})
	for _, method := range []string{"PUT", "GET"} {
		begun := time.Now()
		c := call{method: method, target: "/pace/o"}
		if method == "PUT" {
			c.body = body
		}
		if a := r.want(c, "200"); method == "GET" && a.body != body {
			t.Error("another content")
		}
		if took := time.Since(begun); took < 150*time.Millisecond || took > 20*time.Second {
			t.Errorf("%s of half a second's worth took %s", method, took)
		}
	}
}

// While memory is short, a reader that does not keep up gets its answer in
// pieces and holds none of the engine's buffers; the answer stays the same.
func TestSlowReaderHoldsNoBuffers(t *testing.T) {
	var share atomic.Int64
	r := newRig(t, func(c *Config) { c.Memory = func() float64 { return float64(share.Load()) / 100 } })
	r.bucket("slow")
	content := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB
	r.put("/slow/o", content)
	conn := r.slowDial(r.head(call{method: "GET", target: "/slow/o"}))
	r.eventually("a stalled reader holds buffers", func() bool { return r.arena.InUse() > 0 })
	share.Store(80)
	r.eventually("it has given them back", func() bool { return r.arena.InUse() == 0 })
	if n := r.s.inFlight.Load(); n != 1 {
		t.Fatalf("%d requests in flight: it was cut off", n)
	}
	share.Store(0)
	if a := r.read(bufio.NewReader(conn), "GET"); a.status != 200 || a.body != content {
		t.Errorf("%d, %d bytes", a.status, len(a.body))
	}
	r.eventually("its piece is back", func() bool { return r.s.pieces.lent.Load() == 0 })
	// A reader that keeps up is served as ever.
	share.Store(80)
	if a := r.want(call{method: "GET", target: "/slow/o"}, "200"); a.body != content {
		t.Error("another content")
	}
}

// While others wait for memory, a body that stalls is given up soon.
func TestStalledBodyWhileMemoryIsShort(t *testing.T) {
	var share atomic.Int64
	r := newRig(t, func(c *Config) {
		c.StallTimeout = 20 * time.Second
		c.Memory = func() float64 { return float64(share.Load()) / 100 }
	})
	r.bucket("stall")
	conn := r.slowDial(r.head(call{
		method: "PUT", target: "/stall/o", noLength: true, payload: "UNSIGNED-PAYLOAD", unsignedExtra: "Content-Length: 8000000\r\n",
	}) + strings.Repeat("z", 100<<10))
	r.eventually("its buffers are taken", func() bool { return r.arena.InUse() > 0 })
	time.Sleep(1500 * time.Millisecond)
	if r.arena.InUse() == 0 {
		t.Fatal("given up while nothing was short")
	}
	share.Store(90)
	begun := time.Now()
	if a := r.read(bufio.NewReader(conn), "PUT"); a.status != 400 || a.code() != "RequestTimeout" {
		t.Errorf("%d %s", a.status, a.code())
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("given up after %s", took)
	}
}
