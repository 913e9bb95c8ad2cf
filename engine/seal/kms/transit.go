package kms

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Bounds of Transit.
const (
	defaultMount   = "transit"
	tryTimeout     = 5 * time.Second // of one HTTP request
	tries          = 4               // of a request that fails for reasons that pass
	firstBackOff   = 100 * time.Millisecond
	backOffFactor  = 4
	maxAnswer      = 64 << 10 // bytes of an answer
	maxTokenFile   = 64 << 10 // bytes
	maxRedirects   = 3        // a standby server sends to the active one
	maxErrorText   = 200      // bytes of a server's message that are passed on
	transitBinding = 1        // version of the binding in front of a wrapped key
)

// TransitConfig says where the transit engine is. Address and Key are needed.
type TransitConfig struct {
	Address   string // https://host:port; http only for the loopback interface
	Mount     string // path of the engine; "": transit
	Key       string // name of the default key
	Namespace string // of Vault Enterprise or OpenBao; "": none
	TokenFile string // read for every request, so that an agent may renew it
	Token     string // where there is no TokenFile
	CAFile    string // PEM certificates to trust instead of the system's
}

// Transit wraps by the transit engine of a server that speaks the HTTP API of
// HashiCorp Vault (Vault 1.x, OpenBao).
//
// The API's own additional data (associated_data) are not used: its rewrap
// endpoint does not take them. Instead what is encrypted is
//
//	offset  bytes  what
//	0       1      version: 1
//	1       32     SHA-256 of the aad
//	33      n      the n bytes wrapped
//
// which the cipher authenticates as a whole, and the server can rewrap. The aad
// also goes along as context, which matters for keys made with derived=true. A
// wrapped key is the server's ciphertext, "vault:v1:…".
type Transit struct {
	cfg  TransitConfig
	base string
	http *http.Client
	// backOff is the pause before the second try.
	backOff time.Duration
}

var _ KMS = (*Transit)(nil)

// NewTransit checks the configuration. It does not connect. Errors tell what is
// wrong with it.
func NewTransit(cfg TransitConfig) (*Transit, error) {
	if cfg.Mount = strings.Trim(cfg.Mount, "/"); cfg.Mount == "" {
		cfg.Mount = defaultMount
	}
	if err := CheckName(cfg.Key); err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(cfg.Mount, "/") {
		if err := CheckName(part); err != nil {
			return nil, fmt.Errorf("kms: mount path %q: each part is a name like a key's", cfg.Mount)
		}
	}
	u, err := url.Parse(cfg.Address)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("kms: address %q: want https://HOST:PORT", cfg.Address)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		return nil, fmt.Errorf("kms: address %q: want https (http only for the loopback interface: token and keys pass in the clear)", cfg.Address)
	}
	if strings.ContainsAny(cfg.Token+cfg.Namespace, "\r\n") {
		return nil, errors.New("kms: token or namespace with a line break")
	}
	roots, err := readRoots(cfg.CAFile)
	if err != nil {
		return nil, err
	}
	return &Transit{
		cfg:  cfg,
		base: strings.TrimRight(u.String(), "/") + "/v1/" + cfg.Mount + "/",
		http: &http.Client{
			Timeout:       tryTimeout,
			CheckRedirect: checkRedirect,
			Transport: &http.Transport{
				TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				DialContext:            (&net.Dialer{Timeout: tryTimeout}).DialContext,
				ForceAttemptHTTP2:      true,
				MaxIdleConns:           2,
				IdleConnTimeout:        30 * time.Second,
				MaxResponseHeaderBytes: maxAnswer,
			},
		},
		backOff: firstBackOff,
	}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // the system's
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("kms: CA file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("kms: CA file %s: no PEM certificate in it", file)
	}
	return roots, nil
}

// checkRedirect keeps the token and keys, which net/http sends along, off the open
// wire: also a server on the loopback interface may send on to another host.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errors.New("too many redirects")
	}
	if req.URL.Scheme != "https" && (via[0].URL.Scheme == "https" || !loopback(req.URL.Hostname())) {
		return fmt.Errorf("redirect from %s to http", via[0].URL.Scheme)
	}
	return nil
}

