package drive

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
)

// Steps by which the device grows, in bytes.
const (
	maxGrowStep = 1 << 30
	minGrowStep = 16 << 20
)

// growth is one growth of the device in flight. Whoever waits for it reads
// grew and err after done is closed.
type growth struct {
	began time.Time
	done  chan struct{}
	grew  bool
	err   error
}

// Reserve sets extents aside for a fragment of size payload bytes (1…
// MaxFragment). They stay reserved until Free. It prefers one extent, growing
// the device for it, and scatters over at most MaxExtents when the device can
// grow no more. ErrNoSpace when they cannot be had; ErrFailed when the drive is
// out of service.
func (d *Drive) Reserve(ctx context.Context, size int64) ([]layout.Extent, error) {
	if size < 1 || size > MaxFragment {
		return nil, fmt.Errorf("%w: fragment of %d bytes", ErrRange, size)
	}
	return d.reserveBytes(ctx, DiskSize(size))
}

// ReserveFragment sets extents aside for f, which need not have any; see Reserve.
func (d *Drive) ReserveFragment(ctx context.Context, f *Fragment) ([]layout.Extent, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	return d.reserveBytes(ctx, f.DiskSize())
}

// reserveBytes sets aside extents of so many bytes.
func (d *Drive) reserveBytes(ctx context.Context, bytes int64) ([]layout.Extent, error) {
	if err := d.Err(); err != nil {
		return nil, err
	}
	need := (bytes + d.unit - 1) / d.unit
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if exts := d.take(need, fewExtents); exts != nil {
			return exts, nil
		}
		grew, err := d.grow(ctx, need)
		if err != nil {
			return nil, err
		}
		if !grew {
			break
		}
	}
	if exts := d.take(need, MaxExtents); exts != nil {
		return exts, nil
	}
	return nil, fmt.Errorf("%w: drive %s: %d bytes", ErrNoSpace, d.id, need*d.unit)
}

// take reserves need units in at most maxRuns extents, or returns nil. It
// starts growing the device when free space is about to run out, so that later
// callers need not wait.
func (d *Drive) take(need int64, maxRuns int) []layout.Extent {
	d.mu.Lock()
	defer d.mu.Unlock()
	runs := d.space.take(need, maxRuns)
	if runs == nil {
		return nil
	}
	if d.space.free()*d.unit < d.ahead && d.growth == nil {
		d.startGrowth(0)
	}
	exts := make([]layout.Extent, len(runs))
	for i, r := range runs {
		exts[i] = layout.Extent{Off: dataStart + r.start*d.unit, Len: r.n * d.unit}
	}
	return exts
}

// reach returns the size in bytes up to which the device may grow now.
func (d *Drive) reach() int64 {
	limit, err := d.dev.Limit()
	if err != nil {
		limit = 0
	}
	if err != nil && d.abandoned.Load() == nil {
		d.log.Warn("cannot tell how far the drive can grow", "drive", d.id, "err", err)
	}
	size := d.dev.Size()
	reach := limit - d.reserve
	if d.limit > 0 {
		reach = min(reach, d.limit)
	}
	return max(size, min(reach, dataStart+maxUnits*d.unit))
}

// grow makes the device larger, by need units if possible, and reports whether
// it did. It joins a growth that is under way already.
func (d *Drive) grow(ctx context.Context, need int64) (bool, error) {
	d.mu.Lock()
	g := d.growth
	if g == nil {
		g = d.startGrowth(need)
	}
	d.mu.Unlock()
	timer := d.timer(max(0, d.deadline-time.Since(g.began)))
	defer d.timers.Put(timer)
	defer timer.Stop()
	select {
	case <-g.done:
		return g.grew, g.err
	case <-ctx.Done():
		return false, ctx.Err()
	case <-d.given:
		return false, d.Err()
	case <-timer.C:
		return false, fmt.Errorf("%w: drive %s: the device has been growing for %v", ErrTimeout, d.id, time.Since(g.began))
	}
}

// startGrowth starts a growth. d.mu is held and none is under way.
func (d *Drive) startGrowth(need int64) *growth {
	g := &growth{began: time.Now(), done: make(chan struct{})}
	if d.closed {
		g.err = ioring.ErrClosed
		close(g.done)
		return g
	}
	d.growth = g
	d.background.Add(1)
	go func() {
		defer d.background.Done()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			select {
			case <-d.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
		step, err := d.growDevice(ctx, need)
		d.mu.Lock()
		g.grew, g.err = d.adopt(), err
		d.ahead = step / 2
		d.growth = nil
		d.mu.Unlock()
		close(g.done)
	}()
	return g
}

// growDevice grows the device by one step and returns the step, or 0 when it
// can grow no more. The error is one that is not for want of space.
func (d *Drive) growDevice(ctx context.Context, need int64) (int64, error) {
	size, reach := d.dev.Size(), d.reach()
	size = dataStart + max(0, size-dataStart)/d.unit*d.unit
	left := (reach - size) / d.unit * d.unit
	d.mu.Lock()
	missing := need - d.space.free()
	if room := d.space.limit - d.space.units; room < left/d.unit {
		left = max(0, room) * d.unit
	}
	d.mu.Unlock()
	if left <= 0 || missing > left/d.unit {
		return 0, nil
	}
	least := max(d.unit, missing*d.unit)
	step := min(max(left/64, minGrowStep, need*d.unit), max(maxGrowStep, need*d.unit), left)
	step = max(step/d.unit*d.unit, least)
	for {
		err := d.dev.Grow(ctx, size+step)
		switch {
		case err == nil:
			return step, nil
		case !errors.Is(err, ioring.ErrNoSpace):
			d.log.Error("cannot grow the drive", "drive", d.id, "bytes", size+step, "err", err)
			return 0, fmt.Errorf("drive %s: grow to %d bytes: %w", d.id, size+step, err)
		case step == least:
			return 0, nil
		}
		step = max(step/2/d.unit*d.unit, least)
	}
}

// adopt takes the device's present size over into the bitmap and reports
// whether it grew. d.mu is held.
func (d *Drive) adopt() bool {
	before := d.space.units
	d.space.extend(min(maxUnits, max(0, d.dev.Size()-dataStart)/d.unit))
	d.end.Store(dataStart + d.space.units*d.unit)
	return d.space.units > before
}

// limitUnits converts Options.Limit to units of data.
func limitUnits(limit, unit int64) int64 {
	if limit == 0 {
		return math.MaxInt64
	}
	return max(0, limit-dataStart) / unit
}
