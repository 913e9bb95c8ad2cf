package audit

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/sluicehq/sluice/engine/seal"
)

// Modes of batches: how the events of one POST stand in its body.
const (
	ModeLines = "lines" // one JSON object per line
	ModeArray = "array" // one JSON array
	ModeOff   = "off"   // one event per POST
)

// Bounds of a configuration.
const (
	maxEndpoint = 2 << 10   // bytes
	maxToken    = 4 << 10   // bytes
	maxCA       = 256 << 10 // bytes
	maxDocument = 1 << 20   // bytes

	MinCount, MaxCount     = 1, 10_000
	MinBytes, MaxBytes     = 4 << 10, 8 << 20
	MinLinger, MaxLinger   = 10 * time.Millisecond, time.Minute
	MinTimeout, MaxTimeout = time.Second, 2 * time.Minute
	MinSpool, MaxSpool     = 1 << 20, 64 << 30
)

// ErrConfig: a configuration is out of bounds or malformed.
var ErrConfig = errors.New("audit")

// Config is the configuration of the webhook.
type Config struct {
	Enabled  bool
	Endpoint string // http:// or https:// URL, without user and password
	Token    string // value of the Authorization header, sent as given; "": none
	CA       string // PEM of the certificates that https is checked with; "": the system's
	Batch    Batch
}

// Batch says how events are gathered.
type Batch struct {
	Mode string // ModeLines, ModeArray or ModeOff
	// Count and Bytes are how many events, and bytes of JSON, one POST has at
	// most. A single event may be longer than Bytes.
	Count int
	Bytes int
	// Linger is how long an event waits for others before it is written to the
	// spool and synced: it is the time that a crash of the daemon may take away.
	Linger  time.Duration
	Timeout time.Duration // of one POST, answer included
	Spool   int64         // bytes of events that wait on disk at most
}

// DefaultBatch is what holds where nothing else was configured.
func DefaultBatch() Batch {
	return Batch{Mode: ModeLines, Count: 500, Bytes: 1 << 20, Linger: time.Second, Timeout: 10 * time.Second, Spool: 256 << 20}
}

// Check tells what is wrong with a configuration. ErrConfig.
func (c *Config) Check() error {
	if err := c.Batch.check(); err != nil {
		return err
	}
	if !c.Enabled && c.Endpoint == "" {
		return nil
	}
	if len(c.Endpoint) > maxEndpoint {
		return fmt.Errorf("%w: the endpoint is longer than %d bytes", ErrConfig, maxEndpoint)
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: the endpoint must be a URL that begins with http:// or https:// and names a host", ErrConfig)
	}
	if u.User != nil {
		return fmt.Errorf("%w: the endpoint must not hold a user and password: use the token", ErrConfig)
	}
	if u.Fragment != "" {
		return fmt.Errorf("%w: the endpoint must not have a fragment (#…)", ErrConfig)
	}
	if len(c.Token) > maxToken {
		return fmt.Errorf("%w: the token is longer than %d bytes", ErrConfig, maxToken)
	}
	for i := range len(c.Token) {
		if c.Token[i] < 0x20 || c.Token[i] > 0x7e {
			return fmt.Errorf("%w: the token holds characters that no header may have", ErrConfig)
		}
	}
	return c.checkCA()
}

func (c *Config) checkCA() error {
	if c.CA == "" {
		return nil
	}
	if len(c.CA) > maxCA {
		return fmt.Errorf("%w: the CA certificates are longer than %d bytes", ErrConfig, maxCA)
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CA)) {
		return fmt.Errorf("%w: the CA file holds no certificate in PEM form", ErrConfig)
	}
	return nil
}

