package s3fast

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/s3fast/audit"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// contentXML is the Content-Type of every document.
const contentXML = "application/xml"

// servicePrefix begins the paths that are not S3's: no bucket name begins with "-".
var servicePrefix = []byte("/-/")

// handle answers one request. With "Expect: 100-continue", expect has prepared
// it already and the client has been asked for the body.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	c := connOf(ctx.Conn())
	c.beginBody()
	if bytes.HasPrefix(ctx.Request.Header.RequestURI(), servicePrefix) {
		s.service(ctx)
		return
	}
	var r *request
	if c != nil {
		r, c.expected = c.expected, nil
	}
	if r == nil {
		r = s.newRequest(ctx, c)
	}
	defer r.release()
	defer r.account()
	defer r.recover()
	if !r.ready {
		if err := r.prepare(); err != nil {
			r.fail(err)
			return
		}
	}
	if err := r.op.run(r); err != nil {
		r.fail(err)
	}
}

// expect decides, before the client sends the body, whether it may: everything
// that can be refused by the header is refused here.
func (s *Server) expect(ctx *fasthttp.RequestCtx) (status int) {
	c := connOf(ctx.Conn())
	if c == nil || bytes.HasPrefix(ctx.Request.Header.RequestURI(), servicePrefix) {
		return fasthttp.StatusContinue
	}
	r := s.newRequest(ctx, c)
	refused := func() int {
		r.account()
		r.release()
		return ctx.Response.StatusCode()
	}
	defer func() {
		if p := recover(); p != nil {
			r.panicked(p)
			status = refused()
		}
	}()
	if err := r.prepare(); err != nil {
		r.fail(err)
		return refused()
	}
	c.expected = r
	c.beginBody()
	return fasthttp.StatusContinue
}

// service answers a path below "/-/".
func (s *Server) service(ctx *fasthttp.RequestCtx) {
	defer func() {
		if p := recover(); p != nil {
			s.cfg.Logger.Error("panic in service handler", "panic", p, "stack", string(debug.Stack()))
			ctx.Response.Reset()
			ctx.SetStatusCode(fasthttp.StatusInternalServerError)
			ctx.SetConnectionClose()
		}
	}()
	if s.cfg.Service == nil {
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	s.cfg.Service(ctx)
}

// newRequest begins a request: it is counted and named, nothing is parsed yet.
func (s *Server) newRequest(ctx *fasthttp.RequestCtx, c *conn) *request {
	r := s.pool.Get().(*request) //nolint:forcetypeassert // the pool holds nothing else
	r.s, r.ctx, r.conn = s, ctx, c
	r.op = s.routes.invalid
	r.started = s.cfg.Now()
	// An odd multiplier makes the counter a permutation that does not look like one.
	r.number = upperHex(s.ids.Add(1) * 0x9E3779B97F4A7C15)
	r.stamp()
	if c != nil {
		c.inFlight, c.began = true, r.started
	}
	s.inFlight.Add(1)
	return r
}

// upperHex is v in 16 upper-case hex digits.
func upperHex(v uint64) (out [16]byte) {
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = "0123456789ABCDEF"[v&15]
		v >>= 4
	}
	return out
}

// stamp sets the headers that every response has.
func (r *request) stamp() {
	h := &r.ctx.Response.Header
	h.SetCanonical([]byte("x-amz-request-id"), r.number[:])
	h.SetCanonical([]byte("x-amz-id-2"), []byte(r.s.hostID))
	if r.s.hsts != "" && r.secure() {
		h.SetCanonical([]byte("Strict-Transport-Security"), []byte(r.s.hsts))
	}
}

// release returns the request to the pool.
func (r *request) release() {
	s, pairs, list, buf := r.s, r.query.pairs[:0], r.headers.list[:0], r.headers.buf[:0]
	*r = request{}
	r.query.pairs, r.headers.list, r.headers.buf = pairs, list, buf
	s.pool.Put(r)
}

// account records the outcome; conn.finish counts it once the response is out.
func (r *request) account() {
	status := r.ctx.Response.StatusCode()
	if log := r.s.cfg.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		who := ""
		if r.identity != nil {
			who = r.identity.Name
		}
		log.Debug("request", "id", r.id(), "op", r.op.name, "bucket", r.bucket, "key", audit.MaskPath(r.key),
			"status", status, "user", who, "remote", r.ctx.RemoteAddr().String(),
			"took", r.s.cfg.Now().Sub(r.started))
	}
	r.audit(status)
	r.dismiss()
	if r.conn == nil {
		r.s.inFlight.Add(-1)
		r.s.metrics.observe(r.op.index, status, r.s.cfg.Now().Sub(r.started))
		return
	}
	r.conn.seenOp, r.conn.status = r.op.index, status
}

// recover turns a panic of a handler into InternalError.
func (r *request) recover() {
	if p := recover(); p != nil {
		r.panicked(p)
	}
}

func (r *request) panicked(p any) {
	r.s.cfg.Logger.Error("panic", "id", r.id(), "op", r.op.name, "panic", p, "stack", string(debug.Stack()))
	_ = r.ctx.Response.CloseBodyStream()
	r.ctx.Response.Reset()
	r.stamp()
	r.ctx.SetConnectionClose()
	r.fail(s3err.InternalError.New())
}

