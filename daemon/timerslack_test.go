package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestTimerSlack: all threads of the daemon have it, Go's monitor among them.
func TestTimerSlack(t *testing.T) {
	if len(allowedCPUs()) > timerSlackCPUs {
		t.Skip("only where processors are few")
	}
	n := newNode(t).serve()
	pid := n.cmd.Process.Pid
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil || len(threads) < 2 {
		t.Fatal(len(threads), err)
	}
	for _, thread := range threads {
		text, err := os.ReadFile(filepath.Join("/proc", thread.Name(), "timerslack_ns"))
		if errors.Is(err, os.ErrPermission) {
			t.Skip("this takes CAP_SYS_NICE")
		}
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // ended
		}
		if slack, e := strconv.Atoi(strings.TrimSpace(string(text))); err != nil || e != nil || slack != int(timerSlack) {
			t.Errorf("thread %s: %q, %v", thread.Name(), text, err)
		}
	}
}
