package s3fast

import (
	"strconv"
	"sync/atomic"
	"time"
)

// metrics are the frontend's counters, by operation. Updates are atomic adds; no
// lock, no allocation.
type metrics struct {
	names    []string
	ops      []opMetrics
	bytesIn  atomic.Uint64
	bytesOut atomic.Uint64
}

type opMetrics struct {
	classes [5]atomic.Uint64 // by first digit of the status, less one
	buckets [len(bounds) + 1]atomic.Uint64
	micros  atomic.Uint64 // sum of durations
}

// bounds are the upper bounds of the latency buckets, in microseconds.
var bounds = [...]int64{250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000,
	1000000, 2500000, 10000000, 60000000}

func newMetrics(names []string) *metrics {
	return &metrics{names: names, ops: make([]opMetrics, len(names))}
}

// observe counts one request, answered with status after d.
func (m *metrics) observe(op, status int, d time.Duration) {
	o := &m.ops[op]
	if class := status/100 - 1; class >= 0 && class < len(o.classes) {
		o.classes[class].Add(1)
	}
	us := max(d.Microseconds(), 0)
	i := 0
	for i < len(bounds) && us > bounds[i] {
		i++
	}
	o.buckets[i].Add(1)
	o.micros.Add(uint64(us)) // #nosec G115: not negative
}

// append renders the counters (Prometheus text exposition format).
func (m *metrics) append(dst []byte, conns int, inFlight int64) []byte {
	dst = gauge(dst, "sluice_s3_connections", int64(conns))
	dst = gauge(dst, "sluice_s3_requests_in_flight", inFlight)
	dst = counter(dst, "sluice_s3_received_bytes_total", m.bytesIn.Load())
	dst = counter(dst, "sluice_s3_sent_bytes_total", m.bytesOut.Load())
	dst = append(dst, "# TYPE sluice_s3_requests_total counter\n"...)
	for i := range m.ops {
		for class := range m.ops[i].classes {
			if n := m.ops[i].classes[class].Load(); n > 0 {
				dst = append(dst, `sluice_s3_requests_total{op="`...)
				dst = append(dst, m.names[i]...)
				dst = append(dst, `",status="`...)
				dst = append(dst, byte('1'+class))
				dst = append(dst, `xx"} `...)
				dst = append(strconv.AppendUint(dst, n, 10), '\n')
			}
		}
	}
	dst = append(dst, "# TYPE sluice_s3_request_seconds histogram\n"...)
	for i := range m.ops {
		dst = m.ops[i].appendHistogram(dst, m.names[i])
	}
	return dst
}

func (o *opMetrics) appendHistogram(dst []byte, name string) []byte {
	var counts [len(bounds) + 1]uint64
	total := uint64(0)
	for i := range o.buckets {
		total += o.buckets[i].Load()
		counts[i] = total
	}
	if total == 0 {
		return dst
	}
	line := func(dst []byte, suffix, le string) []byte {
		dst = append(dst, "sluice_s3_request_seconds"...)
		dst = append(dst, suffix...)
		dst = append(dst, `{op="`...)
		dst = append(dst, name...)
		if le != "" {
			dst = append(dst, `",le="`...)
			dst = append(dst, le...)
		}
		return append(dst, `"} `...)
	}
	for i, n := range counts {
		le := "+Inf"
		if i < len(bounds) {
			le = strconv.FormatFloat(float64(bounds[i])/1e6, 'g', -1, 64)
		}
		dst = append(strconv.AppendUint(line(dst, "_bucket", le), n, 10), '\n')
	}
	dst = append(strconv.AppendFloat(line(dst, "_sum", ""), float64(o.micros.Load())/1e6, 'f', 6, 64), '\n')
	return append(strconv.AppendUint(line(dst, "_count", ""), total, 10), '\n')
}

func gauge(dst []byte, name string, v int64) []byte {
	dst = append(append(append(dst, "# TYPE "...), name...), " gauge\n"...)
	return append(strconv.AppendInt(append(append(dst, name...), ' '), v, 10), '\n')
}

func counter(dst []byte, name string, v uint64) []byte {
	dst = append(append(append(dst, "# TYPE "...), name...), " counter\n"...)
	return append(strconv.AppendUint(append(append(dst, name...), ' '), v, 10), '\n')
}
