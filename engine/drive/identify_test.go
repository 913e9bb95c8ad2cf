package drive

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/ioring"
)

// TestIdentifyAgreesWithOpen: on whatever lies where the superblocks belong both
// come to the same verdict, and Identify changes nothing.
func TestIdentifyAgreesWithOpen(t *testing.T) {
	t.Parallel()
	a := newArena(t)
	whole, id, cluster := formatted(t, a)
	size := len(whole.data)
	for name, damage := range map[string]func(b []byte) []byte{
		"whole":               func(b []byte) []byte { return b },
		"first torn":          func(b []byte) []byte { b[300] ^= 1; return b },
		"second torn":         func(b []byte) []byte { b[superCopy+300] ^= 1; return b },
		"both torn":           func(b []byte) []byte { b[300] ^= 1; b[superCopy+300] ^= 1; return b },
		"second newer":        func(b []byte) []byte { c := b[superCopy:]; c[sbOffGen]++; c[sbOffMetaGen] = 9; reseal(c); return b },
		"two drives":          func(b []byte) []byte { b[sbOffDrive]++; reseal(b); return b },
		"later format":        func(b []byte) []byte { b[sbOffVersion]++; reseal(b); return b },
		"impossible":          func(b []byte) []byte { b[sbOffUnit] = 1; reseal(b); copy(b[superCopy:], b[:superSize]); return b },
		"something else":      func(b []byte) []byte { copy(b, "XFSB"); return b },
		"blank":               func(b []byte) []byte { return make([]byte, size) },
		"empty":               func(b []byte) []byte { return nil },
		"tiny":                func(b []byte) []byte { return []byte("hello") },
		"tiny and zero":       func(b []byte) []byte { return make([]byte, 4096) },
		"blank but for":       func([]byte) []byte { b := make([]byte, size); b[70_000] = 1; return b },
		"format cut short":    func(b []byte) []byte { b = b[:dataStart]; b[300] ^= 1; clear(b[superCopy:]); return b },
		"first blank":         func(b []byte) []byte { clear(b[:superSize]); return b },
		"blank, then strange": func(b []byte) []byte { clear(b); copy(b[superCopy:], "btrfs"); return b },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "drive")
			before := damage(bytes.Clone(whole.data))
			if err := os.WriteFile(path, before, 0o600); err != nil {
				t.Fatal(err)
			}
			got, ok, err := Identify(path)
			if after, _ := os.ReadFile(path); !bytes.Equal(after, before) {
				t.Error("Identify changed the drive")
			}
			dev := newMem(16 * mib)
			dev.data = before
			d, openErr := Open(context.Background(), dev, Options{Arena: a})
			for _, kind := range []error{ErrForeign, ErrNewer, ErrCorrupt} {
				if errors.Is(err, kind) != errors.Is(openErr, kind) {
					t.Errorf("Identify: %v; Open: %v", err, openErr)
				}
			}
			if (err == nil) != (openErr == nil) {
				t.Fatalf("Identify: %v; Open: %v", err, openErr)
			}
			if err != nil {
				return
			}
			defer d.Close()
			if known := d.ID() == id; known != ok {
				t.Errorf("known to Open %v, to Identify %v", known, ok)
			}
			if ok && (got.Drive != id || got.Cluster != cluster || got.Version != FormatVersion || time.Since(got.Created) > time.Hour ||
				got.MetadataGeneration != d.MetadataGeneration()) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestIdentifyPaths(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "drive")
	if _, ok, err := Identify(path); ok || err != nil {
		t.Errorf("no such file: %v, %v", ok, err)
	}
	if _, ok, err := Identify(filepath.Join(dir, "no", "such", "directory")); ok || err != nil {
		t.Errorf("no such directory: %v, %v", ok, err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{dir, fifo, "/dev/null"} {
		if _, _, err := Identify(bad); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, _, err := Identify(string([]byte{0})); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	// One that is open, and locked, can be identified all the same.
	a := newArena(t)
	dev, err := ioring.Open(path, a, ioring.Options{CPU: -1})
	if err != nil {
		t.Fatal(err)
	}
	d := openDrive(t, dev, Options{Arena: a, Limit: 32 * mib})
	if err := d.SetMetadataGeneration(t.Context(), 42); err != nil {
		t.Fatal(err)
	}
	if id, ok, err := Identify(path); err != nil || !ok || id.Drive != d.ID() || id.MetadataGeneration != 42 {
		t.Errorf("%+v, %v, %v", id, ok, err)
	}
}
