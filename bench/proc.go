package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// userHz is the kernel's unit of CPU time in /proc: USER_HZ is 100 on every
// architecture Go runs Linux on.
const userHz = 100

// usage is what a process has used up to now, and the machine as a whole.
type usage struct {
	at          time.Time
	serverCPU   time.Duration    // user and system, all threads and children
	voluntary   map[string]int64 // voluntary context switches by thread
	ownCPU      time.Duration    // this process, the load generator
	machineCPU  time.Duration    // everything on the machine but idling and waiting
	serverKnown bool
}

// measure reads the usage of process pid (0: unknown) with its descendants, and
// of the machine.
func measure(pid int) (u usage, err error) {
	u.at = time.Now()
	if u.ownCPU, err = processCPU(os.Getpid()); err != nil {
		return u, err
	}
	if u.machineCPU, err = machineCPU(); err != nil || pid == 0 {
		return u, err
	}
	u.serverKnown = true
	u.voluntary = map[string]int64{}
	for _, id := range family(pid) {
		cpu, err := lifetimeCPU(id)
		if err == nil {
			u.serverCPU += cpu
			err = voluntarySwitches(id, u.voluntary)
		}
		if err != nil && (id == pid || !gone(err)) { // a child may end at any time
			return u, err
		}
	}
	return u, nil
}

// lifetimeCPU returns the CPU time of a process and of its children that have
// ended and been waited for; of the latter in steps of 10 ms.
func lifetimeCPU(pid int) (time.Duration, error) {
	cpu, err := processCPU(pid)
	if err != nil {
		return 0, err
	}
	_, ended, err := statCPU(pid)
	return cpu + ended, err
}

// processCPU returns the CPU time of a process, of all its threads, those that
// ended and those of io_uring included, in nanoseconds; where the kernel does not
// let its clock be read, in steps of 10 ms from /proc.
func processCPU(pid int) (time.Duration, error) {
	// MAKE_PROCESS_CPUCLOCK of the kernel's posix-timers: the scheduler's clock.
	const schedClock = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &ts); err == nil { // #nosec G115: pids have 22 bits
		return time.Duration(ts.Nano()), nil
	}
	cpu, _, err := statCPU(pid)
	return cpu, err
}

// statCPU reads fields utime to cstime of proc(5), /proc/pid/stat.
func statCPU(pid int) (own, ended time.Duration, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(text)
}

func parseStat(text []byte) (own, ended time.Duration, err error) {
	// The command's name is in parentheses and may hold anything.
	end := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[end+1:])
	if end < 0 || len(fields) < 15 {
		return 0, 0, fmt.Errorf("stat: %.80q", text)
	}
	if own, err = sumTicks(fields[11], fields[12]); err != nil {
		return 0, 0, err
	}
	ended, err = sumTicks(fields[13], fields[14])
	return own, ended, err
}

func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachine(text)
}

// parseMachine sums the first line of /proc/stat but for idle and iowait, and
// for guest time, which user time includes.
func parseMachine(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 9 || string(f[0]) != "cpu" {
		return 0, fmt.Errorf("stat: %.80q", line)
	}
	return sumTicks(f[1], f[2], f[3], f[6], f[7], f[8])
}

func sumTicks(fields ...[]byte) (time.Duration, error) {
	var sum int64
	for _, f := range fields {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("stat: %w", err)
		}
		sum += n
	}
	return time.Duration(sum) * (time.Second / userHz), nil
}

// voluntarySwitches puts the count of each thread of a process into counts.
func voluntarySwitches(pid int, counts map[string]int64) error {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread ended
		}
		if counts[task], err = statusField(text, "voluntary_ctxt_switches"); err != nil {
			return err
		}
	}
	return nil
}

// switchesSince returns the voluntary switches between two counts. Those of a
// thread that ended in between, such as a worker of io_uring, are lost.
func switchesSince(before, after map[string]int64) (sum int64) {
	for task, n := range after {
		sum += n - before[task]
	}
	return sum
}

// statusField returns the first number of a line of /proc/pid/status.
func statusField(text []byte, name string) (int64, error) {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			if f := bytes.Fields(rest); len(f) > 0 {
				return strconv.ParseInt(string(f[0]), 10, 64)
			}
		}
	}
	return 0, errors.New("status: no " + name)
}

// memory returns the resident memory of a process, in bytes: now, and the peak
// since resetPeak.
func memory(pid int) (now, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	if now, err = statusField(text, "VmRSS"); err != nil {
		return 0, 0, err
	}
	if peak, err = statusField(text, "VmHWM"); err != nil {
		return 0, 0, err
	}
	return now << 10, peak << 10, nil
}

// resetPeak makes the current resident memory of a process its peak.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}
