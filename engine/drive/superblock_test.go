package drive

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/sluicehq/sluice/engine/layout"
	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// formatted returns a device with a fresh drive and a fragment on it.
func formatted(t *testing.T, a *ioring.Arena) (dev *memDevice, id layout.DriveID, cluster [16]byte) {
	t.Helper()
	dev = newMem(4 * mib)
	d := openDrive(t, dev, Options{Arena: a})
	put(t, d, []byte("x"))
	return reopen(dev), d.ID(), d.Cluster()
}

func reseal(b []byte) { le64(b[sbOffSum:], xxh3.Hash(b[sbOffVersion:superSize])) }

func le64(b []byte, v uint64) {
	for i := range 8 {
		b[i] = byte(v >> (8 * i))
	}
}

func TestSuperblockRepair(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for name, damage := range map[string]func(first, second []byte){
		"none":                    func(x, y []byte) {},
		"first torn":              func(x, y []byte) { x[300] ^= 1 },
		"first torn in the ids":   func(x, y []byte) { x[sbOffDrive] ^= 1 },
		"first zero":              func(x, y []byte) { clear(x) },
		"second torn":             func(x, y []byte) { y[4095] ^= 1 },
		"second zero":             func(x, y []byte) { clear(y) },
		"second something else":   func(x, y []byte) { copy(y, "who knows") },
		"second of an older life": func(x, y []byte) { x[sbOffGen]++; reseal(x) },
		"first of an older life":  func(x, y []byte) { y[sbOffGen]++; reseal(y) },
	} {
		t.Run(name, func(t *testing.T) {
			dev, id, cluster := formatted(t, a)
			first, second := dev.data[:superSize], dev.data[superCopy:][:superSize]
			damage(first, second)
			d := openDrive(t, dev, Options{Arena: a, Cluster: cluster})
			if d.ID() != id || d.Cluster() != cluster {
				t.Errorf("identity changed from %s to %s", id, d.ID())
			}
			if !bytes.Equal(first, second) {
				t.Error("not repaired")
			}
			if len(dev.dirty) != 0 {
				t.Error("repair was not synced")
			}
		})
	}
}

func TestSuperblockRefused(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for name, test := range map[string]struct {
		damage func(b []byte)
		want   error
	}{
		"both torn":            {func(b []byte) { b[700] ^= 1; b[superCopy+700] ^= 1 }, ErrCorrupt},
		"torn and blank":       {func(b []byte) { b[700] ^= 1; clear(b[superCopy:][:superSize]) }, ErrCorrupt},
		"first something else": {func(b []byte) { copy(b, "XFSB") }, ErrForeign},
		"both something else":  {func(b []byte) { copy(b, "LUKS"); copy(b[superCopy:], "LUKS") }, ErrForeign},
		"first newer":          {func(b []byte) { b[sbOffVersion]++; reseal(b) }, ErrNewer},
		"second newer":         {func(b []byte) { b = b[superCopy:]; b[sbOffVersion]++; reseal(b) }, ErrNewer},
		"version 0":            {func(b []byte) { b[sbOffVersion] = 0; reseal(b); copy(b[superCopy:], b[:superSize]) }, ErrCorrupt},
		"odd unit":             {func(b []byte) { b[sbOffUnit] = 1; reseal(b); copy(b[superCopy:], b[:superSize]) }, ErrCorrupt},
		"other geometry":       {func(b []byte) { b[sbOffBlock+1]++; reseal(b); copy(b[superCopy:], b[:superSize]) }, ErrCorrupt},
		"no generation":        {func(b []byte) { b[sbOffGen] = 0; reseal(b); copy(b[superCopy:], b[:superSize]) }, ErrCorrupt},
		"two drives":           {func(b []byte) { b[sbOffDrive]++; reseal(b) }, ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dev, _, _ := formatted(t, a)
			test.damage(dev.data)
			before := bytes.Clone(dev.data)
			d, err := Open(context.Background(), dev, Options{Arena: a})
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if d != nil || !bytes.Equal(before, dev.data) {
				t.Error("a refused drive was changed")
			}
		})
	}
}

