package main

import (
	"os"
	"runtime/debug"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	text := "42 (a ) b (c) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 9 0 100 1 1\n"
	got, ended, err := parseStat([]byte(text))
	if err != nil || got != 2*time.Second || ended != 150*time.Millisecond {
		t.Fatalf("%v, %v, %v; want 2 s and 150 ms", got, ended, err)
	}
	for _, bad := range []string{"", "42 (x", "42 (x) S 1", "42 (x) S 1 1 1 0 -1 0 1 2 3 4 x 50 7"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine([]byte("cpu  100 10 40 9000 500 20 30 0 77 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"))
	if err != nil || got != 2*time.Second {
		t.Fatalf("%v, %v; want 2 s: neither idle, iowait nor guest counts", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6 7 8 9", "cpu  1 x 1 1 1 1 1 1 1"} {
		if _, err := parseMachine([]byte(bad)); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestStatusField(t *testing.T) {
	text := []byte("Name:\tx\nVmHWM:\t  1234 kB\nVmRSS:\t     900 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t9\n")
	for name, want := range map[string]int64{"VmHWM": 1234, "VmRSS": 900, "voluntary_ctxt_switches": 5} {
		if got, err := statusField(text, name); err != nil || got != want {
			t.Errorf("%s: %d, %v; want %d", name, got, err, want)
		}
	}
	if _, err := statusField(text, "VmSwap"); err == nil {
		t.Error("a missing field passes")
	}
}

func TestSwitchesOfEndedThreadsAreLost(t *testing.T) {
	before := map[string]int64{"1": 10, "2": 500}
	if got := switchesSince(before, map[string]int64{"1": 15, "3": 4}); got != 9 {
		t.Fatalf("%d switches, want 9", got)
	}
}

// sink keeps the loop below from being optimised away.
var sink int

func TestUsageOfThisProcess(t *testing.T) {
	before, err := measure(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// Other processes may take most of the time, but not all of it.
	begun, after := time.Now(), before
	for after.ownCPU-before.ownCPU < 2*time.Second/userHz && time.Since(begun) < 10*time.Second {
		for range 10_000_000 {
			sink++
		}
		if after, err = measure(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after.ownCPU-before.ownCPU < 2*time.Second/userHz || !after.serverKnown {
		t.Fatalf("%v of own CPU time in %v", after.ownCPU-before.ownCPU, time.Since(begun))
	}
	if len(after.voluntary) == 0 {
		t.Fatal("no threads")
	}
}

func TestPeakMemoryIsReset(t *testing.T) {
	// Much more than what the runtime may give back meanwhile.
	const size, sure = 128 << 20, 64 << 20
	debug.FreeOSMemory()
	if err := resetPeak(os.Getpid()); err != nil {
		t.Skipf("the kernel does not let us: %v", err)
	}
	peak := func() int64 {
		_, peak, err := memory(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		return peak
	}
	before := peak()
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
	if err != nil {
		t.Fatal(err)
	}
	if during := peak(); during-before < sure {
		t.Errorf("%d bytes more raised the peak by %d", size, during-before)
	}
	if err := unix.Munmap(mem); err != nil {
		t.Fatal(err)
	}
	high := peak()
	if err := resetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if after := peak(); high-after < sure {
		t.Errorf("the peak went from %d to %d", high, after)
	}
}
