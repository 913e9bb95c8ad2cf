package faultio_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/devicetest"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// bench is a device with one buffer to use it by.
type bench struct {
	t   *testing.T
	dev *faultio.Device
	buf *ioring.Buffer
}

func newBench(t *testing.T, opts faultio.Options) *bench {
	t.Helper()
	if opts.Size == 0 {
		opts.Size = 1 << 20
	}
	buf, err := devicetest.NewArena(t).TryGet(ioring.SmallBuffer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(buf.Release)
	return &bench{t, faultio.New(opts), buf}
}

// on returns b for another device.
func (b *bench) on(dev *faultio.Device) *bench { return &bench{b.t, dev, b.buf} }

func (b *bench) do(op *ioring.Op) error {
	b.dev.Submit(op)
	return op.Wait()
}

// write stores n bytes of value v at off.
func (b *bench) write(off int64, n int, v byte) error {
	copy(b.buf.Bytes(), bytes.Repeat([]byte{v}, n))
	return b.do(&ioring.Op{Code: ioring.OpWrite, Buf: b.buf, Hi: n, Off: off})
}

func (b *bench) sync() error { return b.do(&ioring.Op{Code: ioring.OpSync}) }

func (b *bench) read(off int64, n int) []byte {
	b.t.Helper()
	if err := b.do(&ioring.Op{Code: ioring.OpRead, Buf: b.buf, Hi: n, Off: off}); err != nil {
		b.t.Fatal(err)
	}
	return bytes.Clone(b.buf.Bytes()[:n])
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	b := newBench(t, faultio.Options{})
	b.must(b.write(0, 64<<10, 'a'))
	b.must(b.sync())
	b.must(b.write(32<<10, 64<<10, 'b'))
	outcomes := map[string]bool{}
	var torn bool
	for seed := range uint64(60) {
		after := b.on(b.dev.Crash(seed))
		if got := after.read(0, 32<<10); !bytes.Equal(got, bytes.Repeat([]byte{'a'}, 32<<10)) {
			t.Fatalf("seed %d: synced data changed", seed)
		}
		rest := after.read(32<<10, 64<<10)
		for i := 0; i < len(rest); i += faultio.SectorSize {
			old := byte('a')
			if i >= 32<<10 {
				old = 0
			}
			sector := rest[i : i+faultio.SectorSize]
			if n := bytes.Count(sector, []byte{'b'}); n != 0 && n != len(sector) || n == 0 && sector[0] != old {
				t.Fatalf("seed %d: sector at %d is neither old nor new", seed, i)
			}
		}
		n := bytes.Count(rest, []byte{'b'})
		torn = torn || n > 0 && n < len(rest)
		outcomes[string(rest)] = true
		again := b.on(b.dev.Crash(seed)).read(32<<10, 64<<10)
		if !bytes.Equal(again, rest) {
			t.Fatalf("seed %d: not the same twice", seed)
		}
	}
	if !torn || len(outcomes) < 10 ||
		!outcomes[string(bytes.Repeat([]byte{'b'}, 64<<10))] {
		t.Errorf("torn %v, %d outcomes", torn, len(outcomes))
	}
	if err := b.sync(); !errors.Is(err, ioring.ErrClosed) {
		t.Errorf("sync after the crash: %v", err)
	}
	if err := b.dev.Grow(t.Context(), 1<<30); !errors.Is(err, ioring.ErrClosed) {
		t.Errorf("Grow after the crash: %v", err)
	}
	b.must(b.dev.Close())
}

// TestSyncCoversOnlyCompletedWrites: a write in flight while a sync is
// submitted may be lost.
func TestSyncCoversOnlyCompletedWrites(t *testing.T) {
	b := newBench(t, faultio.Options{})
	hang := make(chan struct{})
	b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Hang: hang})
	copy(b.buf.Bytes(), bytes.Repeat([]byte{'w'}, 4096))
	write := &ioring.Op{Code: ioring.OpWrite, Buf: b.buf, Hi: 4096}
	b.dev.Submit(write)
	b.must(b.sync())
	close(hang)
	b.must(write.Wait())
	var lost, kept bool
	for seed := range uint64(40) {
		n := bytes.Count(b.on(b.dev.Crash(seed)).readOwn(4096), []byte{'w'})
		lost, kept = lost || n == 0, kept || n == 4096
	}
	if !lost || !kept {
		t.Errorf("lost %v, kept %v", lost, kept)
	}
}

// readOwn reads the first n bytes through a buffer of its own.
func (b *bench) readOwn(n int) []byte {
	b.t.Helper()
	return newBench(b.t, faultio.Options{}).on(b.dev).read(0, n)
}

