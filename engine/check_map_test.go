package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

// However many passes the drives are looked at in, they find the same.
func TestCheckPasses(t *testing.T) {
	r := newRig(t, rigOptions{drives: 5, cfg: Config{Timing: lasting}})
	r.bucket("b")
	for i := range 6 {
		r.put("b", fmt.Sprint("k", i), content(uint64(i), 400_000))
	}
	r.e.FailDrive(r.e.drives.now().all[4].id, errors.New("pulled"))
	for _, m := range r.e.drives.now().all[:3] {
		if _, err := m.d.Reserve(context.Background(), 100_000); err != nil {
			t.Fatal(err)
		}
	}
	lay := r.placed("b", "k0")
	twice := r.placed("b", "k1")
	at := slices.IndexFunc(twice.Fragments, func(f layout.Fragment) bool { return f.Drive == lay.Fragments[0].Drive })
	if at < 0 {
		t.Fatal("the objects share no drive")
	}
	b, err := r.e.Bucket(context.Background(), "b")
	if err != nil {
		t.Fatal(err)
	}
	move := &meta.MoveFragments{Slot: b.Slot, Blob: twice.ID, Moves: []meta.Move{{Number: at, From: twice.Fragments[at], To: lay.Fragments[0]}}}
	if err := r.e.mutate(context.Background(), b.Slot, move); err != nil || !move.Moved {
		t.Fatal(move.Moved, err)
	}
	var found [2]CheckResult
	for i, budget := range []int64{mapBudget, 1} {
		c := &check{e: r.e, o: CheckOptions{Problems: 100}, budget: budget}
		if err := c.places(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := c.leaks(context.Background()); err != nil {
			t.Fatal(err)
		}
		found[i] = c.result()
		slices.SortFunc(found[i].Problems, func(a, b Problem) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if !slices.Equal(found[0].Problems, found[1].Problems) || found[0].Degraded != found[1].Degraded {
		t.Fatalf("at once %+v\nin passes %+v", found[0], found[1])
	}
	kinds := make(map[string]int)
	for _, p := range found[0].Problems {
		kinds[p.Kind]++
	}
	if kinds[ProblemOverlap] != 1 || kinds[ProblemLeak] < 3 || len(kinds) != 2 || found[0].Degraded == 0 {
		t.Fatalf("%+v", found[0])
	}
	r.stop()
}

// A spaceMap is a set of units.
func TestSpaceMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const unit = 4096
		m := newSpaceMap(unit)
		set := make(map[int64]bool)
		base := int64(spacePageUnits-100) * rapid.Int64Range(0, 2).Draw(t, "base")
		extent := func() (layout.Extent, int64, int64) {
			at, n := base+rapid.Int64Range(0, 300).Draw(t, "at"), rapid.Int64Range(1, 200).Draw(t, "n")
			return layout.Extent{Off: at * unit, Len: n * unit}, at, at + n
		}
		for range rapid.IntRange(0, 8).Draw(t, "extents") {
			x, lo, hi := extent()
			alone := true
			for u := lo; u < hi; u++ {
				alone = alone && !set[u]
				set[u] = true
			}
			if got := m.add(x); got != alone {
				t.Fatalf("alone %t, want %t", got, alone)
			}
		}
		x, lo, hi := extent()
		want := make(map[int64]bool)
		for u := lo; u < hi; u++ {
			if !set[u] {
				want[u] = true
			}
		}
		runs := m.rest(x, nil)
		check := func(what string) {
			t.Helper()
			left := int64(0)
			for _, r := range runs {
				for u := r.Off / unit; u < (r.Off+r.Len)/unit; u++ {
					if left++; !want[u] {
						t.Fatalf("%s: unit %d in %v", what, u, runs)
					}
				}
			}
			if left != int64(len(want)) {
				t.Fatalf("%s: %d units in %v, want %d", what, left, runs, len(want))
			}
		}
		check("rest")
		y, lo, hi := extent()
		for u := lo; u < hi; u++ {
			delete(want, u)
		}
		runs = without(runs, y)
		check("without")
	})
}
