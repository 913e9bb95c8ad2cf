package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// userHz is the kernel's unit of CPU time in /proc: USER_HZ is 100 on every
// architecture Go runs Linux on.
const userHz = 100

// usage is what a process has used up to now, and the machine as a whole.
type usage struct {
	at          time.Time
	serverCPU   time.Duration    // user and system, all threads
	voluntary   map[string]int64 // voluntary context switches by thread
	ownCPU      time.Duration    // this process, the load generator
	machineCPU  time.Duration    // everything on the machine but idling and waiting
	serverKnown bool
}

// measure reads the usage of process pid (0: unknown) and of the machine.
func measure(pid int) (u usage, err error) {
	u.at = time.Now()
	if u.ownCPU, err = processCPU(os.Getpid()); err != nil {
		return u, err
	}
	if u.machineCPU, err = machineCPU(); err != nil || pid == 0 {
		return u, err
	}
	u.serverKnown = true
	if u.serverCPU, err = processCPU(pid); err != nil {
		return u, err
	}
	u.voluntary, err = voluntarySwitches(pid)
	return u, err
}

// processCPU returns the CPU time of a process: fields utime and stime of
// proc(5), /proc/pid/stat.
func processCPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(text)
}

func parseStat(text []byte) (time.Duration, error) {
	// The command's name is in parentheses and may hold anything.
	end := bytes.LastIndexByte(text, ')')
	fields := bytes.Fields(text[end+1:])
	if end < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("stat: %.80q", text)
	}
	return sumTicks(fields[11], fields[12])
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

// voluntarySwitches returns the count of each thread of a process.
func voluntarySwitches(pid int) (map[string]int64, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64, len(tasks))
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread ended
		}
		if counts[task], err = statusField(text, "voluntary_ctxt_switches"); err != nil {
			return nil, err
		}
	}
	return counts, nil
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
