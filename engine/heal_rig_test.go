package engine

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// brisk is a Timing with which drives are judged, and their fragments made anew, within
// moments.
var brisk = Timing{
	HealthTick: 5 * time.Millisecond, SuspectFor: 50 * time.Millisecond, ProtectAfter: time.Hour,
	Retry: 5 * time.Millisecond, Rescan: 50 * time.Millisecond, Quiet: time.Millisecond, FreeDelay: time.Millisecond,
	ScrubSave: time.Millisecond, CloseWait: 5 * time.Second,
}

// calm is brisk without the monitor, at full speed.
var calm = func() Timing {
	t := brisk
	t.HealthTick, t.Yield = time.Hour, -1
	return t
}()

// A rig's drives are known by the index of their devices, from 0 in the order in which
// they were made. These helpers take drives out of service and bring them back:
//
//	r.devs[i].Break(faultio.Gone)  // a fault: Gone, ReadOnly, Full, Hung; or Inject
//	r.waitState(i, DriveFailed)    // until the engine has noticed
//	r.reattach(i)                  // mend the device, and attach the drive that is on it
//	i := r.join()                  // one more drive, on a blank device
//	r.e.ReplaceDrive(r.id(a), r.id(b))
//	r.healed()                     // until every blob has all of its fragments
//	r.whole()                      // check that this is true, frame by frame

// openDrive opens the drive on device i.
func (r *rig) openDrive(i int) *drive.Drive {
	r.t.Helper()
	cluster := r.e.drives.now().cluster()
	d, err := drive.Open(context.Background(), r.devs[i], drive.Options{Cluster: cluster, Arena: r.arena, Logger: r.log, Deadline: r.deadline})
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

// cluster returns the cluster's identity, from any drive.
func (v *driveView) cluster() (id [16]byte) {
	for _, m := range v.all {
		if m.d != nil {
			id = m.d.Cluster()
		}
	}
	return id
}

// id returns the id of the drive on device i.
func (r *rig) id(i int) layout.DriveID {
	if id, out := r.pulled[i]; out {
		return id
	}
	return r.ids[i]
}

// member returns the engine's member for device i.
func (r *rig) member(i int) *member { return r.e.drives.now().byID[r.id(i)] }

// join attaches a drive on a blank device and returns the device's index.
func (r *rig) join() int {
	r.t.Helper()
	i := len(r.devs)
	r.devs = append(r.devs, faultio.New(faultio.Options{Capacity: r.capacity, Latency: r.latency, Seed: uint64(i) + 77}))
	d := r.openDrive(i)
	r.ids = append(r.ids, d.ID())
	if err := r.e.AttachDrive(context.Background(), d); err != nil {
		r.t.Fatal(err)
	}
	return i
}

// reattach mends the device of a failed drive, as it is found when it is plugged in
// again with its power on, and attaches the drive.
func (r *rig) reattach(i int) {
	r.t.Helper()
	r.devs[i].Heal()
	r.waitFor("the device to be closed", func() bool { return r.e.Detached(r.id(i)) })
	r.devs[i] = r.devs[i].Reopen()
	if err := r.e.AttachDrive(context.Background(), r.openDrive(i)); err != nil {
		r.t.Fatal(err)
	}
}

// pull has the device be absent when the engine starts the next time; push ends that.
func (r *rig) pull(i int) {
	if r.pulled == nil {
		r.pulled = make(map[int]layout.DriveID)
	}
	r.pulled[i] = r.id(i)
}

// push has a device that was pulled be there again.
func (r *rig) push(i int) {
	r.t.Helper()
	delete(r.pulled, i)
	if err := r.e.AttachDrive(context.Background(), r.openDrive(i)); err != nil {
		r.t.Fatal(err)
	}
}

// waitFor waits until ok returns true.
func (r *rig) waitFor(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("waited for %s in vain: %+v", what, r.e.HealStatus())
		}
	}
}

// waitState waits until a drive is in a state.
func (r *rig) waitState(i int, s DriveState) {
	r.t.Helper()
	r.waitFor(fmt.Sprintf("drive %d to be %s, which is %s", i, s, r.member(i).is()), func() bool { return r.member(i).is() == s })
}

// healed waits until nothing is left to repair or to move.
func (r *rig) healed() {
	r.t.Helper()
	r.waitFor("repairs to end", func() bool {
		h := r.e.HealStatus()
		return h.Settled && h.Queue == 0 && h.Degraded == 0 && len(h.Tasks) == 0
	})
}

