package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/engine/drive"
	"github.com/sluicehq/sluice/engine/erasure"
	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// placed returns an object's blob with the places of its fragments.
func (r *rig) placed(bucket, key string) layout.Blob {
	r.t.Helper()
	b, err := r.e.Bucket(context.Background(), bucket)
	if err != nil {
		r.t.Fatal(err)
	}
	o, err := r.e.Head(context.Background(), bucket, key)
	if err != nil {
		r.t.Fatal(err)
	}
	if o.Blob.Kind == layout.KindInline {
		return o.Blob
	}
	blob, ok, err := meta.Locate(r.e.store, b.Slot, o.Blob.ID)
	if err != nil || !ok {
		r.t.Fatal(ok, err)
	}
	return blob
}

// fragment reads a fragment off its drive.
func (r *rig) fragment(b *layout.Blob, i int) []byte {
	r.t.Helper()
	f := drive.FragmentOf(b, i)
	d := r.e.drives.now().drive(b.Fragments[i].Drive)
	rd, err := d.Open(context.Background(), &f, 0, f.Size)
	if err != nil {
		r.t.Fatalf("fragment %d: %v", i, err)
	}
	defer rd.Close()
	var out []byte
	for {
		p, err := rd.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			r.t.Fatalf("fragment %d: %v", i, err)
		}
		out = append(out, p...)
	}
}

// assemble puts a blob's payload together, without looking at the fragments that are
// missing or named, and verifies that all others are what they should be.
func (r *rig) assemble(b layout.Blob, without ...int) []byte {
	r.t.Helper()
	if b.Kind == layout.KindSingle {
		return r.fragment(&b, 0)
	}
	g := b.Geometry()
	c, err := erasure.New(g.Data, g.Parity)
	if err != nil {
		r.t.Fatal(err)
	}
	frags := make([][]byte, g.Fragments())
	have := make([]bool, g.Fragments())
	want := make([]bool, g.Fragments())
	for i := range frags {
		if have[i] = len(b.Fragments[i].Extents) > 0; have[i] {
			frags[i] = r.fragment(&b, i)
		}
	}
	for _, i := range without {
		have[i] = false
	}
	for i := range want {
		want[i] = !have[i]
	}
	var payload []byte
	for row := range g.Rows() {
		units := make([][]byte, g.Fragments())
		for i := range units {
			if n := g.UnitLen(row, i); have[i] {
				units[i] = frags[i][row*g.Unit:][:n]
			} else {
				units[i] = make([]byte, n)
			}
		}
		if err := c.Reconstruct(units, have, want); err != nil {
			r.t.Fatal(err)
		}
		for i := range units {
			if at := row * g.Unit; frags[i] != nil && !bytes.Equal(units[i], frags[i][at:][:len(units[i])]) {
				r.t.Fatalf("row %d: unit %d is not what the others make of it", row, i)
			}
			if i < g.Data {
				payload = append(payload, units[i]...)
			}
		}
	}
	return payload
}

// stripedSizes are sizes at which something changes in a geometry.
func stripedSizes(g layout.Geometry) []int64 {
	row := g.Row()
	return []int64{1, g.Unit - 1, g.Unit, g.Unit + 1, row - 1, row, row + 1, 2*row + g.Unit + 7}
}

func TestStripedPut(t *testing.T) {
	for drives := 1; drives <= 8; drives++ {
		for _, parity := range []int{ParityDefault, ParityNone, 1, 3, layout.MaxParity} {
			if (testing.Short() || raceDetector) && (drives%3 != 0 || parity > 1) {
				continue
			}
			t.Run(fmt.Sprintf("%d/%d", drives, parity), func(t *testing.T) { testStripedPut(t, drives, parity) })
		}
	}
}

