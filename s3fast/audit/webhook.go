package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

const (
	// queueBytes bounds the events in memory. Twice as much is in use while one
	// half is being written.
	queueBytes = 8 << 20
	// eagerBytes is how many bytes of events are written without waiting for more.
	eagerBytes = 256 << 10
	// alarmEvery limits the messages about a webhook that fails or drops.
	alarmEvery = time.Minute
	// closeGrace is how long Close lets the POST in flight go on.
	closeGrace = 2 * time.Second
)

// Options of Open.
type Options struct {
	Dir    string      // of the spool; made when absent
	Key    *seal.Key   // cluster key
	Info   func() Info // names the cluster and server; asked now and then
	Logger *slog.Logger
	Now    func() time.Time
	// Wait sleeps for d or until done; tests replace it. nil: a timer.
	Wait func(d time.Duration, done <-chan struct{})

	sync func(*os.File) error // makes a file durable; tests replace it. nil: fsync
}

// Webhook is the Sink that delivers to a webhook. It is safe for concurrent use.
//
// An event goes from the request into a queue in memory, from there, by the
// writer, into the spool, and from there, by the sender, to the endpoint; what
// the endpoint has acknowledged leaves the spool.
type Webhook struct {
	log  *slog.Logger
	now  func() time.Time
	wait func(d time.Duration, done <-chan struct{})
	info func() Info

	on    atomic.Bool // events are wanted
	env   atomic.Pointer[envelope]
	cfg   atomic.Pointer[Config]
	pool  sync.Pool // of *[]byte
	spool *spool

	mu    sync.Mutex
	queue queue // guarded by mu

	lost loss // the writer's: dropped and not yet told of in the spool

	some, eager chan struct{} // events in the queue; enough of them to write at once
	orders      chan order
	news        chan struct{} // durable events, or another configuration
	quit        chan struct{} // closed by Close: the writer's end
	stop        chan struct{} // closed by Close: the sender's end
	done        sync.WaitGroup
	sending     context.Context
	abort       context.CancelFunc
	closed      atomic.Bool

	stats counters
}

// order asks the writer to write now, and to drop all that waits if discard is set.
type order struct {
	done    chan struct{}
	discard bool
}

// queue holds encoded events, each with its length (4 bytes, little-endian)
// before it.
type queue struct {
	slab  []byte
	spare []byte
	count int
	since time.Time // of the first event
	lost  loss      // after the last event: once one is dropped, all are until the queue is emptied
}

// Open opens the spool and begins to work. Nothing is recorded or sent before
// Configure.
func Open(o Options) (*Webhook, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = sleep
	}
	if o.Info == nil {
		o.Info = func() Info { return Info{} }
	}
	if o.sync == nil {
		o.sync = (*os.File).Sync
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	s, err := openSpool(o.Dir, o.Key, o.Logger, o.Now, o.sync)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	w := &Webhook{
		log: o.Logger, now: o.Now, wait: o.Wait, info: o.Info, spool: s, lost: s.cursor.state.lost,
		some: make(chan struct{}, 1), eager: make(chan struct{}, 1), news: make(chan struct{}, 1),
		orders: make(chan order), quit: make(chan struct{}), stop: make(chan struct{}),
	}
	w.pool.New = func() any { return new([]byte) }
	w.env.Store(newEnvelope(o.Info()))
	w.cfg.Store(&Config{Batch: DefaultBatch()})
	w.sending, w.abort = context.WithCancel(context.Background())
	if w.lost.n > 0 {
		poke(w.some)
	}
	w.done.Go(w.writer)
	w.done.Go(w.sender)
	return w, nil
}

func sleep(d time.Duration, done <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-done:
	}
}

// poke leaves a message in a channel of one place.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Configure puts a configuration in force, at once and whole. What is in the
// spool stays: it goes to the new endpoint, or, when c is not enabled, waits for
// one. ErrConfig.
func (w *Webhook) Configure(c Config) error {
	if err := c.Check(); err != nil {
		return err
	}
	w.refreshInfo()
	w.cfg.Store(&c)
	w.on.Store(c.Enabled && !w.closed.Load())
	poke(w.some)
	poke(w.eager) // not only after the batch time that was in force
	poke(w.news)
	return nil
}

