package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ownSync is what the daemon promises when it answers a PUT.
const ownSync = "data and metadata fdatasynced before the answer"

// options are the flags.
type options struct {
	scenario                    string
	endpoint, accessKey, secret string
	region, ca, bucket, sync    string
	pid                         int
	bin, dir, args              string
	sizes, ops, concurrency     string
	schemes                     string
	warmUp, measured, rest      time.Duration
	count                       int64
	method                      string
	mix                         string
	rounds                      int
	maxRatio                    float64
	out                         string
}

func parseOptions(args []string) (*options, error) {
	o := &options{scenario: "matrix"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.scenario, args = args[0], args[1:]
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.endpoint, "endpoint", "", "an S3 server that runs, http[s]://host:port; default: a daemon of its own")
	f.StringVar(&o.accessKey, "access-key", os.Getenv("AWS_ACCESS_KEY_ID"), "for -endpoint")
	f.StringVar(&o.secret, "secret-key", os.Getenv("AWS_SECRET_ACCESS_KEY"), "for -endpoint")
	f.StringVar(&o.region, "region", "us-east-1", "for -endpoint")
	f.StringVar(&o.ca, "ca", "", "certificate `file` to trust, for -endpoint")
	f.StringVar(&o.sync, "sync", "not stated", "what the server at -endpoint promises with its answer to a PUT")
	f.IntVar(&o.pid, "pid", 0, "process of the server at -endpoint, for its CPU time and memory")
	f.StringVar(&o.bucket, "bucket", "bench", "created where it is missing")
	f.StringVar(&o.bin, "bin", "bin", "folder of sluiced and ctl")
	f.StringVar(&o.dir, "dir", "", "folder on the file system to measure; default: a temporary one")
	f.StringVar(&o.args, "daemon-args", "", "further flags for sluiced, separated by spaces")
	f.StringVar(&o.schemes, "schemes", "http,https", "for a daemon of its own")
	f.StringVar(&o.sizes, "sizes", "4KiB,64KiB,1MiB,16MiB", "matrix: object sizes")
	f.StringVar(&o.ops, "ops", "PUT,GET,HEAD,LIST", "matrix: operations")
	f.StringVar(&o.concurrency, "concurrency", "1,16,64", "matrix: requests at once")
	f.DurationVar(&o.warmUp, "warm-up", time.Second, "matrix: before each measurement")
	f.DurationVar(&o.measured, "time", 4*time.Second, "matrix and drive: of each measurement")
	f.DurationVar(&o.rest, "rest", 0, "take the idle memory of the daemon so long after the load")
	f.Int64Var(&o.count, "n", 0, "large: objects (default 64); listing: keys (default 1000000); abuse: idle connections (default 20000); urls: URLs (default 256)")
	f.StringVar(&o.method, "method", "GET", "urls: method to sign for")
	f.IntVar(&o.rounds, "rounds", 3, "abuse: quiet and abused phases")
	f.Float64Var(&o.maxRatio, "max-ratio", 0, "abuse: fail where the p99 under attack is more than so many times the quiet one; 0: only report")
	f.StringVar(&o.mix, "mix", "", "attack: connections as KIND=N,…; what abuse starts for itself")
	f.StringVar(&o.out, "out", "", "write everything as JSON to `file`")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("unknown argument %q; the scenario comes first", f.Arg(0))
	}
	if o.count == 0 {
		o.count = map[string]int64{"large": 64, "listing": 1000000, "urls": 256, "abuse": 20000}[o.scenario]
	}
	return o, o.check()
}

// check refuses what would fail only after minutes.
func (o *options) check() error {
	switch {
	case !slices.Contains([]string{"matrix", "encryption", "abuse", "attack", "drive", "large", "listing", "urls"}, o.scenario):
		return fmt.Errorf("no scenario %q: matrix, encryption, abuse, drive, large, listing, urls", o.scenario)
	case o.scenario == "listing" && (o.count <= prefixCount || o.count%prefixCount != 0):
		return fmt.Errorf("-n %d: want a multiple of %d above it", o.count, prefixCount)
	case o.count < 0 || o.scenario == "large" && o.count > 1024:
		return fmt.Errorf("-n %d is out of range", o.count)
	case o.rounds < 1 || o.rounds > 100:
		return fmt.Errorf("-rounds %d is out of range", o.rounds)
	case o.measured < time.Second || o.warmUp < 0 || o.rest < 0:
		return errors.New("-time must be a second or more, -warm-up and -rest not negative")
	}
	for _, name := range strings.Split(o.sizes, ",") {
		if sizes[name] == 0 {
			return fmt.Errorf("-sizes: no %q: 4KiB, 64KiB, 1MiB, 16MiB", name)
		}
	}
	for _, op := range strings.Split(o.ops, ",") {
		if !slices.Contains([]string{"PUT", "GET", "HEAD", "LIST"}, op) {
			return fmt.Errorf("-ops: no %q: PUT, GET, HEAD, LIST", op)
		}
	}
	for _, s := range strings.Split(o.schemes, ",") {
		if s != "http" && s != "https" {
			return fmt.Errorf("-schemes: no %q: http, https", s)
		}
	}
	_, err := o.atOnce()
	return err
}

