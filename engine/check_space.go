package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
)

const (
	leakRuns     = 4096 // runs of a drive that are looked at as leaks
	leakPatience = 3 * time.Second
	leakLook     = 25 * time.Millisecond
)

// unnamed notes what is in use on the drives of a pass and was named by nothing when
// the snapshot was taken: writes under way, space about to be freed, and leaks.
func (p *placesPass) unnamed() {
	for id, m := range p.maps {
		d := p.view.drive(id)
		if d == nil || m.full {
			continue
		}
		var runs []layout.Extent
		for x, ok := d.NextUsed(0); ok && len(runs) < leakRuns; x, ok = d.NextUsed(x.Off + x.Len) {
			runs = m.rest(x, runs)
		}
		if len(runs) > 0 {
			p.c.suspected[id] = runs
		}
	}
}

// leaks waits until nothing is in flight, or for a while, and reports what is in use
// then, was in use before, and is named by nothing. On an engine that is never quiet
// it reports nothing: what is in use may be a write's.
func (c *check) leaks(ctx context.Context) error {
	patience := leakPatience + min(c.e.cfg.Timing.FreeDelay+c.e.cfg.Grace, 5*leakPatience)
	for end := time.Now().Add(patience); ; rest(ctx, leakLook) {
		quiet, err := c.narrow(ctx)
		if err != nil || len(c.suspected) == 0 {
			return err
		}
		if quiet {
			break
		}
		if time.Now().After(end) {
			return nil
		}
	}
	for _, m := range c.e.drives.now().all {
		var n int64
		for _, x := range c.suspected[m.id] {
			n += x.Len
		}
		if n > 0 {
			c.report(Problem{
				Kind: ProblemLeak, Drive: m.id,
				Detail: fmt.Sprintf("%d bytes are in use and nothing names them, the first at %d", n, c.suspected[m.id][0].Off),
			})
		}
	}
	return nil
}

// narrow takes out of what is suspected what is free by now or named, and reports
// whether nothing was in flight meanwhile.
func (c *check) narrow(ctx context.Context) (quiet bool, err error) {
	if err := c.pause(ctx); err != nil {
		return false, err
	}
	c.e.purger.pass.Lock() // between a purge and the freeing of its space
	defer c.e.purger.pass.Unlock()
	before, idle := c.stillness()
	for id, runs := range c.suspected {
		c.setSuspected(id, c.inUse(id, runs))
	}
	if len(c.suspected) == 0 {
		return true, nil
	}
	after, idleAfter := c.stillness()
	snap := c.e.store.Snapshot()
	defer func() {
		if cerr := snap.Close(); err == nil {
			err = cerr
		}
	}()
	err = meta.BackRefs(snap, meta.BlobCursor{}, func(ref meta.BackRef, bad error) error {
		if bad != nil {
			return nil
		}
		for i := range ref.Blob.Fragments {
			f := &ref.Blob.Fragments[i]
			if runs := c.suspected[f.Drive]; len(runs) > 0 {
				for _, x := range f.Extents {
					runs = without(runs, x)
				}
				c.setSuspected(f.Drive, runs)
			}
		}
		return ctx.Err()
	})
	return idle && idleAfter && before == after, err
}

func (c *check) setSuspected(id layout.DriveID, runs []layout.Extent) {
	if len(runs) == 0 {
		delete(c.suspected, id)
		return
	}
	c.suspected[id] = runs
}

// inUse returns the parts of runs that are in use on a drive; none where the drive
// is not there (any more).
func (c *check) inUse(id layout.DriveID, runs []layout.Extent) (out []layout.Extent) {
	d := c.e.drives.now().drive(id)
	if d == nil {
		return nil
	}
	for _, x := range runs {
		end := x.Off + x.Len
		for u, ok := d.NextUsed(x.Off); ok && u.Off < end; u, ok = d.NextUsed(u.Off + u.Len) {
			u.Len = min(u.Len, end-u.Off)
			out = append(out, u)
		}
	}
	return out
}

// stillness is what has happened so far to what takes and frees space; idle: none of
// it is under way.
func (c *check) stillness() (events [3]uint64, idle bool) {
	h, g := c.e.heal, c.e.gate
	h.mu.Lock()
	busy := len(h.flying)
	h.mu.Unlock()
	h.left.mu.Lock()
	left := len(h.left.queue)
	h.left.mu.Unlock()
	events = [3]uint64{g.entered.Load(), h.bytes.Load(), h.movedFragments.Load()}
	readers := c.e.pins.readers.Load() // each has entered the gate, and takes no space
	return events, busy == 0 && left == 0 && g.state.Load()&^shut-readers <= 1
}
