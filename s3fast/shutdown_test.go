package s3fast

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Shutdown lets requests in flight end, and cuts off those that do not.
func TestShutdown(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	body := strings.Repeat("x", 64<<10)
	begin := func(target string) net.Conn {
		nc := r.dial()
		_, err := io.WriteString(nc, r.head(call{method: "PUT", target: target, body: body})+body[:32<<10])
		must(t, err)
		return nc
	}
	good, stuck := begin("/bkt/good"), begin("/bkt/stuck")
	eventually(t, "two requests", func() bool { return r.s.inFlight.Load() == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error)
	go func() { done <- r.s.Shutdown(ctx) }()
	eventually(t, "draining", r.s.draining.Load)
	_, err := io.WriteString(good, body[32<<10:])
	must(t, err)
	if a := r.read(bufio.NewReader(good), "PUT"); a.status != 200 {
		t.Errorf("the request in flight: %s", a)
	}
	cancel() // the other request will never end by itself
	if err := <-done; err != context.Canceled {
		t.Errorf("Shutdown: %v", err)
	}
	if b, _ := io.ReadAll(stuck); len(b) > 0 && !bytes.Contains(b, []byte("400")) {
		t.Errorf("the stuck request was answered %q", b)
	}
	if _, err := net.DialTimeout("tcp", r.addr, 100*time.Millisecond); err == nil {
		t.Error("still accepting")
	}
	if n := r.s.inFlight.Load(); n != 0 {
		t.Errorf("%d handlers still run", n)
	}
}
