package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// long is set for the long form of the tests (LONG=1).
func long() bool { return os.Getenv("LONG") != "" }

// raiseFiles raises this process's limit of open files and skips when it stays
// below need.
func raiseFiles(t *testing.T, need uint64) {
	t.Helper()
	var rl unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rl); err != nil {
		t.Fatal(err)
	}
	rl.Cur = rl.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &rl); err != nil {
		t.Fatal(err)
	}
	if rl.Cur < need {
		t.Skipf("%d open files are allowed, %d needed", rl.Cur, need)
	}
}

// TestIdleConnections holds many connections open, silent ones, ones between
// two requests, and TLS ones, and measures what each costs. A good client must
// not notice.
func TestIdleConnections(t *testing.T) {
	silent, used, secure := 1000, 500, 100
	if long() {
		silent, used, secure = 10000, 2000, 1000
	}
	raiseFiles(t, uint64(silent+used+secure)+500)
	n := newNode(t, "--stall-timeout", "60s").serve()
	before := n.metric("process_resident_memory_bytes")
	base := n.metric("go_goroutines")
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	measure := func(what string, count int, most float64, open func() net.Conn) {
		t.Helper()
		var wg sync.WaitGroup
		var mu sync.Mutex
		work := make(chan struct{})
		for range 16 {
			wg.Go(func() {
				for range work {
					if c := open(); c != nil {
						mu.Lock()
						conns = append(conns, c)
						mu.Unlock()
					}
				}
			})
		}
		for range count {
			work <- struct{}{}
		}
		close(work)
		wg.Wait()
		status, _ := n.s3("PUT", "/"+nodeBucket+"/good", "", []byte("good"))
		if status != http.StatusOK {
			t.Errorf("with the connections open, a good client gets %d", status)
		}
		after := n.metric("process_resident_memory_bytes")
		each := (after - before) / float64(count)
		t.Logf("%d %s connections: %.1f KiB each", count, what, each/1024)
		if each > most {
			t.Errorf("a %s connection costs %.0f bytes, want at most %.0f", what, each, most)
		}
		before = after
	}
	measure("silent", silent, 16<<10, n.dial)
	measure("used plain", used, 64<<10, func() net.Conn {
		c := n.dial()
		io.WriteString(c, "GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n")
		if status, _, err := answer(c, 20*time.Second); status != http.StatusOK {
			t.Errorf("live: %d, %v", status, err)
		}
		return c
	})
	measure("used TLS", secure, 128<<10, func() net.Conn {
		c, err := n.dialTLS()
		if err != nil {
			t.Error(err)
			return nil
		}
		io.WriteString(c, "GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n")
		if status, _, err := answer(c, 20*time.Second); status != http.StatusOK {
			t.Errorf("live: %d, %v", status, err)
		}
		return c
	})
	for _, c := range conns {
		c.Close()
	}
	plainHTTP.CloseIdleConnections()
	most := base + 10
	if !long() { // fasthttp keeps its workers for up to 20 s
		most += float64(used + secure)
	}
	n.quiet(most)
	n.stop()
}

// TestMaxConnections fills the limit with connections in use: one more is told
// so, a TLS one is closed, and room that comes free is used.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--max-connections", "20").serve()
	plainHTTP.CloseIdleConnections()
	n.quiet(1e6)                       // connections of the start are gone
	time.Sleep(300 * time.Millisecond) // and the one that asked for the metrics
	var held []net.Conn
	for range 20 {
		c := n.dial()
		defer c.Close()
		io.WriteString(c, "GET /-/live HT") // within a request: not to be closed to make room
		held = append(held, c)
	}
	live := "GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n"
	await(t, 5*time.Second, func() error {
		c := n.dial()
		defer c.Close()
		io.WriteString(c, live)
		if status, text, err := answer(c, 5*time.Second); status != http.StatusServiceUnavailable {
			return fmt.Errorf("one too many: %d %s, %v", status, text, err)
		}
		return nil
	})
	if c, err := n.dialTLS(); err == nil {
		c.Close()
		t.Error("one TLS connection too many was served")
	}
	var last net.Conn
	for range 300 { // far beyond: closed at once, and accepted again later
		c, err := net.DialTimeout("tcp", n.addr, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		last = c
	}
	// Connected is not accepted: one that waits in the backlog until room comes
	// free would take that room. The backlog is a queue, so the last one's end
	// means that all have been accepted.
	last.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := last.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a connection far beyond the limit: %d bytes, %v", n, err)
	}
	for _, c := range held {
		io.WriteString(c, strings.TrimPrefix(live, "GET /-/live HT"))
		if status, _, err := answer(c, 5*time.Second); status != http.StatusOK {
			t.Errorf("a connection within the limit: %d, %v", status, err)
		}
	}
	for _, c := range held[:10] {
		c.Close()
	}
	await(t, 15*time.Second, func() error {
		c := n.dial()
		defer c.Close()
		io.WriteString(c, live)
		if status, _, err := answer(c, 5*time.Second); status != http.StatusOK {
			return fmt.Errorf("with room again: %d, %v", status, err)
		}
		return nil
	})
}

