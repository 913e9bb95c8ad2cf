package s3fast

import (
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/sluicehq/sluice/engine/meta"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// conditions are the conditional headers of a read (RFC 9110 §13.1), or the
// x-amz-copy-source-if-* of a copy. Empty: absent.
type conditions struct {
	match, noneMatch               string
	modifiedSince, unmodifiedSince string
	matchName, unmodName, noneName string // for error documents
	modName                        string
}

func (r *request) readConditions() conditions {
	return conditions{
		match: r.header("If-Match"), noneMatch: r.header("If-None-Match"),
		modifiedSince: r.header("If-Modified-Since"), unmodifiedSince: r.header("If-Unmodified-Since"),
		matchName: "If-Match", noneName: "If-None-Match",
		modName: "If-Modified-Since", unmodName: "If-Unmodified-Since",
	}
}

func (r *request) copyConditions() conditions {
	const p = "x-amz-copy-source-if-"
	return conditions{
		match: r.header(p + "match"), noneMatch: r.header(p + "none-match"),
		modifiedSince: r.header(p + "modified-since"), unmodifiedSince: r.header(p + "unmodified-since"),
		matchName: p + "match", noneName: p + "none-match",
		modName: p + "modified-since", unmodName: p + "unmodified-since",
	}
}

// verdict of conditions.
type verdict uint8

const (
	proceed     verdict = iota
	notModified         // 304 for reads; 412 for copies
	failed              // 412
)

// evaluate applies the conditions to an existing object in the order of RFC 9110
// §13.2.2: If-Match, else If-Unmodified-Since; then If-None-Match, else
// If-Modified-Since. It also names the header that decided.
func (c *conditions) evaluate(o *meta.Object) (v verdict, header string) {
	switch {
	case c.match != "":
		if !matchesETag(c.match, o.ETag, true) {
			return failed, c.matchName
		}
	case c.unmodifiedSince != "":
		if t, ok := parseHTTPDate(c.unmodifiedSince); ok && modified(o).After(t) {
			return failed, c.unmodName
		}
	}
	switch {
	case c.noneMatch != "":
		if matchesETag(c.noneMatch, o.ETag, false) {
			return notModified, c.noneName
		}
	case c.modifiedSince != "":
		if t, ok := parseHTTPDate(c.modifiedSince); ok && !modified(o).After(t) {
			return notModified, c.modName
		}
	}
	return proceed, ""
}

// modified is an object's modification time to the second, as headers tell it.
func modified(o *meta.Object) time.Time {
	return time.Unix(0, o.ModTime).UTC().Truncate(time.Second)
}

// parseHTTPDate parses the three date formats of RFC 9110 §5.6.7. Other values
// make the condition void, as the RFC asks.
func parseHTTPDate(s string) (time.Time, bool) {
	for _, layout := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// matchesETag reports whether a list of entity tags holds etag (which has no
// quotes). S3 takes tags with and without quotes. Weak tags never match in
// strong comparison (RFC 9110 §8.8.3.2).
func matchesETag(list, etag string, strong bool) bool {
	for list != "" {
		var tag string
		tag, list, _ = strings.Cut(list, ",")
		tag = strings.TrimSpace(tag)
		if tag == "*" {
			return true
		}
		weak, isWeak := strings.CutPrefix(tag, "W/")
		if isWeak && strong {
			continue
		}
		if unquote(weak) == etag {
			return true
		}
	}
	return false
}

// unquote removes one pair of double quotes.
func unquote(tag string) string {
	if len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"' {
		return tag[1 : len(tag)-1]
	}
	return tag
}

// rangeStands reports whether If-Range lets a Range header stand: absent, or the
// very representation (RFC 9110 §13.1.5; strong comparison, dates must be equal).
func rangeStands(ifRange string, o *meta.Object) bool {
	if ifRange == "" {
		return true
	}
	if t, ok := parseHTTPDate(ifRange); ok {
		return modified(o).Equal(t)
	}
	return ifRange != "*" && matchesETag(ifRange, o.ETag, true)
}

// writeCondition reads the preconditions of PutObject, CopyObject and
// CompleteMultipartUpload (Amazon S3 User Guide, "Add preconditions to S3
// operations with conditional requests"). What S3 does not offer on writes is
// NotImplemented, never ignored.
func (r *request) writeCondition() (c meta.Condition, err error) {
	match, none := r.header("If-Match"), r.header("If-None-Match")
	for _, name := range [...]string{"If-Modified-Since", "If-Unmodified-Since"} {
		if r.header(name) != "" {
			return c, s3err.NotImplemented.With("Header", name, "additionalMessage", "We don't accept the provided value of "+name+" header for this API")
		}
	}
	switch {
	case match != "" && none != "":
		return c, s3err.NotImplemented.With("Header", "If-Match,If-None-Match", "additionalMessage", "Multiple conditional request headers present in the request")
	case none == "*":
		c.IfNoneMatchAny = true
	case none != "":
		return c, s3err.NotImplemented.With("Header", "If-None-Match", "additionalMessage", "We don't accept the provided value of If-None-Match header for this API")
	case match != "":
		c.IfMatch, err = parseIfMatch(match)
	}
	return c, err
}

// parseIfMatch splits the entity tags of a write's If-Match. Weak ones cannot
// match and are left out; a list without any other never holds.
func parseIfMatch(list string) (tags []string, err error) {
	for list != "" {
		var tag string
		tag, list, _ = strings.Cut(list, ",")
		tag = strings.TrimSpace(tag)
		if tag == "" || strings.HasPrefix(tag, "W/") {
			continue
		}
		if tag = unquote(tag); tag != "" {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return nil, s3err.PreconditionFailed.With("Condition", "If-Match")
	}
	return tags, nil
}

// answerNotModified is the 304 of a read: validators and freshness, no body
// (RFC 9110 §15.4.5).
func (r *request) answerNotModified(o *meta.Object) {
	r.ctx.SetStatusCode(fasthttp.StatusNotModified)
	r.ctx.Response.SkipBody = true
	r.setValidators(o)
	for _, h := range o.Headers {
		if h.Name == "Cache-Control" || h.Name == "Expires" {
			r.set(h.Name, h.Value)
		}
	}
}
