package engine

import (
	"context"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

const (
	scrubWorkers = 4   // fragments verified at a time
	scrubBatch   = 128 // blobs read from the metadata at a time
	// scrubRest is how long a worker pauses after a frame while clients are active.
	scrubRest = 2 * time.Millisecond
)

// run scrubs until close.
func (s *scrubber) run() {
	defer close(s.done)
	defer s.last()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.kick:
		case <-timer.C:
		}
		if s.e.store.Err() != nil { // for good
			<-s.ctx.Done()
			return
		}
		timer.Reset(s.round())
	}
}

// round does what is due and returns when to look again.
func (s *scrubber) round() time.Duration {
	ctx, end := context.WithCancel(s.ctx)
	defer end()
	s.mu.Lock()
	if !s.st.Running && s.period > 0 && !s.e.now().Before(s.next()) {
		s.begin(0)
	}
	work := s.st.Running || len(s.st.Drives) > 0
	s.end = end
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.end = nil
		s.mu.Unlock()
	}()
	s.save()
	if work {
		err := s.returned(ctx)
		if err == nil {
			err = s.all(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.note(err)
			s.save()
			return scrubRetry * s.e.cfg.Timing.Retry
		}
		s.forceSave()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.period <= 0 {
		return time.Hour
	}
	return min(max(s.next().Sub(s.e.now()), time.Millisecond), time.Hour)
}

// last remembers what was begun or stopped, and found suspect, since the last round.
func (s *scrubber) last() {
	s.mu.Lock()
	news := s.news
	s.mu.Unlock()
	if news && s.e.store.Err() == nil {
		s.save()
	}
}

func (s *scrubber) forceSave() {
	s.mu.Lock()
	s.saved = time.Time{}
	s.mu.Unlock()
	s.save()
}

// returned verifies the drives that came back.
func (s *scrubber) returned(ctx context.Context) error {
	for {
		s.mu.Lock()
		var id string
		if len(s.st.Drives) > 0 {
			id = s.st.Drives[0]
		}
		pace := max(s.rate(), scrubRush)
		s.rush = id != ""
		s.mu.Unlock()
		if id == "" {
			return nil
		}
		s.pace(pace)
		n := int64(0)
		err := s.walk(ctx, meta.BlobCursor{}, s.e.walkSince(s.e.now()), func(ref *meta.BackRef, i int) bool {
			return ref.Blob.Fragments[i].Drive.String() == id
		}, func(_ meta.BlobCursor, _, bytes int64) { n += bytes })
		if err != nil {
			return err
		}
		s.log.Info("a drive that came back has been verified", "drive", id, "bytes", n)
		s.mu.Lock()
		s.st.Drives = slices.DeleteFunc(s.st.Drives, func(x string) bool { return x == id })
		s.mu.Unlock()
		s.forceSave()
	}
}

func (s *scrubber) pace(bytes int64) {
	s.limiter.SetLimit(rate.Limit(bytes))
}

// scrubRetry is how many times Timing.Retry a scrub that met an error waits.
const scrubRetry = 60

// errInterrupted ends a walk, for something more urgent is to be done.
var errInterrupted = errors.New("interrupted")

// all goes on with a scrub of everything.
func (s *scrubber) all(ctx context.Context) error {
	for {
		err := s.allOnce(ctx)
		if !errors.Is(err, errInterrupted) {
			return err
		}
		if err := s.returned(ctx); err != nil {
			return err
		}
	}
}

func (s *scrubber) allOnce(ctx context.Context) error {
	s.mu.Lock()
	running, inline, at, turn := s.st.Running, s.st.Inline, s.st.cursor(), s.turn
	w := s.e.walkSince(s.st.Started)
	s.pace(s.rate())
	s.mu.Unlock()
	if !running {
		return nil
	}
	told := func(at meta.BlobCursor, blobs, bytes int64) { s.progress(turn, at, blobs, bytes) }
	if !inline {
		err := s.walk(ctx, at, w, func(*meta.BackRef, int) bool { return true }, told)
		if err != nil {
			return err
		}
		s.mu.Lock()
		if s.turn == turn {
			s.st.Inline, s.st.Slot, s.st.Blob = true, 0, ""
		}
		s.mu.Unlock()
		at = meta.BlobCursor{}
	}
	if err := s.inlines(ctx, at, w, told); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn == turn {
		s.st.Running, s.st.Finished = false, s.e.now().UTC()
		s.log.Info("scrub finished", "blobs", s.st.Blobs, "bytes", s.st.Bytes, "corrupt", s.st.Corrupt)
	}
	return ctx.Err()
}

// cursor returns where the scrub stands.
func (st *scrubState) cursor() meta.BlobCursor {
	at := meta.BlobCursor{Slot: meta.Slot(st.Slot)}
	raw, err := hex.DecodeString(st.Blob)
	if err != nil || len(raw) != len(at.Blob) {
		return meta.BlobCursor{} // from the beginning
	}
	copy(at.Blob[:], raw)
	return at
}

// progress notes that everything up to at was verified, so many blobs and bytes more,
// unless another scrub than turn's has begun.
func (s *scrubber) progress(turn uint64, at meta.BlobCursor, blobs, bytes int64) {
	s.mu.Lock()
	if s.turn != turn {
		s.mu.Unlock()
		return
	}
	s.st.Slot, s.st.Blob = uint16(at.Slot), at.Blob.String()
	s.st.Blobs += blobs
	s.st.Bytes += bytes
	s.mu.Unlock()
	s.save()
}

// walk verifies the fragments, of blobs behind at, that pick picks, and calls told for
// every batch.
func (s *scrubber) walk(ctx context.Context, at meta.BlobCursor, w walk, pick func(*meta.BackRef, int) bool, told func(at meta.BlobCursor, blobs, bytes int64)) error {
	batch := make([]meta.BackRef, 0, scrubBatch)
	for {
		var err error
		if batch, err = blobsBehind(s.e.store, at, batch[:0]); err != nil || len(batch) == 0 {
			return err
		}
		var bytes atomic.Int64
		blobs := int64(0)
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(scrubWorkers)
		for b := range batch {
			ref := &batch[b]
			if w.leavesOut(ref.Blob.ID) {
				continue
			}
			blobs++
			for i := range ref.Blob.Fragments {
				if pick(ref, i) {
					group.Go(func() error { return s.fragment(ctx, ref, i, &bytes) })
				}
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
		last := &batch[len(batch)-1]
		at = w.behind(meta.BlobCursor{Slot: last.Slot, Blob: last.Blob.ID})
		told(at, blobs, bytes.Load())
		if len(batch) < cap(batch) {
			return nil // what is behind now was written since
		}
		if s.interrupted() {
			return errInterrupted
		}
	}
}

// interrupted reports whether a drive came back while others are being verified.
func (s *scrubber) interrupted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.rush && len(s.st.Drives) > 0
}

// fragment verifies a fragment.
func (s *scrubber) fragment(ctx context.Context, ref *meta.BackRef, i int, bytes *atomic.Int64) error {
	f := drive.FragmentOf(&ref.Blob, i)
	d := s.e.drives.now().drive(ref.Blob.Fragments[i].Drive)
	if d == nil || len(f.Extents) == 0 || f.Size == 0 {
		return nil
	}
	bad, err := d.Verify(ctx, &f, func(n int) error {
		bytes.Add(int64(n))
		if err := s.wait(ctx, n); err != nil {
			return err
		}
		return s.e.still(ref, i)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, errElsewhere) {
		return nil // what was bad before was no longer its own
	}
	if err != nil && s.e.drives.now().drive(ref.Blob.Fragments[i].Drive) == d {
		s.note(err) // of the drive, which the monitor looks after; one that left is no error
	}
	if bad == 0 {
		return nil
	}
	return s.found(ref, i)
}

// errElsewhere: a fragment is not where it was any more.
var errElsewhere = errors.New("moved or purged meanwhile")

// still returns errElsewhere unless fragment i lies where ref says. To verify what has
// been purged or moved would be to count, against the drive, frames that are others' by
// now. So whoever verifies at leisure asks before every frame.
func (e *Engine) still(ref *meta.BackRef, i int) error {
	b, ok, err := meta.Locate(e.store, ref.Slot, ref.Blob.ID)
	if err != nil {
		return err
	}
	if !ok || i >= len(b.Fragments) || !samePlace(&b.Fragments[i], &ref.Blob.Fragments[i]) {
		return errElsewhere
	}
	return nil
}

// wait paces the reading.
func (s *scrubber) wait(ctx context.Context, n int) error {
	if fresh, _ := s.e.heal.yield.clients(); fresh && s.e.cfg.Timing.Yield > 0 {
		rest(ctx, time.Duration(s.e.cfg.Timing.Yield)*scrubRest)
	}
	return s.limiter.WaitN(ctx, min(n, scrubBurst))
}

// found queues a fragment that does not verify, if it still is where it was.
func (s *scrubber) found(ref *meta.BackRef, i int) error {
	now, ok, err := meta.Locate(s.e.store, ref.Slot, ref.Blob.ID)
	if err != nil || !ok {
		return err
	}
	if now.Geometry() != ref.Blob.Geometry() {
		return nil
	}
	was, is := &ref.Blob.Fragments[i], &now.Fragments[i]
	if was.Drive != is.Drive || !slices.Equal(was.Extents, is.Extents) {
		return nil
	}
	s.mu.Lock()
	s.st.Corrupt++
	s.mu.Unlock()
	s.log.Error("a fragment does not verify", "drive", is.Drive, "fragment", i, "what", name(ref))
	cmd := &meta.QueueRepair{Slot: ref.Slot, Blob: ref.Blob.ID, Bad: 1 << i, Now: s.e.now().UnixNano()}
	if err := s.e.mutate(context.Background(), ref.Slot, cmd); err != nil {
		return err
	}
	s.e.degraded()
	return nil
}

// inlines verifies the payloads that are kept with the metadata. One that does not
// verify is the metadata's to mend: its copies are compared by the store.
func (s *scrubber) inlines(ctx context.Context, at meta.BlobCursor, w walk, told func(at meta.BlobCursor, blobs, bytes int64)) error {
	for ctx.Err() == nil {
		read, n, bytes := 0, int64(0), int64(0)
		err := meta.InlinesAfter(s.e.store, at, func(here meta.BlobCursor, size int, bad error) error {
			at = here
			if !w.leavesOut(here.Blob) {
				n++
				bytes += int64(size)
				if bad != nil {
					s.damaged(here, bad)
				}
			}
			if read++; read >= scrubBatch {
				return errBatchFull
			}
			return nil
		})
		if err != nil && err != errBatchFull {
			return err
		}
		at = w.behind(at)
		told(at, n, bytes)
		if read < scrubBatch {
			return nil // what is behind now was written since
		}
		if err := s.wait(ctx, int(min(bytes, math.MaxInt32))); err != nil {
			return err
		}
		if s.interrupted() {
			return errInterrupted
		}
	}
	return ctx.Err()
}

// damaged counts an inline payload that does not verify.
func (s *scrubber) damaged(at meta.BlobCursor, bad error) {
	s.log.Error("an inline payload does not verify", "blob", at.Blob, "err", bad)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.st.Corrupt++
	s.st.Failed++
	s.st.LastError = "inline payload " + layout.BlobID(at.Blob).String() + ": " + bad.Error()
}