func (b *Batch) check() error {
	if b.Mode != ModeLines && b.Mode != ModeArray && b.Mode != ModeOff {
		return fmt.Errorf("%w: batch mode %q: use %s, %s or %s", ErrConfig, cut(b.Mode, 64), ModeLines, ModeArray, ModeOff)
	}
	for _, v := range [...]struct {
		what          string
		got, min, max int64
		unit          time.Duration
	}{
		{"events per batch", int64(b.Count), MinCount, MaxCount, 0},
		{"bytes per batch", int64(b.Bytes), MinBytes, MaxBytes, 0},
		{"batch time", int64(b.Linger), int64(MinLinger), int64(MaxLinger), 1},
		{"timeout", int64(b.Timeout), int64(MinTimeout), int64(MaxTimeout), 1},
		{"spool size", b.Spool, MinSpool, MaxSpool, 0},
	} {
		if v.got >= v.min && v.got <= v.max {
			continue
		}
		if v.unit != 0 {
			return fmt.Errorf("%w: %s %s is not between %s and %s", ErrConfig, v.what, time.Duration(v.got), time.Duration(v.min), time.Duration(v.max))
		}
		return fmt.Errorf("%w: %s %d is not between %d and %d", ErrConfig, v.what, v.got, v.min, v.max)
	}
	return nil
}

// ShowEndpoint is the endpoint as it may be shown: secrets in its query masked.
func (c *Config) ShowEndpoint() string {
	before, query, ok := strings.Cut(c.Endpoint, "?")
	if !ok {
		return before
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		if name, _, has := strings.Cut(part, "="); has && Secret(name) {
			parts[i] = name + "=" + masked
		}
	}
	return before + "?" + strings.Join(parts, "&")
}

// document is the stored form of Config: JSON, durations in nanoseconds, the
// token a box of package seal (base64 in JSON) with the context tokenContext.
type document struct {
	Version  int    `json:"version"` // 1
	Enabled  bool   `json:"enabled"`
	Endpoint string `json:"endpoint,omitempty"`
	Token    []byte `json:"sealed_token,omitempty"`
	CA       string `json:"ca_pem,omitempty"`
	Mode     string `json:"batch_mode"`
	Count    int    `json:"batch_count"`
	Bytes    int    `json:"batch_bytes"`
	Linger   int64  `json:"batch_nanoseconds"`
	Timeout  int64  `json:"timeout_nanoseconds"`
	Spool    int64  `json:"spool_bytes"`
}

const (
	documentVersion = 1
	tokenContext    = "audit/webhook/token"
)

// Marshal returns the document of c, its token sealed by key.
func (c *Config) Marshal(key *seal.Key) ([]byte, error) {
	d := document{
		Version: documentVersion, Enabled: c.Enabled, Endpoint: c.Endpoint, CA: c.CA,
		Mode: c.Batch.Mode, Count: c.Batch.Count, Bytes: c.Batch.Bytes, Spool: c.Batch.Spool,
		Linger: int64(c.Batch.Linger), Timeout: int64(c.Batch.Timeout),
	}
	if c.Token != "" {
		d.Token = key.Seal(tokenContext, []byte(c.Token))
	}
	return json.Marshal(d)
}

// Unmarshal reads a document. Errors: ErrConfig, seal.ErrOpen.
func Unmarshal(data []byte, key *seal.Key) (Config, error) {
	var d document
	if len(data) > maxDocument {
		return Config{}, fmt.Errorf("%w: the document is longer than %d bytes", ErrConfig, maxDocument)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return Config{}, fmt.Errorf("%w: malformed document: %w", ErrConfig, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Config{}, fmt.Errorf("%w: malformed document: more than one value", ErrConfig)
	}
	if d.Version != documentVersion {
		return Config{}, fmt.Errorf("%w: document of version %d, this daemon knows %d", ErrConfig, d.Version, documentVersion)
	}
	c := Config{
		Enabled: d.Enabled, Endpoint: d.Endpoint, CA: d.CA,
		Batch: Batch{Mode: d.Mode, Count: d.Count, Bytes: d.Bytes, Spool: d.Spool,
			Linger: time.Duration(d.Linger), Timeout: time.Duration(d.Timeout)},
	}
	if len(d.Token) > 0 {
		token, err := key.Open(tokenContext, d.Token)
		if err != nil {
			return Config{}, fmt.Errorf("audit: the webhook's token: %w", err)
		}
		c.Token = string(token)
	}
	return c, c.Check()
}
