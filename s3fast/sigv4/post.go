package sigv4

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // version 2 is HMAC-SHA1
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"
)

// postMaxAge is how long after its X-Amz-Date a form may be sent: the life of a
// signing key (AWS, "Browser-Based Uploads Using POST").
const postMaxAge = expiresMax * time.Second

// Post is what a browser's form says of its signature ("Calculating a Signature",
// "Browser-Based Uploads Using POST"). What is signed is the policy, as the
// base64 text that the form carries.
type Post struct {
	Policy     string
	Algorithm  string // x-amz-algorithm
	Credential string // x-amz-credential
	Date       string // x-amz-date
	Signature  string // x-amz-signature: hex
	Token      string // x-amz-security-token, or ""
}

// VerifyPost checks a form's signature of version 4. Errors: ErrUnsupported,
// ErrMalformedAuth, ErrBadRegion, ErrMissingDate, ErrNotYetValid, ErrExpired,
// ErrUnknownKey, ErrMismatch.
func (v *Verifier) VerifyPost(p *Post) (Result, error) {
	if p.Algorithm != algorithm {
		return Result{}, ErrUnsupported
	}
	var c claim
	if !c.parseCredential(p.Credential) || c.service != v.Service {
		return Result{}, ErrMalformedAuth
	}
	if v.Region != "" && c.region != v.Region && c.region != "us-east-1" {
		return Result{}, ErrBadRegion
	}
	t, ok := parseStamp(p.Date)
	if !ok {
		return Result{}, ErrMissingDate
	}
	now := v.now()
	switch year, month, day := t.Date(); {
	case !isDay(c.date, year, int(month), day):
		return Result{}, ErrMalformedAuth
	case t.Sub(now) > v.skew():
		return Result{}, ErrNotYetValid
	case now.Sub(t) > postMaxAge:
		return Result{}, ErrExpired
	}
	m := getMAC()
	defer putMAC(m)
	secret, known := v.Secret(c.accessKey)
	key := m.signingKey(secret, c.date, c.region, c.service)
	sum := m.hmac(key[:], []byte(p.Policy))
	given, wellFormed := parseHex(p.Signature, false)
	equal := subtle.ConstantTimeCompare(given[:], sum[:]) == 1
	switch {
	case !known:
		return Result{}, ErrUnknownKey
	case !wellFormed || !equal:
		return Result{}, ErrMismatch
	}
	return Result{
		AccessKey: strings.Clone(c.accessKey), Scope: strings.Clone(c.scope),
		SessionToken: strings.Clone(p.Token), Time: t, Payload: Unsigned,
	}, nil
}

// VerifyPostV2 checks a form's signature of version 2: HMAC-SHA1 of the policy's
// base64 text, base64 ("Browser Uploads to S3 using HTML POST Forms"). Its
// policy's expiration alone bounds its life. Errors: ErrUnknownKey, ErrMismatch.
func (v *Verifier) VerifyPostV2(accessKey, policy, signature, token string) (Result, error) {
	secret, known := v.Secret(accessKey)
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(policy))
	given, err := base64.StdEncoding.DecodeString(signature)
	equal := subtle.ConstantTimeCompare(given, mac.Sum(nil)) == 1
	switch {
	case !known:
		return Result{}, ErrUnknownKey
	case err != nil || !equal:
		return Result{}, ErrMismatch
	}
	return Result{
		AccessKey: strings.Clone(accessKey), SessionToken: strings.Clone(token),
		Time: v.now().UTC(), Payload: Unsigned,
	}, nil
}

// SignPost fills in Algorithm, Credential, Date and Signature of a form whose
// Policy is set: for tests and for the project's own clients.
func SignPost(p *Post, accessKey, secret, region string, now time.Time) {
	scope := scopeOf(now, region, "s3")
	p.Algorithm, p.Credential = algorithm, accessKey+"/"+scope
	p.Date = now.UTC().Format(stampForm)
	key := SigningKey(secret, scope[:8], region, "s3")
	m := getMAC()
	defer putMAC(m)
	sum := m.hmac(key[:], []byte(p.Policy))
	p.Signature = hex.EncodeToString(sum[:])
}

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

func (v *Verifier) skew() time.Duration {
	if v.Skew == 0 {
		return skewDefault
	}
	return v.Skew
}
