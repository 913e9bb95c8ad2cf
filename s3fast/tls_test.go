package s3fast

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// serveTLS makes the server listen with a certificate of its own.
func (r *rig) serveTLS() (net.Listener, chan error) {
	r.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(r.t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(r.t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(r.t, err)
	served := make(chan error, 1)
	go func() {
		served <- r.s.Serve(tls.NewListener(ln, &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}))
	}()
	return ln, served
}

// dialTLS opens a TLS connection that dies with the test.
func (r *rig) dialTLS() net.Conn {
	r.t.Helper()
	ln, _ := r.serveTLS()
	nc, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // #nosec G402: test
	must(r.t, err)
	r.t.Cleanup(func() { nc.Close() })
	return nc
}

// TLS connections serve the same, in both directions, keep-alive included.
func TestTLS(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	ln, served := r.serveTLS()
	// A peer that never shakes hands does not keep Shutdown waiting.
	idle, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer idle.Close()
	nc, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // #nosec G402: test
	must(t, err)
	defer nc.Close()
	br := bufio.NewReader(nc)
	body := strings.Repeat("tls ", 256<<10)
	_, err = io.WriteString(nc, r.head(call{method: "PUT", target: "/bkt/k", body: body})+body)
	must(t, err)
	if a := r.read(br, "PUT"); a.status != 200 {
		t.Fatalf("PUT: %s", a)
	}
	_, err = io.WriteString(nc, r.head(call{method: "GET", target: "/bkt/k"}))
	must(t, err)
	if a := r.read(br, "GET"); a.body != body {
		t.Fatalf("GET: %s, %d bytes", a, len(a.body))
	}
	must(t, r.s.Shutdown(t.Context()))
	if err := <-served; err != ErrServerClosed {
		t.Errorf("Serve: %v", err)
	}
}

// A client that sends all of a large body before it reads still learns why the
// request was refused: over TLS, too, the connection is not reset under it.
func TestTLSRefusedBody(t *testing.T) {
	r := newRig(t, nil)
	r.bucket("bkt")
	for _, size := range []int{1 << 20, 12 << 20} {
		nc := r.dialTLS()
		body := strings.Repeat("x", size)
		_, err := io.WriteString(nc, r.head(call{method: "PUT", target: "/absent/k", body: body}))
		must(t, err)
		for rest := body; rest != ""; rest = rest[64<<10:] { // slower than the refusal
			if _, err := io.WriteString(nc, rest[:64<<10]); err != nil {
				t.Fatalf("%d bytes: cut off after %d: %v", size, size-len(rest), err)
			}
			if size-len(rest) < 1<<20 {
				time.Sleep(time.Millisecond)
			}
		}
		if a := r.read(bufio.NewReader(nc), "PUT"); a.status != 404 || !strings.Contains(a.body, "NoSuchBucket") {
			t.Errorf("%d bytes: %s", size, a)
		}
		nc.Close()
	}
}
