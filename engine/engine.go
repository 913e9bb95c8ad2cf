package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
)

// Limits of S3 (Amazon S3 User Guide, "Multipart upload limits", "Creating
// object key names").
const (
	MaxKeyBytes   = 1024
	MaxObjectSize = 5 << 40
	MaxPutSize    = 5 << 30 // one PutObject or UploadPart
	MaxParts      = 10000
	MinPartSize   = 5 << 20
)

// Defaults of Config.
const (
	// DefaultInlineMax was chosen by measurement: see ARCHITECTURE.md.
	DefaultInlineMax    = 16 << 10
	DefaultGrace        = 5 * time.Second
	DefaultWriteBuffers = 32 << 20
)

// Config of Open. The engine owns Drives and Store from then on.
type Config struct {
	Drives []*drive.Drive
	// Expected names the drives that belong to the cluster, whether or not they are
	// among Drives: those that are not are absent. See AttachDrive.
	Expected []layout.DriveID
	Store    meta.Store
	// InlineMax is the largest payload, in bytes, kept with the metadata.
	// 0: DefaultInlineMax. Range 1…1 MiB.
	InlineMax int64
	// WriteBuffers is the most bytes of the drives' arena that writes hold at a
	// time; more writes wait. Give it half the arena: copies need the rest to
	// make progress. 0: DefaultWriteBuffers; at least ioring.LargeBuffer.
	WriteBuffers int64
	// ReadCache is the memory, in bytes, for the content of small blobs that are read
	// often; readers in flight may hold as much again. 0: none is kept.
	ReadCache int64
	// Grace is how long the data of replaced and deleted objects is kept at
	// least; readers in flight hold theirs longer. 0: 5 s.
	Grace time.Duration
	// Parity is how many drives may fail at a time without loss of what is written
	// from now on; see AutoParity. 0: ParityDefault.
	Parity int
	// MetaFree returns the bytes left to the metadata store, which must not
	// run full: below MetaReserve, writes answer NoSpace. nil: unlimited.
	MetaFree    func() (int64, error)
	MetaReserve int64
	Timing      Timing
	Now         func() time.Time // nil: time.Now
	Logger      *slog.Logger
}

// complete fills in the defaults and checks the ranges.
func (c *Config) complete() error {
	if c.InlineMax == 0 {
		c.InlineMax = DefaultInlineMax
	}
	if c.InlineMax < 1 || c.InlineMax > heapBuf {
		return fmt.Errorf("InlineMax is %d; it must be 1…%d", c.InlineMax, heapBuf)
	}
	if c.WriteBuffers == 0 {
		c.WriteBuffers = DefaultWriteBuffers
	}
	c.WriteBuffers = max(c.WriteBuffers, ioring.LargeBuffer)
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.Grace < 0 {
		return fmt.Errorf("Grace is %s", c.Grace)
	}
	c.Timing.complete(c.Grace)
	if c.Parity < ParityNone || c.Parity > layout.MaxParity {
		return fmt.Errorf("Parity is %d; it must be %d…%d", c.Parity, ParityNone, layout.MaxParity)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Store == nil {
		return errors.New("no store")
	}
	return nil
}

// Engine is an open object store. Its methods are safe for concurrent use.
type Engine struct {
	cfg     Config
	store   meta.Store
	log     *slog.Logger
	minPart int64 // MinPartSize, but for tests

	drives    *driveSet
	joining   sync.Mutex   // held while a drive is attached or forgotten
	names     epochs       // commits under way that name places on drives; see attach.go
	parity    atomic.Int32 // Config.Parity, or what SetParity said
	buckets   bucketCache
	epochs    epochs
	pins      pins
	gate      *gate
	commits   deadline
	payloads  *heap // inline payloads on their way in
	frames    *heap // frames of objects being copied
	heads     sync.Pool
	writers   *writers
	reads     *reads
	hot       *hotCache // nil: there is none
	metaSpace metaSpace
	purger    *purger
	heal      *healer
	scrub     *scrubber
	monitor   *monitor
	recovered recovery

	closing sync.Once
	closed  error
}

// Open claims the extents that the metadata names on the drives, and starts
// the purger. A blob that names an absent drive does not fail Open: reads of it
// answer Unavailable. Two blobs that claim the same bytes do, and so does one
// that lies outside its drive: something has gone wrong that more writes would
// make worse. When Open fails, Drives and Store remain the caller's.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	if err := cfg.complete(); err != nil {
		return nil, wrap("open", err)
	}
	drives, err := newDriveSet(cfg.Drives, cfg.Expected, cfg.Now())
	if err != nil {
		return nil, wrap("open", err)
	}
	e := &Engine{
		cfg: cfg, store: cfg.Store, log: cfg.Logger, minPart: MinPartSize,
		drives: drives, gate: newGate(), payloads: newHeap(), frames: newHeap(),
		writers:   newWriters(cfg.WriteBuffers),
		reads:     newReads(),
		hot:       newHot(cfg.ReadCache),
		metaSpace: metaSpace{free: cfg.MetaFree, reserve: cfg.MetaReserve},
	}
	e.SetParity(cfg.Parity)
	e.purger = newPurger(e)
	e.heal = newHealer(e)
	e.scrub = newScrubber(e)
	e.monitor = newMonitor(e)
	if err := e.recover(ctx); err != nil {
		return nil, wrap("open", err)
	}
	if err := e.scrub.load(); err != nil {
		return nil, wrap("open", err)
	}
	go e.purger.run()
	go e.heal.run()
	go e.scrub.run()
	go e.monitor.run()
	return e, nil
}

// Close refuses new work, waits for work in flight until ctx is done, and
// closes store and drives. Objects that are open count as work in flight. When
// ctx ends first, nothing is closed, for that would pull the memory from under
// transfers; the process may exit, which is as safe as a crash, or Close again.
func (e *Engine) Close(ctx context.Context) error {
	if err := e.gate.close(ctx); err != nil {
		return wrap("close", err)
	}
	for _, part := range []interface{ close(context.Context) error }{e.monitor, e.scrub, e.heal, e.purger} {
		if err := part.close(ctx); err != nil {
			return wrap("close", err)
		}
	}
	e.closing.Do(func() {
		e.closed = wrap("close", errors.Join(e.store.Close(), e.closeDrives(ctx)))
	})
	return e.closed
}

// Err returns why no write can succeed any more, or nil: the metadata store is out
// of service, or more drives than a write can do without, or the engine is closing.
// It is cheap enough for a health check, and does not wait for anything.
func (e *Engine) Err() error {
	if e.gate.shut() {
		return wrap("health", fail(Unavailable, errClosing))
	}
	if err := e.storeErr(); err != nil {
		return wrap("health", err)
	}
	cause := errNoDrives
	need := 1
	if e.clusterParity() >= 2 {
		need = 2 // the write quorum
	}
	for _, m := range e.drives.now().all {
		if m.writable() {
			if need--; need == 0 {
				return nil
			}
			continue
		}
		if err := m.why(); err != nil {
			cause = err
		} else if m.d != nil && m.d.Err() != nil {
			cause = m.d.Err()
		}
	}
	return wrap("health", fail(Unavailable, cause))
}

// storeErr returns an error of kind Unavailable when the metadata store is out
// of service.
func (e *Engine) storeErr() error {
	if err := e.store.Err(); err != nil {
		return fail(Unavailable, fmt.Errorf("%w: %w", errStore, err))
	}
	return nil
}

func (e *Engine) now() time.Time { return e.cfg.Now() }

// due returns when data replaced at now may be purged.
func (e *Engine) due(now time.Time) int64 { return now.Add(e.cfg.Grace).UnixNano() }
