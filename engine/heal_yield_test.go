package engine

import "testing"

// Background work gets out of the way at once and comes back by and by.
func TestNextPace(t *testing.T) {
	pace := 4.0
	for n := 0; pace > leastPace; n++ {
		if next := nextPace(pace, 4, false); next >= pace || n > 40 {
			t.Fatalf("%g after %g, step %d", next, pace, n)
		}
		pace = nextPace(pace, 4, false)
	}
	for n := range 4 {
		if pace = nextPace(pace, 4, true); n == 3 && pace != 4 {
			t.Fatalf("%g when crowded", pace)
		}
	}
	if got := nextPace(0.1, 0.1, false); got != 0.1 {
		t.Fatalf("%g although it is never to rest longer than 0.1", got)
	}
}
