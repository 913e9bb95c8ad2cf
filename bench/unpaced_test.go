package main

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Both ends of a connection within the host are as unpaced says; sockets of other
// addresses are left as they are.
func TestUnpaced(t *testing.T) {
	ln, err := (&net.ListenConfig{Control: unpaced}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := (&net.Dialer{Control: unpaced}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	for _, c := range []net.Conn{near, far} {
		if got := algorithm(t, c.(syscall.Conn)); got != "reno" {
			t.Errorf("%s: %s", c.LocalAddr(), got)
		}
	}
	plain, err := net.ListenTCP("tcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	raw, err := plain.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	before := algorithm(t, plain)
	if err := unpaced("tcp", "192.0.2.1:9000", raw); err != nil || algorithm(t, plain) != before {
		t.Error(err, algorithm(t, plain))
	}
}

func algorithm(t *testing.T, c syscall.Conn) (name string) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if ctl := raw.Control(func(fd uintptr) {
		name, err = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	}); ctl != nil || err != nil {
		t.Fatal(ctl, err)
	}
	return strings.TrimRight(name, "\x00")
}
