package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parseOptions(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err == nil:
		err = o.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// run runs the scenario and writes what came of it, even if it failed half-way.
func (o *options) run(ctx context.Context) (err error) {
	if o.scenario == "wire" {
		return serveWire(os.Stdin, os.Stdout)
	}
	rep := &report{
		Schema: schema, Time: time.Now().UTC(), Scenario: o.scenario, Command: os.Args[1:], Machine: thisMachine(runtime.NumCPU()), Sync: o.sync,
	}
	rep.Machine.ServerCPUs, rep.Machine.ClientCPUs = o.serverCPUs.String(), o.clientCPUs.String()
	if err := pinSelf(o.clientCPUs); err != nil {
		return err
	}
	switch {
	case o.scenario == "compare":
		rep.Sync = "of each endpoint its own"
		err = o.compare(ctx, rep)
	case o.scenario == "limits":
		err = o.limitsAlone(ctx, rep)
	case o.endpoint != "":
		err = o.onEndpoint(ctx, rep)
	default:
		err = o.onOwn(ctx, rep)
	}
	if o.scenario == "urls" || o.scenario == "attack" {
		return err
	}
	return errors.Join(err, rep.write(o.out, o.html))
}

// onEndpoint runs on a server that somebody else started.
func (o *options) onEndpoint(ctx context.Context, rep *report) (err error) {
	t, err := newTarget(o.endpoint, o.ca)
	if err != nil {
		return err
	}
	t.accessKey, t.secret, t.region, t.pid = o.accessKey, o.secret, o.region, o.pid
	if o.pid != 0 && len(o.serverCPUs) > 0 {
		pin, err := pinServer(o.pid, o.serverCPUs)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, pin.restore()) }()
	}
	if o.scenario == "matrix" {
		dir, err := os.MkdirTemp(o.dir, "sluice-bench-")
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		return o.matrix(ctx, rep, dir, []*target{t})
	}
	return o.play(ctx, rep, newPattern(), []*target{t})
}

