package pebblemeta

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/mirrorfs"
)

// closePatience is how long Close waits for iterators and snapshots.
const closePatience = 10 * time.Second

// hungPatience is how long Close waits for drives.
const hungPatience = time.Minute

// Store is a meta.Store on Pebble.
type Store struct {
	db     *pebble.DB
	dir    string
	crypt  *cryptFS
	mirror *mirrorfs.FS // below crypt
	osFS   vfs.FS       // of copies without one of their own
	lock   *pebble.Lock // of dir, where there is a key; else Pebble has it
	log    *slog.Logger
	queue  chan *task
	syncs  chan *group

	markers markers // the committer's

	logSyncs *syncPool    // nil: the files are not the operating system's
	callers  atomic.Int64 // of Mutate, inside

	applied       atomic.Uint64         // durable
	readerOptions sstable.ReaderOptions // of tables

	suspectsMu sync.Mutex
	suspects   map[string]time.Time // files that Pebble found damaged, and when

	stalls   atomic.Uint64
	commands atomic.Uint64
	failed   atomic.Uint64
	fatal    atomic.Bool // a goroutine of Pebble is parked; Pebble cannot be closed
	running  atomic.Bool // Pebble is open, and not being closed

	dead     chan struct{} // closed by the first die
	deadOnce sync.Once
	deadErr  error // set before dead closes

	stop    chan struct{} // closed by Close: the committer drains and ends
	stopped chan struct{} // closed when the syncer has ended

	users atomic.Int64  // readers inside, plus shut once the store is closed
	idle  chan struct{} // closed when it is closed and nobody is inside
	empty sync.Once     // closes idle
}

// shut is the bit of Store.users that refuses readers.
const shut = 1 << 62

var _ meta.Store = (*Store)(nil)

