package sigv4

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // version 2 is HMAC-SHA1
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Version 2 is accepted in one form, the presigned URL (AWS, "Signing and
// Authenticating REST Requests", "Query String Request Authentication
// Alternative"): boto3 and the aws CLI still presign with it in us-east-1 unless
// told otherwise. Version 2 headers are not accepted.

// errV2Query tells Verify that the query is signed with version 2.
var errV2Query = errors.New("sigv4: version 2 query")

// VirtualHosted is implemented by requests that know of virtual-host style: in
// version 2 the bucket is signed as part of the path either way.
type VirtualHosted interface {
	// VirtualBucket returns the bucket that the Host header named, or "".
	VirtualBucket() string
}

// SignedV2 reports whether a query parameter is part of version 2's canonical
// resource: sub-resources and response overrides. Whoever holds a URL may add and
// change others.
func SignedV2(name string) bool {
	switch name {
	case "accelerate", "acl", "analytics", "cors", "delete", "inventory", "lifecycle", "location", "logging",
		"metrics", "notification", "object-lock", "partNumber", "policy", "replication", "requestPayment",
		"restore", "select", "select-type", "storageClass", "tagging", "torrent", "uploadId", "uploads",
		"versionId", "versioning", "versions", "website",
		"response-cache-control", "response-content-disposition", "response-content-encoding",
		"response-content-language", "response-content-type", "response-expires":
		return true
	}
	return false
}

// verifyV2 checks a version 2 presigned query.
func (v *Verifier) verifyV2(r Request, s *scratch) (Result, error) {
	accessKey, signature, expires, err := parseV2(r.RawQuery())
	if err != nil {
		return Result{}, err
	}
	now := time.Now()
	if v.Now != nil {
		now = v.Now()
	}
	until, perr := strconv.ParseInt(expires, 10, 64)
	if perr != nil {
		return Result{}, ErrMalformedQuery
	}
	if now.Unix() > until {
		return Result{}, ErrExpired
	}
	res := Result{Presigned: true, Time: now.UTC()}
	if _, err := s.payload(r, &claim{presigned: true}, &res); err != nil {
		return Result{}, err
	}
	if res.Payload == Streaming || res.Payload == StreamingTrailer {
		return Result{}, ErrUnsupported // chunks are signed with version 4 keys
	}
	secret, known := v.Secret(accessKey)
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write(s.stringV2(r, expires))
	given, derr := base64.StdEncoding.DecodeString(signature)
	equal := subtle.ConstantTimeCompare(given, mac.Sum(nil)) == 1
	switch {
	case !known:
		return Result{}, ErrUnknownKey
	case derr != nil || !equal:
		return Result{}, ErrMismatch
	}
	res.AccessKey = strings.Clone(accessKey)
	return res, nil
}

// parseV2 takes the three parameters of the signature, each given once.
func parseV2(raw string) (accessKey, signature, expires string, err error) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		var field *string
		switch decodeQuery(name) {
		case "AWSAccessKeyId":
			field = &accessKey
		case "Signature":
			field = &signature
		case "Expires":
			field = &expires
		default:
			continue
		}
		if *field != "" {
			return "", "", "", ErrMalformedQuery
		}
		*field = decodeQuery(value)
	}
	if accessKey == "" || signature == "" || expires == "" {
		return "", "", "", ErrMalformedQuery
	}
	return accessKey, signature, expires, nil
}

// stringV2 builds the string to sign: method, Content-MD5, Content-Type, the
// time of expiry, x-amz-* headers, and the resource.
func (s *scratch) stringV2(r Request, expires string) []byte {
	b := s.canonical[:0]
	for _, part := range []string{r.Method(), r.Header("content-md5"), r.Header("content-type"), expires} {
		b = append(append(b, part...), '\n')
	}
	b = s.appendHeadersV2(b)
	if vh, ok := r.(VirtualHosted); ok && vh.VirtualBucket() != "" {
		b = append(append(b, '/'), vh.VirtualBucket()...)
	}
	b = append(b, r.RawPath()...)
	b = appendQueryV2(b, r.RawQuery())
	s.canonical = b
	return b
}

// appendHeadersV2 adds the x-amz-* headers, sorted, values of one name joined.
func (s *scratch) appendHeadersV2(b []byte) []byte {
	var amz []header
	for _, h := range s.headers {
		if strings.HasPrefix(h.name, "x-amz-") {
			amz = append(amz, h)
		}
	}
	slices.SortStableFunc(amz, func(x, y header) int { return strings.Compare(x.name, y.name) })
	for i, h := range amz {
		value := strings.Trim(h.value, " \t")
		if i > 0 && amz[i-1].name == h.name {
			b[len(b)-1] = ','
			b = append(append(b, value...), '\n')
			continue
		}
		b = append(append(append(append(b, h.name...), ':'), value...), '\n')
	}
	return b
}

// appendQueryV2 adds the signed parameters, sorted, values decoded.
func appendQueryV2(b []byte, raw string) []byte {
	var signed []string
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, hasValue := strings.Cut(pair, "=")
		if name = decodeQuery(name); !SignedV2(name) {
			continue
		}
		text := name
		if hasValue {
			text += "=" + decodeQuery(value)
		}
		signed = append(signed, text)
	}
	slices.Sort(signed)
	for i, p := range signed {
		sep := byte('&')
		if i == 0 {
			sep = '?'
		}
		b = append(append(b, sep), p...)
	}
	return b
}
