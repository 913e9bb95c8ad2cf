package main

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func congestionOf(t *testing.T, c net.Conn) (name string) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
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

// What the listening socket has, accepted connections have; a name that the kernel
// does not know is refused with those it knows.
func TestCongestion(t *testing.T) {
	const name = "reno" // never a module
	ln, err := listenConfig(name).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := newMuxListener(ln, muxOptions{silence: 5 * time.Second, slots: newSlots(100, 0, nil)})
	t.Cleanup(func() { m.Close() })
	dialMux(t, m, "G")
	if got := congestionOf(t, accepted(t, m)); got != name {
		t.Error(got)
	}
	ln, err = listenConfig("nosuch").Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err == nil {
		ln.Close()
	}
	if err == nil || !strings.Contains(err.Error(), `does not offer "nosuch", but: `) || !strings.Contains(err.Error(), name) {
		t.Error(err)
	}
}

// Where the system's default paces, connections from this host never begin with it, and
// those from others get it back.
func TestCongestionChoice(t *testing.T) {
	for _, c := range [][4]string{
		{"", "bbr", "reno", "bbr"},
		{"", "bbr3", "reno", "bbr3"},
		{"", "cubic", "", ""},
		{"", "dctcp", "", ""},
		{"", "", "", ""},
		{"bbr", "bbr", "bbr", ""},
		{"cubic", "bbr", "cubic", ""},
	} {
		if listen, elsewhere := congestion(c[0], c[1]); listen != c[2] || elsewhere != c[3] {
			t.Errorf("%q on a host with %q: %q and %q", c[0], c[1], listen, elsewhere)
		}
	}
	if systemCongestion() == "" {
		t.Error("the system's is not known")
	}
}

// What a listener of this host accepts stays unpaced; the same connection taken for one
// from elsewhere is given another control, but not where it has one of its own.
func TestCongestionElsewhere(t *testing.T) {
	const other = "cubic"
	if offers, _ := os.ReadFile(congestionFile); !strings.Contains(string(offers), other) {
		t.Skip("the kernel offers no ", other)
	}
	for _, begin := range []string{unpaced, "bbr"} {
		ln, err := listenConfig(begin).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Log(err)
			continue
		}
		m := newMuxListener(ln, muxOptions{silence: 5 * time.Second, slots: newSlots(100, 0, nil), elsewhere: other})
		t.Cleanup(func() { m.Close() })
		dialMux(t, m, "G")
		c := accepted(t, m)
		if got := congestionOf(t, c); got != begin {
			t.Errorf("from this host: %s, not %s", got, begin)
		}
		want := other
		if begin != unpaced {
			want = begin
		}
		restoreCongestion(c.(syscall.Conn), other)
		if got := congestionOf(t, c); got != want {
			t.Errorf("from another, %s so far: %s", begin, got)
		}
	}
}

type addressed struct {
	net.Conn
	local, remote string
}

func (a addressed) LocalAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.local))
}
func (a addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(a.remote))
}

func TestIsLocal(t *testing.T) {
	for _, c := range []struct {
		local, remote string
		want          bool
	}{
		{"127.0.0.1:9000", "127.0.0.1:1234", true},
		{"[::1]:9000", "[::1]:1234", true},
		{"[::ffff:127.0.0.1]:9000", "127.0.0.2:1234", true},
		{"10.0.0.1:9000", "10.0.0.1:1234", true},
		{"[::ffff:10.0.0.1]:9000", "10.0.0.1:1234", true},
		{"10.0.0.1:9000", "10.0.0.2:1234", false},
		{"[2001:db8::1]:9000", "[2001:db8::2]:1234", false},
	} {
		if got := isLocal(addressed{local: c.local, remote: c.remote}); got != c.want {
			t.Errorf("%s from %s: %v", c.local, c.remote, got)
		}
	}
}
