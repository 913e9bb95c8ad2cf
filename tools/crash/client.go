package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/s3fast/sigv4"
)

const (
	unsigned   = "UNSIGNED-PAYLOAD"
	emptyHash  = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	region     = "us-east-1"
	maxAnswer  = 8 << 20          // bytes of an answer that is no object
	requestMax = 60 * time.Second // longest that a request may take
	signedMax  = 96 << 10         // bytes up to which bodies are hashed for the signature
)

// errGone wraps a request's failure on the connection: its outcome is unknown.
var errGone = errors.New("connection failed")

// client sends signed requests over plain HTTP. Safe for concurrent use.
type client struct {
	http              *http.Client
	host              string // HOST:PORT
	bucket            string
	accessKey, secret string
	// stopping reports whether the daemon is being ended: then it may refuse
	// service, and the outcome is called unknown.
	stopping func() bool
	// repeats is how often a write is tried again that the daemon could not do, as
	// every S3 client does: one that loses its second drive while it runs has too few.
	repeats  int
	repeated atomic.Int64
}

func newClient(host, bucket, accessKey, secret string, conns int, stopping func() bool) *client {
	return &client{
		host: host, bucket: bucket, accessKey: accessKey, secret: secret, stopping: stopping,
		http: &http.Client{
			Timeout: requestMax,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
				MaxIdleConns:        conns,
				MaxIdleConnsPerHost: conns,
				DisableCompression:  true,
				WriteBufferSize:     64 << 10,
				ReadBufferSize:      64 << 10,
			},
		},
	}
}

// call is one request. The zero body is empty.
type call struct {
	method string
	key    string // "": the bucket
	query  url.Values
	header map[string]string
	body   content
	raw    []byte // instead of body
}

// reply is an answer read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r *reply) etag() string { return strings.Trim(r.header.Get("ETag"), `"`) }

// code is the S3 error code of an error document, or "".
func (r *reply) code() string {
	var doc struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
	}
	if xml.Unmarshal(r.body, &doc) != nil {
		return ""
	}
	return doc.Code
}

// unexpected is the violation of an answer that the protocol or the model rules out.
func (r *reply) unexpected(c *call) error {
	return violate("%s %s?%s was answered %d: %.600s", c.method, c.key, c.query.Encode(), r.status, r.body)
}

// do sends c and reads the answer. It fails with errGone alone.
func (cl *client) do(c *call) (*reply, error) {
	resp, err := cl.open(c)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%w: %s %s: %w", errGone, c.method, c.key, err)
	}
	return &reply{resp.StatusCode, resp.Header, text}, nil
}

// open sends c and returns the answer with its body unread.
func (cl *client) open(c *call) (*http.Response, error) {
	for tries := 0; ; tries++ {
		resp, err := cl.once(c)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || tries == cl.repeats ||
			c.method == http.MethodGet || c.method == http.MethodHead {
			return resp, err
		}
		if err := resp.Body.Close(); err != nil {
			return nil, fmt.Errorf("%w: %w", errGone, err)
		}
		cl.repeated.Add(1)
		time.Sleep(time.Duration(tries+1) * 100 * time.Millisecond)
	}
}

func (cl *client) once(c *call) (*http.Response, error) {
	req, err := cl.request(c)
	if err != nil {
		return nil, err
	}
	resp, err := cl.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	if resp.StatusCode == http.StatusServiceUnavailable && cl.stopping() {
		return nil, errors.Join(fmt.Errorf("%w: refused, as the daemon stops", errGone), resp.Body.Close())
	}
	return resp, nil
}

func (cl *client) request(c *call) (*http.Request, error) {
	path := "/" + cl.bucket
	if c.key != "" {
		path += "/" + c.key
	}
	u := &url.URL{Scheme: "http", Host: cl.host, Path: path, RawPath: encodePath(path), RawQuery: encodeQuery(c.query)}
	size, hash := int64(len(c.raw)), emptyHash
	var body io.Reader = http.NoBody
	switch {
	case len(c.raw) > 0:
		body, hash = bytes.NewReader(c.raw), hexSHA256(c.raw)
	case c.body.size() > signedMax:
		size, hash = c.body.size(), unsigned
		body = c.body.reader(0, size)
	case c.body.size() > 0:
		b := c.body.bytes()
		size, hash = int64(len(b)), hexSHA256(b)
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(c.method, "", body)
	if err != nil {
		return nil, err
	}
	req.URL, req.Host, req.ContentLength = u, cl.host, size
	req.GetBody = nil // no silent second attempt of a write
	for name, v := range c.header {
		req.Header.Set(name, v)
	}
	if c.stores() && rand.IntN(2) == 0 {
		req.Header.Set("x-amz-server-side-encryption", "AES256") // ETags stay MD5s
	}
	for name, v := range sigv4.Sign(view{req}, cl.accessKey, cl.secret, region, "s3", hash, time.Now()) {
		req.Header.Set(name, v)
	}
	return req, nil
}

// stores reports whether the call says how an object is to be kept.
func (c *call) stores() bool {
	return c.method == "PUT" && c.key != "" && !c.query.Has("partNumber") || c.method == "POST" && c.query.Has("uploads")
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// encodePath encodes all but unreserved characters and slashes, as SigV4 has it.
func encodePath(path string) string {
	var b strings.Builder
	for i := range len(path) {
		c := path[i]
		if c == '/' || c == '-' || c == '.' || c == '_' || c == '~' ||
			'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func encodeQuery(q url.Values) string { return strings.ReplaceAll(q.Encode(), "+", "%20") }

// view shows a request to the signer.
type view struct{ r *http.Request }

func (v view) Method() string            { return v.r.Method }
func (v view) RawPath() string           { return v.r.URL.EscapedPath() }
func (v view) RawQuery() string          { return v.r.URL.RawQuery }
func (v view) Host() string              { return v.r.Host }
func (v view) Header(name string) string { return v.r.Header.Get(name) }

func (v view) Headers(fn func(name, value string)) {
	for name, values := range v.r.Header {
		for _, value := range values {
			fn(strings.ToLower(name), value)
		}
	}
}