func testStripedPut(t *testing.T, drives, parity int) {
	r := newRig(t, rigOptions{drives: drives, cfg: Config{InlineMax: 1}})
	r.bucket("b")
	m := parity
	switch parity {
	case ParityDefault:
		m = AutoParity(drives)
	case ParityNone:
		m = 0
	}
	m = min(m, drives-1)
	sizes := []int64{2, 64 << 10, 128 << 10, 128<<10 + 1}
	if big := r.e.writers.geometry(2<<20, drives, m); drives%2 == 0 && big.Row() < 3<<20 {
		sizes = append(sizes, stripedSizes(big)[1:]...)
	}
	keys := map[string]bool{}
	for n, size := range sizes {
		key, data := fmt.Sprint(size), content(uint64(size), size)
		req := putRequest("b", key, data)
		req.Body = &chunky{data, rand.New(rand.NewPCG(1, uint64(n)))}
		req.Parity = parity
		if _, err := r.e.Put(context.Background(), req); err != nil {
			t.Fatal(size, err)
		}
		keys[key] = true
		b, g := r.placed("b", key), r.e.writers.geometry(size, drives, m)
		switch {
		case parity == ParityNone && (b.Kind != layout.KindStriped || b.Data != 1 || b.Parity != 0), m == 0 && len(b.Fragments) != 1, parity != ParityNone && m == 0 && b.Kind != layout.KindSingle:
			t.Fatalf("%d bytes without parity: %+v", size, b)
		case m > 0 && (b.Kind != layout.KindStriped || int(b.Parity) != m || b.Missing() != 0):
			t.Fatalf("%d bytes with parity %d: %+v", size, m, b)
		case m > 0 && size <= erasure.MirrorMax && b.Data != 1:
			t.Fatalf("%d bytes are striped: %+v", size, b)
		case m > 0 && b.Geometry() != g || size >= 4<<20 && g.Data != drives-m:
			t.Fatalf("%d bytes over %d drives: %+v", size, drives, b)
		}
		seen := map[layout.DriveID]bool{}
		for _, f := range b.Fragments {
			if seen[f.Drive] {
				t.Fatalf("two fragments on one drive: %+v", b)
			}
			seen[f.Drive] = true
		}
		for round := range 3 {
			lost := rand.Perm(len(b.Fragments))[:min(round, m)]
			if got := r.assemble(b, lost...); !bytes.Equal(got, data) {
				t.Fatalf("%d bytes, without %v: %d bytes came back", size, lost, len(got))
			}
		}
	}
	r.accounted()
	r.restart()
	r.accounted()
	if r.e.recovered.Degraded != 0 || r.e.recovered.Blobs != int64(len(keys)) {
		t.Fatalf("%+v", r.e.recovered)
	}
	r.stop()
}

// Encrypted payloads come out of their stripes as they are, whatever the geometry.
func TestStripedSealed(t *testing.T) {
	r := newRig(t, rigOptions{drives: 5, cfg: Config{InlineMax: 1}})
	r.bucket("b")
	for _, size := range append(stripedSizes(r.e.writers.geometry(2<<20, 5, 2)), sealedSizes...) {
		key, data := fmt.Sprint(size), content(uint64(size), size)
		if _, err := r.e.Put(context.Background(), locked(putRequest("b", key, data))); err != nil {
			t.Fatal(err)
		}
		if size > 1 {
			b := r.placed("b", key)
			if got := r.assemble(b, 0); int64(len(got)) != b.Size || bytes.Contains(got, data[:min(size, 100)]) && size > 16 {
				t.Fatalf("%d bytes: %d of %d came back, or they are plain", size, len(got), b.Size)
			}
		}
		r.check("b", key, data)
	}
	r.accounted()
	r.stop()
}

// faults are what may become of one operation of a drive.
var faults = map[string]func(hang <-chan struct{}) faultio.Rule{
	"EIO":     func(<-chan struct{}) faultio.Rule { return faultio.Rule{Err: faultio.ErrIO} },
	"no room": func(<-chan struct{}) faultio.Rule { return faultio.Rule{Err: ioring.ErrNoSpace} },
	"short":   func(<-chan struct{}) faultio.Rule { return faultio.Rule{Short: 8192} },
	"hang":    func(hang <-chan struct{}) faultio.Rule { return faultio.Rule{Hang: hang} },
}

