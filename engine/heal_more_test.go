package engine

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// onCommand is a store that calls fn before a command of type C is applied.
type onCommand[C meta.Command] struct {
	meta.Store
	mu sync.Mutex
	fn func(C)
}

func (s *onCommand[C]) Mutate(ctx context.Context, slot meta.Slot, cmd meta.Command) error {
	if c, ok := cmd.(C); ok {
		s.mu.Lock()
		fn := s.fn
		s.mu.Unlock()
		if fn != nil {
			fn(c)
		}
	}
	return s.Store.Mutate(ctx, slot, cmd)
}

// A blob is deleted while its fragments are being moved: the new places are given back.
func TestPurgeDuringMove(t *testing.T) {
	var store *onCommand[*meta.MoveFragments]
	r := newRig(t, rigOptions{drives: 5, arena: 64 << 20, cfg: Config{Timing: calm}, wrap: func(s meta.Store) meta.Store {
		store = &onCommand[*meta.MoveFragments]{Store: s}
		return store
	}})
	r.bucket("b")
	keys := map[layout.BlobID]string{}
	for i := range 8 {
		key := fmt.Sprint(i)
		r.put("b", key, content(uint64(i), 100_000))
		keys[r.placed("b", key).ID] = key
	}
	deleted := 0
	store.mu.Lock()
	store.fn = func(c *meta.MoveFragments) {
		key := keys[c.Blob]
		if len(c.Moves) == 0 || key == "" || (key[0]-'0')%2 == 0 {
			return
		}
		if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: key, IfSize: -1}); err != nil {
			t.Error(err)
		}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); r.e.purger.wake() {
			if _, ok, _ := meta.Locate(r.e.store, c.Slot, c.Blob); !ok {
				break
			}
			time.Sleep(time.Millisecond)
		}
		store.mu.Lock()
		deleted++
		store.mu.Unlock()
	}
	store.mu.Unlock()
	r.e.DrainDrive(r.id(0), true)
	r.e.DrainDrive(r.id(1), true)
	r.waitFor("the drives to be empty", func() bool {
		s := r.e.HealStatus()
		return s.Settled && len(s.Tasks) == 0
	})
	store.mu.Lock()
	store.fn = nil
	if deleted == 0 {
		t.Fatal("nothing was deleted in the middle of a move")
	}
	store.mu.Unlock()
	r.healed()
	r.whole()
	r.stop()
}

// Sources hang, lie and fail while others are computed from them: what can be made is.
func TestHealFromBadSources(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, arena: 64 << 20, deadline: 300 * time.Millisecond, cfg: Config{Timing: calm}})
	r.bucket("b")
	want := map[string][]byte{}
	for i := range 4 {
		key := fmt.Sprint(i)
		want[key] = content(uint64(i), 3<<20)
		r.put("b", key, want[key])
		blob := r.placed("b", key)
		for n, f := range blob.Fragments {
			if f.Drive == r.id(3) {
				r.scratch(&blob, n)
			}
		}
	}
	r.e.FailDrive(r.id(0), faultio.ErrGone)
	to := r.join()
	hang := make(chan struct{})
	r.devs[4].Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Hang: hang})
	r.devs[5].Inject(faultio.Rule{Code: ioring.OpRead, Times: 3, Err: faultio.ErrIO})
	r.devs[to].Inject(faultio.Rule{Code: ioring.OpWrite, Skip: 2, Times: 2, Err: faultio.ErrIO})
	if err := r.e.ReplaceDrive(r.id(0), r.id(to)); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the rebuild", func() bool { s := r.e.HealStatus(); return s.Settled && len(s.Tasks) == 0 })
	close(hang)
	r.healed()
	if r.e.heal.mended.Load() == 0 {
		t.Fatal("a bad source was not mended")
	}
	if err := r.e.StartScrub(ScrubOptions{Rate: 1 << 30}); err != nil { // for those that were no sources
		t.Fatal(err)
	}
	r.scrubbed()
	r.healed()
	r.whole()
	r.holds("b", want)
	r.stop()
}

