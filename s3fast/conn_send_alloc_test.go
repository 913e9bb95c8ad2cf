//go:build !race

package s3fast

import (
	"io"
	"testing"
	"time"
)

// What is sent needs no memory of its own.
func TestSendAllocates(t *testing.T) {
	c, peer := tcpPair(t, time.Minute)
	go func() { _, _ = io.Copy(io.Discard, peer) }()
	head, body := make([]byte, 400), make([]byte, 3000)
	if n := testing.AllocsPerRun(200, func() {
		c.held = head
		if _, err := c.push(body, true, false); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
