package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/meta"
)

const (
	// floorMost is the largest floor, in bytes.
	floorMost = 16 << 20
	// floorAge is how long an answer of the file system is believed.
	floorAge = 20 * time.Millisecond
)

// floorStore refuses every command, deletes included, while the store's file
// system has less than floor bytes left. The engine's own reserve stops writes
// long before and lets deletes through; only somebody else's files can take
// what remains. A store that fails to write its log is out of service for good,
// so the last bytes are better left unused until there is room again.
type floorStore struct {
	meta.Store
	free  func() (int64, error)
	floor int64

	mu   sync.Mutex
	at   time.Time
	full error
}

// Mutate implements meta.Store. The refusal is drive.ErrNoSpace.
func (s *floorStore) Mutate(ctx context.Context, slot meta.Slot, cmd meta.Command) error {
	if err := s.check(); err != nil {
		return err
	}
	return s.Store.Mutate(ctx, slot, cmd)
}

func (s *floorStore) check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.at) < floorAge {
		return s.full
	}
	s.at, s.full = time.Now(), nil
	// An error is not for want of space: the store will find out by itself.
	if left, err := s.free(); err == nil && left < s.floor {
		s.full = fmt.Errorf("%w: the metadata's file system has %d bytes left", drive.ErrNoSpace, left)
	}
	return s.full
}
