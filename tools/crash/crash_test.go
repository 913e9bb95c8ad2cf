package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestCrash is the short form of make crash: a few kills of a daemon built from
// the present tree.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills a daemon")
	}
	bin := t.TempDir()
	o := defaults()
	o.sluiced, o.ctl = filepath.Join(bin, "sluiced"), filepath.Join(bin, "ctl")
	for out, pkg := range map[string]string{o.sluiced: "../../daemon", o.ctl: "../../ctl"} {
		build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-checklinkname=0", "-o", out, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	o.rounds, o.fullEvery, o.load, o.maxBytes = 2, 2, 1500*time.Millisecond, 160<<20
	o.readyWithin = time.Minute // beside other tests
	t.Run("drives", func(t *testing.T) {
		t.Parallel()
		o := o
		o.drives, o.parity, o.truncate, o.rounds, o.workers, o.printf = 4, 2, true, 3, 6, t.Logf
		if err := run(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	})
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted=%v", encrypted), func(t *testing.T) {
			t.Parallel()
			o := o
			o.encrypted, o.printf = encrypted, t.Logf
			if err := run(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		})
	}
}
