package engine

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta"
)

// Bounds of the purger.
const (
	purgeBatch   = 1024    // entries removed by one command
	purgeScan    = 1 << 14 // most entries looked at in one pass, pinned ones included
	minPause     = 20 * time.Millisecond
	maxPause     = 5 * time.Second
	pressureMax  = 5 * time.Second // longest that a write waits for room, beyond
	pressureSlop = time.Second     // the time that a pass takes
)

// purger empties the delete queue: it waits until nobody can be reading a blob,
// removes what the metadata still knows of it, and only then frees its extents.
type purger struct {
	e    *Engine
	kick chan struct{}
	quit chan struct{}
	done chan struct{}

	idle    atomic.Bool // the queue was empty, and no timer runs
	purged  atomic.Uint64
	closing sync.Once

	pass sync.Mutex // held from a scan until its extents are free

	mu    sync.Mutex
	freed chan struct{} // closed when extents have been freed
}

func newPurger(e *Engine) *purger {
	return &purger{
		e:    e,
		kick: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
		freed: make(chan struct{}),
	}
}

// notice tells the purger that the queue may have grown. While it has entries
// it looks again by itself.
func (p *purger) notice() {
	if p.idle.Load() {
		p.wake()
	}
}

func (p *purger) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run purges until close.
func (p *purger) run() {
	defer close(p.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	backoff := minPause
	for {
		select {
		case <-p.quit:
			return
		case <-p.kick:
		case <-timer.C:
		}
		if p.e.store.Err() != nil { // for good: nothing will ever be purged again
			<-p.quit
			return
		}
		if p.sweep() {
			backoff = minPause
		} else {
			backoff = min(2*backoff, time.Second)
		}
		timer.Reset(p.pause(backoff))
	}
}

// close stops the purger and waits for it, until ctx is done: it may be waiting
// for a store that hangs.
func (p *purger) close(ctx context.Context) error {
	p.closing.Do(func() { close(p.quit) })
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-p.done:
		return nil
	default:
		return fail(Unavailable, fmt.Errorf("the purger is under way: %w", ctx.Err()))
	}
}

// pause returns how long to sleep: until the next entry is due, but no longer
// than it takes a new one to become so. While there is none that is due before a new
// one would be, as with the records of completed uploads, which wait for a day, it
// sleeps until then and leaves it to notice to wake it.
func (p *purger) pause(least time.Duration) time.Duration {
	p.idle.Store(true) // before the look: who queues after it will kick
	first, err := p.e.garbage(math.MaxInt64, 1)
	if err == nil && len(first) == 0 {
		return time.Hour
	}
	wait := p.e.cfg.Grace
	if err == nil {
		due := time.Duration(first[0].Due - p.e.now().UnixNano())
		if due > wait+maxPause {
			return min(due, time.Hour)
		}
		wait = min(wait, due)
	}
	p.idle.Store(false)
	return max(least, min(wait, maxPause))
}

// sweep purges everything that is due and not pinned. It reports false when it
// met entries that must wait for their readers, or an error.
func (p *purger) sweep() bool {
	p.pass.Lock()
	defer p.pass.Unlock()
	for scan := purgeBatch; ; {
		select {
		case <-p.quit:
			return true
		default:
		}
		entries, err := p.e.garbage(p.e.now().UnixNano(), scan)
		if err != nil {
			p.e.log.Error("cannot read the delete queue", "err", err)
			return false
		}
		if len(entries) == 0 {
			return true
		}
		if !p.e.epochs.turn(p.quit) {
			return true
		}
		found := len(entries)
		free := entries[:0]
		for _, g := range entries {
			if !p.e.pins.pinned(g.Pin) {
				free = append(free, g)
			}
		}
		pinned := found - len(free)
		if !p.purge(free) {
			return false
		}
		switch {
		case found < scan:
			return pinned == 0
		case len(free) == 0 && scan >= purgeScan:
			return false
		case len(free) == 0:
			scan *= 4 // look behind those that are pinned
		}
	}
}

// garbage reads up to max entries of the delete queue that are due at due, in
// one moment: the purger may be removing them.
func (e *Engine) garbage(due int64, max int) ([]meta.Garbage, error) {
	snap := e.store.Snapshot()
	defer snap.Close()
	return meta.DueGarbage(snap, due, max)
}

// purge removes entries from the metadata and frees their extents: only those
// that the command found, for another could have been freed before.
func (p *purger) purge(entries []meta.Garbage) bool {
	for len(entries) > 0 {
		n := min(len(entries), purgeBatch)
		cmd := &meta.Purge{Entries: entries[:n]}
		entries = entries[n:]
		if err := p.e.mutate(context.Background(), 0, cmd); err != nil {
			// What may have been purged is not freed: it is found free at the
			// next start.
			p.e.log.Error("cannot purge", "entries", n, "err", err)
			return false
		}
		for i := range cmd.Done {
			for _, f := range cmd.Done[i].Blob.Fragments {
				if m := p.e.drives.now().byID[f.Drive]; m != nil && m.d != nil {
					m.d.Free(f.Extents)
				}
			}
		}
		p.purged.Add(uint64(len(cmd.Done)))
		p.announce()
	}
	return true
}

// announce wakes the writes that wait for room.
func (p *purger) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.freed)
	p.freed = make(chan struct{})
}

func (p *purger) news() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.freed
}

// room is a write's wait for the purger.
type room struct {
	p      *purger
	freed  <-chan struct{}
	timer  *time.Timer
	tries  int
	last   bool // one more try, then give up
	enough bool // the queue holds enough to be worth waiting for
}

// pressure begins a wait for room for size payload bytes.
func (p *purger) pressure(size int64) *room {
	r := &room{p: p, freed: p.news()}
	p.e.heal.left.flush()
	p.wake()
	p.pass.Lock() // extents that have left the queue are free once the pass ends
	//lint:ignore SA2001 the pass that is under way is waited for, nothing more
	p.pass.Unlock()
	r.enough = p.promise() >= drive.DiskSize(size)
	r.timer = time.NewTimer(min(p.e.cfg.Grace, pressureMax) + pressureSlop)
	return r
}

// promise returns the bytes that are free or will be when what is queued and
// not pinned has been purged.
func (p *purger) promise() int64 {
	sum := p.e.drives.usage()
	queue, err := p.e.garbage(p.e.due(p.e.now()), 4*purgeBatch)
	if err != nil {
		return sum
	}
	for i := range queue {
		if p.e.pins.pinned(queue[i].Pin) {
			continue
		}
		for _, f := range queue[i].Blob.Fragments {
			if m := p.e.drives.now().byID[f.Drive]; m != nil && m.writable() {
				for _, x := range f.Extents {
					sum += x.Len
				}
			}
		}
	}
	return sum
}

// next reports whether another try is worth while, and waits until it is.
func (r *room) next(ctx context.Context) bool {
	r.tries++
	switch {
	case r.last || r.tries > 1 && !r.enough:
		return false
	case r.tries == 1:
		return true
	}
	select {
	case <-r.freed:
		r.freed = r.p.news()
		return true
	case <-r.timer.C:
		r.last = true
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *room) stop() { r.timer.Stop() }
