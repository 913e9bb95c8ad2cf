package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// TestSyncFollowsWrites: a fragment costs one sync, which begins once every write has
// succeeded; where one fails there is none, and the drive takes writes still. So it is
// on a device that has room for one operation at a time.
func TestSyncFollowsWrites(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{1, 2, 64} {
		for _, frames := range []int{1, 2, 5} {
			t.Run(fmt.Sprintf("depth %d, %d frames", depth, frames), func(t *testing.T) {
				t.Parallel()
				r := &hangRig{t: t, arena: newArena(t), dev: faultio.New(faultio.Options{Capacity: 64 * mib, Depth: depth})}
				r.d = openDrive(t, r.dev, Options{Arena: r.arena, Deadline: time.Hour})
				write := r.writer(frames)
				before := r.dev.Stats().Syncs
				if err := write(); err != nil || r.dev.Stats().Syncs != before+1 {
					t.Fatalf("%d syncs: %v", r.dev.Stats().Syncs-before, err)
				}
				for failing := range frames {
					r.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Skip: failing, Times: 1, Err: faultio.ErrIO})
					if err := write(); !errors.Is(err, faultio.ErrIO) || r.dev.Stats().Syncs != before+1 {
						t.Fatalf("write %d fails: %d syncs, %v", failing, r.dev.Stats().Syncs-before-1, err)
					}
					r.dev.Heal()
				}
				if err := write(); err != nil || r.dev.Stats().Syncs != before+2 {
					t.Fatalf("in the end: %d syncs, %v", r.dev.Stats().Syncs-before-2, err)
				}
			})
		}
	}
}

// TestNoSyncAfterHungWrite: the sync chained to a write that is given up is given up
// with it, and does not follow when the write is answered after all.
func TestNoSyncAfterHungWrite(t *testing.T) {
	t.Parallel()
	r := newHangRig(t, faultio.Options{})
	write := r.writer(1)
	before := r.dev.Stats().Syncs
	hang := make(chan struct{})
	r.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Hang: hang})
	if err := write(); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	close(hang)
	eventually(t, "the end", func() bool { return r.d.Idle() && r.arena.InUse() == 0 })
	if n := r.dev.Stats().Syncs - before; n != 0 {
		t.Fatalf("%d syncs", n)
	}
}

// writer reserves space for a fragment of so many frames and returns what writes it.
func (r *hangRig) writer(frames int) func() error {
	data := randomBytes(1, frames*mib-5)
	exts, err := r.d.Reserve(context.Background(), int64(len(data)))
	if err != nil {
		r.t.Fatal(err)
	}
	return func() error {
		return r.soon("write", func() error {
			return r.d.WriteFragment(context.Background(), layout.NewBlobID(testTime), exts, int64(len(data)), bytes.NewReader(data))
		})
	}
}
