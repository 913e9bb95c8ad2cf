package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The clients of rebuild, and the objects that are there before.
const (
	rebuildClients = 8
	rebuildLarge   = 1 << 20
	rebuildSmall   = 64 << 10
	rebuildMax     = 10 * time.Minute // longest wait for the end of one
)

// rebuild measures clients without and during the rebuild of a replaced drive, in
// turn, and how fast a rebuild is when nobody else wants the drives.
type rebuild struct {
	s      *server
	t      *target
	p      *pattern
	bucket string
	count  int64 // large objects; as many small ones
	rounds int
	warmUp time.Duration
	time   time.Duration
	tell   func(result)
}

// rebuildResult compares the phases.
type rebuildResult struct {
	Drives       int     `json:"drives"`
	QuietP99us   float64 `json:"quiet_p99_us"`   // median of the rounds
	RebuildP99us float64 `json:"rebuild_p99_us"` // likewise
	Ratio        float64 `json:"ratio"`
	QuietMiB     float64 `json:"quiet_mib_per_second"`
	RebuildMiB   float64 `json:"rebuild_mib_per_second"`
	// Written by the rebuild, in MiB per second of it.
	BesideClients float64 `json:"healed_beside_clients_mib_per_second"`
	Alone         float64 `json:"healed_alone_mib_per_second"`
	AloneCPU      float64 `json:"healed_alone_cpu_s_per_gib"`
	PeakMiB       float64 `json:"rebuild_rss_peak_mib"`
}

func (x *rebuildResult) describe(b *strings.Builder) {
	fmt.Fprintf(b, "\n%d drives: p99 %s quiet, %s during a rebuild, ratio %.2f; clients %s and %s MiB/s; the rebuild %s MiB/s beside them and %s MiB/s alone (%.2f CPU s/GiB); RSS peak %.0f MiB\n",
		x.Drives, span(x.QuietP99us), span(x.RebuildP99us), x.Ratio, number(x.QuietMiB), number(x.RebuildMiB),
		number(x.BesideClients), number(x.Alone), x.AloneCPU, x.PeakMiB)
}

// object returns the request for object i/2 of the small (i even) or large ones.
func (r *rebuild) object(i int64, method string) *request {
	key, kind, size := i/2%r.count, "small", int64(rebuildSmall)
	if i%2 == 1 {
		kind, size = "large", rebuildLarge
	}
	return &request{method: method, path: fmt.Sprintf("/%s/%s/%06d", r.bucket, kind, key), seed: uint64(key), size: size} // #nosec G115: not negative
}