// Config is the configuration in force.
func (w *Webhook) Config() Config { return *w.cfg.Load() }

// Enabled implements Sink.
func (w *Webhook) Enabled() bool { return w.on.Load() }

// Record implements Sink: it encodes the event and leaves it in the queue. When
// the queue is full the event is dropped and counted.
func (w *Webhook) Record(e *Event) {
	if !w.on.Load() {
		return
	}
	buf := w.pool.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	b := append((*buf)[:0], 0, 0, 0, 0)
	b = w.env.Load().appendEvent(b, e)
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4)) // #nosec G115: at most maxEvent
	w.enqueue(b, e.Time)
	if cap(b) <= 64<<10 {
		*buf = b
		w.pool.Put(buf)
	}
}

func (w *Webhook) enqueue(b []byte, at time.Time) {
	w.mu.Lock()
	q := &w.queue
	if q.lost.n > 0 || len(q.slab)+len(b) > queueBytes {
		q.lost.add(1, at, at)
		w.mu.Unlock()
		w.stats.dropped.Add(1)
		return
	}
	first := len(q.slab) == 0
	if first {
		q.since = at
	}
	q.slab = append(q.slab, b...)
	q.count++
	eager := len(q.slab) >= eagerBytes
	w.mu.Unlock()
	w.stats.recorded.Add(1)
	if first {
		poke(w.some)
	}
	if eager {
		poke(w.eager)
	}
}

// writer moves events from the queue into the spool.
func (w *Webhook) writer() {
	for {
		var o order
		select {
		case <-w.some:
			o = w.gather()
		case o = <-w.orders:
		case <-w.quit:
			w.flush()
			return
		}
		w.flush()
		if o.discard {
			w.discard()
		}
		if o.done != nil {
			close(o.done)
		}
	}
}

// gather waits until there are events enough, or the first has waited enough.
func (w *Webhook) gather() (o order) {
	t := time.NewTimer(w.cfg.Load().Batch.Linger)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.eager:
	case o = <-w.orders:
	case <-w.quit:
	}
	return o
}

// Flush returns when what was recorded before is in the spool, or dropped, or
// ctx is done.
func (w *Webhook) Flush(ctx context.Context) error { return w.order(ctx, false) }

// Discard drops what waits in the queue and in the spool; the names in it are
// gone from the disk's files.
func (w *Webhook) Discard(ctx context.Context) error { return w.order(ctx, true) }