// A drive that fails at any point of a write costs the blob a fragment, and the
// client nothing, as long as the quorum holds.
func TestDriveFailsDuringWrite(t *testing.T) {
	for name, fault := range faults {
		for _, code := range []ioring.Code{ioring.OpWrite, ioring.OpSync} {
			if code == ioring.OpSync && name != "EIO" && name != "hang" {
				continue
			}
			for skip := range 3 {
				if code == ioring.OpSync && skip > 0 {
					continue
				}
				for failing := 1; failing <= 3; failing++ {
					if name != "EIO" && (skip == 1 || failing == 3) || (testing.Short() || raceDetector) && skip+failing != 2 {
						continue
					}
					t.Run(fmt.Sprintf("%s/%d/%d/%d", name, code, skip, failing), func(t *testing.T) {
						testDriveFails(t, fault, code, skip, failing)
					})
				}
			}
		}
	}
}

func testDriveFails(t *testing.T, fault func(<-chan struct{}) faultio.Rule, code ioring.Code, skip, failing int) {
	hang := make(chan struct{})
	var deadline time.Duration
	if fault(hang).Hang != nil {
		deadline = 300 * time.Millisecond
	}
	r := newRig(t, rigOptions{drives: 5, deadline: deadline, cfg: Config{InlineMax: 1, Parity: 2}})
	r.bucket("b")
	r.e.heal.moves.Lock()                   // nothing is repaired until everything has been looked at
	const size = 3*3*erasure.StripeUnit - 5 // three frames in every fragment
	old, data := content(1, size), content(2, size)
	r.put("b", "k", old)
	for i := range failing {
		rule := fault(hang)
		rule.Code, rule.Skip = code, skip
		if code == ioring.OpWrite {
			rule.Times = 1
		}
		r.devs[i].Inject(rule)
	}
	_, err := r.e.Put(context.Background(), putRequest("b", "k", data))
	if failing == 1 { // of 3+2, 4 have to be durable
		if err != nil {
			t.Fatal(err)
		}
		b := r.placed("b", "k")
		if b.Missing() != 1 || r.queued() != 1 {
			t.Fatalf("%d on the repair queue, %+v", r.queued(), b)
		}
		if got := r.assemble(b); !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back", len(got))
		}
	} else {
		if k := KindOf(err); k != Unavailable && k != NoSpace || errors.Is(err, ioring.ErrNoSpace) != (k == NoSpace) {
			t.Fatalf("kind %d: %v", k, err)
		}
		if got := r.assemble(r.placed("b", "k")); !bytes.Equal(got, old) {
			t.Fatalf("the old object: %d bytes came back", len(got))
		}
	}
	// The drives are passed over, if others suffice.
	if _, err = r.e.Put(context.Background(), putRequest("b", "next", data)); err != nil {
		t.Fatal(err)
	}
	b := r.placed("b", "next")
	if failing < 3 && (b.Missing() > 0 || len(b.Fragments) != 5-failing) || failing == 3 && (b.Data != 1 || b.Missing() > 1) {
		t.Fatalf("with %d drives in doubt: %+v", failing, b)
	}
	if got := r.assemble(b); !bytes.Equal(got, data) {
		t.Fatalf("%d bytes came back", len(got))
	}
	for _, d := range r.devs {
		d.Heal()
	}
	close(hang)
	r.quiet()
	r.e.heal.moves.Unlock()
	r.drained()
	r.balanced()
	r.stop()
}

// queued returns the length of the repair queue.
func (r *rig) queued() int {
	r.t.Helper()
	list, err := meta.Repairs(r.e.store, meta.BlobCursor{}, 1000)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

// balanced is accounted while repairs are under way: it waits until they are not.
func (r *rig) balanced() {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); r.named() != r.used() && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	r.accounted()
}

