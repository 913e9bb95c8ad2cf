package drive

import (
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/ioring"
	"github.com/sluicehq/sluice/ioring/faultio"
)

// TestClock: while the timer runs, of its delay no more than a tick counts, and the
// clock never goes back.
func TestClock(t *testing.T) {
	const tick = 100
	for _, c := range []struct {
		name           string
		watching       bool
		due, now, want int64
	}{
		{"early", true, 1000, 900, 900},
		{"in time", true, 1000, 1000, 1000},
		{"a little late", true, 1000, 1000 + tick, 1000 + tick},
		{"late", true, 1000, 1001 + tick, 1000 + tick},
		{"very late", true, 1000, 1_000_000, 1000 + tick},
		{"no timer", false, 1000, 1_000_000, 1_000_000},
	} {
		d := &Drive{tick: tick}
		d.flight.watching, d.flight.due = c.watching, c.due
		if got := d.clock(c.now); got != c.want {
			t.Errorf("%s: clock(%d) = %d, want %d", c.name, c.now, got, c.want)
		}
		last := c.want
		for now := c.now + 1; now < c.now+10*tick; now += tick / 3 {
			if got := d.clock(now); got < last || got > last+tick {
				t.Errorf("%s: clock(%d) = %d after %d", c.name, now, got, last)
			} else {
				last = got
			}
		}
	}
}

// standstillChild says that the process is the child of TestStandstill.
const standstillChild = "SLUICE_STANDSTILL"

// TestStandstill: a process that was stopped for longer than the deadline blames no
// drive for it, and gives no operation up that was answered meanwhile.
func TestStandstill(t *testing.T) {
	if os.Getenv(standstillChild) != "" {
		readForever(t)
		return
	}
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStandstill$")
	cmd.Env = append(os.Environ(), standstillChild+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first byte says that it reads.
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		time.Sleep(testDeadline / 4)
		_ = cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(2 * testDeadline)
		_ = cmd.Process.Signal(syscall.SIGCONT)
	}
	time.Sleep(testDeadline / 4)
	_ = stdin.Close()
	out, _ := io.ReadAll(stdout)
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// readForever reads from a slow device until its standard input ends.
func readForever(t *testing.T) {
	r := newHangRig(t, faultio.Options{})
	data := randomBytes(1, 64<<10)
	id, exts := put(t, r.d, data)
	r.dev.Inject(faultio.Rule{Code: ioring.OpRead, Delay: testDeadline / 10})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	_, _ = os.Stdout.WriteString("\n")
	for ctx.Err() == nil {
		if _, err := get(r.d, id, exts, int64(len(data)), 0, int64(len(data))); err != nil {
			t.Fatal(err)
		}
	}
	if h := r.d.Health(); h.Timeouts != 0 || h.Stalls != 0 || h.Failing != nil {
		t.Errorf("%+v", h)
	}
}
