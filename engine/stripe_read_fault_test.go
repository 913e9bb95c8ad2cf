package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// Drives hang, and nobody waits for them.
func TestStripedHang(t *testing.T) {
	for _, g := range []layout.Geometry{{Data: 1, Parity: 2, Unit: 64 << 10}, {Data: 4, Parity: 2, Unit: 64 << 10}} {
		t.Run(fmt.Sprintf("%d+%d", g.Data, g.Parity), func(t *testing.T) {
			r := newRig(t, rigOptions{drives: 6, deadline: 20 * time.Second, cfg: Config{Timing: lasting}})
			r.bucket("b")
			data := content(1, 3*g.Row()+5)
			striper{r: r, data: g.Data, parity: g.Parity, unit: g.Unit}.put("b", "k", data)
			hang := make(chan struct{})
			for _, n := range []int{0, g.Fragments() - 1} {
				r.devs[n].Inject(faultio.Rule{Code: ioring.OpRead, Hang: hang})
			}
			begun := time.Now()
			for round := range 30 {
				r.same("k", data, 0, int64(len(data)), round%3)
			}
			if took := time.Since(begun); took > 6*time.Second { // 0.1 s on a machine that has nothing else to do
				t.Errorf("30 reads took %v", took)
			}
			if n := r.arena.InUse(); n > 12<<20 {
				t.Errorf("%d bytes of the arena are with drives that hang", n)
			}
			close(hang)
			for _, dev := range r.devs {
				dev.Heal()
			}
			r.stop()
		})
	}
}

// A drive begins to hang under load: what it keeps of the arena does not stop the
// others.
func TestStripedHangUnderLoad(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, arena: 16 << 20, deadline: time.Minute, cfg: Config{Timing: lasting}})
	r.bucket("b")
	data := content(1, 1<<20)
	striper{r: r, data: 4, parity: 2, unit: 256 << 10}.put("b", "k", data)
	var most atomic.Int64
	var readers sync.WaitGroup
	for n := range 12 {
		readers.Go(func() {
			for round := range 6 {
				begun := time.Now()
				_, got, err := fetch(r.e, "b", "k", n+round)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
				took := int64(time.Since(begun))
				for old := most.Load(); took > old && !most.CompareAndSwap(old, took); old = most.Load() {
				}
				if n == 0 && round == 1 {
					r.devs[2].Break(faultio.Hung)
				}
			}
		})
	}
	readers.Wait()
	t.Logf("the longest read took %v; %d bytes of the arena are with the drive", time.Duration(most.Load()), r.arena.InUse())
	if most.Load() > int64(20*time.Second) {
		t.Error("readers waited for the drive that hangs")
	}
	r.devs[2].Heal()
	r.stop()
}

// One drive is slow now and then, or always: few reads notice, and none waits for it.
func TestStripedSlowDrive(t *testing.T) {
	const delay = 400 * time.Millisecond
	for name, chance := range map[string]float64{"at times": 0.05, "always": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, rigOptions{drives: 6, cfg: Config{Timing: lasting}})
			r.bucket("b")
			data := content(1, 256<<10)
			striper{r: r, data: 4, parity: 2, unit: 64 << 10}.put("b", "k", data)
			read := func(n int) []time.Duration {
				took := make([]time.Duration, n)
				for i := range took {
					begun := time.Now()
					r.same("k", data, 0, int64(len(data)), 0)
					took[i] = time.Since(begun)
				}
				slices.Sort(took)
				return took
			}
			n := 400
			if brief() {
				n = 200
			}
			healthy := read(n / 2)
			r.devs[2].Inject(faultio.Rule{Code: ioring.OpRead, Delay: delay, Chance: chance})
			slow := read(n)
			at := func(l []time.Duration, q int) time.Duration { return l[len(l)*q/100] }
			t.Logf("median, 99th percentile, most: healthy %v, %v, %v; with a slow drive %v, %v, %v",
				at(healthy, 50), at(healthy, 99), healthy[n/2-1], at(slow, 50), at(slow, 99), slow[n-1])
			// Reads are late after three times what was usual before.
			if usual := 3 * at(healthy, 99); at(slow, 95) > delay/4+usual || at(slow, 98) > delay/2+usual {
				t.Error("readers wait for the slow drive")
			}
			r.devs[2].Heal()
			r.stop()
		})
	}
}

