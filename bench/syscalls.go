package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// syscallEvent is the tracepoint that every system call passes once.
const syscallEvent = "raw_syscalls:sys_enter"

// attachTime is how long perf is given to attach itself.
const attachTime = 200 * time.Millisecond

// syscallTime is how long a row runs once more to have its system calls counted.
const syscallTime = 500 * time.Millisecond

// canCountSyscalls tells whether perf is there and may use the tracepoint, or why
// not.
func canCountSyscalls(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "perf", "stat", "-x,", "-e", syscallEvent, "--", "true").CombinedOutput()
	if err == nil {
		_, err = parsePerf(out)
	}
	return err
}

// countSyscalls has perf watch a server and its children while load runs, and
// returns the system calls they made. Those of its io_uring workers are none: a
// ring's operations count as the calls that submit them.
func countSyscalls(ctx context.Context, pid int, load func() error) (int64, error) {
	var ids []string
	for _, id := range family(pid) {
		ids = append(ids, strconv.Itoa(id))
	}
	cmd := exec.CommandContext(ctx, "perf", "stat", "-x,", "-e", syscallEvent, "-p", strings.Join(ids, ","))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := startOn(nil, cmd); err != nil {
		return 0, err
	}
	sleep(ctx, attachTime)
	err := load()
	err = errors.Join(err, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait() // it ends by the signal, having printed
	if err != nil {
		return 0, err
	}
	return parsePerf(out.Bytes())
}

// parsePerf reads the count out of perf-stat(1)'s lines of fields separated by
// commas: the count comes first, the event's name third.
func parsePerf(out []byte) (int64, error) {
	for line := range bytes.Lines(out) {
		f := bytes.Split(line, []byte(","))
		if len(f) > 2 && string(f[2]) == syscallEvent {
			return strconv.ParseInt(string(f[0]), 10, 64)
		}
	}
	return 0, errors.New("perf does not count " + syscallEvent)
}
