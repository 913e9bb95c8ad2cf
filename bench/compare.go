package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long the machine is left alone between two turns, after what the
// server before left to the kernel to write: what one puts off is not paid by the
// next.
const settle = 150 * time.Millisecond

// contender is one endpoint of a comparison as it runs.
type contender struct {
	endpoint
	f      *fixture
	server *server // of bench's own, else nil
	pin    *pinned // of a foreign one, if pinned
	peak   float64 // RSS of all rows, MiB
}

// comparison runs the same rows on several endpoints in turn: in each round every
// row, in each row every endpoint, a different one first in each round.
type comparison struct {
	list     []*contender
	rows     []row
	rounds   int
	settle   time.Duration // before each turn
	limits   *limits       // nil: not measured
	syscalls bool
	progress *progress
	results  [][][]result // by row, endpoint, round
}

// enter starts or connects an endpoint.
func (o *options) enter(ctx context.Context, e endpoint, dir string, p *pattern) (c *contender, err error) {
	c = &contender{endpoint: e}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", e.Name, err), c.leave())
		}
	}()
	var t *target
	if e.own() {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return c, err
		}
		s, err := newServer(ctx, e.Bin, dir, e.Drives, o.serverCPUs, strings.Fields(o.args+" "+e.Args))
		if err != nil {
			return c, err
		}
		c.server = s
		c.Version = s.version(ctx)
		if t, err = s.target(e.TLS); err != nil {
			return c, err
		}
	} else {
		if t, err = newTarget(e.URL, e.CA); err != nil {
			return c, err
		}
		t.accessKey, t.secret, t.region, t.pid = e.AccessKey, e.SecretKey, e.Region, e.PID
		if e.PID != 0 && len(o.serverCPUs) > 0 {
			if c.pin, err = pinServer(e.PID, o.serverCPUs); err != nil {
				return c, err
			}
		}
	}
	c.f = newFixture(t, p, o.shape)
	return c, nil
}

// leave undoes enter, as far as it came.
func (c *contender) leave() (err error) {
	if c.pin != nil {
		err = c.pin.restore()
	}
	if c.server != nil {
		err = errors.Join(err, c.server.stop())
	}
	return err
}

// compare runs scenario compare.
func (o *options) compare(ctx context.Context, rep *report) (err error) {
	list, err := o.endpoints()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "sluice-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := &comparison{rows: o.rows(), rounds: o.rounds, settle: settle}
	if c.syscalls, err = o.countsSyscalls(ctx, rep); err != nil {
		return err
	}
	if o.preset == "core" && !canDropCaches() {
		rep.Notes = append(rep.Notes, "no cold row: only root may drop the kernel's caches")
	}
	c.progress = newProgress(len(c.rows) * len(list) * (c.rounds + asInt(c.syscalls)))
	p := newPattern()
	defer func() {
		for _, side := range c.list {
			err = errors.Join(err, side.leave())
		}
	}()
	for i, e := range list {
		c.progress.say("starting " + e.Name)
		side, err := o.enter(ctx, e, filepath.Join(dir, fmt.Sprint(i)), p)
		if err != nil {
			return err
		}
		c.list = append(c.list, side)
	}
	if c.limits, err = o.startLimits(ctx, dir); err != nil {
		return err
	}
	if c.limits != nil {
		defer func() { err = errors.Join(err, c.limits.close()) }()
	}
	err = c.run(ctx)
	c.progress.clear()
	rep.Compare, rep.Limits = c.report(), c.limits.figures()
	return err
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// run plays the rounds, the limits before, between and after them.
func (c *comparison) run(ctx context.Context) error {
	for _, side := range c.list {
		c.progress.say("storing what the rows read: " + side.Name)
		if err := side.f.prepare(ctx, c.rows); err != nil {
			return side.failed(err)
		}
	}
	c.results = make([][][]result, len(c.rows))
	for i := range c.results {
		c.results[i] = make([][]result, len(c.list))
	}
	if err := c.sampleLimits(ctx); err != nil {
		return err
	}
	for round := range c.rounds {
		for i, r := range c.rows {
			if err := c.turn(ctx, round, i, r); err != nil {
				return err
			}
		}
		if err := c.sampleLimits(ctx); err != nil {
			return err
		}
	}
	if c.syscalls {
		return c.count(ctx)
	}
	return nil
}

func (c *comparison) sampleLimits(ctx context.Context) error {
	if c.limits == nil {
		return nil
	}
	c.progress.say("the machine's limits")
	return c.limits.sample(ctx)
}

// turn runs a row on each endpoint.
func (c *comparison) turn(ctx context.Context, round, i int, r row) error {
	for k := range c.list {
		k = (k + round) % len(c.list)
		side := c.list[k]
		c.progress.step(fmt.Sprintf("round %d: %s ×%d: %s", round+1, r.name(), r.concurrency, side.Name))
		if c.settle > 0 {
			unix.Sync()
			sleep(ctx, c.settle)
		}
		res, err := side.f.measure(ctx, r)
		if err != nil {
			return side.failed(err)
		}
		side.peak = max(side.peak, res.RSSPeakMiB)
		c.results[i][k] = append(c.results[i][k], res)
	}
	return nil
}

// count runs every row once more for its system calls.
func (c *comparison) count(ctx context.Context) error {
	for i, r := range c.rows {
		for k, side := range c.list {
			c.progress.step(fmt.Sprintf("system calls: %s ×%d: %s", r.name(), r.concurrency, side.Name))
			if side.f.t.pid == 0 || len(c.results[i][k]) == 0 {
				continue
			}
			n, err := side.f.syscalls(ctx, r)
			if err != nil {
				return side.failed(err)
			}
			c.results[i][k][0].Syscalls = n
		}
	}
	return nil
}

func (c *contender) failed(err error) error {
	if c.server != nil {
		return fmt.Errorf("%s: %w; the daemon's log ends: %s", c.Name, err, c.server.lastWords())
	}
	return fmt.Errorf("%s: %w", c.Name, err)
}