// quiet waits until the drives have answered everything.
func (r *rig) quiet() {
	r.t.Helper()
	for _, m := range r.e.drives.now().all {
		for end := time.Now().Add(10 * time.Second); m.d != nil && !m.d.Idle(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				r.t.Fatal("a drive does not become quiet")
			}
		}
	}
}

// A body that breaks is the body's error, even while a drive fails, and leaves
// nothing behind.
func TestStripedBodyErrors(t *testing.T) {
	r := newRig(t, rigOptions{drives: 5, cfg: Config{InlineMax: 1}})
	r.bucket("b")
	boom := errors.New("boom")
	g := r.e.writers.geometry(8<<20, 5, 2)
	size := 3*g.Row() + 99
	data := content(1, size)
	for _, at := range []int64{0, 1, g.Unit, g.Row() - 1, g.Row(), 2*g.Row() + g.Unit + 3, size - 1, size} {
		for name, c := range map[string]struct {
			body io.Reader
			kind Kind
		}{
			"broken": {io.MultiReader(bytes.NewReader(data[:at]), errReader{boom}), BadBody},
			"short":  {bytes.NewReader(data[:min(at, size-1)]), ShortBody},
			"long":   {bytes.NewReader(append(bytes.Clone(data), 1)), BadBody},
		} {
			if at%2 == 1 {
				r.devs[0].Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Err: faultio.ErrIO})
			}
			_, err := r.e.Put(context.Background(), PutRequest{Bucket: "b", Key: "k", Size: size, Body: c.body})
			if KindOf(err) != c.kind || name == "broken" && !errors.Is(err, boom) {
				t.Fatalf("%s at %d: %v", name, at, err)
			}
			r.devs[0].Heal()
			for _, m := range r.e.drives.now().all {
				m.room.doubted.Store(0)
			}
			if used := r.used(); used != 0 || r.arena.InUse() != 0 {
				t.Fatalf("%s at %d: %d bytes leaked, %d of the arena", name, at, used, r.arena.InUse())
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := r.e.Put(ctx, PutRequest{Bucket: "b", Key: "k", Size: size, Body: &canceling{bytes.NewReader(data), cancel, int(g.Row())}})
	wantKind(t, err, Unavailable)
	if used := r.used(); used != 0 || r.arena.InUse() != 0 {
		t.Fatalf("%d bytes leaked, %d of the arena", used, r.arena.InUse())
	}
	r.stop()
}

// canceling cancels its own request.
type canceling struct {
	r      io.Reader
	cancel func()
	left   int
}

func (c *canceling) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= n; c.left <= 0 {
		c.cancel()
	}
	return n, err
}

// Writers hold no more of the arena than they were admitted with, and many writers and
// copies in a small arena do not wait for one another for ever.
func TestStripedWritersDoNotDeadlock(t *testing.T) {
	for _, large := range []int64{4, 16} {
		r := newRig(t, rigOptions{drives: 6, arena: large * ioring.LargeBuffer, cfg: Config{InlineMax: 1}})
		r.bucket("b")
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		data := content(1, 5<<20+777)
		for i := range 12 {
			wg.Go(func() {
				size := int64(len(data)) >> (i % 8)
				req := putRequest("b", fmt.Sprint(i), data[:size])
				req.Body = &chunky{data[:size], rand.New(rand.NewPCG(1, uint64(i)))}
				if _, err := r.e.Put(ctx, req); err != nil {
					t.Error(i, err)
				}
			})
		}
		wg.Wait()
		for i := range 12 {
			wg.Go(func() {
				if _, err := copyObject(r.e, fmt.Sprint(i), fmt.Sprint("copy", i)); err != nil {
					t.Error(i, err)
				}
			})
		}
		wg.Wait()
		cancel()
		for i := range 12 {
			r.check("b", fmt.Sprint("copy", i), data[:int64(len(data))>>(i%8)])
		}
		r.accounted()
		r.stop()
	}
}

// measured is a body that tells how much of the arena is on loan while it is read.
type measured struct {
	io.Reader
	r    *rig
	most int64
}

