package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	racesMost  = 64 // contended keys per round
	raceTries  = 8  // attempts before the next contended key
	stopWithin = 40 * time.Second
	settleMost = 60 * time.Second // for deleted data to be purged
	usedSlack  = 1 << 20          // bytes per drive that may stay used when all is deleted
	mib        = 1 << 20
)

// tester runs rounds of load, kill, restart and verification.
type tester struct {
	o       options
	node    *node
	client  *client
	rng     *rand.Rand // of the rounds; workers have their own
	workers []*worker
	round   int

	// killing is set before the daemon is killed: requests may fail from then
	// on, and only then.
	killing atomic.Bool
	acked   atomic.Int64 // requests answered in this round
	inPlace atomic.Int64 // requests without an answer in this round
	stamps  atomic.Uint64

	races struct {
		sync.Mutex
		all []*race // of this round
	}

	empty     int64         // used bytes before the first object
	rss       int64         // most memory of the process last killed
	peakRSS   int64         // of all processes
	slowest   time.Duration // start
	totalAcks int64
	inRestart int // kills during recovery

	injured  []injury // drives, at present
	hurts    [breakEnd]int
	replaced int // drives
}

func newTester(o options, n *node) *tester {
	t := &tester{o: o, node: n, rng: rand.New(rand.NewPCG(o.seed, 0))}
	t.client = newClient(n.addr, bucket, accessKey, secretKey, 2*o.workers+8, t.killing.Load)
	if o.mapper != "" {
		t.client.repeats = 3
	}
	for i := range o.workers {
		t.workers = append(t.workers, newWorker(t, i))
	}
	return t
}

// run is the whole test.
func (t *tester) run(ctx context.Context) error {
	if err := t.node.start(); err != nil {
		return err
	}
	up := func() error { _, err := t.node.ctl("cluster", "status"); return err }
	if _, err := t.node.ready(ctx, t.o.readyWithin, up); err != nil {
		return err
	}
	if err := t.node.setUp(); err != nil {
		return err
	}
	if _, err := t.node.ready(ctx, t.o.readyWithin, t.node.serving); err != nil {
		return err
	}
	u, err := t.node.usage()
	if err != nil {
		return err
	}
	t.empty = u.used()
	begin := time.Now()
	for t.round = 1; t.round <= t.o.rounds; t.round++ {
		if err := t.oneRound(ctx); err != nil {
			return err
		}
	}
	if err := t.finish(ctx); err != nil {
		return err
	}
	t.o.printf("%d kills (and %d while starting) in %v, %d operations acknowledged: no violation; slowest start %d ms, most memory %d MiB",
		t.o.rounds, t.inRestart, time.Since(begin).Round(time.Second), t.totalAcks, t.slowest.Milliseconds(), t.peakRSS/mib)
	return nil
}

// oneRound is load, kill, restart and verification.
func (t *tester) oneRound(ctx context.Context) error {
	if err := t.load(ctx, func() error { t.node.kill(); return nil }); err != nil {
		return err
	}
	hurt := len(t.injured) > 0
	if err := t.injure(); err != nil {
		return err
	}
	again, took, err := t.restart(ctx)
	if err != nil {
		return err
	}
	t.slowest = max(t.slowest, took)
	t.totalAcks += t.acked.Load()
	full := t.round%t.o.fullEvery == 0 || t.round == t.o.rounds || len(t.injured) > 0
	begin := time.Now()
	sum, err := t.verify(full)
	if err != nil {
		return err
	}
	kind := "touched"
	if full {
		kind = "all"
	}
	t.o.printf("round %d/%d: %d acked, %d in flight at the kill (%d took effect), %d kills while starting, ready in %d ms; %d objects listed, %d read (%s, %d MiB) in %d ms, %d uploads; peak RSS %d MiB",
		t.round, t.o.rounds, t.acked.Load(), t.inPlace.Load(), sum.applied, again, took.Milliseconds(),
		sum.listed, sum.read, kind, sum.bytes/mib, time.Since(begin).Milliseconds(), sum.uploads, t.rss/mib)
	if len(t.injured) == 0 || !hurt && t.rng.IntN(2) == 0 { // a round of load without those drives comes first
		return nil
	}
	return t.mend(ctx)
}

