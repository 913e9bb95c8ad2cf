package main

import (
	"context"
	"errors"
	"time"
)

// Identifiers of limits in the report. Those that differ by depth or connections
// end in _1 or _16.
const (
	limitDriveWrite = "drive_write"
	limitDriveRead  = "drive_read"
	limitRandRead   = "drive_random_read"
	limitRandWrite  = "drive_random_write"
	limitAppend     = "append_fdatasync"
	limitSend       = "loopback_send"
	limitReceive    = "loopback_receive"
	limitTrips      = "loopback_round_trips"
	limitCPU        = "_cpu" // appended: CPU time of the same
)

// limitTime is how long each limit is measured at a time.
const limitTime = 300 * time.Millisecond

// limitFigure is one physical limit: what the machine does without S3.
type limitFigure struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Unit string `json:"unit"`
	spread
	values []float64
}

// limits measures what the machine can do: the drive, the wire and the hashes.
// sample is called several times in a run, so that the limits see what the rows
// see.
type limits struct {
	drive *driveLimit
	wire  *wire
	time  time.Duration // of each measurement
	list  []*limitFigure
}

// newLimits prepares in dir, which is on the file system to measure. server is
// where the far end of the wire runs.
func newLimits(ctx context.Context, dir string, server cpuList, each time.Duration) (*limits, error) {
	l := &limits{time: each}
	var err error
	if l.drive, err = newDriveLimit(ctx, dir, driveBytes); err != nil {
		return nil, err
	}
	if l.wire, err = startWire(server); err != nil {
		return nil, errors.Join(err, l.drive.close())
	}
	return l, nil
}

func (l *limits) close() error { return errors.Join(l.wire.stop(), l.drive.close()) }

// sample takes each limit once.
func (l *limits) sample(ctx context.Context) error {
	for _, part := range []func(context.Context, *limits) error{l.drive.sample, l.wire.sample, hashLimits} {
		if err := part(ctx, l); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// add adds a value to the figure of id.
func (l *limits) add(id, name, unit string, value float64) {
	f := l.find(id)
	if f == nil {
		f = &limitFigure{ID: id, Name: name, Unit: unit}
		l.list = append(l.list, f)
	}
	f.values = append(f.values, value)
	f.spread = spreadOf(f.values)
}

func (l *limits) find(id string) *limitFigure {
	if l != nil {
		for _, f := range l.list {
			if f.ID == id {
				return f
			}
		}
	}
	return nil
}

// bound is the limit of a row: what it could reach if S3 cost nothing.
type bound struct {
	ID    string  `json:"limit"`
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	By    string  `json:"of"` // the row's figure that is held against it
}

// Figures of a row that limits are for.
const (
	byBytes   = "mib_per_second"
	byRate    = "operations_per_second"
	byLatency = "latency_p50_us"
	byCPU     = "server_cpu_us_per_operation"
	byCPUGiB  = "server_cpu_s_per_gib"
)

// largeFrom is the size from which on bytes count for more than operations.
const largeFrom = 1 << 20

// boundID picks the limit of a row's speed and that of its CPU time.
//
// Large writes are held against the drive's sequential writes with a sync after
// them, cold reads against its reads, hot ones against the wire. A small PUT needs
// one durable write: alone, an append with fdatasync; among others, which may
// share one, the drive's random writes. All else is held against round trips. CPU
// time is held against what the same bytes and trips cost a process that does
// nothing but send and receive them.
func (r row) boundID() (speed, by, cpu, cpuBy string) {
	at := "_16"
	if r.concurrency == 1 {
		at = "_1"
	}
	trips := limitTrips + at
	write := r.op == "PUT" || r.op == "MULTIPART"
	switch {
	case write && r.size >= largeFrom:
		return limitDriveWrite + at, byBytes, limitReceive + limitCPU, byCPUGiB
	case write && r.concurrency == 1:
		return limitAppend, byLatency, trips + limitCPU, byCPU
	case write:
		return limitRandWrite + at, byRate, trips + limitCPU, byCPU
	case r.op == "DELETE" && r.concurrency == 1:
		return limitAppend, byLatency, trips + limitCPU, byCPU
	case r.op == "GET" && r.size >= largeFrom && r.cold:
		return limitDriveRead + at, byBytes, limitSend + limitCPU, byCPUGiB
	case r.op == "GET" && r.size >= largeFrom, r.op == "RANGE":
		return limitSend, byBytes, limitSend + limitCPU, byCPUGiB
	}
	return trips, byRate, trips + limitCPU, byCPU
}

// bounds returns the limits of a row as measured: of its speed and of its CPU
// time; nil where they were not measured.
func (l *limits) bounds(r row) (speed, cpu *bound) {
	id, by, cpuID, cpuBy := r.boundID()
	return l.bound(id, by), l.bound(cpuID, cpuBy)
}

func (l *limits) bound(id, by string) *bound {
	f := l.find(id)
	if f == nil || f.Median == 0 {
		return nil
	}
	return &bound{ID: id, Name: f.Name, Unit: f.Unit, Value: f.Median, By: by}
}

// share returns how much of its limit a result reaches, 1 being all of it; 0:
// unknown.
func (b *bound) share(r *result) float64 {
	if b == nil {
		return 0
	}
	value, least := 0.0, true
	switch b.By {
	case byBytes:
		value, least = r.MiBPerSec, false
	case byRate:
		value, least = r.PerSecond, false
	case byLatency:
		value = r.P50us
	case byCPU:
		value = r.CPUPerOpUs
	case byCPUGiB:
		value = r.CPUPerGiBSec
	}
	switch {
	case value == 0:
		return 0
	case least:
		return b.Value / value
	}
	return value / b.Value
}
