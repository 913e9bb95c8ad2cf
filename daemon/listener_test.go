package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// newMux returns a listener on 127.0.0.1 that is closed with the test.
func newMux(t *testing.T, change func(*muxOptions)) *muxListener {
	t.Helper()
	certs, err := openCertificates(t.TempDir(), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opts := muxOptions{tls: certs.config(), silence: 5 * time.Second, slots: newSlots(100, 0, nil)}
	if change != nil {
		change(&opts)
	}
	m := newMuxListener(ln, opts)
	t.Cleanup(func() { m.Close() })
	return m
}

func dialMux(t *testing.T, m *muxListener, send string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", m.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	return conn
}

// accepted waits for one connection.
func accepted(t *testing.T, m *muxListener) net.Conn {
	t.Helper()
	got := make(chan net.Conn, 1)
	go func() {
		conn, err := m.Accept()
		if err != nil {
			close(got)
			return
		}
		got <- conn
	}()
	select {
	case conn, ok := <-got:
		if !ok {
			t.Fatal("Accept failed")
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was accepted")
	}
	return nil
}

// closedBy reports what the client reads until the other side closes.
func closedBy(t *testing.T, conn net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(conn)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("the connection stays open")
	}
	return string(text)
}

func TestMuxKinds(t *testing.T) {
	m := newMux(t, nil)
	dialMux(t, m, "GET / HTTP/1.1\r\n")
	plain := accepted(t, m)
	if _, ok := plain.(*tls.Conn); ok {
		t.Error("a plain connection came out as TLS")
	}
	buf := make([]byte, 3)
	if _, err := io.ReadFull(plain, buf); err != nil || string(buf) != "GET" {
		t.Errorf("read %q, %v: looking must not take", buf, err)
	}
	client := tls.Client(dialMux(t, m, ""), &tls.Config{InsecureSkipVerify: true})
	hello := make(chan error, 1)
	go func() { hello <- client.Handshake() }()
	secure, ok := accepted(t, m).(*tls.Conn)
	if !ok {
		t.Fatal("a TLS connection did not come out as one")
	}
	if err := errors.Join(secure.Handshake(), <-hello); err != nil {
		t.Error(err)
	}
}

func TestMuxRequiredAndOff(t *testing.T) {
	m := newMux(t, func(o *muxOptions) { o.required = true })
	if text := closedBy(t, dialMux(t, m, "GET / HTTP/1.1\r\n\r\n")); !strings.HasPrefix(text, "HTTP/1.1 400 ") {
		t.Errorf("plain HTTP where TLS is required: %q", text)
	}
	dialMux(t, m, "\x16\x03\x01")
	if _, ok := accepted(t, m).(*tls.Conn); !ok {
		t.Error("no TLS connection")
	}
	m = newMux(t, func(o *muxOptions) { o.tls = nil })
	if text := closedBy(t, dialMux(t, m, "\x16\x03\x01")); text != "" {
		t.Errorf("TLS where it is off: %q", text)
	}
	dialMux(t, m, "GET")
	accepted(t, m)
}

func TestMuxSilence(t *testing.T) {
	m := newMux(t, func(o *muxOptions) { o.silence = 50 * time.Millisecond })
	closedBy(t, dialMux(t, m, ""))
	await(t, 5*time.Second, m.unused)
}

// unused returns an error while the listener holds connections.
func (m *muxListener) unused() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if open, extra := m.opts.slots.open.Load(), m.opts.slots.extra.Load(); len(m.silent) > 0 || open > 0 || extra > 0 {
		return fmt.Errorf("%d silent, %d open, %d extra", len(m.silent), open, extra)
	}
	return nil
}

// Closing ends the wait of silent clients, and of those nobody accepts.
func TestMuxClose(t *testing.T) {
	m := newMux(t, func(o *muxOptions) { o.silence = time.Hour })
	silent, speaking := dialMux(t, m, ""), dialMux(t, m, "GET")
	await(t, 5*time.Second, func() error {
		if n := m.opts.slots.open.Load(); n != 2 {
			return fmt.Errorf("%d open", n)
		}
		return nil
	})
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	m.Close()
	closedBy(t, silent)
	closedBy(t, speaking)
	if _, err := m.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	await(t, 5*time.Second, m.unused)
	if m.track(new(slotConn)) {
		t.Error("a closed listener takes connections")
	}
}