// run fills the bucket and plays the rounds.
func (r *rebuild) run(ctx context.Context) (res rebuildResult, err error) {
	if err := createBucket(ctx, r.t, r.p, r.bucket); err != nil {
		return res, err
	}
	for _, odd := range []int64{0, 1} {
		fill := cell{name: "fill", concurrency: 8, limit: r.count, next: func(i int64) (*request, []byte) { return r.object(2*i+odd, "PUT"), nil }}
		if _, err := fill.run(ctx, r.t, r.p); err != nil {
			return res, err
		}
	}
	var quiet, busy, beside, alone, cpu []float64
	var quietRate, busyRate []float64
	for n := range r.rounds {
		q, err := r.phase(ctx, "quiet")
		if err != nil {
			return res, err
		}
		if err := r.replace(ctx, n); err != nil {
			return res, err
		}
		before, err := r.healed(ctx)
		if err != nil {
			return res, err
		}
		x, err := r.phase(ctx, "rebuild")
		if err != nil {
			return res, err
		}
		after, err := r.healed(ctx)
		if err != nil {
			return res, err
		}
		if !after.running {
			return res, errors.New("the rebuild was over before the clients were: more objects are needed (-n)")
		}
		seconds := (r.warmUp + r.time).Seconds()
		rate, spent, err := r.finish(ctx)
		if err != nil {
			return res, err
		}
		quiet, busy = append(quiet, q.P99us), append(busy, x.P99us)
		quietRate, busyRate = append(quietRate, q.MiBPerSec), append(busyRate, x.MiBPerSec)
		beside, alone, cpu = append(beside, (after.bytes-before.bytes)/seconds/(1<<20)), append(alone, rate), append(cpu, spent)
		res.PeakMiB = max(res.PeakMiB, x.RSSPeakMiB)
	}
	res.Drives = r.s.count
	res.QuietP99us, res.RebuildP99us = median(quiet), median(busy)
	res.Ratio = res.RebuildP99us / res.QuietP99us
	res.QuietMiB, res.RebuildMiB = median(quietRate), median(busyRate)
	res.BesideClients, res.Alone, res.AloneCPU = median(beside), median(alone), median(cpu)
	return res, nil
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// phase measures the clients: reads and writes of both sizes in turn.
func (r *rebuild) phase(ctx context.Context, name string) (result, error) {
	c := cell{
		name: name + " GET/PUT 64KiB/1MiB", concurrency: rebuildClients, bytes: (rebuildSmall + rebuildLarge) / 2, warmUp: r.warmUp, measured: r.time,
		next: func(i int64) (*request, []byte) {
			if i%4 < 2 {
				return r.object(2*rand.Int64N(r.count)+i%2, "GET"), nil
			}
			return r.object(2*rand.Int64N(r.count)+i%2, "PUT"), nil
		},
	}
	res, err := c.run(ctx, r.t, r.p)
	if err == nil {
		r.tell(res)
	}
	return res, err
}

// replace puts a new drive in the place of one of the daemon's.
func (r *rebuild) replace(ctx context.Context, n int) error {
	out, err := r.s.ctl(ctx, "--json", "drive", "list")
	if err != nil {
		return err
	}
	var list []struct{ ID, Path, State string }
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return fmt.Errorf("drive list: %w: %s", err, out)
	}
	if len(list) != r.s.count {
		return fmt.Errorf("the daemon has %d drives, not %d", len(list), r.s.count)
	}
	path := filepath.Join(r.s.dir, fmt.Sprintf("spare-%d", n))
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	_, err = r.s.ctl(ctx, "drive", "replace", list[len(list)-1].ID, path)
	return err
}

// healProgress is what the daemon says of its repairs.
type healProgress struct {
	running bool
	bytes   float64 // written by them since the daemon's start
}

func (r *rebuild) healed(ctx context.Context) (p healProgress, err error) {
	out, err := r.s.ctl(ctx, "--json", "drive", "heal", "status")
	if err != nil {
		return p, err
	}
	var st struct {
		Bytes float64 `json:"written_bytes"`
		Tasks []struct {
			Kind string `json:"kind"`
		} `json:"tasks"`
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return p, fmt.Errorf("heal status: %w: %s", err, out)
	}
	p.bytes = st.Bytes
	for _, t := range st.Tasks {
		p.running = p.running || t.Kind == "rebuild"
	}
	return p, nil
}

// finish waits for the end of the rebuild and returns what it wrote, in MiB per
// second, and the daemon's CPU seconds per GiB of it.
func (r *rebuild) finish(ctx context.Context) (rate, cpu float64, err error) {
	from, err := r.healed(ctx)
	if err != nil {
		return 0, 0, err
	}
	before, err := measure(r.t.pid)
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	for p := from; ; {
		if !p.running {
			seconds := time.Since(begun).Seconds()
			after, err := measure(r.t.pid)
			bytes := p.bytes - from.bytes
			return bytes / seconds / (1 << 20), (after.serverCPU - before.serverCPU).Seconds() / bytes * (1 << 30), err
		}
		if time.Since(begun) > rebuildMax || ctx.Err() != nil {
			return 0, 0, errors.New("the rebuild does not end")
		}
		sleep(ctx, 20*time.Millisecond)
		if p, err = r.healed(ctx); err != nil {
			return 0, 0, err
		}
	}
}