// Repairs hold little memory, whatever the width of the stripes, and get on with
// clients who want all of it.
func TestHealMemory(t *testing.T) {
	r := newRig(t, rigOptions{drives: 9, arena: 16 << 20, cfg: Config{Timing: calm}})
	r.bucket("b")
	want := r.stock("b", 6, 1)
	want["large"] = content(9, 12<<20)
	r.put("b", "large", want["large"])
	stop := r.load("b", 3)
	r.e.FailDrive(r.id(0), faultio.ErrGone)
	to := r.join()
	if err := r.e.ReplaceDrive(r.id(0), r.id(to)); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the drive to be empty", func() bool { return r.e.ForgetDrive(context.Background(), r.id(0)) == nil })
	stop()
	r.healed()
	r.whole()
	r.holds("b", want)
	r.stop()
}

// newLostRig is a rig with one object, b/k, that cannot be read for good and whose
// repair has failed.
func newLostRig(t *testing.T) (*rig, layout.BlobID) {
	t.Helper()
	r := newRig(t, rigOptions{drives: 4, arena: 64 << 20, cfg: Config{Timing: calm}})
	r.bucket("b")
	r.put("b", "k", content(1, 2<<20))
	blob := r.placed("b", "k")
	for i := range 3 {
		r.scratch(&blob, i)
	}
	if err := r.e.StartScrub(ScrubOptions{Rate: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	r.scrubbed()
	r.waitFor("the blob to be counted", func() bool {
		return r.e.ScrubStatus().Failed > 0 && r.e.HealStatus().Lost == 1 && r.tries(blob.ID) > 0
	})
	return r, blob.ID
}

// tries returns how often the repair of a blob has failed.
func (r *rig) tries(id layout.BlobID) int {
	r.e.heal.mu.Lock()
	defer r.e.heal.mu.Unlock()
	if f := r.e.heal.failures[id]; f != nil {
		return f.tries
	}
	return 0
}

// What cannot be read for good is counted, and does not keep the healer busy.
func TestLostIsLeftAlone(t *testing.T) {
	r, id := newLostRig(t)
	before, begun := r.tries(id), time.Now()
	time.Sleep(200 * time.Millisecond)
	if n, took := r.tries(id)-before, time.Since(begun); n > int(6*took/(200*time.Millisecond)) {
		t.Fatalf("%d tries in %s", n, took)
	}
	if s := r.e.HealStatus(); s.Queue != 1 || s.Degraded != 1 {
		t.Fatalf("%+v", s)
	}
	r.accounted()
	r.stop()
}

// A repair that failed is forgotten with its blob: it neither keeps the healer awake nor
// keeps it from noticing that the blob is gone.
func TestFailureIsForgotten(t *testing.T) {
	r, _ := newLostRig(t)
	if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: "k", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	r.healed()
	r.drained()
	time.Sleep(2 * calm.Rescan) // the repair would be due
	if err := r.e.heal.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if wait := r.e.heal.next(time.Now()); wait < time.Second {
		t.Errorf("the healer looks again after %s", wait)
	}
	r.stop()
}

// The purger sleeps while there is nothing
// but records of completed uploads in its queue.
func TestPurgerSleeps(t *testing.T) {
	r := newHealRig(t, 2, calm)
	up, err := r.e.CreateUpload(context.Background(), "b", "k", "", meta.Object{})
	if err != nil {
		t.Fatal(err)
	}
	data := content(1, 100_000)
	part, err := r.e.PutPart(context.Background(), PutPartRequest{
		Bucket: "b", Key: "k", UploadID: up.ID, Number: 1, Size: int64(len(data)), Body: bytes.NewReader(data),
		Finish: func(p *meta.Part) error { p.ETag = etagOf(data); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.e.CompleteUpload(context.Background(), CompleteRequest{
		Bucket: "b", Key: "k", UploadID: up.ID, Parts: []meta.PartRef{{Number: 1, ETag: part.ETag}}, Size: -1,
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) { return "x-1", meta.Checksum{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.drained()
	r.waitFor("the purger to sleep", func() bool { return r.e.purger.idle.Load() })
	if wait := r.e.purger.pause(0); wait < time.Minute {
		t.Fatal(wait)
	}
	r.put("b", "x", content(2, 100_000))
	purged := r.e.purger.purged.Load()
	if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: "x", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the purger to wake up", func() bool { return r.e.purger.purged.Load() > purged })
	r.stop()
}
