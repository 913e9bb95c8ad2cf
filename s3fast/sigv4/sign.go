package sigv4

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sign adds a header signature: for tests and for the project's own clients.
// It returns the headers to add, by lower-case name: authorization, x-amz-date
// and x-amz-content-sha256. payloadHash is the latter's value. All headers of r
// are signed, but for those that proxies and HTTP libraries change.
func Sign(r Request, accessKey, secret, region, service, payloadHash string, now time.Time) map[string]string {
	s := getScratch()
	defer putScratch(s)
	out := map[string]string{
		"x-amz-date":           now.UTC().Format(stampForm),
		"x-amz-content-sha256": payloadHash,
	}
	names := map[string]bool{"host": true}
	r.Headers(func(name, value string) {
		if _, replaced := out[name]; !replaced && signable(name) {
			s.add(name, value)
			names[name] = true
		}
	})
	for name, value := range out {
		s.add(name, value)
		names[name] = true
	}
	s.signed = slices.AppendSeq(s.signed[:0], maps.Keys(names))
	slices.Sort(s.signed)
	s.canonicalRequest(r, payloadHash)

	scope := scopeOf(now, region, service)
	out["authorization"] = algorithm + " Credential=" + accessKey + "/" + scope +
		", SignedHeaders=" + strings.Join(s.signed, ";") +
		", Signature=" + s.sign(secret, scope, region, service, now)
	return out
}

// Presign returns the query of a presigned request: r's own and, appended, the
// X-Amz-… parameters. All headers of r are signed, as Sign does. expires is 1 s
// to 7 days, in whole seconds.
func Presign(r Request, accessKey, secret, region, service string, expires time.Duration, now time.Time) string {
	s := getScratch()
	defer putScratch(s)
	names := map[string]bool{"host": true}
	r.Headers(func(name, value string) {
		if signable(name) {
			s.add(name, value)
			names[name] = true
		}
	})
	s.signed = slices.AppendSeq(s.signed[:0], maps.Keys(names))
	slices.Sort(s.signed)
	scope := scopeOf(now, region, service)
	query := []byte(r.RawQuery())
	for _, p := range [...][2]string{
		{"X-Amz-Algorithm", algorithm},
		{"X-Amz-Credential", accessKey + "/" + scope},
		{"X-Amz-Date", now.UTC().Format(stampForm)},
		{"X-Amz-Expires", strconv.FormatInt(int64(expires/time.Second), 10)},
		{"X-Amz-SignedHeaders", strings.Join(s.signed, ";")},
	} {
		if len(query) > 0 {
			query = append(query, '&')
		}
		query = append(append(query, p[0]...), '=')
		for i := range len(p[1]) {
			query = appendEncoded(query, p[1][i])
		}
	}
	s.canonicalRequest(withQuery{r, string(query)}, payloadUnsigned)
	return string(query) + "&X-Amz-Signature=" + s.sign(secret, scope, region, service, now)
}

// withQuery is a request with another query.
type withQuery struct {
	Request
	query string
}

func (q withQuery) RawQuery() string { return q.query }

// sign returns the hex signature of s.canonical.
func (s *scratch) sign(secret, scope, region, service string, now time.Time) string {
	m := getMAC()
	defer putMAC(m)
	key := m.signingKey(secret, scope[:8], region, service)
	s.stamp = now.UTC().AppendFormat(s.stamp[:0], stampForm)
	sum := s.signature(m, &key, scope)
	return string(appendHex(nil, &sum))
}

func scopeOf(now time.Time, region, service string) string {
	return now.UTC().Format("20060102") + "/" + region + "/" + service + "/" + terminator
}

// signable reports whether Sign signs a header.
func signable(name string) bool {
	switch name {
	case "host", "authorization", "user-agent", "expect", "connection", "transfer-encoding",
		"content-length", "accept-encoding", "x-amzn-trace-id":
		return false
	}
	return true
}
