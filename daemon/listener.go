package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	// tlsRecordHandshake is the first byte of every TLS connection (RFC 8446,
	// section 5.1: ContentType handshake). No HTTP method begins with it.
	tlsRecordHandshake = 0x16

	// refuseTime bounds the answer to a refused connection: closing a socket
	// with unread data resets it, and the client would lose the answer.
	refuseTime  = 2 * time.Second
	refuseBytes = 1 << 20

	// acceptPause is the wait after an accept(2) that failed for want of
	// descriptors or memory: the next one would fail, too.
	acceptPause = 10 * time.Millisecond
)

// muxOptions are the settings of newMuxListener.
type muxOptions struct {
	tls       *tls.Config   // nil: TLS off
	required  bool          // refuse plain connections
	silence   time.Duration // until the first byte; then the connection is closed
	slots     *slots
	elsewhere string // congestion control that connections from other hosts are given; "": none
}

// muxListener accepts HTTPS and plain HTTP on one port: a connection whose
// first byte opens a TLS handshake comes out as *tls.Conn, any other as it is.
// A connection that has not sent its first byte costs one goroutine and no
// request state.
type muxListener struct {
	net.Listener
	opts  muxOptions
	ready chan net.Conn

	done    chan struct{} // closed with the listener
	end     sync.Once
	failure error // of accept(2); set before done is closed

	mu     sync.Mutex
	silent map[*slotConn]struct{} // waiting for the first byte; nil once closed
}

// newMuxListener wraps ln, which listens on TCP.
func newMuxListener(ln net.Listener, opts muxOptions) *muxListener {
	m := &muxListener{
		Listener: ln,
		opts:     opts,
		ready:    make(chan net.Conn),
		done:     make(chan struct{}),
		silent:   make(map[*slotConn]struct{}),
	}
	opts.slots.listen(m.closeSilent)
	go m.acceptLoop()
	return m
}

func (m *muxListener) acceptLoop() {
	for {
		conn, err := m.Listener.Accept()
		if err != nil {
			if isTransientAccept(err) {
				time.Sleep(acceptPause)
				continue
			}
			m.shut(err)
			return
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			conn.Close()
			continue
		}
		if c, ok := m.opts.slots.admit(tcp); ok {
			if m.opts.elsewhere != "" && !isLocal(tcp) {
				restoreCongestion(tcp, m.opts.elsewhere)
			}
			go m.sniff(c)
		} else {
			conn.Close()
		}
	}
}

// sniff waits for the first byte and hands the connection on.
func (m *muxListener) sniff(conn *slotConn) {
	if !m.track(conn) {
		conn.Close()
		return
	}
	silence := m.opts.silence
	if conn.extra.Load() {
		silence = min(silence, refuseTime)
	}
	conn.SetReadDeadline(time.Now().Add(silence))
	first, err := peekByte(conn)
	m.forget(conn)
	if err != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	secure := first == tlsRecordHandshake
	var out net.Conn = conn
	switch full := !conn.within(); {
	case full && secure, secure && m.opts.tls == nil:
		if full {
			conn.slots.refused.Add(1)
		}
		conn.Close()
		return
	case full:
		conn.slots.refused.Add(1)
		refusePlain(conn, "503 Service Unavailable", "Retry-After: 1\r\n", "Too many connections.\n")
		return
	case secure:
		out = tls.Server(conn, m.opts.tls)
	case m.opts.required:
		refusePlain(conn, "400 Bad Request", "", "This endpoint speaks HTTPS only.\n")
		return
	}
	select {
	case m.ready <- out:
	case <-m.done:
		conn.Close()
	}
}

// track makes Close end the wait of conn; false when that has happened already.
func (m *muxListener) track(conn *slotConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.silent == nil {
		return false
	}
	m.silent[conn] = struct{}{}
	return true
}

func (m *muxListener) forget(conn *slotConn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.silent, conn)
}

// closeSilent closes up to n of the connections that have been silent longest,
// see closer.
func (m *muxListener) closeSilent(n int, atLeast time.Duration, address netip.Addr) int {
	latest := time.Now().Add(-atLeast)
	byAge := func(a, b *slotConn) int { return a.since.Compare(b.since) }
	found := make([]*slotConn, 0, 4*n)
	m.mu.Lock()
	for c := range m.silent {
		if c.extra.Load() || c.since.After(latest) || address.IsValid() && c.addr != address {
			continue
		}
		if len(found) == cap(found) {
			slices.SortFunc(found, byAge)
			found = found[:n]
		}
		found = append(found, c)
	}
	m.mu.Unlock()
	slices.SortFunc(found, byAge)
	found = found[:min(n, len(found))]
	for _, c := range found {
		c.Close()
	}
	return len(found)
}

// Accept implements net.Listener.
func (m *muxListener) Accept() (net.Conn, error) {
	select {
	case conn := <-m.ready:
		return conn, nil
	case <-m.done:
		return nil, m.failure
	}
}

// Close implements net.Listener. Silent clients are not waited for.
func (m *muxListener) Close() error {
	m.shut(net.ErrClosed)
	return m.Listener.Close()
}

// shut ends Accept with err and closes the connections still silent.
func (m *muxListener) shut(err error) {
	m.end.Do(func() {
		m.failure = err
		close(m.done)
		m.mu.Lock()
		silent := m.silent
		m.silent = nil
		m.mu.Unlock()
		for conn := range silent {
			conn.Close()
		}
	})
}

// refusePlain answers a plain HTTP request that is not served and closes conn.
func refusePlain(conn *slotConn, status, header, text string) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(refuseTime))
	_, err := fmt.Fprintf(conn, "HTTP/1.1 %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", status, header, len(text), text)
	if err == nil && conn.CloseWrite() == nil {
		io.CopyN(io.Discard, conn, refuseBytes)
	}
}

// isTransientAccept reports errors of accept(2) that pass: the daemon is out of
// descriptors or memory for the moment, or the peer has gone already.
func isTransientAccept(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// peekByte waits for the first byte of conn and leaves it in the socket, so
// that the connection stays the kernel's own and keeps its fast paths.
func peekByte(conn syscall.Conn) (byte, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var (
		buf [1]byte
		n   int
		rx  error
	)
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, rx = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK)
			if rx != syscall.EINTR {
				return rx != syscall.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case rx != nil:
		return 0, rx
	case n == 0:
		return 0, io.EOF
	}
	return buf[0], nil
}
