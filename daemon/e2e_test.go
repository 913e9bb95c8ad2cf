package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/s3fast/sigv4"
	"github.com/sluicehq/sluice/tools/freeport"
)

// asDaemon makes the test binary run as sluiced: the tests start the real
// program, flags, signals and exit codes included, without building it apart.
const asDaemon = "RUN_AS_SLUICED"

func TestMain(m *testing.M) {
	if os.Getenv(asDaemon) != "" {
		setTimerSlack()
		os.Unsetenv(asDaemon)
		os.Exit(run(os.Args[1:], os.Environ()))
	}
	os.Exit(m.Run())
}

const (
	nodeUser   = "S3_user"
	nodeSecret = "Node-Secret-1"
	nodeBucket = "bkt"
)

// node is a daemon in a process of its own.
type node struct {
	t     testing.TB
	dir   string
	addr  string // HOST:PORT of the S3 endpoint, the same for every start
	args  []string
	admin *api.Client

	cmd  *exec.Cmd
	log  *syncBuffer
	gone chan struct{} // closed when the process has ended
	exit error         // its result, after gone
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newNode prepares a daemon on a drive below a new directory; start starts it.
// args come after the node's own flags.
func newNode(t testing.TB, args ...string) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a daemon")
	}
	dir := t.TempDir()
	addr, err := freeport.Addr()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, addr: addr, log: new(syncBuffer)}
	n.admin = api.NewClient(n.socket())
	n.args = append([]string{
		"--drive", filepath.Join(dir, "drive"), "--state-dir", filepath.Join(dir, "state"),
		"--admin-socket", n.socket(), "--listen", n.addr, "--reserve", "16MiB", "--drive-size", "512MiB",
		"--buffer-memory", "64MiB", "--pin-cpus=false",
	}, args...)
	t.Cleanup(func() {
		if n.alive() {
			n.cmd.Process.Kill()
			<-n.gone
		}
		if t.Failed() {
			t.Logf("log of the daemon:\n%.8000s", n.log.String())
		}
	})
	return n
}

func (n *node) socket() string { return filepath.Join(n.dir, "s.sock") }

// start starts the process and does not wait for it to serve.
func (n *node) start() {
	n.t.Helper()
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(self, n.args...)
	n.cmd.Env = append(os.Environ(), asDaemon+"=1")
	n.cmd.Stderr, n.cmd.Stdout = n.log, n.log
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.gone = make(chan struct{})
	go func(cmd *exec.Cmd, gone chan struct{}) {
		n.exit = cmd.Wait()
		close(gone)
	}(n.cmd, n.gone)
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

// await waits until fn returns nil, for as long as within.
func await(t testing.TB, within time.Duration, fn func() error) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %v", within, err)
		}
	}
}

// up waits until the daemon serves the path (/-/live, /-/ready) with 200.
func (n *node) up(path string) {
	n.t.Helper()
	await(n.t, 30*time.Second, func() error {
		if !n.alive() {
			n.t.Fatalf("the daemon ended: %v", n.exit)
		}
		status, _, err := n.page(path)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s answers %d", path, status)
		}
		return err
	})
}