// prepare parses, routes and authenticates the request, looks its bucket up,
// whose policy has a say, and authorises it, in that order.
func (r *request) prepare() error {
	cluster := r.s.cfg.Cluster()
	if cluster == nil {
		return s3err.ServiceUnavailable.Say("No cluster has been created yet.")
	}
	if r.s.inFlight.Load() > int64(r.s.cfg.MaxRequests) {
		return s3err.SlowDown.New()
	}
	if err := r.parse(cluster); err != nil {
		return err
	}
	if err := r.s.routes.match(r); err != nil {
		return err
	}
	if !r.op.late {
		if err := r.guarded("", (*request).authenticate); err != nil {
			return err
		}
		if err := r.admit(); err != nil {
			return err
		}
	}
	if err := r.findBucket(); err != nil {
		return err
	}
	if !r.op.late {
		if err := r.authorize(); err != nil {
			return err
		}
	}
	if err := r.checkBody(); err != nil {
		return err
	}
	r.ready = true
	return nil
}

// parse reads the request target and the header block.
func (r *request) parse(cluster *Cluster) error {
	uri := r.headers.load(&r.ctx.Request.Header)
	if err := r.headers.check(); err != nil {
		return err
	}
	var ok bool
	if r.target, ok = parseTarget(uri); !ok {
		return s3err.InvalidURI.New()
	}
	host, _ := r.headers.get("host")
	if r.target.authority != "" && host != "" && r.target.authority != host {
		return s3err.InvalidRequest.Say("The request target and the Host header name different hosts.")
	}
	if r.query.pairs, ok = parseQuery(r.query.pairs[:0], r.target.query); !ok {
		return s3err.InvalidURI.New()
	}
	if string(r.ctx.Method()) == fasthttp.MethodOptions {
		return nil // answered without looking at the names
	}
	var err error
	r.bucket, r.key, err = r.target.names(host, cluster.Domains)
	return err
}

// fail answers with an error document.
func (r *request) fail(err error) {
	e := r.hide(s3Error(err))
	r.code = e.Code.Code
	if e.Status >= 500 && e.Code != s3err.NotImplemented && e.Code != s3err.SlowDown && r.s.mayComplain(e) {
		r.s.cfg.Logger.Error("request failed", "id", r.id(), "op", r.op.name, "bucket", r.bucket,
			"key", audit.MaskPath(r.key), "code", e.Code.Code, "error", err)
	}
	resp := &r.ctx.Response
	resp.SetStatusCode(e.Status)
	_ = resp.CloseBodyStream()
	resp.ResetBody()
	if e.Code == s3err.SlowDown || e.Code == s3err.ServiceUnavailable {
		resp.Header.Set("Retry-After", r.retryAfter())
	}
	if e.Code == s3err.RequestTimeout || e.Code == s3err.IncompleteBody {
		resp.SetConnectionClose()
	}
	if r.conn != nil {
		r.conn.linger = true
	}
	if e.Status == fasthttp.StatusNotModified || r.ctx.IsHead() {
		return
	}
	resp.Header.SetContentType(contentXML)
	resp.SetBodyRaw(s3err.Append(make([]byte, 0, 512), e, r.target.path, r.id(), r.s.hostID))
}

// mayComplain tells whether a failure is to be logged. A state that fails every
// request, as a full drive does, is told once a second and not by each.
func (s *Server) mayComplain(e *s3err.Error) bool {
	if e.Code != s3err.InsufficientStorage && e.Code != s3err.ServiceUnavailable {
		return true
	}
	now := time.Now().Unix()
	last := s.complained.Load()
	return now != last && s.complained.CompareAndSwap(last, now)
}

// answerXML answers 200 with a document, which must not be touched afterwards.
func (r *request) answerXML(doc []byte) {
	r.ctx.Response.Header.SetContentType(contentXML)
	r.ctx.Response.SetBodyRaw(doc)
}

// badRequest answers what fasthttp could not parse, or could not read.
func (s *Server) badRequest(ctx *fasthttp.RequestCtx, err error) {
	c := connOf(ctx.Conn())
	var netErr net.Error
	timeout := errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &netErr) && netErr.Timeout()
	if c != nil && !c.seen.Load() {
		// Opened ahead of use and never used: an answer would be taken for the
		// answer to the next request.
		c.muted = true
		return
	}
	var r *request
	if c != nil {
		r, c.expected = c.expected, nil
	}
	if r == nil {
		r = s.newRequest(ctx, c)
	}
	defer r.release()
	defer r.account()
	var small *fasthttp.ErrSmallBuffer
	switch {
	case timeout:
		err = s3err.RequestTimeout.Because(err)
	case errors.As(err, &small):
		err = s3err.RequestHeaderSectionTooLarge.Because(err).With("MaxSizeAllowed", strconv.Itoa(readBuffer))
	case endsEarly(err):
		err = s3err.IncompleteBody.Because(err)
	default:
		err = &s3err.Error{Code: s3err.BadRequest, Cause: err,
			Message: "An error occurred when parsing the HTTP request."}
	}
	r.fail(err)
}
