package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// cpuMost is one more than the highest CPU that unix.CPUSet can hold.
const cpuMost = 1024

// cpuList is a set of CPUs, ascending. Empty: any.
type cpuList []int

// parseCPUs takes a list as taskset(1) does: "0-2,5"; "" is any.
func parseCPUs(text string) (list cpuList, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || from < 0 || to < from || to >= cpuMost {
			return nil, fmt.Errorf("CPUs %q: want a list such as 0-2,5", text)
		}
		for cpu := from; cpu <= to; cpu++ {
			list = append(list, cpu)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func (l cpuList) String() string {
	var parts []string
	for _, cpu := range l {
		parts = append(parts, strconv.Itoa(cpu))
	}
	return strings.Join(parts, ",")
}

func (l cpuList) set() *unix.CPUSet {
	var s unix.CPUSet
	for _, cpu := range l {
		s.Set(cpu)
	}
	return &s
}

// overlaps returns a CPU that both have, or -1.
func (l cpuList) overlaps(o cpuList) int {
	for _, cpu := range l {
		if slices.Contains(o, cpu) {
			return cpu
		}
	}
	return -1
}

// pinSelf pins the generator: all its threads, those to come, and how many of
// them run Go code at once.
func pinSelf(l cpuList) error {
	if len(l) == 0 {
		return nil
	}
	if _, err := pinThreads(unix.Getpid(), l.set(), nil); err != nil {
		return fmt.Errorf("-client-cpus %s: %w", l, err)
	}
	runtime.GOMAXPROCS(len(l))
	return nil
}

// startOn starts a process that is killed when this one ends, pinned to l: it
// sees as many CPUs from its first moment.
//
// The kernel sends that signal when the thread that started the process ends
// (prctl(2), PR_SET_PDEATHSIG), and a goroutine that keeps its thread, such as a
// ring's, may end any: so a thread is kept for this alone until the process ends.
func startOn(l cpuList, cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: its CPUs are not those of others
		if len(l) > 0 {
			if err := unix.SchedSetaffinity(0, l.set()); err != nil {
				started <- fmt.Errorf("-server-cpus %s: %w", l, err)
				return
			}
		}
		err := cmd.Start()
		started <- err
		for err == nil || errors.Is(err, unix.EINTR) {
			// WNOWAIT leaves it for cmd.Wait; ECHILD: that was faster.
			err = unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if err == nil {
				return
			}
		}
	}()
	return <-started
}

// pinThreads pins all threads of a process, until none is left that began before
// its parent thread was pinned. It calls saw, if not nil, with what each had.
func pinThreads(pid int, set *unix.CPUSet, saw func(thread int, had unix.CPUSet)) (n int, err error) {
	done := map[int]bool{}
	for again := true; again; {
		again = false
		ids, err := threads(pid)
		if err != nil {
			return n, err
		}
		for _, id := range ids {
			if done[id] {
				continue
			}
			done[id], again = true, true
			var had unix.CPUSet
			err := unix.SchedGetaffinity(id, &had)
			if err == nil {
				err = unix.SchedSetaffinity(id, set)
			}
			if errors.Is(err, unix.ESRCH) {
				continue
			}
			if err != nil {
				return n, err
			}
			n++
			if saw != nil {
				saw(id, had)
			}
		}
	}
	return n, nil
}

// pinned is a foreign server whose threads bench pinned.
type pinned struct {
	pid  int
	home unix.CPUSet         // of the process, for threads that began meanwhile
	had  map[int]unix.CPUSet // by thread
}

// pinServer pins a server that somebody else started, with its children.
func pinServer(pid int, l cpuList) (*pinned, error) {
	p := &pinned{pid: pid, had: map[int]unix.CPUSet{}}
	if err := unix.SchedGetaffinity(pid, &p.home); err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	for _, id := range family(pid) {
		_, err := pinThreads(id, l.set(), func(thread int, had unix.CPUSet) { p.had[thread] = had })
		if err != nil && (id == pid || !gone(err)) {
			return nil, errors.Join(fmt.Errorf("-server-cpus %s: process %d: %w", l, id, err), p.restore())
		}
	}
	return p, nil
}

// restore gives every thread back what it had.
func (p *pinned) restore() (err error) {
	for _, id := range family(p.pid) {
		ids, _ := threads(id) // a process that ended needs nothing
		for _, thread := range ids {
			set, known := p.had[thread]
			if !known {
				set = p.home
			}
			if e := unix.SchedSetaffinity(thread, &set); e != nil && !errors.Is(e, unix.ESRCH) {
				err = errors.Join(err, fmt.Errorf("restoring the CPUs of thread %d: %w", thread, e))
			}
		}
	}
	return err
}
