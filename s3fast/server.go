package s3fast

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/semaphore"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/seal/keyring"
	"github.com/sluicehq/sluice/s3fast/audit"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/oidc"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// Cluster is what the frontend must know of the cluster. It is immutable;
// changes come as a new value.
type Cluster struct {
	Name    string
	Domains []string // base domains of virtual-host style requests, lower-case
	// Encrypted: objects are encrypted (SSE-S3) unless the request or the bucket
	// asks for something else.
	Encrypted bool
	// What holds for buckets of each type that chose nothing themselves; see
	// Cluster.PerformanceOf.
	StandardBuckets, PerformanceBuckets Performance
}

// Config of New.
type Config struct {
	Engine  *engine.Engine
	IAM     *iam.Manager
	Cluster func() *Cluster // nil result: no cluster yet, S3 answers 503
	Region  string          // default "us-east-1"
	// Service answers paths below "/-/" (health, metrics).
	Service func(ctx *fasthttp.RequestCtx)

	StallTimeout time.Duration // a body that yields no byte for so long ends in RequestTimeout; default 30 s
	IdleTimeout  time.Duration // keep-alive; default 120 s
	MaxConns     int           // default 65,536
	MaxRequests  int           // requests in flight beyond which SlowDown is answered; default 4,096
	MaxClockSkew time.Duration // default 15 min
	Logger       *slog.Logger
	Now          func() time.Time

	OIDC func() *oidc.Set // providers of web identities, now; nil: none

	Audit  audit.Sink    // nil: requests are not audited
	Keys   *keyring.Ring // nil: no encryption at rest (SSE-C needs none)
	Limits *Limits       // nil: no limits per user
	// Memory tells what share of the engine's I/O buffers is on loan, 0 to 1;
	// nil: nothing is known. It is asked for while slow clients are served.
	Memory func() float64

	// PlainKeys: customers' keys (SSE-C) are taken over connections without TLS,
	// because it ends in front of this server. S3 refuses them.
	PlainKeys bool

	// TrustedProxies are the addresses whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// HSTS is the max-age of Strict-Transport-Security on answers over TLS, in
	// whole seconds (RFC 6797); 0: it is not sent. For endpoints without plain HTTP.
	HSTS time.Duration
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("s3fast: server closed")

const (
	// readBuffer bounds the request line with the header block (S3 allows 8 KB
	// of headers, and presigned requests carry a session token besides). Every
	// open connection holds one such buffer, idle ones too.
	readBuffer = 16 << 10
	// writeBuffer takes a small object with its headers, so that they go out in
	// one write. A connection has one only while it is answered.
	writeBuffer = 16 << 10
	// abortWait is how long Shutdown waits for handlers after it has closed
	// their connections and cancelled their context.
	abortWait = 2 * time.Second
)

// Server is the S3 frontend.
type Server struct {
	cfg      Config
	http     *fasthttp.Server
	verifier *sigv4.Verifier
	sts      *sigv4.Verifier // for the service sts
	routes   *routes
	hostID   string // x-amz-id-2
	metrics  *metrics
	tokens   tokens
	settings settingsCache
	hsts     string              // value of Strict-Transport-Security, or ""
	forms    *semaphore.Weighted // bytes of forms held in memory
	pool     sync.Pool           // of *request
	auditing sync.Pool           // of *auditEvent

	base   context.Context // ends when Shutdown gives up waiting
	cancel context.CancelFunc

	guard     *guard
	pieces    pieces
	documents documents

	ids      atomic.Uint64
	inFlight atomic.Int64
	draining atomic.Bool

	complained atomic.Int64 // Unix time of the last message that mayComplain limits

	mu    sync.Mutex
	conns map[*conn]struct{} // guarded by mu
}

// New returns a server; call Serve with any number of listeners.
func New(cfg Config) (*Server, error) {
	if cfg.Engine == nil || cfg.IAM == nil {
		return nil, errors.New("s3fast: Config needs Engine and IAM")
	}
	withDefaults(&cfg)
	s := &Server{cfg: cfg, conns: make(map[*conn]struct{})}
	s.base, s.cancel = context.WithCancel(context.Background())
	s.ids.Store(rand.Uint64()) // #nosec G404: ids need not be unpredictable
	s.hostID = newHostID()
	s.verifier = &sigv4.Verifier{
		Secret: cfg.IAM.Secret, Region: cfg.Region, Service: "s3",
		Skew: cfg.MaxClockSkew, Now: cfg.Now,
	}
	s.sts = newSTSVerifier(&cfg)
	s.routes = newRoutes()
	s.metrics = newMetrics(s.routes.names)
	s.pool.New = func() any { return new(request) }
	s.tokens = newTokens(cfg.Region)
	if sec := int64(cfg.HSTS / time.Second); sec > 0 {
		s.hsts = "max-age=" + decimal(sec)
	}
	s.forms = semaphore.NewWeighted(formMemory)
	s.guard = newGuard(min(cfg.MaxRequests/4, 1024))
	s.http = s.newHTTP()
	return s, nil
}

// newHostID returns the value of x-amz-id-2: it names this run of this server.
func newHostID() string {
	var b [32]byte
	_, _ = crand.Read(b[:]) // never fails (package crypto/rand)
	return base64.StdEncoding.EncodeToString(b[:])
}

func withDefaults(cfg *Config) {
	if cfg.Cluster == nil {
		cfg.Cluster = func() *Cluster { return nil }
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.StallTimeout <= 0 {
		cfg.StallTimeout = 30 * time.Second
	}
	if cfg.IdleTimeout <= 0 {
		cfg.IdleTimeout = 120 * time.Second
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 65536
	}
	if cfg.MaxRequests <= 0 {
		cfg.MaxRequests = 4096
	}
	if cfg.MaxClockSkew <= 0 {
		cfg.MaxClockSkew = 15 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
}

func (s *Server) newHTTP() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:       s.handle,
		ExpectHandler: s.expect,
		ErrorHandler:  s.badRequest,
		ConnState:     s.connState,
		Logger:        httpLogger{s.cfg.Logger},
		Name:          "Sluice",

		Concurrency:     s.cfg.MaxConns,
		ReadBufferSize:  readBuffer,
		WriteBufferSize: writeBuffer,
		// ReadTimeout covers the header and the first 8 KiB of the body; conn
		// rolls the deadline from there on, and sets write deadlines itself.
		ReadTimeout:        s.cfg.StallTimeout,
		IdleTimeout:        s.cfg.IdleTimeout,
		MaxRequestBodySize: engine.MaxPutSize + engine.MaxPutSize/8, // chunk framing included; openBody is exact

		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		LazyRequestTime:              true,
		// What is reduced is what idle connections hold: the buffer of answers and
		// that of the begin of bodies go back to their pools after each request.
		ReduceMemoryUsage: true,
	}
}

// Serve answers connections of ln until Shutdown or an accept error. Connections
// that are *tls.Conn count as secure.
func (s *Server) Serve(ln net.Listener) error {
	if s.draining.Load() {
		_ = ln.Close()
		return ErrServerClosed
	}
	err := s.http.Serve(&listener{Listener: ln, s: s})
	if s.draining.Load() {
		return ErrServerClosed
	}
	return err
}

// Shutdown stops accepting, waits for requests in flight until ctx is done, then
// closes every connection. Its error is ctx's when requests had to be cut off.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.closeConns(func(c *conn) bool { return !c.active.Load() })
	err := s.http.ShutdownWithContext(ctx)
	s.cancel()
	s.closeConns(func(*conn) bool { return true })
	if err == nil {
		return nil
	}
	wait, stop := context.WithTimeout(context.WithoutCancel(ctx), abortWait)
	defer stop()
	for s.inFlight.Load() > 0 && wait.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// closeConns closes the tracked connections that match.
func (s *Server) closeConns(match func(*conn) bool) {
	s.mu.Lock()
	var closing []*conn
	for c := range s.conns {
		if match(c) {
			closing = append(closing, c)
		}
	}
	s.mu.Unlock()
	for _, c := range closing {
		c.abort()
	}
}

// track admits a connection; it is refused once draining began.
func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// connState follows a connection through fasthttp's loop; it runs on the
// connection's goroutine, except for StateNew.
func (s *Server) connState(nc net.Conn, state fasthttp.ConnState) {
	c := connOf(nc)
	if c == nil {
		return
	}
	switch state {
	case fasthttp.StateActive:
		c.active.Store(true)
		c.idleSince.Store(0)
	case fasthttp.StateIdle, fasthttp.StateClosed:
		c.finish()
		c.active.Store(false)
		if state == fasthttp.StateIdle {
			c.idleSince.Store(time.Now().UnixNano())
		}
	}
}

// AppendMetrics appends the frontend's counters in Prometheus text form.
func (s *Server) AppendMetrics(dst []byte) []byte {
	s.mu.Lock()
	open := len(s.conns)
	s.mu.Unlock()
	dst = s.metrics.append(dst, open, s.inFlight.Load())
	return s.appendAbuse(dst)
}

// httpLogger passes fasthttp's few messages on.
type httpLogger struct{ l *slog.Logger }

func (h httpLogger) Printf(format string, args ...any) {
	h.l.Debug("http", "message", fmt.Sprintf(format, withoutContent(args)...))
}
