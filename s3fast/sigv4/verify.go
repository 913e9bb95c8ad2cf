package sigv4

import (
	"crypto/subtle"
	"errors"
	"strings"
	"time"
)

// Words of x-amz-content-sha256 besides a hex digest.
const (
	payloadUnsigned                 = "UNSIGNED-PAYLOAD"
	payloadStreaming                = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	payloadStreamingTrailer         = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	payloadStreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	payloadECDSA                    = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
	payloadECDSATrailer             = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"
)

// skewDefault is AWS's allowance for clocks.
const skewDefault = 15 * time.Minute

// Verify checks the signature of r. It returns one of this package's errors, unwrapped,
// and then a zero Result. ErrMissing: r carries no signature. The cheap checks
// come first: form, scope, time, signed headers, then the signature.
func (v *Verifier) Verify(r Request) (Result, error) {
	s := getScratch()
	defer putScratch(s)
	r.Headers(s.add)

	c, err := findClaim(r)
	if errors.Is(err, errV2Query) {
		return v.verifyV2(r, s)
	}
	if err != nil {
		return Result{}, err
	}
	res := Result{Presigned: c.presigned, SessionToken: c.token}
	if !c.presigned {
		res.SessionToken = r.Header("x-amz-security-token")
	}
	if res.Time, err = v.checkScope(r, &c); err != nil {
		return Result{}, err
	}
	if err := s.checkSigned(&c); err != nil {
		return Result{}, err
	}
	hash, err := s.payload(r, &c, &res)
	if err != nil {
		return Result{}, err
	}
	s.canonicalRequest(r, hash)
	if err := v.compare(s, &c, &res); err != nil {
		return Result{}, err
	}
	res.SessionToken = strings.Clone(res.SessionToken)
	return res, nil
}

// findClaim takes the claim from the Authorization header or from the query.
func findClaim(r Request) (claim, error) {
	auth := strings.Trim(r.Header("authorization"), " \t")
	query := detectQuery(r.RawQuery())
	switch {
	case auth != "" && query != queryNone:
		return claim{}, ErrBothForms
	case auth != "":
		return parseAuthorization(auth)
	case query == queryV4:
		return parsePresigned(r.RawQuery())
	case query == queryV2:
		return claim{}, errV2Query
	default:
		return claim{}, ErrMissing
	}
}

// malformed is the error of a claim whose parts make no sense together.
func (c *claim) malformed() error {
	if c.presigned {
		return ErrMalformedQuery
	}
	return ErrMalformedAuth
}

// checkScope checks service, region and time, and returns the request's time.
func (v *Verifier) checkScope(r Request, c *claim) (time.Time, error) {
	if c.service != v.Service {
		return time.Time{}, c.malformed()
	}
	if v.Region != "" && c.region != v.Region && c.region != "us-east-1" {
		return time.Time{}, ErrBadRegion
	}
	t, err := c.time(r)
	if err != nil {
		return time.Time{}, err
	}
	// The scope's date is the day of the time that is signed.
	if year, month, day := t.Date(); !isDay(c.date, year, int(month), day) {
		return time.Time{}, c.malformed()
	}
	now, skew := time.Now(), v.Skew
	if v.Now != nil {
		now = v.Now()
	}
	if skew == 0 {
		skew = skewDefault
	}
	if !c.presigned {
		if d := now.Sub(t); d > skew || d < -skew {
			return time.Time{}, ErrSkewed
		}
		return t, nil
	}
	expires, ok := parseExpires(c.expires)
	switch {
	case !ok:
		return time.Time{}, ErrMalformedQuery
	case t.Sub(now) > skew:
		return time.Time{}, ErrNotYetValid
	case now.Sub(t) > expires:
		return time.Time{}, ErrExpired
	}
	return t, nil
}

// time returns the request's own time: X-Amz-Date of a presigned query, else
// the x-amz-date header, else Date.
func (c *claim) time(r Request) (time.Time, error) {
	if c.presigned {
		t, ok := parseStamp(c.stamp)
		if !ok {
			return t, ErrMalformedQuery
		}
		return t, nil
	}
	if stamp := r.Header("x-amz-date"); stamp != "" {
		t, ok := parseDate(strings.Trim(stamp, " \t"))
		if !ok {
			return t, ErrMissingDate
		}
		return t, nil
	}
	t, ok := parseDate(strings.Trim(r.Header("date"), " \t"))
	if !ok {
		return t, ErrMissingDate
	}
	return t, nil
}

