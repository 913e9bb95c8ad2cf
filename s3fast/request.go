package s3fast

import (
	"context"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/audit"
	"github.com/sluicehq/sluice/s3fast/iam"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// request is one S3 request on its way through the frontend. It is pooled: no
// reference to it, or to ctx, outlives the handler, except in a response body
// stream, which holds only engine objects.
type request struct {
	s   *Server
	ctx *fasthttp.RequestCtx

	number [16]byte // request id: 16 upper-case hex digits; see id
	op     *operation
	bucket string // decoded and valid, or ""
	key    string // decoded from the original URI, valid UTF-8, ≤ 1,024 bytes, or ""
	query  query  // decoded query parameters in wire order

	auth     sigv4.Result  // Payload tells how the body is protected
	identity *iam.Identity // who signed
	b        meta.Bucket   // set for bucket and object operations
	settings *settings     // of b
	absent   error         // the bucket does not exist: authorize says who is told
	question question      // what authorize asks of policies

	// A policy wants to know what only the body tells: authorizeWithBody decides,
	// once bodyKnown and what it told are set.
	open, bodyKnown bool
	constraint      string // LocationConstraint of CreateBucket

	conn    *conn     // the connection; nil in unit tests without one
	started time.Time // when the header had been read, by Config.Now
	target  target    // the request target as it came over the wire
	headers headers   // the header block, names lower-case, in wire order
	ready   bool      // prepare succeeded

	code    string         // S3 error code that was answered, or ""
	touched []audit.Object // objects of a DeleteObjects, for the audit

	grant *subject      // what admit began, where there is no connection to end it
	retry time.Duration // Retry-After of a SlowDown; 0: a second

	form *postForm // the form of a PostObject, once its fields have been read

	tags   []meta.Header // what requestTags found
	tagged bool

	declared bool // the upload written to declared a checksum
}

// context is the context for calls of the engine. It ends when Shutdown gives up
// waiting. (ctx itself must not be used as one: its Done channel closes as soon
// as a shutdown begins, which would abort requests in flight.)
func (r *request) context() context.Context { return r.s.base }

// query is the decoded query string. Names are case-sensitive.
type query struct {
	pairs []pair
}

type pair struct{ name, value string }

// get returns the first value of name.
func (q *query) get(name string) (string, bool) {
	for i := range q.pairs {
		if q.pairs[i].name == name {
			return q.pairs[i].value, true
		}
	}
	return "", false
}

// has reports whether name is present.
func (q *query) has(name string) bool { _, ok := q.get(name); return ok }

// operation is one S3 API operation.
type operation struct {
	name   string // S3's name: "GetObject"; also the metrics label
	action string // IAM action: "s3:GetObject"; "": run checks what it touches itself
	also   string // second action that must be allowed, or ""
	// version are the actions to be allowed in place of action and also when the
	// request names a version; nil: the same.
	version []string
	writes  bool // headers ask for further actions: see needs
	lists   bool // has prefix, delimiter and page size for condition keys
	index   int  // position in the metrics
	// run answers the request. An error is rendered as S3 XML by the caller; a
	// handler that returned an error has written nothing to the response.
	run func(r *request) error
	// bucketless operations create the bucket or do without one: no record is
	// looked up before run.
	bucketless bool
	// params are the query parameters that the operation understands, besides
	// the authentication's and response-*; others that S3 defines are refused.
	params []string
	body   bodyUse // what the request body is
	// late operations take the signature from the body (forms): run authenticates,
	// admits and authorises by itself.
	late bool
}

// bodyUse says what an operation does with the request body.
type bodyUse uint8

const (
	bodyNone   bodyUse = iota // must be empty (a body is drained if small, else refused)
	bodyXML                   // bounded document: read whole with r.readXML(max)
	bodyStream                // streamed: r.openBody
	bodyForm                  // a form: run bounds and reads it
)

// id is the request id as a string, which only errors and records need.
func (r *request) id() string { return string(r.number[:]) }

// header returns the first value of a request header ("" when absent), name in
// any case.
func (r *request) header(name string) string {
	for i := range r.headers.list {
		if h := &r.headers.list[i]; len(h.name) == len(name) && strings.EqualFold(h.name, name) {
			return h.value
		}
	}
	return ""
}
