package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta"
	"github.com/sluicehq/sluice/engine/meta/pebblemeta/faultfs"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// rig is an engine on drives and a file system in memory.
type rig struct {
	t     testing.TB
	e     *Engine
	arena *ioring.Arena
	devs  []*faultio.Device
	fs    *vfs.MemFS
	cfg   Config // Drives and Store are filled in by start
	log   *slog.Logger
	wrap  func(meta.Store) meta.Store // around the store, or nil
	slow  time.Duration               // longest delay of a sync of fs

	deadline time.Duration // of operations of the drives; 0: the default
	metaDir  string        // of the metadata on real files; "": they are on fs
	// pulled are the devices that are not there when the engine opens; see heal_rig_test.go.
	pulled   map[int]layout.DriveID
	ids      []layout.DriveID // of the drives on devs
	capacity int64
	latency  time.Duration
}

type rigOptions struct {
	drives   int
	capacity int64 // of each drive; 0: unlimited
	arena    int64
	crash    bool // fs can crash
	latency  time.Duration
	slow     time.Duration // longest delay of a sync of the metadata
	deadline time.Duration // of operations of the drives; 0: the default
	seed     uint64
	cfg      Config
	wrap     func(meta.Store) meta.Store
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	if o.drives == 0 {
		o.drives = 2
	}
	if o.arena == 0 {
		o.arena = 32 << 20
	}
	r := &rig{t: t, cfg: o.cfg, fs: vfs.NewMem(), wrap: o.wrap, slow: o.slow, deadline: o.deadline, capacity: o.capacity, latency: o.latency}
	if o.crash {
		r.fs = vfs.NewCrashableMem()
	}
	if r.cfg.InlineMax == 0 {
		r.cfg.InlineMax = 1 << 10
	}
	if r.cfg.Grace == 0 {
		r.cfg.Grace = time.Millisecond
	}
	if r.cfg.WriteBuffers == 0 {
		r.cfg.WriteBuffers = o.arena / 2
	}
	var err error
	if r.arena, err = ioring.NewArena(o.arena); err != nil {
		t.Fatal(err)
	}
	for i := range o.drives {
		r.devs = append(r.devs, faultio.New(faultio.Options{Capacity: o.capacity, Latency: o.latency, Seed: o.seed + uint64(i)}))
	}
	r.start()
	return r
}

// start opens what the devices and the file system hold.
func (r *rig) start() {
	r.t.Helper()
	if err := r.tryStart(); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) tryStart() error {
	cfg := r.cfg
	if r.log != nil {
		cfg.Logger = r.log
	}
	var cluster [16]byte
	r.ids = append(r.ids, make([]layout.DriveID, len(r.devs)-len(r.ids))...)
	for i, dev := range r.devs {
		if id, out := r.pulled[i]; out {
			cfg.Expected = append(cfg.Expected, id)
			continue
		}
		d, err := drive.Open(context.Background(), dev, drive.Options{Cluster: cluster, Arena: r.arena, Logger: cfg.Logger, Deadline: r.deadline})
		if err != nil {
			return err
		}
		cluster = d.Cluster()
		r.ids[i] = d.ID()
		cfg.Drives = append(cfg.Drives, d)
	}
	opts := pebblemeta.Options{FS: r.slowed(), CacheSize: 1 << 20, Logger: cfg.Logger}
	dir := "meta"
	if r.metaDir != "" {
		dir, opts = r.metaDir, pebblemeta.Options{}
	}
	s, err := pebblemeta.Open(dir, opts)
	if err != nil {
		return err
	}
	cfg.Store = s
	if r.wrap != nil {
		cfg.Store = r.wrap(s)
	}
	if r.e, err = Open(context.Background(), cfg); err != nil {
		s.Close()
		return err
	}
	r.e.minPart = 1
	return nil
}

// slowed returns fs with its syncs delayed: more happens between a commit and
// its being durable.
func (r *rig) slowed() vfs.FS {
	if r.slow == 0 {
		return r.fs
	}
	return faultfs.Wrap(r.fs, func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			time.Sleep(rand.N(r.slow))
		}
		return nil
	})
}

// stop closes the engine and checks that every buffer came back.
func (r *rig) stop() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.e.Close(ctx); err != nil {
		r.t.Fatal("close:", err)
	}
	if n := r.arena.InUse(); n != 0 {
		r.t.Fatalf("%d bytes of the arena are still on loan", n)
	}
}

// restart closes and reopens everything, with the power on.
func (r *rig) restart() {
	r.t.Helper()
	r.stop()
	for i, d := range r.devs {
		r.devs[i] = d.Reopen()
	}
	r.start()
}

