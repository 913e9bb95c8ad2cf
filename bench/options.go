package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// ownSync is what the daemon promises when it answers a PUT.
const ownSync = "data and metadata fdatasynced before the answer"

// drivesMost is the most folders a daemon of bench's own is given as drives.
const drivesMost = 64

// options are the flags, and what parsing made of them.
type options struct {
	scenario                    string
	endpoint, accessKey, secret string
	region, ca, bucket, sync    string
	pid                         int
	bin, dir, args              string
	sizes, ops, concurrency     string
	rates, pool, part, span     string
	mixture, preset             string
	serverList, clientList      string
	overlap, noLimits           bool
	syscalls                    string
	schemes                     string
	warmUp, measured, rest      time.Duration
	count                       int64
	backlog                     int
	method                      string
	mix                         string
	rounds, drives              int
	maxRatio                    float64
	out, html                   string
	endpointsFile               string

	sides                  []string // compare: endpoints
	sizeList               []int64
	opList                 []string
	concurrencyList        []int
	rateList               []float64
	shape                  shape
	serverCPUs, clientCPUs cpuList
}

// scenarios are what the first argument may be; attack and wire are what others
// start for themselves.
func scenarios() []string {
	return []string{"matrix", "compare", "limits", "encryption", "abuse", "drive", "large", "listing", "rebuild", "urls", "attack", "wire"}
}

func parseOptions(args []string) (*options, error) {
	o := &options{scenario: "matrix"}
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		o.scenario, args = args[0], args[1:]
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	o.serverFlags(f)
	o.loadFlags(f)
	for {
		if err := f.Parse(args); err != nil {
			return nil, err
		}
		args = f.Args()
		if len(args) == 0 {
			break
		}
		if o.scenario != "compare" {
			return nil, fmt.Errorf("unknown argument %q; the scenario comes first", args[0])
		}
		o.sides, args = append(o.sides, args[0]), args[1:]
	}
	o.defaults()
	if err := o.parseLists(); err != nil {
		return nil, err
	}
	return o, o.check()
}

// serverFlags are those that say what is measured and where.
func (o *options) serverFlags(f *flag.FlagSet) {
	f.StringVar(&o.endpoint, "endpoint", "", "an S3 server that runs, http[s]://host:port; default: a daemon of its own")
	f.StringVar(&o.accessKey, "access-key", os.Getenv("AWS_ACCESS_KEY_ID"), "for -endpoint, and endpoints without one")
	f.StringVar(&o.secret, "secret-key", os.Getenv("AWS_SECRET_ACCESS_KEY"), "for -endpoint, and endpoints without one")
	f.StringVar(&o.region, "region", "us-east-1", "for -endpoint, and endpoints without one")
	f.StringVar(&o.ca, "ca", "", "certificate `file` to trust, for -endpoint")
	f.StringVar(&o.sync, "sync", "not stated", "what the server at -endpoint promises with its answer to a PUT")
	f.IntVar(&o.pid, "pid", 0, "process of the server at -endpoint, for its CPU time and memory, with its children")
	f.StringVar(&o.endpointsFile, "endpoints", "", "compare: TOML `file` of endpoints: all of them follow the arguments, unless arguments pick some by name")
	f.StringVar(&o.bucket, "bucket", "bench", "created where it is missing")
	f.StringVar(&o.bin, "bin", "bin", "folder of sluiced and ctl")
	f.StringVar(&o.dir, "dir", "", "folder on the file system to measure; default: a temporary one")
	f.StringVar(&o.args, "daemon-args", "", "further flags for sluiced, separated by spaces")
	f.StringVar(&o.schemes, "schemes", "", "for a daemon of its own (default http,https; compare: http)")
	f.IntVar(&o.drives, "drives", 0, "of a daemon of its own: folders that serve as drives (default 1; rebuild: 6)")
	f.StringVar(&o.serverList, "server-cpus", "", "CPUs for the server, a `list` such as 0-2,5; default: any")
	f.StringVar(&o.clientList, "client-cpus", "", "CPUs for the load generator, a `list`; default: any")
	f.BoolVar(&o.overlap, "overlap", false, "let -server-cpus and -client-cpus have CPUs in common")
	f.StringVar(&o.out, "out", "", "write everything as JSON to `file` (default of matrix and compare: bench-report.json; none: -)")
	f.StringVar(&o.html, "html", "", "write a page with plots to `file` (default of matrix and compare: bench-report.html; none: -)")
}

