package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
)

// TestGracefulStop stops the daemon in the middle of a slow upload and a slow
// download: both finish, nothing new is served, and the exit code is 0.
func TestGracefulStop(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			n := newNode(t).serve()
			big := make([]byte, 16<<20)
			if status, text := n.s3("PUT", "/"+nodeBucket+"/big", "", big); status != http.StatusOK {
				t.Fatalf("%d %s", status, text)
			}
			idle := n.dial()
			defer idle.Close()
			put, get := n.dial(), n.dial()
			defer put.Close()
			defer get.Close()
			io.WriteString(put, n.signed("PUT", "/"+nodeBucket+"/slow", unsignedPayload)+"Content-Length: 300000\r\n\r\n"+strings.Repeat("x", 100000))
			io.WriteString(get, n.signed("GET", "/"+nodeBucket+"/big", sha(""))+"\r\n")
			await(t, 5*time.Second, func() error { return n.inFlight(2) })
			n.signal(sig)
			await(t, 5*time.Second, func() error {
				if conn, err := (&http.Client{Timeout: time.Second}).Get("http://" + n.addr + "/-/live"); err == nil {
					conn.Body.Close()
					return os.ErrExist
				}
				return nil
			})
			time.Sleep(200 * time.Millisecond)
			if !n.alive() {
				t.Fatalf("ended with requests in flight: %v", n.exit)
			}
			io.WriteString(put, strings.Repeat("x", 200000))
			if status, text, err := answer(put, 10*time.Second); status != http.StatusOK {
				t.Errorf("the upload in flight: %d %s, %v", status, text, err)
			}
			if status, text, err := answer(get, 10*time.Second); status != http.StatusOK || len(text) != len(big) {
				t.Errorf("the download in flight: %d, %d bytes, %v", status, len(text), err)
			}
			n.ended(10 * time.Second)
			if _, err := os.Lstat(n.socket()); err == nil {
				t.Error("the admin socket is still there")
			}
			n.start()
			n.up("/-/ready")
			if status, text := n.s3("GET", "/"+nodeBucket+"/slow", "", nil); status != http.StatusOK || len(text) != 300000 {
				t.Errorf("after the restart: %d, %d bytes", status, len(text))
			}
			n.stop()
		})
	}
}

