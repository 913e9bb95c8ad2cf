package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// One address may not take all slots; another one, and exempt ones, still get
// theirs.
func TestSlotsPerAddress(t *testing.T) {
	m := newMux(t, func(o *muxOptions) { o.slots = newSlots(10, 2, nil) })
	first, second := dialMux(t, m, "GET"), dialMux(t, m, "GET")
	accepted(t, m)
	accepted(t, m)
	if text := closedBy(t, dialMux(t, m, "GET / HTTP/1.1\r\n\r\n")); !strings.HasPrefix(text, "HTTP/1.1 503 ") {
		t.Errorf("the third of an address: %q", text)
	}
	other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := other.Dial("tcp", m.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET")
	accepted(t, m)
	first.Close()
	second.Close()

	exempt := newMux(t, func(o *muxOptions) {
		o.slots = newSlots(10, 2, func(a netip.Addr) bool { return a.IsLoopback() })
	})
	for range 5 {
		dialMux(t, exempt, "GET")
		accepted(t, exempt)
	}
}

func TestSlotsCountIsForgotten(t *testing.T) {
	s := newSlots(10, 2, nil)
	a := netip.MustParseAddr("192.0.2.1")
	if s.count(a, 1) != 1 || s.count(a, 1) != 2 || s.count(a, 0) != 2 || s.count(a, -1) != 1 || s.count(a, -1) != 0 {
		t.Error("wrong count")
	}
	for i := range s.addresses {
		if len(s.addresses[i].m) != 0 {
			t.Error("an address without connections is remembered")
		}
	}
	if s.count(netip.Addr{}, 1) != 0 {
		t.Error("no address is counted")
	}
}

// Silent connections make room, the oldest first, and young ones do not.
func TestSilentMakeRoom(t *testing.T) {
	m := newMux(t, func(o *muxOptions) {
		o.slots = newSlots(3, 0, nil)
		o.silence = time.Minute
	})
	var silent []net.Conn
	for n := range int64(3) {
		silent = append(silent, dialMux(t, m, ""))
		await(t, 5*time.Second, func() error { return openIs(m, n+1) })
	}
	if text := closedBy(t, dialMux(t, m, "GET / HTTP/1.1\r\n\r\n")); !strings.HasPrefix(text, "HTTP/1.1 503 ") {
		t.Errorf("while all are young: %q", text)
	}
	if n := m.closeSilent(1, time.Hour, netip.Addr{}); n != 0 {
		t.Errorf("%d closed, none is an hour old", n)
	}
	if n := m.closeSilent(1, 0, netip.Addr{}); n != 1 {
		t.Errorf("%d closed, want 1", n)
	}
	closedBy(t, silent[0])
	if err := openIs(m, 2); err != nil {
		t.Error(err)
	}
	silent = append(silent, dialMux(t, m, ""))
	await(t, 5*time.Second, func() error { return openIs(m, 3) })
	time.Sleep(roomAge + roomRetry)
	dialMux(t, m, "GET")
	accepted(t, m)
	closedBy(t, silent[1])
}

func openIs(m *muxListener, want int64) error {
	if got := m.opts.slots.open.Load(); got != want {
		return fmt.Errorf("%d connections open, want %d", got, want)
	}
	return nil
}