// isDay reports whether date is "YYYYMMDD" of the day.
func isDay(date string, year, month, day int) bool {
	n, ok := digits(date)
	return ok && len(date) == 8 && n == year*10000+month*100+day
}

// checkSigned checks that host and every x-amz-* header present are signed (AWS,
// "Authenticating Requests"). x-amz-content-sha256 need not be: in a header
// signature its value is signed as the last line of the canonical request, and
// in a presigned one it can only add a check of the body.
func (s *scratch) checkSigned(c *claim) error {
	if !s.splitSigned(c.signedHeaders) {
		return c.malformed()
	}
	if !s.isSigned("host") {
		return ErrUnsignedHeaders
	}
	for i := range s.headers {
		name := s.headers[i].name
		if strings.HasPrefix(name, "x-amz-") && name != "x-amz-content-sha256" && !s.isSigned(name) {
			return ErrUnsignedHeaders
		}
	}
	return nil
}

// payload sets the payload form of res and returns the last line of the
// canonical request. In a presigned request that is UNSIGNED-PAYLOAD unless the
// query, or a signed header, says otherwise.
func (s *scratch) payload(r Request, c *claim, res *Result) (string, error) {
	value := r.Header("x-amz-content-sha256")
	hash := value
	switch {
	case !c.presigned && value == "":
		return "", ErrMissingPayloadHash
	case c.presigned && c.contentHash != "":
		if value != "" && value != c.contentHash {
			return "", ErrBadPayloadHash
		}
		value, hash = c.contentHash, c.contentHash
	case c.presigned && value == "":
		value, hash = payloadUnsigned, payloadUnsigned
	case c.presigned && !s.isSigned("x-amz-content-sha256"):
		hash = payloadUnsigned
	}
	switch value {
	case payloadUnsigned:
		res.Payload = Unsigned
	case payloadStreaming:
		res.Payload = Streaming
	case payloadStreamingTrailer:
		res.Payload = StreamingTrailer
	case payloadStreamingUnsignedTrailer:
		res.Payload = StreamingUnsignedTrailer
	case payloadECDSA, payloadECDSATrailer:
		return "", ErrUnsupported
	default:
		var ok bool
		if res.Hash, ok = parseHex(value, true); !ok {
			return "", ErrBadPayloadHash
		}
		res.Payload = SHA256
	}
	return hash, nil
}

// compare computes the signature and compares. An unknown access key costs the
// same computation with a key of no one's, and a bad signature by a key whose
// signing key is cached the derivation that the cache spared.
func (v *Verifier) compare(s *scratch, c *claim, res *Result) error {
	m := getMAC()
	defer putMAC(m)
	secret, known := v.Secret(c.accessKey)
	secretHash := m.digestString(secret)
	id := keyID{c.accessKey, c.date, c.region, c.service}
	entry, cached := v.keys.get(id, &secretHash)
	if !cached {
		entry = keyEntry{secret: secretHash, key: m.signingKey(secret, c.date, c.region, c.service)}
	}
	s.stamp = appendStamp(s.stamp[:0], res.Time)
	res.Seed = s.signature(m, &entry.key, c.scope)
	given, wellFormed := parseHex(c.signature, false)
	equal := subtle.ConstantTimeCompare(given[:], res.Seed[:]) == 1
	if cached && !(wellFormed && equal) {
		m.signingKey(secret, c.date, c.region, c.service)
	}
	switch {
	case !known:
		return ErrUnknownKey
	case !wellFormed || !equal:
		return ErrMismatch
	}
	if !cached {
		entry.accessKey, entry.scope = strings.Clone(c.accessKey), strings.Clone(c.scope)
		v.keys.put(id, entry)
	}
	res.AccessKey, res.Scope, res.Key = entry.accessKey, entry.scope, entry.key
	return nil
}
