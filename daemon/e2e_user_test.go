package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sluicehq/sluice/daemon/api"
)

// asUser prepares a daemon that becomes nobody, in directories that let nobody
// through, on drives (default: one directory).
func asUser(t *testing.T, args ...string) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := newNode(t, args...)
	for at := n.dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n.args = append(n.args, "--user", "nobody:nogroup", "--admin-socket", filepath.Join(n.dir, "run", "s.sock"))
	n.admin = api.NewClient(filepath.Join(n.dir, "run", "s.sock"))
	return n
}

// status returns the lines of a thread's /proc/status by their names; nil of one
// that has ended.
func status(t *testing.T, path string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		out[name] = strings.Join(strings.Fields(value), " ")
	}
	return out
}

// noRights checks every thread of the daemon.
func noRights(t *testing.T, n *node, uid, gid uint32) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", n.cmd.Process.Pid))
	if err != nil || len(tasks) < 3 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, path := range tasks {
		st := status(t, path)
		if st == nil {
			continue // the thread has ended
		}
		for name, want := range map[string]string{
			"Uid": fmt.Sprint(uid, uid, uid, uid), "Gid": fmt.Sprint(gid, gid, gid, gid),
			"CapPrm": "0000000000000000", "CapEff": "0000000000000000", "CapAmb": "0000000000000000",
		} {
			if st[name] != want {
				t.Errorf("%s (%s): %s is %s, want %s", path, st["Name"], name, st[name], want)
			}
		}
		if st["NoNewPrivs"] != "1" && !withCgo() {
			t.Errorf("%s (%s): NoNewPrivs is %s", path, st["Name"], st["NoNewPrivs"])
		}
	}
}

// withCgo tells whether this binary is linked with cgo, as the race detector is:
// then only one thread's no_new_privs can be set.
func withCgo() bool {
	_, _, errno := syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0)
	return errno == syscall.ENOTSUP
}

// TestBecomeUser starts as root and serves as nobody: a new drive, an empty
// directory and a port below 1024, io_uring and registered buffers included;
// root and nobody may administer; stop, crash and start again work.
func TestBecomeUser(t *testing.T) {
	n := asUser(t)
	if err := os.Mkdir(filepath.Join(n.dir, "drive"), 0o700); err != nil {
		t.Fatal(err) // empty, and root's
	}
	ln, err := net.Listen("tcp", "127.0.0.1:987")
	if err != nil {
		t.Skipf("port 987: %v", err)
	}
	ln.Close()
	n.addr = "127.0.0.1:987"
	n.args = append(n.args, "--listen", n.addr)
	n.serve()
	noRights(t, n, 65534, 65534)
	st, err := n.admin.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Drives[0].State != api.StateActive {
		t.Errorf("%+v", st.Drives[0])
	}
	t.Logf("I/O: %s, registered %v", st.Drives[0].Backend, st.Drives[0].Registered)
	stored := map[string]int{"small": 10, "big": 9 << 20}
	for key, size := range stored {
		if status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", payload(key, size)); status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
	}
	// Everything it made is its own, and nobody else's to read.
	err = filepath.Walk(n.dir, func(path string, info os.FileInfo, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a file that was needed for a moment
		}
		if err != nil || path == n.dir {
			return err
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 65534 {
			t.Errorf("%s belongs to %d", path, uid)
		}
		if perm := info.Mode().Perm(); perm&0o077 != 0 && path != filepath.Join(n.dir, "run") {
			t.Errorf("%s has mode %v", path, perm)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", n.cmd.Process.Pid))
	if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
		t.Errorf("core dumps: %s %v", limits, err)
	}
	// An undumpable process's files below /proc are root's.
	var own unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/environ", n.cmd.Process.Pid), &own); err != nil || own.Uid != 0 {
		t.Errorf("environ belongs to %d, %v: a debugger of the same user could attach", own.Uid, err)
	}
	asNobody(t, n, true)
	n.stop()
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	n.kill()
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	noRights(t, n, 65534, 65534)
	n.stop()
}

// asNobody runs curl as nobody against the admin socket.
func asNobody(t *testing.T, n *node, ok bool) {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		return
	}
	cmd := exec.Command(curl, "-sf", "--unix-socket", filepath.Join(n.dir, "run", "s.sock"), "http://x/v1/tls")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); (err == nil) != ok {
		t.Errorf("nobody at the admin socket: %v %s", err, out)
	}
}

