package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// congestionFile lists the congestion controls that the kernel has loaded.
const congestionFile = "/proc/sys/net/ipv4/tcp_available_congestion_control"

// listenConfig makes sockets whose accepted connections have the given TCP congestion
// control, which they inherit (tcp(7)); "": the system's. Listen fails where the kernel
// does not offer it.
func listenConfig(congestion string) *net.ListenConfig {
	if congestion == "" {
		return &net.ListenConfig{}
	}
	return &net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if ctl := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion)
		}); ctl != nil {
			return ctl
		}
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.ENOENT):
			offers, _ := os.ReadFile(congestionFile)
			return fmt.Errorf("tcp-congestion: the kernel does not offer %q, but: %s", congestion, strings.TrimSpace(string(offers)))
		case errors.Is(err, unix.EPERM):
			return fmt.Errorf("tcp-congestion: %q is for root, or what net.ipv4.tcp_allowed_congestion_control lists", congestion)
		}
		return fmt.Errorf("tcp-congestion: %q: %w", congestion, err)
	}}
}

// congestion decides the congestion control of listening sockets, and so of what they
// accept, and what connections from other hosts are given after that ("": nothing), out
// of the configured one and the system's. Between this host and itself nothing is lost or
// late, so nothing is to be found out: bbr, some hosts' default, paces such a connection by
// timers, which costs the server a third of its CPU for a large GET. A socket that was
// ever bbr's stays paced under any other, so local connections must not begin with it.
// Other defaults do not pace, and one (dctcp) is bargained for in the handshake: they
// are left alone.
func congestion(configured, system string) (listen, elsewhere string) {
	if configured == "" && strings.HasPrefix(system, "bbr") {
		return unpaced, system
	}
	return configured, ""
}

// unpaced is the congestion control that every kernel has and lets everybody use, also
// after privileges were given up.
const unpaced = "reno"

// systemCongestion is the congestion control that sockets begin with; "" where the kernel
// does not tell.
func systemCongestion() string {
	name, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	return strings.TrimSpace(string(name))
}

// isLocal tells whether the peer of c is on this host.
func isLocal(c net.Conn) bool {
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return false
	}
	local, ok := c.LocalAddr().(*net.TCPAddr)
	return ok && (remote.IP.IsLoopback() || remote.IP.Equal(local.IP))
}

// restoreCongestion gives c, accepted by an unpaced socket, the congestion control name,
// unless its route has one of its own (ip-route(8), congctl). Where that fails c works as
// well without.
func restoreCongestion(c syscall.Conn, name string) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if has, err := unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION); err == nil && strings.TrimRight(has, "\x00") == unpaced {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
		}
	})
}
