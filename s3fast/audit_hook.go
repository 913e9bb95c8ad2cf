package s3fast

import (
	"net"
	"net/netip"
	"strings"
	"unsafe"

	"github.com/sluicehq/sluice/s3fast/audit"
)

// maxClaim bounds the access key that an unproved request claims, in bytes.
const maxClaim = 128

// auditEvent is an event with room for its lists, kept between requests.
type auditEvent struct {
	audit.Event
	query, headers, response, tags []audit.Pair
}

// audit tells the audit sink of a request that has been answered with status. It
// does not wait. The body of a streamed answer has not been sent yet: Took ends
// with the last decision, and Out is what will be sent if the client takes it.
func (r *request) audit(status int) {
	sink := r.s.cfg.Audit
	if sink == nil || !sink.Enabled() {
		return
	}
	a, _ := r.s.auditing.Get().(*auditEvent)
	if a == nil {
		a = new(auditEvent)
	}
	r.describe(a, status)
	for objects := r.touched; ; {
		a.Objects, objects = cutObjects(objects)
		sink.Record(&a.Event)
		if len(objects) == 0 {
			break
		}
	}
	// Nothing of the request may stay referenced.
	clear(a.query)
	clear(a.headers)
	clear(a.response)
	clear(a.tags)
	a.Event = audit.Event{}
	r.s.auditing.Put(a)
}

// describe fills the event in. Authorization, signatures and keys are masked by
// package audit, which knows them by name.
func (r *request) describe(a *auditEvent, status int) {
	a.query, a.headers, a.response, a.tags = a.query[:0], a.headers[:0], a.response[:0], a.tags[:0]
	for i := range r.query.pairs {
		a.query = append(a.query, audit.Pair{Name: r.query.pairs[i].name, Value: r.query.pairs[i].value})
	}
	for i := range r.headers.list {
		a.headers = append(a.headers, audit.Pair{Name: r.headers.list[i].name, Value: r.headers.list[i].value})
	}
	resp := &r.ctx.Response
	for name, value := range resp.Header.All() {
		if len(value) > 0 {
			a.response = append(a.response, audit.Pair{Name: view(name), Value: view(value)})
		}
	}
	a.Event = audit.Event{
		Time: r.started, RequestID: r.id(), API: r.op.name, Bucket: r.bucket, Key: r.key,
		Path: r.target.path, Status: status, Code: r.code, Took: r.s.cfg.Now().Sub(r.started),
		Query: a.query, Headers: a.headers, Response: a.response,
	}
	a.Host, _ = r.headers.get("host")
	a.UserAgent, _ = r.headers.get("user-agent")
	if id := r.identity; id != nil {
		a.User, a.AccessKey = r.userName(), id.AccessKey
		if id.Session != "" {
			a.tags = append(a.tags, audit.Pair{Name: "session", Value: id.Session})
		}
		if id.Account != "" {
			a.tags = append(a.tags, audit.Pair{Name: "serviceAccount", Value: id.Account})
		}
		if id.Web != nil { // nobody here: who vouched for whom
			a.tags = append(a.tags, audit.Pair{Name: "issuer", Value: id.Web.Issuer}, audit.Pair{Name: "subject", Value: id.Web.Subject})
		}
	} else if key := r.claim(); key != "" {
		a.tags = append(a.tags, audit.Pair{Name: "claimedAccessKey", Value: key})
	}
	a.Tags = a.tags
	switch {
	case r.ctx.IsHead():
	case resp.IsBodyStream():
		a.Out = int64(max(resp.Header.ContentLength(), 0))
	default:
		a.Out = int64(len(resp.Body()))
	}
	if c := r.conn; c != nil {
		a.In = c.in
		if c.remote == "" {
			c.remote = remoteHost(c.RemoteAddr())
		}
		a.Remote = c.remote
	} else {
		a.In = int64(max(r.ctx.Request.Header.ContentLength(), 0))
		a.Remote = remoteHost(r.ctx.RemoteAddr())
	}
}

// view is a string over b without a copy, for as long as b does not change: until
// Record returns.
func view(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) // #nosec G103
}

// remoteHost is the address of a peer without its port.
func remoteHost(addr net.Addr) string {
	text := addr.String()
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap().WithZone("").String()
	}
	return text
}

// claim is the access key that a request without an identity says it is signed
// with, or "". It is no secret; what may follow it is.
func (r *request) claim() string {
	key := r.claimedKey()
	if i := strings.IndexAny(key, "/,; ="); i >= 0 {
		key = key[:i]
	}
	return key[:min(len(key), maxClaim)]
}

// withoutContent cuts errors off where they begin to quote what a client sent:
// that may be a signature.
func withoutContent(args []any) []any {
	out := make([]any, len(args))
	for i, arg := range args {
		out[i] = arg
		if err, ok := arg.(error); ok {
			text, _, _ := strings.Cut(err.Error(), "contents: ")
			text, _, _ = strings.Cut(text, `"`)
			out[i] = text
		}
	}
	return out
}

// touch notes, for the audit, an object that the request names in its body.
func (r *request) touch(key string, err error) {
	if sink := r.s.cfg.Audit; sink == nil || !sink.Enabled() {
		return
	}
	o := audit.Object{Key: key}
	if err != nil {
		o.Code = s3Error(err).Code.Code
	}
	r.touched = append(r.touched, o)
}

// cutObjects returns as many objects as one event may have, and the others.
func cutObjects(all []audit.Object) (now, later []audit.Object) {
	size, n := 0, 0
	for n < len(all) && n < audit.MaxObjects {
		if size += len(all[n].Key); size > audit.MaxObjectBytes && n > 0 {
			break
		}
		n++
	}
	return all[:n], all[n:]
}
