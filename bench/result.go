package main

import (
	"fmt"
	"math"
	"time"
)

// result of a cell. Times are in the units their names end in. Of an open loop,
// latencies count from the time when an operation was to be sent.
type result struct {
	Scheme      string  `json:"scheme"`
	Name        string  `json:"name"`
	Concurrency int     `json:"concurrency"`
	Operations  float64 `json:"operations"`
	Seconds     float64 `json:"seconds"`
	PerSecond   float64 `json:"operations_per_second"`
	MiBPerSec   float64 `json:"mib_per_second"`
	P50us       float64 `json:"latency_p50_us"`
	P90us       float64 `json:"latency_p90_us"`
	P99us       float64 `json:"latency_p99_us"`
	P999us      float64 `json:"latency_p999_us"`
	MaxUs       float64 `json:"latency_max_us"`
	// Of the server and its children; absent when its process is not known.
	CPUPerOpUs   float64 `json:"server_cpu_us_per_operation,omitempty"`
	CPUPerGiBSec float64 `json:"server_cpu_s_per_gib,omitempty"`
	CPUShare     float64 `json:"server_cpu_cores,omitempty"`
	Switches     float64 `json:"server_voluntary_switches_per_operation,omitempty"`
	RSSPeakMiB   float64 `json:"server_rss_peak_mib,omitempty"`
	// Syscalls are counted in a run of their own, for counting them costs time;
	// absent where perf cannot.
	Syscalls float64 `json:"server_system_calls_per_operation,omitempty"`
	// Cores kept busy by the load generator, and by neither it nor the server.
	ClientCores   float64      `json:"client_cpu_cores"`
	OtherCores    float64      `json:"other_cpu_cores"`
	ClientPerOpUs float64      `json:"client_cpu_us_per_operation"`
	Open          *openResult  `json:"open_loop,omitempty"`
	Kinds         []kindResult `json:"kinds,omitempty"` // MIXED: each operation by itself
	Distribution  distribution `json:"latency_distribution,omitempty"`
	// What the machine could do of it, and how much of that this is, 1 being all.
	Limit      *bound  `json:"limit,omitempty"`
	CPULimit   *bound  `json:"cpu_limit,omitempty"`
	OfLimit    float64 `json:"share_of_limit,omitempty"`
	OfCPULimit float64 `json:"share_of_cpu_limit,omitempty"`

	hist   *histogram
	issued int64 // operations begun, warm-up included
}

// openResult says what became of the operations that an open loop meant to send
// within the measured time. Those dropped met a full backlog, or were still in it
// some time after the end: they are in no latency, so latencies beside drops are
// too good.
type openResult struct {
	Rate     float64 `json:"rate_per_second"`
	Intended int64   `json:"intended"`
	Sent     int64   `json:"sent"`
	Late     int64   `json:"late"` // of those sent: more than 1 ms after their time
	Dropped  int64   `json:"dropped"`
}

// kindResult is one operation of MIXED.
type kindResult struct {
	Op         string  `json:"operation"`
	Operations uint64  `json:"operations"`
	P50us      float64 `json:"latency_p50_us"`
	P99us      float64 `json:"latency_p99_us"`
	MaxUs      float64 `json:"latency_max_us"`
}

func (c *cell) report(t *target, workers []worker, before, after usage) (result, error) {
	h, ops := new(histogram), 0.0
	kinds := make([]histogram, len(c.kinds))
	open := &openResult{Rate: c.rate}
	for i := range workers {
		w := &workers[i]
		for k := range w.hists {
			h.merge(&w.hists[k])
			if len(kinds) > 0 {
				kinds[k].merge(&w.hists[k])
			}
		}
		ops += w.done
		open.Sent += w.sent
		open.Late += w.late
		open.Dropped += w.dropped
	}
	wall := after.at.Sub(before.at)
	res := result{
		Scheme: t.scheme(), Name: c.name, Concurrency: c.concurrency, Operations: math.Round(ops*100) / 100, Seconds: wall.Seconds(), hist: h,
	}
	res.latencies(h)
	if ops == 0 {
		return res, fmt.Errorf("%s: no operation in %s", c.name, wall)
	}
	for i := range kinds {
		k := &kinds[i]
		res.Kinds = append(res.Kinds, kindResult{c.kinds[i], k.total, micros(k.quantile(0.5)), micros(k.quantile(0.99)), micros(k.max)})
	}
	if c.rate > 0 {
		res.Open = open
	}
	gib := ops * float64(c.bytes) / (1 << 30)
	res.PerSecond = ops / wall.Seconds()
	res.MiBPerSec = gib * 1024 / wall.Seconds()
	own, server := after.ownCPU-before.ownCPU, after.serverCPU-before.serverCPU
	res.ClientCores = own.Seconds() / wall.Seconds()
	res.ClientPerOpUs = micros(own) / ops
	res.OtherCores = max(0, (after.machineCPU-before.machineCPU-own-server).Seconds()/wall.Seconds())
	if !after.serverKnown {
		return res, nil
	}
	res.CPUPerOpUs = micros(server) / ops
	if gib > 0 {
		res.CPUPerGiBSec = server.Seconds() / gib
	}
	res.CPUShare = server.Seconds() / wall.Seconds()
	res.Switches = float64(switchesSince(before.voluntary, after.voluntary)) / ops
	_, peak, err := familyMemory(t.pid)
	res.RSSPeakMiB = float64(peak) / (1 << 20)
	return res, err
}

// latencies fills in what h says.
func (r *result) latencies(h *histogram) {
	r.P50us, r.P90us, r.P99us = micros(h.quantile(0.5)), micros(h.quantile(0.9)), micros(h.quantile(0.99))
	r.P999us, r.MaxUs = micros(h.quantile(0.999)), micros(h.max)
	r.Distribution = h.distribution()
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }
