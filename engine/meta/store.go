package meta

import (
	"context"
	"errors"
)

// Errors that commands and stores return; test with errors.Is.
var (
	ErrNoBucket       = errors.New("meta: no such bucket")
	ErrBucketExists   = errors.New("meta: bucket exists")
	ErrBucketNotEmpty = errors.New("meta: bucket not empty")
	ErrNoObject       = errors.New("meta: no such object")
	ErrNoUpload       = errors.New("meta: no such upload")
	ErrNoDoc          = errors.New("meta: no such document")
	ErrInvalidPart    = errors.New("meta: part missing or ETag differs")
	ErrPartOrder      = errors.New("meta: parts not in ascending order")
	ErrPartTooSmall   = errors.New("meta: part below the minimum size")
	ErrPrecondition   = errors.New("meta: precondition failed")
	ErrConflict       = errors.New("meta: concurrent change")
	// ErrUnknownOutcome: the command may or may not have been applied. The
	// caller must not drop the blobs it names.
	ErrUnknownOutcome = errors.New("meta: outcome unknown")
	ErrNewer          = errors.New("meta: record format is newer")
	ErrBadRecord      = errors.New("meta: record does not decode")
	ErrClosed         = errors.New("meta: store closed")
	// ErrInvalid: a command or request is outside the limits of its fields.
	ErrInvalid = errors.New("meta: invalid argument")
)

// Slot is the first two bytes of every key. Slot 0 is the cluster's own; a
// bucket's keys live in the slots its record names.
type Slot uint16

// Tx is what a command sees: the state before it plus nothing of its own
// writes (reads come first, writes after).
type Tx interface {
	Reader
	// Put sets key to value. The Tx keeps both slices: they must not change
	// until the command has been applied.
	Put(key, value []byte)
	// PutParts sets key to head and tail, one behind the other, and keeps them as Put
	// does: a large tail need not be copied first.
	PutParts(key, head, tail []byte)
	Delete(key []byte)
	// AddCounter adds delta to the signed 64-bit counter at key, which Get
	// returns as 8 bytes, big-endian, two's complement. It wraps.
	AddCounter(key []byte, delta int64)
}

// Reader reads a consistent state.
type Reader interface {
	// Get returns a copy of the value at key, and whether there is one.
	Get(key []byte) (value []byte, ok bool, err error)
	// Iter iterates over [lo, hi) in byte order; hi nil: to the last key.
	Iter(lo, hi []byte) Iterator
}

// Iterator walks keys in order. It starts before the first key. Key and Value
// are valid until the next move.
type Iterator interface {
	Next() bool
	// SeekGE moves to the first key ≥ key, which must be ≥ the present one.
	SeekGE(key []byte) bool
	Key() []byte
	Value() ([]byte, error)
	Err() error
	Close() error
}

// Command is one mutation. Apply may be called again after a failure.
type Command interface {
	Apply(tx Tx) error
}

// Snapshot is a Reader of one moment. Close it.
type Snapshot interface {
	Reader
	Close() error
}

// Store keeps the metadata. Its methods are safe for concurrent use.
type Store interface {
	Reader
	// Mutate applies cmd and returns once its effects are durable, or its error.
	// Commands are applied one at a time; durable commits are grouped. Reads may
	// see a command's effects a moment before they are durable. When ctx ends
	// before the command was begun, Mutate returns ctx's error and nothing
	// happens; when it ends later, ErrUnknownOutcome. Once Mutate has returned,
	// nothing of cmd is read or written any more.
	Mutate(ctx context.Context, slot Slot, cmd Command) error
	Snapshot() Snapshot
	// Err returns what took the store out of service for good, or nil. From then
	// on Mutate returns ErrClosed; reads go on as far as the store is able to.
	Err() error
	// Applied is the number of command batches applied in the store's life.
	Applied() uint64
	// DiskUsage is the bytes the store occupies.
	DiskUsage() int64
	// Metrics are counters by name, for the metrics page.
	Metrics() map[string]float64
	Close() error
}
