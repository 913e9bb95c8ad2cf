package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// HealStatus tells how far repair, rebuild, drain and rebalance have come.
type HealStatus struct {
	Queue    int64 // blobs on the repair queue; HealQueueMost stands for more
	Degraded int64 // blobs with a fragment missing, bad, or on a drive that is out of service; as of the last walk
	Unhealed int64 // of them, those for which no drive is to be had
	Lost     int64 // of them, those that cannot be read: too many fragments are gone
	// Unprotected is the number of blobs without any redundancy although the cluster has
	// some by now. They are spread anew in the background (task "protect").
	Unprotected int64
	Repaired    uint64
	Moved       uint64
	Bytes       uint64 // written by repairs and moves, since start
	Errors      uint64
	LastError   string
	Tasks       []HealTask
	Walked      time.Time // when the last walk ended, of which Degraded speaks; zero: none has
	// Settled: the last walk is up to date, and nothing is being repaired or moved.
	Settled bool
}

// HealQueueMost bounds the work of counting the repair queue.
const HealQueueMost = 100_000

// HealTask is work on one drive's fragments. It is over when it is not among
// HealStatus.Tasks any more.
type HealTask struct {
	Drive       layout.DriveID // rebuilt, drained, or, zero, rebalance or protect
	Kind        string         // "rebuild", "drain", "rebalance", "protect"
	Total, Done int64          // payload bytes
	Fragments   int64          // left
	Started     time.Time
	Rate        float64       // bytes per second, of late
	ETA         time.Duration // 0: not known
	Waiting     string        // why nothing happens, or ""
}

// Bounds of the healer.
const (
	healWorkers = 8
	healBatch   = 512 // blobs read from the metadata at a time
)

// Rebalance moves fragments from fuller drives to emptier ones until they are about
// equally full, in the background; with on false it stops that.
func (e *Engine) Rebalance(on bool) {
	if on {
		e.heal.begin(layout.DriveID{}, taskRebalance)
	} else {
		e.heal.balance.Store(false)
		e.heal.changed()
	}
}

// HealStatus returns the present state.
func (e *Engine) HealStatus() HealStatus {
	if e.gate.look() != nil {
		return HealStatus{}
	}
	defer e.gate.leave()
	return e.heal.status()
}

// healer makes fragments that are missing or bad anew and moves others. What is to be
// done follows from the back-references and the repair queue alone, so that it goes on
// after a restart. One goroutine finds it; workers do it.
type healer struct {
	e      *Engine
	log    *slog.Logger
	opened time.Time
	moves  sync.RWMutex // R: a move is being committed; W: drives are joining or leaving
	yield  yielder
	left   leftovers

	balance atomic.Bool // Rebalance is on
	moved   atomic.Bool // in this pass, something was
	changes atomic.Uint64
	busy    atomic.Bool // a round is under way

	repaired, movedFragments, bytes, errs, mended atomic.Uint64

	mu       sync.Mutex
	failures map[layout.BlobID]*failure
	flying   map[layout.BlobID]bool // a worker is at it
	tasks    map[layout.DriveID]*task
	survey   survey
	last     error
	counted  time.Time // when queue was
	queue    int64
	again    time.Time // when to look and walk, though nothing has changed; run's alone
	sweep    bool      // it is time; run's alone

	kick    chan struct{}
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	done    chan struct{}
	slots   chan struct{} // of workers
	workers sync.WaitGroup
}

func newHealer(e *Engine) *healer {
	h := &healer{
		e: e, log: e.log, opened: e.now(),
		failures: make(map[layout.BlobID]*failure), flying: make(map[layout.BlobID]bool),
		tasks: make(map[layout.DriveID]*task),
		kick:  make(chan struct{}, 1), done: make(chan struct{}), slots: make(chan struct{}, healWorkers),
	}
	h.yield.e = e
	h.left.delay, h.left.freed = e.cfg.Timing.FreeDelay, e.purger.announce
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.changes.Store(1)
	return h
}

func (h *healer) wake() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// changed tells the healer that drives came, went, or changed their states: what could
// not be done before may be possible now.
func (h *healer) changed() {
	h.changes.Add(1)
	h.mu.Lock()
	clear(h.failures)
	h.mu.Unlock()
	h.wake()
}

// degraded tells the healer that a blob has been put on the repair queue.
func (e *Engine) degraded() {
	e.heal.changes.Add(1)
	e.heal.wake()
}

// close stops the healer and waits for it, until ctx is done.
func (h *healer) close(ctx context.Context) error {
	h.cancel()
	if err := awaitEnd(ctx, h.done, "the healer"); err != nil {
		return err
	}
	h.left.flush()
	return nil
}

// awaitEnd waits for the end of a background task, until ctx is done.
func awaitEnd(ctx context.Context, done <-chan struct{}, what string) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	select {
	case <-done:
		return nil
	default:
		return fail(Unavailable, fmt.Errorf("%s is under way: %w", what, ctx.Err()))
	}
}

