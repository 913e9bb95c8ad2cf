package drive

import (
	"testing"

	"pgregory.net/rapid"
)

// model is the obvious implementation of bitmap.
type model []bool // in use

func (m model) free() (n int64) {
	for _, used := range m {
		if !used {
			n++
		}
	}
	return n
}

func (m model) longest() (best int64) {
	var n int64
	for _, used := range m {
		if n++; used {
			n = 0
		}
		best = max(best, n)
	}
	return best
}

func (m model) mark(r run, used bool) {
	for i := r.start; i < r.start+r.n; i++ {
		m[i] = used
	}
}

// bitmapMachine runs a bitmap beside the model.
type bitmapMachine struct {
	b    bitmap
	m    model
	held [][]run
}

func (s *bitmapMachine) extend(n int64) {
	s.b.extend(s.b.units + n)
	s.m = append(s.m, make(model, n)...)
}

func (s *bitmapMachine) take(t *rapid.T) {
	n := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 2*groupUnits)).Draw(t, "n")
	most := rapid.SampledFrom([]int{1, 2, 16, 4096}).Draw(t, "runs")
	free, longest := s.m.free(), s.m.longest()
	runs := s.b.take(n, most)
	switch {
	case runs == nil && longest >= n:
		t.Fatalf("refused %d units though a run of %d is free", n, longest)
	case runs == nil && free >= n && free < 4096 && most == 4096:
		t.Fatalf("refused %d units though %d are free", n, free)
	case runs == nil:
		return
	case longest >= n && len(runs) != 1:
		t.Fatalf("scattered %d units over %d runs though a run of %d is free", n, len(runs), longest)
	case len(runs) > most:
		t.Fatalf("%d runs, at most %d wanted", len(runs), most)
	}
	var got, end int64
	for _, r := range runs {
		if r.n < 1 || r.start < end {
			t.Fatalf("runs not ascending: %v", runs)
		}
		end = r.start + r.n
		for i := r.start; i < end; i++ {
			if s.m[i] {
				t.Fatalf("unit %d handed out twice", i)
			}
		}
		s.m.mark(r, true)
		got += r.n
	}
	if got != n {
		t.Fatalf("got %d units, want %d", got, n)
	}
	s.held = append(s.held, runs)
}

// free gives back one allocation, or only every other unit of it, which
// fragments.
func (s *bitmapMachine) free(t *rapid.T) {
	if len(s.held) == 0 {
		return
	}
	i := rapid.IntRange(0, len(s.held)-1).Draw(t, "which")
	for _, r := range s.held[i] {
		if !s.b.allUsed(r.start, r.n) || s.b.allFree(r.start, r.n) {
			t.Fatalf("run %v not in use", r)
		}
		if r.n > 2 && r.n < 2000 && rapid.Bool().Draw(t, "comb") {
			for u := r.start + r.start%2; u < r.start+r.n; u += 2 {
				s.b.clear(u, 1)
				s.m[u] = false
			}
			continue
		}
		s.b.clear(r.start, r.n)
		s.m.mark(r, false)
	}
	s.held = append(s.held[:i], s.held[i+1:]...)
}

func (s *bitmapMachine) check(t *rapid.T) {
	free := s.m.free()
	var sum int64
	for _, g := range s.b.groups {
		sum += int64(g.free)
	}
	if s.b.free() != free || sum != free {
		t.Fatalf("%d units free, the groups say %d, the model %d", s.b.free(), sum, free)
	}
}

func TestBitmapAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &bitmapMachine{b: bitmap{limit: 1 << 40}}
		s.extend(rapid.Int64Range(1, groupUnits+9000).Draw(t, "units"))
		t.Repeat(map[string]func(*rapid.T){
			"extend": func(t *rapid.T) {
				if len(s.m) < 2*groupUnits {
					s.extend(rapid.Int64Range(1, groupUnits).Draw(t, "more"))
				}
			},
			"take": s.take,
			"free": s.free,
			"":     s.check,
		})
	})
}

// TestRunOverGroups: a run over several groups is found wherever the search begins.
func TestRunOverGroups(t *testing.T) {
	t.Parallel()
	const units, from, n = 4 * groupUnits, groupUnits - 100, 2*groupUnits + 150
	for _, cursor := range []int64{0, from - 1, from, from + 1, groupUnits, groupUnits + 5, 2*groupUnits + 5, from + n, units - 1, units} {
		b := bitmap{limit: units}
		b.extend(units)
		b.set(0, units)
		b.clear(from, n)
		b.cursor = cursor
		if got := b.take(n, 1); len(got) != 1 || got[0] != (run{from, n}) {
			t.Errorf("from %d: %v", cursor, got)
		}
	}
	b := bitmap{limit: units, cursor: units / 2} // all free, and too little
	b.extend(units)
	if got := b.take(units, 1); len(got) != 1 {
		t.Error(got)
	}
	b.clear(0, units)
	b.cursor = units / 2
	if got := b.take(units+1, 1); got != nil {
		t.Error(got)
	}
}

func TestBitmapSummary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := bitmap{limit: 1 << 40}
		b.extend(groupUnits)
		m := make(model, groupUnits)
		for range rapid.IntRange(0, 30).Draw(t, "runs") {
			start := rapid.Int64Range(0, groupUnits-1).Draw(t, "start")
			n := rapid.Int64Range(1, min(200, groupUnits-start)).Draw(t, "n")
			if b.allFree(start, n) {
				b.set(start, n)
				m.mark(run{start, n}, true)
			}
		}
		g := b.groups[0]
		g.refresh()
		prefix, suffix := 0, 0
		for prefix < groupUnits && !m[prefix] {
			prefix++
		}
		for suffix < groupUnits && !m[groupUnits-1-suffix] {
			suffix++
		}
		if g.prefix != prefix || g.suffix != suffix || int64(g.longest) != m.longest() {
			t.Fatalf("summary %d/%d/%d, model %d/%d/%d", g.prefix, g.longest, g.suffix, prefix, m.longest(), suffix)
		}
	})
}

func TestBitmapLimit(t *testing.T) {
	b := bitmap{limit: 10}
	b.extend(100)
	if b.take(11, 1) != nil {
		t.Fatal("took more than the limit")
	}
	if b.take(10, 1) == nil || b.take(1, 1) != nil {
		t.Fatal("limit not exact")
	}
	b.clear(0, 1)
	if b.take(1, 1) == nil {
		t.Fatal("freed unit not available")
	}
}

// BenchmarkTake takes and gives back one unit on a 1 TiB drive that is full but
// for single scattered units.
func BenchmarkTake(b *testing.B) {
	for _, bench := range []struct {
		name string
		comb int64 // every comb'th unit is free
		n    int64
	}{{"empty/1", 1, 1}, {"empty/257", 1, 257}, {"fragmented/1", 64, 1}, {"fragmented/16", 64, 16}} {
		b.Run(bench.name, func(b *testing.B) {
			m := bitmap{limit: maxUnits}
			m.extend(maxUnits)
			if bench.comb > 1 {
				m.set(0, maxUnits)
				for u := int64(0); u < maxUnits; u += bench.comb {
					m.clear(u, 1)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range m.take(bench.n, MaxExtents) {
					m.clear(r.start, r.n)
				}
			}
		})
	}
}
