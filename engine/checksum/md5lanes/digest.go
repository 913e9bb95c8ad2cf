package md5lanes

import (
	"encoding/binary"
)

const (
	// blockSize is the unit MD5 advances by, in bytes.
	blockSize = 64

	// maxPieces bounds the pieces one Digest queues.
	maxPieces = 16

	// gatherSize is the work, in bytes, from which on a waiter lets other
	// goroutines run once before it begins, so that they may queue bytes to be
	// hashed along. Less is done sooner than others would come.
	gatherSize = 32 << 10
)

// Digest is the MD5 of one stream. The zero value is not ready: use New. It is
// not for concurrent use, but different Digests cooperate.
type Digest struct {
	pool *pool
	wake chan struct{} // of capacity 1; a token says "look again"

	// Guarded by pool.mu.
	place      place
	waiting    bool // the owner sleeps on wake, or is about to
	stopped    bool
	first      int // index of the oldest piece
	count      int
	pieces     [maxPieces][]byte
	end        int64 // bytes started since Reset
	hashed     int64 // bytes whose memory is done with
	need       int64 // what the owner waits for: unmet if above hashed
	prev, next *Digest

	// Of the leader while place is inLane, else guarded by pool.mu.
	state   [4]uint32
	tail    [blockSize]byte // bytes of an unfinished block
	tailLen int
}

// New returns a Digest of the empty stream.
func New() *Digest { return newDigest(shared) }

func newDigest(p *pool) *Digest {
	d := &Digest{pool: p, wake: make(chan struct{}, 1)}
	d.begin()
	return d
}

// begin makes d the digest of the empty stream; no leader knows d.
func (d *Digest) begin() {
	d.state = [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476} // RFC 1321, section 3.3
	d.tailLen = 0
	d.end, d.hashed, d.need = 0, 0, 0
	d.stopped = false
}

// Reset makes d the digest of the empty stream. What is queued is dropped as by
// Stop.
func (d *Digest) Reset() {
	d.Stop()
	d.pool.mu.Lock()
	d.begin()
	d.pool.mu.Unlock()
}

// Start queues p, which must stay unchanged until Wait(off) with off at or past
// the end of p has returned, or Sum, or Stop. It does not block and hashes
// nothing, unless 16 pieces are queued already: then it waits for the oldest. What
// adjoins the piece before in memory is one with it, for small reads fill a buffer.
func (d *Digest) Start(p []byte) {
	if len(p) == 0 {
		return
	}
	l := d.pool
	l.mu.Lock()
	if d.stopped {
		l.mu.Unlock()
		return
	}
	if !d.extend(p) {
		for d.count == maxPieces {
			oldest := d.hashed + int64(len(d.pieces[d.first]))
			l.mu.Unlock()
			d.Wait(oldest)
			l.mu.Lock()
		}
		d.pieces[(d.first+d.count)%maxPieces] = p
		d.count++
	}
	d.end += int64(len(p))
	if l.leaders > 0 { // of another stream
		l.yields = yieldsMax
	}
	if d.place == nowhere {
		l.pending.pushBack(d, inPending)
	}
	l.mu.Unlock()
}

// extend adds p to the newest piece if it begins where that ends. A leader may be at
// work on it: it sees what was added once it has settled.
func (d *Digest) extend(p []byte) bool {
	if d.count == 0 {
		return false
	}
	newest := &d.pieces[(d.first+d.count-1)%maxPieces]
	n := len(*newest)
	if cap(*newest)-n < len(p) {
		return false
	}
	both := (*newest)[:n+len(p)]
	if &both[n] != &p[0] {
		return false
	}
	*newest = both
	return true
}

// Wait returns once the first off bytes of the stream are hashed and their
// memory is not used any more. An off past the end means the end.
func (d *Digest) Wait(off int64) {
	l := d.pool
	l.mu.Lock()
	defer l.mu.Unlock()
	d.wait(off)
}

// wait is Wait with the pool locked.
func (d *Digest) wait(off int64) {
	l := d.pool
	d.need = min(off, d.end)
	gathered := d.need-d.hashed < gatherSize
	for d.unmet() {
		if d.place == inPending {
			l.pending.remove(d)
			l.wanted.pushBack(d, inWanted)
		}
		switch {
		case d.place == inLane || !l.mayLead():
			d.sleep()
		case !gathered && l.gathers():
			gathered = true
			l.mu.Unlock()
			l.yield()
			l.mu.Lock()
		default:
			l.lead(d)
		}
	}
}

// sleep waits for a token, with the pool unlocked. Tokens may be stale.
func (d *Digest) sleep() {
	d.waiting = true
	d.pool.mu.Unlock()
	<-d.wake
	d.pool.mu.Lock()
	d.waiting = false
}

// unmet tells whether the owner waits, or is going to, for bytes not hashed yet.
func (d *Digest) unmet() bool { return d.hashed < d.need }

// Sum waits for everything and returns the MD5 of all bytes; more may be
// Started after.
func (d *Digest) Sum() (sum [16]byte) {
	l := d.pool
	l.mu.Lock()
	d.wait(d.end)
	l.mu.Unlock()

	// All is hashed, so no leader knows d. The padding of RFC 1321, sections 3.1
	// and 3.2: a one bit, zeros, and the length in bits, modulo 2^64.
	var last [2 * blockSize]byte
	copy(last[:], d.tail[:d.tailLen])
	last[d.tailLen] = 0x80
	size := blockSize
	if d.tailLen >= blockSize-8 {
		size = 2 * blockSize
	}
	binary.LittleEndian.PutUint64(last[size-8:], uint64(d.end)<<3)
	state := d.state
	l.kernel.one(&state, last[:size])
	for i, v := range state {
		binary.LittleEndian.PutUint32(sum[4*i:], v)
	}
	return sum
}

// Stop returns once no memory is in use, without hashing the rest: for aborted
// uploads. Afterwards only Reset is useful: Start does nothing.
func (d *Digest) Stop() {
	l := d.pool
	l.mu.Lock()
	defer l.mu.Unlock()
	d.stopped, d.need = true, 0
	for d.place == inLane { // its leader drops it after the quantum
		d.sleep()
	}
	l.unlist(d)
	d.first, d.count, d.pieces = 0, 0, [maxPieces][]byte{}
	d.end = d.hashed
}

// Write hashes p before it returns: Start and Wait in one. It implements
// io.Writer and never fails.
func (d *Digest) Write(p []byte) (int, error) {
	d.Start(p)
	l := d.pool
	l.mu.Lock()
	defer l.mu.Unlock()
	d.wait(d.end)
	return len(p), nil
}

// took advances d by n bytes of its oldest piece, which is forgotten if that was
// its end.
func (d *Digest) took(n int) {
	d.hashed += int64(n)
	if d.pieces[d.first] = d.pieces[d.first][n:]; len(d.pieces[d.first]) > 0 {
		return
	}
	d.pieces[d.first] = nil
	d.first = (d.first + 1) % maxPieces
	d.count--
}
