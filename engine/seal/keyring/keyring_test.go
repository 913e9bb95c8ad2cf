package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
	"github.com/sluicehq/sluice/engine/seal/kms"
	"github.com/sluicehq/sluice/engine/seal/kms/kmstest"
)

var errBoom = errors.New("boom")

// memDocs is a document store in memory whose steps can be made to fail.
type memDocs struct {
	mu    sync.Mutex
	docs  map[string][]byte
	revs  map[string]int64
	steps int  // reads and writes so far
	fail  int  // the step from which on all fail; 0: none
	late  bool // the first write that fails takes effect all the same
}

func newDocs() *memDocs { return &memDocs{docs: map[string][]byte{}, revs: map[string]int64{}} }

// step counts; it tells whether this one fails, and whether it is the first to.
func (d *memDocs) step() (fails, first bool) {
	d.steps++
	return d.fail > 0 && d.steps >= d.fail, d.steps == d.fail
}

func (d *memDocs) Get(_ context.Context, path string) ([]byte, int64, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if fails, _ := d.step(); fails {
		return nil, 0, false, errBoom
	}
	v, ok := d.docs[path]
	return v, d.revs[path], ok, nil
}

func (d *memDocs) List(_ context.Context, prefix string, fn func(string, []byte, int64) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, path := range slices.Sorted(maps.Keys(d.docs)) {
		if strings.HasPrefix(path, prefix) {
			if err := fn(path, d.docs[path], d.revs[path]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *memDocs) Put(_ context.Context, path string, value []byte, ifRev int64) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fails, first := d.step()
	if fails && !(first && d.late) {
		return 0, errBoom
	}
	if ifRev >= 0 && d.revs[path] != ifRev {
		return 0, errors.New("precondition failed")
	}
	d.docs[path] = bytes.Clone(value)
	d.revs[path]++
	if fails {
		return 0, errBoom
	}
	return d.revs[path], nil
}

func (d *memDocs) Delete(context.Context, string, int64) error {
	return errors.New("ring keys are never deleted")
}

func (d *memDocs) clone() *memDocs {
	return &memDocs{docs: maps.Clone(d.docs), revs: maps.Clone(d.revs)}
}

func localBackend(t testing.TB, name string) Backend {
	t.Helper()
	l, err := kms.OpenLocal(filepath.Join(t.TempDir(), "kek"), name, true)
	if err != nil {
		t.Fatal(err)
	}
	return Backend{NewBackendID(), l}
}

func openRing(t testing.TB, docs Docs, current Backend, others ...Backend) *Ring {
	t.Helper()
	r, err := Open(context.Background(), Config{Docs: docs, Cluster: "c1", Current: current, Others: others})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// object is a stored object's key: what it opens to, and how it is kept.
type object struct {
	key     seal.DataKey
	wrapped Wrapped
	binding []byte
}

func store(t testing.TB, r *Ring, name, binding string) object {
	t.Helper()
	key, w, err := r.New(context.Background(), name, []byte(binding))
	if err != nil {
		t.Fatal(err)
	}
	return object{key, w, []byte(binding)}
}

func (o *object) check(t testing.TB, r *Ring, what string) {
	t.Helper()
	if key, err := r.Open(context.Background(), o.wrapped, o.binding); err != nil || key != o.key {
		t.Errorf("%s: object %s: %v", what, o.binding, err)
	}
}

func TestRing(t *testing.T) {
	ctx, docs, b := context.Background(), newDocs(), localBackend(t, "main")
	r := openRing(t, docs, b)
	one, two := store(t, r, "", "one"), store(t, r, "main", "two")
	if one.wrapped.Ring != two.wrapped.Ring || one.key == two.key {
		t.Error("the default key's ring key is not used, or data keys are alike")
	}
	if _, _, err := r.New(ctx, "absent", nil); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("no such KMS key: %v", err)
	}
	if _, _, err := r.New(ctx, "a/b", nil); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("impossible KMS key: %v", err)
	}
	if err := b.KMS.Create(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	three := store(t, r, "other", "three")
	if three.wrapped.Ring == one.wrapped.Ring {
		t.Error("two KMS keys share a ring key")
	}
	again := openRing(t, docs, b)
	for _, o := range []object{one, two, three} {
		o.check(t, r, "at once")
		o.check(t, again, "after a restart")
	}
	if _, err := r.Open(ctx, one.wrapped, []byte("two")); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another object's box: %v", err)
	}
	if _, err := r.Open(ctx, Wrapped{99, one.wrapped.Box}, one.binding); !errors.Is(err, ErrNoRingKey) {
		t.Errorf("no such ring key: %v", err)
	}
	if _, err := r.Open(ctx, Wrapped{three.wrapped.Ring, one.wrapped.Box}, one.binding); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("another ring key: %v", err)
	}
	foreign, err := Open(ctx, Config{Docs: docs, Cluster: "c2", Current: b})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Open(ctx, one.wrapped, one.binding); !errors.Is(err, kms.ErrUnwrap) {
		t.Errorf("the ring of another cluster: %v", err)
	}
	st := again.Status()
	if len(st) != 2 || st[0].KMSKey != "main" || !st[0].Current || !st[0].Loaded || st[1].KMSKey != "other" || st[1].Backend != b.ID {
		t.Errorf("status %+v", st)
	}
	var zero Ring
	if _, _, err := zero.New(ctx, "", nil); !errors.Is(err, ErrNoRingKey) {
		t.Errorf("zero ring: %v", err)
	}
	if _, err := zero.Open(ctx, one.wrapped, nil); !errors.Is(err, ErrNoRingKey) {
		t.Errorf("zero ring: %v", err)
	}
}