func TestForeignDevices(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for name, test := range map[string]struct {
		size int
		at   int // of the foreign byte
		want error
	}{
		"tiny":           {100, 0, ErrForeign},
		"text file":      {4096, 5, ErrForeign},
		"ext4":           {4 * mib, 1080, ErrForeign},
		"md superblock":  {4 * mib, 4096, ErrForeign},
		"btrfs":          {4 * mib, 64<<10 + 64, ErrForeign},
		"at 1 MiB":       {4 * mib, 1 << 20, ErrForeign},
		"last byte":      {4 * mib, 2*mib - 1, ErrForeign},
		"behind":         {4 * mib, 2 * mib, nil},
		"blank":          {4 * mib, -1, nil},
		"cut-off format": {4096, -1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dev := newMem(8 * mib)
			dev.Grow(context.Background(), int64(test.size))
			if test.at >= 0 {
				dev.data[test.at] = 1
			}
			d, err := Open(context.Background(), dev, Options{Arena: a})
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err == nil {
				put(t, d, []byte("hello"))
				d.Close()
			}
		})
	}
}

func TestClusterMismatch(t *testing.T) {
	a := newArena(t)
	mine := [16]byte{1, 2, 3}
	dev := newMem(8 * mib)
	if d := openDrive(t, dev, Options{Arena: a, Cluster: mine}); d.Cluster() != mine {
		t.Fatal("formatted for another cluster")
	}
	if _, err := Open(context.Background(), reopen(dev), Options{Arena: a, Cluster: [16]byte{9}}); !errors.Is(err, ErrCluster) {
		t.Fatal(err)
	}
	if d := openDrive(t, reopen(dev), Options{Arena: a}); d.Cluster() != mine {
		t.Fatal("cluster not taken from the drive")
	}
}

func TestOpenErrors(t *testing.T) {
	a := newArena(t)
	ctx := context.Background()
	if _, err := Open(ctx, newMem(mib), Options{Arena: a}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("no room to format: %v", err)
	}
	if _, err := Open(ctx, newMem(32*mib), Options{}); err == nil {
		t.Error("opened without an arena")
	}
	if _, err := Open(ctx, faultio.New(faultio.Options{Align: 64 << 10}), Options{Arena: a}); err == nil {
		t.Error("opened a device with an alignment beyond a frame's")
	}
	dev := newMem(8 * mib)
	dev.onWrite = func(int64, int) error { return errBadSector }
	if _, err := Open(ctx, dev, Options{Arena: a}); !errors.Is(err, errBadSector) {
		t.Error(err)
	}
	dev = newMem(8 * mib)
	dev.syncErr = errBadSector
	if _, err := Open(ctx, dev, Options{Arena: a}); !errors.Is(err, errBadSector) {
		t.Error(err)
	}
	// An unreadable first copy is no reason to refuse, nor is one that cannot
	// be repaired.
	good, id, _ := formatted(t, a)
	good.onRead = func(off int64, _ []byte) error {
		if off == 0 {
			return errBadSector
		}
		return nil
	}
	good.onWrite = func(int64, int) error { return errBadSector }
	if d := openDrive(t, good, Options{Arena: a}); d.ID() != id {
		t.Error("identity changed")
	}
}

// TestInterruptedFormat: whatever a crash leaves of a format, the next start
// makes a drive of it.
func TestInterruptedFormat(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	for seed := range uint64(60) {
		dev := faultio.New(faultio.Options{Capacity: 32 * mib, Seed: seed})
		dev.Inject(faultio.Rule{Code: ioring.OpSync, Skip: int(seed % 2), Err: faultio.ErrIO})
		if _, err := Open(context.Background(), dev, Options{Arena: a}); err == nil {
			t.Fatal("format succeeded without a sync")
		}
		d := openDrive(t, dev.Crash(seed), Options{Arena: a})
		put(t, d, []byte("hello"))
	}
}

