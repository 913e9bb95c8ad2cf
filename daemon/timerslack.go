package main

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is by how much the kernel may delay this process's timers.
//
// Whenever work comes and goes, Go's monitor thread asks for a sleep of 20 µs again and
// again, to take processors from threads that block in system calls; with the kernel's
// usual slack of 50 µs it wakes 14,000 times a second. Few calls of the daemon's block.
// Measured, server on one core, slack of 50 / 200 / 1000 µs: PUT of 4 KiB, one at a time,
// 194 / 170 / 145 µs of CPU, of 1 MiB 2.55 / 2.14 / 2.01 s/GiB; GET of 1 MiB 0.62 / 0.50 /
// 0.41. But a read that blocks, as of metadata that is in no cache, keeps its processor
// for as long, and a processor without work takes so long to find some: hence the
// middle, and only where processors are few. Of many, one thread is not much.
const (
	timerSlack     = 200 * time.Microsecond
	timerSlackCPUs = 2 // up to so many
)

// setTimerSlack returns once the process has it. Threads inherit it where they
// are made, and the monitor is there before any code of ours: so the program is
// executed once more. Where that cannot be done it only costs CPU.
func setTimerSlack() {
	if max(runtime.GOMAXPROCS(0), len(allowedCPUs())) > timerSlackCPUs {
		return
	}
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || slack >= int(timerSlack) {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		return
	}
	runtime.LockOSThread() // the slack is the thread's
	defer runtime.UnlockOSThread()
	if unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil {
		return
	}
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err != nil || slack < int(timerSlack) {
		return // else it would be executed for ever
	}
	_ = syscall.Exec(exe, os.Args, os.Environ())
}
