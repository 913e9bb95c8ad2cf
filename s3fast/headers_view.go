package s3fast

import (
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/s3fast/s3err"
)

// headers is the header block as it came: fasthttp's own view hides repeated
// Content-Type, Host and Content-Length headers, and signatures count all.
type headers struct {
	list []pair // names lower-case
	buf  []byte // scratch, kept between requests
}

// load copies the request target, which it returns, and the block into one
// string, so that nothing that outlives the request refers to fasthttp's buffers.
func (h *headers) load(src *fasthttp.RequestHeader) (uri string) {
	h.list, h.buf = h.list[:0], append(h.buf[:0], src.RequestURI()...)
	start := len(h.buf)
	var cuts [128]int32 // name and value lengths of the first 64
	var more []int32
	n := 0
	for k, v := range src.AllInOrder() {
		for _, c := range k {
			if 'A' <= c && c <= 'Z' {
				c |= 0x20
			}
			h.buf = append(h.buf, c)
		}
		h.buf = append(h.buf, v...)
		if n < len(cuts) {
			cuts[n], cuts[n+1] = int32(len(k)), int32(len(v)) // #nosec G115: bounded by readBuffer
		} else {
			more = append(more, int32(len(k)), int32(len(v))) // #nosec G115
		}
		n += 2
	}
	block := string(h.buf)
	uri, block = block[:start], block[start:]
	for i := 0; i < n; i += 2 {
		var a, b int32
		if i < len(cuts) {
			a, b = cuts[i], cuts[i+1]
		} else {
			a, b = more[i-len(cuts)], more[i+1-len(cuts)]
		}
		h.list = append(h.list, pair{block[:a], block[a : a+b]})
		block = block[a+b:]
	}
	return uri
}

// get returns the first value of a lower-case name.
func (h *headers) get(name string) (string, bool) {
	for i := range h.list {
		if h.list[i].name == name {
			return h.list[i].value, true
		}
	}
	return "", false
}

// hasPrefix reports whether a lower-case name begins with prefix.
func (h *headers) hasPrefix(prefix string) bool {
	for i := range h.list {
		if strings.HasPrefix(h.list[i].name, prefix) {
			return true
		}
	}
	return false
}

// check refuses what may mean two things: headers that must be single and are
// not, two ways to tell the body's length (RFC 9112, section 6.3), and control
// characters in values.
func (h *headers) check() error {
	length, encoding := false, false
	for i := range h.list {
		name := h.list[i].name
		switch name {
		case "content-length":
			length = true
		case "transfer-encoding":
			encoding = true
		}
		if !single(name) {
			continue
		}
		for j := range i {
			if h.list[j].name == name {
				return s3err.InvalidRequest.Say("The header " + name + " occurs more than once.")
			}
		}
	}
	if length && encoding {
		return s3err.InvalidRequest.Say("Content-Length and Transfer-Encoding cannot be given together.")
	}
	return nil
}

// single tells which headers may occur once only.
func single(name string) bool {
	switch name {
	case "host", "content-length", "transfer-encoding", "authorization", "date", "range",
		"content-md5", "content-type", "expect",
		"if-match", "if-none-match", "if-modified-since", "if-unmodified-since":
		return true
	}
	// User metadata may be repeated: S3 joins the values.
	return strings.HasPrefix(name, "x-amz-") && !strings.HasPrefix(name, "x-amz-meta-") &&
		name != "x-amz-object-attributes"
}

// sigView is the request as sigv4 reads it.
type sigView struct{ r *request }

func (v sigView) Method() string   { return string(v.r.ctx.Method()) }
func (v sigView) RawPath() string  { return v.r.target.path }
func (v sigView) RawQuery() string { return v.r.target.query }

// VirtualBucket implements sigv4.VirtualHosted.
func (v sigView) VirtualBucket() string {
	if v.r.target.virtual {
		return v.r.bucket
	}
	return ""
}

func (v sigView) Host() string {
	h, _ := v.r.headers.get("host")
	return h
}

func (v sigView) Header(name string) string {
	h, _ := v.r.headers.get(name)
	return h
}

func (v sigView) Headers(fn func(name, value string)) {
	for i := range v.r.headers.list {
		fn(v.r.headers.list[i].name, v.r.headers.list[i].value)
	}
}
