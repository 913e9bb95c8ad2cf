package ioring_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/devicetest"
)

// TestPolled runs the polled loop on the temporary file system. Where its drive has no
// queues for polling, as on most machines, each transfer is refused and done aside.
func TestPolled(t *testing.T) {
	ringOrSkip(t)
	devicetest.Run(t, func(t *testing.T, arena *ioring.Arena, depth int) ioring.Device {
		dev, err := ioring.OpenPolled(filepath.Join(t.TempDir(), "drive"), arena, ioring.Options{Depth: depth, CPU: -1})
		if err != nil {
			t.Fatal(err)
		}
		return dev
	})
}

// TestPolledDrive is the same in the directory that SLUICE_TEST_POLLED names, of a drive
// that does poll.
func TestPolledDrive(t *testing.T) {
	base := os.Getenv("SLUICE_TEST_POLLED")
	if base == "" {
		t.Skip("SLUICE_TEST_POLLED names no directory of a drive that polls")
	}
	devicetest.Run(t, func(t *testing.T, arena *ioring.Arena, depth int) ioring.Device {
		dir, err := os.MkdirTemp(base, "polled")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		var log strings.Builder
		dev, err := ioring.Open(filepath.Join(dir, "drive"), arena, ioring.Options{Mode: ioring.ModePolled, Depth: depth, CPU: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if log.Len() > 0 {
				t.Error(log.String())
			}
		})
		if s := dev.Stats(); s.Backend != "polled" {
			t.Errorf("%+v", s)
		}
		return dev
	})
}

// TestPolledElsewhere: where completions cannot be polled the drive interrupts, and the
// log says why.
func TestPolledElsewhere(t *testing.T) {
	var log strings.Builder
	opts := ioring.Options{Mode: ioring.ModePolled, CPU: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	dev, err := ioring.Open(filepath.Join(onTmpfs(t), "drive"), devicetest.NewArena(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	if s := dev.Stats(); s.Backend == "polled" || !strings.Contains(log.String(), "cannot be polled") {
		t.Errorf("%+v, log: %s", s, &log)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}