func TestRotate(t *testing.T) {
	ctx, docs, b := context.Background(), newDocs(), localBackend(t, "main")
	r := openRing(t, docs, b)
	if err := b.KMS.Create(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	objects := []object{store(t, r, "", "0"), store(t, r, "other", "1")}
	before := docs.clone()
	if err := r.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	objects = append(objects, store(t, r, "", "2"), store(t, r, "other", "3"))
	if objects[2].wrapped.Ring == objects[0].wrapped.Ring || objects[3].wrapped.Ring == objects[1].wrapped.Ring {
		t.Error("new objects use the old ring keys")
	}
	for path, old := range before.docs {
		if bytes.Equal(docs.docs[path], old) {
			t.Errorf("%s was not rewrapped", path)
		}
	}
	if st := b.KMS.Status(ctx); st.Version != 2 {
		t.Errorf("KMS key at version %d", st.Version)
	}
	again := openRing(t, docs, b)
	for _, o := range objects {
		o.check(t, r, "rotated")
		o.check(t, again, "rotated, restarted")
	}
	if err := r.Rewrap(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(again.Status()); n != 4 {
		t.Errorf("%d ring keys", n)
	}
}

// TestRotateCutShort fails the documents from every step on, and ends the
// process there: every object opens afterwards, and another rotation completes.
func TestRotateCutShort(t *testing.T) {
	ctx := context.Background()
	for _, late := range []bool{false, true} {
		for fail := 1; ; fail++ {
			docs, b := newDocs(), localBackend(t, "main")
			r := openRing(t, docs, b)
			objects := []object{store(t, r, "", "0")}
			if err := r.Rotate(ctx); err != nil {
				t.Fatal(err)
			}
			objects = append(objects, store(t, r, "", "1"))
			docs.steps, docs.fail, docs.late = 0, fail, late
			err := r.Rotate(ctx)
			if err == nil {
				if fail < 5 {
					t.Errorf("a rotation has only %d steps", fail-1)
				}
				break
			}
			if !errors.Is(err, errBoom) {
				t.Fatalf("step %d: %v", fail, err)
			}
			docs.fail = 0
			what := fmt.Sprintf("step %d, late %v", fail, late)
			objects = append(objects, store(t, r, "", "2"))
			after := openRing(t, docs.clone(), b)
			for _, o := range objects {
				o.check(t, r, what)
				o.check(t, after, what+", restarted")
			}
			if err := r.Rotate(ctx); err != nil {
				t.Errorf("%s: rotating again: %v", what, err)
			}
			if err := after.Rotate(ctx); err != nil {
				t.Errorf("%s: rotating again after a restart: %v", what, err)
			}
			objects = append(objects, store(t, r, "", "3"))
			after = openRing(t, docs, b)
			for _, o := range objects {
				o.check(t, after, what+", complete")
			}
		}
	}
}

// TestMigrateCutShort changes the backend, cut short at every step.
func TestMigrateCutShort(t *testing.T) {
	ctx := context.Background()
	srv := kmstest.New(t)
	srv.AddKey("main-in-vault", false)
	srv.AddKey("other", false)
	transit, err := kms.NewTransit(kms.TransitConfig{Address: srv.Address(), Key: "main-in-vault", Token: "token", CAFile: srv.CAFile()})
	if err != nil {
		t.Fatal(err)
	}
	for _, late := range []bool{false, true} {
		for fail := 1; ; fail++ {
			docs, from, to := newDocs(), localBackend(t, "main"), Backend{NewBackendID(), transit}
			r := openRing(t, docs, from)
			if err := from.KMS.Create(ctx, "other"); err != nil {
				t.Fatal(err)
			}
			objects := []object{store(t, r, "", "0"), store(t, r, "other", "1")}
			docs.steps, docs.fail, docs.late = 0, fail, late
			err := r.Migrate(ctx, to)
			done := err == nil
			if !done && !errors.Is(err, errBoom) {
				t.Fatalf("step %d: %v", fail, err)
			}
			docs.fail = 0
			what := fmt.Sprintf("step %d, late %v", fail, late)
			objects = append(objects, store(t, r, "", "2"))
			back := openRing(t, docs.clone(), from, to)
			on := openRing(t, docs, to, from)
			for _, o := range objects {
				for where, r := range map[string]*Ring{"": r, "restarted": on, "restarted before": back} {
					o.check(t, r, what+" "+where)
				}
			}
			if err := back.Migrate(ctx, from); err != nil {
				t.Fatalf("%s: taking it back: %v", what, err)
			}
			if err := on.Migrate(ctx, to); err != nil {
				t.Fatalf("%s: completing: %v", what, err)
			}
			alone := openRing(t, docs, to)
			objects = append(objects, store(t, on, "", "3"), store(t, on, "other", "4"))
			for _, o := range objects {
				o.check(t, back, what+" taken back")
				o.check(t, on, what+" completed")
			}
			for _, o := range objects[:3] {
				o.check(t, alone, what+" without the old backend")
			}
			for _, s := range on.Status() {
				if s.Backend != to.ID || s.KMSKey == "main" {
					t.Errorf("%s: %+v", what, s)
				}
			}
			if done {
				break
			}
		}
	}
}

// counting counts and delays what goes to a KMS.
type counting struct {
	kms.KMS
	unwraps atomic.Int64
	delay   time.Duration
	err     atomic.Pointer[error]
}

func (c *counting) Unwrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	c.unwraps.Add(1)
	time.Sleep(c.delay)
	if err := c.err.Load(); err != nil {
		return nil, *err
	}
	return c.KMS.Unwrap(ctx, name, wrapped, aad)
}

// TestFirstUse lets many requests need a ring key at once, some of which give
// up: the service is asked once.
func TestFirstUse(t *testing.T) {
	docs, b := newDocs(), localBackend(t, "main")
	o := store(t, openRing(t, docs, b), "", "o")
	c := &counting{KMS: b.KMS, delay: 50 * time.Millisecond}
	r := openRing(t, docs, Backend{b.ID, c})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if i%2 == 0 {
				time.AfterFunc(10*time.Millisecond, cancel)
			}
			key, err := r.Open(ctx, o.wrapped, o.binding)
			switch {
			case i%2 == 0 && err != nil && !errors.Is(err, context.Canceled):
				t.Errorf("gave up: %v", err)
			case i%2 == 1 && (err != nil || key != o.key):
				t.Errorf("open: %v", err)
			}
		})
	}
	wg.Wait()
	if n := c.unwraps.Load(); n != 1 {
		t.Errorf("the service was asked %d times", n)
	}
}

