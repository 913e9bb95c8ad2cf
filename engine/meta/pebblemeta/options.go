package pebblemeta

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta/pebblemeta/mirrorfs"
)

const (
	defaultCache = 8 << 20
	memTable     = 16 << 20
	// memTables is the number of memtables from which writes wait.
	memTables = 4
	// minSeparated is the size from which a value goes to a blob file. Heads and
	// back-references stay below it, most inline payloads are above.
	minSeparated = 1 << 10
	// bloomBits per key make about 1 % false positives.
	bloomBits = 10
)

// Options of Open.
type Options struct {
	FS        vfs.FS // nil: the operating system's
	CacheSize int64  // block cache, bytes; 0: 8 MiB
	Logger    *slog.Logger
	// Key encrypts everything in the store's files, plain ones that are there
	// included; nil: the store is plain. See crypt_header.go.
	Key *[32]byte
	// Copies are further directories that hold the same as the store's own, or are
	// made to when the store opens; every write goes to all of them, and is durable in
	// all of them before it is acknowledged.
	Copies []Copy
	// Eject is called when a copy, dir, failed or hangs, with writes held back: nothing
	// more is acknowledged until it has recorded durably that the copy is stale. Its
	// error takes the store out of service. nil: nothing is recorded.
	Eject func(ctx context.Context, dir string, cause error) error
	// Patience is how long a write or sync of one of several copies, or a read, may
	// take before that copy is given up. 0: 10 s.
	Patience time.Duration
}

// pebbleOptions also sets s.crypt.
func (s *Store) pebbleOptions(o Options) *pebble.Options {
	po := &pebble.Options{
		FS:        o.FS,
		CacheSize: o.CacheSize,
		Logger:    pebbleLogger{s},
		Merger:    counterMerger(),
		// The oldest version with value separation is also the newest there is.
		FormatMajorVersion:          pebble.FormatValueSeparation,
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: memTables,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               64 << 20,
		MaxOpenFiles:                1000,
		BytesPerSync:                512 << 10,
		WALBytesPerSync:             0, // every batch is synced
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { s.log.Error("metadata: background error", "err", err) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				s.log.Error("metadata: corruption", "what", fmt.Sprint(info))
				s.suspect(info.Path, info.Details)
			},
			DiskSlow: func(info pebble.DiskSlowInfo) {
				s.log.Warn("metadata: slow disk", "what", fmt.Sprint(info))
			},
			WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
				s.stalls.Add(1)
				s.log.Warn("metadata: write stall", "reason", info.Reason)
			},
		},
	}
	if po.FS == nil {
		several := runtime.GOMAXPROCS(0) > 1
		logs := newLogFS(vfs.Default, func() bool { return !several || s.callers.Load() > 1 })
		s.logSyncs, po.FS = logs.pool, logs
		po.WithFSDefaults() // measures how long the disk takes, for DiskSlow
	}
	var key *storeKey
	if o.Key != nil {
		key = newStoreKey(o.Key)
	}
	s.layers(o, po.FS, key)
	po.FS = guardFS{s.crypt, s}
	if po.CacheSize == 0 {
		po.CacheSize = defaultCache
	}
	// Pebble takes the memtables out of the cache's size. Without a share for the
	// two that are in use most of the time, a busy store is left without a block
	// cache and decompresses its index blocks again and again. Measured, 4 KiB
	// objects, 64 clients, CPU per PUT and per GET, and memory resident after it:
	// cache 8 MiB and two memtables: 97 µs, 51 µs, 89 MiB; cache 32 MiB and two:
	// 94 µs, 48 µs, 134 MiB; cache 32 MiB and four: 118 µs, 46 µs, 157 MiB.
	po.CacheSize += 2 * memTable
	for i := range po.Levels {
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
		po.Levels[i].BlockSize = 16 << 10
		po.Levels[i].IndexBlockSize = 128 << 10
	}
	po.TargetFileSizes[0] = 4 << 20
	po.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
		return pebble.ValueSeparationPolicy{
			Enabled:               true,
			MinimumSize:           minSeparated,
			MaxBlobReferenceDepth: 10,
			RewriteMinimumAge:     5 * time.Minute,
			TargetGarbageRatio:    0.2,
		}
	}
	s.readerOptions = po.MakeReaderOptions()
	return po
}

// layers sets the file systems between Pebble and the drives, of which inner is the
// own directory's.
func (s *Store) layers(o Options, inner vfs.FS, key *storeKey) {
	s.osFS = inner
	if o.FS != nil {
		s.osFS = vfs.Default
	}
	copies := []mirrorfs.Copy{{Dir: s.dir, FS: inner, NoWait: o.FS == nil}}
	for _, c := range o.Copies {
		copies = append(copies, s.mirrorCopy(c))
	}
	s.mirror = mirrorfs.New(copies, mirrorfs.Options{
		Eject: o.Eject, Patience: o.Patience, Logger: s.log, Check: s.verify,
	})
	s.crypt = newCryptFS(s.mirror, key)
}

// counterMerger sums counters: 8 bytes, big-endian, two's complement. Its name
// is part of the disk format.
func counterMerger() *pebble.Merger {
	return &pebble.Merger{
		Name: "sluice.counter.1",
		Merge: func(_, value []byte) (pebble.ValueMerger, error) {
			m := new(counterSum)
			return m, m.add(value)
		},
	}
}

type counterSum struct{ sum uint64 }

func (m *counterSum) add(v []byte) error {
	if len(v) != 8 {
		return fmt.Errorf("metadata: counter of %d bytes", len(v))
	}
	m.sum += binary.BigEndian.Uint64(v)
	return nil
}

func (m *counterSum) MergeNewer(v []byte) error { return m.add(v) }
func (m *counterSum) MergeOlder(v []byte) error { return m.add(v) }

func (m *counterSum) Finish(bool) ([]byte, io.Closer, error) {
	return binary.BigEndian.AppendUint64(nil, m.sum), nil, nil
}

// pebbleLogger passes Pebble's messages on.
type pebbleLogger struct{ s *Store }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.s.log.Debug(fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.s.log.Error(fmt.Sprintf(format, args...))
}

// Fatalf must not return: Pebble's state is undefined behind it. Instead of
// ending the process it takes the store out of service, which wakes every
// caller, and parks the goroutine for good. Reads that need nothing of the
// parked goroutine go on.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.s.fatal.Store(true)
	l.s.die(fmt.Errorf(format, args...))
	select {}
}
