package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pairOf splits a certificate's file into chain and key.
func pairOf(t *testing.T, path string) (chain, key []byte) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			chain = append(chain, pem.EncodeToMemory(block)...)
		} else {
			key = pem.EncodeToMemory(block)
		}
	}
	return chain, key
}

func TestAutoCertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	now := time.Now()
	c, err := openCertificates(dir, now, []string{"s3.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(c.path("auto"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: the file holds the private key", st.Mode(), err)
	}
	cert := c.current.Load()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(cert.pem) || strings.Contains(string(cert.pem), "PRIVATE") {
		t.Fatal("the public part is not one certificate")
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "s3.example.com"} {
		opts := x509.VerifyOptions{DNSName: name, Roots: pool, CurrentTime: now.Add(9 * 365 * 24 * time.Hour)}
		if _, err := cert.tls.Leaf.Verify(opts); err != nil {
			t.Errorf("as its own authority, for %s: %v", name, err)
		}
	}
	again, err := openCertificates(dir, now, nil)
	if err != nil || again.describe("auto").Fingerprint != c.describe("auto").Fingerprint {
		t.Errorf("not kept across restarts: %v", err)
	}
	if d := c.describe("auto"); d.Source != "auto-generated" || d.Mode != "auto" || len(d.Names) < 4 || len(d.Fingerprint) != 64 {
		t.Errorf("%+v", d)
	}
	// A crash while it was being made leaves a temporary file.
	crashed := filepath.Join(t.TempDir(), "tls")
	os.MkdirAll(crashed, 0o700)
	os.WriteFile(filepath.Join(crashed, "auto.pem.tmp"), []byte("half"), 0o600)
	if _, err := openCertificates(crashed, now, nil); err != nil {
		t.Errorf("after a crash: %v", err)
	}
}

func TestCustomCertificate(t *testing.T) {
	now := time.Now()
	c, err := openCertificates(t.TempDir(), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := openCertificates(t.TempDir(), now, []string{"other.example"})
	if err != nil {
		t.Fatal(err)
	}
	old, err := openCertificates(t.TempDir(), now.Add(-11*365*24*time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	auto := c.describe("auto").Fingerprint
	chain, key := pairOf(t, other.path("auto"))
	oldChain, oldKey := pairOf(t, old.path("auto"))
	for name, bad := range map[string][2][]byte{
		"empty":         {nil, nil},
		"junk":          {[]byte("junk"), []byte("junk")},
		"other's key":   {chain, oldKey},
		"expired":       {oldChain, oldKey},
		"key as chain":  {key, key},
		"chain as key":  {chain, chain},
		"without a key": {chain, nil},
	} {
		if err := c.set(bad[0], bad[1], now); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if c.describe("auto").Fingerprint != auto {
		t.Error("a refused certificate is in use")
	}
	if err := c.set(chain, key, now); err != nil {
		t.Fatal(err)
	}
	if d := c.describe("required"); d.Source != "custom" || d.Fingerprint == auto || !strings.Contains(strings.Join(d.Names, " "), "other.example") {
		t.Errorf("%+v", d)
	}
	again, err := openCertificates(c.dir, now, nil)
	if err != nil || again.describe("auto").Source != "custom" {
		t.Errorf("not kept across restarts: %v", err)
	}
	got, err := c.config().GetCertificate(&tls.ClientHelloInfo{})
	if err != nil || got.Leaf.VerifyHostname("other.example") != nil {
		t.Errorf("connections do not get it: %v", err)
	}
	if err := c.unset(); err != nil || c.describe("auto").Fingerprint != auto {
		t.Errorf("back to the automatic one: %v", err)
	}
	if err := c.unset(); err != nil {
		t.Errorf("unset twice: %v", err)
	}
}