// Silence beyond the limit takes no room from connections within it, and room
// that comes free is given to who speaks.
func TestMuxLimit(t *testing.T) {
	m := newMux(t, func(o *muxOptions) { o.slots.max = 2 })
	first, second := dialMux(t, m, ""), dialMux(t, m, "")
	await(t, 5*time.Second, func() error {
		if n := m.opts.slots.open.Load(); n != 2 {
			return fmt.Errorf("%d open", n)
		}
		return nil
	})
	refused := dialMux(t, m, "GET / HTTP/1.1\r\n\r\n")
	if text := closedBy(t, refused); !strings.HasPrefix(text, "HTTP/1.1 503 ") {
		t.Errorf("one too many: %q", text)
	}
	refused.Close()
	if text := closedBy(t, dialMux(t, m, "\x16")); text != "" {
		t.Errorf("one TLS connection too many: %q", text)
	}
	await(t, 5*time.Second, func() error {
		if n := m.opts.slots.extra.Load(); n != 0 {
			return fmt.Errorf("%d extra", n)
		}
		return nil
	})
	third := dialMux(t, m, "")
	await(t, 5*time.Second, func() error {
		if n := m.opts.slots.extra.Load(); n != 1 {
			return fmt.Errorf("%d extra", n)
		}
		return nil
	})
	first.Close()
	await(t, 5*time.Second, func() error {
		if n := m.opts.slots.open.Load(); n != 1 {
			return fmt.Errorf("%d open", n)
		}
		return nil
	})
	io.WriteString(third, "GET")
	accepted(t, m)
	io.WriteString(second, "GET")
	accepted(t, m)
	m.opts.slots.extra.Store(refuseRoom) // no room even to refuse
	if text := closedBy(t, dialMux(t, m, "")); text != "" {
		t.Errorf("beyond all limits: %q", text)
	}
	m.opts.slots.extra.Store(0)
}

// flakyListener fails as accept(2) does.
type flakyListener struct {
	net.Listener
	fails atomic.Int32
	final error
}

func (f *flakyListener) Accept() (net.Conn, error) {
	if f.fails.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	if f.final != nil {
		return nil, f.final
	}
	return f.Listener.Accept()
}

func TestMuxAcceptErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flakyListener{Listener: ln}
	f.fails.Store(5)
	begun := time.Now()
	m := newMuxListener(f, muxOptions{silence: time.Second, slots: newSlots(10, 0, nil)})
	defer m.Close()
	dialMux(t, m, "GET")
	accepted(t, m)
	if took := time.Since(begun); took < 5*acceptPause {
		t.Errorf("five failures in %s: it spins", took)
	}

	ln, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	m = newMuxListener(&flakyListener{Listener: ln, final: broken}, muxOptions{slots: newSlots(10, 0, nil)})
	defer m.Close()
	for range 2 {
		if _, err := m.Accept(); !errors.Is(err, broken) {
			t.Errorf("Accept: %v", err)
		}
	}
}

func TestTransientAccept(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.ENOBUFS: true, syscall.ENOMEM: true,
		syscall.ECONNABORTED: true, syscall.EINVAL: false, net.ErrClosed: false, io.EOF: false,
		&net.OpError{Op: "accept", Err: syscall.EMFILE}: true,
	} {
		if got := isTransientAccept(err); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestConnectionsWithin(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 3: 1, 100: 25, 1024: 256, 4096: 1984, 20000: 17888, 1 << 63: 1<<30 - ownFiles - refuseRoom} {
		if got := connectionsWithin(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}

func TestIdleTrimmer(t *testing.T) {
	var total uint64
	freed := 0
	tr := &idleTrimmer{busy: true, allocs: func() uint64 { return total }, free: func() { freed++ }}
	for i, step := range []struct {
		grow uint64
		want int
	}{{50 << 20, 0}, {1 << 10, 1}, {1 << 10, 1}, {0, 1}, {3 << 20, 1}, {100 << 20, 1}, {1, 2}, {1, 2}} {
		total += step.grow
		tr.look()
		if freed != step.want {
			t.Errorf("step %d: freed %d times, want %d", i, freed, step.want)
		}
	}
	real := newIdleTrimmer()
	if real.allocs() == 0 {
		t.Error("no bytes allocated so far")
	}
	real.free()
}
