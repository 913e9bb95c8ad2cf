package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// recovery is what Open found.
type recovery struct {
	Blobs, Bytes int64 // with a fragment that was claimed; payload bytes
	Fragments    int64 // claimed
	Absent       int64 // blobs with a fragment on a drive that is absent
	Degraded     int64 // blobs with a fragment that is missing, or on such a drive
	Lost         int64 // of them, those that cannot be read until a drive returns
	took         time.Duration
}

func (r *recovery) add(o *recovery) {
	r.Blobs += o.Blobs
	r.Bytes += o.Bytes
	r.Fragments += o.Fragments
	r.Absent += o.Absent
	r.Degraded += o.Degraded
	r.Lost += o.Lost
}

// claimBatch is how many blobs are handed from the reader of the metadata to those
// who claim.
const claimBatch = 512

// recover claims on the drives what the metadata names. Everything else on them
// is free: what an interrupted write left, or a purge did not get to free.
func (e *Engine) recover(ctx context.Context) error {
	begun := time.Now()
	r, err := e.claimAll(ctx)
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	r.took = time.Since(begun)
	e.recovered = r
	if err := e.dismissUnfit(); err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	e.log.Info("drives recovered", "blobs", r.Blobs, "bytes", r.Bytes, "fragments", r.Fragments,
		"absent", r.Absent, "degraded", r.Degraded, "took", r.took)
	if r.Degraded > 0 {
		e.log.Warn("blobs are without all of their fragments", "blobs", r.Degraded, "unreadable", r.Lost)
	}
	return nil
}

// claimAll walks the blobs and claims them, by other goroutines than the one that
// reads and decodes the records.
func (e *Engine) claimAll(ctx context.Context) (sum recovery, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	workers := max(1, min(4, runtime.GOMAXPROCS(0)-1))
	full, spare := make(chan []meta.BackRef, workers), make(chan []meta.BackRef, 2*workers+1)
	var wg sync.WaitGroup
	sums := make([]recovery, workers)
	for i := range workers {
		wg.Go(func() {
			for batch := range full {
				for k := range batch {
					if err := e.claim(&batch[k], &sums[i]); err != nil {
						cancel(err)
						break
					}
				}
				clear(batch)
				select {
				case spare <- batch[:0]:
				default:
				}
			}
		})
	}
	batch := make([]meta.BackRef, 0, claimBatch)
	send := func() error {
		select {
		case full <- batch:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		select {
		case batch = <-spare:
		default:
			batch = make([]meta.BackRef, 0, claimBatch)
		}
		return nil
	}
	err = meta.Blobs(e.store, func(ref meta.BackRef) error {
		if batch = append(batch, ref); len(batch) == claimBatch {
			return send()
		}
		return nil
	})
	if err == nil && len(batch) > 0 {
		err = send()
	}
	close(full)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return sum, cause
	}
	for i := range sums {
		sum.add(&sums[i])
	}
	return sum, err
}

// claim claims the extents of one blob, on every drive that is there, whatever its
// state.
func (e *Engine) claim(ref *meta.BackRef, r *recovery) error {
	b := &ref.Blob
	g := b.Geometry()
	if b.Kind == layout.KindInline || len(b.Fragments) != g.Fragments() {
		return fmt.Errorf("%w: %s", errPlacement, name(ref))
	}
	there, absent, missing := 0, 0, 0
	for i := range b.Fragments {
		f := &b.Fragments[i]
		if len(f.Extents) == 0 {
			if g.FragmentSize(i) == 0 {
				there++ // it holds nothing
			} else {
				missing++
			}
			continue
		}
		m := e.drives.now().byID[f.Drive]
		if m == nil || m.d == nil {
			absent++
			continue
		}
		if m.unfit.Load() != nil {
			absent++
			continue
		}
		if err := e.claimFragment(ref, i, m.d); err != nil {
			// A drive that lost its end is one that failed: as long as its data can be
			// had from others, it is no reason not to serve.
			if !errors.Is(err, errBeyond) || e.clusterParity() == 0 {
				return err
			}
			m.unfit.CompareAndSwap(nil, &err)
			absent++
			continue
		}
		there++
		r.Fragments++
	}
	if there > 0 {
		r.Blobs++
		r.Bytes += b.Size
	}
	if absent > 0 {
		r.Absent++
	}
	if absent+missing > 0 {
		r.Degraded++
	}
	if there < g.Data {
		r.Lost++
	}
	return nil
}

// errBeyond: the metadata names a place that the drive does not have.
var errBeyond = errors.New("a drive is smaller than it was")

// dismissUnfit takes the drives out of service that cannot hold what the metadata names
// on them. More of them than the cluster can do without are an error.
func (e *Engine) dismissUnfit() error {
	var unfit []*member
	for _, m := range e.drives.now().all {
		if m.unfit.Load() != nil {
			unfit = append(unfit, m)
		}
	}
	if len(unfit) > e.clusterParity() {
		return *unfit[0].unfit.Load()
	}
	for _, m := range unfit {
		e.FailDrive(m.id, *m.unfit.Load())
	}
	return nil
}

// claimFragment claims one fragment.
func (e *Engine) claimFragment(ref *meta.BackRef, i int, d *drive.Drive) error {
	f := drive.FragmentOf(&ref.Blob, i)
	var have int64
	for _, x := range f.Extents {
		have += x.Len
	}
	if need := f.DiskSize(); have < need {
		return fmt.Errorf("%w: %s: fragment %d has %d bytes on drive %s and takes %d", drive.ErrCorrupt, name(ref), i, have, d.ID(), need)
	}
	err := d.Claim(f.Extents)
	if errors.Is(err, drive.ErrOverlap) {
		return fmt.Errorf("%s and %s: %w", name(ref), e.rival(ref, &ref.Blob.Fragments[i]), err)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errBeyond, name(ref), err)
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
