package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// familyMost bounds the processes that a server may consist of.
const familyMost = 4096

// family returns a process and its descendants; nothing for pid 0. A kernel that
// does not list children (CONFIG_PROC_CHILDREN) gives the process alone.
func family(pid int) []int {
	if pid == 0 {
		return nil
	}
	out := []int{pid}
	for i := 0; i < len(out) && len(out) < familyMost; i++ {
		lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", out[i]))
		if err != nil {
			continue // never, the pattern is well-formed
		}
		for _, list := range lists {
			text, err := os.ReadFile(list)
			if err != nil {
				continue // the thread ended
			}
			for field := range strings.FieldsSeq(string(text)) {
				if id, err := strconv.Atoi(field); err == nil {
					out = append(out, id)
				}
			}
		}
	}
	return out
}

// gone tells that a process ended between being found and being looked at.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// familyMemory is memory of a process and its descendants together. The peaks of
// several processes need not have been at the same time: their sum is an upper
// bound.
func familyMemory(pid int) (now, peak int64, err error) {
	for _, id := range family(pid) {
		n, p, err := memory(id)
		if err != nil {
			// A child that ended, or one that waits to be reaped and has no memory.
			if id == pid {
				return 0, 0, err
			}
			continue
		}
		now, peak = now+n, peak+p
	}
	return now, peak, nil
}

// threads returns the threads of a process.
func threads(pid int) ([]int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			out = append(out, id)
		}
	}
	return out, nil
}
