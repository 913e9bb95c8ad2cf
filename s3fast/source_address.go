package s3fast

import (
	"net"
	"net/netip"
	"strings"
)

// source is the address of the client, for aws:SourceIp: the TCP peer's. Only
// where the peer is one of Config.TrustedProxies does X-Forwarded-For count, and
// of that only what proxies have written: from its end, the first address that is
// not a trusted proxy's. An entry that is no address ends the search, and the
// proxy that wrote it is the client.
func (r *request) source() netip.Addr {
	addr := addrOf(r.ctx.RemoteAddr())
	if len(r.s.cfg.TrustedProxies) == 0 || !r.s.trusts(addr) {
		return addr
	}
	for i := len(r.headers.list) - 1; i >= 0; i-- {
		if r.headers.list[i].name != "x-forwarded-for" {
			continue
		}
		rest := r.headers.list[i].value
		for more := true; more; {
			var last string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, last = rest[:at], rest[at+1:]
			} else {
				rest, last, more = "", rest, false
			}
			next, ok := parseForwarded(strings.TrimSpace(last))
			if !ok {
				return addr
			}
			if addr = next; !r.s.trusts(addr) {
				return addr
			}
		}
	}
	return addr
}

// trusts tells whether an address is a trusted proxy's.
func (s *Server) trusts(addr netip.Addr) bool {
	for _, p := range s.cfg.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// addrOf is the IP address of a network address; the zero Addr for other networks.
func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return plainAddr(t.AddrPort().Addr())
	}
	return netip.Addr{}
}

// plainAddr is an address as policies write it: IPv4 as such, and without zone.
func plainAddr(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// parseForwarded parses an entry of X-Forwarded-For: an address, some proxies add
// its port.
func parseForwarded(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return plainAddr(a), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return plainAddr(ap.Addr()), true
	}
	return netip.Addr{}, false
}