// loadFlags are those that say what load there is.
func (o *options) loadFlags(f *flag.FlagSet) {
	f.StringVar(&o.sizes, "sizes", "4KiB,64KiB,1MiB,16MiB", "object sizes, 1B to 5GiB")
	f.StringVar(&o.ops, "ops", strings.Join(operations(), ","), "operations; HEAD, DELETE, LIST and MIXED with the first size only")
	f.StringVar(&o.concurrency, "concurrency", "1,16,64", "requests at once, 1 to 4096; of an open loop, connections")
	f.StringVar(&o.rates, "rate", "0", "operations per second of an open loop, a `list`; 0 is the closed loop")
	f.IntVar(&o.backlog, "backlog", defaultBacklog, "open loop: operations that may wait for a connection; more are dropped, and counted")
	f.StringVar(&o.preset, "preset", "", "core: the rows that Sluice's goals are stated for, in place of -sizes, -ops, -concurrency and -rate (default of compare without any of these)")
	f.StringVar(&o.pool, "pool", "", "content of the objects of one size (default 1GiB; compare 512MiB); at most 16384 objects, at least 16")
	f.StringVar(&o.part, "part", sizeName(defaultPart), "MULTIPART: size of a part, 5MiB or more")
	f.StringVar(&o.span, "range", sizeName(defaultSpan), "RANGE: bytes of each read")
	f.StringVar(&o.mixture, "mixture", "GET=45,HEAD=30,PUT=15,DELETE=10", "MIXED: how often each operation comes")
	f.DurationVar(&o.warmUp, "warm-up", 500*time.Millisecond, "before each measurement")
	f.DurationVar(&o.measured, "time", 3*time.Second, "of each measurement")
	f.IntVar(&o.rounds, "rounds", 0, "compare: rounds (default 5); abuse and rebuild: quiet and other phases (default 3)")
	f.BoolVar(&o.noLimits, "no-limits", false, "matrix and compare: do not measure the drive, the wire and the hashes")
	f.StringVar(&o.syscalls, "syscalls", "auto", "count system calls with perf, in a short run after each: auto (where perf can), on, off")
	f.DurationVar(&o.rest, "rest", 0, "take the idle memory of the daemon so long after the load")
	f.Int64Var(&o.count, "n", 0, "large: objects (default 64); listing: keys (default 1000000); abuse: idle connections (default 20000); urls: URLs (default 256); rebuild: objects of each size (default 3072)")
	f.StringVar(&o.method, "method", "GET", "urls: method to sign for")
	f.Float64Var(&o.maxRatio, "max-ratio", 0, "abuse and rebuild: fail where the p99 meanwhile is more than so many times the quiet one; 0: only report")
	f.StringVar(&o.mix, "mix", "", "attack: connections as KIND=N,…; what abuse starts for itself")
}

// defaults sets what depends on the scenario.
func (o *options) defaults() {
	compare := o.scenario == "compare"
	if o.count == 0 {
		o.count = map[string]int64{"large": 64, "listing": 1000000, "urls": 256, "abuse": 20000, "rebuild": 3072}[o.scenario]
	}
	if o.drives == 0 {
		o.drives = max(1, map[string]int{"rebuild": 6}[o.scenario])
	}
	if o.rounds == 0 {
		o.rounds = 3 + 2*asInt(compare)
	}
	if o.schemes == "" {
		o.schemes = map[bool]string{true: "http", false: "http,https"}[compare]
	}
	if o.pool == "" {
		o.pool = map[bool]string{true: "512MiB", false: "1GiB"}[compare]
	}
	for _, file := range []struct {
		name *string
		kind string
	}{{&o.out, "json"}, {&o.html, "html"}} {
		switch {
		case *file.name == "-":
			*file.name = ""
		case *file.name == "" && (compare || o.scenario == "matrix"):
			*file.name = "bench-report." + file.kind
		}
	}
	untouched := o.sizes == "4KiB,64KiB,1MiB,16MiB" && o.ops == strings.Join(operations(), ",") && o.concurrency == "1,16,64" && o.rates == "0"
	if compare && untouched && o.preset == "" {
		o.preset = "core"
	}
}

