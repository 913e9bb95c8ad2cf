package main

import (
	"hash/maphash"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/s3fast"
)

const (
	// refuseRoom is how many connections over the limit are accepted to be told
	// so. Any more are closed at once.
	refuseRoom = 64

	// roomBatch is how many unused connections are closed at a time to make room,
	// so that looking for them costs each new connection little.
	roomBatch = 32
	// roomAge is how long a connection must have been unused for that: a client
	// that has just connected, or just got an answer, may be about to send.
	roomAge = time.Second
	// roomRetry is the pause after a search that found none.
	roomRetry = 100 * time.Millisecond

	addressShards = 64
)

// slots bounds the open connections of all listeners together, and those of each
// client address. Connections beyond a limit, extra, are there to be refused;
// silence among them takes no room from those within it. When one of them
// speaks while no slot is free, connections that nobody uses are closed to make
// room: those that never sent a byte first, then those between two requests, the
// longest unused first.
type slots struct {
	max   int64
	open  atomic.Int64 // within the limit
	extra atomic.Int64

	perAddress int                        // 0: no limit
	exempt     func(addr netip.Addr) bool // from perAddress; nil: none
	addresses  [addressShards]addressShard
	seed       maphash.Seed

	roomMu sync.Mutex   // guards what follows
	silent []closer     // of connections that never sent a byte
	idle   closer       // of those between two requests; nil: none
	barren [2]time.Time // the last search that found none: of all, of one address

	closed  atomic.Uint64 // to make room
	refused atomic.Uint64
}

// closer closes up to n connections that have been unused for atLeast, of
// address where that is valid, and returns how many it closed.
type closer func(n int, atLeast time.Duration, address netip.Addr) int

type addressShard struct {
	mu sync.Mutex
	m  map[netip.Addr]int
}

func newSlots(max, perAddress int, exempt func(netip.Addr) bool) *slots {
	return &slots{max: int64(max), perAddress: perAddress, exempt: exempt, seed: maphash.MakeSeed()}
}

// slotConn is a connection that holds a slot until it is closed.
type slotConn struct {
	*net.TCPConn
	slots *slots
	addr  netip.Addr // see s3fast.AddressKey; invalid: not counted
	since time.Time  // of the accept
	extra atomic.Bool
	once  sync.Once
}

// take counts a connection in unless n would exceed max.
func take(n *atomic.Int64, max int64) bool {
	if n.Add(1) > max {
		n.Add(-1)
		return false
	}
	return true
}

// admit takes a slot; false: there is no room even to refuse.
func (s *slots) admit(tcp *net.TCPConn) (*slotConn, bool) {
	c := &slotConn{TCPConn: tcp, slots: s, since: time.Now()}
	if s.perAddress > 0 {
		if remote, ok := tcp.RemoteAddr().(*net.TCPAddr); ok {
			if addr := remote.AddrPort().Addr().Unmap(); s.exempt == nil || !s.exempt(addr) {
				c.addr = s3fast.AddressKey(addr)
			}
		}
	}
	within := s.count(c.addr, 1) <= s.perAddress || !c.addr.IsValid()
	switch {
	case within && take(&s.open, s.max):
	case take(&s.extra, refuseRoom):
		c.extra.Store(true)
	case within && s.makeRoom(netip.Addr{}) && take(&s.open, s.max):
	default:
		s.count(c.addr, -1)
		s.refused.Add(1)
		return nil, false
	}
	return c, true
}

// count adds by to the connections of addr and returns how many there are.
func (s *slots) count(addr netip.Addr, by int) int {
	if !addr.IsValid() {
		return 0
	}
	shard := &s.addresses[maphash.Comparable(s.seed, addr)%addressShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	n := shard.m[addr] + by
	switch {
	case n <= 0:
		delete(shard.m, addr)
	case shard.m == nil:
		shard.m = map[netip.Addr]int{addr: n}
	default:
		shard.m[addr] = n
	}
	return n
}

// listen has the silent connections of one more listener make room.
func (s *slots) listen(silent closer) {
	s.roomMu.Lock()
	s.silent = append(s.silent, silent)
	s.roomMu.Unlock()
}

// makeRoom closes unused connections, of addr where that is valid, and reports
// whether it found any.
func (s *slots) makeRoom(addr netip.Addr) bool {
	s.roomMu.Lock()
	defer s.roomMu.Unlock()
	barren := &s.barren[0]
	if addr.IsValid() {
		barren = &s.barren[1]
	}
	if time.Since(*barren) < roomRetry {
		return false
	}
	left := roomBatch
	for _, silent := range s.silent {
		if left > 0 {
			left -= silent(left, roomAge, addr)
		}
	}
	if left > 0 && s.idle != nil {
		left -= s.idle(left, roomAge, addr)
	}
	if left == roomBatch {
		*barren = time.Now()
		return false
	}
	s.closed.Add(uint64(roomBatch - left))
	return true
}

// within reports whether c is within the limits, now that it wants to be served.
func (c *slotConn) within() bool {
	s := c.slots
	if !c.extra.Load() {
		return true
	}
	if c.addr.IsValid() && s.count(c.addr, 0) > s.perAddress && !s.makeRoom(c.addr) {
		return false
	}
	if !take(&s.open, s.max) && !(s.makeRoom(netip.Addr{}) && take(&s.open, s.max)) {
		return false
	}
	c.extra.Store(false)
	s.extra.Add(-1)
	return true
}

// Close implements net.Conn.
func (c *slotConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() {
		c.slots.count(c.addr, -1)
		if c.extra.Load() {
			c.slots.extra.Add(-1)
		} else {
			c.slots.open.Add(-1)
		}
	})
	return err
}