// TestForeignDirectories: what holds something and is another's is not given
// away; the message says what to do.
func TestForeignDirectories(t *testing.T) {
	root := asUser(t)
	args := root.args
	root.args = args[:len(args)-4] // as root, with the socket below dir
	root.admin = api.NewClient(root.socket())
	root.serve()
	root.stop()
	n := asUser(t)
	n.args[1], n.args[3] = filepath.Join(root.dir, "drive"), filepath.Join(n.dir, "state")
	n.fails(1, `drive, or something in it, does not belong to the user nobody:nogroup: if it is Sluice's, run 'chown -R 65534:65534 .*drive'`)
	for _, dir := range []string{"drive", "state"} {
		if out, err := exec.Command("chown", "-R", "65534:65534", filepath.Join(root.dir, dir)).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	n.args[3] = filepath.Join(root.dir, "state")
	n.log = new(syncBuffer)
	n.start()
	n.up("/-/ready")
	noRights(t, n, 65534, 65534)
	n.stop()
}

func TestUserMistakes(t *testing.T) {
	for spec, want := range map[string]string{
		"no-such-user-here": "there is no user", "nobody:no-such-group": "there is no group", "4000000": "give a group, too",
	} {
		n := asUser(t)
		n.args = append(n.args, "--user", spec)
		n.fails(1, want)
	}
	if a, err := parseAccount("65534:0"); err != nil || a.uid != 65534 || a.gid != 0 {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := parseAccount("4000000:4000001"); err != nil || a.uid != 4000000 || a.gid != 4000001 || len(a.groups) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestBecomeUserBlockDevice: a block device that only root may open.
func TestBecomeUserBlockDevice(t *testing.T) {
	dev := loopDevice(t, 96<<20)
	n := asUser(t)
	n.args[1] = dev
	n.serve()
	noRights(t, n, 65534, 65534)
	stored := map[string]int{"small": 10, "big": 9 << 20}
	for key, size := range stored {
		if status, text := n.s3("PUT", "/"+nodeBucket+"/"+key, "", payload(key, size)); status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
	}
	st, err := n.admin.Status(t.Context())
	if err != nil || st.Drives[0].Errors != 0 {
		t.Fatalf("%+v, %v", st.Drives, err)
	}
	t.Logf("I/O: %s, registered %v", st.Drives[0].Backend, st.Drives[0].Registered)
	n.stop()
	n.start()
	n.up("/-/ready")
	n.verify(stored)
	n.stop()
}

// TestAdminGroup: members of the group may administer, others may not.
func TestAdminGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := newNode(t, "--admin-group", "nogroup")
	for at := n.dir; at != os.TempDir() && at != "/"; at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(n.dir, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	n.args = append(n.args, "--admin-socket", filepath.Join(n.dir, "run", "s.sock"))
	n.admin = api.NewClient(filepath.Join(n.dir, "run", "s.sock"))
	n.serve()
	asNobody(t, n, true)
	n.stop()
	plain := newNode(t, "--admin-socket", filepath.Join(n.dir, "run", "s.sock"))
	plain.start()
	plain.up("/-/live")
	plain.dir = n.dir
	asNobody(t, plain, false)
	plain.stop()
}

// TestNotify: a service manager is told when the daemon serves.
func TestNotify(t *testing.T) {
	n := newNode(t)
	path := filepath.Join(n.dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	n.start()
	buf := make([]byte, 100)
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got, err := conn.Read(buf)
	if err != nil || string(buf[:got]) != "READY=1" {
		t.Fatalf("%q, %v", buf[:got], err)
	}
	n.up("/-/live")
	n.stop()
}