// TestCrashTearsWritesInFlight: the write hangs, and yet some of it may be there.
func TestCrashTearsWritesInFlight(t *testing.T) {
	b := newBench(t, faultio.Options{})
	b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Hang: make(chan struct{})})
	copy(b.buf.Bytes(), bytes.Repeat([]byte{'w'}, 8192))
	write := &ioring.Op{Code: ioring.OpWrite, Buf: b.buf, Hi: 8192}
	b.dev.Submit(write)
	first := b.dev.Crash(1)
	if err := write.Wait(); !errors.Is(err, ioring.ErrClosed) {
		t.Errorf("the write: %v", err)
	}
	clear(b.buf.Bytes()) // the buffer is the caller's again
	var torn bool
	for seed := range uint64(30) {
		n := bytes.Count(b.on(b.dev.Crash(seed)).read(0, 8192), []byte{'w'})
		torn = torn || n > 0 && n < 8192
	}
	if !torn {
		t.Error("never torn")
	}
	if !bytes.Equal(b.on(first).read(0, 8192), b.on(b.dev.Crash(1)).read(0, 8192)) {
		t.Error("the same seed gave another outcome once the write had failed")
	}
}

func TestReopenKeepsTheCache(t *testing.T) {
	b := newBench(t, faultio.Options{})
	b.must(b.write(0, 4096, 'x'))
	b.must(b.dev.Close())
	again := b.on(b.dev.Reopen())
	if got := again.read(0, 4096); got[0] != 'x' {
		t.Error("a restart lost what was written")
	}
	var lost bool
	for seed := range uint64(20) {
		lost = lost || again.on(again.dev.Crash(seed)).read(0, 4096)[0] == 0
	}
	if !lost {
		t.Error("a restart made what was written durable")
	}
	synced := b.on(b.dev.Reopen())
	b.must(synced.sync())
	for seed := range uint64(20) {
		if synced.on(synced.dev.Crash(seed)).read(0, 4096)[0] != 'x' {
			t.Fatal("a sync after the restart did not cover what was written before")
		}
	}
}

func TestRules(t *testing.T) {
	b := newBench(t, faultio.Options{})
	b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, From: 8192, To: 12288, Skip: 1, Times: 2, Err: faultio.ErrIO})
	for i, want := range []error{nil, faultio.ErrIO, faultio.ErrIO, nil} {
		if err := b.write(4096, 8192, byte('1'+i)); !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("write %d: %v", i, err)
		}
		b.must(b.write(0, 8192, '.')) // elsewhere: never struck
	}
	if got := b.read(8192, 4096); got[0] != '4' {
		t.Errorf("read %q", got[0])
	}

	b.dev.Heal()
	b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Short: 1024})
	if err := b.write(0, 4096, 'S'); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("short write: %v", err)
	}
	if got := b.read(0, 4096); got[1023] != 'S' || got[1024] != '.' {
		t.Errorf("a short write left %q%q", got[1023], got[1024])
	}
	b.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Short: 512})
	if err := b.do(&ioring.Op{Code: ioring.OpRead, Buf: b.buf, Hi: 4096}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short read: %v", err)
	}

	b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Lose: true})
	b.must(b.write(0, 4096, 'L'))
	if got := b.read(0, 4096); bytes.IndexByte(got, 'L') >= 0 {
		t.Error("a lost write was found")
	}
}

func diffBits(a, b []byte) (n int) {
	for i := range a {
		for x := a[i] ^ b[i]; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}

func TestSilentCorruption(t *testing.T) {
	b := newBench(t, faultio.Options{})
	clean := bytes.Repeat([]byte{'c'}, 4096)
	b.dev.Inject(faultio.Rule{Code: ioring.OpRead, Times: 1, Flip: true})
	b.must(b.write(0, 4096, 'c'))
	if n := diffBits(b.read(0, 4096), clean); n != 1 {
		t.Errorf("a flipped read differs in %d bits", n)
	}
	if n := diffBits(b.read(0, 4096), clean); n != 0 {
		t.Errorf("the next read differs in %d bits", n)
	}
	b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Times: 1, Flip: true})
	b.must(b.write(0, 4096, 'c'))
	if n := diffBits(b.read(0, 4096), clean); n != 1 {
		t.Errorf("a flipped write differs in %d bits", n)
	}
	b.must(b.write(0, 4096, 'c'))
	b.dev.Corrupt(1000)
	got := b.read(0, 4096)
	if n := diffBits(got, clean); n != 1 || got[1000] == 'c' {
		t.Errorf("Corrupt changed %d bits", n)
	}
	b.must(b.sync())
	if !bytes.Equal(b.on(b.dev.Crash(0)).read(0, 4096), got) {
		t.Error("corruption went away with the power")
	}
}