// TestGenerationSurvivesCrash: a rewrite cut short leaves the old generation or
// the new one.
func TestGenerationSurvivesCrash(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	ctx := context.Background()
	seen := map[uint64]bool{}
	for seed := range uint64(80) {
		dev := faultio.New(faultio.Options{Capacity: 32 * mib, Seed: seed})
		d := openDrive(t, dev, Options{Arena: a})
		if err := d.SetMetadataGeneration(ctx, 7); err != nil || d.MetadataGeneration() != 7 {
			t.Fatal(err)
		}
		id := d.ID()
		dev.Inject(faultio.Rule{Code: ioring.OpSync, Skip: int(seed % 2), Err: faultio.ErrIO})
		if err := d.SetMetadataGeneration(ctx, 8); !errors.Is(err, ErrFailed) {
			t.Fatal(err)
		}
		d = openDrive(t, dev.Crash(seed), Options{Arena: a})
		gen := d.MetadataGeneration()
		if d.ID() != id || (gen != 7 && gen != 8) {
			t.Fatalf("generation %d", gen)
		}
		seen[gen] = true
	}
	if !seen[7] || !seen[8] {
		t.Errorf("only %v seen: the test proves little", seen)
	}
}

// TestLaterFieldsAreKept: fields that a later release adds survive a rewrite.
func TestLaterFieldsAreKept(t *testing.T) {
	a := newArena(t)
	dev, _, _ := formatted(t, a)
	dev.data[4000] = 0xAB
	reseal(dev.data)
	copy(dev.data[superCopy:], dev.data[:superSize])
	d := openDrive(t, dev, Options{Arena: a})
	if err := d.SetMetadataGeneration(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	s, err := decodeSuperblock(dev.data)
	if err != nil || s.later[4000-sbOffLater] != 0xAB || s.gen != 2 || s.metaGen != 3 {
		t.Fatalf("%+v %v", s.gen, err)
	}
}

func TestChooseUnit(t *testing.T) {
	for limit, want := range map[int64]int64{
		0: 4 << 10, 1 << 30: 4 << 10, 1 << 40: 4 << 10, 1<<40 + 1<<20: 8 << 10,
		16 << 40: 64 << 10, 1 << 50: 2 << 20, 1 << 60: 2 << 20,
	} {
		if got := chooseUnit(limit); got != want {
			t.Errorf("limit %d: unit %d, want %d", limit, got, want)
		}
	}
	d := openDrive(t, faultio.New(faultio.Options{Capacity: 16 << 40}), Options{})
	data := randomBytes(1, mib+1)
	id, exts := put(t, d, data)
	if d.Unit() != 64<<10 || exts[0].Len%(64<<10) != 0 {
		t.Errorf("unit %d, extents %v", d.Unit(), exts)
	}
	got, err := get(d, id, exts, int64(len(data)), 0, int64(len(data)))
	wantBytes(t, got, err, data)
}

// TestEveryDamageOfOneCopy damages one copy in every possible byte.
func TestEveryDamageOfOneCopy(t *testing.T) {
	var b [superSize]byte
	s := superblock{version: FormatVersion, cluster: [16]byte{1}, drive: layout.DriveID{2}, gen: 3, created: 4, unit: 4096}
	s.encode(b[:])
	rng := rand.New(rand.NewPCG(1, 9))
	for i := range b {
		flip := byte(1 + rng.IntN(255))
		b[i] ^= flip
		if _, err := decodeSuperblock(b[:]); err == nil {
			t.Errorf("byte %d ^ %#x not noticed", i, flip)
		}
		b[i] ^= flip
	}
	if got, err := decodeSuperblock(b[:]); err != nil || got != s {
		t.Errorf("%+v %v", got, err)
	}
}