// TestOutage: a service that is down is not asked by every request, keys in
// memory go on, and others do not suffer.
func TestOutage(t *testing.T) {
	ctx, docs, b := context.Background(), newDocs(), localBackend(t, "main")
	r := openRing(t, docs, b)
	old := store(t, r, "", "old")
	if err := r.Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	recent := store(t, r, "", "recent")
	c := &counting{KMS: b.KMS}
	r = openRing(t, docs, Backend{b.ID, c})
	recent.check(t, r, "before the outage")
	down := fmt.Errorf("%w: down", kms.ErrUnavailable)
	c.err.Store(&down)
	for range 50 {
		if _, err := r.Open(ctx, old.wrapped, old.binding); !errors.Is(err, kms.ErrUnavailable) {
			t.Fatalf("outage: %v", err)
		}
		recent.check(t, r, "during the outage")
	}
	if n := c.unwraps.Load(); n > 3 {
		t.Errorf("the service was asked %d times", n)
	}
	if st := r.Status(); st[0].Error == "" || st[0].Loaded || !st[1].Loaded {
		t.Errorf("status %+v", st)
	}
	if err := r.Preload(ctx); !errors.Is(err, kms.ErrUnavailable) {
		t.Errorf("preload: %v", err)
	}
	c.err.Store(nil)
	time.Sleep(failureAge)
	old.check(t, r, "after the outage")
	if err := r.Preload(ctx); err != nil {
		t.Error(err)
	}
}

