package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// someCPU is one that this process may use.
func someCPU(t *testing.T) cpuList {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for cpu := range cpuMost {
		if set.IsSet(cpu) {
			return cpuList{cpu}
		}
	}
	t.Fatal("no CPU")
	return nil
}

func TestProcessesStartOnTheirCPUs(t *testing.T) {
	cpus := someCPU(t)
	cmd := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := startOn(cpus, cmd); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if f := strings.Fields(string(text)); len(f) != 2 || f[1] != cpus.String() {
		t.Errorf("%q, want CPU %s", text, cpus)
	}
	if err := startOn(nil, exec.Command("/nowhere")); err == nil {
		t.Error("nothing was started")
	}
}

// child starts a shell with a child of its own.
func child(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("sh", "-c", "sleep 100 & echo; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := startOn(nil, cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, id := range family(cmd.Process.Pid) {
			_ = unix.Kill(id, unix.SIGKILL)
		}
		_ = cmd.Wait() // killed
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestChildrenOfAServerCount(t *testing.T) {
	pid := child(t)
	if got := family(pid); len(got) != 2 || got[0] != pid {
		t.Skipf("family %v: the kernel does not list children", got)
	}
	_, one, err := memory(pid)
	if err != nil {
		t.Fatal(err)
	}
	if _, both, err := familyMemory(pid); err != nil || both <= one {
		t.Errorf("%d bytes with the child, %d without, %v", both, one, err)
	}
	u, err := measure(pid)
	if err != nil || u.serverCPU <= 0 || len(u.voluntary) != 2 {
		t.Errorf("%+v, %v", u, err)
	}
	if family(0) != nil {
		t.Error("no process has a family")
	}
}

func TestPinnedServersGetTheirCPUsBack(t *testing.T) {
	pid, cpus := child(t), someCPU(t)
	masks := func() (out []unix.CPUSet) {
		for _, id := range family(pid) {
			var set unix.CPUSet
			if err := unix.SchedGetaffinity(id, &set); err != nil {
				t.Fatal(err)
			}
			out = append(out, set)
		}
		return out
	}
	before := masks()
	p, err := pinServer(pid, cpus)
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range masks() {
		if set != *cpus.set() {
			t.Errorf("not pinned: %v", set)
		}
	}
	if err := p.restore(); err != nil {
		t.Fatal(err)
	}
	if after := masks(); !slices.Equal(before, after) {
		t.Errorf("%v before, %v after", before, after)
	}
}

func TestTheClockOfAProcessAgreesWithItsStat(t *testing.T) {
	for begun := time.Now(); time.Since(begun) < 30*time.Millisecond; sink++ {
	}
	clock, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	stat, _, err := statCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// stat is read later and rounded down to ticks.
	if stat < clock-2*time.Second/userHz {
		t.Errorf("clock %s, stat %s", clock, stat)
	}
}

func TestParsePerf(t *testing.T) {
	if n, err := parsePerf([]byte("\n29,,raw_syscalls:sys_enter,995621,100.00,,\n")); err != nil || n != 29 {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range []string{"", "<not supported>,,raw_syscalls:sys_enter,0,100.00,,", "29,,cycles,1,1,,"} {
		if n, err := parsePerf([]byte(bad)); err == nil {
			t.Errorf("%q gives %d", bad, n)
		}
	}
}

func TestDriveLimits(t *testing.T) {
	dir := t.TempDir()
	d, err := newDriveLimit(context.Background(), dir, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	l := &limits{time: 5 * time.Millisecond}
	for range 2 {
		if err := d.sample(context.Background(), l); err != nil {
			t.Fatal(err)
		}
	}
	st := d.dev.Stats()
	if st.Reads == 0 || st.Writes == 0 || st.Syncs == 0 {
		t.Errorf("%+v", st)
	}
	for _, id := range []string{limitDriveWrite + "_1", limitDriveRead + "_16", limitRandRead + "_16" + limitCPU, limitRandWrite + "_1", limitAppend} {
		if f := l.find(id); f == nil || f.Median <= 0 || len(f.values) != 2 {
			t.Errorf("%s: %+v", id, f)
		}
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := newDriveLimit(context.Background(), dir+"/nowhere", 8<<20); err == nil {
		t.Error("a folder that is not there passes")
	}
}

func TestWireLimits(t *testing.T) {
	stop, in := io.Pipe()
	out, answer := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serveWire(stop, answer) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: strings.TrimSpace(line), pid: os.Getpid()}
	for _, kind := range []byte{wireSend, wireReceive, wireTrip} {
		n, seconds, cpu, err := w.load(context.Background(), kind, 3, 3<<20+5, 50*time.Millisecond)
		if err != nil || n < 1 || seconds <= 0 || cpu <= 0 { // a connection that gets to run late does nothing
			t.Errorf("%c: %g in %g s, %s, %v", kind, n, seconds, cpu, err)
		}
	}
	c, err := w.dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	if err := c.ask('?', 1); err == nil {
		t.Error("an unknown request is answered")
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestHashLimits(t *testing.T) {
	l := &limits{}
	if err := hashLimits(context.Background(), l); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"md5", "sha256", "crc64nvme", "xxh3"} {
		if f := l.find("hash_" + id); f == nil || f.Median <= 0 {
			t.Errorf("%s: %+v", id, f)
		}
	}
}

func TestPaddedKeys(t *testing.T) {
	f := newFixture(&target{}, nil, shape{bucket: "b"})
	for want, got := range map[string]string{
		"/b/4KiB/000/0000000": f.key(4096, 0, 0), "/b/1MiB/012/0000345": f.key(1<<20, 12, 345),
		"/b/100B/1234/" + strconv.Itoa(123456789): f.key(100, 1234, 123456789),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
