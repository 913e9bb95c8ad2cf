package s3fast

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/checksum"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/audit"
	"github.com/sluicehq/sluice/s3fast/s3err"
	"github.com/sluicehq/sluice/s3fast/s3xml"
	"github.com/sluicehq/sluice/s3fast/sigv4"
)

// deleteObject answers DeleteObject. Conditions: If-Match, and the size and time
// forms x-amz-if-match-size and x-amz-if-match-last-modified-time.
func deleteObject(r *request) error {
	if err := r.checkVersion(); err != nil {
		return err
	}
	// x-amz-bypass-governance-retention passes: no object has retention.
	for _, h := range [...]string{"x-amz-mfa", "if-none-match"} {
		if _, ok := r.headers.get(h); ok {
			return notImplementedHeader(h)
		}
	}
	req := engine.DeleteRequest{Bucket: r.bucket, Key: r.key, IfSize: -1}
	if v := r.header("If-Match"); v != "" {
		tags, err := parseIfMatch(v)
		if err != nil {
			return err
		}
		req.If.IfMatch = tags
	}
	if v := r.header("x-amz-if-match-size"); v != "" {
		n, err := strconv.ParseUint(v, 10, 63)
		if err != nil {
			return invalidArgument("x-amz-if-match-size", v, "The size must be a number of bytes.")
		}
		req.IfSize = int64(n) // #nosec G115: 63 bits
	}
	if v := r.header("x-amz-if-match-last-modified-time"); v != "" {
		t, ok := parseHTTPDate(v)
		if !ok || t.UnixNano() == 0 {
			return invalidArgument("x-amz-if-match-last-modified-time", v, "The time must be an HTTP date.")
		}
		req.IfMTime = t.UnixNano()
	}
	if _, err := r.s.cfg.Engine.Delete(r.context(), req); err != nil {
		return err
	}
	r.ctx.SetStatusCode(fasthttp.StatusNoContent)
	return nil
}

// deleteWorkers bounds the deletions in flight of one request. Each has a durable
// commit of its own; those in flight together share one sync.
const deleteWorkers = 32

// deleteObjects answers DeleteObjects: up to 1,000 keys, each authorised and
// deleted by itself. Results are in the order of the request.
func deleteObjects(r *request) error {
	if err := r.requireDigest(); err != nil {
		return err
	}
	raw, err := r.readXML(s3xml.MaxDelete)
	if err != nil {
		return err
	}
	if len(raw) == 0 {
		return s3err.MissingRequestBody.New()
	}
	d, err := s3xml.DecodeDelete(raw)
	if err != nil {
		return err
	}
	var doc s3xml.DeleteResult
	errs := several(len(d.Objects), func(i int) error { return r.deleteOne(&d.Objects[i]) })
	for i := range d.Objects {
		o := &d.Objects[i]
		err := errs[i]
		r.touch(o.Key, err)
		if err != nil {
			e := s3Error(err)
			if e.Status >= 500 {
				r.s.cfg.Logger.Error("delete failed", "id", r.id(), "bucket", r.bucket, "key", audit.MaskPath(o.Key), "error", err)
			}
			doc.Errors = append(doc.Errors, s3xml.DeleteError{Key: o.Key, VersionID: o.VersionID,
				Code: e.Code.Code, Message: e.Text()})
		} else if !d.Quiet {
			doc.Deleted = append(doc.Deleted, s3xml.Deleted{Key: o.Key, VersionID: o.VersionID})
		}
	}
	r.answerXML(s3xml.AppendDeleteResult(nil, &doc))
	return nil
}

// several calls do for 0…n-1, deleteWorkers at a time, and returns their errors in
// order. A panic there would end the process: it becomes an error.
func several(n int, do func(i int) error) []error {
	errs := make([]error, n)
	one := func(i int) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = s3err.InternalError.Because(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		return do(i)
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(deleteWorkers, n) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				errs[i] = one(i)
			}
		})
	}
	workers.Wait()
	return errs
}

// requireDigest wants proof that the document arrived whole: Content-MD5, an
// additional checksum, or a signed payload hash is what S3 accepts.
func (r *request) requireDigest() error {
	claim, err := parseBodyClaim(r)
	if err != nil {
		return err
	}
	if claim.md5 == nil && claim.algorithm == checksum.None && r.auth.Payload != sigv4.SHA256 {
		return s3err.InvalidRequest.Say("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
	}
	return nil
}

// mayDelete checks the actions that deleting one object of a DeleteObjects
// request needs, as needs does for DeleteObject.
func (r *request) mayDelete(o *s3xml.DeleteObject) error {
	q := question{r: r, bucket: r.bucket, key: o.Key, version: o.VersionID, ifMatch: o.ETag}
	err := q.allow("s3:DeleteObject")
	if err == nil && o.VersionID != "" {
		err = q.allow("s3:DeleteObjectVersion")
	}
	if err == nil && o.ETag != "" && o.ETag != "*" {
		err = q.allow("s3:GetObject")
	}
	return err
}

// deleteOne deletes one object of a DeleteObjects request. It runs on several
// goroutines at once.
func (r *request) deleteOne(o *s3xml.DeleteObject) error {
	switch {
	case !utf8.ValidString(o.Key):
		return s3err.InvalidURI.New()
	case len(o.Key) > engine.MaxKeyBytes:
		return s3err.KeyTooLong.New()
	case o.VersionID != "" && o.VersionID != "null":
		return s3err.NoSuchVersion.New()
	}
	if err := r.mayDelete(o); err != nil {
		return err
	}
	req := engine.DeleteRequest{Bucket: r.bucket, Key: o.Key, IfSize: -1}
	if o.ETag != "" {
		req.If = meta.Condition{IfMatch: []string{strings.Trim(o.ETag, `"`)}}
	}
	if o.HasSize {
		req.IfSize = o.Size
	}
	if o.HasModified {
		if req.IfMTime = o.LastModified.UnixNano(); req.IfMTime == 0 {
			return s3err.PreconditionFailed.New() // nothing here is that old
		}
	}
	_, err := r.s.cfg.Engine.Delete(r.context(), req)
	if engine.KindOf(err) == engine.NoObject { // as request.hide
		if denied := r.mayMiss(r.bucket, o.Key); denied != nil {
			return denied
		}
	}
	return err
}
