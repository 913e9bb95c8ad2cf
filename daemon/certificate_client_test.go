package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/daemon/config"
)

// authority issues client certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	_, a.cert, a.key = a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotAfter: time.Now().Add(time.Hour),
	})
	return a
}

// issue signs template, with the authority's key or, before it has one, its own.
func (a *authority) issue(template *x509.Certificate) (tls.Certificate, *x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, cert, key
}

func (a *authority) client(notAfter time.Time) tls.Certificate {
	pair, _, _ := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "client"}, NotAfter: notAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return pair
}

func (a *authority) write(path string) {
	a.t.Helper()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// handshake connects a client to a server of cfg and moves a byte each way.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		secure := tls.Server(conn, server)
		buf := make([]byte, 1)
		if _, err = io.ReadFull(secure, buf); err == nil {
			_, err = secure.Write(buf)
		}
		served <- err
	}()
	client.InsecureSkipVerify = true
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err != nil {
		return tls.ConnectionState{}, errors.Join(err, <-served)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Write([]byte("x"))
	if err == nil {
		_, err = io.ReadFull(conn, make([]byte, 1))
	}
	state := conn.ConnectionState()
	return state, errors.Join(err, <-served)
}

func TestTLSConfig(t *testing.T) {
	c, err := openCertificates(t.TempDir(), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	server := c.config()
	st, err := handshake(t, server, &tls.Config{NextProtos: []string{"h2", "http/1.1"}})
	if err != nil || st.Version != tls.VersionTLS13 || st.CurveID != tls.X25519MLKEM768 || st.NegotiatedProtocol != "http/1.1" {
		t.Errorf("version %x, group %v, protocol %q, %v", st.Version, st.CurveID, st.NegotiatedProtocol, err)
	}
	if st, err = handshake(t, server, &tls.Config{MaxVersion: tls.VersionTLS12}); err != nil || st.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2: %x, %v", st.Version, err)
	}
	if _, err := handshake(t, server, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	var weak []uint16
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if strings.Contains(suite.Name, "_CBC_") || strings.Contains(suite.Name, "_RC4_") || strings.HasPrefix(suite.Name, "TLS_RSA_") {
			weak = append(weak, suite.ID)
		}
	}
	if _, err := handshake(t, server, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: weak}); err == nil || len(weak) < 8 {
		t.Errorf("one of %d weak suites is spoken", len(weak))
	}
	if _, err := handshake(t, server, &tls.Config{NextProtos: []string{"h2"}}); err == nil {
		t.Error("a client that speaks HTTP/2 only is let in")
	}
}

