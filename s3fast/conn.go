package s3fast

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
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
	// shortStall is how long a peer may be silent within a body while others wait
	// for memory, in place of StallTimeout.
	shortStall = time.Second
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

	active    atomic.Bool  // a request is being read or answered
	seen      atomic.Bool  // a byte has been received
	idleSince atomic.Int64 // Unix nanoseconds; 0: not between two requests
	peer      netip.Addr   // see AddressKey

	rolling bool          // a body is being read
	waited  time.Duration // time spent waiting in this window
	got     int64         // bytes received in this window
	stalled bool          // the peer was too slow; final for this body
	muted   bool          // nothing more may be written
	linger  bool          // the last answer was an error: let the peer read it

	expected *request  // prepared by expect, to be run by handle
	inFlight bool      // counted by Server.begin
	grant    *subject  // whose limits the request in flight counts for; nil: nobody's
	paced    bool      // its bytes have a rate to keep
	yield    bool      // Write may give up in errSlow, which ends the connection
	signed   string    // access key of the last request, when its signature was good
	pause    time.Time // nothing is read before
	seenOp   int       // metrics index of the request in flight
	status   int
	began    time.Time
	in, out  int64 // bytes of the request in flight

	remote string // the peer's address without port, once the audit asked for it

	sender sender
	hold   bool   // Write keeps what it is given in held
	held   []byte // to be sent before anything else; the caller's memory
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
	if !c.pause.IsZero() {
		c.s.rest(time.Until(c.pause))
		c.pause = time.Time{}
	}
	if !c.rolling {
		n, err := c.Conn.Read(p)
		c.received(n)
		return n, err
	}
	if c.stalled {
		return 0, os.ErrDeadlineExceeded
	}
	before := time.Now()
	n, err := c.await(p, before)
	c.received(n)
	c.waited += time.Since(before)
	if c.paced && n > 0 {
		c.pace(c.grant.received(n, time.Now()))
	}
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

// await reads from a peer that may wait StallTimeout with the next byte, but
// only shortStall while others wait for the memory that this body holds.
func (c *conn) await(p []byte, begun time.Time) (int, error) {
	end := begun.Add(c.s.cfg.StallTimeout)
	for next := begun.Add(shortStall); ; next = next.Add(shortStall) {
		last := !next.Before(end)
		if last {
			next = end
		}
		if err := c.Conn.SetReadDeadline(next); err != nil {
			return 0, err
		}
		n, err := c.Conn.Read(p)
		if n > 0 || err == nil || last || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if c.s.short() {
			c.stalled = true
			return 0, err
		}
	}
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
	if c.hold && len(c.held) == 0 {
		c.held = p
		return len(p), nil
	}
	return c.push(p, c.yield, false)
}

// push is Write, and sends what is held before. With yield it ends early, in errSlow,
// when the peer does not keep up while memory is short; some of what is held may then
// be left. With more another push follows soon.
func (c *conn) push(p []byte, yield, more bool) (int, error) {
	if c.muted {
		return 0, net.ErrClosed
	}
	patience := c.s.cfg.StallTimeout
	if yield && !c.secure {
		patience = min(slowAfter, patience)
	}
	var waited time.Duration // without having written all that was to be written
	done, moved := 0, 0
	for {
		begun := time.Now()
		n, err := c.put(p[done:], more, begun, patience)
		c.sent(n)
		k := min(n, len(c.held))
		c.held, done = c.held[k:], done+n-k
		slow := yield && time.Since(begun) >= slowAfter && c.s.short()
		switch {
		case err == nil && done == len(p):
			c.held = nil
			return done, nil
		case err == nil && slow:
			return done, errSlow
		case err == nil:
		case !c.secure && errors.Is(err, os.ErrDeadlineExceeded):
			waited, moved = waited+time.Since(begun), moved+n
			if waited >= c.s.cfg.StallTimeout {
				if moved == 0 || int64(moved) < int64(waited.Seconds()*minRate) {
					return done, err
				}
				waited, moved = 0, 0 // slow but moving: wait on
			}
			if slow {
				return done, errSlow
			}
		default:
			return done, err
		}
	}
}

// put writes what is held, and p, or of a TLS connection some of it.
func (c *conn) put(p []byte, more bool, begun time.Time, patience time.Duration) (int, error) {
	if c.sender.raw != nil {
		return c.send(c.held, p, more, begun, patience)
	}
	if len(c.held) > 0 {
		p = c.held
	}
	if c.secure && len(p) > tlsWriteChunk {
		p = p[:tlsWriteChunk]
	}
	if err := c.Conn.SetWriteDeadline(begun.Add(patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *conn) sent(n int) {
	c.out += int64(n)
	c.s.metrics.bytesOut.Add(uint64(n)) // #nosec G115: not negative
	if c.paced && n > 0 {
		c.pace(c.grant.sent(n, time.Now()))
	}
}

// finish ends the accounting of the request in flight, once its response has
// been written or the connection is gone.
func (c *conn) finish() {
	if r := c.expected; r != nil {
		c.expected = nil
		r.dismiss()
		r.release()
	}
	if c.grant != nil {
		c.grant.leave()
		c.grant, c.paced = nil, false
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
		c := &conn{Conn: nc, s: l.s, peer: peerOf(nc)}
		c.sender.init(nc)
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
	// and the client would lose the answer that tells why. A client that has
	// signed well gets the longer bounds: many send a whole part before they read.
	lingerTime        = time.Second
	lingerBytes       = 8 << 20
	lingerTimeSigned  = 5 * time.Second
	lingerBytesSigned = 64 << 20
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
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && linger && half.CloseWrite() == nil {
		wait, most := lingerTime, int64(lingerBytes)
		if c.signed != "" {
			wait, most = lingerTimeSigned, lingerBytesSigned
		}
		// Below TLS: what is dropped need not be decrypted.
		raw := rawConn(c.Conn)
		_ = raw.SetReadDeadline(time.Now().Add(wait))
		_, _ = io.CopyN(io.Discard, raw, most)
	}
	return c.Conn.Close()
}

// abort closes the connection at once; any goroutine may call it.
func (c *conn) abort() {
	c.s.forget(c)
	_ = c.Conn.Close()
}
