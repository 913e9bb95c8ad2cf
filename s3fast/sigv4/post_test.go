package sigv4

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // version 2
	"encoding/base64"
	"testing"
	"time"
)

// The example of "Examples: Browser-Based Upload using HTTP POST (Using AWS
// Signature Version 4)": its policy's base64 text and its signature.
const (
	postPolicy = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9"
	postSum    = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"
)

func postExample() Post {
	return Post{
		Policy: postPolicy, Algorithm: algorithm, Date: "20151229T000000Z", Signature: postSum,
		Credential: "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request",
	}
}

func TestVerifyPost(t *testing.T) {
	at := time.Date(2015, 12, 29, 0, 0, 0, 0, time.UTC)
	for name, row := range map[string]struct {
		change func(p *Post, v *Verifier)
		err    error
	}{
		"the example":   {func(*Post, *Verifier) {}, nil},
		"with a token":  {func(p *Post, _ *Verifier) { p.Token = "t" }, nil},
		"policy":        {func(p *Post, _ *Verifier) { p.Policy += "=" }, ErrMismatch},
		"signature":     {func(p *Post, _ *Verifier) { p.Signature = "9" + postSum[1:] }, ErrMismatch},
		"no signature":  {func(p *Post, _ *Verifier) { p.Signature = "" }, ErrMismatch},
		"unknown key":   {func(p *Post, _ *Verifier) { p.Credential = "nobody/20151229/us-east-1/s3/aws4_request" }, ErrUnknownKey},
		"algorithm":     {func(p *Post, _ *Verifier) { p.Algorithm = "" }, ErrUnsupported},
		"credential":    {func(p *Post, _ *Verifier) { p.Credential = "x" }, ErrMalformedAuth},
		"service":       {func(p *Post, _ *Verifier) { p.Credential = "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/sts/aws4_request" }, ErrMalformedAuth},
		"region":        {func(p *Post, _ *Verifier) { p.Credential = "AKIAIOSFODNN7EXAMPLE/20151229/eu-1/s3/aws4_request" }, ErrBadRegion},
		"other day":     {func(p *Post, _ *Verifier) { p.Date = "20151230T000000Z" }, ErrMalformedAuth},
		"no date":       {func(p *Post, _ *Verifier) { p.Date = "" }, ErrMissingDate},
		"7 days":        {func(_ *Post, v *Verifier) { v.Now = func() time.Time { return at.Add(postMaxAge) } }, nil},
		"after 7 days":  {func(_ *Post, v *Verifier) { v.Now = func() time.Time { return at.Add(postMaxAge + time.Second) } }, ErrExpired},
		"skewed":        {func(_ *Post, v *Verifier) { v.Now = func() time.Time { return at.Add(-skewDefault) } }, nil},
		"not yet valid": {func(_ *Post, v *Verifier) { v.Now = func() time.Time { return at.Add(-skewDefault - time.Second) } }, ErrNotYetValid},
	} {
		p, v := postExample(), verifierAt(at, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "s3")
		v.Region = "us-east-1"
		row.change(&p, v)
		res, err := v.VerifyPost(&p)
		if err != row.err || err == nil && (res.AccessKey != "AKIAIOSFODNN7EXAMPLE" || res.SessionToken != p.Token || res.Presigned) ||
			err != nil && res != (Result{}) {
			t.Errorf("%s: %+v, %v, want %v", name, res, err, row.err)
		}
	}
}

func TestVerifyPostV2(t *testing.T) {
	v := verifierAt(time.Now(), "k", "s", "s3")
	mac := hmac.New(sha1.New, []byte("s"))
	mac.Write([]byte("policy"))
	good := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, row := range []struct {
		key, policy, signature string
		err                    error
	}{
		{"k", "policy", good, nil}, {"k", "policies", good, ErrMismatch}, {"l", "policy", good, ErrUnknownKey},
		{"k", "policy", "", ErrMismatch}, {"k", "policy", "!", ErrMismatch},
	} {
		if res, err := v.VerifyPostV2(row.key, row.policy, row.signature, "t"); err != row.err || err == nil && res.SessionToken != "t" {
			t.Errorf("%+v: %v", row, err)
		}
	}
}
