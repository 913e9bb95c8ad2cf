package iam

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// The table is a map.
func TestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x table[int]
		x.empty(rapid.IntRange(0, 100).Draw(t, "ready for"))
		want := map[string]int{}
		for range rapid.IntRange(0, 400).Draw(t, "changes") {
			name := fmt.Sprint(rapid.IntRange(0, 150).Draw(t, "name"))
			if v := rapid.IntRange(-100, 200).Draw(t, "value"); v < 0 {
				x.set(name, nil)
				delete(want, name)
			} else {
				x.set(name, &v)
				want[name] = v
			}
		}
		got := []int{}
		x.each(func(v *int) { got = append(got, *v) })
		slices.Sort(got)
		if !slices.Equal(got, append([]int{}, slices.Sorted(maps.Values(want))...)) || int(x.count.Load()) != len(want) {
			t.Fatalf("%d values, count %d, want %d", len(got), x.count.Load(), len(want))
		}
		for i := range 160 {
			v := x.get(fmt.Sprint(i))
			if w, ok := want[fmt.Sprint(i)]; ok != (v != nil) || ok && *v != w {
				t.Fatalf("%d: %v, want %v, %v", i, v, w, ok)
			}
		}
	})
}

// A table that names come to and go from without end stays small, and readers
// find what stays while it is made anew.
func TestTableChurn(t *testing.T) {
	var x table[int]
	x.empty(0)
	stays := 7
	x.set("stays", &stays)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if v := x.get("stays"); v != &stays {
				t.Error("lost")
				return
			}
		}
	})
	for i := range 50_000 {
		x.set(fmt.Sprint(i), &i)
		x.set(fmt.Sprint(i-20), nil)
	}
	close(stop)
	readers.Wait()
	if n := len(*x.array.Load()); n > 4*tableLeast || x.count.Load() != 21 {
		t.Fatalf("%d slots for %d names", n, x.count.Load())
	}
}

// TestTableOfOthers: who asks for a name that is not there gets nothing, though another
// takes the slot meanwhile.
func TestTableOfOthers(t *testing.T) {
	for range 200 {
		var x table[int]
		x.empty(0)
		var readers sync.WaitGroup
		stop := make(chan struct{})
		for r := range 2 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					for i := range 64 {
						if v := x.get(fmt.Sprint("absent", r, i)); v != nil {
							t.Errorf("found %d", *v)
							return
						}
					}
				}
			})
		}
		for i := range 40 {
			x.set(fmt.Sprint(i), &i)
		}
		close(stop)
		readers.Wait()
	}
}
