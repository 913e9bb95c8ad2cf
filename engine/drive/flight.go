package drive

import (
	"fmt"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// maxHung is how many operations may be without an answer beyond the deadline
// before new ones are refused: a device that hangs keeps their buffers.
const maxHung = 16

// flight knows the transfers that are the device's, so that those that are not
// answered in time can be given up, and those that the device has no room for,
// so that nobody waits for room.
type flight struct {
	mu       sync.Mutex
	reads    list
	writes   list // and syncs
	pending  list // the device has not got them yet; the first is next
	pumping  bool // a goroutine submits what is pending
	watching bool // the timer will call watch
	timer    *time.Timer
	due      int64             // when the timer is to, on the drive's clock
	stood    int64             // nanoseconds that do not count, see clock
	answered int64             // when the last transfer landed, by clock
	deferred [][]layout.Extent // to be freed when no write to them is in flight
}

// list is a list of transfers in the order of began.
type list struct{ first, last *transfer }

func (l *list) push(t *transfer) {
	t.prev, t.next = l.last, nil
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
}

func (l *list) remove(t *transfer) {
	if t.prev == nil {
		l.first = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		l.last = t.prev
	} else {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
}

func (l *list) overlaps(exts []layout.Extent) bool {
	for t := l.first; t != nil; t = t.next {
		if t.code == ioring.OpWrite && t.overlaps(exts) {
			return true
		}
	}
	return false
}

// of returns the list that t is in once the device has it.
func (f *flight) of(t *transfer) *list {
	if t.code == ioring.OpRead {
		return &f.reads
	}
	return &f.writes
}

// now returns nanoseconds since the drive was opened.
func (d *Drive) now() int64 { return int64(time.Since(d.opened)) }

// clock returns the time by which transfers are judged: the drive's clock without the
// stretches in which the process stood still, or got no processor. Had they counted,
// every drive would be blamed for answers that lay ready when it went on. It is known
// for such a stretch by a timer that is late by more than a tick; watch runs every
// tick while anything is in flight, so that a deadline still ends after eight ticks.
// Holds f.mu.
func (d *Drive) clock(now int64) int64 {
	f := &d.flight
	if late := now - f.due - int64(d.tick); f.watching && late > 0 {
		f.stood += late
		f.due = now
	}
	return now - f.stood
}

// launch hands t to the device, or has it handed over when there is room. busy is
// how many operations have been answered and take up room still: 1 for who brings an
// answer, and must not wait for the room that only its return makes.
func (d *Drive) launch(t *transfer, busy int64) {
	f, n := &d.flight, int64(t.n)
	f.mu.Lock()
	if err := d.unusable(); err != nil {
		f.mu.Unlock()
		t.refuse(err)
		return
	}
	t.began = d.clock(d.now())
	if !f.watching {
		d.watchLater()
	}
	ahead := d.queued.Load()
	if t.waiting = f.pending.first != nil || ahead+n+busy > d.depth; t.waiting {
		f.pending.push(t)
		if !f.pumping {
			f.pumping = true
			go d.pump()
		}
		f.mu.Unlock()
		return
	}
	t.ahead = ahead
	d.queued.Add(n)
	f.of(t).push(t)
	f.mu.Unlock()
	d.dev.Submit(t.ops[:t.n]...)
}

// unusable returns why the device is to be asked nothing, or nil.
func (d *Drive) unusable() error {
	if p := d.abandoned.Load(); p != nil {
		return *p
	}
	if n := d.hung.Load(); n >= maxHung {
		return fmt.Errorf("%w: drive %s: %d operations hang", ErrTimeout, d.id, n)
	}
	return nil
}

// refuse answers t, which is in no list, in the device's place.
func (t *transfer) refuse(err error) {
	t.mu.Lock()
	t.answer = err
	t.mu.Unlock()
	t.settle()
}

// pump hands over what is pending, as the device finds room.
func (d *Drive) pump() {
	f := &d.flight
	for {
		f.mu.Lock()
		t := f.pending.first
		if t == nil {
			f.pumping = false
			f.mu.Unlock()
			return
		}
		f.pending.remove(t)
		t.waiting = false
		t.began, t.ahead = d.clock(d.now()), d.queued.Load()
		d.queued.Add(int64(t.n))
		f.of(t).push(t)
		f.mu.Unlock()
		d.dev.Submit(t.ops[:t.n]...)
	}
}

// land takes a transfer from the device, which has answered all of it.
func (d *Drive) land(t *transfer) {
	f, now := &d.flight, d.now()
	f.mu.Lock()
	f.of(t).remove(t)
	f.answered = d.clock(now)
	age := max(0, f.answered-t.began)
	var free [][]layout.Extent
	if len(f.deferred) > 0 {
		free = f.freeable()
	}
	f.mu.Unlock()
	d.observe(t, age, now)
	t.settle()
	for _, exts := range free {
		d.free(exts)
	}
}

// freeable takes those extents out of deferred to which no write is in flight
// any more. Holds f.mu.
func (f *flight) freeable() (free [][]layout.Extent) {
	kept := f.deferred[:0]
	for _, exts := range f.deferred {
		if f.writes.overlaps(exts) || f.pending.overlaps(exts) {
			kept = append(kept, exts)
		} else {
			free = append(free, exts)
		}
	}
	clear(f.deferred[len(kept):])
	f.deferred = kept
	return free
}

// watchLater has watch called in a while. Holds f.mu.
func (d *Drive) watchLater() {
	f := &d.flight
	f.watching, f.due = true, d.now()+int64(d.tick)
	if f.timer == nil {
		f.timer = time.AfterFunc(d.tick, d.watch)
	} else {
		f.timer.Reset(d.tick)
	}
}

// watch counts the transfers in flight that are slow and gives up those that are
// not answered in time. It goes on while there are any.
func (d *Drive) watch() {
	f, now := &d.flight, d.now()
	var late []*transfer
	f.mu.Lock()
	clock := d.clock(now)
	for _, l := range []*list{&f.reads, &f.writes} {
		for t := l.first; t != nil && clock-t.began > int64(min(d.stall, d.deadline)); t = t.next {
			d.observeFlying(t, clock-t.began, now)
		}
	}
	// What the device has not got waits for as long as the device answers others.
	if clock-f.answered > int64(d.deadline) {
		for t := f.pending.first; t != nil && clock-t.began > int64(d.deadline); t = f.pending.first {
			f.pending.remove(t)
			late = append(late, t)
		}
	}
	f.watching = false
	if f.reads.first != nil || f.writes.first != nil || f.pending.first != nil {
		d.watchLater()
	}
	f.mu.Unlock()
	for _, t := range late {
		t.refuse(fmt.Errorf("%w: drive %s: no room in its queue for %v", ErrTimeout, d.id, d.deadline))
	}
}

// observeFlying judges a transfer in flight by its age. Holds the flight's lock.
func (d *Drive) observeFlying(t *transfer, age, now int64) {
	d.observeAge(t, age, now)
	if age <= int64(d.deadline) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hung {
		return
	}
	t.hung = true
	d.window.at(now).timeouts.Add(1)
	d.totals.timeouts.Add(1)
	if d.hung.Add(1) == 1 {
		d.log.Error("the drive does not answer", "drive", d.id, "offset", t.offset(), "after", time.Duration(age))
	}
	t.giveUp(fmt.Errorf("%w: drive %s: none for %v", ErrTimeout, d.id, d.deadline))
}

// giveUpAll ends every wait for the device with err.
func (d *Drive) giveUpAll(err error) {
	f := &d.flight
	f.mu.Lock()
	for _, l := range []*list{&f.reads, &f.writes} {
		for t := l.first; t != nil; t = t.next {
			t.mu.Lock()
			t.giveUp(err)
			t.mu.Unlock()
		}
	}
	var waiting []*transfer
	for t := f.pending.first; t != nil; t = f.pending.first {
		f.pending.remove(t)
		waiting = append(waiting, t)
	}
	f.mu.Unlock()
	for _, t := range waiting {
		t.refuse(err)
	}
}