// inFlight returns an error unless want requests are in flight.
func (n *node) inFlight(want float64) error {
	if v := n.metric("sluice_s3_requests_in_flight"); v != want {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// stalledPut starts an upload that goes no further.
func (n *node) stalledPut() io.Closer {
	n.t.Helper()
	conn := n.dial()
	io.WriteString(conn, n.signed("PUT", "/"+nodeBucket+"/stalled", unsignedPayload)+"Content-Length: 9000000\r\n\r\n"+strings.Repeat("x", 3000000))
	await(n.t, 5*time.Second, func() error { return n.inFlight(1) })
	return conn
}

// TestStopTimeout shows that a client that stalls holds the stop up for as long
// as it is allowed to, and that the exit is still clean.
func TestStopTimeout(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--shutdown-timeout", "1s").serve()
	plainHTTP.CloseIdleConnections()
	defer n.stalledPut().Close()
	begun := time.Now()
	n.stop()
	if took := time.Since(begun); took < time.Second || took > 12*time.Second {
		t.Errorf("stopped within %s, at most 1s of it for requests", took)
	}
	n.start()
	n.up("/-/ready")
	if keys := n.keys(); len(keys) != 0 {
		t.Errorf("a part of an object was stored: %q", keys)
	}
}

// TestSecondSignal ends at once, with exit code 1; a signal that merely arrives
// twice does not.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	n := newNode(t, "--shutdown-timeout", "60s").serve()
	defer n.stalledPut().Close()
	n.signal(syscall.SIGINT)
	n.signal(syscall.SIGTERM)
	time.Sleep(sameStop + 200*time.Millisecond)
	if !n.alive() {
		t.Fatalf("ended by the echo of the first signal: %v", n.exit)
	}
	n.signal(syscall.SIGTERM)
	select {
	case <-n.gone:
	case <-time.After(3 * time.Second):
		t.Fatal("the second signal did not end it")
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	n.start() // the socket that was left behind is replaced
	n.up("/-/ready")
	n.stop()
}

// TestHangup replaces the certificate's file by hand: SIGHUP puts it into use,
// and one that cannot be read changes nothing.
func TestHangup(t *testing.T) {
	t.Parallel()
	n := newNode(t).serve()
	other, err := openCertificates(t.TempDir(), time.Now(), []string{"other.example"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(other.path("auto"))
	if err != nil {
		t.Fatal(err)
	}
	custom := filepath.Join(n.dir, "state", "tls", "custom.pem")
	names := func() string {
		info, err := n.admin.TLS(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(info.Names, " ")
	}
	if err := os.WriteFile(custom, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.signal(syscall.SIGHUP)
	await(t, 5*time.Second, func() error {
		if !strings.Contains(n.log.String(), "keeping the certificate in use") {
			return os.ErrNotExist
		}
		return nil
	})
	if got := names(); strings.Contains(got, "other.example") {
		t.Errorf("names %q", got)
	}
	if err := os.WriteFile(custom, data, 0o600); err != nil {
		t.Fatal(err)
	}
	n.signal(syscall.SIGHUP)
	await(t, 5*time.Second, func() error {
		if !strings.Contains(names(), "other.example") {
			return os.ErrNotExist
		}
		return nil
	})
	conn, err := n.dialTLS()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if leaf := conn.ConnectionState().PeerCertificates[0]; leaf.VerifyHostname("other.example") != nil {
		t.Errorf("the endpoint shows a certificate for %q", leaf.DNSNames)
	}
	n.stop()
}

// TestTwoDaemons shows what a second daemon is told about each thing that the
// first one has.
func TestTwoDaemons(t *testing.T) {
	t.Parallel()
	first := newNode(t).serve()
	at := func(name string) string { return filepath.Join(first.dir, name) }
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"state directory", "state directory .*: another daemon uses it", []string{"--state-dir", at("state")}},
		{"drive", "drive .*: .*(in use|another)", []string{"--drive", at("drive")}},
		{"admin socket", "admin socket .*: another daemon answers there", []string{"--admin-socket", first.socket()}},
		{"port", "S3 endpoint: .*address already in use", []string{"--listen", first.addr}},
	} {
		t.Run(c.name, func(t *testing.T) {
			second := newNode(t)
			for i := 0; i < len(c.args); i += 2 { // the last one given would add to lists
				for j := range second.args {
					if second.args[j] == c.args[i] {
						second.args[j+1] = c.args[i+1]
					}
				}
			}
			second.fails(1, c.want)
		})
	}
	if status, _ := first.s3("PUT", "/"+nodeBucket+"/k", "", []byte("v")); status != http.StatusOK {
		t.Errorf("the first daemon afterwards: %d", status)
	}
	if _, err := first.admin.Status(context.Background()); err != nil {
		t.Errorf("the first daemon's admin socket afterwards: %v", err)
	}
	first.stop()
}

// TestBeforeCluster asks a daemon without a cluster.
func TestBeforeCluster(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.start()
	n.up("/-/live")
	if status, text, _ := n.page("/-/ready"); status != http.StatusServiceUnavailable || !strings.Contains(text, "cluster") {
		t.Errorf("ready: %d %s", status, text)
	}
	status, text := n.s3("GET", "/", "", nil)
	if status != http.StatusServiceUnavailable || !strings.Contains(string(text), "<Code>ServiceUnavailable</Code>") {
		t.Errorf("%d %s", status, text)
	}
	if _, err := n.admin.CreateCluster(context.Background(), api.CreateCluster{Name: "c", ConfigFS: configFS}); err != nil {
		t.Fatal(err)
	}
	if status, _, _ := n.page("/-/ready"); status != http.StatusOK {
		t.Errorf("ready with a cluster: %d", status)
	}
	if err := n.admin.DestroyCluster(context.Background()); err != nil {
		t.Fatal(err)
	}
	if status, _ := n.s3("GET", "/", "", nil); status != http.StatusServiceUnavailable {
		t.Errorf("without a cluster again: %d", status)
	}
	n.stop()
}