// TestLostKey spoils one ring key's document: it fails, the rest goes on.
func TestLostKey(t *testing.T) {
	ctx, docs, b := context.Background(), newDocs(), localBackend(t, "main")
	r := openRing(t, docs, b)
	if err := b.KMS.Create(ctx, "other"); err != nil {
		t.Fatal(err)
	}
	lost, kept := store(t, r, "", "lost"), store(t, r, "other", "kept")
	path := docPath(lost.wrapped.Ring)
	docs.docs[path] = bytes.Replace(docs.docs[path], []byte(b.ID), []byte("0123456789abcdef"), 1)
	r = openRing(t, docs, b)
	if _, err := r.Open(ctx, lost.wrapped, lost.binding); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("lost: %v", err)
	}
	kept.check(t, r, "beside a lost one")
	if err := r.Rotate(ctx); !errors.Is(err, kms.ErrNoKey) {
		t.Errorf("rotate: %v", err)
	}
	kept.check(t, r, "after the rotation")
	fresh := store(t, r, "", "new")
	fresh.check(t, openRing(t, docs, b), "new ring key")
}

func TestAtOnce(t *testing.T) {
	ctx, docs, b := context.Background(), newDocs(), localBackend(t, "main")
	r := openRing(t, docs, b)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				o := store(t, r, "", fmt.Sprint(w, "/", i))
				if w == 0 && i%5 == 0 {
					if err := r.Rotate(ctx); err != nil {
						t.Error(err)
					}
				}
				o.check(t, r, "at once")
				_ = r.Status()
			}
		})
	}
	wg.Wait()
	if err := r.Preload(ctx); err != nil {
		t.Error(err)
	}
}

func BenchmarkOpen(b *testing.B) {
	r := openRing(b, newDocs(), localBackend(b, "main"))
	o := store(b, r, "", "o")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Open(context.Background(), o.wrapped, o.binding); err != nil {
			b.Fatal(err)
		}
	}
}
