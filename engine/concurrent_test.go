package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
)

// Readers of a key that is replaced and deleted all the time get one whole body
// or none, although space is tight and purged at once.
func TestReadersDuringOverwrite(t *testing.T) {
	r := newRig(t, rigOptions{drives: 1, capacity: 24 << 20, cfg: Config{Grace: 1}})
	r.bucket("b")
	var done atomic.Bool
	var reads atomic.Int64
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for i := uint64(0); !done.Load(); i++ {
				data := content(uint64(w)<<32|i, 1+rng.Int64N(400_000))
				_, err := r.e.Put(context.Background(), putRequest("b", "k", data))
				if KindOf(err) == NoSpace {
					continue // three writers outrun the purger on a drive this small
				}
				if err == nil && rng.IntN(5) == 0 {
					_, err = r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: "k", IfSize: -1})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range 4 {
		wg.Go(func() {
			for i := w; !done.Load(); i++ {
				o, err := r.e.Get(context.Background(), "b", "k")
				if err != nil {
					if KindOf(err) != NoObject {
						t.Error(err)
						return
					}
					continue
				}
				if i%4 == 0 {
					time.Sleep(5 * time.Millisecond) // slower than the purger
				}
				got, err := fetchRange(o, 0, o.Info.Size, i)
				if err != nil || etagOf(got) != o.Info.ETag {
					t.Errorf("read %d bytes of %d: %v", len(got), o.Info.Size, err)
				}
				o.Close()
				reads.Add(1)
			}
		})
	}
	time.Sleep(time.Second)
	done.Store(true)
	wg.Wait()
	if reads.Load() == 0 || r.e.purger.purged.Load() == 0 {
		t.Fatal("nothing was tested")
	}
	r.drained()
	r.accounted()
	r.stop()
}

// The same for multipart objects, whose part lists are purged too.
func TestMultipartReaderOutlivesObject(t *testing.T) {
	r := newRig(t, rigOptions{cfg: Config{Grace: 1}})
	r.bucket("b")
	ctx := context.Background()
	up, err := r.e.CreateUpload(ctx, "b", "k", "", meta.Object{})
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	var refs []meta.PartRef
	const parts = 150
	for n := int32(1); n <= parts; n++ {
		data := content(uint64(n), []int64{100, 5000, 0, 20_000}[n%4])
		_, err := r.e.PutPart(ctx, PutPartRequest{
			Bucket: "b", Key: "k", UploadID: up.ID, Number: n, Size: int64(len(data)), Body: bytes.NewReader(data),
			Finish: func(p *meta.Part) error { p.ETag = etagOf(data); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
		refs = append(refs, meta.PartRef{Number: n, ETag: etagOf(data)})
	}
	r.e.minPart = 0
	req := CompleteRequest{Bucket: "b", Key: "k", UploadID: up.ID, Parts: refs, Size: -1}
	req.Seal = func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) {
		return "", meta.Checksum{}, io.ErrNoProgress
	}
	_, err = r.e.CompleteUpload(ctx, req)
	wantKind(t, err, BadBody)
	req.Seal = func(*meta.Upload, []meta.Part) (string, meta.Checksum, error) { return "x-1", meta.Checksum{}, nil }
	if _, err = r.e.CompleteUpload(ctx, req); err != nil {
		t.Fatal(err)
	}
	r.check("b", "k", all)
	o, err := r.e.Get(ctx, "b", "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.e.Delete(ctx, DeleteRequest{Bucket: "b", Key: "k", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond) // the purger tries
	if got, err := fetchRange(o, 0, o.Info.Size, 0); err != nil || !bytes.Equal(got, all) {
		t.Fatal("the reader lost its data:", err)
	}
	for _, off := range []int64{0, 1, 90, 5150, int64(len(all)) - 3} {
		if got, err := fetchRange(o, off, 3, 1); err != nil || !bytes.Equal(got, all[off:off+3]) {
			t.Fatal(off, err)
		}
	}
	list, more, err := o.Parts(10, 5)
	if err != nil || !more || len(list) != 5 || list[0].Number != 11 {
		t.Fatal(list, more, err)
	}
	if p, off, err := o.Part(2); err != nil || p.Number != 2 || off != refsSize(all, 1) {
		t.Fatal(p, off, err)
	}
	_, _, err = o.Part(parts + 1)
	wantKind(t, err, InvalidPart)
	o.Close()
	r.drained()
	if n := r.used(); n != 0 {
		t.Fatalf("%d bytes in use", n)
	}
	r.stop()
}

func refsSize(_ []byte, parts int) (n int64) {
	for i := 1; i <= parts; i++ {
		n += []int64{100, 5000, 0, 20_000}[i%4]
	}
	return n
}

// barrier lets nothing be read until all of its kind are being read.
type barrier struct {
	r    io.Reader
	all  *sync.WaitGroup
	once sync.Once
}

func (b *barrier) Read(p []byte) (int, error) {
	b.once.Do(func() {
		b.all.Done()
		b.all.Wait()
	})
	return b.r.Read(p)
}

// Of many creations of one key exactly one wins.
func TestConditionalRace(t *testing.T) {
	r := newRig(t, rigOptions{})
	r.bucket("b")
	for round := range 10 {
		key := fmt.Sprint(round)
		var won atomic.Int64
		var winner atomic.Uint64
		var wg, reading sync.WaitGroup
		reading.Add(32)
		for i := range 32 {
			wg.Go(func() {
				req := putRequest("b", key, content(uint64(i), []int64{100, 10_000}[round%2]))
				req.Body = &barrier{r: req.Body, all: &reading} // past the early refusal
				req.If.IfNoneMatchAny = true
				switch _, err := r.e.Put(context.Background(), req); {
				case err == nil:
					won.Add(1)
					winner.Store(uint64(i))
				case KindOf(err) != PreconditionFailed:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of 32 creations of one key succeeded", won.Load())
		}
		r.check("b", key, content(winner.Load(), []int64{100, 10_000}[round%2]))
	}
	r.accounted() // the losers' extents came back
	r.stop()
}

// copyObject copies as a frontend does: a Put whose body is a Get, behind a
// wrapper.
func copyObject(e *Engine, from, to string) (meta.Object, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	o, err := e.Get(ctx, "b", from)
	if err != nil {
		return meta.Object{}, err
	}
	defer o.Close()
	b, err := o.Range(ctx, 0, o.Info.Size)
	if err != nil {
		return meta.Object{}, err
	}
	defer b.Close()
	return e.Put(ctx, PutRequest{Bucket: "b", Key: to, Size: o.Info.Size, Body: io.TeeReader(b, io.Discard)})
}

// Many copies at once, in an arena that holds few buffers, must not wait for
// one another for ever.
func TestCopiesDoNotDeadlock(t *testing.T) {
	r := newRig(t, rigOptions{arena: 4 * ioring.LargeBuffer})
	r.bucket("b")
	data := content(1, 2<<20+777)
	r.put("b", "k", data)
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			if _, err := copyObject(r.e, "k", fmt.Sprint("copy", i)); err != nil {
				t.Error(i, err)
			}
		})
	}
	wg.Wait()
	for i := range 12 {
		r.check("b", fmt.Sprint("copy", i), data)
	}
	r.stop()
}

func TestEpochs(t *testing.T) {
	var e epochs
	var p pins
	var live atomic.Int64
	var wg sync.WaitGroup
	// current is the version that a reader may find; the writer retires it,
	// turns the epoch and checks that nobody found it without pinning it.
	var current atomic.Uint64
	retired := make([]atomic.Bool, 1<<16)
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ep := e.enter()
				n := current.Load()
				var v meta.Version
				v[14], v[15] = byte(n>>8), byte(n)
				p.pin(v)
				ep.leave()
				if retired[n].Load() {
					t.Errorf("version %d was purged under a reader", n)
				}
				live.Add(1)
				p.unpin(v)
			}
		})
	}
	for live.Load() == 0 { // the readers run
		time.Sleep(time.Millisecond)
	}
	for n := uint64(1); n < 2000; n++ {
		current.Store(n)
		e.turn(nil)
		var v meta.Version
		v[14], v[15] = byte((n-1)>>8), byte(n-1)
		if !p.pinned(v) {
			retired[n-1].Store(true)
		}
	}
	close(stop)
	wg.Wait()
	if live.Load() == 0 || p.readers.Load() != 0 {
		t.Fatal(live.Load(), p.readers.Load())
	}
}

