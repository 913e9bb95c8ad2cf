package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/ioring"
	"golang.org/x/sys/unix"
)

// Geometry of the drive's limits.
const (
	driveBytes = 512 << 20 // of the file that is written and read, but in tests
	driveBlock = 1 << 20
	drivePage  = 4 << 10
	driveDepth = 16
)

// driveLimit measures a file as the daemon has it: through package ioring, with
// O_DIRECT where the file system has it, and without S3.
type driveLimit struct {
	path  string
	arena *ioring.Arena
	dev   ioring.Device
	ops   []*ioring.Op // one for each buffer
	log   *os.File     // for appends
	next  int64        // offset of the next sequential transfer
	bytes int64        // of the file
}

func newDriveLimit(ctx context.Context, dir string, bytes int64) (d *driveLimit, err error) {
	d = &driveLimit{path: filepath.Join(dir, "limit.data"), bytes: bytes}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("the drive's limits: %w", err), d.close())
		}
	}()
	if d.arena, err = ioring.NewArena((driveDepth + 1) * ioring.LoanSize(driveBlock)); err != nil {
		return d, err
	}
	alone := new(atomic.Bool)
	alone.Store(true)
	if d.dev, err = ioring.Open(d.path, d.arena, ioring.Options{Mode: ioring.ModeAuto, CPU: -1, Alone: alone}); err != nil {
		return d, err
	}
	if d.log, err = os.OpenFile(filepath.Join(dir, "limit.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return d, err
	}
	rng := rand.NewChaCha8([32]byte{2})
	for range driveDepth {
		buf, err := d.arena.Get(ctx, driveBlock)
		if err != nil {
			return d, err
		}
		_, _ = rng.Read(buf.Bytes()[:driveBlock]) // a drive may compress zeros
		d.ops = append(d.ops, &ioring.Op{Buf: buf})
	}
	if err := d.dev.Grow(ctx, bytes); err != nil {
		return d, err
	}
	// The first write of an extent costs more than all later ones; the daemon's
	// blocks are used over and over too.
	_, err = d.transfer(ctx, ioring.OpWrite, driveBlock, driveDepth, bytes/driveBlock, time.Hour, d.sequence())
	return d, err
}

// close gives back what newDriveLimit took, as far as it came.
func (d *driveLimit) close() (err error) {
	for _, op := range d.ops {
		op.Buf.Release()
	}
	if d.log != nil {
		err = errors.Join(d.log.Close(), os.Remove(d.log.Name()))
	}
	if d.dev != nil {
		err = errors.Join(err, d.dev.Close(), os.Remove(d.path))
	}
	if d.arena != nil {
		err = errors.Join(err, d.arena.Close())
	}
	return err
}

// sequence returns consecutive offsets of blocks, from where the last one ended.
func (d *driveLimit) sequence() func() int64 {
	return func() int64 {
		off := d.next
		d.next = (d.next + driveBlock) % d.bytes
		return off
	}
}

// transferred is what a transfer did.
type transferred struct {
	count   int64
	seconds float64
	cpu     time.Duration // of this process
}

// transfer keeps depth operations of size bytes in flight until time is over, or
// count of them are done, and ends writes with a sync, which counts in the time.
func (d *driveLimit) transfer(ctx context.Context, code ioring.Code, size, depth int, count int64, most time.Duration, offset func() int64) (t transferred, err error) {
	before, err := processCPU(os.Getpid())
	if err != nil {
		return t, err
	}
	begun, issued := time.Now(), int64(0)
	more := func() bool { return issued < count && time.Since(begun) < most && ctx.Err() == nil }
	flying := make([]bool, depth)
	for left := true; left; {
		left = false
		for i, op := range d.ops[:depth] {
			if flying[i] {
				flying[i] = false
				err = errors.Join(err, op.Wait())
				t.count++
			}
			if err == nil && more() {
				op.Code, op.Lo, op.Hi, op.Off = code, 0, size, offset()
				d.dev.Submit(op)
				flying[i], left = true, true
				issued++
			}
			left = left || flying[i]
		}
	}
	if err == nil && code == ioring.OpWrite {
		sync := &ioring.Op{Code: ioring.OpSync}
		d.dev.Submit(sync)
		err = sync.Wait()
	}
	t.seconds = time.Since(begun).Seconds()
	after, err2 := processCPU(os.Getpid())
	t.cpu = after - before
	return t, errors.Join(err, err2)
}

// sample measures each pattern once.
func (d *driveLimit) sample(ctx context.Context, l *limits) error {
	anywhere := func() int64 { return rand.Int64N(d.bytes/drivePage) * drivePage }
	for _, depth := range []int{1, driveDepth} {
		for _, p := range []struct {
			id, name string
			code     ioring.Code
			size     int
			offset   func() int64
		}{
			{limitDriveWrite, "drive: write 1 MiB, then sync", ioring.OpWrite, driveBlock, d.sequence()},
			{limitDriveRead, "drive: read 1 MiB", ioring.OpRead, driveBlock, d.sequence()},
			{limitRandWrite, "drive: write 4 KiB anywhere", ioring.OpWrite, drivePage, anywhere},
			{limitRandRead, "drive: read 4 KiB anywhere", ioring.OpRead, drivePage, anywhere},
		} {
			t, err := d.transfer(ctx, p.code, p.size, depth, 1<<40, l.time, p.offset)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if t.count == 0 {
				continue
			}
			id, name := fmt.Sprintf("%s_%d", p.id, depth), fmt.Sprintf("%s ×%d", p.name, depth)
			if p.size == driveBlock {
				l.add(id, name, "MiB/s", float64(t.count)/t.seconds)
				l.add(id+limitCPU, name+", CPU", "s/GiB", t.cpu.Seconds()/float64(t.count)*1024)
			} else {
				l.add(id, name, "ops/s", float64(t.count)/t.seconds)
				l.add(id+limitCPU, name+", CPU", "µs/op", micros(t.cpu)/float64(t.count))
			}
		}
	}
	return d.appends(ctx, l)
}

// appends takes the time of one durable append after another.
func (d *driveLimit) appends(ctx context.Context, l *limits) error {
	if err := d.log.Truncate(0); err != nil {
		return err
	}
	page, h := d.ops[0].Buf.Bytes()[:drivePage], new(histogram)
	for begun := time.Now(); time.Since(begun) < l.time && ctx.Err() == nil; {
		at := time.Now()
		if _, err := d.log.Write(page); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(d.log.Fd())); err != nil { // #nosec G115: a descriptor
			return fmt.Errorf("fdatasync: %w", err)
		}
		h.record(time.Since(at))
	}
	if h.total > 0 {
		l.add(limitAppend, "4 KiB appended and fdatasynced, p50", "µs", micros(h.quantile(0.5)))
	}
	return nil
}