func (o *options) atOnce() (out []int, err error) {
	for _, s := range strings.Split(o.concurrency, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 4096 {
			return nil, fmt.Errorf("-concurrency: %q: want 1…4096", s)
		}
		out = append(out, n)
	}
	return out, nil
}

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
	rep := &report{
		Time: time.Now().UTC(), Scenario: o.scenario, Command: os.Args[1:], Machine: thisMachine(runtime.NumCPU()), Sync: o.sync,
	}
	if o.endpoint != "" {
		err = o.onEndpoint(ctx, rep)
	} else {
		err = o.onOwn(ctx, rep)
	}
	if o.scenario == "urls" || o.scenario == "attack" {
		return err
	}
	err = errors.Join(err, rep.tables(os.Stdout))
	if o.out != "" {
		text, err2 := json.MarshalIndent(rep, "", "  ")
		err = errors.Join(err, err2, os.WriteFile(o.out, append(text, '\n'), 0o644))
	}
	return err
}

// onEndpoint runs on a server that somebody else started.
func (o *options) onEndpoint(ctx context.Context, rep *report) error {
	t, err := newTarget(o.endpoint, o.ca)
	if err != nil {
		return err
	}
	t.accessKey, t.secret, t.region, t.pid = o.accessKey, o.secret, o.region, o.pid
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
	s, err := newServer(ctx, o.bin, dir, strings.Fields(o.args))
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
	if err := o.play(ctx, rep, newPattern(), targets); err != nil {
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

func residentMiB(pid int) (float64, error) {
	now, _, err := memory(pid)
	return float64(now) / (1 << 20), err
}

// play runs the scenario on every endpoint.
func (o *options) play(ctx context.Context, rep *report, p *pattern, targets []*target) error {
	concurrency, err := o.atOnce()
	if err != nil {
		return err
	}
	for _, t := range targets {
		switch o.scenario {
		case "matrix", "encryption":
			m := &matrix{
				t: t, p: p, bucket: o.bucket, pool: poolBytes, sizes: strings.Split(o.sizes, ","), ops: strings.Split(o.ops, ","),
				concurrency: concurrency, warmUp: o.warmUp, measured: o.measured, tell: rep.tell,
			}
			if o.scenario == "matrix" {
				err = m.run(ctx)
			} else {
				err = m.encryption(ctx, func(x ratio) { rep.Ratios = append(rep.Ratios, x) })
			}
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
		case "drive":
			return errors.New("drive needs no -endpoint")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tell keeps a result and shows it as progress.
func (r *report) tell(x result) {
	r.Results = append(r.Results, x)
	fmt.Fprintf(os.Stderr, "%-5s %-28s ×%-3d %10s/s %9s MiB/s  p50 %-8s p99 %-8s others %.1f\n", x.Scheme, x.Name, x.Concurrency,
		number(x.PerSecond), number(x.MiBPerSec), span(x.P50us), span(x.P99us), x.OtherCores)
}

func (r *report) tellDrive(x driveResult) {
	r.Drive = append(r.Drive, x)
	fmt.Fprintf(os.Stderr, "fio %-28s %s ×%d×%d %10s/s %9s MiB/s\n", x.Name, x.Block, x.Depth, x.Jobs, number(x.PerSecond), number(x.MiBPerSec))
}

// urls prints presigned URLs, path and query only, for generators that cannot
// sign. Those to GET are stored first, with contents of the first of -sizes.
func urls(ctx context.Context, t *target, p *pattern, o *options, w io.Writer) error {
	if err := createBucket(ctx, t, p, o.bucket); err != nil {
		return err
	}
	size := strings.Split(o.sizes, ",")[0]
	object := func(i int64, method string) *request {
		return &request{method: method, path: fmt.Sprintf("/%s/urls/%s/%06d", o.bucket, size, i), seed: uint64(i), size: sizes[size]}
	}
	if o.method != "PUT" {
		c := cell{name: "fill " + size, concurrency: 16, limit: o.count, next: func(i int64) (*request, []byte) { return object(i, "PUT"), nil }}
		if _, err := c.run(ctx, t, p); err != nil {
			return err
		}
	}
	out, now := bufio.NewWriter(w), time.Now()
	for i := range o.count {
		if _, err := fmt.Fprintln(out, t.presigned(object(i, o.method), now)); err != nil {
			return err
		}
	}
	return out.Flush()
}
