package pebblemeta

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/mirrorfs"
)

// Copy is a directory that holds a copy of the store. Its parent must exist.
//
// A copy holds Pebble's files, and those that others keep beside the store, by any
// name but COPY, LOCK and names that begin with a dot: AddCopy, and Open, give them to
// every copy that lacks them. Who changes such a file in a store in service (package
// keyring: ENCRYPTION) writes it in the directory of every copy that Copies returns,
// those that are Filling included, in the order returned. COPY is each copy's own
// (package metahome) and is never copied; AddCopy removes it first of all.
type Copy struct {
	Dir string
	FS  vfs.FS // nil: the operating system's
}

// CopyStatus describes one copy.
type CopyStatus struct {
	Dir     string
	Primary bool   // reads go to it first
	Filling bool   // it is being made
	Bytes   int64  // of its files, of which, while Filling,
	Done    int64  // these are there
	Faults  uint64 // reads of it that failed or did not verify
}

func (s *Store) mirrorCopy(c Copy) mirrorfs.Copy {
	if c.FS == nil {
		return mirrorfs.Copy{Dir: c.Dir, FS: s.osFS, NoWait: true}
	}
	return mirrorfs.Copy{Dir: c.Dir, FS: c.FS}
}

// AddCopy makes one more copy while the store is in service. What the directory
// held is removed. It returns once the copy is whole and takes part in every write;
// promote, if not nil, is called just before that, with writes held back: it records
// durably that the copy may be believed, and its error ends the attempt; Options.Eject
// is called then, as it may be recorded all the same.
func (s *Store) AddCopy(ctx context.Context, c Copy, promote func(ctx context.Context) error) error {
	if !s.enter() {
		return meta.ErrClosed
	}
	defer s.leave()
	return s.mirror.Join(ctx, s.mirrorCopy(c), promote)
}

// RemoveCopy ends a copy, as an administrator wants it: Options.Eject is called as
// for a failure. The last copy cannot be removed.
func (s *Store) RemoveCopy(ctx context.Context, dir string) error {
	if err := s.mirror.RemoveCopy(dir); err != nil {
		return fmt.Errorf("metadata: copy %s: %w", dir, err)
	}
	return nil
}

// Copies returns the copies in service, the one that reads ask first before the
// others, and the one being filled.
func (s *Store) Copies() []CopyStatus {
	bytes := s.DiskUsage()
	var out []CopyStatus
	for _, c := range s.mirror.Status() {
		st := CopyStatus{Dir: c.Dir, Primary: c.Primary, Filling: c.Filling, Bytes: bytes, Done: bytes, Faults: c.Faults}
		if c.Filling {
			st.Bytes, st.Done = max(bytes, c.Bytes), c.Done
		}
		out = append(out, st)
	}
	return out
}
