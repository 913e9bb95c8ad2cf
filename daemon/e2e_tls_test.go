package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
)

// TestCertificateChange changes the certificate, by the admin socket and by
// SIGHUP, while connections are open and one of them is in the middle of an
// upload: none is dropped, and new ones get the new certificate.
func TestCertificateChange(t *testing.T) {
	n := newNode(t).serve()
	before, err := n.admin.TLS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	idle, err := n.dialTLS()
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	readers := bufio.NewReader(idle)
	ask := func() {
		t.Helper()
		if _, err := io.WriteString(idle, n.signed("GET", "/"+nodeBucket, sha(""))+"\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(readers, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("an open connection: %v, %v", resp, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	ask()
	upload, err := n.dialTLS()
	if err != nil {
		t.Fatal(err)
	}
	defer upload.Close()
	half := strings.Repeat("x", 1<<20)
	io.WriteString(upload, n.signed("PUT", "/"+nodeBucket+"/during", unsignedPayload)+"Content-Length: 2097152\r\n\r\n"+half)

	other := newNode(t)
	certs, err := openCertificates(filepath.Join(other.dir, "tls"), time.Now(), []string{"other.example"})
	if err != nil {
		t.Fatal(err)
	}
	chain, key := pairOf(t, certs.path("auto"))
	after, err := n.admin.SetTLS(t.Context(), api.SetTLS{Certificate: string(chain), PrivateKey: string(key)})
	if err != nil || after.Fingerprint == before.Fingerprint {
		t.Fatalf("%+v, %v", after, err)
	}
	n.signal(syscall.SIGHUP)
	ask()
	io.WriteString(upload, half)
	if status, text, err := answer(upload, 10*time.Second); status != http.StatusOK {
		t.Errorf("an upload during the change: %d %s, %v", status, text, err)
	}
	fresh, err := n.dialTLS()
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if leaf := fresh.ConnectionState().PeerCertificates[0]; leaf.DNSNames[len(leaf.DNSNames)-1] != "other.example" {
		t.Errorf("a new connection gets the certificate of %v", leaf.DNSNames)
	}
	if _, err := n.admin.UnsetTLS(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask()
	n.stop()
}

// TestClientAuth runs a daemon that wants client certificates: without one there
// is no handshake, with one the signature still decides.
func TestClientAuth(t *testing.T) {
	ca := newAuthority(t, "clients")
	file := filepath.Join(t.TempDir(), "ca.pem")
	ca.write(file)
	n := newNode(t, "--tls", "required", "--tls-client-ca", file, "--tls-client-auth", "required")
	n.start()
	await(t, 20*time.Second, func() error {
		_, err := n.admin.TLS(t.Context())
		return err
	})
	d, err := n.admin.TLS(t.Context())
	if err != nil || d.ClientAuth != "required" {
		t.Fatalf("%+v, %v", d, err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(d.Certificate))
	get := func(certs ...tls.Certificate) (int, error) {
		client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: certs},
		}}
		resp, err := client.Get("https://" + n.addr + "/")
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	if status, err := get(); err == nil {
		t.Errorf("without a certificate: %d", status)
	}
	if status, err := get(ca.client(time.Now().Add(time.Hour))); err != nil || status != http.StatusServiceUnavailable {
		t.Errorf("with one, before there is a cluster: %d, %v", status, err)
	}
	if block, _ := pem.Decode([]byte(d.Certificate)); block == nil {
		t.Error("the certificate is no PEM")
	}
	n.stop()
	for _, args := range [][]string{{"--tls-client-ca", "/nonexistent", "--tls-client-auth", "optional"}} {
		bad := newNode(t, args...)
		bad.fails(1, "client authorities")
	}
}
