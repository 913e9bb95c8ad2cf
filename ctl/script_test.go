package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/engine/seal/kms/kmstest"
	"github.com/sluicehq/sluice/tools/freeport"
)

// TestScripts runs each testdata/script/*.txtar against real binaries: "ctl" and
// a daemon on real files, started by the command "start FLAG...", stopped by
// "halt" or at the end. Scripts find the endpoint in $PORT.
func TestScripts(t *testing.T) {
	if testing.Short() {
		t.Skip("starts daemons")
	}
	bin := t.TempDir()
	for _, name := range []string{"ctl", "daemon"} {
		out := filepath.Join(bin, map[string]string{"ctl": "ctl", "daemon": "sluiced"}[name])
		build := exec.Command("go", "build", "-ldflags=-checklinkname=0 -X main.version=test", "-o", out, "../"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", name, err, text)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+":"+os.Getenv("PATH"))
			env.Setenv("SLUICE_SOCKET", filepath.Join(env.WorkDir, "sock"))
			env.Setenv("HOME", env.WorkDir)
			port, err := freePort()
			env.Setenv("PORT", port)
			return err
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"start":     startDaemon,
			"halt":      stopDaemon, // "stop" is testscript's own, and ends a script
			"vault":     startVault,
			"collector": collector,
		},
	})
}

func freePort() (string, error) {
	addr, err := freeport.Addr()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(addr)
	return port, err
}

// pidFile is where startDaemon leaves the daemon's process id.
const pidFile = "sluiced.pid"

func startDaemon(ts *testscript.TestScript, neg bool, args []string) {
	log, err := os.Create(ts.MkAbs("sluiced.log"))
	ts.Check(err)
	defer log.Close()
	flags := append([]string{
		"--listen", "127.0.0.1:" + ts.Getenv("PORT"), "--admin-socket", ts.Getenv("SLUICE_SOCKET"),
		"--state-dir", ts.MkAbs("state"), "--reserve", "16MiB",
	}, args...)
	if !strings.Contains(strings.Join(args, " "), "--drive") {
		flags = append(flags, "--drive", ts.MkAbs("drive"))
	}
	path, err := lookPath(ts.Getenv("PATH"), "sluiced")
	ts.Check(err)
	cmd := exec.Command(path, flags...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, ts.MkAbs(".")
	cmd.Env = os.Environ()
	if v := ts.Getenv("SLUICE_TLS"); v != "" { // the only one that scripts set for a daemon
		cmd.Env = append(cmd.Env, "SLUICE_TLS="+v)
	}
	ts.Check(cmd.Start())
	ts.Check(os.WriteFile(ts.MkAbs(pidFile), fmt.Append(nil, cmd.Process.Pid), 0o600))
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	ts.Defer(func() { cmd.Process.Kill(); <-exited })
	client := api.NewClient(ts.Getenv("SLUICE_SOCKET"))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if st, err := client.Status(context.Background()); err == nil && st.Ready {
			if neg {
				ts.Fatalf("the daemon started")
			}
			return
		}
		select {
		case err := <-exited:
			exited <- err
			text, readErr := os.ReadFile(ts.MkAbs("sluiced.log"))
			ts.Check(readErr)
			if !neg {
				ts.Fatalf("the daemon ended: %v\n%s", err, text)
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			ts.Fatalf("the daemon does not answer")
		}
	}
}

// stopDaemon sends SIGTERM and waits for the process to end.
func stopDaemon(ts *testscript.TestScript, neg bool, args []string) {
	var pid int
	_, err := fmt.Sscan(ts.ReadFile(pidFile), &pid)
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("the daemon does not stop")
		}
	}
}

// startVault starts a key server with the keys named, whose address, authority
// and token scripts find in $VAULT, ca.pem and "token".
func startVault(ts *testscript.TestScript, neg bool, args []string) {
	srv := kmstest.New(scriptT{ts})
	for _, name := range args {
		srv.AddKey(name, false)
	}
	ts.Setenv("VAULT", srv.Address())
	pem, err := os.ReadFile(srv.CAFile())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("ca.pem"), pem, 0o600))
}

// scriptT has a script stand in for the test it is part of.
type scriptT struct{ *testscript.TestScript }

func (t scriptT) Helper()           {}
func (t scriptT) Cleanup(fn func()) { t.Defer(fn) }
func (t scriptT) Fatal(args ...any) { t.Fatalf("%s", fmt.Sprint(args...)) }
func (t scriptT) TempDir() string   { return t.MkAbs(".") }

func lookPath(path, name string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		full := filepath.Join(dir, name)
		if st, err := os.Stat(full); err == nil && st.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("%s is not in %s", name, path)
}
