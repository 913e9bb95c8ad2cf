package main

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Quantiles are the exact ones of the sorted durations, rounded up by less than
// a bucket, whatever the durations are and however they are merged.
func TestHistogramAgainstSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, 1<<40), 1, 300).Draw(t, "values")
		var parts [2]histogram
		var sum time.Duration
		for i, v := range values {
			parts[i%2].record(time.Duration(v))
			sum += time.Duration(v)
		}
		h := &parts[0]
		h.merge(&parts[1])
		slices.Sort(values)
		if h.total != uint64(len(values)) || h.sum != sum || int64(h.max) != values[len(values)-1] {
			t.Fatalf("total %d, sum %d, max %d", h.total, h.sum, h.max)
		}
		for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
			want := values[min(int(q*float64(len(values))), len(values)-1)]
			got := int64(h.quantile(q))
			if got < want || got-want > want/subBuckets {
				t.Fatalf("quantile %g of %v: %d, want %d", q, values, got, want)
			}
		}
	})
}

func TestHistogramBucketsMeet(t *testing.T) {
	var h histogram
	for i := range len(h.counts) - 1 {
		top := bucketTop(i)
		if bucketOf(top) != i || bucketOf(top+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which is in %d; the next value in %d", i, top, bucketOf(top), bucketOf(top+1))
		}
	}
	if i := bucketOf(1<<64 - 1); i != len(h.counts)-1 {
		t.Fatalf("the largest value is in bucket %d of %d", i, len(h.counts))
	}
	if h.quantile(0.5) != 0 {
		t.Fatal("an empty histogram has a quantile")
	}
}