// page fetches a service page.
func (n *node) page(path string) (int, string, error) {
	cl := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := cl.Get("http://" + n.addr + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// serve starts the daemon and makes cluster, bucket and user.
func (n *node) serve() *node {
	n.t.Helper()
	n.start()
	n.up("/-/live")
	ctx := context.Background()
	_, err := n.admin.CreateCluster(ctx, api.CreateCluster{Name: "default", ConfigFS: configFS})
	if err == nil {
		_, err = n.admin.CreateBucket(ctx, api.CreateBucket{Name: nodeBucket})
	}
	if err == nil {
		_, err = n.admin.CreateUser(ctx, api.CreateUser{Name: nodeUser, Role: "s3", Password: nodeSecret})
	}
	if err == nil {
		_, err = n.admin.AttachPolicy(ctx, "readwrite", api.AttachPolicy{User: nodeUser})
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.up("/-/ready")
	return n
}

// signal sends sig; ended waits for the process to end with exit code 0.
func (n *node) signal(sig syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(sig); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) ended(within time.Duration) {
	n.t.Helper()
	select {
	case <-n.gone:
		if n.exit != nil {
			n.t.Fatalf("the daemon ended with %v", n.exit)
		}
	case <-time.After(within):
		n.t.Fatalf("the daemon still runs after %s", within)
	}
}

// stop ends the daemon as an administrator does.
func (n *node) stop() {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	n.ended(20 * time.Second)
}

// kill ends the daemon as a crash does.
func (n *node) kill() {
	n.cmd.Process.Kill()
	<-n.gone
}

// fails runs the daemon to its end, which must come soon, with the exit code and
// a message that matches want.
func (n *node) fails(code int, want string) {
	n.t.Helper()
	n.start()
	select {
	case <-n.gone:
	case <-time.After(20 * time.Second):
		n.t.Fatalf("the daemon started; it should have failed with %q", want)
	}
	var exit *exec.ExitError
	if !errors.As(n.exit, &exit) || exit.ExitCode() != code {
		n.t.Errorf("ended with %v, want exit code %d", n.exit, code)
	}
	if !regexp.MustCompile(want).MatchString(n.log.String()) {
		n.t.Errorf("the log does not tell %q:\n%s", want, n.log.String())
	}
}

// metric returns the value of one metric, 0 when it is absent.
func (n *node) metric(name string) float64 {
	n.t.Helper()
	status, text, err := n.page("/-/metrics")
	if err != nil || status != http.StatusOK {
		n.t.Fatalf("metrics: %d, %v", status, err)
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				n.t.Fatal(err)
			}
			return v
		}
	}
	return 0
}

// quiet waits until the daemon holds nothing on behalf of any request but the
// one that asks for the metrics, and goroutines are down to most.
func (n *node) quiet(most float64) {
	n.t.Helper()
	await(n.t, 40*time.Second, func() error {
		for name, limit := range map[string]float64{
			"sluice_s3_requests_in_flight": 0, "sluice_buffers_in_use_bytes": 0,
			"sluice_readers": 0, "sluice_s3_connections": 1, "go_goroutines": most,
		} {
			if v := n.metric(name); v > limit {
				return fmt.Errorf("%s is %v", name, v)
			}
		}
		return nil
	})
}

// s3 sends a signed request over plain HTTP and returns status and body.
func (n *node) s3(method, path, query string, body []byte) (int, []byte) {
	n.t.Helper()
	status, text, err := n.tryS3(method, path, query, body)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	return status, text
}

var plainHTTP = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 8}}

func (n *node) tryS3(method, path, query string, body []byte) (int, []byte, error) {
	u := &url.URL{Scheme: "http", Host: n.addr, Path: path, RawQuery: query}
	req, err := http.NewRequest(method, "", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.URL, req.Host = u, n.addr
	sum := sha256.Sum256(body)
	for name, v := range sigv4.Sign(httpView{req}, nodeUser, nodeSecret, "us-east-1", "s3", hex.EncodeToString(sum[:]), time.Now()) {
		req.Header.Set(name, v)
	}
	resp, err := plainHTTP.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, text, err
}

// keys lists the bucket.
func (n *node) keys() []string {
	n.t.Helper()
	status, text := n.s3("GET", "/"+nodeBucket, "list-type=2", nil)
	if status != http.StatusOK {
		n.t.Fatalf("listing: %d %s", status, text)
	}
	var keys []string
	for _, m := range regexp.MustCompile(`<Key>([^<]*)</Key>`).FindAllSubmatch(text, -1) {
		keys = append(keys, string(m[1]))
	}
	return keys
}

// httpView shows an *http.Request to the signer.
type httpView struct{ r *http.Request }

func (v httpView) Method() string            { return v.r.Method }
func (v httpView) RawPath() string           { return v.r.URL.EscapedPath() }
func (v httpView) RawQuery() string          { return v.r.URL.RawQuery }
func (v httpView) Host() string              { return v.r.Host }
func (v httpView) Header(name string) string { return v.r.Header.Get(name) }

func (v httpView) Headers(fn func(name, value string)) {
	for name, values := range v.r.Header {
		for _, value := range values {
			fn(strings.ToLower(name), value)
		}
	}
}

// signed returns the header lines of a signed request for a raw socket, without
// the empty line that ends them. hash is x-amz-content-sha256; extra lines
// ("name: value") are signed too where the signer would sign them.
func (n *node) signed(method, target, hash string, extra ...string) string {
	n.t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		n.t.Fatal(err)
	}
	req := &http.Request{Method: method, URL: u, Host: n.addr, Header: http.Header{}}
	for _, line := range extra {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Add(name, value)
	}
	for name, v := range sigv4.Sign(httpView{req}, nodeUser, nodeSecret, "us-east-1", "s3", hash, time.Now()) {
		req.Header.Set(name, v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, target, n.addr)
	for name, values := range req.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	return b.String()
}

// dial opens a raw connection to the S3 endpoint.
func (n *node) dial() net.Conn {
	n.t.Helper()
	conn, err := net.DialTimeout("tcp", n.addr, 5*time.Second)
	if err != nil {
		n.t.Fatal(err)
	}
	return conn
}

// dialTLS opens a TLS connection to the S3 endpoint.
func (n *node) dialTLS() (*tls.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", n.addr)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// answer reads one response: its status (0: closed without one) and its body.
func answer(conn net.Conn, within time.Duration) (int, string, error) {
	conn.SetReadDeadline(time.Now().Add(within))
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, "", err
		}
		return 0, "", nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
