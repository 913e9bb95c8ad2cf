package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// tlsRecordHandshake is the first byte of every TLS connection (RFC 8446,
// section 5.1: ContentType handshake). No HTTP method begins with it.
const tlsRecordHandshake = 0x16

// sniffTimeout bounds how long a connection may stay silent before its first
// byte: until then it costs a goroutine but no request state.
const sniffTimeout = 30 * time.Second

// sniffMax bounds connections that have not sent their first byte.
const sniffMax = 16384

// muxListener accepts HTTPS and plain HTTP on one port: a connection whose
// first byte opens a TLS handshake comes out as *tls.Conn, any other as it is.
type muxListener struct {
	net.Listener
	tls      *tls.Config // nil: TLS off, nothing is sniffed
	required bool        // refuse plain connections
	ready    chan net.Conn
	failed   chan error
	done     chan struct{}
	close    sync.Once
	tokens   chan struct{}
}

// newMuxListener wraps ln. A nil conf leaves every connection plain.
func newMuxListener(ln net.Listener, conf *tls.Config, required bool) net.Listener {
	if conf == nil {
		return ln
	}
	m := &muxListener{
		Listener: ln,
		tls:      conf,
		required: required,
		ready:    make(chan net.Conn),
		failed:   make(chan error, 1),
		done:     make(chan struct{}),
		tokens:   make(chan struct{}, sniffMax),
	}
	go m.acceptLoop()
	return m
}

func (m *muxListener) acceptLoop() {
	for {
		conn, err := m.Listener.Accept()
		if err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				continue
			}
			if isTransientAccept(err) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			m.failed <- err
			return
		}
		select {
		case m.tokens <- struct{}{}:
			go m.sniff(conn)
		default:
			conn.Close()
		}
	}
}

// sniff reads the first byte and hands the connection on.
func (m *muxListener) sniff(conn net.Conn) {
	defer func() { <-m.tokens }()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a listener that closes does not wait for silent clients
		select {
		case <-m.done:
			conn.Close()
		case <-stop:
		}
	}()
	conn.SetReadDeadline(time.Now().Add(sniffTimeout))
	first, err := peekByte(conn)
	if err != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{})
	out := conn
	switch {
	case first == tlsRecordHandshake:
		out = tls.Server(conn, m.tls)
	case m.required:
		refusePlain(conn)
		return
	}
	select {
	case m.ready <- out:
	case <-m.done:
		conn.Close()
	}
}

// Accept implements net.Listener.
func (m *muxListener) Accept() (net.Conn, error) {
	select {
	case conn := <-m.ready:
		return conn, nil
	case err := <-m.failed:
		m.failed <- err
		return nil, err
	case <-m.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (m *muxListener) Close() error {
	m.close.Do(func() { close(m.done) })
	return m.Listener.Close()
}

// refusePlain answers a plain HTTP request where only HTTPS is served.
func refusePlain(conn net.Conn) {
	const text = "This endpoint speaks HTTPS only.\n"
	conn.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	conn.Close()
}

// peekByte waits for the first byte of conn and leaves it in the socket, so
// that the connection stays the kernel's own and keeps its fast paths.
func peekByte(conn net.Conn) (byte, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return 0, errors.New("connection without a descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	var (
		buf [1]byte
		n   int
		rx  error
	)
	err = raw.Read(func(fd uintptr) bool {
		n, _, rx = syscall.Recvfrom(int(fd), buf[:], syscall.MSG_PEEK)
		return rx != syscall.EAGAIN && rx != syscall.EINTR
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