// whole fails unless every fragment of every blob verifies, on a drive of its own, and
// the space in use is theirs. Nothing may be under way.
func (r *rig) whole() {
	r.t.Helper()
	r.drained()
	blobs := 0
	err := meta.Blobs(r.e.store, func(ref meta.BackRef) error {
		blobs++
		on := map[layout.DriveID]bool{}
		g := ref.Blob.Geometry()
		for i, f := range ref.Blob.Fragments {
			if g.FragmentSize(i) == 0 {
				continue
			}
			d := r.e.drives.now().drive(f.Drive)
			if d == nil || len(f.Extents) == 0 || on[f.Drive] {
				return fmt.Errorf("fragment %d of %+v", i, ref.Blob)
			}
			on[f.Drive] = true
			frag := drive.FragmentOf(&ref.Blob, i)
			if bad, err := d.Verify(context.Background(), &frag, nil); bad > 0 || err != nil {
				return fmt.Errorf("fragment %d of %+v: %d bad frames, %v", i, ref.Blob, bad, err)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	if blobs == 0 {
		r.t.Fatal("no blobs")
	}
	r.accounted()
}

// stock stores n objects of various sizes and returns them by key.
func (r *rig) stock(bucket string, n int, seed uint64) map[string][]byte {
	r.t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	want := make(map[string][]byte)
	for i := range n {
		key := fmt.Sprintf("%d-%d", seed, i)
		want[key] = content(seed*1000+uint64(i), 2000+rng.Int64N([]int64{60_000, 400_000, 3_000_000}[i%3]))
		r.put(bucket, key, want[key])
	}
	return want
}

// holds fails unless the bucket's objects are what they should be.
func (r *rig) holds(bucket string, want map[string][]byte) {
	r.t.Helper()
	for key, data := range want {
		if _, got, err := fetch(r.e, bucket, key, len(key)); err != nil || !bytes.Equal(got, data) {
			r.t.Fatalf("get %q: %d bytes of %d, %v", key, len(got), len(data), err)
		}
	}
}

// load puts, gets and deletes until stop is called, which fails the test if anything
// went wrong.
func (r *rig) load(bucket string, clients int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	for c := range clients {
		wg.Go(func() {
			if err := r.client(ctx, bucket, uint64(c)); err != nil {
				errs <- err
			}
		})
	}
	return func() {
		r.t.Helper()
		cancel()
		wg.Wait()
		select {
		case err := <-errs:
			r.t.Fatal(err)
		default:
		}
	}
}

func (r *rig) client(ctx context.Context, bucket string, c uint64) error {
	rng := rand.New(rand.NewPCG(c, 99))
	have := map[string][]byte{}
	for n := uint64(0); ctx.Err() == nil; n++ {
		key := fmt.Sprintf("load-%d-%d", c, rng.IntN(6))
		switch op := rng.IntN(5); {
		case op == 0 && have[key] != nil:
			if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: bucket, Key: key, IfSize: -1}); err != nil {
				return fmt.Errorf("delete %s: %w", key, err)
			}
			delete(have, key)
		case op <= 2:
			data := content(c<<32|n, 2000+rng.Int64N(900_000))
			// A write that loses more than its quorum allows is its client's to repeat.
			_, err := r.e.Put(context.Background(), putRequest(bucket, key, data))
			for tries := 0; KindOf(err) == Unavailable && tries < 3; tries++ {
				_, err = r.e.Put(context.Background(), putRequest(bucket, key, data))
			}
			if err != nil {
				return fmt.Errorf("put %s: %w", key, err)
			}
			have[key] = data
		case have[key] != nil:
			if _, got, err := fetch(r.e, bucket, key, rng.IntN(3)); err != nil || !bytes.Equal(got, have[key]) {
				return fmt.Errorf("get %s: %d bytes of %d: %w", key, len(got), len(have[key]), err)
			}
		}
	}
	return nil
}

// scratch changes a bit near the beginning of fragment i's payload.
func (r *rig) scratch(blob *layout.Blob, i int) {
	r.t.Helper()
	f := &blob.Fragments[i]
	for n := range r.devs {
		if r.id(n) == f.Drive && len(f.Extents) > 0 {
			r.devs[n].Corrupt(f.Extents[0].Off + drive.HeaderSize + 10)
			return
		}
	}
	r.t.Fatalf("fragment %d of %+v has no place", i, blob)
}

// throttle makes the devices slow, or as fast as they were.
func (r *rig) throttle(on bool) {
	for _, d := range r.devs {
		if on {
			d.Inject(faultio.Rule{Delay: 20 * time.Millisecond})
		} else {
			d.Heal()
		}
	}
}

// stopAll closes the engine and has every device be as a restarted process finds it.
func (r *rig) stopAll() {
	r.t.Helper()
	r.stop()
	for i, d := range r.devs {
		r.devs[i] = d.Reopen()
	}
}