// load lets the workers work for a random time, then ends the daemon.
func (t *tester) load(ctx context.Context, end func() error) error {
	t.acked.Store(0)
	t.inPlace.Store(0)
	t.killing.Store(false)
	t.newRaces()
	failed := make(chan error, len(t.workers))
	var wg sync.WaitGroup
	for _, w := range t.workers {
		wg.Go(func() {
			if err := w.loop(); err != nil {
				failed <- fmt.Errorf("worker %d: %w", w.id, err)
			}
		})
	}
	var errs []error
	select {
	case <-ctx.Done():
		errs = append(errs, ctx.Err())
	case err := <-failed:
		errs = append(errs, err)
	case <-t.node.gone:
		errs = append(errs, violate("the daemon ended by itself: %v", t.node.exit))
	case <-time.After(t.o.load/20 + time.Duration(t.rng.Int64N(int64(t.o.load)))):
		errs = append(errs, t.breakDrives())
	}
	if rss, err := t.node.peakRSS(); err == nil {
		t.rss, t.peakRSS = rss, max(t.peakRSS, rss)
		if rss > t.o.maxRSS {
			errs = append(errs, violate("the daemon took %d MiB of memory", rss/mib))
		}
	}
	t.killing.Store(true)
	errs = append(errs, t.letGo(), end())
	t.node.kill() // unless it has ended already
	wg.Wait()
	t.client.http.CloseIdleConnections()
	for len(failed) > 0 {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// restart starts the daemon again, now and then killing it while it starts. It
// returns how often it did, and how long the last start took.
func (t *tester) restart(ctx context.Context) (kills int, took time.Duration, err error) {
	for ; kills < 3 && t.rng.IntN(3) == 0; kills++ {
		if err := t.node.start(); err != nil {
			return kills, 0, err
		}
		window := max(t.slowest, 50*time.Millisecond)
		select {
		case <-ctx.Done():
			return kills, 0, ctx.Err()
		case <-t.node.gone:
			return kills, 0, violate("the daemon ended while starting: %v", t.node.exit)
		case <-time.After(time.Duration(t.rng.Int64N(int64(window)))):
		}
		t.node.kill()
		t.inRestart++
	}
	if err := t.node.start(); err != nil {
		return kills, 0, err
	}
	took, err = t.node.ready(ctx, t.o.readyWithin, t.node.serving)
	return kills, took, err
}

// finish checks an orderly stop under load, then that deleting everything frees
// everything, and an orderly stop when idle.
func (t *tester) finish(ctx context.Context) error {
	var took time.Duration
	stop := func() error {
		begin := time.Now()
		err := t.node.stop(stopWithin)
		took = time.Since(begin)
		return err
	}
	if err := t.load(ctx, stop); err != nil {
		return err
	}
	t.o.printf("SIGTERM under load: exit code 0 after %d ms; %d acked, %d requests refused or cut off",
		took.Milliseconds(), t.acked.Load(), t.inPlace.Load())
	if err := t.node.start(); err != nil {
		return err
	}
	if _, err := t.node.ready(ctx, t.o.readyWithin, t.node.serving); err != nil {
		return err
	}
	if _, err := t.verify(true); err != nil {
		return fmt.Errorf("after an orderly stop: %w", err)
	}
	if err := errors.Join(t.mend(ctx), t.checkDeep()); err != nil {
		return err
	}
	if err := t.searchDrives(); err != nil {
		return err
	}
	if err := t.deleteAll(); err != nil {
		return err
	}
	if err := t.drained(ctx); err != nil {
		return err
	}
	return t.node.stop(stopWithin)
}

// drained waits until the daemon has purged everything.
func (t *tester) drained(ctx context.Context) error {
	begin := time.Now()
	for {
		u, err := t.node.usage()
		if err != nil {
			return err
		}
		left := u.used() - t.empty
		if u.Garbage == 0 && left <= usedSlack*int64(len(u.Drives)) {
			t.o.printf("everything deleted: %d bytes used beyond the empty drives', after %v", left, time.Since(begin).Round(time.Millisecond))
			return nil
		}
		if time.Since(begin) > settleMost {
			return violate("%v after everything was deleted, %d bytes are in use beyond the empty drives' %d, and %d blobs wait to be purged",
				settleMost, left, t.empty, u.Garbage)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// newRaces begins a round's contended keys.
func (t *tester) newRaces() {
	t.races.Lock()
	defer t.races.Unlock()
	t.races.all = nil
}

// race returns a contended key to try, or nil when there were enough.
func (t *tester) race() *race {
	t.races.Lock()
	defer t.races.Unlock()
	n := len(t.races.all)
	if n > 0 {
		r := t.races.all[n-1]
		r.mu.Lock()
		tries := r.tries
		r.mu.Unlock()
		if tries < raceTries {
			return r
		}
	}
	if n == racesMost {
		return nil
	}
	r := &race{key: fmt.Sprintf("race/%05d/%03d", t.round, n)}
	t.races.all = append(t.races.all, r)
	return r
}

// stamp names a value.
func (t *tester) stamp(worker int) string {
	return fmt.Sprintf("r%d-w%d-%d", t.round, worker, t.stamps.Add(1))
}