// TestRoomForNew fills the limit with connections nobody uses: new ones are
// served all the same, in place of those unused longest.
func TestRoomForNew(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--max-connections", "20").serve()
	plainHTTP.CloseIdleConnections()
	n.quiet(1e6)
	live := "GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n"
	ask := func(c net.Conn) {
		t.Helper()
		io.WriteString(c, live)
		if status, text, err := answer(c, 5*time.Second); status != http.StatusOK {
			t.Fatalf("%d %s, %v", status, text, err)
		}
	}
	var held []net.Conn
	for i := range 60 {
		c := n.dial()
		defer c.Close()
		if held = append(held, c); i%2 == 0 {
			ask(c) // from now on between two requests
		}
		if i%15 == 14 {
			time.Sleep(roomAge + 100*time.Millisecond)
		}
	}
	ask(n.dial())
	ask(held[58]) // one of the young ones
	if c, err := n.dialTLS(); err != nil {
		t.Errorf("a TLS connection: %v", err)
	} else {
		ask(c)
		c.Close()
	}
	if closed := n.metric("sluice_connections_closed_for_room_total"); closed < 20 {
		t.Errorf("%v connections closed to make room", closed)
	}
}

// TestOutOfFiles takes every descriptor that the daemon may have: it must not
// spin, must not end, and must serve again afterwards.
func TestOutOfFiles(t *testing.T) {
	for _, mode := range []string{"auto", "off"} {
		t.Run(mode, func(t *testing.T) {
			n := newNode(t, "--tls", mode, "--stall-timeout", "60s").serve()
			plainHTTP.CloseIdleConnections()
			open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid))
			if err != nil {
				t.Fatal(err)
			}
			limit := unix.Rlimit{Cur: uint64(len(open) + 10), Max: uint64(len(open) + 10)}
			if err := unix.Prlimit(n.cmd.Process.Pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
				t.Fatal(err)
			}
			var held []net.Conn
			for range 40 { // the kernel accepts them into the backlog
				c := n.dial()
				defer c.Close()
				held = append(held, c)
			}
			spent := cpuTime(t, n.cmd.Process.Pid)
			time.Sleep(time.Second)
			if spent = cpuTime(t, n.cmd.Process.Pid) - spent; spent > 300*time.Millisecond {
				t.Errorf("%s of CPU in one second without a descriptor", spent)
			}
			for _, c := range held {
				c.Close()
			}
			await(t, 10*time.Second, func() error {
				if status, _, err := n.page("/-/live"); status != http.StatusOK {
					return fmt.Errorf("afterwards: %d, %v", status, err)
				}
				return nil
			})
			n.stop()
		})
	}
}

// cpuTime is what the process has used, to a hundredth of a second.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// TestStalls holds connections at every point where a client can stall. All are
// dropped within the time allowed, and what they held comes back.
func TestStalls(t *testing.T) {
	n := newNode(t, "--stall-timeout", "1s", "--idle-timeout", "2s").serve()
	if status, text := n.s3("PUT", "/"+nodeBucket+"/big", "", make([]byte, 24<<20)); status != http.StatusOK {
		t.Fatalf("%d %s", status, text)
	}
	plainHTTP.CloseIdleConnections()
	base := n.metric("go_goroutines")
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
	head := n.signed("PUT", "/"+nodeBucket+"/stall", unsignedPayload)
	get := n.signed("GET", "/"+nodeBucket+"/big", sha("")) + "\r\n"
	for _, c := range []struct {
		name, send, drip string // drip is sent byte by byte, 100 ms apart
	}{
		{"silent", "", ""},
		{"half a TLS record", hello, ""},
		{"dripping TLS", hello, strings.Repeat("a", 1000)},
		{"half a header", "GET / HTTP/1.1\r\nHo", ""},
		{"dripping header", "GET / HTTP/1.1\r\n", strings.Repeat("X-A: b\r\n", 1000)},
		{"half a body", head + "Content-Length: 20000000\r\n\r\n" + strings.Repeat("x", 100<<10), ""},
		{"dripping body", head + "Content-Length: 20000000\r\n\r\n", strings.Repeat("x", 10000)},
		{"idle after a request", "GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"stalled reader", get, ""},
		{"pipeline and no reading", strings.Repeat(get, 8), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				conn := n.dial()
				defer conn.Close()
				io.WriteString(conn, c.send)
				if c.drip != "" {
					go func() {
						for i := range len(c.drip) {
							if _, err := io.WriteString(conn, c.drip[i:i+1]); err != nil {
								return
							}
							time.Sleep(100 * time.Millisecond)
						}
					}()
				}
			}
			time.Sleep(6 * time.Second) // parked: the connections stay open on this side
			n.quiet(base + 60)
		})
	}
	t.Cleanup(func() { n.quiet(base + 10); n.stop() })
}
