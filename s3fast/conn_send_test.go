package s3fast

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tcpPair returns both ends of a TCP connection, the first as the server has it.
func tcpPair(t testing.TB, stall time.Duration) (*conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	peer, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); peer.Close() })
	s := &Server{cfg: Config{StallTimeout: stall}, metrics: newMetrics(nil)}
	c := &conn{Conn: nc, s: s}
	c.sender.init(nc)
	return c, peer.(*net.TCPConn) //nolint:forcetypeassert // dialled as such
}

// Whatever is held, and however little room the socket has, the peer gets the bytes of
// all writes in order, and callers learn how many of theirs those are.
func TestSendProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c, peer := tcpPair(t, 10*time.Second)
		defer c.Conn.Close()
		if !rapid.Bool().Draw(rt, "raw") {
			c.sender = sender{}
		}
		if err := c.Conn.(*net.TCPConn).SetWriteBuffer(8 << 10); err != nil {
			rt.Fatal(err)
		}
		got := make(chan []byte, 1)
		go func() {
			b, _ := io.ReadAll(peer)
			got <- b
		}()
		var want []byte
		for i := range rapid.IntRange(1, 6).Draw(rt, "writes") {
			p := make([]byte, rapid.IntRange(1, 300<<10).Draw(rt, "size"))
			for j := range p {
				p[j] = byte(rand.Uint32())
			}
			want = append(want, p...)
			if c.hold = i%2 == 0 && rapid.Bool().Draw(rt, "hold"); c.hold {
				if n, err := c.Write(p); n != len(p) || err != nil {
					rt.Fatal(n, err)
				}
				c.hold = false
				continue
			}
			if n, err := c.push(p, false, rapid.Bool().Draw(rt, "more")); n != len(p) || err != nil {
				rt.Fatal(n, err)
			}
		}
		if len(c.held) > 0 {
			if n, err := c.push(nil, false, false); n != 0 || err != nil {
				rt.Fatal(n, err)
			}
		}
		c.Conn.Close()
		if b := <-got; !bytes.Equal(b, want) || c.out != int64(len(want)) {
			rt.Fatalf("%d of %d bytes, %d counted", len(b), len(want), c.out)
		}
	})
}

// A peer that takes nothing ends a write when the stall timeout is over, and one that
// is gone at once.
func TestSendEnds(t *testing.T) {
	c, peer := tcpPair(t, 500*time.Millisecond)
	c.held = make([]byte, 4<<10)
	n, err := c.push(make([]byte, 64<<20), false, true)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n <= 0 || n >= 64<<20 {
		t.Errorf("%d, %v", n, err)
	}
	peer.SetLinger(0)
	peer.Close()
	for range 2 {
		_, err = c.push(make([]byte, 64<<10), false, false)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func BenchmarkSend(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		for _, raw := range []bool{true, false} {
			name := map[bool]string{true: "sendmsg", false: "net"}[raw]
			b.Run(name+"-"+decimal(int64(size)), func(b *testing.B) {
				c, peer := tcpPair(b, time.Minute)
				if !raw {
					c.sender = sender{}
				}
				go func() {
					_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{peer}, make([]byte, 256<<10))
				}()
				head, body := make([]byte, 400), make([]byte, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					c.held = head
					if _, err := c.push(body, false, false); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
