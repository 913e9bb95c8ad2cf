package engine

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring/faultio"
)

var (
	seedsFlag = flag.Int("seeds", 0, "power losses to simulate (or SLUICE_SEEDS); 0: a few")
	seedFlag  = flag.Uint64("seed", 0, "first seed of the simulation (or SLUICE_SEED)")
)

func soakSize(t *testing.T) (first uint64, n int) {
	n, first = *seedsFlag, *seedFlag
	if v := os.Getenv("SLUICE_SEEDS"); v != "" && n == 0 {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("SLUICE_SEED"); v != "" && first == 0 {
		var err error
		if first, err = strconv.ParseUint(v, 0, 64); err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 {
		if n = 50; raceDetector || testing.Short() {
			n = 10
		}
	}
	return first, n
}

// TestPowerLoss cuts the power of a busy engine at a random moment and opens
// what is left: every acknowledged write must be there bit for bit, or a later
// one of its key, and exactly the space that is named must be in use.
func TestPowerLoss(t *testing.T) {
	first, n := soakSize(t)
	begun := time.Now()
	var total simulation
	for i := range n {
		seed := first + uint64(i)
		s := simulate(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d failed: go test -run TestPowerLoss ./engine -seed %d -seeds 1", seed, seed)
		}
		total.add(s)
	}
	took := time.Since(begun)
	t.Logf("%d seeds, %.1f/s: %d power losses, %d writes acknowledged, %d lost in flight of which %d had taken effect, %d verified reads, %d refused for space",
		n, float64(n)/took.Seconds(), total.crashes, total.acks.Load(), total.lost, total.effective, total.reads.Load(), total.full.Load())
	if total.acks.Load() == 0 || total.reads.Load() == 0 || n >= 50 && (total.lost == 0 || total.effective == 0) {
		t.Fatal("the simulation did not test what it is for")
	}
}

// simulation is one seed's run and what it counted.
type simulation struct {
	t    *testing.T
	rng  *rand.Rand
	r    *rig
	h    *history
	keys []string

	hot   bool        // the purger never rests
	dark  atomic.Bool // the power is off
	ops   atomic.Int64
	seeds atomic.Uint64

	crashes, lost, effective int
	acks, reads, full        atomic.Int64
}

func (s *simulation) add(o *simulation) {
	s.crashes += o.crashes
	s.lost += o.lost
	s.effective += o.effective
	s.acks.Add(o.acks.Load())
	s.reads.Add(o.reads.Load())
	s.full.Add(o.full.Load())
}

func simulate(t *testing.T, seed uint64) *simulation {
	rng := rand.New(rand.NewPCG(seed, 0xdead))
	s := &simulation{t: t, rng: rng}
	o := rigOptions{crash: true, seed: seed, drives: 1 + rng.IntN(6), capacity: 6 << 20, arena: 16 << 20}
	o.cfg.InlineMax = []int64{1, 512, 4096}[rng.IntN(3)]
	o.cfg.Parity = rng.IntN(4) - 1
	o.cfg.Grace = []time.Duration{1, time.Millisecond, 20 * time.Millisecond}[rng.IntN(3)]
	if rng.IntN(3) == 0 {
		o.latency = 500 * time.Microsecond
	}
	if rng.IntN(2) == 0 { // a busy log: data is replaced, purged and its place reused while commits wait
		o.slow = 3 * time.Millisecond
		o.capacity = 4 << 20
		o.cfg.Grace = 1
		s.hot = true
	}
	s.r = newRig(t, o)
	s.r.bucket("b")
	for i := range 8 {
		s.keys = append(s.keys, fmt.Sprint("k", i))
	}
	s.h = newHistory(s.keys)
	lives := 1 + rng.IntN(3)
	for life := range lives {
		s.live(rng.Uint64())
		if t.Failed() {
			return s
		}
		s.inspect(life == lives-1)
		if t.Failed() {
			return s
		}
	}
	s.r.stop()
	s.r.arena.Close()
	return s
}

// live runs writers and readers until the power goes.
func (s *simulation) live(seed uint64) {
	s.dark.Store(false)
	s.ops.Store(0)
	s.h.off = false
	target := 1 + s.rng.Int64N(80)
	late := time.Duration(s.rng.IntN(400)) * time.Microsecond
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { s.writer(rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	wg.Go(func() { s.reader(rand.New(rand.NewPCG(seed, 99))) })
	if s.hot {
		wg.Go(s.purgeHot)
	}
	for s.ops.Load() < target && !s.t.Failed() {
		time.Sleep(20 * time.Microsecond)
	}
	time.Sleep(late)
	s.powerOff()
	wg.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.r.e.Close(ctx); KindOf(err) == Unavailable && ctx.Err() != nil {
		s.t.Errorf("operations hang after the power loss: %v", err)
	}
	if n := s.r.arena.InUse(); n != 0 {
		s.t.Errorf("%d bytes of the arena leaked", n)
	}
}

// purgeHot makes the purger look at what has been queued before that is durable.
func (s *simulation) purgeHot() {
	for !s.dark.Load() && !s.t.Failed() {
		s.r.e.purger.wake()
		time.Sleep(200 * time.Microsecond)
	}
}

// powerOff replaces the devices and the file system by what a power loss leaves
// of them. It takes them at one moment: were the drives frozen first, metadata
// that names reused space could still become durable, and the other way round.
// What is answered meanwhile counts as not answered.
func (s *simulation) powerOff() {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.off = true
	cfg := vfs.CrashCloneCfg{
		UnsyncedDataPercent: []int{0, 20, 50, 80, 100}[s.rng.IntN(5)],
		RNG:                 rand.New(rand.NewPCG(s.rng.Uint64(), 1)),
	}
	s.r.devs = faultio.CrashAll(s.r.devs, s.rng.Uint64, func() { s.r.fs = s.r.fs.CrashClone(cfg) })
	s.dark.Store(true)
	s.crashes++
}

func (s *simulation) size(rng *rand.Rand) int64 {
	switch rng.IntN(10) {
	case 0:
		return 0
	case 1, 2, 3:
		return 1 + rng.Int64N(4096)
	case 4:
		return 1<<20 + rng.Int64N(1<<18)
	}
	return 1 + rng.Int64N(120_000)
}

func (s *simulation) writer(rng *rand.Rand) {
	for !s.dark.Load() && !s.t.Failed() {
		key := s.keys[rng.IntN(len(s.keys))]
		w := &write{seed: s.seeds.Add(1), size: s.size(rng)}
		var err error
		switch rng.IntN(10) {
		case 0, 1:
			w.deleted, w.size = true, 0
			s.h.begin(key, w)
			_, err = s.r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: key, IfSize: -1})
		case 2:
			s.h.begin(key, w)
			err = s.multipart(rng, key, w)
		case 3:
			s.h.begin(key, w)
			req := s.maybeLocked(rng, putRequest("b", key, w.data()))
			req.If.IfNoneMatchAny = true
			_, err = s.r.e.Put(context.Background(), req)
		default:
			s.h.begin(key, w)
			_, err = s.r.e.Put(context.Background(), s.maybeLocked(rng, putRequest("b", key, w.data())))
		}
		s.ops.Add(1)
		s.judge(key, w, err)
	}
}

// maybeLocked makes every other request an encrypted one.
func (s *simulation) maybeLocked(rng *rand.Rand, req PutRequest) PutRequest {
	if rng.IntN(2) == 0 {
		return locked(req)
	}
	return req
}

// judge notes the outcome of a write.
func (s *simulation) judge(key string, w *write, err error) {
	switch {
	case err == nil:
		s.h.acknowledge(w)
		s.acks.Add(1)
	case KindOf(err) == PreconditionFailed:
		s.h.refuse(key, w)
	case KindOf(err) == NoSpace:
		s.full.Add(1)
		s.h.refuse(key, w)
	default:
		// Nothing but the power loss may make a write fail. It is switched off
		// a moment before the flag goes up.
		for range 2000 {
			if s.dark.Load() {
				return
			}
			time.Sleep(time.Millisecond)
		}
		s.t.Errorf("write failed with the power on: %v", err)
	}
}

// multipart writes w in several parts.
func (s *simulation) multipart(rng *rand.Rand, key string, w *write) error {
	ctx := context.Background()
	w.size = max(w.size, 3)
	data := w.data()
	var sealed *meta.Seal
	if rng.IntN(2) == 0 {
		sealed, _ = newSeal()
	}
	up, err := s.r.e.CreateUpload(ctx, "b", key, "me", meta.Object{Seal: sealed})
	if err != nil {
		return err
	}
	var refs []meta.PartRef
	for n := int32(1); len(data) > 0; n++ {
		k := 1 + rng.IntN(len(data))
		if n == 4 {
			k = len(data)
		}
		part := data[:k]
		data = data[k:]
		put := func() (meta.Part, error) {
			return s.r.e.PutPart(ctx, PutPartRequest{
				Bucket: "b", Key: key, UploadID: up.ID, Number: n, Size: int64(k), Body: bytes.NewReader(part),
				Finish:  func(p *meta.Part) error { p.ETag = etagOf(part); return nil },
				DataKey: keyOf(sealed),
			})
		}
		p, err := put()
		if err == nil && rng.IntN(4) == 0 {
			p, err = put() // replaces the part
		}
		if err != nil {
			if e := s.r.e.AbortUpload(ctx, "b", key, up.ID); KindOf(err) == NoSpace && e != nil {
				return e
			}
			return err
		}
		refs = append(refs, meta.PartRef{Number: n, ETag: p.ETag})
	}
	_, err = s.r.e.CompleteUpload(ctx, CompleteRequest{
		Bucket: "b", Key: key, UploadID: up.ID, Parts: refs, Size: -1,
		Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) {
			return fmt.Sprintf("%s-%d", etagOf(nil), len(refs)), meta.Checksum{}, nil
		},
	})
	return err
}

// reader reads whole objects while they are replaced and purged.
func (s *simulation) reader(rng *rand.Rand) {
	for !s.dark.Load() && !s.t.Failed() {
		key := s.keys[rng.IntN(len(s.keys))]
		since := s.h.clock.Load()
		_, data, err := fetch(s.r.e, "b", key, rng.IntN(3))
		if err != nil && KindOf(err) != NoObject {
			for i := 0; !s.dark.Load() && i < 2000; i++ {
				time.Sleep(time.Millisecond)
			}
			if !s.dark.Load() {
				s.t.Errorf("read of %s failed with the power on: %v", key, err)
			}
			return
		}
		if match(s.h.possible(key, since), err == nil, data) == nil && !s.dark.Load() {
			s.t.Errorf("read of %s found %d bytes (%v) that nobody wrote; possible were %v", key, len(data), err, s.h.possible(key, since))
		}
		s.reads.Add(1)
		time.Sleep(50 * time.Microsecond) // leave the processors to the writers
	}
}

// inspect opens what the power loss left and compares it with the history.
func (s *simulation) inspect(last bool) {
	if err := s.r.tryStart(); err != nil {
		s.t.Errorf("open after the power loss: %v", err)
		return
	}
	if _, err := s.r.e.Bucket(context.Background(), "b"); err != nil {
		s.t.Errorf("the bucket is lost: %v", err)
		return
	}
	for _, key := range s.keys {
		_, data, err := fetch(s.r.e, "b", key, s.rng.IntN(3))
		if err != nil && KindOf(err) != NoObject {
			s.t.Errorf("%s cannot be read: %v", key, err)
			return
		}
		list := s.h.possible(key, s.h.clock.Load()+1)
		w := match(list, err == nil, data)
		if w == nil {
			s.t.Errorf("%s holds %d bytes (%v); possible were %v", key, len(data), err, list)
			return
		}
		for _, o := range list {
			if o.ack == 0 {
				s.lost++
			}
		}
		if w.ack == 0 {
			s.effective++
		}
		s.h.settle(key, w)
	}
	s.r.accounted()
	if last || s.rng.IntN(2) == 0 {
		s.clean(last)
	}
}

// clean drops the uploads that the power loss left and, at the end, everything:
// no byte may stay in use.
func (s *simulation) clean(everything bool) {
	ctx := context.Background()
	page, err := s.r.e.ListUploads(ctx, "b", meta.ListUploadsRequest{Max: 1000})
	if err != nil {
		s.t.Error(err)
		return
	}
	for _, up := range page.Uploads {
		if err := s.r.e.AbortUpload(ctx, "b", up.Key, up.ID); err != nil {
			s.t.Error(err)
		}
	}
	if !everything {
		return
	}
	for _, key := range s.keys {
		if _, err := s.r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: key, IfSize: -1}); err != nil {
			s.t.Error(err)
		}
	}
	s.r.drained()
	if n := s.r.used(); n != 0 {
		s.t.Errorf("%d bytes in use after everything was deleted", n)
	}
	if err := s.r.e.DeleteBucket(ctx, "b"); err != nil {
		s.t.Error(errors.Join(errors.New("the empty bucket cannot be deleted"), err))
	}
}
