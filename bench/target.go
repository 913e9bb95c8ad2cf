package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// target is a server under test and how to sign for it.
type target struct {
	addr      string // host:port to dial
	host      string // the Host header
	tls       *tls.Config
	accessKey string
	secret    string
	region    string
	pid       int // its process; 0: unknown, nothing is read from /proc
}

// newTarget takes "http://host:port" or "https://host:port". caFile is the
// certificate to trust ("": the system's).
func newTarget(endpoint, caFile string) (*target, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	if u.Hostname() == "" || u.Path != "" {
		return nil, fmt.Errorf("endpoint %q: want http[s]://host[:port]", endpoint)
	}
	t := &target{addr: u.Host, host: u.Host}
	switch u.Scheme {
	case "http":
		if u.Port() == "" {
			t.addr += ":80"
		}
		return t, nil
	case "https":
		if u.Port() == "" {
			t.addr += ":443"
		}
	default:
		return nil, fmt.Errorf("endpoint %q: want http or https", endpoint)
	}
	t.tls = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, err
		}
		t.tls.RootCAs = x509.NewCertPool()
		if !t.tls.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("no certificate in " + caFile)
		}
	}
	return t, nil
}

func (t *target) scheme() string {
	if t.tls != nil {
		return "https"
	}
	return "http"
}

// request is one S3 request. Names need no escaping: bench makes them of
// letters, digits, '/', '.' and '-'.
type request struct {
	method string
	path   string // "/bucket/key"
	query  string
	seed   uint64 // of the content, sent by PUT and expected by GET
	size   int64  // of the content; -1: an answer of any content
	off    int64  // where in the object the content begins: of a part or a range
	ranged bool   // GET: only size bytes from off
	body   []byte // POST: what is sent

	encrypted bool // PUT: to be stored encrypted (SSE-S3)
}

// encryptHeader asks for SSE-S3.
const encryptHeader, encryptValue = "x-amz-server-side-encryption", "AES256"

// signable shows a request to sigv4.
type signable struct {
	*request
	host string
}

func (s signable) Method() string   { return s.method }
func (s signable) RawPath() string  { return s.path }
func (s signable) RawQuery() string { return s.query }
func (s signable) Host() string     { return s.host }

func (s signable) Header(name string) string {
	if s.encrypted && name == encryptHeader {
		return encryptValue
	}
	return ""
}

func (s signable) Headers(fn func(name, value string)) {
	if s.encrypted {
		fn(encryptHeader, encryptValue)
	}
}

// head returns the request line and headers, signed as the SDKs sign over TLS:
// in headers, with an unsigned payload.
func (t *target) head(r *request, now time.Time) []byte {
	b := make([]byte, 0, 640)
	b = append(append(append(b, r.method...), ' '), r.path...)
	if r.query != "" {
		b = append(append(b, '?'), r.query...)
	}
	b = append(append(b, " HTTP/1.1\r\nhost: "...), t.host...)
	signed := sigv4.Sign(signable{r, t.host}, t.accessKey, t.secret, t.region, "s3", "UNSIGNED-PAYLOAD", now)
	for name, value := range signed {
		b = append(append(append(append(b, "\r\n"...), name...), ": "...), value...)
	}
	if r.encrypted {
		b = append(b, "\r\n"+encryptHeader+": "+encryptValue...)
	}
	switch r.method {
	case "PUT":
		b = strconv.AppendInt(append(b, "\r\ncontent-length: "...), r.size, 10)
	case "POST":
		b = strconv.AppendInt(append(b, "\r\ncontent-length: "...), int64(len(r.body)), 10)
	}
	return append(b, "\r\n\r\n"...)
}

// presigned returns the path and query of a presigned URL that is good for an
// hour.
func (t *target) presigned(r *request, now time.Time) string {
	return r.path + "?" + sigv4.Presign(signable{r, t.host}, t.accessKey, t.secret, t.region, "s3", time.Hour, now)
}
