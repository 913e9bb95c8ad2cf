package main

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast"
)

// wantedCopies is how many copies of the metadata there should be, if there are places for
// them: enough to outlive as many drives as any object may, those of buckets with a parity
// of their own included. At least as many as without a choice of parity: an object without
// redundancy is lost with its drive, but not with any other.
func (d *daemon) wantedCopies() int {
	parity, drives := d.engine.Protection()
	return max(parity, engine.AutoParity(drives), d.chosen.most()) + 1
}

// chosenEvery is the time between two looks at all buckets: an import, too, changes them.
const chosenEvery = 10 * time.Minute

// chosenParity knows the highest parity that a bucket has chosen.
type chosenParity struct {
	highest atomic.Int32
	sets    atomic.Int32 // calls of set
	busy    atomic.Bool
	looked  time.Time // used by who set busy
}

// most is 0 where no bucket has chosen one, or it is not known yet.
func (c *chosenParity) most() int { return int(c.highest.Load()) }

// set notes a bucket's choice at once.
func (c *chosenParity) set(parity int) {
	c.sets.Add(1)
	for {
		old := c.highest.Load()
		if int(old) >= parity || c.highest.CompareAndSwap(old, int32(parity)) { // #nosec G115: at most layout.MaxParity
			return
		}
	}
}

// next returns a look at all buckets when one is due, or nil.
func (c *chosenParity) next(d *daemon) func(context.Context) {
	if !c.busy.CompareAndSwap(false, true) {
		return nil
	}
	if !c.looked.IsZero() && time.Since(c.looked) < chosenEvery {
		c.busy.Store(false)
		return nil
	}
	return func(ctx context.Context) {
		defer c.busy.Store(false)
		sets := c.sets.Load()
		highest, err := highestParity(ctx, d)
		if c.looked = time.Now(); err != nil {
			if ctx.Err() == nil {
				d.log.Error("the buckets' parities could not be read", "err", err)
			}
			c.set(highest)
			return
		}
		if c.sets.Load() == sets { // else it may be higher by now, and is looked at again later
			c.highest.Store(int32(highest)) // #nosec G115: at most layout.MaxParity
		}
	}
}

// highestParity looks at all buckets, or at those before an error.
func highestParity(ctx context.Context, d *daemon) (highest int, err error) {
	for after := ""; ctx.Err() == nil; {
		list, err := d.engine.ListBuckets(ctx, after, 1000)
		if err != nil || len(list) == 0 {
			return highest, err
		}
		for i := range list {
			after = list[i].Name
			parity, err := d.s3.BucketParity(ctx, after)
			switch {
			case err == nil:
				highest = max(highest, parity)
			case !errors.Is(err, s3fast.ErrBadParity) && engine.KindOf(err) != engine.NoBucket:
				return highest, err
			}
		}
	}
	return highest, ctx.Err()
}
