package sigv4

import (
	"bytes"
	"slices"
	"strings"
)

const hexUpper = "0123456789ABCDEF"

// unreserved reports whether a byte is never percent-encoded (RFC 3986, 2.3).
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// unhex returns the value of a hex digit of any case, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// decodeAt returns the byte that s[i:] begins with, percent-decoded, and the
// number of bytes it takes there. A '%' without two hex digits is itself.
func decodeAt(s string, i int) (c byte, n int) {
	if s[i] == '%' && i+2 < len(s) {
		if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
			return byte(hi<<4 | lo), 3
		}
	}
	return s[i], 1
}

// appendEncoded appends c as AWS's UriEncode does.
func appendEncoded(dst []byte, c byte) []byte {
	if unreserved(c) {
		return append(dst, c)
	}
	return append(dst, '%', hexUpper[c>>4], hexUpper[c&15])
}

// appendPath appends the canonical URI: the path decoded and encoded once, its
// slashes kept. S3 neither encodes twice nor removes "//", "." and "..".
func appendPath(dst []byte, raw string) []byte {
	if raw == "" {
		return append(dst, '/')
	}
	for i := 0; i < len(raw); {
		c, n := decodeAt(raw, i)
		if i += n; c == '/' {
			dst = append(dst, c)
		} else {
			dst = appendEncoded(dst, c)
		}
	}
	return dst
}

// appendQueryPart appends a query name or value in canonical form. A raw '+' is
// a space, as in form encoding; clients that mean a plus send %2B.
func appendQueryPart(dst []byte, raw string) []byte {
	for i := 0; i < len(raw); {
		c, n := decodeAt(raw, i)
		if raw[i] == '+' {
			c = ' '
		}
		dst = appendEncoded(dst, c)
		i += n
	}
	return dst
}

// decodeQuery returns a query part decoded; it allocates only if it changes.
func decodeQuery(raw string) string {
	if strings.IndexByte(raw, '%') < 0 && strings.IndexByte(raw, '+') < 0 {
		return raw
	}
	var out strings.Builder
	out.Grow(len(raw))
	for i := 0; i < len(raw); {
		c, n := decodeAt(raw, i)
		if raw[i] == '+' {
			c = ' '
		}
		out.WriteByte(c)
		i += n
	}
	return out.String()
}

// param is a query parameter: where its canonical name and value stand in
// scratch.text.
type param struct{ name, value, end int }

// parseQuery fills s.params with every parameter but X-Amz-Signature, sorted by
// canonical name, then value. Empty pairs ("a&&b") are no parameters.
func (s *scratch) parseQuery(raw string) {
	s.params, s.text = s.params[:0], s.text[:0]
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		p := param{name: len(s.text)}
		s.text = appendQueryPart(s.text, name)
		p.value = len(s.text)
		if string(s.text[p.name:p.value]) == "X-Amz-Signature" {
			s.text = s.text[:p.name]
			continue
		}
		s.text = appendQueryPart(s.text, value)
		p.end = len(s.text)
		s.params = append(s.params, p)
	}
	slices.SortFunc(s.params, func(a, b param) int {
		if c := bytes.Compare(s.text[a.name:a.value], s.text[b.name:b.value]); c != 0 {
			return c
		}
		return bytes.Compare(s.text[a.value:a.end], s.text[b.value:b.end])
	})
}

// appendQuery appends the canonical query string.
func (s *scratch) appendQuery(dst []byte, raw string) []byte {
	s.parseQuery(raw)
	for i, p := range s.params {
		if i > 0 {
			dst = append(dst, '&')
		}
		dst = append(dst, s.text[p.name:p.value]...)
		dst = append(dst, '=')
		dst = append(dst, s.text[p.value:p.end]...)
	}
	return dst
}

// appendFolded appends a header value without the white space around it and with
// each run of spaces folded into one.
func appendFolded(dst []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	for {
		i := strings.Index(v, "  ")
		if i < 0 {
			return append(dst, v...)
		}
		dst = append(dst, v[:i+1]...)
		v = strings.TrimLeft(v[i:], " ")
	}
}

// appendHeader appends the canonical line of one signed header: repeated ones
// joined by commas in wire order; an absent one has an empty value, since some
// clients sign empty headers and then do not send them.
func (s *scratch) appendHeader(dst []byte, name, host string) []byte {
	dst = append(append(dst, name...), ':')
	if name == "host" {
		return append(appendFolded(dst, host), '\n')
	}
	more := false
	for i := range s.headers {
		if s.headers[i].name != name {
			continue
		}
		if more {
			dst = append(dst, ',')
		}
		dst, more = appendFolded(dst, s.headers[i].value), true
	}
	return append(dst, '\n')
}

// canonicalRequest builds the canonical request in s.canonical (AWS, "Create a
// canonical request"). s.signed is sorted; s.headers holds the headers.
func (s *scratch) canonicalRequest(r Request, payloadHash string) {
	b := append(s.canonical[:0], r.Method()...)
	b = append(b, '\n')
	b = append(appendPath(b, r.RawPath()), '\n')
	b = append(s.appendQuery(b, r.RawQuery()), '\n')
	for _, name := range s.signed {
		b = s.appendHeader(b, name, r.Host())
	}
	b = append(b, '\n')
	for i, name := range s.signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	s.canonical = append(b, payloadHash...)
}

// signature computes the signature of s.canonical, made at s.stamp.
func (s *scratch) signature(m *mac, key *[32]byte, scope string) [32]byte {
	digest := m.digest(s.canonical)
	b := append(s.text[:0], algorithm+"\n"...)
	b = append(append(b, s.stamp...), '\n')
	b = append(append(b, scope...), '\n')
	s.text = appendHex(b, &digest)
	m.key = *key
	return m.hmac(m.key[:], s.text)
}
