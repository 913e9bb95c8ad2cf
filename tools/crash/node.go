package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sluicehq/sluice/tools/freeport"
)

const (
	bucket    = "crash"
	accessKey = "Crash_user"
	secretKey = "Crash-Secret-1"
)

// node is the daemon's process, which is started and killed many times.
type node struct {
	sluiced, ctlPath string
	dir              string // drives, state and log
	addr             string // 127.0.0.1:PORT, the same for every start
	encrypted        bool   // the cluster that setUp creates
	parity           int    // likewise; -1: automatic
	drives           []string

	cmd  *exec.Cmd
	log  *os.File
	gone chan struct{} // closed when the process has ended
	exit error         // its result, after gone
}

func newNode(o *options) (*node, error) {
	addr, err := freeport.Addr()
	if err != nil {
		return nil, err
	}
	n := &node{sluiced: o.sluiced, ctlPath: o.ctl, dir: o.dir, addr: addr, encrypted: o.encrypted, parity: o.parity}
	for i := range o.drives {
		n.drives = append(n.drives, filepath.Join(o.dir, "d"+strconv.Itoa(i+1)))
	}
	n.log, err = os.OpenFile(n.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return n, err
}

func (n *node) logPath() string { return filepath.Join(n.dir, "sluiced.log") }
func (n *node) socket() string  { return filepath.Join(n.dir, "state", "sluiced.sock") }

// start launches the process and does not wait for it to serve.
func (n *node) start() error {
	n.cmd = exec.Command(n.sluiced,
		"--drive", strings.Join(n.drives, ","),
		"--state-dir", filepath.Join(n.dir, "state"), "--admin-socket", n.socket(),
		"--listen", n.addr, "--reserve", "64MiB")
	n.cmd.Stderr, n.cmd.Stdout = n.log, n.log
	// A Ctrl-C is for the tester, which then ends the daemon itself.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		n.exit = cmd.Wait()
		close(gone)
	}(n.cmd, n.gone)
	return nil
}

// alive reports whether the process runs.
func (n *node) alive() bool {
	if n.gone == nil {
		return false
	}
	select {
	case <-n.gone:
		return false
	default:
		return true
	}
}

// kill ends the process with SIGKILL and waits for its end.
func (n *node) kill() {
	if n.alive() {
		// The process may end by itself in between: then there is nothing to kill.
		_ = n.cmd.Process.Kill()
		<-n.gone
	}
}

// stop ends the process with SIGTERM, which must yield exit code 0.
func (n *node) stop(within time.Duration) error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return violate("the daemon ended before SIGTERM: %v", n.exit)
	}
	select {
	case <-n.gone:
	case <-time.After(within):
		return violate("the daemon has not ended %v after SIGTERM", within)
	}
	if n.exit != nil {
		return violate("the daemon ended with %v after SIGTERM, not with exit code 0", n.exit)
	}
	return nil
}

// ready waits until probe succeeds and returns how long that took.
func (n *node) ready(ctx context.Context, within time.Duration, probe func() error) (time.Duration, error) {
	begin := time.Now()
	for {
		err := probe()
		took := time.Since(begin)
		switch {
		case err == nil && took <= within:
			return took, nil
		case !n.alive():
			return took, violate("the daemon ended while starting: %v", n.exit)
		case took > within:
			return took, violate("the daemon does not answer %v after its start: %v", within, err)
		}
		select {
		case <-ctx.Done():
			return took, ctx.Err()
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// serving is the probe of a daemon with a cluster.
func (n *node) serving() error {
	cl := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := cl.Get("http://" + n.addr + "/-/ready")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// ctl runs an admin command and returns its standard output.
func (n *node) ctl(args ...string) ([]byte, error) {
	cmd := exec.Command(n.ctlPath, append([]string{"--socket", n.socket()}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ctl %s: %w: %s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out, nil
}

// setUp creates what requests need: cluster, bucket, user, policy.
func (n *node) setUp() error {
	create := []string{"s3", "cluster", "create", "default", ".config_fs", "--all-servers"}
	if n.encrypted {
		create = append(create, "--encrypted")
	}
	if n.parity >= 0 {
		create = append(create, "--parity", strconv.Itoa(n.parity))
	}
	for _, args := range [][]string{
		create,
		{"s3", "bucket", "create", bucket},
		{"user", "add", accessKey, "S3", secretKey},
		{"s3", "policy", "attach", "readwrite", accessKey},
	} {
		if _, err := n.ctl(args...); err != nil {
			return err
		}
	}
	return nil
}

// usage is what the daemon says of its space.
type usage struct {
	Drives []struct {
		State string `json:"state"`
		Error string `json:"error"`
		Used  int64  `json:"used_bytes"`
	} `json:"drives"`
	Garbage int64 `json:"garbage_blobs"`
}

func (u *usage) used() (sum int64) {
	for _, d := range u.Drives {
		sum += d.Used
	}
	return sum
}

func (n *node) usage() (*usage, error) {
	out, err := n.ctl("--json", "cluster", "status")
	if err != nil {
		return nil, err
	}
	u := new(usage)
	if err := json.Unmarshal(out, u); err != nil {
		return nil, fmt.Errorf("ctl cluster status: %w", err)
	}
	for i, d := range u.Drives {
		if d.State != "active" {
			return nil, violate("drive %d is %s: %s", i, d.State, d.Error)
		}
	}
	if len(u.Drives) != len(n.drives) {
		return nil, violate("the daemon has %d drives, not %d", len(u.Drives), len(n.drives))
	}
	return u, nil
}

// peakRSS is the most memory, in bytes, that the process has had resident.
func (n *node) peakRSS() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc has no VmHWM")
}

// tail is the end of the daemon's log.
func (n *node) tail() string {
	const most = 6000
	text, err := os.ReadFile(n.logPath())
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}
