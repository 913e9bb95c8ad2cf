package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// recovery is what Open found.
type recovery struct {
	Blobs, Bytes int64 // claimed; payload bytes
	Absent       int64 // blobs on drives that are absent
}

// recover claims on the drives what the metadata names. Everything else on them
// is free: what an interrupted write left, or a purge did not get to free.
func (e *Engine) recover(ctx context.Context) error {
	begun := time.Now()
	var r recovery
	err := meta.Blobs(e.store, func(ref meta.BackRef) error {
		if r.Blobs&0xFFF == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		return e.claim(&ref, &r)
	})
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	e.recovered = r
	e.log.Info("drives recovered", "blobs", r.Blobs, "bytes", r.Bytes, "absent", r.Absent, "took", time.Since(begun))
	if r.Absent > 0 {
		e.log.Warn("blobs on absent drives cannot be read", "blobs", r.Absent)
	}
	return nil
}

// claim claims the extents of one blob.
func (e *Engine) claim(ref *meta.BackRef, r *recovery) error {
	b := &ref.Blob
	if b.Kind != layout.KindSingle || len(b.Fragments) != 1 {
		return fmt.Errorf("%w: %s", errPlacement, name(ref))
	}
	for i := range b.Fragments {
		f := &b.Fragments[i]
		var have int64
		for _, x := range f.Extents {
			have += x.Len
		}
		if need := drive.DiskSize(b.Size); have < need {
			return fmt.Errorf("%w: %s has %d bytes on drive %s and takes %d", drive.ErrCorrupt, name(ref), have, f.Drive, need)
		}
		d := e.drives.byID[f.Drive]
		if d == nil {
			r.Absent++
			continue
		}
		if err := d.Claim(f.Extents); err != nil {
			if errors.Is(err, drive.ErrOverlap) {
				return fmt.Errorf("%s and %s: %w", name(ref), e.rival(ref, f), err)
			}
			return fmt.Errorf("%s: %w", name(ref), err)
		}
		r.Blobs++
		r.Bytes += b.Size
	}
	return nil
}

// name describes a blob for people.
func name(ref *meta.BackRef) string {
	return fmt.Sprintf("blob %s of bucket %d, key %q", ref.Blob.ID, ref.Bucket, ref.Key)
}

// rival finds the blob that claims what f, of ref, claims too.
func (e *Engine) rival(ref *meta.BackRef, f *layout.Fragment) string {
	found := "a blob that cannot be found"
	stop := errors.New("found")
	err := meta.Blobs(e.store, func(other meta.BackRef) error {
		if other.Blob.ID == ref.Blob.ID && other.Slot == ref.Slot {
			return nil
		}
		for i := range other.Blob.Fragments {
			if o := &other.Blob.Fragments[i]; o.Drive == f.Drive && overlap(o.Extents, f.Extents) {
				found = name(&other)
				return stop
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, stop) {
		return fmt.Sprintf("%s (%v)", found, err)
	}
	return found
}

func overlap(a, b []layout.Extent) bool {
	for _, x := range a {
		for _, y := range b {
			if x.Off < y.Off+y.Len && y.Off < x.Off+x.Len {
				return true
			}
		}
	}
	return false
}
