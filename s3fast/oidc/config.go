package oidc

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
)

// Limits of a Config.
const (
	maxName      = 64
	maxIssuer    = 512
	maxClients   = 16
	maxClientID  = 256
	maxClaim     = 128
	maxCA        = 64 << 10
	maxDocument  = 128 << 10
	defaultClaim = "policy"
)

// configVersion is that of the document below.
const configVersion = 1

// Config is the configuration of a provider. It is stored as a JSON object
// (Encode, ParseConfig), in which no other field may stand:
//
//	v           1
//	name        1…64 of a-z, 0-9 and "-": for people, and in audit records
//	issuer      the issuer: an https URL of at most 512 bytes without query and
//	            fragment, exactly as the provider's tokens have it
//	client_ids  1…16 client IDs of 1…256 bytes: a token's audience must be one
//	claim       the claim that names policies, 1…128 bytes; left out: "policy".
//	            Where a token has no claim of that name and it holds dots, they
//	            lead into objects: "realm_access.roles"
//	ca          certificates in PEM, at most 64 KiB, that the provider's must be
//	            signed by; left out: those that the system trusts
type Config struct {
	Version   int      `json:"v"`
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	ClientIDs []string `json:"client_ids"`
	Claim     string   `json:"claim,omitempty"`
	CA        string   `json:"ca,omitempty"`
}

// ParseConfig decodes and checks a stored document. ErrConfig.
func ParseConfig(doc []byte) (Config, error) {
	var c Config
	if len(doc) > maxDocument {
		return c, fmt.Errorf("%w: larger than %d bytes", ErrConfig, maxDocument)
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%w: text after the document", ErrConfig)
	}
	if c.Version != configVersion {
		return Config{}, fmt.Errorf("%w: version %d", ErrConfig, c.Version)
	}
	return c, c.Check()
}

// Encode returns the document to be stored.
func (c Config) Encode() ([]byte, error) {
	c.Version = configVersion
	if err := c.Check(); err != nil {
		return nil, err
	}
	return json.Marshal(&c)
}

// Check checks everything but Version. ErrConfig: it names the field.
func (c *Config) Check() error {
	if !validName(c.Name) {
		return fmt.Errorf("%w: name: 1 to %d of a-z, 0-9 and -", ErrConfig, maxName)
	}
	if err := checkURL(c.Issuer); err != nil {
		return fmt.Errorf("%w: issuer: %w", ErrConfig, err)
	}
	if len(c.ClientIDs) < 1 || len(c.ClientIDs) > maxClients {
		return fmt.Errorf("%w: client_ids: 1 to %d are needed", ErrConfig, maxClients)
	}
	for _, id := range c.ClientIDs {
		if !printable(id, maxClientID) {
			return fmt.Errorf("%w: client_ids: 1 to %d printable characters each", ErrConfig, maxClientID)
		}
	}
	if c.Claim != "" && !printable(c.Claim, maxClaim) {
		return fmt.Errorf("%w: claim: 1 to %d printable characters", ErrConfig, maxClaim)
	}
	if c.CA == "" {
		return nil
	}
	if len(c.CA) > maxCA || !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CA)) {
		return fmt.Errorf("%w: ca: at most %d bytes of PEM that hold a certificate", ErrConfig, maxCA)
	}
	return nil
}

func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// printable tells whether s is 1…max bytes of printable ASCII without spaces.
func printable(s string, max int) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return s != "" && len(s) <= max
}

var errURL = errors.New("an https URL without user, query and fragment is needed")

// checkURL accepts what may be asked for keys.
func checkURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxIssuer || !printable(s, maxIssuer) || u.Scheme != "https" || u.Host == "" ||
		u.User != nil || u.Opaque != "" || strings.ContainsAny(s, "?#") {
		return errURL
	}
	return nil
}
