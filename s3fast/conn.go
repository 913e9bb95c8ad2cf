package s3fast

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	// minRate is the slowest a peer may be, in bytes per second, averaged over
	// each StallTimeout that we spent waiting for it. It is far below any real
	// link and exists so that one byte per minute does not hold buffers forever.
	minRate = 128
	// tlsWriteChunk bounds one write to a TLS connection: after a write that
	// timed out such a connection is unusable, so a slow reader must be able to
	// take a whole chunk within StallTimeout.
	tlsWriteChunk = 64 << 10
)

// conn is a tracked client connection. fasthttp knows one read deadline for
// header and body together; here the deadline is fixed while a header is read
// and rolls while a body is: every read may wait StallTimeout, and while waiting
// the peer must keep minRate. Every write may wait StallTimeout without progress.
//
// Reads, writes and the per-request fields belong to the goroutine that serves
// the connection. Close and the atomics may be used by any.
type conn struct {
	net.Conn
	s      *Server
	secure bool

	active atomic.Bool // a request is being read or answered
	seen   atomic.Bool // a byte has been received

	rolling bool          // a body is being read
	waited  time.Duration // time spent waiting in this window
	got     int64         // bytes received in this window
	stalled bool          // the peer was too slow; final for this body
	muted   bool          // nothing more may be written
	linger  bool          // the last answer was an error: let the peer read it

	expected *request // prepared by expect, to be run by handle
	inFlight bool     // counted by Server.begin
	seenOp   int      // metrics index of the request in flight
	status   int
	began    time.Time
	in, out  int64 // bytes of the request in flight
}

// ConnectionState and Handshake mark a connection as secure for fasthttp.
type secureConn struct {
	*conn
	tlsState interface{ ConnectionState() tls.ConnectionState }
}

func (c *secureConn) ConnectionState() tls.ConnectionState { return c.tlsState.ConnectionState() }

// Handshake does nothing: the first read does the handshake, under the deadline
// that read has.
func (c *secureConn) Handshake() error { return nil }

// connOf returns our connection below fasthttp's.
func connOf(nc net.Conn) *conn {
	switch c := nc.(type) {
	case *conn:
		return c
	case *secureConn:
		return c.conn
	}
	return nil
}

// beginBody makes the read deadline roll until fasthttp sets one again.
func (c *conn) beginBody() {
	if c != nil {
		c.rolling, c.stalled, c.waited, c.got = true, false, 0, 0
	}
}

// SetReadDeadline is fasthttp's: it does so before and after a request.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.rolling = false
	return c.Conn.SetReadDeadline(t)
}

func (c *conn) Read(p []byte) (int, error) {
	if !c.rolling {
		n, err := c.Conn.Read(p)
		c.received(n)
		return n, err
	}
	if c.stalled {
		return 0, os.ErrDeadlineExceeded
	}
	before := time.Now()
	if err := c.Conn.SetReadDeadline(before.Add(c.s.cfg.StallTimeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.received(n)
	c.waited += time.Since(before)
	c.got += int64(n)
	if c.waited >= c.s.cfg.StallTimeout {
		if c.got < int64(c.waited.Seconds()*minRate) {
			c.stalled = true
			return n, os.ErrDeadlineExceeded
		}
		c.waited, c.got = 0, 0
	}
	return n, err
}

func (c *conn) received(n int) {
	if n > 0 {
		if !c.seen.Load() {
			c.seen.Store(true)
		}
		c.in += int64(n)
		c.s.metrics.bytesIn.Add(uint64(n))
	}
}

// Write writes all of p as long as the peer makes progress.
func (c *conn) Write(p []byte) (int, error) {
	if c.muted {
		return 0, net.ErrClosed
	}
	done := 0
	for {
		chunk := p[done:]
		if c.secure && len(chunk) > tlsWriteChunk {
			chunk = chunk[:tlsWriteChunk]
		}
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.s.cfg.StallTimeout)); err != nil {
			return done, err
		}
		n, err := c.Conn.Write(chunk)
		done += n
		c.out += int64(n)
		c.s.metrics.bytesOut.Add(uint64(n))
		switch {
		case err == nil && done == len(p):
			return done, nil
		case err == nil:
		case !c.secure && errors.Is(err, os.ErrDeadlineExceeded) &&
			int64(n) >= int64(c.s.cfg.StallTimeout.Seconds()*minRate) && n > 0:
			// Slow but moving: wait on.
		default:
			return done, err
		}
	}
}

// finish ends the accounting of the request in flight, once its response has
// been written or the connection is gone.
func (c *conn) finish() {
	if r := c.expected; r != nil {
		c.expected = nil
		r.release()
	}
	c.linger = false
	if !c.inFlight {
		c.in, c.out = 0, 0
		return
	}
	c.inFlight = false
	c.s.inFlight.Add(-1)
	c.s.metrics.observe(c.seenOp, c.status, c.s.cfg.Now().Sub(c.began))
	c.in, c.out = 0, 0
}

// listener wraps accepted connections.
type listener struct {
	net.Listener
	s *Server
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &conn{Conn: nc, s: l.s}
		st, secure := nc.(interface{ ConnectionState() tls.ConnectionState })
		c.secure = secure
		if !l.s.track(c) {
			_ = nc.Close()
			continue
		}
		if secure {
			return &secureConn{conn: c, tlsState: st}, nil
		}
		return c, nil
	}
}

const (
	// lingerTime and lingerBytes bound how much of an unwanted body is read and
	// dropped after an error: closing a connection with unread data resets it,
	// and the client would lose the answer that tells why.
	lingerTime  = time.Second
	lingerBytes = 8 << 20
)

// Close ends the accounting and closes the connection; after an error it first
// lets the client read the answer. Unless a shutdown has begun, only the
// goroutine that serves the connection calls it.
func (c *conn) Close() error {
	if c.s.draining.Load() {
		c.abort()
		return nil
	}
	linger := c.linger
	c.finish()
	defer c.s.forget(c)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && linger && !c.secure && half.CloseWrite() == nil {
		_ = c.Conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
	}
	return c.Conn.Close()
}

// abort closes the connection at once; any goroutine may call it.
func (c *conn) abort() {
	c.s.forget(c)
	_ = c.Conn.Close()
}
