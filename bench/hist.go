package main

import (
	"math/bits"
	"time"
)

// Histogram resolution: subBuckets buckets for each power of two, so that a
// value is off by less than 1/subBuckets (1.6 %).
const (
	subBits    = 6
	subBuckets = 1 << subBits
)

// histogram counts durations in log-linear buckets, from 1 ns up, in fixed
// memory (30 KiB). The zero value is empty. It is not safe for concurrent use:
// every worker has its own, merged at the end.
type histogram struct {
	counts [(64 - subBits + 1) * subBuckets]uint64
	total  uint64
	sum    time.Duration
	max    time.Duration
}

// bucketOf returns the bucket of a value: the value itself below subBuckets,
// else its exponent and the subBits bits after the leading one.
func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	exp := bits.Len64(v) - subBits - 1
	return exp*subBuckets + int(v>>exp)
}

// bucketTop returns the largest value of a bucket.
func bucketTop(i int) uint64 {
	if i < 2*subBuckets {
		return uint64(i)
	}
	exp := i/subBuckets - 1
	return (uint64(i-exp*subBuckets)+1)<<exp - 1
}

func (h *histogram) record(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(uint64(d))]++
	h.total++
	h.sum += d
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// quantile returns the value that a fraction q (0…1) of the durations do not
// exceed, rounded up by less than 1.6 %; 0 when there are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := min(uint64(q*float64(h.total)), h.total-1)
	for i, n := range h.counts {
		if n > rank {
			return min(time.Duration(bucketTop(i)), h.max)
		}
		rank -= n
	}
	return h.max
}