// parseLists parses what flags give as text.
func (o *options) parseLists() (err error) {
	for _, parse := range []func() error{
		func() (err error) { o.sizeList, err = parseList(o.sizes, parseSize); return },
		func() (err error) { o.opList, err = operationsOf(o.ops); return },
		func() (err error) { o.concurrencyList, err = parseList(o.concurrency, parseConcurrency); return },
		func() (err error) { o.rateList, err = parseList(o.rates, parseRate); return },
		func() (err error) { o.serverCPUs, err = parseCPUs(o.serverList); return },
		func() (err error) { o.clientCPUs, err = parseCPUs(o.clientList); return },
		func() (err error) { o.shape.pool, err = parseSize(o.pool); return },
		func() (err error) { o.shape.part, err = parseSize(o.part); return },
		func() (err error) { o.shape.span, err = parseSize(o.span); return },
		func() (err error) { o.shape.mix, err = parseMixture(o.mixture); return },
	} {
		if err = parse(); err != nil {
			return err
		}
	}
	o.shape.bucket, o.shape.backlog, o.shape.warmUp, o.shape.measured = o.bucket, o.backlog, o.warmUp, o.measured
	return nil
}

// check refuses what would fail only after minutes.
func (o *options) check() error {
	switch {
	case !slices.Contains(scenarios(), o.scenario):
		return fmt.Errorf("no scenario %q: %s", o.scenario, strings.Join(scenarios()[:10], ", "))
	case o.scenario == "listing" && (o.count <= prefixCount || o.count%prefixCount != 0):
		return fmt.Errorf("-n %d: want a multiple of %d above it", o.count, prefixCount)
	case o.count < 0 || o.scenario == "large" && o.count > 1024:
		return fmt.Errorf("-n %d is out of range", o.count)
	case o.drives < 1 || o.drives > drivesMost:
		return fmt.Errorf("-drives %d is out of range", o.drives)
	case o.rounds < 1 || o.rounds > 100:
		return fmt.Errorf("-rounds %d is out of range", o.rounds)
	case o.measured < time.Second || o.warmUp < 0 || o.rest < 0:
		return errors.New("-time must be a second or more, -warm-up and -rest not negative")
	case o.backlog < 1 || o.backlog > 1<<20:
		return fmt.Errorf("-backlog %d is out of range", o.backlog)
	case o.shape.part < leastPart:
		return fmt.Errorf("-part %s: S3 takes parts of 5MiB or more", o.part)
	case !slices.Contains([]string{"auto", "on", "off"}, o.syscalls):
		return fmt.Errorf("-syscalls %s: want auto, on or off", o.syscalls)
	case o.preset != "" && o.preset != "core":
		return fmt.Errorf("-preset: no %q: core", o.preset)
	}
	if cpu := o.serverCPUs.overlaps(o.clientCPUs); cpu >= 0 && !o.overlap {
		return fmt.Errorf("CPU %d is in both -server-cpus and -client-cpus; -overlap allows it", cpu)
	}
	for _, s := range strings.Split(o.schemes, ",") {
		if s != "http" && s != "https" {
			return fmt.Errorf("-schemes: no %q: http, https", s)
		}
	}
	if o.scenario == "matrix" || o.scenario == "compare" {
		if len(o.rows()) == 0 {
			return errors.New("no row: MULTIPART and RANGE want objects larger than -part and -range")
		}
	}
	if o.scenario == "compare" {
		_, err := o.endpoints()
		return err
	}
	return nil
}

// rows returns those of a matrix or a comparison.
func (o *options) rows() []row {
	if o.preset == "core" {
		return coreRows(canDropCaches())
	}
	return o.shape.rowsOf(o.opList, o.sizeList, o.concurrencyList, o.rateList)
}