// onOwn runs on a daemon of its own, in a folder that is removed afterwards.
func (o *options) onOwn(ctx context.Context, rep *report) (err error) {
	dir, err := os.MkdirTemp(o.dir, "sluice-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.scenario == "drive" {
		return drive(ctx, dir, 2<<30, int(o.measured/time.Second), rep.tellDrive)
	}
	if o.scenario == "urls" {
		return errors.New("urls needs -endpoint")
	}
	rep.Sync = ownSync
	s, err := newServer(ctx, o.bin, dir, o.drives, o.serverCPUs, strings.Fields(o.args))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if rep.Daemon, err = s.drives(ctx); err != nil {
		return err
	}
	var targets []*target
	for _, scheme := range strings.Split(o.schemes, ",") {
		t, err := s.target(scheme == "https")
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	sleep(ctx, 2*time.Second)
	if rep.IdleRSSBefore, err = residentMiB(s.cmd.Process.Pid); err != nil {
		return err
	}
	switch o.scenario {
	case "rebuild":
		err = o.rebuild(ctx, rep, s, targets[0])
	case "matrix":
		err = o.matrix(ctx, rep, dir, targets)
	default:
		err = o.play(ctx, rep, newPattern(), targets)
	}
	if err != nil {
		return fmt.Errorf("%w; the daemon's log ends: %s", err, s.lastWords())
	}
	if o.scenario == "listing" {
		took, err := restart(ctx, s)
		if err != nil {
			return err
		}
		rep.RestartSec = took.Seconds()
	}
	if o.rest > 0 {
		sleep(ctx, o.rest)
		rep.IdleRSSAfter, err = residentMiB(s.cmd.Process.Pid)
	}
	return err
}

// matrix runs the matrix on every target, with the machine's limits before and
// after.
func (o *options) matrix(ctx context.Context, rep *report, dir string, targets []*target) (err error) {
	rows, p := o.rows(), newPattern()
	l, err := o.startLimits(ctx, dir)
	if err != nil {
		return err
	}
	if l != nil {
		defer func() { err = errors.Join(err, l.close()) }()
		if err := l.sample(ctx); err != nil {
			return err
		}
	}
	syscalls, err := o.countsSyscalls(ctx, rep)
	if err != nil {
		return err
	}
	m := &matrix{rows: rows, syscalls: syscalls, progress: newProgress(len(rows) * len(targets)), tell: rep.tell}
	defer m.progress.clear()
	for i, t := range targets {
		m.f = newFixture(t, p, o.shape)
		m.f.series = i * seriesEach // new keys with every scheme
		if err := m.run(ctx); err != nil {
			return err
		}
	}
	if l != nil {
		if err := l.sample(ctx); err != nil {
			return err
		}
		rep.Limits = l.figures()
	}
	for i := range rep.Results {
		x := &rep.Results[i]
		x.Limit, x.CPULimit = l.bounds(rows[i%len(rows)])
		x.OfLimit, x.OfCPULimit = x.Limit.share(x), x.CPULimit.share(x)
	}
	return nil
}

// startLimits readies the measurement of the machine's limits; nil: not wanted.
func (o *options) startLimits(ctx context.Context, dir string) (*limits, error) {
	if o.noLimits {
		return nil, nil
	}
	return newLimits(ctx, dir, o.serverCPUs, limitTime)
}

// limitsAlone runs scenario limits.
func (o *options) limitsAlone(ctx context.Context, rep *report) (err error) {
	dir, err := os.MkdirTemp(o.dir, "sluice-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rep.Sync = "no server"
	l, err := newLimits(ctx, dir, o.serverCPUs, limitTime)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	for range o.rounds {
		if err := l.sample(ctx); err != nil {
			return err
		}
	}
	rep.Limits = l.figures()
	return nil
}

// countsSyscalls tells whether system calls are counted, and notes where they
// cannot be.
func (o *options) countsSyscalls(ctx context.Context, rep *report) (bool, error) {
	if o.syscalls == "off" {
		return false, nil
	}
	err := canCountSyscalls(ctx)
	if err == nil {
		return true, nil
	}
	err = fmt.Errorf("system calls cannot be counted: %w", err)
	if o.syscalls == "on" {
		return false, err
	}
	rep.Notes = append(rep.Notes, err.Error())
	return false, nil
}

func (o *options) rebuild(ctx context.Context, rep *report, s *server, t *target) error {
	r := &rebuild{s: s, t: t, p: newPattern(), bucket: o.bucket, count: o.count, rounds: o.rounds, warmUp: o.warmUp, time: o.measured, tell: rep.tell}
	x, err := r.run(ctx)
	if err != nil {
		return err
	}
	rep.Rebuild = append(rep.Rebuild, x)
	if o.maxRatio > 0 && x.Ratio > o.maxRatio {
		return fmt.Errorf("the p99 of clients during a rebuild is %.2f times the quiet one, more than %g", x.Ratio, o.maxRatio)
	}
	return nil
}

func residentMiB(pid int) (float64, error) {
	now, _, err := memory(pid)
	return float64(now) / (1 << 20), err
}

// play runs the scenario on every endpoint.
func (o *options) play(ctx context.Context, rep *report, p *pattern, targets []*target) error {
	for _, t := range targets {
		var err error
		switch o.scenario {
		case "encryption":
			e := &encryption{
				f: newFixture(t, p, o.shape), sizes: o.sizeList, concurrency: o.concurrencyList, each: rep.tell,
				tell: func(x ratio) { rep.Ratios = append(rep.Ratios, x) },
			}
			err = e.run(ctx)
		case "large":
			err = large(ctx, t, p, o.bucket, int(o.count), rep.tell)
		case "listing":
			return listing(ctx, t, p, o.count, rep.tell) // on the first endpoint only
		case "abuse":
			a := &abuse{t: t, p: p, bucket: o.bucket, idle: int(o.count), rounds: o.rounds, warmUp: o.warmUp, time: o.measured, tell: rep.tell}
			var x abuseResult
			if x, err = a.run(ctx); err == nil {
				rep.Abuse = append(rep.Abuse, x)
				if o.maxRatio > 0 && x.Ratio > o.maxRatio {
					err = fmt.Errorf("%s: the p99 of good clients is %.2f times the quiet one under attack, more than %g", x.Scheme, x.Ratio, o.maxRatio)
				}
			}
		case "attack":
			mix, err := parseMix(o.mix)
			if err != nil {
				return err
			}
			return runAttack(ctx, t, o.bucket, mix, os.Stdin, os.Stdout)
		case "urls":
			return urls(ctx, t, p, o, os.Stdout)
		case "drive", "rebuild":
			return fmt.Errorf("%s needs no -endpoint", o.scenario)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
