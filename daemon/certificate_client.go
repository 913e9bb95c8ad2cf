package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/sluicehq/sluice/daemon/config"
)

// clientCerts has clients show a certificate of one of the authorities in a PEM
// file. That is one more gate before the signature, which alone tells who the
// client is.
type clientCerts struct {
	file     string
	required bool
	base     func() *tls.Config
	config   atomic.Pointer[tls.Config] // of new connections
}

// askClients makes c ask for client certificates as cfg says.
func (c *certificates) askClients(cfg *config.Config) error {
	if cfg.TLSClientAuth == config.ClientAuthOff {
		return nil
	}
	clients := &clientCerts{
		file: cfg.TLSClientCA, required: cfg.TLSClientAuth == config.ClientAuthRequired, base: c.baseConfig,
	}
	if err := clients.load(); err != nil {
		return err
	}
	c.clients = clients
	return nil
}

// load reads the authorities. On an error those in use stay.
func (c *clientCerts) load() error {
	data, err := os.ReadFile(c.file)
	if err != nil {
		return fmt.Errorf("client authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return fmt.Errorf("client authorities: no certificate in %s", c.file)
	}
	cfg := c.base()
	cfg.SessionTicketsDisabled = true
	cfg.ClientCAs = pool
	cfg.ClientAuth = tls.VerifyClientCertIfGiven
	if c.required {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	c.config.Store(cfg)
	return nil
}