// token returns the token for one request.
func (t *Transit) token() (string, error) {
	if t.cfg.TokenFile == "" {
		return t.cfg.Token, nil
	}
	f, err := os.Open(t.cfg.TokenFile)
	if err != nil {
		return "", fmt.Errorf("%w: token file: %w", ErrDenied, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("%w: token file: %w", ErrDenied, err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return "", fmt.Errorf("%w: token file %s holds no token", ErrDenied, t.cfg.TokenFile)
	}
	return token, nil
}

// DefaultKey implements KMS.
func (t *Transit) DefaultKey() string { return t.cfg.Key }

// Wrap implements KMS. A server may make a key that it does not know when it is
// told to encrypt by it, so the key is looked for first, if that is permitted.
func (t *Transit) Wrap(ctx context.Context, name string, plain, aad []byte) ([]byte, error) {
	if len(plain) > maxPlain {
		return nil, fmt.Errorf("kms: %d bytes are too many to wrap", len(plain))
	}
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if _, err := t.call(ctx, http.MethodGet, "keys/"+name, nil, tries); err != nil && !errors.Is(err, ErrDenied) {
		return nil, err
	}
	return t.encrypt(ctx, name, plain, aad, tries)
}

func (t *Transit) encrypt(ctx context.Context, name string, plain, aad []byte, tries int) ([]byte, error) {
	sum := sha256.Sum256(aad)
	bound := make([]byte, 0, 1+len(sum)+len(plain))
	bound = append(bound, transitBinding)
	bound = append(bound, sum[:]...)
	bound = append(bound, plain...)
	defer clear(bound)
	out, err := t.call(ctx, http.MethodPost, "encrypt/"+name, &transitBody{
		Plaintext: base64.StdEncoding.EncodeToString(bound),
		Context:   base64.StdEncoding.EncodeToString(aad),
	}, tries)
	if err != nil {
		return nil, err
	}
	return checkCiphertext(out.Ciphertext)
}

// ciphertextForm is what the API's ciphertexts look like.
var ciphertextForm = regexp.MustCompile(`^vault:v([0-9]{1,9}):[A-Za-z0-9+/=]+$`)

func checkCiphertext(s string) ([]byte, error) {
	if !ciphertextForm.MatchString(s) {
		return nil, fmt.Errorf("%w: the server's answer holds no ciphertext", ErrUnavailable)
	}
	return []byte(s), nil
}

// Unwrap implements KMS.
func (t *Transit) Unwrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	return t.decrypt(ctx, name, wrapped, aad, tries)
}

func (t *Transit) decrypt(ctx context.Context, name string, wrapped, aad []byte, tries int) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if !ciphertextForm.Match(wrapped) {
		return nil, fmt.Errorf("%w: it was not wrapped by a transit engine", ErrUnwrap)
	}
	out, err := t.call(ctx, http.MethodPost, "decrypt/"+name, &transitBody{
		Ciphertext: string(wrapped),
		Context:    base64.StdEncoding.EncodeToString(aad),
	}, tries)
	if err != nil {
		return nil, err
	}
	bound, err := base64.StdEncoding.DecodeString(out.Plaintext)
	sum := sha256.Sum256(aad)
	if err != nil || len(bound) < 1+len(sum) || bound[0] != transitBinding ||
		subtle.ConstantTimeCompare(bound[1:1+len(sum)], sum[:]) != 1 {
		return nil, fmt.Errorf("%w (key %q of %s): it is another use's", ErrUnwrap, name, t.cfg.Address)
	}
	return bound[1+len(sum):], nil
}

// Rewrap implements KMS.
func (t *Transit) Rewrap(ctx context.Context, name string, wrapped, aad []byte) ([]byte, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if !ciphertextForm.Match(wrapped) {
		return nil, fmt.Errorf("%w: it was not wrapped by a transit engine", ErrUnwrap)
	}
	out, err := t.call(ctx, http.MethodPost, "rewrap/"+name, &transitBody{
		Ciphertext: string(wrapped),
		Context:    base64.StdEncoding.EncodeToString(aad),
	}, tries)
	if err != nil {
		return nil, err
	}
	return checkCiphertext(out.Ciphertext)
}

// Create implements KMS.
func (t *Transit) Create(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	_, err := t.call(ctx, http.MethodPost, "keys/"+name, &transitBody{Type: "aes256-gcm96"}, tries)
	return err
}

// Rotate implements KMS. A rotation whose answer was lost is asked for again,
// and so may make two versions; that does no harm.
func (t *Transit) Rotate(ctx context.Context, name string) (int, error) {
	if err := CheckName(name); err != nil {
		return 0, err
	}
	if _, err := t.call(ctx, http.MethodPost, "keys/"+name+"/rotate", &transitBody{}, tries); err != nil {
		return 0, err
	}
	out, err := t.call(ctx, http.MethodGet, "keys/"+name, nil, tries)
	if errors.Is(err, ErrDenied) {
		return 0, nil // it may rotate but not look
	}
	return out.LatestVersion, err
}

// Status implements KMS: it wraps and unwraps a probe.
func (t *Transit) Status(ctx context.Context) Status {
	s := Status{Backend: "vault", Address: t.cfg.Address, Key: t.cfg.Key}
	probe, use := []byte("sluice probe"), []byte("sluice/status")
	_, err := t.call(ctx, http.MethodGet, "keys/"+t.cfg.Key, nil, 1)
	if err == nil || errors.Is(err, ErrDenied) {
		var wrapped []byte
		if wrapped, err = t.encrypt(ctx, t.cfg.Key, probe, use, 1); err == nil {
			if m := ciphertextForm.FindSubmatch(wrapped); m != nil {
				s.Version, _ = strconv.Atoi(string(m[1])) // the form has digits there
			}
			_, err = t.decrypt(ctx, t.cfg.Key, wrapped, use, 1)
		}
	}
	if err != nil {
		s.Error = err.Error()
		return s
	}
	s.Healthy = true
	return s
}