// When there is no memory but one buffer, reads still succeed, with drives out as
// well, and copies do not wait for themselves.
func TestStripedLittleMemory(t *testing.T) {
	for _, g := range []layout.Geometry{{Data: 1, Parity: 1, Unit: 1 << 20}, {Data: 4, Parity: 2, Unit: 512 << 10}, {Data: 16, Parity: 4, Unit: 64 << 10}} {
		t.Run(fmt.Sprintf("%d+%d", g.Data, g.Parity), func(t *testing.T) {
			r := newRig(t, rigOptions{drives: g.Fragments(), arena: 8 << 20, cfg: Config{Timing: lasting}})
			r.bucket("b")
			objects := make(map[string][]byte)
			for _, sealed := range []bool{false, true} {
				data := content(1, g.Row()+g.Unit/2)
				striper{r: r, data: g.Data, parity: g.Parity, unit: g.Unit, sealed: sealed}.put("b", fmt.Sprint(sealed), data)
				objects[fmt.Sprint(sealed)] = data
			}
			r.fail(true, 0)
			var hogs []*ioring.Buffer
			for { // all of the arena but one large buffer
				buf, err := r.arena.TryGet(ioring.SmallBuffer)
				if err != nil {
					break
				}
				hogs = append(hogs, buf)
			}
			for range ioring.LargeBuffer/ioring.SmallBuffer + 1 {
				hogs[0].Release()
				hogs = hogs[1:]
			}
			var readers sync.WaitGroup
			ways := 6
			if brief() {
				ways = 3
			}
			for way := range ways {
				readers.Go(func() {
					for key, data := range objects {
						_, got, err := fetch(r.e, "b", key, way)
						if err != nil || !bytes.Equal(got, data) {
							t.Errorf("%s: way %d: %d bytes, %v", key, way, len(got), err)
						}
					}
				})
			}
			readers.Wait()
			for _, buf := range hogs {
				buf.Release()
			}
			r.fail(false, 0)
			r.stop()
		})
	}
}

// Without redundancy, a drive that hangs is waited for until its deadline.
func TestStripedHangAlone(t *testing.T) {
	r := newRig(t, rigOptions{drives: 3, deadline: 100 * time.Millisecond, cfg: Config{Timing: lasting}})
	r.bucket("b")
	data := content(1, 400_000)
	striper{r: r, data: 3, parity: 0, unit: 64 << 10}.put("b", "k", data)
	r.devs[1].Break(faultio.Hung)
	o, err := r.e.Get(context.Background(), "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err = o.Range(context.Background(), 0, int64(len(data)))
	wantKind(t, err, Unavailable)
	if took := time.Since(begun); !errors.Is(err, drive.ErrTimeout) || took > 2*time.Second {
		t.Error(took, err)
	}
	o.Close()
	r.devs[1].Heal()
	r.same("k", data, 0, int64(len(data)), 0, 1, 2)
	r.stop()
}

// A client that goes away ends a read that waits, and nothing leaks.
func TestStripedCancel(t *testing.T) {
	r := newRig(t, rigOptions{drives: 3, cfg: Config{Timing: lasting}})
	r.bucket("b")
	data := content(1, 400_000)
	striper{r: r, data: 3, parity: 0, unit: 64 << 10}.put("b", "k", data)
	hang := make(chan struct{})
	r.devs[1].Inject(faultio.Rule{Code: ioring.OpRead, Hang: hang})
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(30*time.Millisecond, cancel)
	o, err := r.e.Get(ctx, "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.Range(ctx, 0, int64(len(data)))
	wantKind(t, err, Unavailable)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	o.Close()
	close(hang)
	r.devs[1].Heal()
	r.same("k", data, 0, int64(len(data)), 0, 1, 2)
	r.stop()
}

// Drives that were taken out of service are asked when nothing else is left.
func TestStripedLastResort(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, cfg: Config{Timing: lasting}})
	r.bucket("b")
	data := content(1, 500_000)
	striper{r: r, data: 4, parity: 2, unit: 64 << 10}.put("b", "k", data)
	striper{r: r, data: 1, parity: 2, unit: 128 << 10}.put("b", "mirror", data)
	for _, n := range []int{0, 1, 2, 5} {
		r.e.drives.now().all[n].state.Store(int32(DriveFailed))
	}
	r.same("k", data, 0, int64(len(data)), 0, 1, 2)
	r.same("mirror", data, 0, int64(len(data)), 0, 1, 2)
	r.fail(false, 0, 1, 2, 5)
	r.stop()
}

