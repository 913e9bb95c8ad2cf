package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	// documentMax bounds a document of a provider, in bytes.
	documentMax = 512 << 10
	// keysMax bounds the keys that are kept of a key set.
	keysMax = 64
	// rsaMin and rsaMax bound RSA keys, in bits: RFC 7518, section 3.3, asks for
	// the one; the other bounds the time that a verification takes.
	rsaMin, rsaMax = 2048, 8192
)

// client returns the HTTP client of a provider. It follows no redirect: the
// issuer is an address, and what it does not answer is not from it.
func (c *Config) client() *http.Client {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		conf.RootCAs.AppendCertsFromPEM([]byte(c.CA))
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: conf,
			// Requests are minutes apart.
			DisableKeepAlives:      true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// get fetches a JSON document into v.
func (p *Provider) get(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, documentMax+1))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", url, err)
	case len(body) > documentMax:
		return fmt.Errorf("%s: more than %d bytes", url, documentMax)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// fetch asks the provider for its keys (OpenID Connect Discovery 1.0, section 4).
func (p *Provider) fetch() (*keySet, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	var about struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if err := p.get(ctx, strings.TrimSuffix(p.cfg.Issuer, "/")+"/.well-known/openid-configuration", &about); err != nil {
		return nil, err
	}
	if about.Issuer != p.cfg.Issuer {
		return nil, errors.New("the provider's configuration names another issuer")
	}
	if !strings.HasPrefix(about.Keys, "https://") || !printable(about.Keys, 2048) {
		return nil, errors.New("the provider's jwks_uri is no https URL")
	}
	var list struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := p.get(ctx, about.Keys, &list); err != nil {
		return nil, err
	}
	set := &keySet{at: p.now()}
	for _, raw := range list.Keys {
		if k, ok := parseKey(raw); ok && len(set.keys) < keysMax {
			set.keys = append(set.keys, k)
		}
	}
	if len(set.keys) == 0 {
		return nil, errors.New("the provider publishes no key that can be used")
	}
	return set, nil
}

// parseKey decodes a JSON Web Key (RFC 7517). Keys of other kinds, and for other
// uses, are no error: they are not for us.
func parseKey(raw []byte) (jose.JSONWebKey, bool) {
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(raw); err != nil || !k.IsPublic() || k.Use != "" && k.Use != "sig" {
		return k, false
	}
	k.Certificates = nil
	return k, len(algorithms(k.Key)) > 0
}

// algorithms are those that a key may be used with.
func algorithms(key any) []jose.SignatureAlgorithm {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= rsaMin && n <= rsaMax {
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}

// keySet are the keys that a provider published at a time. It is immutable.
type keySet struct {
	keys []jose.JSONWebKey
	at   time.Time
}
