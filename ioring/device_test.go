package ioring_test

import (
	"os"
	"path/filepath"
	"testing"

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

func maker(mode ioring.Mode, dir func(t *testing.T) string) devicetest.Maker {
	return func(t *testing.T, arena *ioring.Arena, depth int) ioring.Device {
		t.Helper()
		dev, err := ioring.Open(filepath.Join(dir(t), "drive"), arena, ioring.Options{Mode: mode, Depth: depth, CPU: -1})
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
	devicetest.Run(t, maker(ioring.ModeRing, onDisk))
}

func TestPread(t *testing.T) { devicetest.Run(t, maker(ioring.ModePread, onDisk)) }

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
	devicetest.Run(t, maker(ioring.ModeRing, onTmpfs))
}

func TestPreadOnTmpfs(t *testing.T) { devicetest.Run(t, maker(ioring.ModePread, onTmpfs)) }
