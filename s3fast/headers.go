package s3fast

import (
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

const (
	metaPrefix = "x-amz-meta-"
	// maxMetadata bounds user metadata: the bytes of names (without prefix) and
	// values, UTF-8 (Amazon S3 User Guide, "Working with object metadata").
	maxMetadata = 2 << 10
	// maxHeaderValue bounds each standard header kept with an object, in bytes.
	maxHeaderValue = 4 << 10

	defaultContentType = "binary/octet-stream"
)

// refuseUnbuilt refuses headers that change what a request on an object means
// and that are not acted upon: object lock, ACLs, most storage classes,
// appends, redirects.
func (r *request) refuseUnbuilt() error {
	for i := range r.headers.list {
		h := &r.headers.list[i]
		if !strings.HasPrefix(h.name, "x-amz-") {
			continue
		}
		if err := refuseHeader(h.name, strings.TrimSpace(h.value)); err != nil {
			return err
		}
	}
	return nil
}

// refuseHeader judges one x-amz- header, name in lower case.
func refuseHeader(name, value string) error {
	switch name {
	case "x-amz-acl":
		// Buckets have ACLs disabled ("Controlling ownership of objects"): only
		// what says the same is accepted.
		if value != "private" && value != "bucket-owner-full-control" {
			return refuseACL(name, value, s3err.AccessControlListNotSupported)
		}
		return nil
	case storageClassHeader:
		return checkStorageClass(value)
	case "x-amz-website-redirect-location", "x-amz-write-offset-bytes",
		"x-amz-rename-source", "x-amz-mfa", "x-amz-bypass-governance-retention":
		return notImplementedHeader(name)
	}
	switch {
	case strings.HasPrefix(name, sseHeader), strings.HasPrefix(name, "x-amz-copy-source-server-side-encryption"):
		return checkEncryptionHeader(name)
	case strings.HasPrefix(name, "x-amz-object-lock-"):
		return notImplementedHeader(name)
	case strings.HasPrefix(name, "x-amz-grant-"):
		return s3err.AccessControlListNotSupported.New()
	}
	return nil
}

// refuseACL refuses a canned ACL: with code, or with InvalidArgument when there is
// none of that name (Amazon S3 User Guide, "Access control list overview").
func refuseACL(header, value string, code *s3err.Code) error {
	switch value {
	case "private", "public-read", "public-read-write", "aws-exec-read", "authenticated-read",
		"bucket-owner-read", "bucket-owner-full-control", "log-delivery-write":
		return code.New()
	}
	return invalidArgument(header, value, "")
}

func notImplementedHeader(name string) error {
	return s3err.NotImplemented.With("Header", name)
}

// objectHeaders fills in the standard headers and the user metadata that are
// kept with an object. Errors: MetadataTooLarge, InvalidArgument.
func (r *request) objectHeaders(o *meta.Object) error {
	o.Headers, o.Metadata = nil, nil
	for i := range r.headers.list {
		h := &r.headers.list[i]
		if name, ok := strings.CutPrefix(h.name, metaPrefix); ok {
			o.Metadata = addMetadata(o.Metadata, name, h.value)
			continue
		}
		name := storedHeader(h.name)
		if name == "" {
			continue
		}
		value := strings.TrimSpace(h.value)
		if name == "Content-Encoding" {
			value = stripAWSChunked(value)
		}
		if len(value) > maxHeaderValue {
			return s3err.InvalidArgument.Say("The value of the header is too long.").With("ArgumentName", name)
		}
		if value != "" {
			o.Headers = append(o.Headers, meta.Header{Name: name, Value: value})
		}
	}
	return checkMetadata(o.Metadata)
}

// storedHeader is the canonical name of a header that objects keep, else "".
func storedHeader(lower string) string {
	switch lower {
	case "content-type":
		return "Content-Type"
	case "cache-control":
		return "Cache-Control"
	case "content-disposition":
		return "Content-Disposition"
	case "content-encoding":
		return "Content-Encoding"
	case "content-language":
		return "Content-Language"
	case "expires":
		return "Expires"
	}
	return ""
}

// stripAWSChunked removes aws-chunked, which is framing of the transfer and not
// of the object ("Signature Calculations … Multiple Chunks"). The rest stays as
// it was written.
func stripAWSChunked(v string) string {
	if !strings.Contains(strings.ToLower(v), "aws-chunked") {
		return v
	}
	kept := make([]string, 0, 2)
	for _, c := range strings.Split(v, ",") {
		if name := strings.TrimSpace(c); name != "" && !strings.EqualFold(name, "aws-chunked") {
			kept = append(kept, c)
		}
	}
	return strings.TrimSpace(strings.Join(kept, ","))
}

// addMetadata adds one entry; S3 joins repeated ones with a comma.
func addMetadata(list []meta.Header, name, value string) []meta.Header {
	value = decodeMetadata(strings.TrimSpace(value))
	for i := range list {
		if list[i].Name == name {
			list[i].Value += "," + value
			return list
		}
	}
	return append(list, meta.Header{Name: name, Value: value})
}

func checkMetadata(list []meta.Header) error {
	size := 0
	for i := range list {
		if list[i].Name == "" {
			return s3err.InvalidArgument.Say("Metadata keys cannot be empty.").With("ArgumentName", metaPrefix)
		}
		size += len(list[i].Name) + len(list[i].Value)
	}
	if size > maxMetadata {
		return s3err.MetadataTooLarge.With("Size", strconv.Itoa(size), "MaxSizeAllowed", strconv.Itoa(maxMetadata))
	}
	return nil
}

// decodeMetadata returns the UTF-8 of a metadata value: RFC 2047 encoded words
// are decoded; bytes that are not UTF-8 count as ISO 8859-1, HTTP's old charset.
func decodeMetadata(v string) string {
	if strings.Contains(v, "=?") {
		var d mime.WordDecoder
		if s, err := d.DecodeHeader(v); err == nil && utf8.ValidString(s) {
			return s
		}
	}
	if utf8.ValidString(v) {
		return v
	}
	runes := make([]rune, len(v))
	for i := range len(v) {
		runes[i] = rune(v[i])
	}
	return string(runes)
}

// encodeMetadata makes a metadata value fit for a header: RFC 2047 when it holds
// anything but printable ASCII.
func encodeMetadata(v string) string { return mime.BEncoding.Encode("UTF-8", v) }

// set sets a response header exactly as spelled: SDKs take metadata names from
// the wire as they are, so x-amz- headers go out in lower case.
func (r *request) set(name, value string) {
	r.ctx.Response.Header.SetCanonical([]byte(name), []byte(value))
}

// setValidators sets ETag and Last-Modified.
func (r *request) setValidators(o *meta.Object) {
	r.setETag(o.ETag)
	r.setLastModified(o)
}

func (r *request) setLastModified(o *meta.Object) {
	var buf [32]byte
	r.ctx.Response.Header.SetCanonical([]byte("Last-Modified"), fasthttp.AppendHTTPDate(buf[:0], modified(o)))
}

func (r *request) setETag(etag string) {
	var buf [64]byte
	b := append(append(append(buf[:0], '"'), etag...), '"')
	r.ctx.Response.Header.SetCanonical([]byte("ETag"), b)
}

// setObjectHeaders answers with what is kept with an object.
func (r *request) setObjectHeaders(o *meta.Object) {
	r.setValidators(o)
	r.set("Accept-Ranges", "bytes")
	r.set("Content-Type", defaultContentType)
	for i := range o.Headers {
		r.set(o.Headers[i].Name, o.Headers[i].Value)
	}
	for i := range o.Metadata {
		r.set(metaPrefix+o.Metadata[i].Name, encodeMetadata(o.Metadata[i].Value))
	}
	r.setEncryption(o.Seal, false)
	if len(o.Tags) > 0 && r.allows("s3:GetObjectTagging", r.bucket, r.key) {
		r.set("x-amz-tagging-count", strconv.Itoa(len(o.Tags)))
	}
	if o.Class != "" && o.Class != storageStandard {
		r.set(storageClassHeader, o.Class)
	}
}

// override is one response-* parameter.
type override struct{ name, value string }

// overrides reads the response-* parameters (API Reference, GetObject). Only
// signed requests may use them. The values come out of a decoded query, so
// what cannot stand in a header is refused.
func (r *request) overrides() (list []override, err error) {
	for i := range r.query.pairs {
		p := &r.query.pairs[i]
		lower, ok := strings.CutPrefix(p.name, "response-")
		if !ok {
			continue
		}
		name := storedHeader(lower)
		if name == "" {
			return nil, s3err.InvalidArgument.With("ArgumentName", p.name, "ArgumentValue", p.value)
		}
		if r.identity == nil {
			return nil, s3err.InvalidRequest.Say("Request specific response headers cannot be used for anonymous GET requests.")
		}
		if len(p.value) > maxHeaderValue || !headerSafe(p.value) {
			return nil, s3err.InvalidArgument.Say("Header value cannot be represented.").With("ArgumentName", p.name)
		}
		list = append(list, override{name, p.value})
	}
	return list, nil
}

// headerSafe reports whether v may stand in a header field (RFC 9110 §5.5).
func headerSafe(v string) bool {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