// slow is a store whose Get, once armed, waits after it has read.
type slow struct {
	meta.Store
	armed   *atomic.Bool
	entered chan struct{}
	resume  chan struct{}
}

func (s *slow) Get(key []byte) ([]byte, bool, error) {
	v, ok, err := s.Store.Get(key)
	if s.armed.CompareAndSwap(true, false) {
		close(s.entered)
		<-s.resume
	}
	return v, ok, err
}

// A reader that is between the record and its pin holds the purger up.
func TestPurgeWaitsForLookup(t *testing.T) {
	var armed atomic.Bool
	s := &slow{armed: &armed, entered: make(chan struct{}), resume: make(chan struct{})}
	r := newRig(t, rigOptions{drives: 1, cfg: Config{Grace: 1}, wrap: func(inner meta.Store) meta.Store {
		s.Store = inner
		return s
	}})
	r.bucket("b")
	data := content(1, 100_000)
	r.put("b", "k", data)
	if _, err := r.e.Bucket(context.Background(), "b"); err != nil { // now cached
		t.Fatal(err)
	}
	armed.Store(true)
	got := make(chan error, 1)
	go func() {
		_, b, err := fetch(r.e, "b", "k", 0)
		if err == nil && !bytes.Equal(b, data) {
			err = io.ErrUnexpectedEOF
		}
		got <- err
	}()
	<-s.entered
	if _, err := r.e.Delete(context.Background(), DeleteRequest{Bucket: "b", Key: "k", IfSize: -1}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(150 * time.Millisecond) // the purger tries
	if n := r.e.purger.purged.Load(); n != 0 {
		t.Errorf("%d entries were purged under a reader", n)
	}
	close(s.resume)
	if err := <-got; err != nil {
		t.Fatal("the reader lost its data:", err)
	}
	r.drained()
	r.accounted()
	r.stop()
}
