package s3fast

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// CloseIdle closes up to n of the connections that have waited longest for their
// client's next request, but none that has waited for less than atLeast, and of
// address only where that is valid (see AddressKey). It returns how many it
// closed.
func (s *Server) CloseIdle(n int, atLeast time.Duration, address netip.Addr) int {
	type victim struct {
		c     *conn
		since int64
	}
	byAge := func(a, b victim) int {
		switch {
		case a.since < b.since:
			return -1
		case a.since > b.since:
			return 1
		}
		return 0
	}
	latest := time.Now().Add(-atLeast).UnixNano()
	found := make([]victim, 0, 4*n)
	s.mu.Lock()
	for c := range s.conns {
		since := c.idleSince.Load()
		if since == 0 || since > latest || address.IsValid() && c.peer != address {
			continue
		}
		if len(found) == cap(found) {
			slices.SortFunc(found, byAge)
			found = found[:n]
		}
		found = append(found, victim{c, since})
	}
	s.mu.Unlock()
	slices.SortFunc(found, byAge)
	closed := 0
	for _, v := range found[:min(n, len(found))] {
		if v.c.idleSince.CompareAndSwap(v.since, 0) { // else it has begun a request
			v.c.s.forget(v.c)
			_ = rawConn(v.c.Conn).Close()
			closed++
		}
	}
	return closed
}

// rawConn is the connection below TLS: closing that one takes no time.
func rawConn(nc net.Conn) net.Conn {
	if below, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return below.NetConn()
	}
	return nc
}

// peerOf is the address that a connection counts for.
func peerOf(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return AddressKey(tcp.AddrPort().Addr())
	}
	return netip.Addr{}
}