// run heals until close.
func (h *healer) run() {
	defer close(h.done)
	defer h.workers.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-h.kick:
		case <-timer.C:
		}
		if h.e.store.Err() != nil { // for good: nothing can be moved any more
			<-h.ctx.Done()
			return
		}
		begun := time.Now()
		wait := h.round()
		rest(h.ctx, min(time.Since(begun)/2, maxRest)) // however often it is woken
		timer.Reset(wait)
	}
}

// round does everything that can be done now, and returns when to look again unless
// something changes.
func (h *healer) round() time.Duration {
	h.busy.Store(true)
	defer h.busy.Store(false)
	begun := time.Now()
	err := h.repairs()
	h.sweep = !h.again.IsZero() && !h.e.now().Before(h.again)
	if err == nil && (h.stale() || h.sweep) {
		err = h.look()
	}
	for err == nil && h.due() && h.ctx.Err() == nil {
		changes := h.changes.Load()
		h.moved.Store(false)
		if err = h.walk(); err == nil {
			err = h.look()
		}
		h.sweep = false
		if !h.moved.Load() {
			h.mu.Lock()
			h.endBalance(changes) // nothing can be evened out
			h.mu.Unlock()
			break
		}
		if err == nil {
			err = h.repairs()
		}
	}
	if err != nil && h.ctx.Err() == nil {
		h.failed(err)
		h.changes.Add(1)
		return h.e.cfg.Timing.Retry
	}
	return h.next(begun)
}

// stale reports whether something has changed since the last survey began, and it is
// time for another one: at once when a task begins.
func (h *healer) stale() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.tasks {
		if t.born > h.survey.changes {
			return true
		}
	}
	return h.survey.changes != h.changes.Load() && h.survey.pause(time.Now()) <= 0
}

// endBalance ends a rebalance, unless something changed since changes was read. h.mu is
// held: a rebalance that begins now goes on.
func (h *healer) endBalance(changes uint64) {
	if h.changes.Load() == changes {
		h.balance.Store(false)
	}
}

// failed counts an error that concerns no blob.
func (h *healer) failed(err error) {
	h.errs.Add(1)
	h.mu.Lock()
	h.last = err
	h.mu.Unlock()
	h.log.Error("healing", "err", err)
}

// repairs works on the repair queue.
func (h *healer) repairs() error {
	var at meta.BlobCursor
	for h.ctx.Err() == nil {
		list, err := meta.Repairs(h.e.store, at, healBatch)
		if err != nil || len(list) == 0 {
			h.workers.Wait()
			return err
		}
		for i := range list {
			r := &list[i]
			at = meta.BlobCursor{Slot: r.Slot, Blob: r.Blob.ID}
			h.submit(job{slot: r.Slot, id: r.Blob.ID, bad: r.Bad, queued: true})
		}
	}
	h.workers.Wait()
	return h.ctx.Err()
}

// walk works on every blob that has a fragment on a drive that is out of service or on
// its way there, or that is fuller than others, or that has no redundancy and should.
func (h *healer) walk() error {
	defer h.workers.Wait()
	return h.everyBlob(func(s *scene, ref *meta.BackRef) {
		if s.unprotected(&ref.Blob) && s.enough(s.parity) || len(s.lacks(&ref.Blob, 0)) > 0 {
			h.submit(job{slot: ref.Slot, id: ref.Blob.ID})
		}
	})
}

// everyBlob calls fn for every blob, with a scene that is a batch old at most. It
// holds no snapshot: what is written meanwhile may be passed over.
func (h *healer) everyBlob(fn func(*scene, *meta.BackRef)) error {
	var at meta.BlobCursor
	w := h.e.walkSince(h.e.now())
	batch := make([]meta.BackRef, 0, healBatch)
	for {
		if err := h.ctx.Err(); err != nil {
			return err
		}
		batch = batch[:0]
		err := h.yield.work(h.ctx, func() (err error) {
			batch, err = blobsBehind(h.e.store, at, batch)
			return err
		})
		if err != nil {
			return err
		}
		if len(batch) == 0 {
			return nil
		}
		s := h.scene()
		for i := range batch {
			fn(s, &batch[i])
		}
		if len(batch) < cap(batch) {
			return nil // what is behind now was written since
		}
		last := &batch[len(batch)-1]
		at = w.behind(meta.BlobCursor{Slot: last.Slot, Blob: last.Blob.ID})
	}
}

// blobsBehind appends the blobs behind at to batch, up to its capacity.
func blobsBehind(r meta.Reader, at meta.BlobCursor, batch []meta.BackRef) ([]meta.BackRef, error) {
	err := meta.BlobsAfter(r, at, func(ref meta.BackRef) error {
		batch = append(batch, ref)
		if len(batch) == cap(batch) {
			return errBatchFull
		}
		return nil
	})
	if err == errBatchFull {
		err = nil
	}
	return batch, err
}
