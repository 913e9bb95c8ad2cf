package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTwoDrivesFail kills any two of six drives with parity 2, in every way that
// drives die, under a mixed load, with power losses in between, and replaces them.
// No read may fail, no acknowledged write may be lost or wrong, writes go on, and in
// the end every drive holds what it should, byte for byte.
func TestTwoDrivesFail(t *testing.T) {
	first, n := soakSize(t)
	if *seedsFlag == 0 {
		n = min(n, 6)
	}
	if testing.Short() || raceDetector {
		n = min(n, 2)
	}
	var total torture
	for i := range n {
		seed := first + uint64(i)
		s := runTorture(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d failed: go test -run TestTwoDrivesFail ./engine -seed %d -seeds 1\nschedule: %v", seed, seed, s.f.told())
		}
		total.add(s)
	}
	t.Logf("%d seeds: %d drives killed, %d power losses, %d drives replaced, %d came back, %d writes acknowledged (%d tried again), %d verified reads",
		n, total.kills, total.crashes, total.swaps, total.returns, total.acks.Load(), total.again.Load(), total.reads.Load())
}

// torture is one seed's run and what it counted.
type torture struct {
	t    *testing.T
	rng  *rand.Rand
	f    *farm
	h    *history
	keys []string

	dark  atomic.Bool // the power is off
	rest  atomic.Bool // the load is to end
	seeds atomic.Uint64
	load  sync.WaitGroup

	kills, crashes, swaps, returns int
	scratched                      int
	sources                        atomic.Uint64 // of copies
	acks, again, reads             atomic.Int64
}

func (s *torture) add(o *torture) {
	s.kills += o.kills
	s.crashes += o.crashes
	s.swaps += o.swaps
	s.returns += o.returns
	s.acks.Add(o.acks.Load())
	s.again.Add(o.again.Load())
	s.reads.Add(o.reads.Load())
}

func (s *torture) tell(format string, args ...any) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.story = append(s.f.story, fmt.Sprintf(format, args...))
}

func runTorture(t *testing.T, seed uint64) *torture {
	s := &torture{t: t, rng: rand.New(rand.NewPCG(seed, 0x70f7))}
	s.f = newFarm(t, seed, 6, 0)
	if _, err := s.f.e.CreateBucket(context.Background(), "b", "owner", ""); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		s.keys = append(s.keys, fmt.Sprint("k", i))
	}
	s.h = newHistory(s.keys)
	s.begin()
	for round := range 1 + s.rng.IntN(2) {
		s.schedule(round)
		if t.Failed() {
			break
		}
	}
	s.end()
	if !t.Failed() {
		s.judgeAll("at the end")
		s.f.checked()
		s.anyTwoMore()
	}
	s.f.stop()
	s.f.arena.Close()
	return s
}

// begin starts writers and readers.
func (s *torture) begin() {
	s.dark.Store(false)
	s.rest.Store(false)
	s.h.off = false
	seed := s.rng.Uint64()
	for i := range 3 {
		s.load.Go(func() { s.writer(rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	for i := range 2 {
		s.load.Go(func() { s.reader(rand.New(rand.NewPCG(seed, 99+uint64(i)))) })
	}
}

// end has the load end.
func (s *torture) end() {
	s.rest.Store(true)
	s.load.Wait()
}

// schedule kills two drives and brings the cluster back to full strength.
func (s *torture) schedule(round int) {
	if s.rng.IntN(2) == 0 {
		s.work()
		s.scratch()
		s.f.until("an earlier scrub ends", func() bool { return !s.f.e.ScrubStatus().Running })
		if err := s.f.e.StartScrub(ScrubOptions{Rate: 1 << 30}); err != nil {
			s.t.Error(err)
		}
		s.f.until("the scrub ends", func() bool { return !s.f.e.ScrubStatus().Running })
		s.f.until("what was flipped is mended", func() bool { return s.f.e.HealStatus().Queue == 0 })
	}
	perm := s.rng.Perm(len(s.f.bays))[:2]
	for i, n := range perm {
		s.work()
		s.errands()
		fault := allFaults[s.rng.IntN(len(allFaults))]
		s.tell("round %d: drive %d: %s", round, n, fault)
		s.f.mu.Lock()
		s.f.bays[n].hurt(fault)
		s.f.mu.Unlock()
		s.kills++
		s.work()
		if s.rng.IntN(3) == 0 {
			s.powerLoss()
		}
		if i == 0 && s.rng.IntN(4) == 0 {
			s.repair(n) // one after the other
		}
	}
	for _, n := range perm {
		s.errands()
		s.repair(n)
		if s.rng.IntN(4) == 0 {
			s.powerLoss()
		}
	}
	s.f.whole()
}

// repair replaces the drive of bay n, or has it come back.
func (s *torture) repair(n int) {
	b := s.f.bays[n]
	if b.fault == "" || s.t.Failed() {
		return
	}
	if s.rng.IntN(2) == 0 {
		s.tell("drive %d comes back", n)
		s.f.comeBack(b)
		s.returns++
	} else {
		s.tell("drive %d is replaced", n)
		s.f.swap(b)
		s.swaps++
	}
	s.work()
}

// work lets the load run for a while.
func (s *torture) work() {
	target := s.acks.Load() + int64(s.rng.IntN(30))
	for end := time.Now().Add(10 * time.Second); s.acks.Load() < target && !s.t.Failed(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			s.t.Errorf("writes do not go on; %v", s.f.told())
			return
		}
	}
}

// powerLoss cuts the power, starts again and compares.
func (s *torture) powerLoss() {
	if s.t.Failed() {
		return
	}
	s.tell("power loss")
	s.h.mu.Lock()
	s.h.off = true
	s.f.powerOff()
	s.dark.Store(true)
	s.h.mu.Unlock()
	s.rest.Store(true)
	s.load.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.f.e.Close(ctx); err != nil && ctx.Err() != nil {
		s.t.Errorf("operations hang after the power loss: %v", err)
		return
	}
	s.f.filler.Wait()
	s.crashes++
	s.f.start()
	s.judgeAll("after the power loss")
	s.begin()
}

// judgeAll compares every key with its history. The load must not be running.
func (s *torture) judgeAll(when string) {
	for _, key := range s.keys {
		_, data, err := fetch(s.f.e, "b", key, s.rng.IntN(3))
		if err != nil && KindOf(err) != NoObject {
			s.t.Errorf("%s: %s cannot be read: %v", when, key, err)
			return
		}
		list := s.h.possible(key, s.h.clock.Load()+1)
		w := match(list, err == nil, data)
		if w == nil {
			s.t.Errorf("%s: %s holds %d bytes (%v); possible were %v", when, key, len(data), err, list)
			return
		}
		s.h.settle(key, w)
	}
}

// anyTwoMore fails two drives of the whole cluster: what was rebuilt must carry it.
func (s *torture) anyTwoMore() {
	perm := s.rng.Perm(len(s.f.bays))[:2]
	s.tell("drives %v taken out at the end", perm)
	for _, n := range perm {
		s.f.e.FailDrive(s.f.bays[n].id, errors.New("test"))
	}
	s.judgeAll("with two other drives out")
}