// named sums up the bytes of drives in service that the metadata names.
func (r *rig) named() (n int64) {
	r.t.Helper()
	v := r.e.drives.now()
	err := meta.Blobs(r.e.store, func(ref meta.BackRef) error {
		for _, f := range ref.Blob.Fragments {
			if v.drive(f.Drive) != nil {
				n += extentBytes(f.Extents)
			}
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// used sums up the bytes in use of the drives in service.
func (r *rig) used() (n int64) {
	for _, m := range r.e.drives.now().all {
		if m.readable() {
			_, used, _ := m.d.Usage()
			n += used
		}
	}
	return n
}

// accounted fails unless exactly what is named is in use, and a check finds nothing
// wrong. Nothing may be under way but the purger.
func (r *rig) accounted() {
	r.t.Helper()
	r.inBalance()
	r.verify(CheckOptions{})
}

// inBalance is accounted without a look at the records. Space that a repair under way has
// set aside is in use for as long as that takes.
func (r *rig) inBalance() {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		named, used := r.balance()
		if named == used {
			break
		}
		if time.Now().After(end) {
			r.t.Fatalf("drives have %d bytes in use, metadata names %d", used, named)
		}
	}
	for _, m := range r.e.drives.now().all {
		if m.d == nil {
			continue
		}
		if n := m.d.Counters().BadFrees; n != 0 {
			r.t.Fatalf("%d extents were freed that were not in use", n)
		}
	}
}

// balance returns the bytes that metadata names and that drives have in use.
func (r *rig) balance() (named, used int64) {
	r.t.Helper()
	r.e.purger.pass.Lock()
	defer r.e.purger.pass.Unlock()
	r.e.heal.moves.Lock()
	defer r.e.heal.moves.Unlock()
	r.e.heal.left.flush()
	return r.named(), r.used()
}

// drained waits until the delete queue is empty, but for records of completed
// uploads.
func (r *rig) drained() {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		r.e.purger.wake()
		queue, err := r.e.garbage(time.Now().Add(time.Hour).UnixNano(), 10)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(queue) == 0 {
			r.e.purger.pass.Lock() // until the extents are free as well
			//lint:ignore SA2001 the pass that is under way is waited for, nothing more
			r.e.purger.pass.Unlock()
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("delete queue does not drain: %+v, %d readers", queue, r.e.pins.readers.Load())
		}
	}
}

func (r *rig) bucket(name string) {
	r.t.Helper()
	if _, err := r.e.CreateBucket(context.Background(), name, "owner", ""); err != nil {
		r.t.Fatal(err)
	}
}

// content returns size bytes that no other seed shares.
func content(seed uint64, size int64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	b := make([]byte, size)
	rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// chunky yields its bytes in uneven reads.
type chunky struct {
	b   []byte
	rng *rand.Rand
}

func (c *chunky) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(c.b), 1+c.rng.IntN(70_000))
	copy(p, c.b[:n])
	c.b = c.b[n:]
	if len(c.b) == 0 && c.rng.IntN(2) == 0 {
		return n, io.EOF
	}
	return n, nil
}

func putRequest(bucket, key string, data []byte) PutRequest {
	return PutRequest{
		Bucket: bucket, Key: key, Size: int64(len(data)), Body: lend(bytes.NewReader(data)),
		Finish: func(o *meta.Object) error { o.ETag = etagOf(data); return nil },
	}
}

func etagOf(data []byte) string {
	return fmt.Sprintf("%016x%016x", xxh3.Hash(data), len(data))
}

func (r *rig) put(bucket, key string, data []byte) meta.Object {
	r.t.Helper()
	o, err := r.e.Put(context.Background(), putRequest(bucket, key, data))
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

// fetch reads a whole object, by one of the ways there are.
func fetch(e *Engine, bucket, key string, way int) (meta.Object, []byte, error) {
	o, err := e.Get(context.Background(), bucket, key)
	if err != nil {
		return meta.Object{}, nil, err
	}
	defer o.Close()
	if o.Info.Size == 0 {
		return o.Info, []byte{}, nil
	}
	data, err := fetchRange(o, 0, o.Info.Size, way)
	return o.Info, data, err
}

func fetchRange(o *Object, off, n int64, way int) ([]byte, error) {
	unlock(o)
	b, err := o.Range(context.Background(), off, n)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var out bytes.Buffer
	switch way % 3 {
	case 0:
		_, err = b.WriteTo(&out)
	case 1:
		_, err = io.CopyBuffer(struct{ io.Writer }{&out}, struct{ io.Reader }{b}, make([]byte, 10_000))
	case 2: // a few reads, then the rest
		if _, err = io.CopyN(&out, struct{ io.Reader }{b}, min(n, 5000)); err == nil {
			_, err = b.WriteTo(&out)
		}
	}
	return out.Bytes(), err
}

// check fails unless key holds data.
func (r *rig) check(bucket, key string, data []byte) {
	r.t.Helper()
	for way := range 3 {
		o, got, err := fetch(r.e, bucket, key, way)
		if err != nil {
			r.t.Fatalf("get %q: %v", key, err)
		}
		if !bytes.Equal(got, data) || o.Size != int64(len(data)) {
			r.t.Fatalf("get %q, way %d: %d bytes of size %d, want %d", key, way, len(got), o.Size, len(data))
		}
	}
}

func wantKind(t testing.TB, err error, kind Kind) {
	t.Helper()
	if err == nil || KindOf(err) != kind {
		t.Fatalf("error %v of kind %d, want kind %d", err, KindOf(err), kind)
	}
}
