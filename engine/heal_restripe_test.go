package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// stockSealed adds large, encrypted and multipart objects.
func (r *rig) stockSealed(want map[string][]byte) {
	r.t.Helper()
	want["large"] = content(501, 9_000_000)
	r.put("b", "large", want["large"])
	for i, size := range []int64{3_000, 150_000, 6_000_000} {
		key := fmt.Sprint("sealed", i)
		want[key] = content(510+uint64(i), size)
		if _, err := r.e.Put(context.Background(), locked(putRequest("b", key, want[key]))); err != nil {
			r.t.Fatal(err)
		}
	}
	s, _ := newSeal()
	parts := [][]byte{content(520, 5_000_000), content(521, 70_000), content(522, 2_000_001)}
	r.upload("parts", s, parts...)
	want["parts"] = bytes.Join(parts, nil)
}

// midway begins to read objects, and returns what reads the rest and compares.
func (r *rig) midway(want map[string][]byte, keys ...string) (finish func()) {
	r.t.Helper()
	type reading struct {
		key  string
		way  int
		o    *Object
		b    *Body
		at   int64
		pipe *io.PipeReader
		done chan error
	}
	var list []*reading
	for _, key := range keys {
		for way := range 2 {
			o, err := r.e.Get(context.Background(), "b", key)
			if err != nil {
				r.t.Fatal(err)
			}
			unlock(o)
			b, err := o.Range(context.Background(), 0, o.Info.Size)
			if err != nil {
				r.t.Fatal(err)
			}
			g := &reading{key: key, way: way, o: o, b: b, done: make(chan error, 1)}
			var src io.Reader = struct{ io.Reader }{b}
			if way == 1 {
				var w *io.PipeWriter
				g.pipe, w = io.Pipe()
				go func() {
					_, err := b.WriteTo(w)
					w.CloseWithError(err)
					g.done <- err
				}()
				src = g.pipe
			}
			head := make([]byte, 100_000)
			n, err := io.ReadFull(src, head)
			if err != nil || !bytes.Equal(head[:n], want[key][:n]) {
				r.t.Fatal(key, n, err)
			}
			g.at = int64(n)
			list = append(list, g)
		}
	}
	return func() {
		r.t.Helper()
		for _, g := range list {
			var src io.Reader = struct{ io.Reader }{g.b}
			if g.way == 1 {
				src = g.pipe
			}
			rest, err := io.ReadAll(src)
			if err != nil || !bytes.Equal(rest, want[g.key][g.at:]) {
				r.t.Fatalf("%s, way %d: %d bytes behind %d, %v", g.key, g.way, len(rest), g.at, err)
			}
			g.b.Close()
			g.o.Close()
		}
	}
}

// empty drains a drive and forgets it.
func (r *rig) empty(i int) {
	r.t.Helper()
	if err := r.e.DrainDrive(r.id(i), true); err != nil {
		r.t.Fatal(err)
	}
	r.waitFor("the drive to be forgotten", func() bool { return r.e.ForgetDrive(context.Background(), r.id(i)) == nil })
}

// sound fails unless everything is as it should be, and says so when it is checked.
func (r *rig) sound(want map[string][]byte) {
	r.t.Helper()
	r.healed()
	r.whole()
	for key, data := range want {
		r.check("b", key, data)
	}
	if res := r.verify(CheckOptions{Deep: true}); res.Degraded != 0 || res.Unreadable != 0 {
		r.t.Fatalf("%+v", res)
	}
}

// Drives of a full-width cluster are emptied one after the other, under load and with
// readers in the middle of what is spread anew.
func TestRestripeDrain(t *testing.T) {
	r := newHealRig(t, 6, brisk)
	want := r.stock("b", 12, 1)
	r.stockSealed(want)
	stop := r.load("b", 2)
	finish := r.midway(want, "large", "sealed2", "parts")
	r.empty(0)
	second := r.midway(want, "large", "sealed2")
	r.empty(3)
	// Three of the six drives that the first readers know of are out now: they must turn
	// to what was spread anew, whether or not what they knew was overwritten.
	r.e.FailDrive(r.id(1), faultio.ErrGone)
	finish()
	second()
	r.reattach(1)
	stop()
	if r.e.reads.turned.Load() == 0 {
		t.Error("no reader met a blob that is spread otherwise")
	}
	r.sound(want)
	if b := r.placed("b", "large"); b.Data != 2 || b.Parity != 2 {
		t.Fatalf("%+v", b)
	}
	// Two more drives may still fail.
	r.e.FailDrive(r.id(1), faultio.ErrIO)
	r.e.FailDrive(r.id(2), faultio.ErrIO)
	for key, data := range want {
		r.check("b", key, data)
	}
	r.stop()
}

// A drive of a full-width cluster that has failed is given up for good.
func TestRestripeFailed(t *testing.T) {
	r := newHealRig(t, 5, calm)
	want := r.stock("b", 10, 4)
	r.stockSealed(want)
	r.e.FailDrive(r.id(2), faultio.ErrIO)
	r.empty(2)
	r.sound(want)
	r.stop()
}

// A drain goes on after a restart.
func TestRestripeRestart(t *testing.T) {
	r := newHealRig(t, 5, calm)
	want := r.stock("b", 30, 3)
	r.stockSealed(want)
	r.throttle(true)
	if err := r.e.DrainDrive(r.id(1), true); err != nil {
		t.Fatal(err)
	}
	r.waitFor("something to move", func() bool { return r.e.HealStatus().Moved > 3 })
	r.throttle(false)
	r.restart()
	for key, data := range want {
		r.check("b", key, data)
	}
	r.empty(1)
	r.sound(want)
	r.stop()
}

