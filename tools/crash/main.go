package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options of a run.
type options struct {
	sluiced, ctl string
	dir          string // "": a temporary one, removed after success
	rounds       int
	workers      int
	keys         int           // per worker
	seed         uint64        // 0: by the clock
	load         time.Duration // longest load before a kill
	fullEvery    int           // rounds between reads of all content
	maxBytes     int64         // of objects, about
	maxRSS       int64
	readyWithin  time.Duration
	encrypted    bool // the cluster: its metadata and, by default, its objects
	drives       int
	parity       int    // of the cluster; -1: automatic, and nothing happens to drives
	truncate     bool   // drives, too
	mapper       string // breaks drives below the daemon; "": nothing does
	printf       func(format string, args ...any)
}

func defaults() options {
	return options{
		sluiced: "bin/sluiced", ctl: "bin/ctl",
		rounds: 50, workers: 16, keys: 24, load: 2500 * time.Millisecond, fullEvery: 5,
		maxBytes: 400 << 20, maxRSS: 1 << 30, readyWithin: 10 * time.Second, drives: 2, parity: -1, truncate: true,
		printf: func(format string, args ...any) { fmt.Printf(format+"\n", args...) },
	}
}

func main() {
	o := defaults()
	flag.StringVar(&o.sluiced, "sluiced", o.sluiced, "the daemon's `binary`")
	flag.StringVar(&o.ctl, "ctl", o.ctl, "ctl's `binary`")
	flag.StringVar(&o.dir, "dir", o.dir, "empty `directory` for drives, state and log (default: a temporary one)")
	flag.IntVar(&o.rounds, "rounds", o.rounds, "kills")
	flag.IntVar(&o.workers, "workers", o.workers, "concurrent workers")
	flag.IntVar(&o.keys, "keys", o.keys, "keys per worker")
	flag.Uint64Var(&o.seed, "seed", o.seed, "seed of the load; 0: by the clock")
	flag.DurationVar(&o.load, "load", o.load, "longest load before a kill")
	flag.IntVar(&o.fullEvery, "full-every", o.fullEvery, "read all content every so many rounds")
	flag.Int64Var(&o.maxBytes, "max-bytes", o.maxBytes, "bytes of objects, about")
	flag.Int64Var(&o.maxRSS, "max-rss", o.maxRSS, "bytes of memory the daemon may take")
	flag.DurationVar(&o.readyWithin, "ready-within", o.readyWithin, "longest start of the daemon")
	flag.BoolVar(&o.encrypted, "encrypted", o.encrypted, "make the cluster an encrypted one")
	flag.IntVar(&o.drives, "drives", o.drives, "drives of the daemon")
	flag.IntVar(&o.parity, "parity", o.parity, "parity of the cluster: between kills, something happens to at most so many drives (-1: automatic parity, and nothing happens to drives)")
	flag.BoolVar(&o.truncate, "truncate", o.truncate, "what happens to drives may be that their data files lose their ends")
	flag.StringVar(&o.mapper, "mapper", o.mapper, "`program` that breaks drives below the daemon while it serves, see mapper.go; nothing else happens to drives then")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.workers < 1 || o.keys < 2 || o.fullEvery < 1 || o.load <= 0 ||
		o.drives < 1 || o.parity < -1 || o.parity >= o.drives {
		fmt.Fprintln(os.Stderr, "crash: no arguments, positive numbers, at least 2 keys and fewer parity than drives, please")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "crash: %v\n", err)
		os.Exit(1)
	}
}

// run is a whole test in a directory of its own.
func run(ctx context.Context, o options) (err error) {
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	temporary := o.dir == ""
	if temporary {
		if o.dir, err = os.MkdirTemp("", "sluice-crash-"); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.dir+"/state", 0o700); err != nil {
		return err
	}
	n, err := newNode(&o)
	if err != nil {
		return err
	}
	o.printf("seed %d, %d workers, %d rounds, in %s", o.seed, o.workers, o.rounds, o.dir)
	t := newTester(o, n)
	err = t.run(ctx)
	n.kill()
	err = errors.Join(err, n.log.Close())
	if err != nil {
		return fmt.Errorf("round %d of a run with -seed %d -workers %d -keys %d -drives %d -parity %d failed; drives and log are kept in %s\n%w\n--- end of the daemon's log\n%s",
			t.round, o.seed, o.workers, o.keys, o.drives, o.parity, o.dir, err, n.tail())
	}
	if temporary {
		return os.RemoveAll(o.dir)
	}
	return nil
}
