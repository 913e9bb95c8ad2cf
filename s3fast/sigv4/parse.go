package sigv4

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fixed words of the protocol.
const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	stampForm  = "20060102T150405Z"
	expiresMax = 7 * 24 * 3600 // s
)

// claim is what a request says about its signature. Its strings are views of
// the request.
type claim struct {
	presigned     bool
	accessKey     string
	scope         string // date/region/service/terminator
	date          string
	region        string
	service       string
	signedHeaders string
	signature     string
	stamp         string // presigned: X-Amz-Date
	expires       string // presigned: X-Amz-Expires
	contentHash   string // presigned: X-Amz-Content-Sha256
	token         string
}

// parseCredential splits "accessKey/date/region/service/aws4_request" from the
// right, since access keys may hold slashes.
func (c *claim) parseCredential(s string) bool {
	rest := s
	var parts [4]string
	for i := len(parts) - 1; i >= 0; i-- {
		at := strings.LastIndexByte(rest, '/')
		if at < 0 {
			return false
		}
		parts[i], rest = rest[at+1:], rest[:at]
	}
	if rest == "" || len(parts[0]) != 8 || parts[1] == "" || parts[3] != terminator {
		return false
	}
	c.accessKey, c.scope = rest, s[len(rest)+1:]
	c.date, c.region, c.service = parts[0], parts[1], parts[2]
	return true
}

// parseAuthorization parses the header
//
//	AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…
//
// with or without spaces around the commas, its three parts in any order and
// each exactly once. value is not empty.
func parseAuthorization(value string) (claim, error) {
	var c claim
	scheme, rest, _ := strings.Cut(value, " ")
	if scheme != algorithm {
		return c, ErrUnsupported
	}
	var credential string
	parts := 0
	for more := true; more; {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		name, v, _ := strings.Cut(strings.Trim(part, " \t"), "=")
		var field *string
		switch name {
		case "Credential":
			field = &credential
		case "SignedHeaders":
			field = &c.signedHeaders
		case "Signature":
			field = &c.signature
		default:
			return c, ErrMalformedAuth
		}
		if *field != "" || v == "" {
			return c, ErrMalformedAuth
		}
		*field = v
		parts++
	}
	if parts != 3 || !c.parseCredential(credential) {
		return c, ErrMalformedAuth
	}
	return c, nil
}

// queryAuth tells which kind of query authentication a query carries.
type queryAuth uint8

const (
	queryNone queryAuth = iota
	queryV2             // AWSAccessKeyId or Signature: half of one is malformed, not none
	queryV4
)

// detectQuery looks for query authentication without decoding values.
func detectQuery(raw string) queryAuth {
	found := queryNone
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, _, _ := strings.Cut(pair, "=")
		switch decodeQuery(name) {
		case "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature":
			return queryV4
		case "AWSAccessKeyId", "Signature":
			found = queryV2
		}
	}
	return found
}

// parsePresigned parses the X-Amz-… parameters of a presigned query. Each
// occurs at most once; all but X-Amz-Content-Sha256 and X-Amz-Security-Token
// are required.
func parsePresigned(raw string) (claim, error) {
	c := claim{presigned: true}
	var algo, credential string
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		var field *string
		switch decodeQuery(name) {
		case "X-Amz-Algorithm":
			field = &algo
		case "X-Amz-Credential":
			field = &credential
		case "X-Amz-Date":
			field = &c.stamp
		case "X-Amz-Expires":
			field = &c.expires
		case "X-Amz-SignedHeaders":
			field = &c.signedHeaders
		case "X-Amz-Signature":
			field = &c.signature
		case "X-Amz-Content-Sha256":
			field = &c.contentHash
		case "X-Amz-Security-Token":
			field = &c.token
		default:
			continue
		}
		if *field != "" || value == "" {
			return c, ErrMalformedQuery
		}
		*field = decodeQuery(value)
	}
	if algo != "" && algo != algorithm {
		return c, ErrUnsupported
	}
	if algo == "" || c.stamp == "" || c.expires == "" || c.signedHeaders == "" || c.signature == "" ||
		!c.parseCredential(credential) {
		return c, ErrMalformedQuery
	}
	return c, nil
}

// parseExpires parses X-Amz-Expires: 1 … 604,800 seconds, plain digits.
func parseExpires(s string) (time.Duration, bool) {
	if len(s) > 6 {
		return 0, false
	}
	n, ok := digits(s)
	return time.Duration(n) * time.Second, ok && n >= 1 && n <= expiresMax
}

// digits parses an unsigned decimal number of at most 9 digits.
func digits(s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, s != "" && len(s) <= 9
}

// parseStamp parses "20130524T000000Z", the only form of x-amz-date.
func parseStamp(s string) (time.Time, bool) {
	if len(s) != len(stampForm) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	date, ok1 := digits(s[:8])
	clock, ok2 := digits(s[9:15])
	year, month, day := date/10000, date/100%100, date%100
	hour, minute, sec := clock/10000, clock/100%100, clock%100
	if !ok1 || !ok2 || hour > 23 || minute > 59 || sec > 59 {
		return time.Time{}, false
	}
	// A day that the month does not have comes out as another one.
	t := time.Date(year, time.Month(month), day, hour, minute, sec, 0, time.UTC)
	y, m, d := t.Date()
	return t, y == year && int(m) == month && d == day
}

// appendStamp appends t, which is in UTC, in the form of x-amz-date.
func appendStamp(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, stampForm)
	}
	hour, minute, sec := t.Clock()
	dst = appendTwo(appendTwo(dst, year/100), year%100)
	dst = append(appendTwo(appendTwo(dst, int(month)), day), 'T')
	return append(appendTwo(appendTwo(appendTwo(dst, hour), minute), sec), 'Z')
}

// appendTwo appends two decimal digits of v, 0…99.
func appendTwo(dst []byte, v int) []byte { return append(dst, byte('0'+v/10), byte('0'+v%10)) }

// parseDate parses the Date header: the forms of RFC 9110, section 5.6.7, that of
// e-mail with a numeric zone (botocore sends "-0000"), or a stamp.
func parseDate(s string) (time.Time, bool) {
	if t, ok := parseStamp(s); ok {
		return t, true
	}
	t, err := http.ParseTime(s)
	if err != nil {
		t, err = time.Parse(time.RFC1123Z, s)
	}
	return t.UTC(), err == nil && t.Year() >= 1 && t.Year() <= 9999
}

// splitSigned fills s.signed from "host;x-amz-date", sorted. Names must be
// lower-case, not empty, and not repeated.
func (s *scratch) splitSigned(list string) bool {
	s.signed = s.signed[:0]
	for more := true; more; {
		var name string
		name, list, more = strings.Cut(list, ";")
		if name == "" {
			return false
		}
		for i := range len(name) {
			if c := name[i]; c <= ' ' || c >= 0x7f || c == ':' || c == ',' || isUpper(c) {
				return false
			}
		}
		s.signed = append(s.signed, name)
	}
	slices.Sort(s.signed)
	for i := 1; i < len(s.signed); i++ {
		if s.signed[i] == s.signed[i-1] {
			return false
		}
	}
	return true
}

// isSigned reports whether a header is in s.signed.
func (s *scratch) isSigned(name string) bool {
	_, ok := slices.BinarySearch(s.signed, name)
	return ok
}