// troubles are what may happen to a drive for a while.
var troubles = []faultio.Rule{
	{Code: ioring.OpRead, Err: faultio.ErrIO, Chance: 0.3},
	{Code: ioring.OpRead, Flip: true, Chance: 0.3},
	{Code: ioring.OpRead, Delay: 30 * time.Millisecond, Chance: 0.3},
	{Code: ioring.OpRead, Delay: 300 * time.Millisecond, Chance: 0.05},
	{Code: ioring.OpRead, Short: 4096, Chance: 0.2},
}

// Anything may happen to up to two drives at a time while many read through little
// memory, and fragments move: every read yields the right bytes, and every buffer
// comes back.
func TestStripedChaos(t *testing.T) {
	r := newRig(t, rigOptions{drives: 7, arena: 8 << 20, seed: 7, cfg: Config{Timing: lasting}})
	r.bucket("b")
	objects := make(map[string][]byte)
	for i, g := range []layout.Geometry{{Data: 4, Parity: 2, Unit: 64 << 10}, {Data: 4, Parity: 2, Unit: 256 << 10}, {Data: 1, Parity: 2, Unit: 128 << 10}} {
		for _, sealed := range []bool{false, true} {
			key := fmt.Sprint(i, sealed)
			objects[key] = content(uint64(i), g.Row()+g.Unit+999)
			striper{r: r, data: g.Data, parity: g.Parity, unit: g.Unit, sealed: sealed}.put("b", key, objects[key])
		}
	}
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for n := range 6 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(n)))
			for {
				for key, data := range objects {
					select {
					case <-stop:
						return
					default:
					}
					lo := rng.Int64N(int64(len(data)))
					hi := lo + 1 + rng.Int64N(int64(len(data))-lo)
					o, err := r.e.Get(context.Background(), "b", key)
					if err != nil {
						t.Error(err)
						return
					}
					got, err := fetchRange(o, lo, hi-lo, rng.IntN(3))
					o.Close()
					if err != nil || !bytes.Equal(got, data[lo:hi]) {
						t.Errorf("%s [%d,%d): %d bytes, %v", key, lo, hi, len(got), err)
						return
					}
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(4, 5))
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		bad := rng.Perm(6)[:2]
		for i, n := range bad {
			if rng.IntN(4) == 0 {
				r.fail(true, n)
			} else {
				r.devs[n].Inject(troubles[(rng.IntN(len(troubles))+i)%len(troubles)])
			}
		}
		time.Sleep(40 * time.Millisecond)
		for _, n := range bad {
			r.devs[n].Heal()
			r.fail(false, n)
		}
		for _, m := range r.e.drives.now().all { // reads that began under a rule end under it
			for m.tempo.inFlight.Load() > 0 && m.d.InFlightSince() > 20*time.Millisecond {
				time.Sleep(time.Millisecond)
			}
		}
	}
	close(stop)
	readers.Wait()
	r.stop()
}
