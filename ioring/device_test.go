package ioring_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/devicetest"
)

// ringOrSkip skips where the kernel refuses io_uring, and says why.
func ringOrSkip(t testing.TB) {
	t.Helper()
	dev, err := ioring.Open(filepath.Join(t.TempDir(), "probe"), devicetest.NewArena(t), ioring.Options{Mode: ioring.ModeRing, CPU: -1})
	if err != nil {
		t.Skipf("NO IO_URING HERE, the ring is not tested: %v", err)
	}
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
}

func maker(mode ioring.Mode, cpu int, alone bool, dir func(t *testing.T) string) devicetest.Maker {
	return func(t *testing.T, arena *ioring.Arena, depth int) ioring.Device {
		t.Helper()
		opts := ioring.Options{Mode: mode, Depth: depth, CPU: cpu, Alone: new(atomic.Bool)}
		opts.Alone.Store(alone)
		dev, err := ioring.Open(filepath.Join(dir(t), "drive"), arena, opts)
		if err != nil {
			t.Fatal(err)
		}
		return dev
	}
}

// onDisk returns a directory on the temporary file system, direct where it can be.
func onDisk(t *testing.T) string { return t.TempDir() }

func TestRing(t *testing.T) {
	ringOrSkip(t)
	devicetest.Run(t, maker(ioring.ModeRing, -1, false, onDisk))
}

// TestRingAlone has no thread that only submits.
func TestRingAlone(t *testing.T) {
	ringOrSkip(t)
	devicetest.Run(t, maker(ioring.ModeRing, -1, true, onDisk))
}

// TestRingPinned has the loop on a CPU of its own.
func TestRingPinned(t *testing.T) {
	ringOrSkip(t)
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for !set.IsSet(cpu) {
		cpu++
	}
	devicetest.Run(t, maker(ioring.ModeRing, cpu, false, onDisk))
}

func TestPread(t *testing.T) { devicetest.Run(t, maker(ioring.ModePread, -1, false, onDisk)) }

// onTmpfs returns a directory in memory, where direct I/O means little.
func onTmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "ioring")
	if err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestRingOnTmpfs(t *testing.T) {
	ringOrSkip(t)
	devicetest.Run(t, maker(ioring.ModeRing, -1, false, onTmpfs))
}

func TestPreadOnTmpfs(t *testing.T) { devicetest.Run(t, maker(ioring.ModePread, -1, false, onTmpfs)) }
