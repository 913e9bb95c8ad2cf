package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// Names and waits of the daemon that bench starts.
const (
	ownUser   = "bench_user"
	ownSecret = "Bench-Secret-1"
	startMax  = 10 * time.Minute
	stopMax   = time.Minute
)

// server is a daemon of bench's own, with its drives and state below dir.
type server struct {
	bin    string // folder of sluiced and ctl
	dir    string
	args   []string // further flags of sluiced
	count  int      // of its drives
	cpus   cpuList  // where it runs; empty: anywhere
	listen string
	ca     string
	cmd    *exec.Cmd
	log    *os.File
}

// newServer starts a daemon on an empty dir, with a cluster and a user.
func newServer(ctx context.Context, bin, dir string, drives int, cpus cpuList, args []string) (*server, error) {
	s := &server{bin: bin, dir: dir, args: args, count: drives, cpus: cpus, listen: "127.0.0.1:0", ca: filepath.Join(dir, "ca.pem")}
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return nil, err
	}
	if _, err := s.start(ctx); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"s3", "cluster", "create", "default", ".config_fs", "--all-servers"},
		{"user", "add", ownUser, "s3", ownSecret},
		{"s3", "policy", "attach", "readwrite", ownUser},
		{"security", "tls", "download", s.ca},
	} {
		if _, err := s.ctl(ctx, args...); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	return s, nil
}

func (s *server) socket() string { return filepath.Join(s.dir, "state", "sluiced.sock") }

// start runs the daemon and returns how long it took to answer.
func (s *server) start(ctx context.Context) (time.Duration, error) {
	log, err := os.OpenFile(filepath.Join(s.dir, "sluiced.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	drives := make([]string, s.count)
	for i := range drives {
		drives[i] = filepath.Join(s.dir, "drive")
		if i > 0 {
			drives[i] += fmt.Sprint("-", i)
		}
	}
	args := append([]string{
		"--drive", strings.Join(drives, ","), "--state-dir", filepath.Join(s.dir, "state"),
		"--admin-socket", s.socket(), "--listen", s.listen,
	}, s.args...)
	cmd := exec.Command(filepath.Join(s.bin, "sluiced"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	begun := time.Now()
	if err := startOn(s.cpus, cmd); err != nil {
		return 0, errors.Join(err, log.Close())
	}
	s.cmd, s.log = cmd, log
	port := regexp.MustCompile(`127\.0\.0\.1:[1-9][0-9]*`)
	for {
		out, err := s.ctl(ctx, "--json", "cluster", "status")
		if found := port.FindString(out); err == nil && found != "" {
			s.listen = found
			return time.Since(begun), nil
		}
		if time.Since(begun) > startMax || ctx.Err() != nil || !alive(cmd.Process) {
			return 0, errors.Join(fmt.Errorf("the daemon did not start, see %s: %w", log.Name(), err), s.kill())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// alive reports whether a child still runs, rather than waits to be reaped.
func alive(p *os.Process) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// ctl runs a command of ctl and returns its output.
func (s *server) ctl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "ctl"), append([]string{"--socket", s.socket()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("ctl %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// target returns the daemon's endpoint, over TLS or not.
func (s *server) target(tls bool) (*target, error) {
	endpoint, ca := "http://"+s.listen, ""
	if tls {
		endpoint, ca = "https://"+s.listen, s.ca
	}
	t, err := newTarget(endpoint, ca)
	if err != nil {
		return nil, err
	}
	t.accessKey, t.secret, t.region, t.pid = ownUser, ownSecret, "us-east-1", s.cmd.Process.Pid
	return t, nil
}

// kill ends the daemon as a crash would.
func (s *server) kill() error {
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = s.cmd.Wait() // "signal: killed", as asked for
	return s.log.Close()
}

// stop ends the daemon as an operator would; not to exit with 0 is an error.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(stopMax, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	return errors.Join(s.cmd.Wait(), s.log.Close())
}

// drives describes the daemon's I/O as it says itself, for the report.
func (s *server) drives(ctx context.Context) (json.RawMessage, error) {
	out, err := s.ctl(ctx, "--json", "cluster", "status")
	return json.RawMessage(out), err
}

// version returns what the daemon calls itself.
func (s *server) version(ctx context.Context) string {
	var status struct{ Version struct{ Version string } }
	out, err := s.drives(ctx)
	if err == nil {
		err = json.Unmarshal(out, &status)
	}
	if err != nil {
		return "unknown"
	}
	return status.Version.Version
}

// lastWords returns the end of the daemon's log.
func (s *server) lastWords() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "sluiced.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}