// A client that comes back resumes its session, in either version, without the
// cost of a signature; reading the certificate again ends no session.
func TestTLSResumption(t *testing.T) {
	c, err := openCertificates(t.TempDir(), time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	server := c.config()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{
			MinVersion: version, MaxVersion: version, ServerName: "x",
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}
		for i := range 4 {
			st, err := handshake(t, server, client)
			if err != nil || st.Version != version || st.DidResume != (i > 0) {
				t.Errorf("%s, connection %d: version %x, resumed %v, %v", tls.VersionName(version), i, st.Version, st.DidResume, err)
			}
			suite := tls.CipherSuiteName(st.CipherSuite)
			if aes := cpuFeatures()["aes"]; aes && !strings.Contains(suite, "_AES_") {
				t.Errorf("%s with instructions for AES", suite)
			}
			if i == 1 {
				if err := c.reload(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// Client certificates of another authority, expired ones and, where required,
// none at all end the handshake. The authorities are read again on reload, and
// then no session of the old ones goes on.
func TestClientCertificates(t *testing.T) {
	ca, other := newAuthority(t, "ours"), newAuthority(t, "another")
	good, foreign := ca.client(time.Now().Add(time.Hour)), other.client(time.Now().Add(time.Hour))
	expired := ca.client(time.Now().Add(-time.Minute))
	for _, mode := range []string{config.ClientAuthOptional, config.ClientAuthRequired} {
		t.Run(mode, func(t *testing.T) {
			c, err := openCertificates(t.TempDir(), time.Now(), nil)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "ca.pem")
			ca.write(file)
			if err := c.askClients(&config.Config{TLSClientCA: file, TLSClientAuth: mode}); err != nil {
				t.Fatal(err)
			}
			if got := c.describe("required").ClientAuth; got != mode {
				t.Errorf("described as %q", got)
			}
			server := c.config()
			cache := tls.NewLRUClientSessionCache(10)
			// shows has the client show the certificate, whoever the server trusts.
			shows := func(certs ...tls.Certificate) error {
				t.Helper()
				st, err := handshake(t, server, &tls.Config{
					ClientSessionCache: cache, ServerName: "x",
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						if len(certs) == 0 {
							return new(tls.Certificate), nil
						}
						return &certs[0], nil
					},
				})
				if st.DidResume {
					t.Error("a session was resumed")
				}
				return err
			}
			for range 2 {
				if err := shows(good); err != nil {
					t.Errorf("a good certificate: %v", err)
				}
			}
			if err := shows(foreign); err == nil {
				t.Error("another authority's certificate is taken")
			}
			if err := shows(expired); err == nil {
				t.Error("an expired certificate is taken")
			}
			if err := shows(); (err == nil) != (mode == config.ClientAuthOptional) {
				t.Errorf("no certificate: %v", err)
			}
			other.write(file)
			if err := c.reload(); err != nil {
				t.Fatal(err)
			}
			if err := shows(foreign); err != nil {
				t.Errorf("after the reload: %v", err)
			}
			if err := shows(good); err == nil {
				t.Error("an authority that was taken back is still trusted")
			}
			os.WriteFile(file, []byte("spoilt"), 0o600)
			if err := c.reload(); err == nil {
				t.Error("a spoilt file is no error")
			}
			if err := shows(foreign); err != nil {
				t.Errorf("after a reload that failed: %v", err)
			}
		})
	}
	c := new(certificates)
	if err := c.askClients(&config.Config{TLSClientCA: "/nonexistent", TLSClientAuth: config.ClientAuthOptional}); err == nil {
		t.Error("a missing file of authorities is no error")
	}
	if err := c.askClients(&config.Config{TLSClientAuth: config.ClientAuthOff}); err != nil || c.clients != nil {
		t.Errorf("off: %v", err)
	}
}

func TestExpiry(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Unix(1_800_000_000, 0)
	for left, want := range map[time.Duration]string{
		31 * day: "", 30 * day: "in 30 days", 29*day + time.Hour: "in 29 days", 36 * time.Hour: "in 1 days", time.Hour: "within a day", 0: "expired on", -day: "expired on",
	} {
		got := expiryWarning(now.Add(left), now)
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("with %s left: %q, want %q", left, got, want)
		}
	}
	cert := func(end time.Time) *certificate {
		return &certificate{tls: tls.Certificate{Leaf: &x509.Certificate{NotAfter: end}}}
	}
	var told expiryTold
	old := cert(now.Add(40 * day))
	var said []int
	for hour := range 24 * 45 {
		if told.next(old, now.Add(time.Duration(hour)*time.Hour)) != "" {
			said = append(said, 40-hour/24)
		}
	}
	if len(said) != 5 || said[0] != 30 || said[1] != 14 || said[2] != 7 || said[3] != 1 || said[4] != 0 {
		t.Errorf("told with %v days left, want 30, 14, 7, 1, 0", said)
	}
	if told.next(cert(now.Add(60*day)), now.Add(45*day)) == "" {
		t.Error("of another certificate with 15 days left nothing is told")
	}
	if told.next(cert(now.Add(100*day)), now.Add(45*day)) != "" {
		t.Error("of a new certificate something is told")
	}
}
