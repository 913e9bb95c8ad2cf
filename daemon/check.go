package main

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/layout"
)

// checker runs consistency checks, one at a time, and keeps what the last one found.
type checker struct {
	mu     sync.Mutex
	state  api.Check
	cancel context.CancelFunc // of the one that runs, or ran last
	done   chan struct{}      // closed when it has ended
}

// start begins a check.
func (c *checker) start(d *daemon, deep bool) (api.Check, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Running {
		return api.Check{}, refuse(api.CodeConflict, "a check is running already; it began at %s", c.state.Started.Format(time.RFC3339))
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.state = api.Check{Running: true, Deep: deep, Started: time.Now().UTC(), Problems: []api.Problem{}}
	c.cancel, c.done = cancel, make(chan struct{})
	go c.run(ctx, d, deep, c.done)
	return c.state, nil
}

func (c *checker) run(ctx context.Context, d *daemon, deep bool, done chan struct{}) {
	defer close(done)
	res, err := d.engine.Check(ctx, engine.CheckOptions{Deep: deep, Progress: func(r engine.CheckResult) { c.note(&r) }})
	c.note(&res)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Running, c.state.Finished = false, time.Now().UTC()
	switch {
	case ctx.Err() != nil:
		c.state.Error = "the check was stopped before its end"
	case err != nil:
		c.state.Error = err.Error()
		d.log.Error("a consistency check could not be completed", "err", err)
	case res.ProblemCount > 0 || res.Unreadable > 0:
		d.log.Error("a consistency check found problems", "problems", res.ProblemCount, "unreadable", res.Unreadable, "degraded", res.Degraded)
	default:
		d.log.Info("a consistency check found no problem", "objects", res.Objects, "blobs", res.Blobs, "degraded", res.Degraded, "deep", deep)
	}
}

// note keeps what has been found so far.
func (c *checker) note(r *engine.CheckResult) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	s.Buckets, s.Objects, s.Parts, s.Uploads, s.Blobs, s.Inline = r.Buckets, r.Objects, r.Parts, r.Uploads, r.Blobs, r.Inline
	s.Fragments, s.Bytes, s.Degraded, s.Unreadable, s.Count = r.Fragments, r.Bytes, r.Degraded, r.Unreadable, r.ProblemCount
	s.Problems = []api.Problem{}
	for _, p := range r.Problems {
		out := api.Problem{Kind: p.Kind, Bucket: p.Bucket, Key: p.Key, Detail: p.Detail}
		if !p.Blob.IsZero() {
			out.Blob = p.Blob.String()
		}
		if p.Drive != (layout.DriveID{}) {
			out.Drive = p.Drive.String()
		}
		s.Problems = append(s.Problems, out)
	}
}

// get returns how far the last check has come.
func (c *checker) get() api.Check {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.state
	out.Problems = append([]api.Problem{}, slices.Clone(out.Problems)...)
	return out
}

// stop ends the check that runs, and waits for that until ctx is done.
func (c *checker) stop(ctx context.Context) {
	c.mu.Lock()
	cancel, done := c.cancel, c.done
	c.mu.Unlock()
	if cancel == nil {
		return
	}
	cancel()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func adminCheck(d *daemon, _ *http.Request) (any, error) { return d.checks.get(), nil }

func adminStartCheck(d *daemon, r *http.Request) (any, error) {
	var in api.StartCheck
	if err := decode(r, &in); err != nil {
		return nil, err
	}
	return d.checks.start(d, in.Deep)
}

func adminStopCheck(d *daemon, r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), closeTimeout)
	defer cancel()
	d.checks.stop(ctx)
	return d.checks.get(), nil
}