// Open opens or creates the store in dir. meta.ErrNewer: it was written by a
// later release. ErrEncrypted, ErrWrongKey: see Options.Key.
func Open(dir string, opts Options) (*Store, error) {
	s := newStore(dir, opts.Logger)
	po := s.pebbleOptions(opts)
	err := s.prepare(po, len(opts.Copies) > 0)
	if err == nil {
		err = protect(func() (err error) {
			s.db, err = pebble.Open(dir, po)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("metadata: open %s: %w", dir, errors.Join(err, s.release()))
	}
	v, ok, err := s.read(s.db, meta.AppliedKey())
	if err == nil && ok && len(v) != 8 {
		err = fmt.Errorf("%w: applied index", meta.ErrBadRecord)
	}
	if err != nil {
		return nil, errors.Join(err, s.db.Close(), s.release())
	}
	if ok {
		s.applied.Store(binary.BigEndian.Uint64(v))
	}
	s.running.Store(true)
	go s.commitLoop(s.applied.Load())
	go s.syncLoop()
	return s, nil
}

func newStore(dir string, log *slog.Logger) *Store {
	s := &Store{
		dir:     dir,
		log:     log,
		queue:   make(chan *task, queueLen),
		syncs:   make(chan *group, pipelineLen),
		dead:    make(chan struct{}),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
		idle:    make(chan struct{}),

		suspects: map[string]time.Time{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// prepare makes the copies equal, checks that every file can be read and, with a key,
// encrypts those that are plain: it completes an Encrypt that was cut short.
func (s *Store) prepare(po *pebble.Options, copies bool) (err error) {
	encrypted := s.crypt.key.Load() != nil
	if !encrypted && !copies {
		return s.crypt.check(s.dir)
	}
	if err := s.crypt.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if s.lock, err = pebble.LockDirectory(s.dir, s.crypt); err != nil {
		return err
	}
	po.Lock = s.lock
	if err := s.mirror.Equalize(context.Background(), s.better); err != nil {
		return err
	}
	if encrypted && copies {
		if err := s.checkHeaders(); err != nil {
			return err
		}
	}
	if err := s.crypt.check(s.dir); err != nil || !encrypted {
		return err
	}
	return s.crypt.convertAll(context.Background(), s.dir)
}

// release gives back what is not Pebble's own.
func (s *Store) release() error {
	err := errors.Join(s.crypt.close(), s.mirror.Close())
	if s.logSyncs != nil {
		s.logSyncs.close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// die takes the store out of service for good.
func (s *Store) die(err error) {
	s.deadOnce.Do(func() {
		s.deadErr = err
		close(s.dead)
		s.log.Error("metadata: store out of service", "err", err)
	})
}

// Err implements meta.Store.
func (s *Store) Err() error {
	select {
	case <-s.dead:
		return s.deadErr
	default:
		return nil
	}
}

// enter registers a reader; false once the store is closed.
func (s *Store) enter() bool {
	if s.users.Add(1)&shut != 0 {
		s.leave()
		return false
	}
	return true
}

func (s *Store) leave() {
	if s.users.Add(-1) == shut {
		s.empty.Do(func() { close(s.idle) })
	}
}

// Get implements meta.Reader.
func (s *Store) Get(key []byte) ([]byte, bool, error) {
	if !s.enter() {
		return nil, false, meta.ErrClosed
	}
	defer s.leave()
	return s.read(s.db, key)
}

// Iter implements meta.Reader.
func (s *Store) Iter(lo, hi []byte) meta.Iterator {
	if !s.enter() {
		return &iter{err: meta.ErrClosed}
	}
	return s.newIter(s.db, lo, hi, s.leave)
}

// guarded runs fn, which takes Pebble's big lock. A fatal error parks a goroutine
// with that lock held (see Fatalf): then guarded gives up, and fn stays behind.
func guarded[T any](s *Store, fn func() T) (v T, ok bool) {
	if s.fatal.Load() {
		return v, false
	}
	done := make(chan T, 1)
	go func() { done <- fn() }()
	select {
	case v = <-done:
		return v, true
	case <-s.dead:
	}
	select {
	case v = <-done:
		return v, true
	case <-time.After(parkedPatience):
		s.fatal.Store(true) // as good as parked: Pebble must not be closed under fn
		return v, false
	}
}

// Snapshot implements meta.Store. After Close, and after a fatal error of
// Pebble, its reads fail with ErrClosed.
func (s *Store) Snapshot() meta.Snapshot {
	if !s.enter() {
		return &snapshot{}
	}
	snap, ok := guarded(s, s.db.NewSnapshot)
	if !ok {
		s.leave()
		return &snapshot{}
	}
	return &snapshot{s: s, snap: snap}
}

// pebbleMetrics returns nil where Pebble cannot tell.
func (s *Store) pebbleMetrics() *pebble.Metrics {
	if !s.enter() {
		return nil
	}
	defer s.leave()
	m, _ := guarded(s, s.db.Metrics)
	return m
}

// Applied implements meta.Store: durable batches only.
func (s *Store) Applied() uint64 { return s.applied.Load() }

// DiskUsage implements meta.Store: bytes of tables, blob files and logs; 0 after
// Close and after a fatal error of Pebble.
func (s *Store) DiskUsage() int64 {
	m := s.pebbleMetrics()
	if m == nil {
		return 0
	}
	return int64(m.DiskSpaceUsage())
}

// Metrics implements meta.Store. What Pebble counts is left out after Close and
// after a fatal error.
func (s *Store) Metrics() map[string]float64 {
	out := map[string]float64{
		"batches_total":         float64(s.applied.Load()),
		"commands_total":        float64(s.commands.Load()),
		"commands_failed_total": float64(s.failed.Load()),
		"write_stalls_total":    float64(s.stalls.Load()),
		"queue_length":          float64(len(s.queue)),
		"out_of_service":        boolMetric(s.Err() != nil),
	}
	maps.Copy(out, countsOf(s.mirror.Counts()))
	if m := s.pebbleMetrics(); m != nil {
		maps.Copy(out, countersOf(m))
	}
	return out
}

func countersOf(m *pebble.Metrics) map[string]float64 {
	total := m.Total()
	return map[string]float64{
		"disk_bytes":              float64(m.DiskSpaceUsage()),
		"wal_bytes":               float64(m.WAL.Size),
		"wal_written_bytes_total": float64(m.WAL.BytesWritten),
		"memtable_bytes":          float64(m.MemTable.Size),
		"cache_bytes":             float64(m.BlockCache.Size),
		"cache_hits_total":        float64(m.BlockCache.Hits),
		"cache_misses_total":      float64(m.BlockCache.Misses),
		"compactions_total":       float64(m.Compact.Count),
		"compaction_debt_bytes":   float64(m.Compact.EstimatedDebt),
		"flushes_total":           float64(m.Flush.Count),
		"read_amplification":      float64(m.ReadAmp()),
		"l0_files":                float64(m.Levels[0].TablesCount),
		"write_amplification":     total.WriteAmp(),
		"table_iterators":         float64(m.TableIters),
		"snapshots":               float64(m.Snapshots.Count),
		"separated_live_bytes":    float64(m.BlobFiles.ReferencedValueSize),
		"separated_total_bytes":   float64(m.BlobFiles.ValueSize),
		"separated_files":         float64(m.BlobFiles.LiveCount),
	}
}

func countsOf(c mirrorfs.Counts) map[string]float64 {
	return map[string]float64{
		"copies":                     float64(c.InService),
		"copies_ejected_total":       float64(c.Ejected),
		"copies_reads_retried_total": float64(c.Switched),
		"copies_files_healed_total":  float64(c.Healed),
		"copies_files_damaged":       float64(c.Damaged),
	}
}

func boolMetric(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Close answers what is queued, waits for the readers inside, at most 10 s, and
// closes Pebble. It is safe to call again. Where no drive answers it gives up after a
// minute: what was acknowledged is durable.
func (s *Store) Close() error {
	switch old := s.users.Or(shut); {
	case old&shut != 0:
		return nil
	case old == 0:
		s.empty.Do(func() { close(s.idle) })
	}
	done := make(chan error, 1)
	go func() { done <- s.closeNow() }()
	timer := time.NewTimer(hungPatience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("metadata: closing %s: %w", s.dir, mirrorfs.ErrHung)
	}
}

func (s *Store) closeNow() error {
	close(s.stop)
	select {
	case <-s.stopped:
	case <-s.dead:
		// The loops may be parked inside Pebble; without that they end by themselves.
		patience := closePatience
		if s.fatal.Load() {
			patience = parkedPatience
		}
		select {
		case <-s.stopped:
		case <-time.After(patience):
			return s.deadErr
		}
	}
	if s.fatal.Load() {
		<-s.dead // whoever found it fatal says so in a moment
		return s.deadErr
	}
	select {
	case <-s.idle:
	case <-time.After(closePatience):
		return errors.New("metadata: closed with readers inside; pebble left open")
	}
	s.running.Store(false)
	// A fatal error may park one of Pebble's goroutines while Pebble closes.
	err, ok := guarded(s, func() error { return protect(s.db.Close) })
	if !ok {
		<-s.dead
		return s.deadErr
	}
	return errors.Join(s.Err(), err, s.release())
}

// Mutate implements meta.Store.
func (s *Store) Mutate(ctx context.Context, _ meta.Slot, cmd meta.Command) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.dead:
		return meta.ErrClosed
	case <-s.stop:
		return meta.ErrClosed
	default:
	}
	s.callers.Add(1)
	defer s.callers.Add(-1)
	t := &task{cmd: cmd, begun: make(chan struct{}), done: make(chan error, 1)}
	select {
	case s.queue <- t:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.dead:
		return meta.ErrClosed
	case <-s.stop:
		return meta.ErrClosed
	}
	return s.await(ctx, t)
}