func (m *measured) Read(p []byte) (int, error) {
	m.most = max(m.most, m.r.arena.InUse())
	return m.Reader.Read(p)
}

func TestStripedMemory(t *testing.T) {
	r := newRig(t, rigOptions{drives: 6, arena: 64 << 20, cfg: Config{InlineMax: 1}})
	r.bucket("b")
	for _, c := range []struct{ size, most int64 }{
		{5000, 3 * ioring.SmallBuffer},
		{128 << 10, 3 * ioring.SmallBuffer},
		{200 << 10, 6 * ioring.SmallBuffer},
		{1 << 20, 6 * ioring.MediumBuffer},
		{2 << 20, 6 * ioring.MediumBuffer},
		{30 << 20, 12 * ioring.MediumBuffer},
	} {
		body := &measured{Reader: &endless{c.size}, r: r}
		if _, err := r.e.Put(context.Background(), PutRequest{Bucket: "b", Key: "k", Size: c.size, Body: body}); err != nil {
			t.Fatal(err)
		}
		if body.most > c.most || body.most == 0 {
			t.Errorf("%d bytes take %d of the arena, not %d", c.size, body.most, c.most)
		}
	}
	if !r.e.writers.large.TryAcquire(r.e.writers.most) {
		t.Error("a writer's share was not given back")
	}
	r.stop()
}

// Writers go on while drives come and go in every way, as long as no more fail at a
// time than may; what was acknowledged is there, and space adds up in the end.
func TestStripedWriteChaos(t *testing.T) {
	r := newRig(t, rigOptions{
		drives: 6, deadline: 150 * time.Millisecond, capacity: 1 << 30,
		cfg: Config{InlineMax: 1, Parity: 2, Timing: Timing{HealthTick: time.Hour}},
	})
	r.bucket("b")
	var wg sync.WaitGroup
	var acked, refused atomic.Int64
	done := make(chan struct{})
	stored := make([][]uint64, 4)
	sizeOf := func(seed uint64) int64 { return 1 + int64(seed*2654435761%1_500_000) }
	for w := range stored {
		wg.Go(func() {
			for i := uint64(0); ; i++ {
				select {
				case <-done:
					return
				default:
				}
				seed := uint64(w)<<32 | i
				data := content(seed, sizeOf(seed))
				switch _, err := r.e.Put(context.Background(), putRequest("b", fmt.Sprint(seed), data)); {
				case err == nil:
					stored[w] = append(stored[w], seed)
					acked.Add(1)
				case KindOf(err) == Unavailable || KindOf(err) == NoSpace:
					refused.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := 0; round < 12 || acked.Load() < 40 && round < 200; round++ {
		i := rng.IntN(6)
		r.devs[i].Break([]faultio.Outage{faultio.Full, faultio.Hung}[rng.IntN(2)])
		r.devs[(i+1)%6].Inject(faultio.Rule{Code: ioring.OpWrite, Err: faultio.ErrIO, Times: 3})
		time.Sleep(time.Duration(rng.IntN(80)) * time.Millisecond)
		r.devs[i].Heal()
		r.devs[(i+1)%6].Heal()
		for _, m := range r.e.drives.now().all {
			m.room.doubted.Store(0)
		}
	}
	close(done)
	wg.Wait()
	if acked.Load() < 40 {
		t.Fatalf("%d writes acknowledged, %d refused", acked.Load(), refused.Load())
	}
	r.quiet()
	for _, seeds := range stored {
		for _, seed := range seeds {
			if _, got, err := fetch(r.e, "b", fmt.Sprint(seed), 0); err != nil || !bytes.Equal(got, content(seed, sizeOf(seed))) {
				t.Fatalf("object %d: %d bytes, %v", seed, len(got), err)
			}
		}
	}
	r.drained()
	r.balanced()
	t.Logf("%d writes acknowledged, %d refused", acked.Load(), refused.Load())
	r.stop()
}
