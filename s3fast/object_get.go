package s3fast

import (
	"context"
	"io"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// getObject answers GetObject.
func getObject(r *request) error { return r.read(true) }

// headObject answers HeadObject: GetObject without the body.
func headObject(r *request) error { return r.read(false) }

// selection is the part of an object that a read asks for.
type selection struct {
	off, n  int64
	partial bool          // 206 with Content-Range
	part    int32         // partNumber, or 0
	sum     meta.Checksum // that vouches for exactly the bytes selected, if any
	parts   int32         // part count to be told with part, or with a composite checksum
}

func (r *request) read(withBody bool) error {
	if err := r.refuseUnbuilt(); err != nil {
		return err
	}
	if err := r.checkVersion(); err != nil {
		return err
	}
	if err := r.refuseMethodHeaders(); err != nil {
		return err
	}
	over, err := r.overrides()
	if err != nil {
		return err
	}
	part, err := r.partNumber()
	if err != nil {
		return err
	}
	if part != 0 && r.header("Range") != "" {
		return s3err.InvalidRequest.Say("Cannot specify both Range header and partNumber query parameter")
	}
	if !withBody && part == 0 {
		// Nothing of the data is touched: no need to pin it.
		info, err := r.s.cfg.Engine.Head(r.context(), r.bucket, r.key)
		if err != nil {
			return err
		}
		if _, err := r.readKey(info.Seal, customerPrefix, r.b.ID, r.key); err != nil {
			return err
		}
		return r.answerRead(&info, nil, over, 0, false)
	}
	obj, err := r.s.cfg.Engine.Get(r.context(), r.bucket, r.key)
	if err != nil {
		return err
	}
	if err = r.unlock(obj, customerPrefix, r.key, withBody); err == nil {
		err = r.answerRead(&obj.Info, obj, over, part, withBody)
	}
	if err != nil {
		obj.Close()
	}
	return err
}

// checkVersion accepts ?versionId=null, the one version of a key in a bucket
// without versioning, and no other.
func (r *request) checkVersion() error {
	id, ok := r.query.get("versionId")
	if !ok || id == "null" {
		return nil
	}
	return invalidVersion(id)
}

func invalidVersion(id string) error {
	return s3err.InvalidArgument.Say("Invalid version id specified").With("ArgumentName", "versionId", "ArgumentValue", id)
}

// partNumber reads the partNumber of a read: 0 when absent.
func (r *request) partNumber() (int32, error) {
	v, ok := r.query.get("partNumber")
	if !ok {
		return 0, nil
	}
	return parsePartNumber(v)
}

// parsePartNumber parses 1…10,000.
func parsePartNumber(v string) (int32, error) {
	n, ok := parseDigits(v)
	if !ok || n < 1 || n > engine.MaxParts {
		return 0, s3err.InvalidArgument.Say("Part number must be an integer between 1 and 10000, inclusive").
			With("ArgumentName", "partNumber", "ArgumentValue", v)
	}
	return int32(n), nil
}

// answerRead evaluates conditions and range, and answers. On success it has
// taken over obj, which is nil for reads without data.
func (r *request) answerRead(info *meta.Object, obj *engine.Object, over []override, part int32, withBody bool) error {
	cond := r.readConditions()
	switch v, header := cond.evaluate(info); v {
	case failed:
		return s3err.PreconditionFailed.With("Condition", header)
	case notModified:
		r.answerNotModified(info)
		if obj != nil {
			obj.Close()
		}
		return nil
	}
	sel, err := r.selectBytes(info, obj, part)
	if err != nil {
		return err
	}
	if withBody && sel.n > 0 {
		if err := r.attachBody(obj, sel); err != nil {
			return err
		}
	} else if obj != nil {
		obj.Close()
	}
	r.setObjectHeaders(info)
	for i := range over {
		r.set(over[i].name, over[i].value)
	}
	r.setSelection(info, sel)
	if !withBody {
		r.ctx.Response.SkipBody = true
		r.ctx.Response.Header.SetContentLength(int(sel.n))
	}
	return nil
}

// selectBytes applies partNumber or Range. Errors: InvalidPartNumber,
// InvalidRange.
func (r *request) selectBytes(info *meta.Object, obj *engine.Object, part int32) (selection, error) {
	whole := selection{n: info.Size, sum: info.Checksum, parts: info.PartCount}
	if part != 0 {
		return r.selectPart(info, obj, part)
	}
	h := r.header("Range")
	if h == "" || !rangeStands(r.header("If-Range"), info) {
		return whole, nil
	}
	br, ok := parseRange(h)
	if !ok {
		return whole, nil
	}
	off, n, ok := br.resolve(info.Size)
	if !ok {
		return selection{}, s3err.InvalidRange.With("RangeRequested", h, "ActualObjectSize", decimal(info.Size))
	}
	return selection{off: off, n: n, partial: true}, nil
}

func (r *request) selectPart(info *meta.Object, obj *engine.Object, number int32) (selection, error) {
	p, off, err := obj.Part(number)
	if err != nil {
		if engine.KindOf(err) == engine.InvalidPart {
			return selection{}, s3err.InvalidPartNumber.With("ActualPartCount", decimal(int64(max(info.PartCount, 1))), "PartNumberRequested", decimal(int64(number)))
		}
		return selection{}, err
	}
	if info.PartCount == 0 {
		// The only part of an object that was not uploaded in parts.
		return selection{n: info.Size, partial: info.Size > 0, part: number, sum: info.Checksum}, nil
	}
	sel := selection{off: off, n: p.Size, partial: p.Size > 0, part: number, sum: p.Checksum, parts: info.PartCount}
	sel.sum.Type = info.Checksum.Type
	return sel, nil
}

// setSelection sets status and the headers that depend on what was selected. A
// checksum is told only when it vouches for exactly the bytes that are sent.
func (r *request) setSelection(info *meta.Object, sel selection) {
	r.ctx.SetStatusCode(fasthttp.StatusOK)
	if sel.partial {
		r.ctx.SetStatusCode(fasthttp.StatusPartialContent)
		r.set("Content-Range", "bytes "+decimal(sel.off)+"-"+decimal(sel.off+sel.n-1)+"/"+decimal(info.Size))
	}
	parts := sel.parts
	if sel.part != 0 {
		if sel.parts > 0 {
			r.set("x-amz-mp-parts-count", decimal(int64(sel.parts)))
		}
		parts = 0 // a part's own checksum bears no count
	}
	if strings.EqualFold(r.header("x-amz-checksum-mode"), "ENABLED") {
		r.setChecksum(sel.sum, parts)
	}
}

// attachBody opens the bytes selected and makes them the response body. It takes
// over obj unless it fails.
func (r *request) attachBody(obj *engine.Object, sel selection) error {
	b, err := obj.Range(r.context(), sel.off, sel.n)
	if err != nil {
		return err
	}
	if small := b.Bytes(); small != nil {
		// The garbage collector owns these: they outlive Close.
		b.Close()
		obj.Close()
		r.ctx.Response.SetBodyStream(&objectStream{mem: small, conn: r.conn, left: sel.n}, int(sel.n))
		return nil
	}
	r.ctx.Response.SetBodyStream(r.objectStream(obj, b, sel), int(sel.n))
	return nil
}

// objectStream is a response body. fasthttp lets it write itself to the
// connection and closes it whether or not the response could be sent; when it
// yields fewer bytes than Content-Length told, the connection is closed.
type objectStream struct {
	mem  []byte         // all of it, or nil
	obj  *engine.Object // nil with mem
	body *engine.Body   // nil while sent in pieces
	ctx  context.Context
	out  bodyWriter

	conn      *conn // nil in unit tests without one
	off, left int64 // what is still to be written
	inPieces  bool
}

// Read implements io.Reader; WriteTo (limit_stream.go) is what is used.
func (s *objectStream) Read(p []byte) (int, error) {
	if s.mem == nil {
		return s.body.Read(p)
	}
	if s.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.mem[int64(len(s.mem))-s.left:])
	s.left -= int64(n)
	return n, nil
}

// SupportsBodyWriteTo tells fasthttp to prefer WriteTo.
func (s *objectStream) SupportsBodyWriteTo() bool { return true }

// Close releases buffers and pin.
func (s *objectStream) Close() error {
	s.closeBody()
	if s.obj != nil {
		s.obj.Close()
	}
	return nil
}
