package faultio_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring/faultio"
)

// TestCrashAllIsOneMoment writes rising numbers to one device after the other,
// each durable before the next: whenever the power goes, none is ahead of the one
// before it, nor of what else is saved at that moment.
func TestCrashAllIsOneMoment(t *testing.T) {
	for round := range uint64(30) {
		first, second := newBench(t, faultio.Options{Seed: round}), newBench(t, faultio.Options{Seed: round + 1})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for v := byte(1); v < 250; v++ {
				for _, b := range []*bench{first, second} {
					if b.write(0, 4096, v) != nil || b.sync() != nil {
						return
					}
				}
			}
		}()
		time.Sleep(time.Duration(round) * 20 * time.Microsecond)
		next := round
		after := faultio.CrashAll([]*faultio.Device{second.dev, first.dev}, func() uint64 { next++; return next }, func() {
			time.Sleep(100 * time.Microsecond) // in which nothing happens
		})
		<-done
		got, before := second.on(after[0]).read(0, 4096), first.on(after[1]).read(0, 4096)
		for i := range got {
			if got[i] > before[i] || before[i] > got[i]+1 {
				t.Fatalf("round %d: the second device holds %d, the first %d", round, got[i], before[i])
			}
		}
		if bytes.Count(before, before[:1]) != 4096 && bytes.Count(got, got[:1]) != 4096 {
			t.Fatalf("round %d: writes in flight on both", round)
		}
	}
}