// The power goes while blobs are spread anew.
func TestRestripePowerLoss(t *testing.T) {
	n := 12
	if raceDetector || testing.Short() {
		n = 4
	}
	for seed := range uint64(n) {
		rng := rand.New(rand.NewPCG(seed, 5))
		r := newRig(t, rigOptions{crash: true, seed: seed, drives: 4, arena: 64 << 20, slow: time.Millisecond, cfg: Config{Timing: calm}})
		r.bucket("b")
		want := r.stock("b", 15, seed)
		if err := r.e.DrainDrive(r.id(2), true); err != nil {
			t.Fatal(err)
		}
		moves := rng.Uint64N(30)
		r.waitFor("something to move", func() bool { s := r.e.HealStatus(); return s.Moved >= moves || s.Moved > 0 && len(s.Tasks) == 0 })
		old := r.e
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}
		r.devs = faultio.CrashAll(r.devs, rng.Uint64, func() { r.fs = r.fs.CrashClone(cfg) })
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		_ = old.Close(ctx)
		cancel()
		r.start()
		for key, data := range want {
			r.check("b", key, data)
		}
		r.empty(2)
		r.sound(want)
		r.stop()
		r.arena.Close()
	}
}

// What was written on one drive is protected once there is a second, and survives the
// loss of either; who wanted no redundancy has none.
func TestProtectSingle(t *testing.T) {
	for lost := range 2 {
		r := newHealRig(t, 1, calm)
		want := r.stock("b", 9, 1)
		r.stockSealed(want)
		bare := putRequest("b", "bare", content(7, 90_000))
		bare.Parity = ParityNone
		if _, err := r.e.Put(context.Background(), bare); err != nil {
			t.Fatal(err)
		}
		if b := r.placed("b", "large"); b.Kind != layout.KindSingle {
			t.Fatalf("%+v", b)
		}
		if s := r.e.HealStatus(); s.Unprotected != 0 {
			t.Fatalf("%+v", s)
		}
		finish := r.midway(want, "large", "sealed2", "parts")
		if lost == 0 {
			r.join()
		} else { // as after an upgrade: both are there at the start
			r.e.SetParity(ParityNone)
			r.join()
			finish()
			r.restart()
			finish = func() {}
		}
		r.waitFor("blobs to be protected", func() bool {
			s := r.e.HealStatus()
			return s.Settled && s.Unprotected == 0 && s.Moved > 0 && len(s.Tasks) == 0
		})
		finish()
		r.sound(want)
		if b := r.placed("b", "bare"); b.Kind != layout.KindStriped || b.Data != 1 || b.Parity != 0 {
			t.Fatalf("%+v", b)
		}
		if b := r.placed("b", "large"); b.Kind != layout.KindStriped || b.Parity != 1 {
			t.Fatalf("%+v", b)
		}
		r.e.FailDrive(r.id(lost), faultio.ErrIO)
		for key, data := range want {
			r.check("b", key, data)
		}
		r.stop()
	}
}

// A blob is purged, or one of its fragments is moved, while it is spread anew: the new
// places are given back. A part becomes an object's meanwhile.
func TestRestripeRaces(t *testing.T) {
	var store *onCommand[*meta.Restripe]
	r := newRig(t, rigOptions{drives: 5, arena: 64 << 20, cfg: Config{Timing: calm}, wrap: func(s meta.Store) meta.Store {
		store = &onCommand[*meta.Restripe]{Store: s}
		return store
	}})
	r.bucket("b")
	keys, want := map[layout.BlobID]string{}, map[string][]byte{}
	for i := range 12 {
		key := fmt.Sprint(i)
		want[key] = content(uint64(i), 700_000)
		r.put("b", key, want[key])
		keys[r.placed("b", key).ID] = key
	}
	ctx := context.Background()
	up, err := r.e.CreateUpload(ctx, "b", "up", "", meta.Object{})
	if err != nil {
		t.Fatal(err)
	}
	want["up"] = content(99, 800_000)
	p, err := r.e.PutPart(ctx, PutPartRequest{Bucket: "b", Key: "up", UploadID: up.ID, Number: 1, Size: 800_000, Body: bytes.NewReader(want["up"]),
		Finish: func(p *meta.Part) error { p.ETag = "p"; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	deleted, completed := 0, 0
	store.fn = func(c *meta.Restripe) {
		key := keys[c.From.ID]
		if c.From.ID == p.Blob.ID {
			_, err := r.e.CompleteUpload(ctx, CompleteRequest{Bucket: "b", Key: "up", UploadID: up.ID, Parts: []meta.PartRef{{Number: 1, ETag: "p"}}, Size: -1,
				Seal: func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) { return "whole", meta.Checksum{}, nil }})
			if err != nil && completed == 0 {
				t.Error(err)
			}
			completed++
			return
		}
		if key == "" || (key[len(key)-1]-'0')%2 == 0 {
			return
		}
		if _, err := r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: key, IfSize: -1}); err != nil {
			t.Error(err)
		}
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); r.e.purger.wake() {
			if _, ok, _ := meta.Locate(r.e.store, c.Slot, c.From.ID); !ok {
				break
			}
			time.Sleep(time.Millisecond)
		}
		store.mu.Lock()
		deleted++
		delete(want, key)
		store.mu.Unlock()
	}
	r.empty(0)
	if deleted == 0 || completed != 1 {
		t.Fatalf("%d deleted, %d completed in the middle", deleted, completed)
	}
	r.sound(want)
	if s := r.e.HealStatus(); s.Errors != 0 {
		t.Fatalf("%+v", s)
	}
	r.stop()
}