func TestFailedSyncIsFinal(t *testing.T) {
	b := newBench(t, faultio.Options{})
	b.dev.Inject(faultio.Rule{Code: ioring.OpSync, Skip: 1, Times: 1, Err: faultio.ErrIO})
	b.must(b.sync())
	b.must(b.write(0, 4096, 'u'))
	if err := b.sync(); !errors.Is(err, ioring.ErrFailed) || !errors.Is(err, faultio.ErrIO) {
		t.Errorf("the sync: %v", err)
	}
	b.dev.Heal()
	for name, err := range map[string]error{
		"sync": b.sync(), "write": b.write(0, 4096, 'v'), "grow": b.dev.Grow(t.Context(), 2<<20),
	} {
		if !errors.Is(err, ioring.ErrFailed) || !errors.Is(err, faultio.ErrIO) {
			t.Errorf("%s afterwards: %v", name, err)
		}
	}
	if got := b.read(0, 4096); got[0] != 'u' {
		t.Error("reads must go on")
	}
	var lost bool
	for seed := range uint64(20) {
		lost = lost || b.on(b.dev.Crash(seed)).read(0, 4096)[0] == 0
	}
	if !lost {
		t.Error("a failed sync made data durable")
	}
}

func TestCapacityAndDelay(t *testing.T) {
	b := newBench(t, faultio.Options{Capacity: 2 << 20, Latency: time.Millisecond, Seed: 7})
	if err := b.dev.Grow(t.Context(), 2<<20+1); !errors.Is(err, ioring.ErrNoSpace) {
		t.Errorf("Grow beyond the capacity: %v", err)
	}
	b.must(b.dev.Grow(t.Context(), 2<<20))
	b.dev.Inject(faultio.Rule{Delay: 20 * time.Millisecond})
	start := time.Now()
	b.must(b.write(1<<20, 4096, 'd'))
	if d := time.Since(start); d < 20*time.Millisecond {
		t.Errorf("took %v", d)
	}
	b.dev.Heal()
	b.dev.Inject(faultio.Rule{Code: ioring.OpWrite, Err: ioring.ErrNoSpace})
	if err := b.write(0, 4096, 'e'); !errors.Is(err, ioring.ErrNoSpace) {
		t.Errorf("write: %v", err)
	}
}

// TestChance: the seed decides who is struck, and decides it again the same way.
func TestChance(t *testing.T) {
	run := func(seed uint64) (pattern string) {
		b := newBench(t, faultio.Options{Seed: seed})
		b.dev.Inject(faultio.Rule{Chance: 0.5, Err: faultio.ErrIO, Code: ioring.OpWrite})
		for range 40 {
			if b.write(0, 4096, 'x') == nil {
				pattern += "."
			} else {
				pattern += "x"
			}
		}
		return pattern
	}
	if a, again, other := run(1), run(1), run(2); a != again || a == other {
		t.Errorf("%s %s %s", a, again, other)
	}
}

func TestHugeDeviceIsSparse(t *testing.T) {
	b := newBench(t, faultio.Options{})
	b.must(b.dev.Grow(t.Context(), 1<<50))
	b.must(b.write(1<<50-4096, 4096, 'z'))
	if got := b.read(1<<50-8192, 8192); got[4095] != 0 || got[4096] != 'z' {
		t.Errorf("read %q %q", got[4095], got[4096])
	}
}

// TestCrashProperty drives writes, syncs and crashes at random: after a crash
// each sector holds its last synced value or one written since.
func TestCrashProperty(t *testing.T) {
	const sectors, perBlock = 64, 8
	base := newBench(t, faultio.Options{})
	rapid.Check(t, func(rt *rapid.T) {
		b := base.on(faultio.New(faultio.Options{Size: sectors * faultio.SectorSize}))
		var allowed [sectors]map[byte]bool
		var last [sectors]byte
		settle := func(i int, v byte) { allowed[i], last[i] = map[byte]bool{v: true}, v }
		for i := range allowed {
			settle(i, 0)
		}
		next := byte(1)
		rt.Repeat(map[string]func(*rapid.T){
			"write": func(rt *rapid.T) {
				from := rapid.IntRange(0, sectors/perBlock-1).Draw(rt, "from")
				to := rapid.IntRange(from+1, sectors/perBlock).Draw(rt, "to")
				if err := b.write(int64(from)*4096, (to-from)*4096, next); err != nil {
					rt.Fatal(err)
				}
				for i := from * perBlock; i < to*perBlock; i++ {
					allowed[i][next], last[i] = true, next
				}
				next++
			},
			"sync": func(rt *rapid.T) {
				if err := b.sync(); err != nil {
					rt.Fatal(err)
				}
				for i := range allowed {
					settle(i, last[i])
				}
			},
			"crash": func(rt *rapid.T) {
				b = b.on(b.dev.Crash(rapid.Uint64().Draw(rt, "seed")))
				got := b.read(0, sectors*faultio.SectorSize)
				for i := range allowed {
					v := got[i*faultio.SectorSize]
					if !allowed[i][v] {
						rt.Fatalf("sector %d holds %d, want one of %v", i, v, allowed[i])
					}
					settle(i, v)
				}
			},
			"": func(rt *rapid.T) {
				got := b.read(0, sectors*faultio.SectorSize)
				for i := range last {
					if got[i*faultio.SectorSize] != last[i] {
						rt.Fatalf("sector %d reads %d, want %d", i, got[i*faultio.SectorSize], last[i])
					}
				}
			},
		})
	})
}