func (w *Webhook) order(ctx context.Context, discard bool) error {
	o := order{done: make(chan struct{}), discard: discard}
	select {
	case w.orders <- o:
	case <-w.quit:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-o.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// discard drops what is in the spool.
func (w *Webhook) discard() {
	ack, next, _ := w.spool.position()
	w.stats.discarded.Add(next - ack)
	if err := errors.Join(w.spool.acknowledge(next), w.spool.finish()); err != nil {
		w.alarm(&w.stats.saidDisk, "audit: the spool cannot be emptied", "err", err)
	}
	poke(w.news)
}

// flush writes all that is in the queue to the spool, and tells of what was lost.
func (w *Webhook) flush() {
	w.refreshInfo()
	w.mu.Lock()
	q := &w.queue
	slab, since, lost := q.slab, q.since, q.lost
	q.slab, q.spare, q.count, q.lost = q.spare[:0], nil, 0, loss{}
	w.mu.Unlock()
	for rest := slab; len(rest) > 0; {
		chunk, count := rest, uint64(0)
		for len(rest) > 0 && len(chunk)-len(rest) < chunkBytes {
			_, next, err := nextEvent(rest)
			if err != nil { // never: enqueue writes the lengths
				next = nil
			}
			rest = next
			count++
		}
		w.store(chunk[:len(chunk)-len(rest)], count, since)
	}
	w.lost.add(lost.n, lost.first, lost.last)
	if w.lost.n > 0 {
		w.store(nil, 0, since)
	}
	w.stats.untold.Store(w.lost.n)
	if err := w.spool.setLost(w.lost); err != nil {
		w.alarm(&w.stats.saidDisk, "audit: the spool's cursor cannot be written", "err", err)
	}
	w.mu.Lock()
	if cap(slab) <= 1<<20 || len(slab) > cap(slab)/4 { // one burst is no reason to keep megabytes
		w.queue.spare = slab[:0]
	}
	w.mu.Unlock()
	poke(w.news)
}

// store writes events to the spool, before them what was lost earlier; or counts
// them as lost.
func (w *Webhook) store(events []byte, count uint64, at time.Time) {
	limit := w.cfg.Load().Batch.Spool
	if w.lost.n > 0 {
		now := w.now()
		e := lostEvent(w.lost, now, "the spool or the queue was full")
		told := make([]byte, 4, 1<<10)
		told = w.env.Load().appendEvent(told, &e)
		binary.LittleEndian.PutUint32(told, uint32(len(told)-4)) // #nosec G115: at most maxEvent
		if w.put(append(told, events...), at, limit) {
			w.lost = loss{}
			return
		}
	} else if len(events) == 0 || w.put(events, at, limit) {
		return
	}
	if count > 0 {
		w.stats.dropped.Add(count)
		w.lost.add(count, at, w.now())
	}
	w.alarm(&w.stats.saidLost, "audit: events are being dropped", "dropped", w.stats.dropped.Load(), "spool_limit_bytes", limit)
}

// put writes to the spool and tells whether that worked.
func (w *Webhook) put(events []byte, at time.Time, limit int64) bool {
	err := w.spool.put(events, at, limit)
	if err != nil && !errors.Is(err, errFull) {
		w.alarm(&w.stats.saidDisk, "audit: the spool cannot be written", "err", err)
	}
	return err == nil
}

// lostEvent tells of events that nobody will see.
func lostEvent(l loss, now time.Time, why string) Event {
	return Event{Time: now, API: "audit:EventsLost", Tags: []Pair{
		{"lost", strconv.FormatUint(l.n, 10)}, {"from", l.first.UTC().Format(time.RFC3339Nano)},
		{"until", l.last.UTC().Format(time.RFC3339Nano)}, {"reason", why},
	}}
}

// refreshInfo takes over another name of the cluster.
func (w *Webhook) refreshInfo() {
	if info := w.info(); info != w.env.Load().info {
		w.env.Store(newEnvelope(info))
	}
}

// alarm logs an error, at most once in alarmEvery for each said.
func (w *Webhook) alarm(said *atomic.Int64, msg string, args ...any) {
	w.say(slog.LevelError, said, msg, args...)
}

// say logs, at most once in alarmEvery for each said: an endpoint that comes and
// goes must not fill the log.
func (w *Webhook) say(level slog.Level, said *atomic.Int64, msg string, args ...any) {
	now := w.now().UnixNano()
	last := said.Load()
	if (last == 0 || now-last >= int64(alarmEvery)) && said.CompareAndSwap(last, now) {
		w.log.Log(context.Background(), level, msg, args...)
	}
}

// Close takes no more events, writes what is in the queue to the spool, lets the
// POST in flight end, and closes the spool. What ctx does not leave time for is
// cut off; events in the spool are delivered after the next Open.
func (w *Webhook) Close(ctx context.Context) error {
	if w.closed.Swap(true) {
		return nil
	}
	w.on.Store(false)
	close(w.stop)
	close(w.quit)
	grace := time.AfterFunc(closeGrace, w.abort)
	defer grace.Stop()
	stopped := make(chan struct{})
	go func() {
		w.done.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		w.abort()
		select {
		case <-stopped:
		case <-time.After(time.Second):
			return fmt.Errorf("audit: events in memory could not be written in time: %w", ctx.Err())
		}
	}
	w.abort()
	return w.spool.close()
}
