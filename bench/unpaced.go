package main

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// unpaced, as the Control of a dialer or listener, gives sockets of the loopback reno,
// which every kernel has, from their beginning. Where the system's default is bbr, the
// generator would send by timers: their CPU time, and the bursts they make, are no
// server's. What a server's own connections have is the server's choice.
func unpaced(_, address string, raw syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().IsLoopback() {
		return nil
	}
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
	})
}
