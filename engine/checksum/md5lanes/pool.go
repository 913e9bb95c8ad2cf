package md5lanes

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// shared is the pool of all Digests of New: uploads that know nothing of each
// other are hashed together by being in one pool.
var shared = newPool(detect())

// place is where a pool has a Digest.
type place uint8

const (
	nowhere   place = iota // nothing queued
	inPending              // bytes queued, nobody waits
	inWanted               // bytes queued, its owner waits
	inLane                 // a leader hashes it
)

// turnSize is how much of a Digest, in bytes, is hashed before it makes room for
// another that is waited for.
const turnSize = 1 << 20

// yieldsMax is how often, after the last sign of another stream, leaders let other
// goroutines run between quanta: for some milliseconds of hashing. A stream that is
// alone need not.
const yieldsMax = 64

// pool lets the owners of Digests hash for each other.
//
// A waiter whose bytes nobody hashes becomes a leader: it puts its Digest and as
// many others as there are lanes into a batch and advances them by quanta until
// its own need is met, then puts the rest back. So no goroutine works for others
// when it has nothing to wait for.
//
// Who sleeps is woken: while a Digest is in wanted, there is a leader, or a token
// is on its way to the owner of one of them. For each leader that ends wakes the
// first, and who wakes finds its need met (by a leader, to whom the same
// applies), its Digest in a lane, or leads.
type pool struct {
	kernel kernel

	mu      sync.Mutex
	pending list
	wanted  list
	yields  int // times that leaders may still let others run for nothing
	leaders int
	procs   int // GOMAXPROCS, as the first of the leaders found it
	spare   int // lanes of the leaders that have room for a wanted Digest

	yielders     chan *yielder // that are not in use
	yieldersMade atomic.Int32
}

func newPool(k kernel) *pool {
	return &pool{
		kernel: k, yields: yieldsMax, procs: runtime.GOMAXPROCS(0),
		yielders: make(chan *yielder, yieldersMax),
	}
}

// gathers tells whether a waiter does well to let others run before it leads:
// lanes would stay empty.
func (l *pool) gathers() bool {
	return l.pending.len+l.wanted.len < l.kernel.width() && l.kernel.width() > 1
}

// mayLead tells whether a waiter is to work rather than sleep: if no leader is
// about to take its Digest, and no more lead than can run.
func (l *pool) mayLead() bool {
	return l.leaders == 0 || l.spare == 0 && l.leaders < l.procs
}

// lead hashes until the need of d is met. It is called with the pool locked,
// unlocks it while it works and locks it again.
func (l *pool) lead(d *Digest) {
	var b batch
	b.kernel = l.kernel
	if l.leaders == 0 {
		// Not whenever it matters: it takes the scheduler's lock.
		l.procs = runtime.GOMAXPROCS(0)
	}
	l.leaders++
	l.unlist(d)
	b.add(d)
	for {
		l.fill(&b)
		yield := b.count < l.kernel.width() && l.yields > 0
		if yield {
			l.yields--
		}
		l.mu.Unlock()
		b.sendTokens()
		b.run()
		if yield {
			// Others may have bytes elsewhere, perhaps yet to be received: with few
			// processors these come into a lane only if they get to run.
			l.yield()
		}
		l.mu.Lock()
		l.settle(&b)
		if !d.unmet() {
			break
		}
	}
	for b.count > 0 {
		l.putBack(b.remove(b.count - 1))
	}
	l.leaders--
	l.spare -= b.spare
	if head := l.wanted.head; head != nil {
		b.token(head)
	}
	b.sendTokens()
}

// fill gives the lanes of b to queued Digests, those that are waited for first;
// for these it also takes lanes away.
func (l *pool) fill(b *batch) {
	width := l.kernel.width()
	short := l.wanted.len - (width - b.count)
	for i := b.count - 1; i > 0 && short > 0; i-- {
		if x := b.lane[i]; !x.digest.unmet() || x.turn >= turnSize {
			l.putLast(b.remove(i))
			short--
		}
	}
	for b.count < width && l.wanted.head != nil {
		b.add(l.wanted.pop())
	}
	for b.count < width && l.pending.head != nil {
		b.add(l.pending.pop())
	}
	if b.count > 1 {
		l.yields = yieldsMax
	}
	spare := width - b.count
	for _, x := range b.lane[1:b.count] {
		if !x.digest.unmet() {
			spare++
		}
	}
	l.spare += spare - b.spare
	b.spare = spare
	if l.wanted.head != nil && l.mayLead() {
		b.token(l.wanted.head)
	}
}

// settle records what a run of b has done.
func (l *pool) settle(b *batch) {
	for i := b.count - 1; i >= 0; i-- {
		x := &b.lane[i]
		d := x.digest
		d.took(x.done)
		x.turn += x.done
		if d.waiting && (d.stopped || !d.unmet()) {
			b.token(d)
		}
		switch {
		case d.stopped || d.count == 0:
			b.remove(i).place = nowhere
		default:
			x.rest, x.done = d.pieces[d.first], 0
		}
	}
}

// putBack queues a Digest of a lane first in line.
func (l *pool) putBack(d *Digest) {
	if d.unmet() {
		l.wanted.pushFront(d, inWanted)
	} else {
		l.pending.pushFront(d, inPending)
	}
}

// putLast queues a Digest of a lane last.
func (l *pool) putLast(d *Digest) {
	if d.unmet() {
		l.wanted.pushBack(d, inWanted)
	} else {
		l.pending.pushBack(d, inPending)
	}
}

// unlist takes a Digest that is in no lane from its list.
func (l *pool) unlist(d *Digest) {
	switch d.place {
	case inPending:
		l.pending.remove(d)
	case inWanted:
		l.wanted.remove(d)
	}
}

// list is a queue of Digests, linked through them.
type list struct {
	head, tail *Digest
	len        int
}

func (q *list) pushBack(d *Digest, at place) {
	d.place, d.prev, d.next = at, q.tail, nil
	if q.tail == nil {
		q.head = d
	} else {
		q.tail.next = d
	}
	q.tail = d
	q.len++
}

func (q *list) pushFront(d *Digest, at place) {
	d.place, d.prev, d.next = at, nil, q.head
	if q.head == nil {
		q.tail = d
	} else {
		q.head.prev = d
	}
	q.head = d
	q.len++
}

func (q *list) remove(d *Digest) {
	if d.prev == nil {
		q.head = d.next
	} else {
		d.prev.next = d.next
	}
	if d.next == nil {
		q.tail = d.prev
	} else {
		d.next.prev = d.prev
	}
	d.place, d.prev, d.next = nowhere, nil, nil
	q.len--
}

func (q *list) pop() *Digest {
	d := q.head
	q.remove(d)
	return d
}
