package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/daemon/api"
	"github.com/sluicehq/sluice/daemon/config"
	"github.com/sluicehq/sluice/engine/seal/atomicfile"
)

// autoLifetime is how long an auto-generated certificate is valid. Clients pin
// it by downloading it, so renewing it behind their backs would cut them off.
const autoLifetime = 10 * 365 * 24 * time.Hour

// certificates holds the certificate in use. DIR/auto.pem is generated at first
// start and kept; DIR/custom.pem, when set, takes precedence. Each file holds
// the chain and the private key, so that one rename replaces both.
type certificates struct {
	dir     string
	mu      sync.Mutex // serializes changes on disk
	current atomic.Pointer[certificate]
	clients *clientCerts // nil: none are asked for
}

type certificate struct {
	tls    tls.Certificate
	pem    []byte // the chain
	custom bool
}

// openCertificates loads the certificates of dir, making the automatic one
// when there is none, with the given extra DNS names.
func openCertificates(dir string, now time.Time, names []string) (*certificates, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	c := &certificates{dir: dir}
	if _, err := os.Stat(c.path("auto")); errors.Is(err, fs.ErrNotExist) {
		if err := c.generate(now, names); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
	}
	return c, c.load()
}

func (c *certificates) path(kind string) string { return filepath.Join(c.dir, kind+".pem") }

// load puts the custom certificate, or else the automatic one, into use.
func (c *certificates) load() error {
	for _, kind := range []string{"custom", "auto"} {
		data, err := os.ReadFile(c.path(kind))
		if kind == "custom" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		pair, err := parsePair(data, data)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", c.path(kind), err)
		}
		c.current.Store(&certificate{tls: pair, pem: chainPEM(pair), custom: kind == "custom"})
		return nil
	}
	return nil
}

// chainPEM renders the public part of a certificate.
func chainPEM(pair tls.Certificate) []byte {
	var out []byte
	for _, der := range pair.Certificate {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out
}

func parsePair(chain, key []byte) (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return pair, err
	}
	if pair.Leaf == nil {
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	return pair, err
}

// set validates a custom certificate, keeps it and puts it into use; new
// connections get it, old ones go on.
func (c *certificates) set(chain, key []byte, now time.Time) error {
	pair, err := parsePair(chain, key)
	if err != nil {
		return err
	}
	if now.After(pair.Leaf.NotAfter) {
		return fmt.Errorf("the certificate expired on %s", pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	both := append(append(bytes.Clone(chain), '\n'), key...)
	if err := atomicfile.Replace(c.path("custom"), both); err != nil {
		return err
	}
	return c.load()
}

// unset returns to the automatic certificate.
func (c *certificates) unset() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := os.Remove(c.path("custom")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := atomicfile.SyncDir(c.dir); err != nil {
		return err
	}
	return c.load()
}

// reload reads the files again, those of the client authorities too. What cannot
// be read stays in use as it is.
func (c *certificates) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.load()
	if c.clients != nil {
		err = errors.Join(err, c.clients.load())
	}
	return err
}

// config is the server's TLS configuration: TLS 1.2 and up, the suites with
// forward secrecy and AEAD only, Go's own choice of groups (X25519MLKEM768
// first). Session tickets are sealed with keys that Go changes daily and forgets
// after a week; where client certificates are asked for there are none, so that
// an authority that is taken back has no sessions left to resume.
func (c *certificates) config() *tls.Config {
	cfg := c.baseConfig()
	if c.clients != nil {
		cfg.SessionTicketsDisabled = true
		cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.clients.config.Load(), nil
		}
	}
	return cfg
}

func (c *certificates) baseConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		// Objects are taken whole: the small records at the begin of a connection, for
		// browsers that show what has come so far, are only more ciphering and calls.
		DynamicRecordSizingDisabled: true,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return &c.current.Load().tls, nil
		},
	}
}

// describe tells about the certificate in use.
func (c *certificates) describe(mode string) api.TLS {
	cert := c.current.Load()
	leaf := cert.tls.Leaf
	sum := sha256.Sum256(leaf.Raw)
	out := api.TLS{
		Mode:        mode,
		Source:      "auto-generated",
		Subject:     leaf.Subject.String(),
		Names:       slices.Clone(leaf.DNSNames),
		NotBefore:   leaf.NotBefore,
		NotAfter:    leaf.NotAfter,
		Fingerprint: hex.EncodeToString(sum[:]),
		Certificate: string(cert.pem),
	}
	if cert.custom {
		out.Source = "custom"
	}
	switch {
	case c.clients == nil:
	case c.clients.required:
		out.ClientAuth = config.ClientAuthRequired
	default:
		out.ClientAuth = config.ClientAuthOptional
	}
	for _, ip := range leaf.IPAddresses {
		out.Names = append(out.Names, ip.String())
	}
	return out
}

// generate makes the automatic certificate. It is its own authority, so that a
// client that is given it as its CA bundle trusts exactly this server.
func (c *certificates) generate(now time.Time, names []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	dns, ips := hostNames(names)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: dns[0], Organization: []string{"Sluice auto-generated"}},
		NotBefore:             now.Add(-time.Hour), // clients' clocks differ
		NotAfter:              now.Add(autoLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		DNSNames:              dns,
		IPAddresses:           ips,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	both := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	both = append(both, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})...)
	return atomicfile.Replace(c.path("auto"), both)
}

// hostNames returns the names and addresses by which clients may reach this
// host; the first name is the host's own.
func hostNames(extra []string) (dns []string, ips []net.IP) {
	if host, err := os.Hostname(); err == nil && host != "" {
		dns = append(dns, host)
	}
	dns = append(dns, "localhost")
	dns = append(dns, extra...)
	ips = []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return dns, ips
	}
	for _, addr := range addrs {
		if ipn, ok := addr.(*net.IPNet); ok && !ipn.IP.IsLoopback() {
			ips = append(ips, ipn.IP)
		}
	}
	return dns, ips
}
