package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// deepBatch is the number of blobs read from the metadata at a time.
const deepBatch = 256

// deep reads every fragment and verifies it.
func (c *check) deep(ctx context.Context) error {
	if !c.o.Deep {
		return nil
	}
	var at meta.BlobCursor
	batch := make([]meta.BackRef, 0, deepBatch)
	for {
		batch = batch[:0]
		err := meta.BackRefs(c.e.store, at, func(ref meta.BackRef, bad error) error {
			at = meta.BlobCursor{Slot: ref.Slot, Blob: ref.Blob.ID}
			if bad == nil {
				batch = append(batch, ref)
			}
			if len(batch) == cap(batch) {
				return errBatchFull
			}
			return nil
		})
		if err != nil && !errors.Is(err, errBatchFull) {
			return err
		}
		for i := range batch {
			if err := c.deepBlob(ctx, &batch[i]); err != nil {
				return err
			}
		}
		if err == nil {
			return nil // the last batch
		}
	}
}

// deepBlob verifies the fragments of a blob that are there.
func (c *check) deepBlob(ctx context.Context, ref *meta.BackRef) error {
	if ref.Blob.Kind == layout.KindInline {
		return nil
	}
	for i := range ref.Blob.Fragments {
		for range 3 { // it may move meanwhile
			again, err := c.deepFragment(ctx, ref, i)
			if err != nil {
				return err
			}
			if !again {
				break
			}
			b, ok, err := meta.Locate(c.e.store, ref.Slot, ref.Blob.ID)
			if err != nil {
				return err
			}
			if !ok || len(b.Fragments) != len(ref.Blob.Fragments) {
				return nil // purged, or spread anew
			}
			ref.Blob = b
		}
	}
	return nil
}

// deepFragment verifies one fragment; again: it is somewhere else by now.
func (c *check) deepFragment(ctx context.Context, ref *meta.BackRef, i int) (again bool, err error) {
	f := drive.FragmentOf(&ref.Blob, i)
	id := ref.Blob.Fragments[i].Drive
	d := c.e.drives.now().drive(id)
	if d == nil || len(f.Extents) == 0 || f.Size == 0 {
		return false, nil
	}
	bad, err := d.Verify(ctx, &f, func(n int) error {
		c.res.Bytes += int64(n)
		if err := c.pause(ctx); err != nil {
			return err
		}
		return c.e.still(ref, i)
	})
	switch {
	case err == nil && bad == 0:
		c.res.Fragments++
		return false, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case c.e.gate.shut():
		return false, fail(Unavailable, errClosing)
	case !c.still(ref, i):
		return true, nil
	case err != nil:
		if c.e.drives.now().drive(id) == d { // else it went out of service
			c.reportBlob(ProblemUnread, ref, id, "fragment %d: %v", i, err)
		}
		return false, nil
	}
	c.res.Fragments++
	c.reportBlob(ProblemCorrupt, ref, id, "fragment %d: %d of %d frames do not verify", i, bad, f.Frames())
	cmd := &meta.QueueRepair{Slot: ref.Slot, Blob: ref.Blob.ID, Bad: 1 << i, Now: c.e.now().UnixNano()}
	if err := c.e.mutate(ctx, ref.Slot, cmd); err != nil {
		return false, fmt.Errorf("queueing blob %s for repair: %w", ref.Blob.ID, err)
	}
	if cmd.Queued {
		c.e.degraded()
	}
	return false, nil
}
