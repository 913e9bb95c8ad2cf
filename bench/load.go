package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// cell is one measurement: an operation, a size and a concurrency.
type cell struct {
	name        string
	concurrency int
	bytes       int64 // of content moved by each operation; 0: none counts
	warmUp      time.Duration
	measured    time.Duration // 0: until limit operations are done, no warm-up
	limit       int64         // operations at most; 0: no limit
	// next returns the i-th request of the cell; it is called concurrently. A
	// request with a non-nil head is sent with it, else it is signed first.
	next func(i int64) (*request, []byte)
}

// result of a cell. Times are in the units their names end in.
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
	// Of the server; absent when its process is not known.
	CPUPerOpUs   float64 `json:"server_cpu_us_per_operation,omitempty"`
	CPUPerGiBSec float64 `json:"server_cpu_s_per_gib,omitempty"`
	CPUShare     float64 `json:"server_cpu_cores,omitempty"`
	Switches     float64 `json:"server_voluntary_switches_per_operation,omitempty"`
	RSSPeakMiB   float64 `json:"server_rss_peak_mib,omitempty"`
	// Cores kept busy by the load generator, and by neither it nor the server.
	ClientCores float64 `json:"client_cpu_cores"`
	OtherCores  float64 `json:"other_cpu_cores"`
}

// worker is one connection's share of a cell.
type worker struct {
	hist histogram // of the operations that were under way in the measured time
	done float64   // operations: of each, the part that lay in the measured time
	err  error
}

// phases is what the workers of a cell share.
type phases struct {
	from, to time.Time // the measured time; to is zero in a cell without
	next     atomic.Int64
}

// share returns the part of an operation, 0…1, that lay in the measured time.
// Counting whole operations would miss, or count twice, most of what large ones
// do: many that share a bottleneck tend to end together.
func (ph *phases) share(begun, ended time.Time) float64 {
	lo, hi := begun, ended
	if lo.Before(ph.from) {
		lo = ph.from
	}
	if !ph.to.IsZero() && hi.After(ph.to) {
		hi = ph.to
	}
	if !hi.After(lo) {
		return 0
	}
	return float64(hi.Sub(lo)) / float64(ended.Sub(begun))
}

// run runs a cell against t. A failure of any request fails it.
func (c *cell) run(ctx context.Context, t *target, p *pattern) (res result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	clients := make([]*client, c.concurrency)
	for i := range clients {
		if clients[i], err = dial(ctx, t, p); err != nil {
			return res, err
		}
		defer clients[i].close()
	}
	if t.pid != 0 {
		// The daemon keeps its /proc files from its own user; then the peak is
		// that since its start.
		if err := resetPeak(t.pid); err != nil && !errors.Is(err, os.ErrPermission) {
			return res, err
		}
	}
	ph := phases{from: time.Now()}
	if c.measured > 0 {
		ph.from = ph.from.Add(c.warmUp)
		ph.to = ph.from.Add(c.measured)
	}
	before, err := measure(t.pid)
	if err != nil {
		return res, err
	}
	workers := make([]worker, c.concurrency)
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			if err := c.work(ctx, &ph, clients[i], &workers[i]); err != nil {
				workers[i].err = err
				cancel(err)
			}
		})
	}
	if c.measured > 0 {
		sleep(ctx, time.Until(ph.from))
		before, err = measure(t.pid)
		sleep(ctx, time.Until(ph.to))
	} else {
		group.Wait()
	}
	after, err2 := measure(t.pid)
	group.Wait()
	if err := errors.Join(err, err2, context.Cause(ctx)); err != nil {
		return res, fmt.Errorf("%s: %w", c.name, err)
	}
	return c.report(t, workers, before, after)
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// work sends requests until the cell is over or has failed.
func (c *cell) work(ctx context.Context, ph *phases, cl *client, w *worker) error {
	for ctx.Err() == nil && (ph.to.IsZero() || time.Now().Before(ph.to)) {
		i := ph.next.Add(1) - 1
		if c.limit > 0 && i >= c.limit {
			return nil
		}
		r, head := c.next(i)
		if head == nil {
			head = cl.t.head(r, time.Now())
		}
		begun := time.Now()
		if _, err := cl.send(r, head); err != nil {
			return err
		}
		ended := time.Now()
		if share := ph.share(begun, ended); share > 0 {
			w.hist.record(ended.Sub(begun))
			w.done += share
		}
	}
	return nil
}

func (c *cell) report(t *target, workers []worker, before, after usage) (result, error) {
	var h histogram
	ops := 0.0
	for i := range workers {
		h.merge(&workers[i].hist)
		ops += workers[i].done
	}
	wall := after.at.Sub(before.at)
	res := result{
		Scheme: t.scheme(), Name: c.name, Concurrency: c.concurrency, Operations: math.Round(ops*100) / 100, Seconds: wall.Seconds(),
		P50us: micros(h.quantile(0.5)), P90us: micros(h.quantile(0.9)), P99us: micros(h.quantile(0.99)),
		P999us: micros(h.quantile(0.999)), MaxUs: micros(h.max),
	}
	if ops == 0 {
		return res, fmt.Errorf("%s: no operation in %s", c.name, wall)
	}
	gib := ops * float64(c.bytes) / (1 << 30)
	res.PerSecond = ops / wall.Seconds()
	res.MiBPerSec = gib * 1024 / wall.Seconds()
	own, server := after.ownCPU-before.ownCPU, after.serverCPU-before.serverCPU
	res.ClientCores = own.Seconds() / wall.Seconds()
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
	_, peak, err := memory(t.pid)
	res.RSSPeakMiB = float64(peak) / (1 << 20)
	return res, err
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }
