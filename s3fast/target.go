package s3fast

import (
	"net"
	"strings"
	"unicode/utf8"

	"github.com/sluicehq/sluice/engine"
	"github.com/sluicehq/sluice/s3fast/s3err"
)

// target is the request target exactly as it came over the wire. Signatures and
// keys are computed from it: fasthttp's parsed path has collapsed "//", ".." and
// "%2F", which mean something in a key.
type target struct {
	authority string // of an absolute-form target ("http://host/…"), or ""
	path      string // undecoded, begins with "/"
	query     string // undecoded, without "?"
	virtual   bool   // the Host header names the bucket
}

// parseTarget splits a request target (RFC 9112, section 3.2): origin form, or
// absolute form. A fragment, which no client may send, is refused.
func parseTarget(uri string) (target, bool) {
	var t target
	if strings.IndexByte(uri, '#') >= 0 || uri == "" {
		return t, false
	}
	if uri[0] != '/' {
		scheme, rest, ok := strings.Cut(uri, "://")
		if !ok || (!strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https")) {
			return t, false
		}
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		t.authority, uri = rest[:end], rest[end:]
		if t.authority == "" {
			return t, false
		}
		if uri == "" || uri[0] == '?' {
			uri = "/" + uri
		}
	}
	t.path, t.query, _ = strings.Cut(uri, "?")
	return t, true
}

// names decodes bucket and key. host is the Host header; domains are the base
// domains of virtual-host style requests. A path of "/" (or a key that is empty)
// yields empty names.
func (t *target) names(host string, domains []string) (bucket, key string, err error) {
	rest := t.path[1:]
	if virtual, ok := virtualBucket(host, domains); ok {
		bucket, t.virtual = virtual, true
	} else {
		if rest == "" {
			return "", "", nil
		}
		name, after, _ := strings.Cut(rest, "/")
		decoded, ok := percentDecode(name, false)
		if !ok {
			return "", "", s3err.InvalidURI.New()
		}
		bucket, rest = decoded, after
	}
	key, ok := percentDecode(rest, false)
	if !ok || !utf8.ValidString(key) {
		return "", "", s3err.InvalidURI.New()
	}
	if err := CheckBucketName(bucket); err != nil {
		return "", "", s3err.InvalidBucketName.Because(err).With("BucketName", bucket)
	}
	if len(key) > engine.MaxKeyBytes {
		return "", "", s3err.KeyTooLong.With(
			"MaxSizeAllowed", decimal(engine.MaxKeyBytes), "Size", decimal(int64(len(key))))
	}
	return bucket, key, nil
}

// virtualBucket returns the bucket that a Host header names below one of the
// domains: the longest domain that matches counts.
func virtualBucket(host string, domains []string) (string, bool) {
	if len(domains) == 0 {
		return "", false
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(host, ".")
	best := ""
	for _, d := range domains {
		if len(d) > len(best) && len(host) > len(d)+1 && host[len(host)-len(d)-1] == '.' &&
			strings.EqualFold(host[len(host)-len(d):], d) {
			best = d
		}
	}
	if best == "" {
		return "", false
	}
	return strings.ToLower(host[:len(host)-len(best)-1]), true
}

// parseQuery decodes a query string. "+" is a space, as in forms; "a" and "a="
// are the same.
func parseQuery(dst []pair, raw string) ([]pair, bool) {
	for raw != "" {
		var part string
		part, raw, _ = strings.Cut(raw, "&")
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, ok1 := percentDecode(name, true)
		v, ok2 := percentDecode(value, true)
		if !ok1 || !ok2 || !utf8.ValidString(n) || !utf8.ValidString(v) {
			return dst, false
		}
		dst = append(dst, pair{n, v})
	}
	return dst, true
}

// percentDecode undoes percent-encoding (RFC 3986, section 2.1), with plus also
// "+" for space. It allocates only when there is something to undo.
func percentDecode(s string, plus bool) (string, bool) {
	i := 0
	for i < len(s) && s[i] != '%' && (!plus || s[i] != '+') {
		i++
	}
	if i == len(s) {
		return s, true
	}
	out := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return "", false
			}
			out = append(out, hi<<4|lo)
			i += 2
		case c == '+' && plus:
			out = append(out, ' ')
		default:
			out = append(out, c)
		}
	}
	return string(out), true
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
