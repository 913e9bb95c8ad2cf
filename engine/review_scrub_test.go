package engine

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// What is purged while it is being verified, and whose space is another blob's then, is
// no reason to call drives corrupt: they would be taken out for it.
func TestScrubOfPurged(t *testing.T) {
	r := newRig(t, rigOptions{drives: 4, arena: 64 << 20, capacity: 24 << 20, cfg: Config{Timing: calm}})
	r.bucket("b")
	r.put("b", "old", content(1, 30<<20))
	if err := r.e.StartScrub(ScrubOptions{Rate: 2 << 20}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // it is in the middle of the blob
	if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: "old", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	r.drained()
	r.put("b", "new", content(2, 29<<20))
	r.e.scrub.pace(1 << 30)
	s := r.scrubbed()
	for i := range r.devs {
		if h := r.member(i).d.Health(); h.Corrupt > scrubWorkers || h.Failing != nil {
			t.Errorf("drive %d: %d corrupt frames, %v", i, h.Corrupt, h.Failing)
		}
	}
	if s.Corrupt != 0 || r.e.HealStatus().Queue != 0 {
		t.Fatalf("%+v", s)
	}
	r.whole()
	r.stop()
}

// A drive that has no room after all does not hold up repairs that another could take.
func TestHealPastFullDrive(t *testing.T) {
	r := newRig(t, rigOptions{drives: 3, arena: 64 << 20, capacity: 32 << 20, cfg: Config{Timing: brisk, Parity: 1}})
	r.bucket("b")
	for i := range 60 {
		r.put("b", fmt.Sprint(i), content(uint64(i), 60_000)) // mirrored over two
	}
	r.join() // the emptiest
	r.devs[3].Inject(faultio.Rule{Code: ioring.OpWrite, Err: ioring.ErrNoSpace})
	if err := r.e.DrainDrive(r.id(0), true); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	r.waitFor("the drive to be empty", func() bool {
		s := r.e.HealStatus()
		return s.Settled && len(s.Tasks) == 0 || time.Since(begun) > 10*time.Second
	})
	if n := r.e.Status().Drives[0].Fragments; n != 0 {
		t.Fatalf("%d fragments left after %s", n, time.Since(begun))
	}
	r.devs[3].Heal()
	r.whole()
	r.stop()
}

// A clock that was set back does not stop what is done every second, and a refusal in
// the future is none of late.
func TestClockSetBack(t *testing.T) {
	r := newHealRig(t, 4, calm)
	h := &r.e.reads.hedger
	r.member(0).tempo.hung.Store(true)
	h.watch(r.e.drives.now(), time.Now().Add(time.Hour))
	r.member(0).tempo.hung.Store(true)
	h.watch(r.e.drives.now(), time.Now())
	if r.member(0).tempo.hung.Load() {
		t.Error("latencies are not looked at any more")
	}
	r.member(1).room.doubted.Store(time.Now().Add(time.Hour).UnixNano())
	if good, doubtful := r.e.drives.order(func(n int) int { return n }); len(good) != 4 || len(doubtful) != 0 {
		t.Errorf("%d drives are good, %d doubtful", len(good), len(doubtful))
	}
	r.stop()
}
